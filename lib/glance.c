/* What is told of a breaker to those who begin calls on it, and are refused, by themselves. */
#include "manager.h"

#include "times.h"
#include "transition.h"

/* Whether time has something to do with it: to settle, or to let it expire. */
static bool is_due(core_breaker *breaker, int64_t now_ns)
{
    if (breaker->rest->deadline_ns > now_ns) {
        return false;
    }
    return breaker->rest->settle_at_ns <= now_ns || core_breaker_expiry(breaker, now_ns) <= now_ns;
}

static int64_t refused_until(const core_shared *shared, const core_breaker *breaker, bool full)
{
    if (full) {
        return core_permits_first_end(&shared->permits, &breaker->rest->permits);
    }
    return breaker->state == CBM_CORE_OPEN || breaker->state == CBM_CORE_FORCED_OPEN ? breaker->rest->state_ends_ns : 0;
}

static int64_t slow_call_ns(const cbm_core_policy *policy)
{
    return core_rule_has_rates(policy) ? policy->slow_call_duration_ms * CBM_CORE_NS_PER_MS : -1;
}

int cbm_core_glance_at(cbm_core_manager *manager, uint32_t slot, int64_t now_ns, cbm_core_glance *glance)
{
    const cbm_core_policy *policy;
    core_breaker *breaker;
    bool full;

    *glance = (cbm_core_glance){.slow_call_ns = -1};
    core_registry_numbers(&manager->registry, slot, &glance->slot_generation, &glance->epoch);
    breaker = core_registry_at(&manager->registry, slot, glance->slot_generation);
    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    now_ns = core_manager_now(manager, now_ns); /* a window looked at now has let go of what was too old by then */
    policy = core_breaker_policy(breaker);
    full = breaker->state == CBM_CORE_HALF_OPEN &&
           !core_probes_admit(&breaker->rest->probes, policy, breaker->rest->permits.count);
    glance->state = (cbm_core_state)breaker->state;
    glance->fast = (core_state_records(glance->state) || glance->state == CBM_CORE_DISABLED) &&
                   !core_breaker_successes_decide(breaker, now_ns);
    glance->full = full;
    glance->due = is_due(breaker, now_ns);
    glance->by_seconds = policy->rule == CBM_CORE_RULE_TIME_WINDOW && core_state_records(glance->state);
    glance->retry_at_ns = refused_until(&manager->shared, breaker, full);
    glance->slow_call_ns = slow_call_ns(policy);
    return CBM_CORE_OK;
}

int cbm_core_find(const cbm_core_manager *manager, const char *name, uint32_t *slot)
{
    const core_breaker *breaker = name != NULL ? core_registry_find(&manager->registry, name) : NULL;

    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    *slot = breaker->slot;
    return CBM_CORE_OK;
}

bool cbm_core_next_due(const cbm_core_manager *manager, int64_t now_ns, uint32_t *slot)
{
    const core_breaker *first = core_deadlines_first(&manager->shared.deadlines);

    if (first == NULL || first->rest->deadline_ns > core_time_max(now_ns, manager->now_ns)) {
        return false;
    }
    *slot = first->slot;
    return true;
}

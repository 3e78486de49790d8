/* What was counted elsewhere and is handed over together: successes that were held back, and plain statistics. */
#include "manager.h"

#include "times.h"

/* ---- Successes: the rule hears of them ------------------------------------------------------------------------------ */

bool cbm_core_successes_decide(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation, int64_t now_ns)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);

    if (breaker == NULL) {
        return false;
    }
    now_ns = core_manager_now(manager, now_ns);
    core_breaker_settle(&manager->shared, breaker, now_ns);
    return core_breaker_successes_decide(breaker, now_ns);
}

bool cbm_core_failure_decides(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation, int64_t now_ns)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);

    if (breaker == NULL) {
        return false;
    }
    now_ns = core_manager_now(manager, now_ns);
    core_breaker_settle(&manager->shared, breaker, now_ns);
    return core_breaker_failure_decides(breaker, now_ns);
}

int cbm_core_successes_record(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation, uint32_t epoch,
                              uint64_t count, int64_t at_ns, cbm_core_state *state)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);
    int64_t now_ns;

    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    now_ns = core_manager_now(manager, at_ns);
    at_ns = core_time_min(core_time_max(at_ns, 0), now_ns);
    if (breaker->state != CBM_CORE_CLOSED) {
        /* Whoever began them saw the breaker as it stands: time has not ended that epoch for him yet. */
        at_ns = core_time_min(at_ns, breaker->rest->settle_at_ns - 1);
    }
    core_breaker_successes(&manager->shared, breaker, epoch, count, at_ns, now_ns);
    core_breaker_settle(&manager->shared, breaker, now_ns);
    if (state != NULL) {
        *state = (cbm_core_state)breaker->state;
    }
    return CBM_CORE_OK;
}

/* ---- Statistics alone ----------------------------------------------------------------------------------------------- */

/* Nobody says when it happened, but that is not long ago: enough for expiry. */
static void used(const cbm_core_manager *manager, core_breaker *breaker)
{
    breaker->last_used_ns = core_time_max(breaker->last_used_ns, manager->now_ns);
}

int cbm_core_counts_add(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                        const cbm_core_counts *counts)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);

    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    if (counts->late_successes > 0 || counts->rejected > 0 || counts->half_open_rejected > 0) {
        breaker->successful_calls += counts->late_successes;
        core_counters_elsewhere(&breaker->rest->counters, counts);
        used(manager, breaker);
    }
    manager->total_operations += counts->operations;
    return CBM_CORE_OK;
}

int cbm_core_durations_add(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation, int64_t duration_ns,
                           uint64_t count)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);

    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    if (duration_ns >= 0 && count > 0) {
        core_histogram_add(&breaker->rest->durations, duration_ns, count);
    }
    return CBM_CORE_OK;
}

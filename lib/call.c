/* The calls: begin, report, and both in one. Who is meant and whether the limiter lets it pass; breaker.c does the rest. */
#include "manager.h"

#include "times.h"

/* ---- The two halves of a call --------------------------------------------------------------------------------------- */

static int rate_limited(cbm_core_manager *manager, const char *name, const core_breaker *breaker, int64_t now_ns,
                        cbm_core_decision *decision)
{
    decision->retry_after_ns = core_manager_wait_ns(manager, now_ns);
    if (breaker != NULL) {
        decision->state = (cbm_core_state)breaker->state;
    }
    return core_manager_refuse(manager, name, breaker, now_ns);
}

/* The rest of a begin, once the breaker is found and the limiter has room. */
static int begin(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_begin *begin_options, int64_t now_ns,
                 cbm_core_decision *decision)
{
    int error = core_breaker_begin(&manager->shared, breaker, begin_options, now_ns, decision);

    if (error != CBM_CORE_E_NOMEM && error != CBM_CORE_E_FULL) {
        core_manager_take_operation(manager, now_ns);
    }
    return error;
}

int cbm_core_call_begin(cbm_core_manager *manager, const char *name, const cbm_core_begin *begin_options,
                        int64_t now_ns, cbm_core_decision *decision)
{
    core_breaker *breaker;
    int error = CBM_CORE_OK;

    *decision = (cbm_core_decision){.state = CBM_CORE_CLOSED};
    if (!core_manager_is_name(name)) {
        return CBM_CORE_E_INVALID;
    }
    now_ns = core_manager_now(manager, now_ns);
    breaker = core_manager_find(manager, name, now_ns);
    if (!core_manager_has_room(manager, now_ns)) {
        return rate_limited(manager, name, breaker, now_ns, decision);
    }
    if (breaker == NULL) {
        const cbm_core_policy_request *policy = begin_options != NULL ? begin_options->policy : NULL;
        cbm_core_policy resolved;

        error = cbm_core_policy_resolve(policy, &resolved, NULL);
        if (error == CBM_CORE_OK) {
            error = core_manager_create(manager, name, policy, now_ns, &breaker);
        }
    }
    return error == CBM_CORE_OK ? begin(manager, breaker, begin_options, now_ns, decision) : error;
}

int cbm_core_call_begin_at(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                           const cbm_core_begin *begin_options, int64_t now_ns, cbm_core_decision *decision)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);

    *decision = (cbm_core_decision){.state = CBM_CORE_CLOSED};
    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    now_ns = core_manager_now(manager, now_ns);
    core_breaker_settle(&manager->shared, breaker, now_ns);
    if (!core_manager_has_room(manager, now_ns)) {
        return rate_limited(manager, core_breaker_name(breaker), breaker, now_ns, decision);
    }
    return begin(manager, breaker, begin_options, now_ns, decision);
}

static bool is_report(const cbm_core_report *report)
{
    return (unsigned)report->outcome <= CBM_CORE_IGNORED;
}

/* The rest of a report, once the breaker is found. */
static int report_to(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_permit *permit,
                     const cbm_core_report *report, int64_t now_ns, cbm_core_state *state)
{
    core_breaker_report(&manager->shared, breaker, permit, report, now_ns);
    if (permit != NULL && (permit->flags & CBM_CORE_PERMIT_UNCOUNTED) != 0) {
        manager->total_operations++;
    }
    if (state != NULL) {
        *state = (cbm_core_state)breaker->state;
    }
    return CBM_CORE_OK;
}

int cbm_core_call_report(cbm_core_manager *manager, const char *name, const cbm_core_permit *permit,
                         const cbm_core_report *report, int64_t now_ns, cbm_core_state *state)
{
    core_breaker *breaker;
    core_breaker *owner;
    int error;

    if (!core_manager_is_name(name) || !is_report(report)) {
        return CBM_CORE_E_INVALID;
    }
    now_ns = core_manager_now(manager, now_ns);
    error = core_manager_find_existing(manager, name, now_ns, &breaker);
    if (error == CBM_CORE_E_NOT_FOUND && permit == NULL) {
        error = core_manager_create(manager, name, NULL, now_ns, &breaker);
    }
    if (error != CBM_CORE_OK) {
        return error;
    }
    if (permit != NULL) {
        owner = core_registry_at(&manager->registry, permit->slot, permit->slot_generation);
        if (owner != NULL && owner != breaker) {
            return CBM_CORE_E_INVALID;
        }
    }
    return report_to(manager, breaker, permit, report, now_ns, state);
}

int cbm_core_call_report_at(cbm_core_manager *manager, const cbm_core_permit *permit, const cbm_core_report *report,
                            int64_t now_ns, cbm_core_state *state)
{
    core_breaker *breaker;

    if (!is_report(report)) {
        return CBM_CORE_E_INVALID;
    }
    breaker = core_registry_at(&manager->registry, permit->slot, permit->slot_generation);
    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    now_ns = core_manager_now(manager, now_ns);
    core_breaker_settle(&manager->shared, breaker, now_ns);
    return report_to(manager, breaker, permit, report, now_ns, state);
}

/* ---- Both in one ---- */

int cbm_core_call(cbm_core_manager *manager, const char *name, int (*function)(void *argument), void *argument,
                  int64_t (*clock)(void *context), void *clock_context, int *result)
{
    cbm_core_decision decision;
    cbm_core_report report = {.outcome = CBM_CORE_SUCCESS};
    int64_t begun_ns = clock(clock_context);
    int64_t ended_ns;
    int returned;
    int error = cbm_core_call_begin(manager, name, NULL, begun_ns, &decision);

    if (error != CBM_CORE_OK) {
        return error;
    }
    returned = function(argument);
    ended_ns = clock(clock_context);
    if (returned != 0) {
        report.outcome = CBM_CORE_FAILURE;
    }
    report.duration_ns = ended_ns >= begun_ns ? ended_ns - begun_ns : -1;
    /* The function may have removed the breaker; then nobody is left to be told. */
    (void)cbm_core_call_report(manager, name, &decision.permit, &report, ended_ns, NULL);
    if (result != NULL) {
        *result = returned;
    }
    return CBM_CORE_OK;
}

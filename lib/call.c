/* The spec's call() in one, and the words for states, outcomes and causes. */
#include "cbm_core.h"

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

const char *cbm_core_state_name(cbm_core_state state)
{
    static const char *const names[CBM_CORE_STATES] = {
        "CLOSED", "OPEN", "HALF_OPEN", "FORCED_OPEN", "DISABLED", "METRICS_ONLY",
    };

    return (unsigned)state < CBM_CORE_STATES ? names[state] : "?";
}

const char *cbm_core_outcome_name(cbm_core_outcome outcome)
{
    static const char *const names[] = {"success", "failure", "timeout", "ignored"};

    return (unsigned)outcome < sizeof(names) / sizeof(names[0]) ? names[outcome] : "?";
}

const char *cbm_core_cause_name(cbm_core_cause cause)
{
    static const char *const names[] = {
        "none",      "rule",     "open_for", "timeout_over",  "probes", "lease",
        "abandoned", "max_wait", "control",  "control_ended", "reset",  "adopted",
    };

    return (unsigned)cause < sizeof(names) / sizeof(names[0]) ? names[cause] : "?";
}

/* The words for states, outcomes and causes. */
#include "cbm_core.h"

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

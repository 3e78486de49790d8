/* What can be read of a breaker. */
#include "breaker.h"

#include "times.h"
#include "transition.h"

#include <string.h>

static double percent(uint64_t part, uint64_t calls)
{
    return 100.0 * (double)part / (double)calls;
}

/* The rule's window: as it stands, or in OPEN and HALF_OPEN as it was when the breaker opened. */
static void fill_rule(core_breaker *breaker, int64_t now_ns, cbm_core_status *status, core_window_totals *totals,
                      bool *has_rates)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    bool frozen = status->state == CBM_CORE_OPEN || status->state == CBM_CORE_HALF_OPEN;
    int64_t rule_now_ns = frozen ? breaker->rest->frozen_ns : now_ns;

    *has_rates = core_rule_totals(&breaker->rule, policy, rule_now_ns, totals);
    status->threshold = core_rule_threshold(&breaker->rule, policy, rule_now_ns);
    status->failures =
        frozen ? breaker->rest->opened_failures : core_rule_failures(&breaker->rule, policy, rule_now_ns);
}

static void fill_rates(core_breaker *breaker, int64_t now_ns, cbm_core_status *status)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    core_window_totals totals;
    uint32_t minimum = policy->minimum_calls;
    bool has_rates;

    fill_rule(breaker, now_ns, status, &totals, &has_rates);
    if (status->state == CBM_CORE_HALF_OPEN) {
        has_rates = core_probes_totals(&breaker->rest->probes, policy, &totals, &minimum);
    }
    status->failure_rate = -1;
    status->slow_call_rate = -1;
    if (has_rates) {
        status->calls = totals.calls;
        if (totals.calls >= minimum) {
            status->failure_rate = percent(totals.failures, totals.calls);
            status->slow_call_rate = percent(totals.slow, totals.calls);
        }
    }
}

void core_breaker_status(const core_shared *shared, core_breaker *breaker, int64_t now_ns, cbm_core_status *status)
{
    const core_history *history = breaker->rest->history;

    memset(status, 0, sizeof(*status));
    strcpy(status->name, core_breaker_name(breaker));
    status->state = (cbm_core_state)breaker->state;
    fill_rates(breaker, now_ns, status);
    status->would_open = breaker->would_open;
    status->retry_after_ns = core_breaker_retry_after(shared, breaker, now_ns);
    status->due = status->state == CBM_CORE_OPEN && status->retry_after_ns == 0;
    status->epoch = breaker->epoch;
    status->slot = breaker->slot;
    status->slot_generation = breaker->slot_generation;
    status->permits_out = breaker->rest->permits.count;
    status->policy = *core_breaker_policy(breaker);
    status->policy_source = breaker->configured ? CBM_CORE_SOURCE_CONFIG : CBM_CORE_SOURCE_CREATED;
    if (breaker->rest->reason != NULL) {
        strcpy(status->reason, breaker->rest->reason);
    }
    if (core_state_is_manual(status->state) && breaker->rest->state_ends_ns != CBM_CORE_NEVER_NS) {
        status->control_ends_ns = core_time_left(breaker->rest->state_ends_ns, now_ns);
    }
    status->last_failure_ns_ago = breaker->rest->last_failure_ns == CORE_NEVER_HAPPENED_NS
                                      ? -1
                                      : core_time_left(now_ns, breaker->rest->last_failure_ns);
    if (history != NULL && history->error_text != NULL) {
        strcpy(status->last_error_text, history->error_text);
    }
    core_statistics_fill(&status->statistics, &breaker->rest->counters, history, breaker->rest->durations);
    status->statistics.successful_calls = breaker->successful_calls;
    status->statistics.total_calls += breaker->successful_calls;
    status->statistics.time_in_state_ns[status->state] += now_ns - breaker->rest->state_since_ns;
}

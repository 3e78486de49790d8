#include "rule.h"

#include "count_window.h"
#include "failure_times.h"
#include "time_window.h"
#include "times.h"

#include <stdlib.h>

/* ---- Rates: the one predicate that opens, under both kinds of window and in HALF_OPEN ------------------------------ */

/* 100 x part >= rate x calls, with the rate in tenths of a percent. */
static bool reaches(uint64_t part, uint64_t calls, uint32_t rate_tenths)
{
    return 1000 * part >= rate_tenths * calls;
}

static bool rates_open(const core_window_totals *totals, const cbm_core_policy *policy)
{
    return reaches(totals->failures, totals->calls, policy->failure_rate_tenths) ||
           reaches(totals->slow, totals->calls, policy->slow_call_rate_tenths);
}

/* The least number of failures among `calls` that reaches the failure rate. */
static uint32_t failures_that_open(uint64_t calls, const cbm_core_policy *policy)
{
    uint64_t failures = (policy->failure_rate_tenths * calls + 999) / 1000;

    return failures > UINT32_MAX ? UINT32_MAX : (uint32_t)failures;
}

bool core_rule_has_rates(const cbm_core_policy *policy)
{
    return policy->rule == CBM_CORE_RULE_COUNT_WINDOW || policy->rule == CBM_CORE_RULE_TIME_WINDOW;
}

/* ---- Memory --------------------------------------------------------------------------------------------------------- */

static int64_t window_ns(const cbm_core_policy *policy)
{
    return policy->window_s * CBM_CORE_NS_PER_S;
}

int core_rule_init(core_rule *rule, const cbm_core_policy *policy)
{
    bool enough = true;

    *rule = (core_rule){.last_counted_ns = -1};
    switch ((cbm_core_rule)policy->rule) {
    case CBM_CORE_RULE_CONSECUTIVE: break;
    case CBM_CORE_RULE_FAILURES:
        rule->memory.times = core_failure_times_new(policy->failure_threshold, window_ns(policy));
        enough = rule->memory.times != NULL;
        break;
    case CBM_CORE_RULE_COUNT_WINDOW:
        rule->memory.outcomes = core_count_window_new(policy->window_size);
        enough = rule->memory.outcomes != NULL;
        break;
    case CBM_CORE_RULE_TIME_WINDOW:
        rule->memory.seconds = core_time_window_new(policy->window_s);
        enough = rule->memory.seconds != NULL;
        break;
    }
    return enough ? CBM_CORE_OK : CBM_CORE_E_NOMEM;
}

void core_rule_deinit(core_rule *rule, const cbm_core_policy *policy)
{
    switch ((cbm_core_rule)policy->rule) {
    case CBM_CORE_RULE_CONSECUTIVE: break;
    case CBM_CORE_RULE_FAILURES: free(rule->memory.times); break;
    case CBM_CORE_RULE_COUNT_WINDOW: free(rule->memory.outcomes); break;
    case CBM_CORE_RULE_TIME_WINDOW: free(rule->memory.seconds); break;
    }
}

void core_rule_clear(core_rule *rule, const cbm_core_policy *policy)
{
    rule->last_counted_ns = -1;
    switch ((cbm_core_rule)policy->rule) {
    case CBM_CORE_RULE_CONSECUTIVE: rule->memory.in_a_row = 0; break;
    case CBM_CORE_RULE_FAILURES: core_failure_times_clear(rule->memory.times); break;
    case CBM_CORE_RULE_COUNT_WINDOW: core_count_window_clear(rule->memory.outcomes); break;
    case CBM_CORE_RULE_TIME_WINDOW: core_time_window_clear(rule->memory.seconds); break;
    }
}

static void copy_recorded(core_rule *to, const core_rule *from, const cbm_core_policy *policy)
{
    to->last_counted_ns = from->last_counted_ns;
    switch ((cbm_core_rule)policy->rule) {
    case CBM_CORE_RULE_CONSECUTIVE: to->memory.in_a_row = from->memory.in_a_row; break;
    case CBM_CORE_RULE_FAILURES: core_failure_times_copy(to->memory.times, from->memory.times); break;
    case CBM_CORE_RULE_COUNT_WINDOW: core_count_window_copy(to->memory.outcomes, from->memory.outcomes); break;
    case CBM_CORE_RULE_TIME_WINDOW: core_time_window_copy(to->memory.seconds, from->memory.seconds); break;
    }
}

int core_rule_change(core_rule *rule, const cbm_core_policy *from, const cbm_core_policy *to, int64_t now_ns)
{
    core_rule changed;
    int error = core_rule_init(&changed, to);

    if (error != CBM_CORE_OK) {
        return error;
    }
    if (to->rule == from->rule) {
        /* What is too old goes first: a longer window does not bring back what nobody happened to have dropped yet. */
        (void)core_rule_failures(rule, from, now_ns);
        copy_recorded(&changed, rule, to);
    }
    core_rule_deinit(rule, from);
    *rule = changed;
    return CBM_CORE_OK;
}

/* ---- Recording ------------------------------------------------------------------------------------------------------ */

static bool is_lumped(const core_rule *rule, const cbm_core_policy *policy, int64_t now_ns)
{
    return policy->failure_spacing_ms > 0 && rule->last_counted_ns >= 0 &&
           now_ns - rule->last_counted_ns < policy->failure_spacing_ms * CBM_CORE_NS_PER_MS;
}

bool core_rule_record(core_rule *rule, const cbm_core_policy *policy, bool failure, bool slow, int64_t now_ns)
{
    if (failure && !core_rule_has_rates(policy)) {
        if (is_lumped(rule, policy, now_ns)) {
            return false;
        }
        rule->last_counted_ns = now_ns;
    }
    switch ((cbm_core_rule)policy->rule) {
    case CBM_CORE_RULE_CONSECUTIVE:
        rule->memory.in_a_row = failure ? rule->memory.in_a_row + (rule->memory.in_a_row < UINT32_MAX) : 0;
        break;
    case CBM_CORE_RULE_FAILURES:
        if (failure) {
            core_failure_times_add(rule->memory.times, now_ns);
        }
        break;
    case CBM_CORE_RULE_COUNT_WINDOW: core_count_window_add(rule->memory.outcomes, failure, slow); break;
    case CBM_CORE_RULE_TIME_WINDOW: core_time_window_add(rule->memory.seconds, 1, failure, slow, now_ns); break;
    }
    return true;
}

void core_rule_record_successes(core_rule *rule, const cbm_core_policy *policy, uint64_t count, int64_t now_ns)
{
    if (count == 0) {
        return;
    }
    switch ((cbm_core_rule)policy->rule) {
    case CBM_CORE_RULE_CONSECUTIVE: rule->memory.in_a_row = 0; break;
    case CBM_CORE_RULE_FAILURES: break;
    case CBM_CORE_RULE_COUNT_WINDOW: core_count_window_add_successes(rule->memory.outcomes, count); break;
    case CBM_CORE_RULE_TIME_WINDOW: core_time_window_add(rule->memory.seconds, count, 0, 0, now_ns); break;
    }
}

/* ---- Deciding ------------------------------------------------------------------------------------------------------- */

bool core_rule_totals(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns, core_window_totals *totals)
{
    if (policy->rule == CBM_CORE_RULE_COUNT_WINDOW) {
        const core_count_window *window = rule->memory.outcomes;

        *totals = (core_window_totals){window->count, window->failures, window->slow};
        return true;
    }
    if (policy->rule == CBM_CORE_RULE_TIME_WINDOW) {
        core_time_window *window = rule->memory.seconds;

        core_time_window_advance(window, now_ns);
        *totals = (core_window_totals){window->totals.calls, window->totals.failures, window->totals.slow};
        return true;
    }
    *totals = (core_window_totals){0};
    return false;
}

bool core_rule_opens(core_rule *rule, const cbm_core_policy *policy, bool failure, int64_t now_ns)
{
    core_window_totals totals;

    if (!core_rule_totals(rule, policy, now_ns, &totals)) {
        return failure && core_rule_failures(rule, policy, now_ns) >= policy->failure_threshold;
    }
    return totals.calls >= policy->minimum_calls && rates_open(&totals, policy);
}

bool core_rule_successes_decide(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns)
{
    core_window_totals totals;

    if (!core_rule_totals(rule, policy, now_ns, &totals)) {
        return false;
    }
    if (policy->rule == CBM_CORE_RULE_COUNT_WINDOW && totals.calls == policy->window_size) {
        bool failure;
        bool slow;

        core_count_window_oldest(rule->memory.outcomes, &failure, &slow);
        totals.failures -= failure;
        totals.slow -= slow;
    } else {
        /* The first success that is evaluated sees the highest rates: each further one only lowers them. */
        totals.calls = totals.calls + 1 < policy->minimum_calls ? policy->minimum_calls : totals.calls + 1;
    }
    return rates_open(&totals, policy);
}

bool core_rule_failure_decides(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns)
{
    core_window_totals totals;

    if (!core_rule_totals(rule, policy, now_ns, &totals)) {
        return core_rule_failures(rule, policy, now_ns) + UINT64_C(1) >= policy->failure_threshold;
    }
    /* At its worst: both at once, nothing leaves a full window for it, and what comes next is evaluated. */
    totals.failures++;
    totals.slow++;
    if (policy->rule == CBM_CORE_RULE_TIME_WINDOW || totals.calls < policy->window_size) {
        totals.calls++;
    }
    if (totals.calls < policy->minimum_calls) {
        totals.calls = policy->minimum_calls;
    }
    return rates_open(&totals, policy);
}

uint32_t core_rule_failures(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns)
{
    core_window_totals totals;

    if (core_rule_totals(rule, policy, now_ns, &totals)) {
        return totals.failures > UINT32_MAX ? UINT32_MAX : (uint32_t)totals.failures;
    }
    return policy->rule == CBM_CORE_RULE_FAILURES ? core_failure_times_count(rule->memory.times, now_ns)
                                                  : rule->memory.in_a_row;
}

uint32_t core_rule_threshold(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns)
{
    core_window_totals totals;

    if (!core_rule_totals(rule, policy, now_ns, &totals)) {
        return policy->failure_threshold;
    }
    return failures_that_open(totals.calls > policy->minimum_calls ? totals.calls : policy->minimum_calls, policy);
}

int64_t core_rule_quiet_from(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns)
{
    if (core_rule_failures(rule, policy, now_ns) == 0) {
        return 0;
    }
    switch ((cbm_core_rule)policy->rule) {
    case CBM_CORE_RULE_FAILURES: return core_failure_times_end(rule->memory.times);
    case CBM_CORE_RULE_TIME_WINDOW: return core_time_window_end(rule->memory.seconds);
    default: return CBM_CORE_NEVER_NS;
    }
}

/* ---- HALF_OPEN ------------------------------------------------------------------------------------------------------ */

bool core_probes_admit(const core_probes *probes, const cbm_core_policy *policy, uint32_t permits_out)
{
    if (core_rule_has_rates(policy)) {
        return permits_out + probes->recorded < policy->half_open_calls;
    }
    return permits_out < policy->half_open_calls &&
           permits_out + (probes->recorded - probes->failures) < policy->success_threshold;
}

bool core_probes_totals(const core_probes *probes, const cbm_core_policy *policy, core_window_totals *totals,
                        uint32_t *minimum)
{
    *totals = (core_window_totals){probes->recorded, probes->failures, probes->slow};
    *minimum = policy->minimum_calls < policy->half_open_calls ? policy->minimum_calls : policy->half_open_calls;
    return core_rule_has_rates(policy);
}

core_verdict core_probes_verdict(const core_probes *probes, const cbm_core_policy *policy)
{
    core_window_totals totals;
    uint32_t minimum;

    if (core_probes_totals(probes, policy, &totals, &minimum)) {
        if (totals.calls < minimum) {
            return CORE_VERDICT_NONE;
        }
        return rates_open(&totals, policy) ? CORE_VERDICT_OPEN : CORE_VERDICT_CLOSE;
    }
    if (probes->failures > 0) {
        return CORE_VERDICT_OPEN;
    }
    return probes->recorded >= policy->success_threshold ? CORE_VERDICT_CLOSE : CORE_VERDICT_NONE;
}

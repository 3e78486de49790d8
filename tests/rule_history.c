#include "rule_history.h"

#include <criterion/criterion.h>
#include <string.h>

void rule_history_start(rule_history *history, const cbm_core_policy *policy)
{
    history->policy = policy;
    history->count = 0;
}

void rule_history_add(rule_history *history, bool failure, bool slow, int64_t at_ns)
{
    cr_assert_lt(history->count, RULE_HISTORY_MAX);
    history->outcomes[history->count].at_ns = at_ns;
    history->outcomes[history->count].failure = failure;
    history->outcomes[history->count++].slow = slow;
}

static bool is_over(const rule_history *history, uint64_t calls, int64_t at_ns, int64_t now_ns)
{
    if (history->policy->rule == CBM_CORE_RULE_COUNT_WINDOW) {
        return calls == history->policy->window_size;
    }
    return now_ns / CBM_CORE_NS_PER_S - at_ns / CBM_CORE_NS_PER_S >= (int64_t)history->policy->window_s;
}

core_window_totals rule_history_totals(const rule_history *history, uint64_t more, int64_t now_ns)
{
    core_window_totals totals = {.calls = more};
    if (history->policy->rule == CBM_CORE_RULE_COUNT_WINDOW && more > history->policy->window_size) {
        totals.calls = history->policy->window_size;
    }
    for (int i = history->count - 1; i >= 0; i--) {
        if (is_over(history, totals.calls, history->outcomes[i].at_ns, now_ns)) {
            continue; /* those told of late lie among younger ones */
        }
        totals.calls++;
        totals.failures += history->outcomes[i].failure;
        totals.slow += history->outcomes[i].slow;
    }
    return totals;
}

bool rule_history_opens(const rule_history *history, uint64_t more, int64_t now_ns)
{
    core_window_totals totals = rule_history_totals(history, more, now_ns);
    return totals.calls > 0 && totals.calls >= history->policy->minimum_calls &&
           (totals.failures * 1000 >= totals.calls * history->policy->failure_rate_tenths ||
            totals.slow * 1000 >= totals.calls * history->policy->slow_call_rate_tenths);
}

bool rule_history_successes_decide(const rule_history *history, int64_t now_ns)
{
    uint64_t most = (uint64_t)history->policy->minimum_calls + history->policy->window_size;
    for (uint64_t more = 1; more <= most; more++) {
        if (rule_history_opens(history, more, now_ns)) {
            return true;
        }
    }
    return false;
}

cbm_core_policy rule_policy(const char *words)
{
    cbm_core_policy_request request = {0};
    for (const char *at = words; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " "), name = strcspn(at, "=");
        int row = cbm_core_policy_find(at, name);
        cr_assert_eq(cbm_core_policy_parse(&request, row, at + name + 1, length - name - 1), 0, "%s", at);
        at += length;
    }
    cbm_core_policy policy;
    int bad_field;
    cr_assert_eq(cbm_core_policy_resolve(&request, &policy, &bad_field), 0, "%s", words);
    return policy;
}

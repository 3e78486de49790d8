/*
 * The arithmetic of both windows against counting everything again, and successes that are held back: as long as no number
 * of them could open, they may be recorded late and all at once, and every decision is the same. CBM_TEST_SEED repeats a run.
 */
#include "random.h"
#include "rule_history.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

static rule_history history;

static void assert_totals(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns)
{
    core_window_totals says, expected = rule_history_totals(&history, 0, now_ns);
    cr_assert(core_rule_totals(rule, policy, now_ns, &says));
    cr_assert_eq(says.calls, expected.calls);
    cr_assert_eq(says.failures, expected.failures);
    cr_assert_eq(says.slow, expected.slow);
}

/* A step in time: mostly within the second, often to its very edges, sometimes beyond the window. */
static int64_t later(int64_t now_ns)
{
    int64_t edge = now_ns - now_ns % CBM_CORE_NS_PER_S + CBM_CORE_NS_PER_S;
    switch (random_below(12)) {
    case 0: return edge;
    case 1: return edge - 1;
    case 2: return edge + (int64_t)random_below(5) * CBM_CORE_NS_PER_S;
    case 3: return random_below(20) == 0 ? now_ns + (int64_t)random_below(200) * CBM_CORE_NS_PER_S : now_ns;
    default: return now_ns + (int64_t)random_below(100 * 1000 * 1000);
    }
}

/* Successes may be told of late; in a time window they count in their own second. */
static int64_t earlier(const cbm_core_policy *policy, int64_t now_ns)
{
    int64_t at_ns =
        now_ns - (int64_t)random_below(1 + (policy->window_s < 20 ? policy->window_s : 20)) * CBM_CORE_NS_PER_S;
    return policy->rule == CBM_CORE_RULE_TIME_WINDOW && random_below(2) && at_ns >= 0 ? at_ns : now_ns;
}

static void count_again(const char *words)
{
    cbm_core_policy policy = rule_policy(words);
    core_rule rule = {0};
    int64_t now_ns = (int64_t)random_below(1000000000);
    cr_assert_eq(core_rule_init(&rule, &policy), 0);
    rule_history_start(&history, &policy);
    while (history.count + 200 < RULE_HISTORY_MAX) {
        bool failure = random_below(3) == 0, slow = random_below(4) == 0;
        int64_t next_ns = later(now_ns);
        now_ns = next_ns > now_ns ? next_ns : now_ns;
        assert_totals(&rule, &policy, now_ns);
        if (random_below(30) == 0) {
            uint64_t count = random_below(200);
            int64_t at_ns = earlier(&policy, now_ns);
            core_rule_record_successes(&rule, &policy, count, at_ns);
            for (uint64_t k = 0; k < count; k++) {
                rule_history_add(&history, false, false, at_ns);
            }
        } else {
            cr_assert(core_rule_record(&rule, &policy, failure, slow, now_ns));
            rule_history_add(&history, failure, slow, now_ns);
        }
        assert_totals(&rule, &policy, now_ns);
        cr_assert_eq(core_rule_opens(&rule, &policy, false, now_ns), rule_history_opens(&history, 0, now_ns));
    }
    core_rule_deinit(&rule, &policy);
}

Test(windows, of_calls_hold_what_counting_again_finds)
{
    random_seed_from_environment();
    static const char *const sizes[] = {"1", "2", "63", "64", "65", "100", "128", "1000"};
    for (int i = 0; i < 8; i++) {
        char words[120];
        snprintf(words, sizeof(words), "rule=count_window window_size=%s minimum_calls=5 failure_rate=33.3", sizes[i]);
        count_again(words);
    }
}

Test(windows, of_seconds_hold_what_counting_again_finds)
{
    random_seed_from_environment();
    static const char *const sizes[] = {"1", "2", "3", "10", "60", "3600"};
    for (int i = 0; i < 6; i++) {
        char words[120];
        snprintf(words, sizeof(words), "rule=time_window window_s=%s minimum_calls=50 failure_rate=33.3", sizes[i]);
        count_again(words);
    }
}

Test(windows, of_the_largest_size_are_counted_as_well)
{
    random_seed_from_environment();
    cbm_core_policy policy = rule_policy("rule=count_window window_size=100000 minimum_calls=1");
    core_rule rule = {0};
    core_window_totals totals;
    cr_assert_eq(core_rule_init(&rule, &policy), 0);
    for (int i = 0; i < 100000; i++) {
        core_rule_record(&rule, &policy, i < 1000, false, 0);
    }
    core_rule_record_successes(&rule, &policy, 999, 0);
    cr_assert(core_rule_totals(&rule, &policy, 0, &totals));
    cr_assert_eq(totals.calls, 100000);
    cr_assert_eq(totals.failures, 1);
    core_rule_record_successes(&rule, &policy, UINT64_MAX, 0);
    cr_assert(core_rule_totals(&rule, &policy, 0, &totals));
    cr_assert_eq(totals.calls, 100000);
    cr_assert_eq(totals.failures, 0);
    core_rule_deinit(&rule, &policy);
}

/* ---- a window that becomes another size ---- */

Test(windows, of_calls_keep_the_newest_outcomes_that_fit_when_resized)
{
    random_seed_from_environment();
    for (int i = 0; i < 2000; i++) {
        cbm_core_policy from = rule_policy("rule=count_window"), to = from;
        from.window_size = 1 + random_below(150);
        to.window_size = 1 + random_below(150);
        core_rule rule = {0};
        cr_assert_eq(core_rule_init(&rule, &from), 0);
        rule_history_start(&history, &from);
        for (uint32_t k = random_below(300); k > 0; k--) {
            bool failure = random_below(2), slow = random_below(2);
            core_rule_record(&rule, &from, failure, slow, 0);
            rule_history_add(&history, failure, slow, 0);
        }
        core_window_totals kept = rule_history_totals(&history, 0, 0);
        history.policy = to.window_size < kept.calls ? &to : &from;
        cr_assert_eq(core_rule_change(&rule, &from, &to, 0), 0);
        assert_totals(&rule, &to, 0);
        /* And their order stands: they leave one by one, the oldest first. */
        int64_t first = history.count - (int64_t)(kept.calls < to.window_size ? kept.calls : to.window_size);
        history.policy = &to;
        for (uint32_t k = 0; k < to.window_size; k++) {
            core_rule_record_successes(&rule, &to, 1, 0);
            rule_history_add(&history, false, false, 0);
            core_window_totals says, expected = {0};
            cr_assert(core_rule_totals(&rule, &to, 0, &says));
            for (int64_t at = history.count - (int64_t)to.window_size > first ? history.count - (int64_t)to.window_size
                                                                              : first;
                 at < history.count; at++) {
                expected.failures += history.outcomes[at].failure;
            }
            cr_assert_eq(says.failures, expected.failures);
        }
        core_rule_deinit(&rule, &to);
    }
}

/* ---- successes that are held back ---- */

typedef struct held_back {
    const cbm_core_policy *policy;
    core_rule at_once; /* told of each outcome when it comes */
    core_rule held;    /* told of successes late */
    uint64_t waiting;
    int64_t waiting_since_ns;
    uint64_t held_in_all;
} held_back;

static void hand_over(held_back *h)
{
    if (h->waiting > 0) {
        core_rule_record_successes(&h->held, h->policy, h->waiting, h->waiting_since_ns);
        h->waiting = 0;
    }
}

/* The decision on the outcome that was just recorded must be one; an opening empties both. */
static bool decide(held_back *h, bool failure, bool held_opens, int64_t now_ns)
{
    bool opens = core_rule_opens(&h->at_once, h->policy, failure, now_ns);
    cr_assert_eq(opens, held_opens, "recorded at once: %d, held back: %d", opens, held_opens);
    if (opens) {
        hand_over(h);
        core_rule_clear(&h->at_once, h->policy);
        core_rule_clear(&h->held, h->policy);
        rule_history_start(&history, h->policy);
    }
    return opens;
}

static void fast_success(held_back *h, int64_t now_ns)
{
    bool holds = h->waiting > 0 || !core_rule_successes_decide(&h->held, h->policy, now_ns);
    cr_assert(core_rule_record(&h->at_once, h->policy, false, false, now_ns));
    rule_history_add(&history, false, false, now_ns);
    if (holds) {
        h->waiting++;
        h->held_in_all++;
        h->waiting_since_ns = now_ns;
        decide(h, false, false, now_ns);
    } else {
        cr_assert(core_rule_record(&h->held, h->policy, false, false, now_ns));
        decide(h, false, core_rule_opens(&h->held, h->policy, false, now_ns), now_ns);
    }
}

static void other_outcome(held_back *h, bool failure, bool slow, int64_t now_ns)
{
    hand_over(h);
    bool counted = core_rule_record(&h->at_once, h->policy, failure, slow, now_ns);
    cr_assert_eq(core_rule_record(&h->held, h->policy, failure, slow, now_ns), counted);
    if (counted) {
        rule_history_add(&history, failure, slow, now_ns);
        decide(h, failure, core_rule_opens(&h->held, h->policy, failure, now_ns), now_ns);
    }
}

static bool same_second(int64_t a_ns, int64_t b_ns)
{
    return a_ns / CBM_CORE_NS_PER_S == b_ns / CBM_CORE_NS_PER_S;
}

static uint64_t hold_back(const cbm_core_policy *policy, int outcomes)
{
    held_back h = {.policy = policy};
    bool window = policy->rule == CBM_CORE_RULE_COUNT_WINDOW || policy->rule == CBM_CORE_RULE_TIME_WINDOW;
    uint32_t failures_in_a_hundred = random_below(100);
    int64_t now_ns = (int64_t)random_below(1000000000);
    cr_assert_eq(core_rule_init(&h.at_once, policy), 0);
    cr_assert_eq(core_rule_init(&h.held, policy), 0);
    rule_history_start(&history, policy);
    for (int i = 0; i < outcomes; i++) {
        int64_t next_ns = later(now_ns);
        if (next_ns > now_ns && !same_second(next_ns, now_ns)) {
            hand_over(&h);
        }
        now_ns = next_ns > now_ns ? next_ns : now_ns;
        if (window && h.waiting == 0) {
            cr_assert_eq(core_rule_successes_decide(&h.held, policy, now_ns),
                         rule_history_successes_decide(&history, now_ns), "whether successes alone could open");
        }
        if (random_below(100) < failures_in_a_hundred) {
            other_outcome(&h, true, random_below(4) == 0, now_ns);
        } else if (random_below(16) == 0) {
            other_outcome(&h, false, true, now_ns);
        } else {
            fast_success(&h, now_ns);
        }
    }
    hand_over(&h);
    cr_assert_eq(core_rule_failures(&h.at_once, policy, now_ns), core_rule_failures(&h.held, policy, now_ns));
    core_window_totals at_once, held;
    if (core_rule_totals(&h.at_once, policy, now_ns, &at_once)) {
        cr_assert(core_rule_totals(&h.held, policy, now_ns, &held));
        cr_assert_eq(at_once.calls, held.calls);
        cr_assert_eq(at_once.failures, held.failures);
        cr_assert_eq(at_once.slow, held.slow);
    }
    core_rule_deinit(&h.at_once, policy);
    core_rule_deinit(&h.held, policy);
    return h.held_in_all;
}

static void hold_back_at_random(const char *rule)
{
    static const uint32_t rates[] = {1, 100, 333, 500, 750, 1000};
    random_seed_from_environment();
    uint64_t held = 0;
    uint64_t sequences = random_test_number("SEQUENCES", 1000000) / 20;
    for (uint64_t i = 0; i < sequences; i++) {
        cbm_core_policy policy = rule_policy(rule);
        policy.failure_threshold = 1 + random_below(5);
        policy.failure_spacing_ms = random_below(3) == 0 ? random_below(300) : 0;
        policy.window_size = 1 + random_below(30);
        policy.window_s = 1 + random_below(5);
        policy.minimum_calls = 1 + random_below(30);
        if (policy.rule == CBM_CORE_RULE_COUNT_WINDOW && policy.minimum_calls > policy.window_size) {
            policy.minimum_calls = policy.window_size;
        }
        policy.failure_rate_tenths = rates[random_below(6)];
        policy.slow_call_rate_tenths = rates[random_below(6)];
        held += hold_back(&policy, 20 + (int)random_below(60));
    }
    fprintf(stderr, "%s: %" PRIu64 " successes held back in %" PRIu64 " sequences\n", rule, held, sequences);
    cr_assert_gt(held, sequences, "hardly any success was held back");
}

Test(held_back, successes_decide_as_those_recorded_at_once_under_consecutive)
{
    hold_back_at_random("rule=consecutive");
}

Test(held_back, successes_decide_as_those_recorded_at_once_under_failures)
{
    hold_back_at_random("rule=failures window_s=1");
}

Test(held_back, successes_decide_as_those_recorded_at_once_under_a_count_window)
{
    hold_back_at_random("rule=count_window");
}

Test(held_back, successes_decide_as_those_recorded_at_once_under_a_time_window)
{
    hold_back_at_random("rule=time_window");
}

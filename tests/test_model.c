/*
 * Random walks: libcbm-core and the model of it do the same things and must say the same after each of them.
 * CBM_TEST_SEED repeats a run, CBM_TEST_SEQUENCES says how many walks there are in all.
 */
#include "pair.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t state;

static uint64_t next_random(void)
{
    state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint32_t below(uint32_t limit)
{
    return (uint32_t)(next_random() % limit);
}

static uint32_t one_of(const uint32_t *values, size_t count)
{
    return values[below((uint32_t)count)];
}

static void set(cbm_core_policy_request *request, const char *name, double value)
{
    int error = cbm_core_policy_set_number(request, cbm_core_policy_find(name, strlen(name)), value);
    cr_assert_eq(error, 0, "%s=%g", name, value);
}

/* ---- what is drawn ---- */

static const char *const rules[] = {"consecutive", "failures", "count_window", "time_window"};

static cbm_core_policy_request random_policy(cbm_core_rule rule)
{
    static const uint32_t rates[] = {1, 100, 250, 333, 500, 667, 750, 1000};
    static const uint32_t timeouts[] = {10, 16, 1000};
    static const uint32_t leases[] = {0, 4, 10, 16, 5000};
    static const uint32_t waits[] = {0, 0, 4, 25, 3000};
    static const uint32_t spacings[] = {0, 0, 3, 20};
    static const uint32_t factors[] = {1000, 1000, 1500, 2000, 10000};
    cbm_core_policy_request request = {0};
    cbm_core_policy_set_word(&request, cbm_core_policy_find("rule", 4), rules[rule], strlen(rules[rule]));
    uint32_t timeout = one_of(timeouts, 3);
    set(&request, "failure_threshold", 1 + below(4));
    set(&request, "window_size", 1 + below(7));
    set(&request, "window_s", 1 + below(4));
    set(&request, "minimum_calls", 1 + below(7));
    set(&request, "failure_rate", one_of(rates, 8) / 10.0);
    set(&request, "slow_call_rate", one_of(rates, 8) / 10.0);
    set(&request, "slow_call_duration_ms", 10);
    set(&request, "timeout_ms", timeout);
    set(&request, "timeout_max_ms", timeout * (1 + below(9)));
    set(&request, "backoff_multiplier", one_of(factors, 5) / 1000.0);
    set(&request, "success_threshold", 1 + below(3));
    set(&request, "half_open_calls", 1 + below(4));
    set(&request, "half_open_max_wait_ms", one_of(waits, 5));
    set(&request, "failure_spacing_ms", one_of(spacings, 4));
    set(&request, "open_for_max_ms", below(2) ? 12 : 4000);
    set(&request, "expire_after_s", 0);
    if (below(3) > 0) {
        set(&request, "permit_lease_ms", one_of(leases, 5));
    }
    if (below(8) == 0) {
        set(&request, "jitter", (1 + below(1000)) / 1000.0);
    }
    const char *on_abandon = below(2) ? "release" : "failure";
    cbm_core_policy_set_word(&request, cbm_core_policy_find("on_abandon", 10), on_abandon, strlen(on_abandon));
    return request;
}

static cbm_core_outcome random_outcome(uint32_t failures_in_ten)
{
    uint32_t drawn = below(20);
    if (drawn == 0) {
        return CBM_CORE_IGNORED;
    }
    if (drawn % 10 < failures_in_ten) {
        return drawn < 4 ? CBM_CORE_TIMEOUT : CBM_CORE_FAILURE;
    }
    return CBM_CORE_SUCCESS;
}

static void draw_report(step *s, uint32_t failures_in_ten)
{
    static const int64_t durations[] = {-1, -1, 0, 9, 10, 11, 500};
    s->outcome = random_outcome(failures_in_ten);
    s->duration_ms = s->outcome == CBM_CORE_IGNORED ? -1 : durations[below(7)];
    s->open_for_ms = below(16) == 0 ? 1 + below(30) : 0;
    uint32_t which = below(8);
    s->which = which < 4 ? OLDEST : which < 7 || pair_permits() == 0 ? NEWEST : (int)below((uint32_t)pair_permits());
}

static step random_step(uint32_t failures_in_ten)
{
    step s = {.ms = -1};
    uint32_t drawn = below(100);
    if (drawn < 30) {
        s.kind = STEP_BEGIN;
        s.holder = below(3);
        s.ms = below(4) == 0 ? (int64_t)below(3) * 6 : -1;
    } else if (drawn < 58) {
        s.kind = STEP_REPORT;
        draw_report(&s, failures_in_ten);
    } else if (drawn < 66) {
        s.kind = STEP_OBSERVE;
        draw_report(&s, failures_in_ten);
    } else if (drawn < 82) {
        s.kind = STEP_ADVANCE_TO;
        s.which = below(4) ? 0 : (int)below(4);
        s.offset_ns = (int64_t)below(3) - 1;
    } else if (drawn < 90) {
        static const int64_t times[] = {0, 1, 3, 10, 16, 100, 999, 1000, 4000, 100000};
        s.kind = STEP_ADVANCE;
        s.ms = times[below(10)];
    } else if (drawn < 93) {
        s.kind = STEP_HOLDER_GONE;
        s.holder = below(3);
    } else if (drawn < 95) {
        s.kind = STEP_CONTROL;
        s.control = (cbm_core_control)below(4);
        s.ms = below(2) ? 0 : 1 + below(30);
    } else if (drawn < 96) {
        s.kind = STEP_RESET;
    } else if (drawn < 97) {
        s.kind = STEP_HAND_OVER;
        s.outcome = (cbm_core_outcome)below(4);
        s.count = below(5);
    } else {
        s.kind = STEP_TICK;
    }
    return s;
}

/* ---- the walks ---- */

static uint64_t run_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return test_number("SEED", (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

static void walk_at_random(cbm_core_rule rule)
{
    uint64_t seed = run_seed();
    uint64_t sequences = test_number("SEQUENCES", 1000000) / 4;
    fprintf(stderr, "%s: %" PRIu64 " random walks, CBM_TEST_SEED=%" PRIu64 "\n", rules[rule], sequences, seed);
    pair_init();
    for (uint64_t i = 0; i < sequences; i++) {
        char text[120];
        snprintf(text, sizeof(text), "CBM_TEST_SEED=%" PRIu64 ", rule %s, walk %" PRIu64, seed, rules[rule], i);
        state = seed ^ (i * 8 + rule) * UINT64_C(0xd1342543de82ef95);
        cbm_core_policy_request request = random_policy(rule);
        pair_start(&request, (int64_t)below(1000) * CBM_CORE_NS_PER_MS, text);
        uint32_t failures_in_ten = 1 + below(9);
        for (uint32_t length = 12 + below(29); length > 0; length--) {
            step s = random_step(failures_in_ten);
            pair_do(&s);
        }
    }
    pair_deinit();
}

Test(random_walks, under_the_rule_consecutive_agree_with_the_model)
{
    walk_at_random(CBM_CORE_RULE_CONSECUTIVE);
}

Test(random_walks, under_the_rule_failures_agree_with_the_model)
{
    walk_at_random(CBM_CORE_RULE_FAILURES);
}

Test(random_walks, under_a_count_window_agree_with_the_model)
{
    walk_at_random(CBM_CORE_RULE_COUNT_WINDOW);
}

Test(random_walks, under_a_time_window_agree_with_the_model)
{
    walk_at_random(CBM_CORE_RULE_TIME_WINDOW);
}

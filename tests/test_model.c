/*
 * Random walks: libcbm-core and the model of it do the same things and must say the same after each of them.
 * CBM_TEST_SEED repeats a run, CBM_TEST_SEQUENCES says how many walks there are in all.
 */
#include "pair.h"
#include "random.h"
#include "random_policy.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static cbm_core_outcome random_outcome(uint32_t failures_in_ten)
{
    uint32_t drawn = random_below(20);
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
    s->duration_ms = s->outcome == CBM_CORE_IGNORED ? -1 : durations[random_below(7)];
    s->open_for_ms = random_below(16) == 0 ? 1 + random_below(30) : 0;
    uint32_t which = random_below(8);
    s->which = which < 4                          ? OLDEST
               : which < 7 || pair_permits() == 0 ? NEWEST
                                                  : (int)random_below((uint32_t)pair_permits());
}

static void draw_configure(step *s)
{
    static const char *const fields[] = {"failure_threshold", "window_size",           "window_s",
                                         "minimum_calls",     "success_threshold",     "half_open_calls",
                                         "permit_lease_ms",   "half_open_max_wait_ms", "timeout_ms",
                                         "failure_rate"};
    s->kind = STEP_CONFIGURE;
    const char *name = fields[random_below(10)];
    s->which = cbm_core_policy_find(name, strlen(name));
    s->ms = 1 + random_below(strcmp(name, "failure_rate") == 0 ? 1000 : 9);
}

static step random_step(uint32_t failures_in_ten)
{
    step s = {.ms = -1};
    uint32_t drawn = random_below(100);
    if (drawn < 30) {
        s.kind = STEP_BEGIN;
        s.holder = random_below(3);
        s.ms = random_below(4) == 0 ? (int64_t)random_below(3) * 6 : -1;
    } else if (drawn < 58) {
        s.kind = STEP_REPORT;
        draw_report(&s, failures_in_ten);
    } else if (drawn < 66) {
        s.kind = STEP_OBSERVE;
        draw_report(&s, failures_in_ten);
    } else if (drawn < 82) {
        s.kind = STEP_ADVANCE_TO;
        s.which = random_below(4) ? 0 : (int)random_below(4);
        s.offset_ns = (int64_t)random_below(3) - 1;
    } else if (drawn < 90) {
        static const int64_t times[] = {0, 1, 3, 10, 16, 100, 999, 1000, 4000, 100000};
        s.kind = STEP_ADVANCE;
        s.ms = times[random_below(10)];
    } else if (drawn < 93) {
        s.kind = STEP_HOLDER_GONE;
        s.holder = random_below(3);
    } else if (drawn < 95) {
        s.kind = STEP_CONTROL;
        s.control = (cbm_core_control)random_below(4);
        s.ms = random_below(2) ? 0 : 1 + random_below(30);
    } else if (drawn < 96) {
        s.kind = STEP_RESET;
    } else if (drawn < 97) {
        s.kind = STEP_HAND_OVER;
        s.outcome = (cbm_core_outcome)random_below(4);
        s.count = random_below(5);
    } else if (drawn < 98) {
        s.kind = STEP_TICK;
    } else {
        draw_configure(&s);
    }
    return s;
}

/* ---- the walks ---- */

static void walk_at_random(cbm_core_rule rule)
{
    uint64_t seed = random_seed_from_environment();
    uint64_t sequences = random_test_number("SEQUENCES", 1000000) / 4;
    fprintf(stderr, "%s: %" PRIu64 " random walks\n", random_rule_name(rule), sequences);
    pair_init();
    for (uint64_t i = 0; i < sequences; i++) {
        char text[120];
        snprintf(text, sizeof(text), "CBM_TEST_SEED=%" PRIu64 ", rule %s, walk %" PRIu64, seed, random_rule_name(rule),
                 i);
        random_seed(seed ^ (i * 8 + rule) * UINT64_C(0xd1342543de82ef95));
        cbm_core_policy_request request = random_policy(rule);
        pair_start(&request, (int64_t)random_below(1000) * CBM_CORE_NS_PER_MS, text);
        uint32_t failures_in_ten = 1 + random_below(9);
        for (uint32_t length = 12 + random_below(29); length > 0; length--) {
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

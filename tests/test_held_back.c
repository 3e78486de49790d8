/*
 * Successes that are held back decide nothing that they would not have decided at once: see held_back.h. A sequence that
 * the two managers disagree on is made as short as it gets and printed. CBM_TEST_SEED repeats a run.
 */
#include "held_back.h"
#include "random.h"
#include "random_policy.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { POLICIES = 2048 };

static cbm_core_policy_request policies[POLICIES];
static cbm_core_policy_request other_rules[POLICIES];
static const char *const kind_names[KINDS] = {"begin", "succeed",     "fail",    "observe", "advance",
                                              "read",  "holder_gone", "control", "reset",   "configure",
                                              "rule",  "replace",     "late"};
static const uint32_t likelihood[KINDS] = {30, 28, 10, 2, 16, 3, 1, 2, 1, 2, 1, 1, 1};

static kind draw_kind(void)
{
    uint32_t drawn = random_below(98);
    int drawn_kind = 0;

    while (drawn >= likelihood[drawn_kind]) {
        drawn -= likelihood[drawn_kind++];
    }
    return (kind)drawn_kind;
}

static void draw(sequence *q)
{
    q->first_epoch = random_below(2) ? 0 : (uint32_t)CBM_CORE_EPOCH_MASK - random_below(12);
    q->jitter_seed = random_next();
    q->policy = &policies[random_below(POLICIES)];
    q->other_rule = &other_rules[random_below(POLICIES)];
    q->count = 8 + (int)random_below(STEPS_MAX - 8);
    for (int i = 0; i < q->count; i++) {
        uint64_t drawn = random_next();
        q->steps[i] = (step){draw_kind(), (uint32_t)drawn, (uint32_t)(drawn >> 32)};
    }
}

/* Leaves out what can be left out. */
static void shrink(sequence *q)
{
    for (int i = q->count - 1; i >= 0; i--) {
        sequence shorter = *q;
        memmove(&shorter.steps[i], &shorter.steps[i + 1], (size_t)(shorter.count - i - 1) * sizeof(step));
        shorter.count--;
        if (held_back_run(&shorter) != NULL) {
            *q = shorter;
        }
    }
}

static void print(const sequence *q)
{
    cbm_core_policy policy;

    (void)cbm_core_policy_resolve(q->policy, &policy, NULL);
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        fprintf(stderr, "%s=%u ", cbm_core_policy_table()[i].name, cbm_core_policy_value(&policy, i));
    }
    fprintf(stderr, "(in steps); epochs from %u\n", q->first_epoch);
    for (int i = 0; i < q->count; i++) {
        fprintf(stderr, "  %s %u %u\n", kind_names[q->steps[i].kind], q->steps[i].a, q->steps[i].b);
    }
}

static void agree(cbm_core_rule rule)
{
    uint64_t sequences = random_test_number("SEQUENCES", 1000000) / 4;
    sequence q;

    random_seed_from_environment();
    for (int i = 0; i < POLICIES; i++) {
        policies[i] = random_policy(rule);
        other_rules[i] = random_policy((cbm_core_rule)random_below(4));
    }
    for (uint64_t number = 0; number < sequences; number++) {
        draw(&q);
        if (held_back_run(&q) != NULL) {
            shrink(&q);
            print(&q);
            cr_assert_fail("sequence %" PRIu64 ": %s", number, held_back_run(&q));
        }
    }
    fprintf(stderr,
            "%s: %" PRIu64 " sequences, %" PRIu64 " successes held back, %" PRIu64 " begins refused from the board\n",
            random_rule_name(rule), sequences, held_back_pulled, held_back_refused);
    cr_assert_gt(held_back_pulled, sequences, "hardly any success was held back");
    cr_assert_gt(held_back_refused, sequences / 10, "hardly any begin was refused from the board");
}

Test(held_back, successes_decide_nothing_else_under_consecutive)
{
    agree(CBM_CORE_RULE_CONSECUTIVE);
}

Test(held_back, successes_decide_nothing_else_under_failures)
{
    agree(CBM_CORE_RULE_FAILURES);
}

Test(held_back, successes_decide_nothing_else_under_a_count_window)
{
    agree(CBM_CORE_RULE_COUNT_WINDOW);
}

Test(held_back, successes_decide_nothing_else_under_a_time_window)
{
    agree(CBM_CORE_RULE_TIME_WINDOW);
}

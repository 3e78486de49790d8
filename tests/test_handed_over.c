/*
 * Successes that are counted elsewhere and handed over together: of two breakers with the same policy and the same calls, one is
 * told of each success when it comes, the other of those that cannot decide anything only before the next other outcome,
 * control, deadline or second. They go through the same states at the same times. CBM_TEST_SEED repeats a run.
 */
#include "random.h"
#include "random_policy.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { AT_ONCE, HELD, BOTH, CALLS_MAX = 128 };
static const char *const names[BOTH] = {"at once", "held"};

static cbm_core_manager *manager;
static int64_t now_ns = 1000 * CBM_CORE_NS_PER_S;
static cbm_core_status at_start[BOTH];
static cbm_core_permit permits[CALLS_MAX][BOTH];
static int permits_count;
static uint64_t waiting;
static int64_t waiting_since_ns;
static uint64_t handed_over;
static uint64_t walk_number;

static cbm_core_status status(int of)
{
    cbm_core_status now;
    cr_assert_eq(cbm_core_state_of(manager, names[of], now_ns, &now), 0);
    return now;
}

/* Everything but what tells the two apart. */
static void make_equal(cbm_core_status *of, const cbm_core_status *start)
{
    of->epoch -= start->epoch;
    of->slot = of->slot_generation = 0;
    memset(of->name, 0, sizeof(of->name));
}

static void assert_equal(void)
{
    cbm_core_status at_once = status(AT_ONCE), held = status(HELD);
    make_equal(&at_once, &at_start[AT_ONCE]);
    make_equal(&held, &at_start[HELD]);
    cr_assert_eq(at_once.state, held.state, "walk %" PRIu64 ": state %d, with successes held back %d", walk_number,
                 at_once.state, held.state);
    cr_assert_eq(at_once.epoch, held.epoch, "walk %" PRIu64 ": epoch", walk_number);
    if (waiting == 0) {
        cr_assert_eq(at_once.calls, held.calls, "walk %" PRIu64 ": calls", walk_number);
        cr_assert_eq(at_once.failures, held.failures, "walk %" PRIu64 ": failures", walk_number);
        cr_assert_eq(memcmp(&at_once.statistics, &held.statistics, sizeof(held.statistics)), 0,
                     "walk %" PRIu64 ": statistics", walk_number);
        cr_assert_eq(memcmp(&at_once, &held, sizeof(held)), 0, "walk %" PRIu64, walk_number);
    }
}

static void hand_over(void)
{
    if (waiting == 0) {
        return;
    }
    cbm_core_status held = status(HELD);
    cbm_core_state state;
    cr_assert_eq(cbm_core_successes_record(manager, held.slot, held.slot_generation, held.epoch, waiting,
                                           waiting_since_ns, &state),
                 0);
    cr_assert_eq(state, held.state, "walk %" PRIu64 ": a success decided that could not", walk_number);
    handed_over += waiting;
    waiting = 0;
}

static void begin(void)
{
    cbm_core_begin how = {.holder = 1 + random_below(2)};
    cbm_core_decision decisions[BOTH];
    int errors[BOTH];
    for (int of = 0; of < BOTH; of++) {
        errors[of] = cbm_core_call_begin(manager, names[of], &how, now_ns, &decisions[of]);
    }
    cr_assert_eq(errors[AT_ONCE], errors[HELD], "walk %" PRIu64 ": begin", walk_number);
    if (errors[HELD] == 0 && permits_count < CALLS_MAX) {
        permits[permits_count][AT_ONCE] = decisions[AT_ONCE].permit;
        permits[permits_count++][HELD] = decisions[HELD].permit;
    }
}

static void report(int of, const cbm_core_permit *permit, const cbm_core_report *how)
{
    cr_assert_eq(cbm_core_call_report(manager, names[of], permit, how, now_ns, NULL), 0);
}

static bool may_wait(const cbm_core_permit *permit)
{
    cbm_core_status held = status(HELD);
    return permit->id == 0 && permit->epoch == held.epoch &&
           (waiting > 0 || !cbm_core_successes_decide(manager, held.slot, held.slot_generation, now_ns));
}

static void succeed(int number)
{
    cbm_core_report success = {.outcome = CBM_CORE_SUCCESS, .duration_ns = -1};
    bool waits = may_wait(&permits[number][HELD]);
    report(AT_ONCE, &permits[number][AT_ONCE], &success);
    if (waits) {
        waiting++;
        waiting_since_ns = now_ns;
    } else {
        report(HELD, &permits[number][HELD], &success);
    }
}

static void end_otherwise(int number)
{
    static const int64_t durations[] = {-1, 10 * CBM_CORE_NS_PER_MS, 11 * CBM_CORE_NS_PER_MS};
    cbm_core_report how = {
        .outcome = (cbm_core_outcome)random_below(4),
        .duration_ns = durations[random_below(3)],
        .open_for_ms = random_below(20) == 0 ? 5 : 0,
    };
    hand_over();
    for (int of = 0; of < BOTH; of++) {
        report(of, number < 0 ? NULL : &permits[number][of], &how);
    }
}

static int take_permit(void)
{
    int number = (int)random_below((uint32_t)permits_count);
    cbm_core_permit taken[BOTH];
    memcpy(taken, permits[number], sizeof(taken));
    memmove(permits[number], permits[permits_count - 1], sizeof(taken));
    memcpy(permits[permits_count - 1], taken, sizeof(taken));
    return --permits_count;
}

static void advance(void)
{
    static const int64_t times_ms[] = {0, 1, 3, 10, 100, 400, 999, 1000, 5000};
    int64_t to_ns = now_ns + times_ms[random_below(9)] * CBM_CORE_NS_PER_MS;
    int64_t second_ns = now_ns - now_ns % CBM_CORE_NS_PER_S + CBM_CORE_NS_PER_S;
    if (random_below(4) == 0) {
        to_ns = second_ns - (int64_t)random_below(2);
    }
    if (to_ns >= cbm_core_next_deadline(manager)) {
        hand_over();
    }
    now_ns = to_ns;
    if (to_ns >= second_ns) {
        if (random_below(2)) { /* the manager has seen the new second already */
            cbm_core_stats stats;
            cbm_core_stats_get(manager, now_ns, &stats);
        }
        hand_over();
    }
}

static void control_both(void)
{
    cbm_core_control control = (cbm_core_control)random_below(4);
    uint32_t for_ms = random_below(30);
    hand_over();
    for (int of = 0; of < BOTH; of++) {
        cr_assert_eq(cbm_core_control_set(manager, names[of], control, NULL, for_ms, now_ns), 0);
    }
}

static void configure_both(void)
{
    static const char *const fields[] = {"failure_threshold", "window_size", "window_s", "minimum_calls",
                                         "failure_rate"};
    cbm_core_policy_request request = {0};
    const char *field = fields[random_below(5)];
    int bad_field;
    cbm_core_policy_set_number(&request, cbm_core_policy_find(field, strlen(field)), 1 + random_below(9));
    hand_over();
    for (int of = 0; of < BOTH; of++) {
        cr_assert_eq(cbm_core_configure(manager, names[of], &request, now_ns, &bad_field), 0);
    }
}

static void do_something(uint32_t others_in_a_hundred)
{
    uint32_t drawn = random_below(100);
    if (drawn < 40 || permits_count == 0) {
        begin();
    } else if (drawn < 75) {
        int number = take_permit();
        if (random_below(100) < others_in_a_hundred) {
            end_otherwise(number);
        } else {
            succeed(number);
        }
    } else if (drawn < 78) {
        end_otherwise(-1);
    } else if (drawn < 97) {
        advance();
    } else if (drawn < 98) {
        hand_over();
        cbm_core_holder_gone(manager, 1, now_ns);
    } else if (drawn < 99) {
        configure_both();
    } else {
        control_both();
    }
}

static void start(cbm_core_rule rule)
{
    cbm_core_policy_request request = random_policy(rule);
    cbm_core_policy_set_number(&request, cbm_core_policy_find("jitter", 6), 0); /* two breakers draw two times */
    uint64_t removed;
    cr_assert_eq(cbm_core_remove(manager, "*", now_ns, &removed), 0);
    for (int of = 0; of < BOTH; of++) {
        cbm_core_get_result result;
        cr_assert_eq(cbm_core_get(manager, names[of], &request, now_ns, &result), 0);
        at_start[of] = result.status;
    }
    permits_count = 0;
    waiting = 0;
}

static void walk(cbm_core_rule rule)
{
    uint64_t walks = random_test_number("SEQUENCES", 1000000) / 20;
    random_seed_from_environment();
    handed_over = 0;
    cr_assert_eq(cbm_core_manager_new(&manager, &(cbm_core_options){.no_rate_limit = true}), 0);
    for (walk_number = 0; walk_number < walks; walk_number++) {
        start(rule);
        uint32_t others_in_a_hundred = random_below(70);
        for (uint32_t length = 20 + random_below(60); length > 0; length--) {
            do_something(others_in_a_hundred);
            assert_equal();
        }
        hand_over();
        assert_equal();
    }
    cbm_core_manager_free(manager);
    fprintf(stderr, "%s: %" PRIu64 " successes handed over in %" PRIu64 " walks\n", random_rule_name(rule), handed_over,
            walks);
    cr_assert_gt(handed_over, walks, "hardly any success was held back");
}

Test(handed_over, successes_decide_nothing_else_under_consecutive)
{
    walk(CBM_CORE_RULE_CONSECUTIVE);
}

Test(handed_over, successes_decide_nothing_else_under_failures)
{
    walk(CBM_CORE_RULE_FAILURES);
}

Test(handed_over, successes_decide_nothing_else_under_a_count_window)
{
    walk(CBM_CORE_RULE_COUNT_WINDOW);
}

Test(handed_over, successes_decide_nothing_else_under_a_time_window)
{
    walk(CBM_CORE_RULE_TIME_WINDOW);
}

Test(handed_over, successes_of_an_epoch_that_time_has_ended_are_late)
{
    cbm_core_status before, after;
    cr_assert_eq(cbm_core_manager_new(&manager, &(cbm_core_options){.no_rate_limit = true}), 0);
    start(CBM_CORE_RULE_CONSECUTIVE);
    cr_assert_eq(cbm_core_control_set(manager, names[HELD], CBM_CORE_CONTROL_DISABLE, NULL, 10, now_ns), 0);
    before = status(HELD);
    now_ns += 10 * CBM_CORE_NS_PER_MS;
    cr_assert_eq(cbm_core_successes_record(manager, before.slot, before.slot_generation, before.epoch, 3, now_ns, NULL),
                 0);
    after = status(HELD);
    cr_assert_eq(after.state, CBM_CORE_CLOSED);
    cr_assert_eq(after.statistics.late_reports, 3);
    cr_assert_eq(after.statistics.successful_calls, 3);
    uint64_t removed;
    cr_assert_eq(cbm_core_remove(manager, names[HELD], now_ns, &removed), 0);
    cr_assert_eq(cbm_core_successes_record(manager, before.slot, before.slot_generation, before.epoch, 3, now_ns, NULL),
                 CBM_CORE_E_NOT_FOUND);
    cbm_core_manager_free(manager);
}

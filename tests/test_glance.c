/* What is told of a breaker to those who begin calls on it, and are refused, without asking: cbm_core_glance_at and its kin. */
#include "core_fixture.h"

#include <string.h>

TestSuite(glance, .fini = end_of_test);

static cbm_core_glance glance_at(uint32_t slot)
{
    cbm_core_glance glance;
    cr_assert_eq(cbm_core_glance_at(manager, slot, now_ns, &glance), 0);
    return glance;
}

static cbm_core_glance glance(void)
{
    return glance_at(0);
}

/* Of a slot without a breaker. */
static cbm_core_glance glance_at_nothing(uint32_t slot)
{
    cbm_core_glance glance;
    memset(&glance, 0x5a, sizeof(glance));
    cr_assert_eq(cbm_core_glance_at(manager, slot, now_ns, &glance), CBM_CORE_E_NOT_FOUND);
    return glance;
}

static void create(const char *name)
{
    cr_assert_eq(cbm_core_get(manager, name, NULL, now_ns, NULL), 0);
}

static void remove_breaker(const char *name)
{
    uint64_t removed;
    cr_assert_eq(cbm_core_remove(manager, name, now_ns, &removed), 0);
    cr_assert_eq(removed, 1);
}

/* ---- State, epoch, generation ---- */

Test(glance, it_tells_what_the_status_tells)
{
    given("failure_threshold=1");
    for (int change = 0; change < 4; change++) {
        cbm_core_status now = status();
        cbm_core_glance seen = glance();
        cr_assert_eq(seen.state, now.state);
        cr_assert_eq(seen.epoch, now.epoch);
        cr_assert_eq(seen.slot_generation, now.slot_generation);
        control((cbm_core_control)change, 0);
    }
}

Test(glance, an_epoch_that_is_the_last_is_followed_by_0)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .first_epoch = (uint32_t)CBM_CORE_EPOCH_MASK - 1});
    create("a");
    cr_assert_eq(glance().epoch, CBM_CORE_EPOCH_MASK - 1);
    reset();
    cr_assert_eq(glance().epoch, CBM_CORE_EPOCH_MASK);
    cbm_core_permit before = begin();
    reset();
    cr_assert_eq(glance().epoch, 0);
    cr_assert_eq(status().epoch, 0);
    report(before, CBM_CORE_FAILURE);
    cr_assert_eq(statistics().late_reports, 1);
    cr_assert_eq(status().failures, 0);
    report(begin(), CBM_CORE_FAILURE);
    cr_assert_eq(status().failures, 1, "permits of epoch 0 are as good as others");
}

Test(glance, epochs_of_a_manager_start_at_1_or_where_they_are_told)
{
    static const struct {
        uint32_t first, epoch, generation;
    } cases[] = {{0, 1, 1},
                 {7, 7, 7},
                 {(1u << CBM_CORE_EPOCH_BITS) + 5, 5, (1u << CBM_CORE_EPOCH_BITS) + 5},
                 {UINT32_MAX, (uint32_t)CBM_CORE_EPOCH_MASK, UINT32_MAX}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        given_manager(&(cbm_core_options){.first_epoch = cases[i].first});
        create("a");
        cr_assert_eq(glance().epoch, cases[i].epoch);
        cr_assert_eq(glance().slot_generation, cases[i].generation);
        cbm_core_manager_free(manager);
        manager = NULL;
    }
}

Test(glance, no_slot_generation_is_0)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .first_epoch = UINT32_MAX});
    create("a");
    cr_assert_eq(glance().slot_generation, UINT32_MAX);
    cbm_core_permit before = begin();
    remove_breaker("a");
    create("a");
    cr_assert_eq(glance().slot_generation, 1);
    report(before, CBM_CORE_FAILURE);
    cr_assert_eq(statistics().late_reports, 1);
}

Test(glance, of_an_empty_slot_it_tells_what_the_next_breaker_there_gets)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .first_epoch = (uint32_t)CBM_CORE_EPOCH_MASK});
    for (int round = 0; round < 20; round++) {
        cbm_core_glance before = glance_at_nothing(0);
        create(round % 2 ? "a" : "b");
        cbm_core_glance after = glance();
        cr_assert_eq(after.slot_generation, before.slot_generation);
        cr_assert_eq(after.epoch, before.epoch);
        for (int i = round % 3; i > 0; i--) {
            cr_assert_eq(cbm_core_reset(manager, round % 2 ? "a" : "b", now_ns), 0);
        }
        remove_breaker(round % 2 ? "a" : "b");
        cr_assert_neq(glance_at_nothing(0).epoch, after.epoch);
        cr_assert_neq(glance_at_nothing(0).slot_generation, after.slot_generation);
    }
}

Test(glance, an_empty_slot_has_nothing_else_to_tell)
{
    given("");
    remove_breaker("a");
    cbm_core_glance nothing = glance_at_nothing(0);
    cr_assert_eq(nothing.state, CBM_CORE_CLOSED);
    cr_assert_not(nothing.fast);
    cr_assert_not(nothing.full);
    cr_assert_not(nothing.due);
    cr_assert_not(nothing.by_seconds);
    cr_assert_eq(nothing.retry_at_ns, 0);
}

Test(glance, slots_never_used_have_the_numbers_of_new_ones)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .first_epoch = 42, .max_breakers = 2});
    create("a");
    reset();
    for (uint32_t slot = 1; slot < 200; slot++) { /* also beyond what there may ever be */
        cr_assert_eq(glance_at_nothing(slot).epoch, 42);
        cr_assert_eq(glance_at_nothing(slot).slot_generation, 42);
    }
    cr_assert_eq(glance_at_nothing(UINT32_MAX).epoch, 42);
}

Test(glance, a_creation_that_fails_leaves_the_numbers_as_they_were)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .max_breakers = 1});
    create("a");
    cr_assert_eq(cbm_core_get(manager, "b", NULL, now_ns, NULL), CBM_CORE_E_FULL);
    remove_breaker("a");
    cbm_core_glance before = glance_at_nothing(0);
    create("b");
    cr_assert_eq(glance().epoch, before.epoch);
}

/* ---- fast: successes may be held back ---- */

Test(glance, without_a_window_successes_may_always_be_held_back)
{
    given("rule=consecutive failure_threshold=2 timeout_ms=1000");
    cr_assert(glance().fast);
    fail(1);
    cr_assert(glance().fast);
    fail(1);
    cr_assert_not(glance().fast, "OPEN");
    make_due();
    cbm_core_permit probe = begin();
    cr_assert_not(glance().fast, "HALF_OPEN");
    report(probe, CBM_CORE_SUCCESS);
    cr_assert(glance().fast);
}

Test(glance, under_failures_too)
{
    given("rule=failures failure_threshold=2 window_s=10");
    fail(1);
    cr_assert(glance().fast);
    advance_ms(5000);
    cr_assert(glance().fast);
    fail(1);
    cr_assert_not(glance().fast);
}

Test(glance, by_hand_everything_that_records_nothing_or_opens_nothing_may_be_held_back)
{
    given("rule=consecutive");
    control(CBM_CORE_CONTROL_DISABLE, 0);
    cr_assert(glance().fast);
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    cr_assert(glance().fast);
    control(CBM_CORE_CONTROL_FORCE_OPEN, 0);
    cr_assert_not(glance().fast);
}

Test(glance, in_a_count_window_fast_ends_where_the_first_evaluated_success_would_open)
{
    given("rule=count_window window_size=10 minimum_calls=4 failure_rate=50");
    fail(1);
    cr_assert(glance().fast, "1 of 4 at the least");
    fail(1);
    cr_assert_not(glance().fast, "2 of 4: two successes would open");
    succeed(1);
    cr_assert_not(glance().fast);
    succeed(1);
    assert_state(CBM_CORE_OPEN);
}

Test(glance, in_a_full_count_window_the_oldest_outcome_goes_first)
{
    given("rule=count_window window_size=4 minimum_calls=4 failure_rate=50");
    fail(1);
    succeed(3);
    cr_assert(glance().fast, "the failure goes");
    succeed(1);
    fail(1);
    cr_assert(glance().fast, "1 of 4");
    cr_assert_eq(glance().by_seconds, false);
}

Test(glance, slow_calls_end_fast_as_failures_do)
{
    given("rule=count_window window_size=10 minimum_calls=4 slow_call_rate=50 slow_call_duration_ms=100");
    report_lasting(CBM_CORE_SUCCESS, 101);
    cr_assert(glance().fast);
    report_lasting(CBM_CORE_SUCCESS, 101);
    cr_assert_not(glance().fast);
}

Test(glance, in_a_time_window_fast_comes_back_when_the_failures_leave_it)
{
    given("rule=time_window window_s=2 minimum_calls=4 failure_rate=50");
    cr_assert(glance().by_seconds);
    fail(2);
    cr_assert_not(glance().fast);
    advance_ms(1000);
    cr_assert_not(glance().fast);
    advance_ms(1000);
    cr_assert(glance().fast);
}

Test(glance, metrics_only_holds_back_what_can_only_say_again_that_it_would_open)
{
    given("rule=count_window window_size=4 minimum_calls=2 failure_rate=50");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    fail(1);
    cr_assert_not(glance().fast);
    fail(1);
    cr_assert(status().would_open);
    cr_assert(glance().fast);
}

Test(glance, only_a_time_window_that_records_goes_by_seconds)
{
    given("rule=time_window");
    cr_assert(glance().by_seconds);
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    cr_assert(glance().by_seconds);
    control(CBM_CORE_CONTROL_DISABLE, 0);
    cr_assert_not(glance().by_seconds);
    control(CBM_CORE_CONTROL_ENABLE, 0);
    make_open();
    cr_assert_not(glance().by_seconds);
}

Test(glance, durations_are_wanted_where_slow_calls_decide)
{
    given("rule=consecutive slow_call_duration_ms=250");
    cr_assert_eq(glance().slow_call_ns, -1);
    cbm_core_policy_request request = policy_of("rule=count_window");
    cr_assert_eq(cbm_core_configure(manager, "a", &request, now_ns, NULL), 0);
    cr_assert_eq(glance().slow_call_ns, 250 * MS);
    request = policy_of("rule=time_window");
    cr_assert_eq(cbm_core_configure(manager, "a", &request, now_ns, NULL), 0);
    cr_assert_eq(glance().slow_call_ns, 250 * MS);
    request = policy_of("rule=failures window_s=10");
    cr_assert_eq(cbm_core_configure(manager, "a", &request, now_ns, NULL), 0);
    cr_assert_eq(glance().slow_call_ns, -1);
}

/* ---- What is refused, and until when ---- */

Test(glance, open_is_refused_until_its_end)
{
    given("failure_threshold=1 timeout_ms=1000");
    int64_t opened_ns = now_ns;
    fail(1);
    cr_assert_eq(glance().retry_at_ns, opened_ns + 1000 * MS);
    advance_ms(300);
    cr_assert_eq(glance().retry_at_ns, opened_ns + 1000 * MS);
    report_open_for(NULL, CBM_CORE_FAILURE, 5000);
    cr_assert_eq(glance().retry_at_ns, opened_ns + 5300 * MS);
    cr_assert_not(glance().due, "what ends OPEN is a begin");
}

Test(glance, forced_open_is_refused_until_somebody_enables_it_or_its_end)
{
    given("");
    control(CBM_CORE_CONTROL_FORCE_OPEN, 0);
    cr_assert_eq(glance().retry_at_ns, CBM_CORE_NEVER_NS);
    control(CBM_CORE_CONTROL_FORCE_OPEN, 70);
    cr_assert_eq(glance().retry_at_ns, now_ns + 70 * MS);
    cr_assert_not(glance().due);
    advance_ms(70);
    cr_assert(glance().due);
    cr_assert_eq(glance().state, CBM_CORE_FORCED_OPEN, "looking changes nothing");
    cr_assert_not(cbm_core_tick(manager, now_ns, 1));
    cr_assert_eq(glance().state, CBM_CORE_CLOSED);
    cr_assert_not(glance().due);
}

Test(glance, half_open_is_full_until_the_first_lease_ends)
{
    given("failure_threshold=1 half_open_calls=2 success_threshold=2");
    make_open();
    make_due();
    cbm_core_permit first = begin_held(1, 500);
    cr_assert_not(glance().full);
    cr_assert_eq(glance().retry_at_ns, 0);
    (void)begin_held(1, 300);
    cr_assert(glance().full);
    cr_assert_eq(glance().retry_at_ns, now_ns + 300 * MS);
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
    report(first, CBM_CORE_IGNORED);
    cr_assert_not(glance().full);
}

Test(glance, half_open_is_full_for_as_long_as_its_holder_lives)
{
    given("failure_threshold=1");
    make_open();
    make_due();
    (void)begin_held(1, 0);
    cr_assert(glance().full);
    cr_assert_eq(glance().retry_at_ns, CBM_CORE_NEVER_NS);
}

Test(glance, a_lease_that_ran_out_is_due_and_not_yet_done)
{
    given("failure_threshold=1");
    make_open();
    make_due();
    (void)begin_held(1, 40);
    cr_assert_not(glance().due);
    advance_ms(40);
    cr_assert(glance().due);
    cr_assert_eq(glance().state, CBM_CORE_HALF_OPEN);
    cr_assert_eq(glance().epoch, glance().epoch);
    assert_state(CBM_CORE_OPEN); /* who reads settles */
    cr_assert_not(glance().due);
}

Test(glance, an_idle_breaker_is_due_when_it_expires_and_not_when_it_was_used_since)
{
    given("expire_after_s=10");
    advance_ms(9999);
    cr_assert_not(glance().due);
    advance_ms(1);
    cr_assert(glance().due);
    succeed(1);
    cr_assert_not(glance().due);
}

Test(glance, a_clock_that_runs_backwards_is_not_believed)
{
    given("");
    control(CBM_CORE_CONTROL_DISABLE, 50);
    advance_ms(60);
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cbm_core_glance seen;
    cr_assert_eq(cbm_core_glance_at(manager, 0, now_ns - 60 * MS, &seen), 0);
    cr_assert(seen.due);
}

/* ---- Finding ---- */

Test(glance, a_breaker_is_found_by_its_name)
{
    uint32_t slot = 99;
    given("");
    create("b");
    cr_assert_eq(cbm_core_find(manager, "b", &slot), 0);
    cr_assert_eq(slot, 1);
    cr_assert_eq(cbm_core_find(manager, "a", &slot), 0);
    cr_assert_eq(slot, 0);
    cr_assert_eq(cbm_core_find(manager, "c", &slot), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(cbm_core_find(manager, "", &slot), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(cbm_core_find(manager, NULL, &slot), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(slot, 0);
}

Test(glance, finding_changes_nothing_not_even_what_time_has_done)
{
    uint32_t slot;
    given("");
    control(CBM_CORE_CONTROL_DISABLE, 10);
    advance_ms(20);
    cr_assert_eq(cbm_core_find(manager, "a", &slot), 0);
    cr_assert(glance().due);
    cr_assert_eq(glance().state, CBM_CORE_DISABLED);
}

Test(glance, what_is_due_comes_in_the_order_of_its_deadlines)
{
    uint32_t slot;
    given("");
    create("b");
    cr_assert_not(cbm_core_next_due(manager, now_ns, &slot));
    control(CBM_CORE_CONTROL_DISABLE, 20);
    cr_assert_eq(cbm_core_control_set(manager, "b", CBM_CORE_CONTROL_DISABLE, NULL, 10, now_ns), 0);
    advance_ms(9);
    cr_assert_not(cbm_core_next_due(manager, now_ns, &slot));
    advance_ms(1);
    cr_assert(cbm_core_next_due(manager, now_ns, &slot));
    cr_assert_eq(slot, 1);
    advance_ms(20);
    cr_assert(cbm_core_next_due(manager, now_ns, &slot));
    cr_assert_eq(slot, 1);
    cr_assert(cbm_core_tick(manager, now_ns, 1));
    cr_assert(cbm_core_next_due(manager, now_ns, &slot));
    cr_assert_eq(slot, 0);
    cr_assert_not(cbm_core_tick(manager, now_ns, 1));
    cr_assert_not(cbm_core_next_due(manager, now_ns, &slot));
}

/* The rules: which outcomes open a breaker that is CLOSED. */
#include "core_fixture.h"

TestSuite(consecutive, .fini = end_of_test);
TestSuite(failures, .fini = end_of_test);
TestSuite(failure_spacing, .fini = end_of_test);
TestSuite(count_window, .fini = end_of_test);
TestSuite(time_window, .fini = end_of_test);
TestSuite(slow_calls, .fini = end_of_test);

/* ---- consecutive ---- */

Test(consecutive, opens_at_the_threshold_th_failure_in_a_row)
{
    given("failure_threshold=3");
    fail(2);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(consecutive, opens_after_five_failures_when_nothing_is_said)
{
    given("");
    fail(4);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().threshold, 5);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(consecutive, a_success_clears_the_count)
{
    given("failure_threshold=3");
    fail(2);
    cr_assert_eq(status().failures, 2);
    succeed(1);
    cr_assert_eq(status().failures, 0);
    fail(2);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(consecutive, a_timeout_is_a_failure)
{
    given("failure_threshold=2");
    report(begin(), CBM_CORE_TIMEOUT);
    cr_assert_eq(status().failures, 1);
    report(begin(), CBM_CORE_TIMEOUT);
    assert_state(CBM_CORE_OPEN);
}

Test(consecutive, an_ignored_outcome_neither_counts_nor_clears)
{
    given("failure_threshold=2");
    fail(1);
    report(begin(), CBM_CORE_IGNORED);
    cr_assert_eq(status().failures, 1);
    for (int i = 0; i < 10; i++) {
        report(begin(), CBM_CORE_IGNORED);
    }
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(consecutive, never_forgets_a_failure_for_its_age)
{
    given("failure_threshold=2");
    fail(1);
    advance_ms(INT64_C(365) * 86400 * 1000);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(consecutive, the_first_failure_opens_with_a_threshold_of_one)
{
    given("failure_threshold=1");
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(consecutive, keeps_the_number_that_opened_it_in_sight_until_closed)
{
    given("failure_threshold=3 timeout_ms=1000");
    fail(3);
    cr_assert_eq(status().failures, 3);
    advance_ms(1000);
    cbm_core_permit probe = begin();
    cr_assert_eq(status().failures, 3);
    report(probe, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 0);
}

Test(consecutive, has_no_rates)
{
    given("");
    fail(1);
    cr_assert_eq(status().failure_rate, -1);
    cr_assert_eq(status().slow_call_rate, -1);
    cr_assert_eq(status().calls, 0);
}

/* ---- failures ---- */

Test(failures, opens_at_threshold_failures_within_the_window)
{
    given("rule=failures failure_threshold=3 window_s=60");
    fail(2);
    advance_ms(59999);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(failures, successes_decide_nothing)
{
    given("rule=failures failure_threshold=3 window_s=60");
    fail(1);
    succeed(100);
    fail(1);
    succeed(100);
    cr_assert_eq(status().failures, 2);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(failures, one_a_nanosecond_younger_than_the_window_still_counts)
{
    given("rule=failures failure_threshold=2 window_s=1");
    fail(1);
    advance_ns(SECOND - 1);
    cr_assert_eq(status().failures, 1);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(failures, one_exactly_a_window_old_no_longer_counts)
{
    given("rule=failures failure_threshold=2 window_s=1");
    fail(1);
    advance_ns(SECOND);
    cr_assert_eq(status().failures, 0);
    fail(1);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 1);
}

Test(failures, slide_and_do_not_tumble)
{
    given("rule=failures failure_threshold=3 window_s=10");
    for (int i = 0; i < 50; i++) {
        advance_ms(5000);
        fail(1);
        assert_state(CBM_CORE_CLOSED);
    }
    advance_ms(4999);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(failures, opens_for_a_job_that_runs_every_five_minutes)
{
    given("rule=failures failure_threshold=3 window_s=1800 timeout_ms=60000");
    for (int i = 0; i < 3; i++) {
        assert_state(CBM_CORE_CLOSED);
        fail(1);
        advance_ms(300000);
    }
    assert_state(CBM_CORE_OPEN);
}

Test(failures, the_number_that_opened_it_does_not_age_while_open)
{
    given("rule=failures failure_threshold=2 window_s=1 timeout_ms=60000");
    fail(2);
    advance_ms(30000);
    cr_assert_eq(status().failures, 2);
}

Test(failures, start_from_none_after_closing)
{
    given("rule=failures failure_threshold=2 window_s=3600 timeout_ms=1000");
    fail(2);
    advance_ms(1000);
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(failures, holds_as_many_times_as_the_largest_threshold)
{
    given("rule=failures failure_threshold=10000 window_s=604800");
    for (int i = 0; i < 9999; i++) {
        fail(1);
        advance_ms(1);
    }
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 9999);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

/* ---- failure spacing ---- */

Test(failure_spacing, makes_one_failure_of_thirty_two_in_one_blip)
{
    given("failure_threshold=2 failure_spacing_ms=1000");
    cbm_core_permit permits[32];
    for (int i = 0; i < 32; i++) {
        permits[i] = begin();
    }
    for (int i = 0; i < 32; i++) {
        report(permits[i], CBM_CORE_FAILURE);
        advance_ms(10);
    }
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 1);
    cr_assert_eq(statistics().failed_calls, 32);
    cr_assert_eq(statistics().lumped_failures, 31);
}

Test(failure_spacing, is_measured_from_the_last_counted_failure_and_ends_exactly_at_it)
{
    given("failure_threshold=3 failure_spacing_ms=1000");
    fail(1);
    advance_ns(SECOND - 1);
    fail(1);
    cr_assert_eq(status().failures, 1);
    advance_ns(1); /* a second after the counted one, a nanosecond after the lumped one */
    fail(1);
    cr_assert_eq(status().failures, 2);
}

Test(failure_spacing, holds_under_the_rule_failures_too)
{
    given("rule=failures window_s=60 failure_threshold=2 failure_spacing_ms=1000");
    fail(5);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 1);
    advance_ms(1000);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(failure_spacing, never_spares_a_probe)
{
    given("failure_threshold=1 failure_spacing_ms=60000 timeout_ms=1000");
    fail(1);
    advance_ms(1000);
    fail(1);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(statistics().lumped_failures, 0);
}

Test(failure_spacing, does_not_hide_a_success)
{
    given("failure_threshold=2 failure_spacing_ms=1000");
    fail(1);
    succeed(1);
    cr_assert_eq(status().failures, 0);
}

Test(failure_spacing, begins_anew_after_closing)
{
    given("failure_threshold=1 failure_spacing_ms=60000 timeout_ms=1000");
    fail(1);
    advance_ms(1000);
    succeed(1);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

/* ---- count window ---- */

Test(count_window, opens_when_the_rate_is_reached_with_the_minimum_recorded)
{
    given("rule=count_window window_size=10 minimum_calls=4 failure_rate=50");
    fail(2);
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failure_rate, -1);
    succeed(1); /* the fourth: two of four failed, and it is a success that opens */
    assert_state(CBM_CORE_OPEN);
}

Test(count_window, stays_closed_just_below_the_rate)
{
    given("rule=count_window window_size=1000 minimum_calls=1000 failure_rate=50.1");
    fail(500);
    succeed(500);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_float_eq(status().failure_rate, 50.0, 1e-9);
    fail(1);
    assert_state(CBM_CORE_CLOSED); /* the oldest failure left as this one came */
    cr_assert_eq(status().failures, 500);
}

Test(count_window, forgets_the_oldest_outcome_when_full)
{
    given("rule=count_window window_size=4 minimum_calls=4 failure_rate=75");
    fail(2);
    succeed(2);
    cr_assert_eq(status().failures, 2);
    succeed(1);
    cr_assert_eq(status().failures, 1);
    cr_assert_eq(status().calls, 4);
    fail(2); /* S S F F: the first two failures are gone */
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 2);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(count_window, does_not_record_ignored_outcomes)
{
    given("rule=count_window window_size=4 minimum_calls=2 failure_rate=50");
    fail(1);
    for (int i = 0; i < 10; i++) {
        report(begin(), CBM_CORE_IGNORED);
    }
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().calls, 1);
}

Test(count_window, is_empty_after_closing)
{
    given("rule=count_window window_size=4 minimum_calls=2 failure_rate=50 half_open_calls=1 timeout_ms=1000");
    fail(2);
    assert_state(CBM_CORE_OPEN);
    advance_ms(1000);
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().calls, 0);
    fail(1);
    assert_state(CBM_CORE_CLOSED);
}

Test(count_window, with_a_minimum_above_its_size_decides_when_it_is_full)
{
    given("rule=count_window window_size=3 minimum_calls=100 failure_rate=100");
    fail(2);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(count_window, tells_the_least_number_of_failures_that_would_open)
{
    given("rule=count_window window_size=10 minimum_calls=4 failure_rate=50");
    cr_assert_eq(status().threshold, 2, "of the minimum, while there are fewer");
    succeed(5);
    cr_assert_eq(status().threshold, 3); /* 2 of 5 are 40 %, 3 of 5 are 60 % */
    succeed(5);
    cr_assert_eq(status().threshold, 5);
}

Test(count_window, stays_in_sight_as_it_was_when_it_opened)
{
    given("rule=count_window window_size=10 minimum_calls=4 failure_rate=75 half_open_calls=3 timeout_ms=1000");
    succeed(1);
    fail(3);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(status().calls, 4);
    cr_assert_eq(status().failures, 3);
    cr_assert_float_eq(status().failure_rate, 75, 1e-9);
    advance_ms(1000);
    succeed(1);
    cr_assert_eq(status().calls, 1, "in HALF_OPEN the calls are those of the probes");
    cr_assert_eq(status().failures, 3);
    cr_assert_eq(status().failure_rate, -1);
}

/* ---- time window ---- */

Test(time_window, holds_the_current_second_and_those_before_it)
{
    given("rule=time_window window_s=3 minimum_calls=2 failure_rate=100");
    now_ns = 1300 * SECOND + 999999999;
    fail(1);
    now_ns = 1302 * SECOND;
    cr_assert_eq(status().calls, 1);
    now_ns = 1303 * SECOND - 1;
    cr_assert_eq(status().calls, 1);
    now_ns = 1303 * SECOND;
    cr_assert_eq(status().calls, 0);
}

Test(time_window, opens_on_what_lies_in_it)
{
    given("rule=time_window window_s=3 minimum_calls=2 failure_rate=100");
    now_ns = 1300 * SECOND;
    fail(1);
    now_ns = 1303 * SECOND - 1;
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(time_window, forgets_what_lies_before_it)
{
    given("rule=time_window window_s=3 minimum_calls=2 failure_rate=100");
    now_ns = 1300 * SECOND + 999999999;
    fail(1);
    now_ns = 1303 * SECOND;
    fail(1);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 1);
}

Test(time_window, of_one_second_is_the_current_second)
{
    given("rule=time_window window_s=1 minimum_calls=2 failure_rate=100");
    now_ns = 1300 * SECOND + 999999999;
    fail(1);
    now_ns = 1301 * SECOND;
    fail(1);
    assert_state(CBM_CORE_CLOSED);
    now_ns = 1302 * SECOND - 1;
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(time_window, is_empty_after_a_jump_far_beyond_it)
{
    given("rule=time_window window_s=60 minimum_calls=100 failure_rate=100");
    fail(50);
    advance_ms(INT64_C(1000) * 3600 * 24 * 300);
    cr_assert_eq(status().calls, 0);
    fail(1);
    cr_assert_eq(status().calls, 1);
}

/* ---- slow calls ---- */

Test(slow_calls, open_at_their_own_rate)
{
    given("rule=count_window window_size=10 minimum_calls=4 failure_rate=100 slow_call_rate=50 "
          "slow_call_duration_ms=100");
    report_lasting(CBM_CORE_SUCCESS, 101);
    report_lasting(CBM_CORE_SUCCESS, 5);
    report_lasting(CBM_CORE_SUCCESS, 5);
    assert_state(CBM_CORE_CLOSED);
    report_lasting(CBM_CORE_SUCCESS, 101);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(statistics().slow_calls, 2);
    cr_assert_eq(statistics().successful_calls, 4);
}

Test(slow_calls, are_those_that_last_longer_than_the_duration)
{
    given("rule=count_window window_size=10 minimum_calls=10 slow_call_duration_ms=100");
    report_lasting(CBM_CORE_SUCCESS, 100);
    cr_assert_eq(statistics().slow_calls, 0);
    cbm_core_permit permit = begin();
    cbm_core_report just_longer = {.outcome = CBM_CORE_SUCCESS, .duration_ns = 100 * MS + 1};
    cr_assert_eq(cbm_core_call_report(manager, "a", &permit, &just_longer, now_ns, NULL), 0);
    cr_assert_eq(statistics().slow_calls, 1);
}

Test(slow_calls, of_unknown_duration_are_not_slow)
{
    given("rule=time_window window_s=10 minimum_calls=1 failure_rate=100 slow_call_rate=0.1 slow_call_duration_ms=1");
    succeed(5);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().slow_call_rate, 0);
}

Test(slow_calls, decide_nothing_without_a_window)
{
    given("failure_threshold=1 slow_call_duration_ms=1");
    for (int i = 0; i < 200; i++) {
        report_lasting(CBM_CORE_SUCCESS, 1000);
    }
    assert_state(CBM_CORE_CLOSED);
}

Test(slow_calls, that_fail_count_in_both_rates)
{
    given("rule=count_window window_size=4 minimum_calls=4 failure_rate=100 slow_call_rate=100 "
          "slow_call_duration_ms=100");
    report_lasting(CBM_CORE_FAILURE, 500);
    report_lasting(CBM_CORE_SUCCESS, 5);
    report_lasting(CBM_CORE_SUCCESS, 5);
    report_lasting(CBM_CORE_SUCCESS, 5);
    cr_assert_float_eq(status().failure_rate, 25.0, 1e-9);
    cr_assert_float_eq(status().slow_call_rate, 25.0, 1e-9);
}

/* What a breaker's statistics hold, and the texts that it keeps. */
#include "core_fixture.h"

#include <string.h>

TestSuite(statistics, .fini = end_of_test);
TestSuite(durations, .fini = end_of_test);
TestSuite(error_text, .fini = end_of_test);

Test(statistics, of_a_new_breaker_are_zero)
{
    given("");
    cbm_core_statistics s = statistics();
    cr_assert_eq(s.total_calls, 0);
    cr_assert_eq(s.rejected_calls, 0);
    cr_assert_eq(s.state_transitions, 0);
    cr_assert_eq(s.p50_ms, -1);
    cr_assert_eq(s.p90_ms, -1);
    cr_assert_eq(s.p99_ms, -1);
    cr_assert_eq(status().last_failure_ns_ago, -1);
    cr_assert_str_eq(status().last_error_text, "");
}

Test(statistics, total_is_the_sum_of_success_failure_and_ignored)
{
    given("failure_threshold=1000");
    succeed(7);
    fail(3);
    report(begin(), CBM_CORE_TIMEOUT);
    report(begin(), CBM_CORE_TIMEOUT);
    report(begin(), CBM_CORE_IGNORED);
    cbm_core_statistics s = statistics();
    cr_assert_eq(s.successful_calls, 7);
    cr_assert_eq(s.failed_calls, 5);
    cr_assert_eq(s.timeout_calls, 2);
    cr_assert_eq(s.ignored_calls, 1);
    cr_assert_eq(s.total_calls, 13);
}

Test(statistics, do_not_hold_calls_in_flight_or_refused)
{
    given("failure_threshold=1");
    begin();
    cr_assert_eq(statistics().total_calls, 0);
    fail(1);
    assert_refused(CBM_CORE_E_OPEN);
    cr_assert_eq(statistics().total_calls, 1);
    cr_assert_eq(statistics().rejected_calls, 1);
}

Test(statistics, count_transitions_by_pair)
{
    given("failure_threshold=1 timeout_ms=1000");
    make_due();
    fail(1);
    make_due();
    succeed(1);
    cbm_core_statistics s = statistics();
    cr_assert_eq(s.transitions[CBM_CORE_CLOSED][CBM_CORE_OPEN], 1);
    cr_assert_eq(s.transitions[CBM_CORE_OPEN][CBM_CORE_HALF_OPEN], 2);
    cr_assert_eq(s.transitions[CBM_CORE_HALF_OPEN][CBM_CORE_OPEN], 1);
    cr_assert_eq(s.transitions[CBM_CORE_HALF_OPEN][CBM_CORE_CLOSED], 1);
    cr_assert_eq(s.state_transitions, 5);
    cr_assert_eq(count_events(CBM_CORE_EVENT_TRANSITION), 5);
}

Test(statistics, count_no_transition_where_the_state_stays)
{
    given("");
    reset();
    control(CBM_CORE_CONTROL_ENABLE, 0);
    cr_assert_eq(statistics().state_transitions, 0);
}

Test(statistics, tell_the_time_in_each_state)
{
    given("failure_threshold=1 timeout_ms=1000 permit_lease_ms=400");
    advance_ms(50);
    fail(1);
    advance_ms(1200);
    begin();
    advance_ms(700); /* 400 of HALF_OPEN, then OPEN again */
    cbm_core_statistics s = statistics();
    cr_assert_eq(s.time_in_state_ns[CBM_CORE_CLOSED], 50 * MS);
    cr_assert_eq(s.time_in_state_ns[CBM_CORE_OPEN], 1500 * MS);
    cr_assert_eq(s.time_in_state_ns[CBM_CORE_HALF_OPEN], 400 * MS);
    cr_assert_eq(s.time_in_state_ns[CBM_CORE_FORCED_OPEN], 0);
}

Test(statistics, tell_when_the_last_failure_was)
{
    given("");
    fail(1);
    advance_ms(250);
    succeed(1);
    cr_assert_eq(status().last_failure_ns_ago, 250 * MS);
}

Test(statistics, do_not_run_backwards_with_the_clock)
{
    given("timeout_ms=1000");
    make_open();
    int64_t latest = now_ns;
    now_ns -= 100 * SECOND;
    cr_assert_eq(retry_after_ms(), 1000);
    assert_refused(CBM_CORE_E_OPEN);
    now_ns = latest + SECOND;
    begin();
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(statistics().time_in_state_ns[CBM_CORE_OPEN], SECOND);
}

/* ---- durations ---- */

Test(durations, give_percentiles_within_the_width_of_a_bucket)
{
    given("failure_threshold=1000 slow_call_duration_ms=86400000");
    for (int i = 1; i <= 1000; i++) {
        report_lasting(CBM_CORE_SUCCESS, i);
    }
    cbm_core_statistics s = statistics();
    cr_assert_float_eq(s.p50_ms, 500, 125);
    cr_assert_float_eq(s.p90_ms, 900, 225);
    cr_assert_float_eq(s.p99_ms, 990, 250);
    cr_assert_leq(s.p50_ms, s.p90_ms);
    cr_assert_leq(s.p90_ms, s.p99_ms);
}

Test(durations, that_are_not_known_are_in_no_percentile)
{
    given("");
    succeed(100);
    cr_assert_eq(statistics().p50_ms, -1);
    report_lasting(CBM_CORE_SUCCESS, 10);
    cr_assert_float_eq(statistics().p50_ms, 10, 2.5);
}

Test(durations, of_no_time_at_all_and_of_centuries_are_taken)
{
    given("failure_threshold=1000");
    const int64_t lasting[] = {0, 1, 999, INT64_C(1) << 40, INT64_C(1) << 62, INT64_MAX};
    for (int i = 0; i < 6; i++) {
        cbm_core_report how = {.outcome = CBM_CORE_SUCCESS, .duration_ns = lasting[i]};
        cr_assert_eq(cbm_core_call_report(manager, "a", NULL, &how, now_ns, NULL), 0);
        cr_assert_geq(statistics().p99_ms, 0);
    }
    cr_assert_eq(statistics().successful_calls, 6);
}

/* ---- error texts ---- */

static void fail_with(cbm_core_outcome outcome, const char *text)
{
    cbm_core_report how = {.outcome = outcome, .duration_ns = -1, .text = text};
    cr_assert_eq(cbm_core_call_report(manager, "a", NULL, &how, now_ns, NULL), 0);
}

Test(error_text, of_the_last_failure_or_timeout_is_kept)
{
    given("");
    fail_with(CBM_CORE_FAILURE, "connection refused");
    cr_assert_str_eq(status().last_error_text, "connection refused");
    fail_with(CBM_CORE_TIMEOUT, "no answer in 5 s");
    cr_assert_str_eq(status().last_error_text, "no answer in 5 s");
    fail_with(CBM_CORE_SUCCESS, "fine");
    fail_with(CBM_CORE_IGNORED, "404");
    cr_assert_str_eq(status().last_error_text, "no answer in 5 s");
}

Test(error_text, that_is_too_long_is_cut_at_a_character_and_the_failure_counts)
{
    given("");
    char text[1000];
    memset(text, 'e', sizeof(text));
    memcpy(text + 254, "\xe2\x82\xac", 3); /* three bytes, of which two would fit */
    text[999] = '\0';
    fail_with(CBM_CORE_FAILURE, text);
    cr_assert_eq(strlen(status().last_error_text), 254);
    cr_assert_eq(status().failures, 1);
}

Test(error_text, loses_its_control_characters)
{
    given("");
    fail_with(CBM_CORE_FAILURE, "line one\nline\ttwo\x1b[31m\x7f!");
    cr_assert_str_eq(status().last_error_text, "line one line two [31m !");
}

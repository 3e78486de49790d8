/* The states OPEN and HALF_OPEN: how long, who probes, what a probe decides, and what open_for_ms does. */
#include "core_fixture.h"

TestSuite(open, .fini = end_of_test);
TestSuite(backoff, .fini = end_of_test);
TestSuite(half_open, .fini = end_of_test);
TestSuite(half_open_window, .fini = end_of_test);
TestSuite(max_wait, .fini = end_of_test);

/* ---- OPEN ---- */

Test(open, refuses_until_its_deadline)
{
    given("timeout_ms=1000");
    make_open();
    advance_ns(SECOND - 1);
    cbm_core_decision decision;
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_OPEN);
    cr_assert_eq(decision.retry_after_ns, 1);
    cr_assert_eq(decision.state, CBM_CORE_OPEN);
    cr_assert_not(status().due);
}

Test(open, lets_a_probe_through_exactly_at_its_deadline)
{
    given("timeout_ms=1000");
    make_open();
    advance_ns(SECOND);
    cr_assert(status().due);
    cr_assert_eq(status().retry_after_ns, 0);
    cbm_core_decision decision;
    cr_assert_eq(try_begin(&decision), 0);
    cr_assert(decision.probe);
    cr_assert_eq(decision.state, CBM_CORE_HALF_OPEN);
    cr_assert_neq(decision.permit.id, 0);
}

Test(open, lets_a_probe_through_after_its_deadline)
{
    given("timeout_ms=1000");
    make_open();
    advance_ns(SECOND + 1);
    begin();
    assert_state(CBM_CORE_HALF_OPEN);
}

Test(open, stays_open_after_its_deadline_until_a_call_comes)
{
    given("timeout_ms=1000");
    make_open();
    advance_ms(1000000);
    assert_state(CBM_CORE_OPEN);
    cr_assert(status().due);
}

Test(open, lasts_a_minute_when_nothing_is_said)
{
    given("");
    make_open();
    cr_assert_eq(retry_after_ms(), 60000);
}

Test(open, counts_what_it_refuses)
{
    given("timeout_ms=1000");
    make_open();
    assert_refused(CBM_CORE_E_OPEN);
    assert_refused(CBM_CORE_E_OPEN);
    cr_assert_eq(statistics().rejected_calls, 2);
    cr_assert_eq(statistics().half_open_rejected_calls, 0);
    cr_assert_eq(count_events(CBM_CORE_EVENT_REJECTED), 2);
    cr_assert_eq(last_event(CBM_CORE_EVENT_REJECTED)->error, CBM_CORE_E_OPEN);
    cr_assert_eq(last_event(CBM_CORE_EVENT_REJECTED)->retry_after_ns, 1000 * MS);
    cr_assert_eq(last_event(CBM_CORE_EVENT_REJECTED)->from, CBM_CORE_OPEN);
    cr_assert_eq(last_event(CBM_CORE_EVENT_REJECTED)->to, CBM_CORE_OPEN);
}

Test(open, tells_its_cause_and_how_long)
{
    given("failure_threshold=4 timeout_ms=1000");
    make_open();
    const cbm_core_event *event = last_event(CBM_CORE_EVENT_TRANSITION);
    cr_assert_eq(event->from, CBM_CORE_CLOSED);
    cr_assert_eq(event->to, CBM_CORE_OPEN);
    cr_assert_eq(event->cause, CBM_CORE_CAUSE_RULE);
    cr_assert_eq(event->failures, 4);
    cr_assert_eq(event->retry_after_ns, 1000 * MS);
    cr_assert_str_eq(event->name, "a");
    advance_ms(1000);
    begin();
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_TIMEOUT_OVER);
}

Test(open, is_neither_lengthened_nor_closed_by_reports_of_earlier_calls)
{
    given("failure_threshold=2 timeout_ms=1000");
    cbm_core_permit early = begin(), other = begin();
    make_open();
    advance_ms(500);
    report(early, CBM_CORE_FAILURE);
    report(other, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(retry_after_ms(), 500);
}

/* ---- backoff and jitter ---- */

static int64_t open_time_after_failed_probe(void)
{
    make_due();
    fail(1);
    assert_state(CBM_CORE_OPEN);
    return retry_after_ms();
}

Test(backoff, multiplies_for_each_reopening_in_a_row)
{
    given("failure_threshold=1 timeout_ms=1000 backoff_multiplier=2");
    make_open();
    cr_assert_eq(retry_after_ms(), 1000);
    cr_assert_eq(open_time_after_failed_probe(), 2000);
    cr_assert_eq(open_time_after_failed_probe(), 4000);
    cr_assert_eq(open_time_after_failed_probe(), 8000);
}

Test(backoff, stops_at_the_longest_timeout)
{
    given("failure_threshold=1 timeout_ms=1000 backoff_multiplier=3 timeout_max_ms=5000");
    make_open();
    cr_assert_eq(open_time_after_failed_probe(), 3000);
    for (int i = 0; i < 2000; i++) {
        cr_assert_eq(open_time_after_failed_probe(), 5000);
    }
}

Test(backoff, begins_anew_after_closing)
{
    given("failure_threshold=1 timeout_ms=1000 backoff_multiplier=2");
    make_open();
    open_time_after_failed_probe();
    make_due();
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    cr_assert_eq(retry_after_ms(), 1000);
}

Test(backoff, begins_anew_after_a_reset)
{
    given("failure_threshold=1 timeout_ms=1000 backoff_multiplier=2");
    make_open();
    open_time_after_failed_probe();
    reset();
    fail(1);
    cr_assert_eq(retry_after_ms(), 1000);
}

Test(backoff, is_none_unless_asked_for)
{
    given("failure_threshold=1 timeout_ms=1000");
    make_open();
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(open_time_after_failed_probe(), 1000);
    }
}

Test(backoff, takes_fractions)
{
    given("failure_threshold=1 timeout_ms=1000 backoff_multiplier=1.5");
    make_open();
    cr_assert_eq(open_time_after_failed_probe(), 1500);
    cr_assert_eq(open_time_after_failed_probe(), 2250);
    cr_assert_eq(open_time_after_failed_probe(), 3375);
}

/* ---- HALF_OPEN of the rules without a window ---- */

Test(half_open, gives_one_permit_unless_told_otherwise)
{
    given("timeout_ms=1000");
    make_due();
    begin();
    cbm_core_decision decision;
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_HALF_OPEN_FULL);
    cr_assert_eq(decision.state, CBM_CORE_HALF_OPEN);
    cr_assert_eq(statistics().rejected_calls, 1);
    cr_assert_eq(statistics().half_open_rejected_calls, 1);
    cr_assert_eq(status().permits_out, 1);
}

Test(half_open, tells_a_refused_call_the_end_of_the_earliest_lease)
{
    given("timeout_ms=1000 half_open_calls=2 success_threshold=2 permit_lease_ms=700");
    make_due();
    begin();
    advance_ms(100);
    begin();
    advance_ms(100);
    cbm_core_decision decision;
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_HALF_OPEN_FULL);
    cr_assert_eq(decision.retry_after_ns, 500 * MS);
    cr_assert_eq(status().retry_after_ns, 500 * MS);
}

Test(half_open, tells_a_refused_call_minus_one_when_no_lease_ends)
{
    given("timeout_ms=1000 permit_lease_ms=0");
    make_due();
    begin_held(7, -1);
    cbm_core_decision decision;
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_HALF_OPEN_FULL);
    cr_assert_eq(decision.retry_after_ns, -1);
}

Test(half_open, closes_after_a_success)
{
    given("timeout_ms=1000");
    make_due();
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_PROBES);
}

Test(half_open, reopens_after_a_failure)
{
    given("timeout_ms=1000");
    make_due();
    fail(1);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(retry_after_ms(), 1000);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_PROBES);
}

Test(half_open, reopens_after_one_failure_among_successes)
{
    given("timeout_ms=1000 success_threshold=3");
    make_due();
    succeed(2);
    assert_state(CBM_CORE_HALF_OPEN);
    report(begin(), CBM_CORE_TIMEOUT);
    assert_state(CBM_CORE_OPEN);
}

Test(half_open, closes_after_success_threshold_successes)
{
    given("timeout_ms=1000 success_threshold=3");
    make_due();
    succeed(2);
    assert_state(CBM_CORE_HALF_OPEN);
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
}

Test(half_open, has_no_more_permits_out_than_half_open_calls)
{
    given("timeout_ms=1000 success_threshold=10 half_open_calls=3");
    make_due();
    cbm_core_permit first = begin();
    begin();
    begin();
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
    report(first, CBM_CORE_SUCCESS);
    begin();
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
}

Test(half_open, gives_no_more_permits_than_successes_are_missing)
{
    given("timeout_ms=1000 success_threshold=2 half_open_calls=5");
    make_due();
    cbm_core_permit first = begin();
    begin();
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
    report(first, CBM_CORE_SUCCESS);
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
}

Test(half_open, an_ignored_outcome_gives_the_permit_back)
{
    given("timeout_ms=1000");
    make_due();
    report(begin(), CBM_CORE_IGNORED);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(status().permits_out, 0);
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
}

/* ---- HALF_OPEN of the window rules ---- */

#define WINDOW "rule=count_window window_size=10 minimum_calls=5 failure_rate=50 timeout_ms=1000 "

Test(half_open_window, lets_half_open_calls_probe)
{
    given(WINDOW "half_open_calls=3");
    make_due();
    begin();
    begin();
    begin();
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
}

Test(half_open_window, gives_a_recorded_call_no_successor)
{
    given(WINDOW "half_open_calls=3");
    make_due();
    cbm_core_permit first = begin();
    begin();
    report(first, CBM_CORE_SUCCESS);
    begin();
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
}

Test(half_open_window, closes_when_the_rate_of_all_probes_is_below)
{
    given(WINDOW "half_open_calls=3");
    make_due();
    fail(1);
    succeed(1);
    assert_state(CBM_CORE_HALF_OPEN);
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().calls, 0);
}

Test(half_open_window, reopens_when_the_rate_of_all_probes_is_reached)
{
    given(WINDOW "half_open_calls=3");
    make_due();
    succeed(1);
    fail(1);
    assert_state(CBM_CORE_HALF_OPEN);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(half_open_window, decides_at_the_minimum_when_that_is_less)
{
    given(WINDOW "half_open_calls=8");
    make_due();
    succeed(4);
    assert_state(CBM_CORE_HALF_OPEN);
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
}

Test(half_open_window, reopens_when_the_probes_are_slow)
{
    given(WINDOW "half_open_calls=2 slow_call_rate=100 slow_call_duration_ms=10");
    make_due();
    report_lasting(CBM_CORE_SUCCESS, 11);
    assert_state(CBM_CORE_HALF_OPEN);
    report_lasting(CBM_CORE_SUCCESS, 11);
    assert_state(CBM_CORE_OPEN);
}

Test(half_open_window, an_ignored_outcome_gives_the_permit_back)
{
    given(WINDOW "half_open_calls=1");
    make_due();
    report(begin(), CBM_CORE_IGNORED);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(status().calls, 0);
    begin();
}

/* ---- half_open_max_wait_ms ---- */

Test(max_wait, opens_again_exactly_when_it_is_over)
{
    given("timeout_ms=1000 half_open_max_wait_ms=300 permit_lease_ms=10000");
    make_due();
    begin();
    advance_ns(300 * MS - 1);
    assert_state(CBM_CORE_HALF_OPEN);
    advance_ns(1);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(retry_after_ms(), 1000);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_MAX_WAIT);
}

Test(max_wait, is_counted_from_the_beginning_of_half_open)
{
    given("timeout_ms=1000 half_open_max_wait_ms=300 success_threshold=5");
    make_due();
    succeed(1);
    advance_ms(299);
    succeed(1);
    assert_state(CBM_CORE_HALF_OPEN);
    advance_ms(1);
    assert_state(CBM_CORE_OPEN);
}

Test(max_wait, opens_at_its_own_time_whenever_somebody_looks)
{
    given("timeout_ms=1000 half_open_max_wait_ms=300 permit_lease_ms=10000");
    make_due();
    begin();
    advance_ms(300 + 400);
    cr_assert_eq(retry_after_ms(), 600);
}

Test(max_wait, is_a_reopening_in_a_row)
{
    given("timeout_ms=1000 half_open_max_wait_ms=300 backoff_multiplier=2");
    make_due();
    begin();
    advance_ms(300);
    cr_assert_eq(retry_after_ms(), 2000);
}

Test(max_wait, of_zero_is_none)
{
    given("timeout_ms=1000 permit_lease_ms=0");
    make_due();
    begin_held(1, 0);
    advance_ms(INT64_C(1000) * 3600 * 24 * 365);
    assert_state(CBM_CORE_HALF_OPEN);
}

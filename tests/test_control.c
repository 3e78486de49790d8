/* Control by hand: force_open, disable, metrics_only, enable, reset; and the epochs they raise. */
#include "core_fixture.h"

#include <string.h>

TestSuite(force_open, .fini = end_of_test);
TestSuite(disable, .fini = end_of_test);
TestSuite(metrics_only, .fini = end_of_test);
TestSuite(enable, .fini = end_of_test);
TestSuite(control_reason, .fini = end_of_test);
TestSuite(reset_one, .fini = end_of_test);
TestSuite(epoch, .fini = end_of_test);

/* ---- force_open ---- */

Test(force_open, lets_nothing_pass_until_enabled)
{
    given("timeout_ms=1000");
    control(CBM_CORE_CONTROL_FORCE_OPEN, 0);
    advance_ms(1000000);
    cbm_core_decision decision;
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_FORCED_OPEN);
    cr_assert_eq(decision.retry_after_ns, -1);
    cr_assert_eq(status().retry_after_ns, -1);
    cr_assert_eq(statistics().rejected_calls, 1);
    assert_state(CBM_CORE_FORCED_OPEN);
}

Test(force_open, ends_by_itself_exactly_when_its_time_is_over)
{
    given("");
    control(CBM_CORE_CONTROL_FORCE_OPEN, 500);
    cr_assert_eq(status().control_ends_ns, 500 * MS);
    advance_ns(500 * MS - 1);
    cbm_core_decision decision;
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_FORCED_OPEN);
    cr_assert_eq(decision.retry_after_ns, 1);
    advance_ns(1);
    cr_assert_eq(try_begin(NULL), 0);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().control_ends_ns, 0);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_CONTROL_ENDED);
}

Test(force_open, that_ended_by_itself_has_cleared_the_failures_as_reset_does)
{
    given("failure_threshold=3");
    fail(2);
    control(CBM_CORE_CONTROL_FORCE_OPEN, 500);
    advance_ms(500);
    cr_assert_eq(status().failures, 0);
    fail(2);
    assert_state(CBM_CORE_CLOSED);
}

Test(force_open, again_takes_the_new_time)
{
    given("");
    control(CBM_CORE_CONTROL_FORCE_OPEN, 500);
    advance_ms(400);
    control(CBM_CORE_CONTROL_FORCE_OPEN, 0);
    advance_ms(100000);
    assert_state(CBM_CORE_FORCED_OPEN);
    control(CBM_CORE_CONTROL_FORCE_OPEN, 100);
    advance_ms(100);
    assert_state(CBM_CORE_CLOSED);
}

Test(force_open, takes_reports_into_the_statistics_only)
{
    given("failure_threshold=1");
    cbm_core_permit early = begin();
    control(CBM_CORE_CONTROL_FORCE_OPEN, 0);
    report(early, CBM_CORE_SUCCESS);
    observe(CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_FORCED_OPEN);
    cr_assert_eq(statistics().successful_calls, 2);
}

/* ---- disable ---- */

Test(disable, lets_everything_pass_and_counts_in_the_statistics_only)
{
    given("failure_threshold=1");
    control(CBM_CORE_CONTROL_DISABLE, 0);
    fail(100);
    assert_state(CBM_CORE_DISABLED);
    cr_assert_eq(statistics().failed_calls, 100);
    cr_assert_eq(statistics().late_reports, 0);
    control(CBM_CORE_CONTROL_ENABLE, 0);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 0);
}

Test(disable, opens_the_way_of_an_open_breaker)
{
    given("");
    make_open();
    control(CBM_CORE_CONTROL_DISABLE, 0);
    succeed(3);
    cr_assert_eq(status().retry_after_ns, 0);
}

Test(disable, ends_by_itself)
{
    given("failure_threshold=1");
    control(CBM_CORE_CONTROL_DISABLE, 500);
    advance_ms(500);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

/* ---- metrics_only ---- */

Test(metrics_only, shows_that_the_rule_would_open_and_opens_nothing)
{
    given("failure_threshold=3");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    fail(2);
    cr_assert_not(status().would_open);
    fail(1);
    cr_assert(status().would_open);
    cr_assert_eq(status().failures, 3);
    fail(50);
    assert_state(CBM_CORE_METRICS_ONLY);
    cr_assert_eq(statistics().rejected_calls, 0);
}

Test(metrics_only, keeps_in_sight_that_the_rule_would_have_opened)
{
    given("failure_threshold=2");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    fail(2);
    succeed(10);
    cr_assert(status().would_open);
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    cr_assert_not(status().would_open);
}

Test(metrics_only, looks_at_what_comes_from_then_on)
{
    given("failure_threshold=3");
    fail(2);
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    cr_assert_eq(status().failures, 0);
    fail(2);
    cr_assert_not(status().would_open);
}

Test(metrics_only, takes_reports_without_a_permit_into_the_statistics_only)
{
    given("failure_threshold=1");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    observe(CBM_CORE_FAILURE);
    cr_assert_not(status().would_open);
    cr_assert_eq(statistics().failed_calls, 1);
}

Test(metrics_only, shows_the_rates_of_a_window)
{
    given("rule=count_window window_size=10 minimum_calls=4 failure_rate=50");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    fail(1);
    succeed(3);
    cr_assert_float_eq(status().failure_rate, 25, 1e-9);
    cr_assert_not(status().would_open);
    fail(2);
    cr_assert_float_eq(status().failure_rate, 50, 1e-9);
    cr_assert(status().would_open);
    assert_state(CBM_CORE_METRICS_ONLY);
}

Test(metrics_only, would_open_is_false_in_every_other_state)
{
    given("failure_threshold=1");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    fail(1);
    cr_assert(status().would_open);
    control(CBM_CORE_CONTROL_ENABLE, 0);
    cr_assert_not(status().would_open);
    make_open();
    cr_assert_not(status().would_open);
}

/* ---- enable ---- */

Test(enable, closes_an_open_breaker_as_reset_does)
{
    given("failure_threshold=2");
    make_open();
    control(CBM_CORE_CONTROL_ENABLE, 0);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 0);
    fail(1);
    assert_state(CBM_CORE_CLOSED);
}

Test(enable, of_an_unknown_name_is_not_found)
{
    given("");
    cr_assert_eq(cbm_core_control_set(manager, "b", CBM_CORE_CONTROL_ENABLE, NULL, 0, now_ns), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(cbm_core_control_set(manager, "b", CBM_CORE_CONTROL_FORCE_OPEN, NULL, 0, now_ns),
                 CBM_CORE_E_NOT_FOUND);
    cbm_core_status none;
    cr_assert_eq(cbm_core_state_of(manager, "b", now_ns, &none), CBM_CORE_E_NOT_FOUND);
}

Test(enable, of_an_unknown_control_is_refused)
{
    given("");
    uint32_t epoch = status().epoch;
    cr_assert_eq(cbm_core_control_set(manager, "a", (cbm_core_control)9, NULL, 0, now_ns), CBM_CORE_E_INVALID);
    cr_assert_eq(status().epoch, epoch);
}

/* ---- the reason ---- */

static void force_open_because(const char *reason)
{
    cr_assert_eq(cbm_core_control_set(manager, "a", CBM_CORE_CONTROL_FORCE_OPEN, reason, 0, now_ns), 0);
}

Test(control_reason, is_shown_until_the_control_ends)
{
    given("");
    force_open_because("maintenance until noon");
    cr_assert_str_eq(status().reason, "maintenance until noon");
    control(CBM_CORE_CONTROL_ENABLE, 0);
    cr_assert_str_eq(status().reason, "");
    force_open_because("again");
    reset();
    cr_assert_str_eq(status().reason, "");
}

Test(control_reason, is_gone_when_the_control_ended_by_itself)
{
    given("");
    cr_assert_eq(cbm_core_control_set(manager, "a", CBM_CORE_CONTROL_DISABLE, "deploy", 100, now_ns), 0);
    advance_ms(100);
    cr_assert_str_eq(status().reason, "");
}

Test(control_reason, of_the_last_control_stands)
{
    given("");
    force_open_because("first");
    force_open_because("second");
    cr_assert_str_eq(status().reason, "second");
    force_open_because(NULL);
    cr_assert_str_eq(status().reason, "");
}

Test(control_reason, that_is_too_long_is_cut_at_a_character)
{
    given("");
    char reason[400];
    memset(reason, 'x', sizeof(reason));
    memcpy(reason + 255, "\xc3\xa4", 2); /* the 256th and 257th byte are one character */
    reason[399] = '\0';
    force_open_because(reason);
    cr_assert_eq(strlen(status().reason), 255);
}

/* ---- reset ---- */

Test(reset_one, closes_and_clears_the_failures_and_keeps_the_statistics)
{
    given("failure_threshold=3");
    make_open();
    assert_refused(CBM_CORE_E_OPEN);
    reset();
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 0);
    cr_assert_eq(statistics().failed_calls, 3);
    cr_assert_eq(statistics().rejected_calls, 1);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_RESET);
}

Test(reset_one, clears_the_failures_of_a_closed_breaker)
{
    given("failure_threshold=3");
    fail(2);
    reset();
    fail(2);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(count_events(CBM_CORE_EVENT_RESET), 1);
}

Test(reset_one, clears_every_rule)
{
    const char *const policies[] = {"failure_threshold=2", "rule=failures window_s=60 failure_threshold=2",
                                    "rule=count_window window_size=2 minimum_calls=2 failure_rate=100",
                                    "rule=time_window window_s=60 minimum_calls=2 failure_rate=100"};
    for (int i = 0; i < 4; i++) {
        given(policies[i]);
        fail(1);
        reset();
        fail(1);
        assert_state(CBM_CORE_CLOSED);
        cr_assert_eq(status().failures, 1);
        fail(1);
        assert_state(CBM_CORE_OPEN);
        end_of_test();
    }
}

Test(reset_one, lifts_a_manual_control)
{
    given("");
    control(CBM_CORE_CONTROL_FORCE_OPEN, 5000);
    reset();
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().control_ends_ns, 0);
    begin();
}

Test(reset_one, takes_the_probes_out_of_the_game)
{
    given("timeout_ms=1000");
    make_due();
    cbm_core_permit probe = begin_held(7, -1);
    reset();
    cr_assert_eq(status().permits_out, 0);
    advance_ms(5000);
    cbm_core_holder_gone(manager, 7, now_ns);
    report(probe, CBM_CORE_FAILURE);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 0);
    cr_assert_eq(statistics().leases_expired, 0);
    cr_assert_eq(statistics().abandoned, 0);
}

Test(reset_one, of_an_unknown_name_is_not_found)
{
    given("");
    cr_assert_eq(cbm_core_reset(manager, "b", now_ns), CBM_CORE_E_NOT_FOUND);
}

/* ---- epochs ---- */

Test(epoch, is_raised_by_each_change_of_state)
{
    given("failure_threshold=1 timeout_ms=1000");
    uint32_t epoch = status().epoch;
    make_open();
    cr_assert_eq(status().epoch, epoch + 1);
    make_due();
    cr_assert_eq(status().epoch, epoch + 1);
    cbm_core_permit probe = begin();
    cr_assert_eq(status().epoch, epoch + 2);
    cr_assert_eq(probe.epoch, epoch + 2);
    report(probe, CBM_CORE_SUCCESS);
    cr_assert_eq(status().epoch, epoch + 3);
}

Test(epoch, is_raised_by_reset_and_each_control_also_when_the_state_stays)
{
    given("");
    uint32_t epoch = status().epoch;
    reset();
    cr_assert_gt(status().epoch, epoch);
    epoch = status().epoch;
    for (int i = CBM_CORE_CONTROL_FORCE_OPEN; i <= CBM_CORE_CONTROL_ENABLE; i++) {
        for (int again = 0; again < 2; again++) {
            control((cbm_core_control)i, 0);
            cr_assert_gt(status().epoch, epoch);
            epoch = status().epoch;
        }
    }
}

Test(epoch, is_raised_when_a_control_ends_by_itself)
{
    given("");
    control(CBM_CORE_CONTROL_DISABLE, 100);
    uint32_t epoch = status().epoch;
    advance_ms(100);
    cr_assert_gt(status().epoch, epoch);
}

Test(epoch, stays_while_outcomes_change_nothing)
{
    given("failure_threshold=3");
    uint32_t epoch = status().epoch;
    fail(2);
    succeed(5);
    report(begin(), CBM_CORE_IGNORED);
    cr_assert_eq(status().epoch, epoch);
}

Test(epoch, starts_where_the_options_say)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .first_epoch = 77});
    cr_assert_eq(begin().epoch, 77);
    cr_assert_eq(begin().slot_generation, 77);
}

Test(epoch, may_pass_the_largest_number)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .first_epoch = UINT32_MAX});
    cbm_core_permit early = begin();
    reset();
    cr_assert_neq(status().epoch, early.epoch);
    report(early, CBM_CORE_FAILURE);
    cr_assert_eq(statistics().late_reports, 1);
}

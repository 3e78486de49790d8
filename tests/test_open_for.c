/* open_for_ms, the Retry-After that a report may carry, and the jitter of how long OPEN lasts. */
#include "core_fixture.h"

TestSuite(open_for, .fini = end_of_test);
TestSuite(jitter, .fini = end_of_test);

Test(open_for, opens_at_once_from_closed_whatever_the_rule_says)
{
    given("failure_threshold=5 timeout_ms=60000");
    cbm_core_permit permit = begin();
    report_open_for(&permit, CBM_CORE_FAILURE, 2500);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(retry_after_ms(), 2500);
    cr_assert_eq(status().failures, 1);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_OPEN_FOR);
}

Test(open_for, opens_with_every_outcome)
{
    given("");
    for (int outcome = CBM_CORE_SUCCESS; outcome <= CBM_CORE_IGNORED; outcome++) {
        cbm_core_permit permit = begin();
        report_open_for(&permit, (cbm_core_outcome)outcome, 1000);
        assert_state(CBM_CORE_OPEN);
        reset();
    }
}

Test(open_for, stands_for_the_timeout_when_the_rule_would_open_too)
{
    given("failure_threshold=1 timeout_ms=60000");
    cbm_core_permit permit = begin();
    report_open_for(&permit, CBM_CORE_FAILURE, 2500);
    cr_assert_eq(retry_after_ms(), 2500);
}

Test(open_for, opens_from_half_open_for_that_long)
{
    given("timeout_ms=1000");
    make_due();
    cbm_core_permit probe = begin();
    report_open_for(&probe, CBM_CORE_SUCCESS, 7000);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(retry_after_ms(), 7000);
}

Test(open_for, is_over_at_its_time_like_any_opening)
{
    given("");
    observe(CBM_CORE_SUCCESS);
    report_open_for(NULL, CBM_CORE_FAILURE, 2500);
    advance_ns(2500 * MS - 1);
    assert_refused(CBM_CORE_E_OPEN);
    advance_ns(1);
    begin();
    assert_state(CBM_CORE_HALF_OPEN);
}

Test(open_for, is_at_most_open_for_max)
{
    given("open_for_max_ms=5000");
    report_open_for(NULL, CBM_CORE_FAILURE, 5001);
    cr_assert_eq(retry_after_ms(), 5000);
    reset();
    report_open_for(NULL, CBM_CORE_FAILURE, UINT32_MAX);
    cr_assert_eq(retry_after_ms(), 5000);
}

Test(open_for, is_at_most_an_hour_when_nothing_is_said)
{
    given("");
    report_open_for(NULL, CBM_CORE_FAILURE, UINT32_MAX);
    cr_assert_eq(retry_after_ms(), 3600000);
}

Test(open_for, may_be_longer_than_the_longest_timeout)
{
    given("timeout_ms=1000 timeout_max_ms=1000");
    report_open_for(NULL, CBM_CORE_FAILURE, 9000);
    cr_assert_eq(retry_after_ms(), 9000);
}

Test(open_for, lengthens_open_and_never_shortens_it)
{
    given("timeout_ms=1000");
    cbm_core_permit first = begin(), second = begin(), third = begin();
    make_open();
    advance_ms(100);
    report_open_for(&first, CBM_CORE_FAILURE, 899);
    cr_assert_eq(retry_after_ms(), 900);
    report_open_for(&second, CBM_CORE_FAILURE, 901);
    cr_assert_eq(retry_after_ms(), 901);
    report_open_for(&third, CBM_CORE_FAILURE, 500);
    cr_assert_eq(retry_after_ms(), 901);
    cr_assert_eq(statistics().late_reports, 3);
}

Test(open_for, lengthens_open_without_a_new_epoch_or_transition)
{
    given("timeout_ms=1000");
    make_open();
    uint32_t epoch = status().epoch;
    uint64_t transitions = statistics().state_transitions;
    report_open_for(NULL, CBM_CORE_FAILURE, 2000);
    cr_assert_eq(retry_after_ms(), 2000);
    cr_assert_eq(status().epoch, epoch);
    cr_assert_eq(statistics().state_transitions, transitions);
}

Test(open_for, holds_back_a_breaker_whose_time_was_over_but_who_had_no_caller_yet)
{
    given("timeout_ms=1000");
    cbm_core_permit early = begin();
    make_due();
    report_open_for(&early, CBM_CORE_FAILURE, 300);
    cr_assert_not(status().due);
    cr_assert_eq(retry_after_ms(), 300);
}

Test(open_for, of_a_report_without_a_permit_opens_from_closed)
{
    given("");
    report_open_for(NULL, CBM_CORE_IGNORED, 1500);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(retry_after_ms(), 1500);
}

Test(open_for, of_a_report_without_a_permit_does_nothing_in_half_open)
{
    given("timeout_ms=1000");
    make_due();
    cbm_core_permit probe = begin();
    report_open_for(NULL, CBM_CORE_FAILURE, 1500);
    assert_state(CBM_CORE_HALF_OPEN);
    report(probe, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_CLOSED);
}

Test(open_for, of_a_late_report_does_nothing_outside_open)
{
    given("timeout_ms=1000");
    cbm_core_permit early = begin(), earlier = begin();
    make_due();
    cbm_core_permit probe = begin();
    report_open_for(&early, CBM_CORE_FAILURE, 1500);
    assert_state(CBM_CORE_HALF_OPEN);
    report(probe, CBM_CORE_SUCCESS);
    report_open_for(&earlier, CBM_CORE_FAILURE, 1500);
    assert_state(CBM_CORE_CLOSED);
}

Test(open_for, of_an_older_incarnation_does_nothing)
{
    given("timeout_ms=1000");
    cbm_core_report handed_over = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1, .open_for_ms = 9000, .late = true};
    cr_assert_eq(cbm_core_call_report(manager, "a", NULL, &handed_over, now_ns, NULL), 0);
    assert_state(CBM_CORE_CLOSED);
    make_open();
    cr_assert_eq(cbm_core_call_report(manager, "a", NULL, &handed_over, now_ns, NULL), 0);
    cr_assert_eq(retry_after_ms(), 1000);
}

Test(open_for, is_ignored_under_manual_control)
{
    given("");
    const cbm_core_control controls[] = {CBM_CORE_CONTROL_FORCE_OPEN, CBM_CORE_CONTROL_DISABLE,
                                         CBM_CORE_CONTROL_METRICS_ONLY};
    const cbm_core_state states[] = {CBM_CORE_FORCED_OPEN, CBM_CORE_DISABLED, CBM_CORE_METRICS_ONLY};
    for (int i = 0; i < 3; i++) {
        cbm_core_permit early = begin();
        control(controls[i], 0);
        report_open_for(&early, CBM_CORE_FAILURE, 1000);
        report_open_for(NULL, CBM_CORE_FAILURE, 1000);
        if (controls[i] != CBM_CORE_CONTROL_FORCE_OPEN) {
            cbm_core_permit present = begin();
            report_open_for(&present, CBM_CORE_FAILURE, 1000);
        }
        assert_state(states[i]);
        cr_assert_eq(status().retry_after_ns, i == 0 ? -1 : 0);
        control(CBM_CORE_CONTROL_ENABLE, 0);
    }
}

Test(open_for, leaves_the_backoff_step_untouched)
{
    given("failure_threshold=1 timeout_ms=1000 backoff_multiplier=2");
    make_due();
    fail(1);
    cr_assert_eq(retry_after_ms(), 2000);
    make_due();
    cbm_core_permit probe = begin();
    report_open_for(&probe, CBM_CORE_FAILURE, 100);
    cr_assert_eq(retry_after_ms(), 100);
    make_due();
    fail(1);
    cr_assert_eq(retry_after_ms(), 4000);
}

/* ---- jitter ---- */

static int64_t open_time(uint64_t seed, const char *policy)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .seed = seed});
    cbm_core_policy_request request = policy_of(policy);
    cbm_core_get_result result;
    cr_assert_eq(cbm_core_get(manager, "a", &request, now_ns, &result), 0);
    make_open();
    int64_t time = status().retry_after_ns;
    end_of_test();
    return time;
}

Test(jitter, adds_up_to_its_share_of_the_timeout)
{
    int64_t least = INT64_MAX, most = 0;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        int64_t time = open_time(seed, "timeout_ms=1000 jitter=0.25");
        least = time < least ? time : least;
        most = time > most ? time : most;
    }
    cr_assert_geq(least, 1000 * MS);
    cr_assert_leq(most, 1250 * MS);
    cr_assert_gt(most - least, 200 * MS, "it hardly varies");
}

Test(jitter, gives_the_same_times_for_the_same_seed)
{
    cr_assert_eq(open_time(42, "timeout_ms=1000 jitter=1"), open_time(42, "timeout_ms=1000 jitter=1"));
}

Test(jitter, of_zero_is_none)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        cr_assert_eq(open_time(seed, "timeout_ms=1000"), 1000 * MS);
    }
}

Test(jitter, comes_on_top_of_the_longest_timeout)
{
    int64_t most = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        int64_t time = open_time(seed, "timeout_ms=1000 timeout_max_ms=1000 jitter=0.5");
        cr_assert_geq(time, 1000 * MS);
        cr_assert_leq(time, 1500 * MS);
        most = time > most ? time : most;
    }
    cr_assert_gt(most, 1400 * MS);
}

Test(jitter, differs_from_one_breaker_to_the_next)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .seed = 7});
    cbm_core_policy_request request = policy_of("failure_threshold=1 timeout_ms=1000 jitter=1");
    const char *const names[] = {"a", "b", "c", "d"};
    int64_t times[4];
    for (int i = 0; i < 4; i++) {
        cbm_core_get_result result;
        cbm_core_report failure = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1};
        cbm_core_status status_now;
        cr_assert_eq(cbm_core_get(manager, names[i], &request, now_ns, &result), 0);
        cr_assert_eq(cbm_core_call_report(manager, names[i], NULL, &failure, now_ns, NULL), 0);
        cr_assert_eq(cbm_core_state_of(manager, names[i], now_ns, &status_now), 0);
        times[i] = status_now.retry_after_ns;
    }
    cr_assert(times[0] != times[1] || times[1] != times[2] || times[2] != times[3]);
}

/* Permits: which reports still count, leases, and holders that go away. */
#include "core_fixture.h"

TestSuite(reports, .fini = end_of_test);
TestSuite(leases, .fini = end_of_test);
TestSuite(holders, .fini = end_of_test);

static int report_error(const char *name, const cbm_core_permit *permit)
{
    cbm_core_report success = {.outcome = CBM_CORE_SUCCESS, .duration_ns = -1};
    return cbm_core_call_report(manager, name, permit, &success, now_ns, NULL);
}

/* ---- late, duplicate and permitless reports ---- */

Test(reports, a_late_report_changes_no_state)
{
    given("failure_threshold=2 timeout_ms=1000");
    cbm_core_permit late[4];
    for (int i = 0; i < 4; i++) {
        late[i] = begin();
    }
    make_open();
    report(late[0], CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_OPEN);
    make_due();
    cbm_core_permit probe = begin();
    report(late[1], CBM_CORE_FAILURE);
    report(late[2], CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_HALF_OPEN);
    report(probe, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_CLOSED);
    report(late[3], CBM_CORE_FAILURE);
    cr_assert_eq(status().failures, 0);
}

Test(reports, a_late_report_is_in_the_statistics)
{
    given("failure_threshold=2");
    cbm_core_permit first = begin(), second = begin(), third = begin();
    make_open();
    report(first, CBM_CORE_SUCCESS);
    report(second, CBM_CORE_TIMEOUT);
    report(third, CBM_CORE_IGNORED);
    cbm_core_statistics s = statistics();
    cr_assert_eq(s.late_reports, 3);
    cr_assert_eq(s.successful_calls, 1);
    cr_assert_eq(s.failed_calls, 3);
    cr_assert_eq(s.timeout_calls, 1);
    cr_assert_eq(s.ignored_calls, 1);
    cr_assert_eq(s.total_calls, 5);
}

Test(reports, of_a_call_begun_before_a_reset_is_late)
{
    given("failure_threshold=1");
    cbm_core_permit permit = begin();
    reset();
    report(permit, CBM_CORE_FAILURE);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(statistics().late_reports, 1);
}

Test(reports, a_probe_reported_twice_counts_once)
{
    given("timeout_ms=1000 success_threshold=2");
    make_due();
    cbm_core_permit probe = begin();
    report(probe, CBM_CORE_SUCCESS);
    report(probe, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_HALF_OPEN);
    report(probe, CBM_CORE_FAILURE);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(statistics().late_reports, 2);
}

Test(reports, of_a_permit_that_was_never_given_are_late)
{
    given("timeout_ms=1000");
    make_due();
    cbm_core_permit probe = begin();
    cbm_core_permit forged = probe;
    forged.id += 1000;
    report(forged, CBM_CORE_FAILURE);
    forged.id = 0;
    report(forged, CBM_CORE_FAILURE);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(status().permits_out, 1);
    report(probe, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_CLOSED);
}

Test(reports, of_a_later_epoch_are_late_as_well)
{
    given("failure_threshold=1");
    cbm_core_permit forged = begin();
    forged.epoch += 5;
    report(forged, CBM_CORE_FAILURE);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(statistics().late_reports, 1);
}

Test(reports, without_a_permit_count_in_closed)
{
    given("failure_threshold=3");
    observe(CBM_CORE_FAILURE);
    observe(CBM_CORE_TIMEOUT);
    cr_assert_eq(status().failures, 2);
    observe(CBM_CORE_FAILURE);
    assert_state(CBM_CORE_OPEN);
}

Test(reports, without_a_permit_are_statistics_only_elsewhere)
{
    given("timeout_ms=1000");
    make_open();
    uint64_t before = statistics().total_calls;
    observe(CBM_CORE_SUCCESS);
    make_due();
    cbm_core_permit probe = begin();
    observe(CBM_CORE_FAILURE);
    observe(CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_HALF_OPEN);
    report(probe, CBM_CORE_SUCCESS);
    cr_assert_eq(statistics().total_calls, before + 4);
    cr_assert_eq(statistics().late_reports, 0);
}

Test(reports, without_a_permit_create_an_unknown_name)
{
    given("");
    cr_assert_eq(report_error("unknown", NULL), 0);
    cbm_core_status created;
    cr_assert_eq(cbm_core_state_of(manager, "unknown", now_ns, &created), 0);
    cr_assert_eq(created.statistics.successful_calls, 1);
}

Test(reports, with_a_permit_do_not_create_an_unknown_name)
{
    given("");
    cbm_core_permit permit = begin();
    cr_assert_eq(report_error("unknown", &permit), CBM_CORE_E_NOT_FOUND);
}

Test(reports, with_a_permit_of_another_name_are_refused)
{
    given("");
    cbm_core_permit permit = begin();
    cr_assert_eq(report_error("b", NULL), 0);
    cr_assert_eq(report_error("b", &permit), CBM_CORE_E_INVALID);
    cr_assert_eq(statistics().total_calls, 0);
}

Test(reports, with_an_outcome_that_does_not_exist_are_refused)
{
    given("");
    cbm_core_permit permit = begin();
    cbm_core_report nonsense = {.outcome = (cbm_core_outcome)17, .duration_ns = -1};
    cr_assert_eq(cbm_core_call_report(manager, "a", &permit, &nonsense, now_ns, NULL), CBM_CORE_E_INVALID);
    cr_assert_eq(statistics().total_calls, 0);
}

Test(reports, handed_over_are_so_many_equal_outcomes_and_decide_nothing)
{
    given("failure_threshold=2");
    cbm_core_report counts = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1, .late = true, .count = 1000};
    cr_assert_eq(cbm_core_call_report(manager, "a", NULL, &counts, now_ns, NULL), 0);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 0);
    cr_assert_eq(statistics().failed_calls, 1000);
    cr_assert_eq(statistics().total_calls, 1000);
    cr_assert_eq(statistics().late_reports, 1000);
}

Test(reports, tell_the_state_after_them)
{
    given("failure_threshold=1");
    cbm_core_permit permit = begin();
    cbm_core_report failure = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1};
    cbm_core_state after = CBM_CORE_CLOSED;
    cr_assert_eq(cbm_core_call_report(manager, "a", &permit, &failure, now_ns, &after), 0);
    cr_assert_eq(after, CBM_CORE_OPEN);
}

Test(reports, by_slot_do_what_those_by_name_do)
{
    given("failure_threshold=2 timeout_ms=1000");
    cbm_core_report failure = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1};
    cbm_core_begin by_nobody = {0};
    cbm_core_status before = status();
    for (int i = 0; i < 2; i++) {
        cbm_core_decision decision;
        int error = cbm_core_call_begin_at(manager, before.slot, before.slot_generation, &by_nobody, now_ns, &decision);
        cr_assert_eq(error, 0);
        cr_assert_eq(decision.permit.slot, before.slot);
        cr_assert_eq(decision.permit.slot_generation, before.slot_generation);
        cr_assert_eq(cbm_core_call_report_at(manager, &decision.permit, &failure, now_ns, NULL), 0);
    }
    assert_state(CBM_CORE_OPEN);
}

/* ---- leases ---- */

Test(leases, over_is_a_failure_with_a_counter_of_its_own)
{
    given("timeout_ms=1000 permit_lease_ms=400");
    make_due();
    cbm_core_statistics before = statistics();
    begin();
    advance_ns(400 * MS - 1);
    assert_state(CBM_CORE_HALF_OPEN);
    advance_ns(1);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(statistics().leases_expired, 1);
    cr_assert_eq(statistics().failed_calls, before.failed_calls + 1);
    cr_assert_eq(statistics().total_calls, before.total_calls + 1);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_LEASE);
    cr_assert_eq(count_events(CBM_CORE_EVENT_LEASE_EXPIRED), 1);
}

Test(leases, last_as_long_as_the_timeout_unless_told_otherwise)
{
    given("timeout_ms=1000");
    make_due();
    begin();
    advance_ns(SECOND - 1);
    assert_state(CBM_CORE_HALF_OPEN);
    advance_ns(1);
    assert_state(CBM_CORE_OPEN);
}

Test(leases, run_out_at_their_own_time_whenever_somebody_looks)
{
    given("timeout_ms=1000 permit_lease_ms=400");
    make_due();
    begin();
    advance_ms(400 + 300);
    cr_assert_eq(retry_after_ms(), 700);
}

Test(leases, that_ran_out_longer_ago_than_the_timeout_leave_a_breaker_that_may_be_probed)
{
    given("timeout_ms=1000 permit_lease_ms=400");
    make_due();
    begin();
    advance_ms(1400);
    cr_assert(status().due);
    begin();
    assert_state(CBM_CORE_HALF_OPEN);
}

Test(leases, of_the_call_stand_instead_of_those_of_the_policy)
{
    given("timeout_ms=1000 permit_lease_ms=400");
    make_due();
    begin_held(1, 2000);
    advance_ms(1999);
    assert_state(CBM_CORE_HALF_OPEN);
    advance_ms(1);
    assert_state(CBM_CORE_OPEN);
}

Test(leases, of_zero_last_as_long_as_the_holder_lives)
{
    given("timeout_ms=1000 permit_lease_ms=400");
    make_due();
    cbm_core_permit probe = begin_held(1, 0);
    advance_ms(7200000);
    assert_state(CBM_CORE_HALF_OPEN);
    report(probe, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_CLOSED);
}

Test(leases, of_zero_without_a_holder_last_as_long_as_the_timeout)
{
    given("timeout_ms=1000 permit_lease_ms=0");
    make_due();
    begin_held(0, 0);
    advance_ns(SECOND - 1);
    assert_state(CBM_CORE_HALF_OPEN);
    advance_ns(1);
    assert_state(CBM_CORE_OPEN);
}

Test(leases, a_report_before_the_end_counts_and_one_at_the_end_is_late)
{
    given("timeout_ms=1000 permit_lease_ms=400");
    make_due();
    cbm_core_permit probe = begin();
    advance_ns(400 * MS - 1);
    report(probe, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_CLOSED);

    make_due();
    probe = begin();
    advance_ns(400 * MS);
    report(probe, CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(statistics().late_reports, 1);
}

Test(leases, are_for_probes_only)
{
    given("timeout_ms=1000 permit_lease_ms=400 failure_threshold=1");
    cbm_core_permit permit = begin_held(1, 100);
    cr_assert_eq(permit.id, 0);
    advance_ms(100000);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(statistics().leases_expired, 0);
    report(permit, CBM_CORE_FAILURE);
    assert_state(CBM_CORE_OPEN);
}

Test(leases, of_a_half_open_that_ended_run_out_for_nobody)
{
    given("timeout_ms=1000 success_threshold=2 half_open_calls=2 permit_lease_ms=400");
    make_due();
    begin();
    report(begin(), CBM_CORE_FAILURE);
    assert_state(CBM_CORE_OPEN);
    advance_ms(500);
    cr_assert_eq(statistics().leases_expired, 0);
    cr_assert_eq(retry_after_ms(), 500);
}

Test(leases, under_a_window_are_failures_among_the_probes)
{
    given("rule=count_window window_size=10 minimum_calls=2 failure_rate=60 half_open_calls=2 timeout_ms=1000 "
          "permit_lease_ms=400");
    make_due();
    begin();
    advance_ms(400);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(status().permits_out, 0);
    cr_assert_eq(status().calls, 1);
    succeed(1);
    assert_state(CBM_CORE_CLOSED); /* one of two failed: 50 % */
}

/* ---- holders ---- */

Test(holders, gone_is_a_failure_by_default)
{
    given("timeout_ms=1000");
    make_due();
    begin_held(7, -1);
    advance_ms(10);
    cbm_core_holder_gone(manager, 7, now_ns);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(retry_after_ms(), 1000);
    cr_assert_eq(statistics().abandoned, 1);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_ABANDONED);
    cr_assert_eq(count_events(CBM_CORE_EVENT_ABANDONED), 1);
}

Test(holders, gone_is_counted_among_the_failed_calls)
{
    given("timeout_ms=1000");
    make_due();
    cbm_core_statistics before = statistics();
    begin_held(7, -1);
    cbm_core_holder_gone(manager, 7, now_ns);
    cr_assert_eq(statistics().failed_calls, before.failed_calls + 1);
    cr_assert_eq(statistics().leases_expired, 0);
}

Test(holders, gone_gives_the_permit_back_under_release)
{
    given("timeout_ms=1000 on_abandon=release");
    make_due();
    cbm_core_statistics before = statistics();
    begin_held(7, -1);
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
    cbm_core_holder_gone(manager, 7, now_ns);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(statistics().failed_calls, before.failed_calls);
    cr_assert_eq(statistics().total_calls, before.total_calls);
    cr_assert_eq(statistics().abandoned, 1);
    begin();
}

Test(holders, gone_takes_nothing_from_others)
{
    given("timeout_ms=1000 success_threshold=2 half_open_calls=2 on_abandon=release");
    make_due();
    begin_held(7, -1);
    cbm_core_permit other = begin_held(8, -1);
    cbm_core_holder_gone(manager, 9, now_ns);
    cr_assert_eq(status().permits_out, 2);
    cbm_core_holder_gone(manager, 7, now_ns);
    cr_assert_eq(status().permits_out, 1);
    report(other, CBM_CORE_SUCCESS);
    cr_assert_eq(statistics().late_reports, 0);
}

Test(holders, gone_ends_all_their_permits_of_all_breakers)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    cbm_core_policy_request request = policy_of("failure_threshold=1 timeout_ms=1000");
    cbm_core_report failure = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1};
    cbm_core_begin by_seven = {.holder = 7};
    char name[16];
    for (int i = 0; i < 50; i++) {
        cbm_core_get_result result;
        snprintf(name, sizeof(name), "b%d", i);
        cr_assert_eq(cbm_core_get(manager, name, &request, now_ns, &result), 0);
        cr_assert_eq(cbm_core_call_report(manager, name, NULL, &failure, now_ns, NULL), 0);
    }
    advance_ms(1000);
    for (int i = 0; i < 50; i++) {
        cbm_core_decision decision;
        snprintf(name, sizeof(name), "b%d", i);
        cr_assert_eq(cbm_core_call_begin(manager, name, &by_seven, now_ns, &decision), 0);
    }
    cbm_core_holder_gone(manager, 7, now_ns);
    for (int i = 0; i < 50; i++) {
        cbm_core_status now;
        snprintf(name, sizeof(name), "b%d", i);
        cr_assert_eq(cbm_core_state_of(manager, name, now_ns, &now), 0);
        cr_assert_eq(now.state, CBM_CORE_OPEN);
    }
}

Test(holders, gone_after_they_reported_changes_nothing)
{
    given("timeout_ms=1000 success_threshold=2");
    make_due();
    report(begin_held(7, -1), CBM_CORE_SUCCESS);
    cbm_core_holder_gone(manager, 7, now_ns);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(statistics().abandoned, 0);
}

Test(holders, gone_while_closed_changes_nothing)
{
    given("failure_threshold=1");
    cbm_core_permit permit = begin_held(7, -1);
    cbm_core_holder_gone(manager, 7, now_ns);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(statistics().total_calls, 0);
    report(permit, CBM_CORE_SUCCESS);
    cr_assert_eq(statistics().late_reports, 0);
}

Test(holders, nobody_is_no_holder_that_could_go)
{
    given("timeout_ms=1000");
    make_due();
    begin_held(0, -1);
    cbm_core_holder_gone(manager, 0, now_ns);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(status().permits_out, 1);
}

Test(holders, the_report_of_a_permit_that_was_released_is_late)
{
    given("timeout_ms=1000 on_abandon=release");
    make_due();
    cbm_core_permit probe = begin_held(7, -1);
    cbm_core_holder_gone(manager, 7, now_ns);
    report(probe, CBM_CORE_FAILURE);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(statistics().late_reports, 1);
}

/*
 * What was counted elsewhere and is handed over: successes that were held back, statistics, and reports whose permit nobody
 * asked the manager for.
 */
#include "core_fixture.h"

TestSuite(elsewhere, .fini = end_of_test);

static uint32_t generation(void)
{
    return status().slot_generation;
}

static void record(uint32_t epoch, uint64_t count)
{
    cr_assert_eq(cbm_core_successes_record(manager, 0, generation(), epoch, count, now_ns, NULL), 0);
}

static uint64_t operations(void)
{
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    return stats.total_operations;
}

static uint64_t in_the_limiter(void)
{
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    return stats.current_rate_limit_size;
}

/* As somebody makes it who begins a call by himself. */
static cbm_core_permit own_permit(void)
{
    cbm_core_status now = status();
    return (cbm_core_permit){
        .slot = now.slot,
        .slot_generation = now.slot_generation,
        .epoch = now.epoch,
        .flags = CBM_CORE_PERMIT_UNCOUNTED,
    };
}

/* ---- Successes ---- */

Test(elsewhere, successes_count_as_if_each_had_been_reported)
{
    given("rule=count_window window_size=10 minimum_calls=5 failure_rate=50");
    fail(2);
    record(status().epoch, 3);
    cr_assert_eq(status().calls, 5);
    cr_assert_eq(statistics().successful_calls, 3);
    cr_assert_eq(statistics().total_calls, 5);
}

Test(elsewhere, a_success_ends_the_failures_in_a_row)
{
    given("failure_threshold=3");
    fail(2);
    record(status().epoch, 1);
    fail(2);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(elsewhere, successes_of_an_older_epoch_are_late)
{
    given("failure_threshold=3");
    uint32_t before = status().epoch;
    reset();
    fail(2);
    record(before, 4);
    cr_assert_eq(status().failures, 2);
    cr_assert_eq(statistics().late_reports, 4);
    cr_assert_eq(statistics().successful_calls, 4);
}

Test(elsewhere, an_epoch_before_0_is_older_too)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .first_epoch = (uint32_t)CBM_CORE_EPOCH_MASK});
    cr_assert_eq(cbm_core_get(manager, "a", NULL, now_ns, NULL), 0);
    uint32_t before = status().epoch;
    reset();
    cr_assert_eq(status().epoch, 0);
    record(before, 1);
    cr_assert_eq(statistics().late_reports, 1);
    record(0, 1);
    cr_assert_eq(statistics().late_reports, 1);
    cr_assert_eq(statistics().successful_calls, 2);
}

Test(elsewhere, successes_of_an_epoch_that_time_ends_are_late_once_somebody_has_noticed)
{
    given("");
    control(CBM_CORE_CONTROL_DISABLE, 10);
    cbm_core_status before = status();
    advance_ms(11);
    cr_assert_eq(cbm_core_successes_record(manager, 0, before.slot_generation, before.epoch, 3, now_ns, NULL), 0);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(statistics().late_reports, 0);
    record(before.epoch, 4);
    cr_assert_eq(statistics().late_reports, 4);
    cr_assert_eq(statistics().successful_calls, 7);
}

Test(elsewhere, successes_do_not_keep_a_control_from_ending)
{
    given("rule=count_window window_size=10 minimum_calls=1");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 10);
    cbm_core_status before = status();
    cbm_core_state after;
    advance_ms(11);
    cr_assert_eq(cbm_core_successes_record(manager, 0, before.slot_generation, before.epoch, 3, now_ns, &after), 0);
    cr_assert_eq(after, CBM_CORE_CLOSED);
    cr_assert_eq(status().calls, 0);
}

Test(elsewhere, none_is_nothing)
{
    given("failure_threshold=3");
    fail(2);
    record(status().epoch, 0);
    record(status().epoch + 1, 0);
    cr_assert_eq(status().failures, 2);
    cr_assert_eq(statistics().total_calls, 2);
}

/* ---- Statistics alone ---- */

Test(elsewhere, counts_are_added_to_the_statistics)
{
    given("failure_threshold=3");
    fail(2);
    uint64_t before = operations();
    cbm_core_counts counts = {.late_successes = 3, .rejected = 5, .half_open_rejected = 7, .operations = 11};
    cr_assert_eq(cbm_core_counts_add(manager, 0, generation(), &counts), 0);
    cr_assert_eq(statistics().successful_calls, 3);
    cr_assert_eq(statistics().total_calls, 5);
    cr_assert_eq(statistics().late_reports, 3);
    cr_assert_eq(statistics().rejected_calls, 12);
    cr_assert_eq(statistics().half_open_rejected_calls, 7);
    cr_assert_eq(operations(), before + 11);
}

Test(elsewhere, they_decide_nothing)
{
    given("failure_threshold=3");
    fail(2);
    uint32_t epoch = status().epoch;
    cbm_core_counts counts = {.late_successes = 1000, .rejected = 1000, .half_open_rejected = 1000};
    cr_assert_eq(cbm_core_counts_add(manager, 0, generation(), &counts), 0);
    cr_assert_eq(status().failures, 2);
    cr_assert_eq(status().epoch, epoch);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(elsewhere, operations_counted_elsewhere_are_not_limited)
{
    given_manager(&(cbm_core_options){.max_rate_limit = 2});
    cr_assert_eq(cbm_core_get(manager, "a", NULL, now_ns, NULL), 0);
    cbm_core_counts counts = {.operations = 100};
    cr_assert_eq(cbm_core_counts_add(manager, 0, generation(), &counts), 0);
    cr_assert_eq(in_the_limiter(), 1);
    (void)begin();
    assert_refused(CBM_CORE_E_RATE_LIMITED);
}

Test(elsewhere, counts_show_that_a_breaker_is_in_use)
{
    uint32_t slot;
    given("expire_after_s=10");
    advance_ms(9000);
    cbm_core_counts counts = {.late_successes = 1};
    cr_assert_eq(cbm_core_counts_add(manager, 0, generation(), &counts), 0);
    advance_ms(9000);
    cr_assert_not(cbm_core_tick(manager, now_ns, 10));
    cr_assert_eq(cbm_core_find(manager, "a", &slot), 0);
    advance_ms(1000);
    cr_assert_not(cbm_core_tick(manager, now_ns, 10));
    cr_assert_eq(cbm_core_find(manager, "a", &slot), CBM_CORE_E_NOT_FOUND);
}

Test(elsewhere, durations_are_added_to_the_percentiles)
{
    given("");
    cr_assert_float_eq(statistics().p50_ms, -1, 0);
    cr_assert_eq(cbm_core_durations_add(manager, 0, generation(), 100 * MS, 99), 0);
    cr_assert_eq(cbm_core_durations_add(manager, 0, generation(), 2000 * MS, 1), 0);
    cr_assert_float_eq(statistics().p50_ms, 100, 7);
    cr_assert_float_eq(statistics().p90_ms, 100, 7);
    cr_assert_float_eq(statistics().p99_ms, 100, 7);
    cr_assert_eq(cbm_core_durations_add(manager, 0, generation(), 2000 * MS, 10), 0);
    cr_assert_float_eq(statistics().p99_ms, 2000, 130);
    cr_assert_eq(statistics().total_calls, 0);
}

Test(elsewhere, durations_that_are_none_are_left_out)
{
    given("");
    cr_assert_eq(cbm_core_durations_add(manager, 0, generation(), -1, 5), 0);
    cr_assert_eq(cbm_core_durations_add(manager, 0, generation(), 5, 0), 0);
    cr_assert_float_eq(statistics().p50_ms, -1, 0);
}

Test(elsewhere, a_generation_that_is_gone_is_not_found)
{
    given("");
    uint32_t gone = generation();
    uint64_t removed;
    cbm_core_counts counts = {.late_successes = 1, .operations = 1};
    cr_assert_eq(cbm_core_remove(manager, "a", now_ns, &removed), 0);
    cr_assert_eq(cbm_core_counts_add(manager, 0, gone, &counts), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(cbm_core_get(manager, "a", NULL, now_ns, NULL), 0);
    cr_assert_neq(generation(), gone);
    uint64_t before = operations();
    cr_assert_eq(cbm_core_counts_add(manager, 0, gone, &counts), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(cbm_core_counts_add(manager, 7, gone, &counts), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(cbm_core_durations_add(manager, 0, gone, 5, 5), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(cbm_core_successes_record(manager, 0, gone, 1, 5, now_ns, NULL), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(operations(), before);
    cr_assert_eq(statistics().total_calls, 0);
}

/* ---- Permits that nobody asked the manager for ---- */

Test(elsewhere, the_report_of_an_uncounted_permit_counts_its_operation)
{
    given_manager(&(cbm_core_options){.max_rate_limit = 3});
    cr_assert_eq(cbm_core_get(manager, "a", NULL, now_ns, NULL), 0);
    for (int i = 0; i < 5; i++) {
        report(own_permit(), CBM_CORE_FAILURE);
    }
    cr_assert_eq(operations(), 6);
    cr_assert_eq(in_the_limiter(), 1);
    assert_state(CBM_CORE_OPEN);
}

Test(elsewhere, also_when_it_is_late)
{
    given("");
    cbm_core_permit permit = own_permit();
    reset();
    uint64_t before = operations();
    report(permit, CBM_CORE_SUCCESS);
    cr_assert_eq(statistics().late_reports, 1);
    cr_assert_eq(operations(), before + 1);
    uint64_t removed;
    cr_assert_eq(cbm_core_remove(manager, "a", now_ns, &removed), 0);
    cr_assert_eq(cbm_core_get(manager, "a", NULL, now_ns, NULL), 0);
    report(permit, CBM_CORE_SUCCESS);
    cr_assert_eq(statistics().late_reports, 1, "of a breaker that was there before");
    cr_assert_eq(operations(), before + 3);
}

Test(elsewhere, not_when_the_report_is_refused)
{
    given("");
    cr_assert_eq(cbm_core_get(manager, "b", NULL, now_ns, NULL), 0);
    cbm_core_permit permit = own_permit();
    cbm_core_report how = {.outcome = CBM_CORE_SUCCESS, .duration_ns = -1};
    uint64_t before = operations();
    cr_assert_eq(cbm_core_call_report(manager, "b", &permit, &how, now_ns, NULL), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_call_report(manager, "c", &permit, &how, now_ns, NULL), CBM_CORE_E_NOT_FOUND);
    how.outcome = (cbm_core_outcome)17;
    cr_assert_eq(cbm_core_call_report(manager, "a", &permit, &how, now_ns, NULL), CBM_CORE_E_INVALID);
    how.outcome = CBM_CORE_SUCCESS;
    permit.slot_generation++;
    cr_assert_eq(cbm_core_call_report_at(manager, &permit, &how, now_ns, NULL), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(operations(), before);
}

Test(elsewhere, a_permit_that_the_manager_gave_is_counted_once)
{
    given("");
    uint64_t before = operations();
    report(begin(), CBM_CORE_SUCCESS);
    cr_assert_eq(operations(), before + 1);
}

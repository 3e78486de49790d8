/* A breaker is taken out of one manager and put into another: it behaves as the one before would have. */
#include "core_fixture.h"

#include <stdlib.h>
#include <string.h>

TestSuite(snapshot, .fini = end_of_test);
TestSuite(restored, .fini = end_of_test);

#define NEXT_FIRST 1000

static cbm_core_snapshot taken;

static void take(void)
{
    cr_assert_eq(cbm_core_snapshot_at(manager, status().slot, now_ns, &taken), 0);
}

static int try_put(int64_t elapsed_ns)
{
    uint32_t slot = 77;
    int error = cbm_core_restore(manager, &taken, elapsed_ns, now_ns, &slot);
    cr_assert(error != 0 || slot == status().slot);
    return error;
}

/* Another process, with a clock of its own, some time later. */
static void next_life(int64_t elapsed_ns)
{
    take();
    cbm_core_manager_free(manager);
    now_ns = 5 * SECOND + 17;
    given_manager(&(cbm_core_options){.no_rate_limit = true, .first_epoch = NEXT_FIRST});
    cr_assert_eq(try_put(elapsed_ns), 0);
}

Test(snapshot, of_an_empty_slot_is_refused)
{
    given("");
    cr_assert_eq(cbm_core_snapshot_at(manager, 1, now_ns, &taken), CBM_CORE_E_NOT_FOUND);
    cr_assert_eq(cbm_core_snapshot_at(manager, UINT32_MAX, now_ns, &taken), CBM_CORE_E_NOT_FOUND);
}

Test(snapshot, changes_nothing_not_even_what_time_has_done)
{
    given("");
    control(CBM_CORE_CONTROL_FORCE_OPEN, 500);
    advance_ms(600);
    int told_before = events_count;
    cr_assert_eq(cbm_core_snapshot_at(manager, 0, now_ns, &taken), 0);
    cr_assert_eq(events_count, told_before);
    cr_assert_eq(taken.state, CBM_CORE_FORCED_OPEN);
    cr_assert_eq(taken.remaining_ns, 0);
}

Test(restored, is_open_for_what_was_left_of_it)
{
    given("failure_threshold=2 timeout_ms=10000");
    make_open();
    advance_ms(3000);
    next_life(2 * SECOND);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(status().failures, 2);
    cr_assert_eq(retry_after_ms(), 5000);
    assert_refused(CBM_CORE_E_OPEN);
    advance_ms(5000);
    cr_assert_eq(try_begin(NULL), 0);
    assert_state(CBM_CORE_HALF_OPEN);
}

Test(restored, is_due_when_its_time_passed_meanwhile)
{
    given("failure_threshold=1 timeout_ms=10000");
    make_open();
    next_life(3600 * SECOND);
    assert_state(CBM_CORE_OPEN);
    cr_assert(status().due);
}

Test(restored, after_a_clock_that_went_back_waits_no_longer_than_it_would_have)
{
    given("failure_threshold=1 timeout_ms=10000");
    make_open();
    advance_ms(4000);
    next_life(-5000 * SECOND);
    cr_assert_eq(retry_after_ms(), 6000);
}

Test(restored, goes_on_with_its_step_of_the_backoff)
{
    given("failure_threshold=1 timeout_ms=1000 backoff_multiplier=2");
    make_open();
    make_due();
    report(begin(), CBM_CORE_FAILURE);
    cr_assert_eq(retry_after_ms(), 2000);
    next_life(0);
    make_due();
    report(begin(), CBM_CORE_FAILURE);
    cr_assert_eq(retry_after_ms(), 4000);
}

Test(restored, half_open_has_no_permit_out)
{
    given("failure_threshold=1 half_open_calls=1");
    make_open();
    make_due();
    begin_held(7, 0);
    assert_refused(CBM_CORE_E_HALF_OPEN_FULL);
    next_life(0);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(status().permits_out, 0);
    report(begin(), CBM_CORE_SUCCESS);
    assert_state(CBM_CORE_CLOSED);
}

Test(restored, counts_failures_in_a_row_on)
{
    given("failure_threshold=3");
    fail(2);
    next_life(3600 * SECOND);
    cr_assert_eq(status().failures, 2);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(restored, remembers_when_it_failed_though_that_was_before_this_clock_began)
{
    given("rule=failures failure_threshold=3 window_s=86400");
    fail(1);
    advance_ms(3600 * 1000);
    fail(1);
    next_life(3600 * SECOND);
    cr_assert_eq(status().failures, 2);
    cr_assert_eq(status().last_failure_ns_ago, 3600 * SECOND);
    advance_ms((86400 - 7200) * 1000);
    cr_assert_eq(status().failures, 1);
    fail(2);
    assert_state(CBM_CORE_OPEN);
}

Test(restored, keeps_the_newest_failures_when_there_are_very_many)
{
    given("rule=failures failure_threshold=1000 window_s=3600");
    for (int i = 0; i < 500; i++) {
        fail(1);
        advance_ms(1000);
    }
    next_life(0);
    cr_assert_eq(status().failures, CBM_CORE_KEPT_FAILURES);
    advance_ms((3600 - 10) * 1000);
    cr_assert_eq(status().failures, 9);
}

Test(restored, window_begins_empty)
{
    given("rule=count_window window_size=10 minimum_calls=4 failure_rate=50");
    fail(3);
    next_life(0);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().calls, 0);
    fail(3);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(restored, control_keeps_its_reason_and_its_end)
{
    given("");
    cr_assert_eq(cbm_core_control_set(manager, "a", CBM_CORE_CONTROL_DISABLE, "moving house", 60000, now_ns), 0);
    next_life(10 * SECOND);
    assert_state(CBM_CORE_DISABLED);
    cr_assert_str_eq(status().reason, "moving house");
    cr_assert_eq(status().control_ends_ns, 50 * SECOND);
    advance_ms(50000);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_str_empty(status().reason);
}

Test(restored, control_without_an_end_has_none)
{
    given("");
    cr_assert_eq(cbm_core_control_set(manager, "a", CBM_CORE_CONTROL_FORCE_OPEN, "no", 0, now_ns), 0);
    next_life(86400 * SECOND);
    advance_ms(INT64_C(86400000) * 365);
    assert_state(CBM_CORE_FORCED_OPEN);
    cr_assert_eq(retry_after_ms(), -1);
}

Test(restored, control_that_would_have_ended_has_ended)
{
    given("");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 1000);
    next_life(2 * SECOND);
    assert_state(CBM_CORE_CLOSED);
}

Test(restored, metrics_only_still_knows_that_it_would_have_opened)
{
    given("failure_threshold=1");
    control(CBM_CORE_CONTROL_METRICS_ONLY, 0);
    fail(1);
    cr_assert(status().would_open);
    next_life(0);
    cr_assert(status().would_open);
}

Test(restored, statistics_are_those_of_before)
{
    given("failure_threshold=2 timeout_ms=1000");
    succeed(5);
    for (int i = 1; i <= 100; i++)
        report_lasting(CBM_CORE_SUCCESS, i);
    report(begin(), CBM_CORE_IGNORED);
    cbm_core_report failure = {.outcome = CBM_CORE_TIMEOUT, .duration_ns = -1, .text = "no answer"};
    cr_assert_eq(cbm_core_call_report(manager, "a", NULL, &failure, now_ns, NULL), 0);
    fail(1);
    assert_refused(CBM_CORE_E_OPEN);
    advance_ms(777);
    cbm_core_statistics before = statistics();
    next_life(SECOND);
    cbm_core_statistics after = statistics();
    cr_assert_eq(memcmp(&before, &after, sizeof before), 0);
    cr_assert_str_eq(status().last_error_text, "no answer");
}

Test(restored, policy_is_still_what_was_asked_for_so_that_defaults_and_sections_apply_anew)
{
    cbm_core_policy_request defaults = policy_of("failure_threshold=9 timeout_ms=5000");
    given("timeout_ms=1234");
    take();
    cbm_core_manager_free(manager);
    given_manager(&(cbm_core_options){.no_rate_limit = true, .policy_defaults = &defaults});
    cr_assert_eq(try_put(0), 0);
    cr_assert_eq(status().policy.failure_threshold, 9);
    cr_assert_eq(status().policy.timeout_ms, 1234);
    cr_assert_eq(taken.policy.given, UINT32_C(1) << field("timeout_ms"));
}

Test(restored, epoch_and_generation_make_all_permits_of_before_late)
{
    given("");
    cbm_core_permit permit = begin();
    cbm_core_status before = status();
    next_life(0);
    cr_assert_eq(status().epoch, before.epoch + 2);
    cr_assert_eq(status().slot_generation, NEXT_FIRST);
    report(permit, CBM_CORE_FAILURE);
    cr_assert_eq(statistics().late_reports, 1);
    cr_assert_eq(status().failures, 0);
}

Test(restored, breaker_expires_by_the_time_that_it_was_not_used_for)
{
    given("expire_after_s=100");
    advance_ms(40000);
    next_life(30 * SECOND);
    advance_ms(29999);
    cbm_core_tick(manager, now_ns, 10);
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cr_assert_eq(stats.breakers_count, 1);
    advance_ms(1);
    cbm_core_tick(manager, now_ns, 10);
    cbm_core_stats_get(manager, now_ns, &stats);
    cr_assert_eq(stats.breakers_count, 0);
}

Test(restored, breaker_that_is_there_already_is_refused_and_stays)
{
    given("");
    fail(1);
    take();
    control(CBM_CORE_CONTROL_DISABLE, 0);
    cr_assert_eq(try_put(0), CBM_CORE_E_INVALID);
    assert_state(CBM_CORE_DISABLED);
}

static bool say_short_timeout(void *context, const char *name, cbm_core_policy_request *request)
{
    (void)context, (void)name;
    *request = policy_of("timeout_ms=500");
    return true;
}

/* Half of its policy is the config file's, and the other half alone makes no sense. */
static void open_with_half_a_policy(void)
{
    cbm_core_policy_request half = policy_of("timeout_max_ms=1000");

    given_manager(&(cbm_core_options){.no_rate_limit = true, .configured = say_short_timeout});
    cr_assert_eq(cbm_core_get(manager, "a", NULL, now_ns, NULL), 0);
    cr_assert_eq(cbm_core_configure(manager, "a", &half, now_ns, NULL), 0);
    control(CBM_CORE_CONTROL_FORCE_OPEN, 0);
    take();
    cbm_core_manager_free(manager);
}

Test(restored, keeps_a_policy_that_makes_sense_with_the_config_file_only)
{
    open_with_half_a_policy();
    given_manager(&(cbm_core_options){.no_rate_limit = true, .configured = say_short_timeout});
    cr_assert_eq(try_put(0), 0);
    assert_state(CBM_CORE_FORCED_OPEN);
    cr_assert_eq(status().policy.timeout_ms, 500);
    cr_assert_eq(status().policy.timeout_max_ms, 1000);
}

Test(restored, keeps_its_state_when_the_config_file_does_not_fit_its_policy_any_more)
{
    open_with_half_a_policy();
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    cr_assert_eq(try_put(0), 0);
    assert_state(CBM_CORE_FORCED_OPEN);
    cr_assert_eq(status().policy.timeout_ms, 60000);
}

Test(restored, nonsense_is_refused_or_cut_down)
{
    given("");
    take();
    cr_assert_eq(cbm_core_remove(manager, "*", now_ns, NULL), 0);
    cbm_core_snapshot sound = taken;
    taken.name[0] = '\0';
    cr_assert_eq(try_put(0), CBM_CORE_E_INVALID);
    memset(taken.name, 'x', sizeof taken.name);
    cr_assert_eq(try_put(0), CBM_CORE_E_INVALID);
    taken = sound;
    taken.state = (cbm_core_state)6;
    cr_assert_eq(try_put(0), CBM_CORE_E_INVALID);
    taken = sound;
    taken.policy = policy_of("rule=failures window_s=10");
    taken.policy.values.rule = (cbm_core_rule)7;
    cr_assert_eq(try_put(0), CBM_CORE_E_INVALID);
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cr_assert_eq(stats.breakers_count, 0);

    memset(&taken, 0xff, sizeof taken);
    strcpy(taken.name, "a");
    taken.policy = policy_of("rule=failures window_s=10 failure_threshold=5");
    taken.state = CBM_CORE_OPEN;
    taken.would_open = true;
    taken.epoch = UINT32_MAX;
    taken.remaining_ns = taken.unused_ns = taken.last_failure_ns_ago = INT64_MAX;
    taken.least_duration_ns = taken.most_duration_ns = INT64_MAX;
    cr_assert_eq(try_put(INT64_MAX), 0);
    (void)statistics();
    (void)status();
    advance_ms(1000000);
    (void)try_begin(NULL);
    reset();
    fail(5);
    assert_state(CBM_CORE_OPEN);
}

Test(restored, totals_of_the_manager_go_on)
{
    given("");
    succeed(3);
    cbm_core_totals totals;
    cbm_core_totals_get(manager, &totals);
    cr_assert_eq(totals.operations, 4);
    cr_assert_eq(totals.created, 1);
    next_life(0);
    cbm_core_totals_set(manager, &totals);
    succeed(1);
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cr_assert_eq(stats.total_operations, 5);
    cr_assert_eq(stats.breakers_created, 1);
}

/* What happens to the one that was moved happens to the one that stayed. */
Test(restored, behaves_as_the_one_before_in_all_that_follows)
{
    static const char *const policies[] = {"failure_threshold=3 success_threshold=2 half_open_calls=2 timeout_ms=1000",
                                           "rule=failures failure_threshold=3 window_s=5 timeout_ms=700"};
    srand(1);
    for (int round = 0; round < 400; round++) {
        given(policies[round % 2]);
        cbm_core_manager *moved;
        for (int step = rand() % 30; step > 0; step--) {
            observe(rand() % 3 ? CBM_CORE_FAILURE : CBM_CORE_SUCCESS);
            advance_ms(rand() % 600);
            cbm_core_decision decision;
            if (try_begin(&decision) == 0)
                report(decision.permit, rand() % 2 ? CBM_CORE_FAILURE : CBM_CORE_SUCCESS);
        }
        take();
        cr_assert_eq(cbm_core_manager_new(&moved, &(cbm_core_options){.no_rate_limit = true}), 0);
        uint32_t slot;
        cr_assert_eq(cbm_core_restore(moved, &taken, 0, now_ns, &slot), 0);
        bool half_open = taken.state == CBM_CORE_HALF_OPEN; /* its probes start anew */
        for (int step = 0; step < 40 && !half_open; step++) {
            cbm_core_report seen = {.outcome = rand() % 2 ? CBM_CORE_FAILURE : CBM_CORE_SUCCESS, .duration_ns = -1};
            cbm_core_decision first, second;
            cbm_core_begin how = {0};
            int error = cbm_core_call_begin(manager, "a", &how, now_ns, &first);
            cr_assert_eq(cbm_core_call_begin(moved, "a", &how, now_ns, &second), error);
            cr_assert_eq(first.state, second.state);
            if (error == 0) {
                cr_assert_eq(cbm_core_call_report(manager, "a", &first.permit, &seen, now_ns, NULL), 0);
                cr_assert_eq(cbm_core_call_report(moved, "a", &second.permit, &seen, now_ns, NULL), 0);
            }
            advance_ms(rand() % 400);
            cbm_core_status one = status(), other;
            cr_assert_eq(cbm_core_state_of(moved, "a", now_ns, &other), 0);
            cr_assert_eq(one.state, other.state);
            cr_assert_eq(one.failures, other.failures);
            cr_assert_eq(one.retry_after_ns, other.retry_after_ns);
        }
        cbm_core_manager_free(moved);
        end_of_test();
    }
}

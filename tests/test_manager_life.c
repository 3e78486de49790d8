/* The manager as a whole: adopt, a full table, what is told, resets, the whole call. */
#include "core_fixture.h"

#include <string.h>

TestSuite(adopt, .fini = end_of_test);
TestSuite(full, .fini = end_of_test);
TestSuite(reset_manager, .fini = end_of_test);
TestSuite(call, .fini = end_of_test);

static int get(const char *name)
{
    cbm_core_get_result result;
    return cbm_core_get(manager, name, NULL, now_ns, &result);
}

static cbm_core_stats stats(void)
{
    cbm_core_stats now;
    cbm_core_stats_get(manager, now_ns, &now);
    return now;
}

static bool exists(const char *name)
{
    cbm_core_status found;
    int error = cbm_core_state_of(manager, name, now_ns, &found);
    cr_assert(error == 0 || error == CBM_CORE_E_NOT_FOUND);
    return error == 0;
}

/* ---- adopt ---- */

static void adopt(cbm_core_state state, int64_t retry_after_ns)
{
    cbm_core_policy_request request = policy_of("timeout_ms=1000");
    cr_assert_eq(cbm_core_adopt(manager, "a", &request, state, retry_after_ns, now_ns), 0);
}

Test(adopt, creates_the_breaker_without_an_operation)
{
    given_manager(&(cbm_core_options){.max_rate_limit = 1});
    adopt(CBM_CORE_CLOSED, 0);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().policy.timeout_ms, 1000);
    cr_assert_eq(stats().total_operations, 0);
    cr_assert_eq(stats().current_rate_limit_size, 0);
}

Test(adopt, open_for_another_while)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    adopt(CBM_CORE_OPEN, 2500 * MS);
    assert_state(CBM_CORE_OPEN);
    cr_assert_gt(status().failures, 0, "it is not healthy");
    advance_ns(2500 * MS - 1);
    assert_refused(CBM_CORE_E_OPEN);
    advance_ns(1);
    begin();
    assert_state(CBM_CORE_HALF_OPEN);
}

Test(adopt, half_open_with_no_permit_out)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    adopt(CBM_CORE_HALF_OPEN, 0);
    assert_state(CBM_CORE_HALF_OPEN);
    cr_assert_eq(status().permits_out, 0);
    succeed(1);
    assert_state(CBM_CORE_CLOSED);
}

Test(adopt, the_manual_states)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    adopt(CBM_CORE_FORCED_OPEN, -1);
    assert_refused(CBM_CORE_E_FORCED_OPEN);
    adopt(CBM_CORE_DISABLED, 0);
    fail(100);
    assert_state(CBM_CORE_DISABLED);
    adopt(CBM_CORE_METRICS_ONLY, 0);
    assert_state(CBM_CORE_METRICS_ONLY);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->cause, CBM_CORE_CAUSE_ADOPTED);
}

Test(adopt, a_manual_state_for_another_while)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    adopt(CBM_CORE_FORCED_OPEN, 500 * MS);
    advance_ns(500 * MS - 1);
    assert_refused(CBM_CORE_E_FORCED_OPEN);
    advance_ns(1);
    assert_state(CBM_CORE_CLOSED);
}

Test(adopt, closed_with_an_empty_rule_and_earlier_permits_late)
{
    given("failure_threshold=2");
    cbm_core_permit permit = begin();
    fail(1);
    adopt(CBM_CORE_CLOSED, 0);
    cr_assert_eq(status().failures, 0);
    report(permit, CBM_CORE_FAILURE);
    cr_assert_eq(status().failures, 0);
}

Test(adopt, refuses_a_state_that_does_not_exist)
{
    given("");
    cr_assert_eq(cbm_core_adopt(manager, "a", NULL, (cbm_core_state)6, 0, now_ns), CBM_CORE_E_INVALID);
    assert_state(CBM_CORE_CLOSED);
}

/* ---- a full table ---- */

Test(full, refuses_another_breaker_and_evicts_none)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .max_breakers = 2});
    cr_assert_eq(get("a"), 0);
    cr_assert_eq(get("b"), 0);
    cr_assert_eq(get("c"), CBM_CORE_E_FULL);
    cbm_core_begin by_nobody = {0};
    cbm_core_decision decision;
    cbm_core_report success = {.outcome = CBM_CORE_SUCCESS, .duration_ns = -1};
    cr_assert_eq(cbm_core_call_begin(manager, "c", &by_nobody, now_ns, &decision), CBM_CORE_E_FULL);
    cr_assert_eq(cbm_core_call_report(manager, "c", NULL, &success, now_ns, NULL), CBM_CORE_E_FULL);
    cr_assert_eq(cbm_core_adopt(manager, "c", NULL, CBM_CORE_CLOSED, 0, now_ns), CBM_CORE_E_FULL);
    cr_assert_eq(stats().breakers_count, 2);
    cr_assert_eq(stats().max_breakers, 2);
    cr_assert_eq(get("a"), 0);
    uint64_t removed;
    cr_assert_eq(cbm_core_remove(manager, "b", now_ns, &removed), 0);
    cr_assert_eq(get("c"), 0);
}

Test(full, makes_room_by_those_that_have_expired)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .max_breakers = 2});
    cr_assert_eq(get("a"), 0);
    advance_ms(1000);
    cr_assert_eq(get("b"), 0);
    advance_ns(86400 * SECOND - 1000 * MS - 1);
    cr_assert_eq(get("c"), CBM_CORE_E_FULL);
    advance_ns(1);
    cr_assert_eq(get("c"), 0);
    cr_assert_not(exists("a"));
    cr_assert(exists("b"));
}

Test(full, finds_the_one_that_has_expired_among_many_in_use)
{
    char name[16];

    given_manager(&(cbm_core_options){.no_rate_limit = true, .max_breakers = 200});
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        cr_assert_eq(get(name), 0);
        advance_ns(1);
    }
    advance_ms(86000000);
    for (int i = 0; i < 199; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        cr_assert_eq(get(name), 0);
    }
    advance_ms(1000000);
    cr_assert_eq(get("new"), 0);
    cr_assert_not(exists("b199"));
    cr_assert(exists("b0"));
}

Test(full, is_at_65536_breakers_when_nothing_is_said)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    char name[16];
    for (int i = 0; i < 65536; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        cr_assert_eq(get(name), 0);
    }
    cr_assert_eq(get("one more"), CBM_CORE_E_FULL);
    cr_assert(exists("b0"));
    cr_assert(exists("b65535"));
    cr_assert_lt(stats().breakers_count, 65537);
}

/* ---- what is told ---- */

static void count_told(void *context, const cbm_core_event *event)
{
    int *seen = context;
    cr_assert_eq(event->now_ns, now_ns);
    cr_assert_str_eq(event->name, "a");
    ++*seen;
}

Test(events, are_told_to_whom_the_options_say)
{
    int seen = 0;
    given_manager(&(cbm_core_options){.no_rate_limit = true, .on_event = count_told, .event_context = &seen});
    get("a");
    cr_assert_eq(seen, 1);
    reset();
    cr_assert_eq(seen, 2);
    status();
    get("a");
    cr_assert_eq(seen, 2);
    end_of_test();
}

/* ---- resets ---- */

Test(reset_manager, takes_all_breakers_and_sets_the_counters_to_zero)
{
    given("");
    get("b");
    cr_assert_eq(cbm_core_reset_manager(manager, now_ns), 0);
    cr_assert_eq(stats().breakers_count, 0);
    cr_assert_eq(stats().total_operations, 0);
    cr_assert_eq(stats().rate_limited_count, 0);
    cr_assert_not(exists("a"));
}

Test(reset_manager, makes_permits_of_before_late)
{
    given("failure_threshold=1");
    cbm_core_permit permit = begin();
    cr_assert_eq(cbm_core_reset_manager(manager, now_ns), 0);
    get("a");
    report(permit, CBM_CORE_FAILURE);
    cr_assert_eq(status().failures, 0);
    cr_assert_eq(statistics().late_reports, 1);
    cr_assert_gt(status().slot_generation, permit.slot_generation);
}

Test(reset_manager, reset_all_closes_every_breaker_and_keeps_them_and_their_statistics)
{
    given("failure_threshold=2");
    make_open();
    get("b");
    cr_assert_eq(cbm_core_control_set(manager, "b", CBM_CORE_CONTROL_FORCE_OPEN, NULL, 0, now_ns), 0);
    cbm_core_reset_all(manager, now_ns);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(status().failures, 0);
    cr_assert_eq(statistics().failed_calls, 2);
    cbm_core_status b;
    cr_assert_eq(cbm_core_state_of(manager, "b", now_ns, &b), 0);
    cr_assert_eq(b.state, CBM_CORE_CLOSED);
    cr_assert_eq(stats().breakers_count, 2);
    cr_assert_eq(stats().total_operations, 4); /* two gets and the two calls of make_open */
}

/* ---- the whole call ---- */

static int64_t tell_time(void *context)
{
    int64_t *at = context;
    *at += 5 * MS;
    return *at;
}

static int return_argument(void *argument)
{
    return *(int *)argument;
}

Test(call, runs_the_function_and_reports_what_it_returned)
{
    given("failure_threshold=2");
    int64_t clock = now_ns;
    int zero = 0, seven = 7, result = -1;
    cr_assert_eq(cbm_core_call(manager, "a", return_argument, &zero, tell_time, &clock, &result), 0);
    cr_assert_eq(result, 0);
    cr_assert_eq(cbm_core_call(manager, "a", return_argument, &seven, tell_time, &clock, &result), 0);
    cr_assert_eq(result, 7);
    now_ns = clock;
    cr_assert_eq(statistics().successful_calls, 1);
    cr_assert_eq(statistics().failed_calls, 1);
    cr_assert_float_eq(statistics().p99_ms, 5, 1.25);
    cr_assert_eq(stats().total_operations, 3);
}

Test(call, does_not_run_the_function_when_the_breaker_is_open)
{
    given("failure_threshold=1");
    int64_t clock = now_ns;
    int seven = 7, result = -1;
    cr_assert_eq(cbm_core_call(manager, "a", return_argument, &seven, tell_time, &clock, NULL), 0);
    cr_assert_eq(cbm_core_call(manager, "a", return_argument, &seven, tell_time, &clock, &result), CBM_CORE_E_OPEN);
    cr_assert_eq(result, -1);
    cr_assert_eq(statistics().failed_calls, 1);
}

static int use_the_manager(void *argument)
{
    int64_t *clock = argument;
    uint64_t removed;
    cbm_core_remove(manager, "*", *clock, &removed);
    cbm_core_get_result result;
    return cbm_core_get(manager, "another", NULL, *clock, &result);
}

Test(call, lets_the_function_use_the_manager_even_to_remove_its_own_breaker)
{
    given("");
    int64_t clock = now_ns;
    int result = -1;
    cr_assert_eq(cbm_core_call(manager, "a", use_the_manager, &clock, tell_time, &clock, &result), 0);
    cr_assert_eq(result, 0);
    cr_assert(exists("another"));
}

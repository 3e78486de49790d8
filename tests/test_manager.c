/* The manager: get, what differs, remove. */
#include "core_fixture.h"

#include <string.h>

TestSuite(get, .fini = end_of_test);
TestSuite(remove_breakers, .fini = end_of_test);
TestSuite(reset_parts, .fini = end_of_test);

static cbm_core_get_result get(const char *name, const char *policy)
{
    cbm_core_policy_request request = policy_of(policy);
    cbm_core_get_result result;
    cr_assert_eq(cbm_core_get(manager, name, policy ? &request : NULL, now_ns, &result), 0);
    return result;
}

static uint32_t bit(const char *name)
{
    return UINT32_C(1) << field(name);
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

static void tick_all(void)
{
    for (int i = 0; i < 100000 && cbm_core_tick(manager, now_ns, 10); i++) {
    }
}

/* ---- get ---- */

Test(get, creates_a_breaker_that_is_not_there)
{
    given("");
    cbm_core_get_result result = get("ha_api", "failure_threshold=3 timeout_ms=30000");
    cr_assert(result.created);
    cr_assert_eq(result.policy_source, CBM_CORE_SOURCE_CREATED);
    cr_assert_eq(result.differing, 0);
    cr_assert_str_eq(result.status.name, "ha_api");
    cr_assert_eq(result.status.state, CBM_CORE_CLOSED);
    cr_assert_eq(result.status.failures, 0);
    cr_assert_eq(result.status.threshold, 3);
    cr_assert_eq(result.status.policy.timeout_ms, 30000);
    cr_assert_str_eq(last_event(CBM_CORE_EVENT_CREATED)->name, "ha_api");
}

Test(get, returns_an_existing_breaker_unchanged_and_tells_what_differs)
{
    given("failure_threshold=3 timeout_ms=1000");
    cbm_core_get_result result = get("a", "failure_threshold=4 timeout_ms=1000 jitter=0.5");
    cr_assert_not(result.created);
    cr_assert_eq(result.policy_source, CBM_CORE_SOURCE_EXISTING);
    cr_assert_eq(result.differing, bit("failure_threshold") | bit("jitter"));
    cr_assert_eq(status().policy.failure_threshold, 3);
    cr_assert_eq(status().policy.jitter_thousandths, 0);
}

Test(get, of_an_existing_breaker_that_asks_for_nothing_differs_in_nothing)
{
    given("failure_threshold=3");
    cr_assert_eq(get("a", NULL).differing, 0);
    cr_assert_eq(get("a", "").differing, 0);
    cr_assert_eq(get("a", "failure_threshold=3").differing, 0);
}

Test(get, tells_a_difference_once)
{
    given("failure_threshold=3");
    get("a", "failure_threshold=4");
    get("a", "failure_threshold=4");
    get("a", "failure_threshold=5");
    cr_assert_eq(count_events(CBM_CORE_EVENT_DIFFERS), 1);
    cr_assert_eq(last_event(CBM_CORE_EVENT_DIFFERS)->differing, bit("failure_threshold"));
    get("a", "failure_threshold=4 jitter=1");
    get("a", "failure_threshold=4");
    cr_assert_eq(count_events(CBM_CORE_EVENT_DIFFERS), 2);
}

/* What is in force is told; it is what a breaker gets that is created with this policy, so nothing differs. */
Test(get, tells_that_more_calls_than_the_window_holds_count_as_the_window)
{
    given("");
    const char *asked = "rule=count_window window_size=20 minimum_calls=50";
    cbm_core_get_result result = get("w", asked);
    cr_assert_eq(result.status.policy.minimum_calls, 20);
    cr_assert_eq(result.differing, 0);
    cr_assert_eq(get("w", asked).differing, 0);
    cr_assert_eq(get("w", "rule=count_window window_size=30 minimum_calls=50").differing,
                 bit("window_size") | bit("minimum_calls"));
    cr_assert_eq(get("w", "rule=count_window window_size=30 minimum_calls=20").differing, bit("window_size"));
}

Test(get, with_a_higher_version_replaces_the_policy_and_keeps_state_and_counts)
{
    given("failure_threshold=5 policy_version=1");
    fail(2);
    uint32_t epoch = status().epoch;
    cbm_core_get_result result = get("a", "failure_threshold=3 policy_version=2");
    cr_assert_eq(result.differing, 0);
    cr_assert_eq(result.policy_source, CBM_CORE_SOURCE_CREATED);
    cr_assert_eq(status().policy.failure_threshold, 3);
    cr_assert_eq(status().policy.policy_version, 2);
    cr_assert_eq(status().failures, 2);
    cr_assert_eq(status().epoch, epoch);
    cr_assert_eq(count_events(CBM_CORE_EVENT_POLICY_CHANGED), 1);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(get, with_the_same_or_a_lower_version_changes_nothing)
{
    given("failure_threshold=5 policy_version=7");
    cr_assert_eq(get("a", "failure_threshold=3 policy_version=7").differing, bit("failure_threshold"));
    get("a", "failure_threshold=3 policy_version=6");
    get("a", "failure_threshold=3");
    cr_assert_eq(status().policy.failure_threshold, 5);
    cr_assert_eq(status().policy.policy_version, 7);
}

Test(get, refuses_a_policy_that_contradicts_itself_and_creates_nothing)
{
    given("");
    uint64_t operations = stats().total_operations;
    cbm_core_policy_request request = policy_of("rule=failures failure_threshold=3");
    cbm_core_get_result result;
    cr_assert_eq(cbm_core_get(manager, "b", &request, now_ns, &result), CBM_CORE_E_INVALID);
    cr_assert_eq(result.bad_field, field("window_s"));
    cr_assert_not(exists("b"));
    cr_assert_eq(stats().total_operations, operations);
}

Test(get, refuses_it_for_an_existing_breaker_as_well)
{
    given("failure_threshold=3");
    cbm_core_policy_request request = policy_of("timeout_ms=5000 timeout_max_ms=4000 policy_version=9");
    cbm_core_get_result result;
    cr_assert_eq(cbm_core_get(manager, "a", &request, now_ns, &result), CBM_CORE_E_INVALID);
    cr_assert_eq(result.bad_field, field("timeout_max_ms"));
    cr_assert_eq(status().policy.timeout_ms, 60000);
}

Test(get, is_one_operation_and_readings_are_none)
{
    given("");
    cr_assert_eq(stats().total_operations, 1);
    get("a", NULL);
    get("b", NULL);
    cr_assert_eq(stats().total_operations, 3);
    cr_assert_eq(stats().breakers_count, 2);
    cr_assert_eq(stats().breakers_created, 2);
    status();
    observe(CBM_CORE_SUCCESS);
    cr_assert_eq(stats().total_operations, 3);
}

Test(get, gives_breakers_that_know_nothing_of_each_other)
{
    given("failure_threshold=1");
    get("b", "failure_threshold=1");
    fail(1);
    assert_state(CBM_CORE_OPEN);
    cr_assert_eq(get("b", NULL).status.state, CBM_CORE_CLOSED);
}

Test(get, has_a_begin_bring_the_policy_of_a_breaker_that_it_creates)
{
    given("");
    cbm_core_policy_request request = policy_of("failure_threshold=7");
    cbm_core_begin how = {.policy = &request};
    cbm_core_decision decision;
    cr_assert_eq(cbm_core_call_begin(manager, "b", &how, now_ns, &decision), 0);
    cr_assert_eq(get("b", NULL).status.policy.failure_threshold, 7);
    cr_assert_eq(cbm_core_call_begin(manager, "a", &how, now_ns, &decision), 0);
    cr_assert_eq(status().policy.failure_threshold, 5, "one that exists is left as it is");
}

/* ---- remove ---- */

Test(remove_breakers, by_an_empty_pattern_or_a_huge_one_is_refused)
{
    given("");
    uint64_t removed;
    char pattern[514];
    memset(pattern, '*', sizeof(pattern));
    pattern[513] = '\0';
    cr_assert_eq(cbm_core_remove(manager, pattern, now_ns, &removed), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_remove(manager, "", now_ns, &removed), CBM_CORE_E_INVALID);
    cr_assert(exists("a"));
}

Test(remove_breakers, takes_those_that_match)
{
    given("");
    get("ha_one", NULL);
    get("ha_two", NULL);
    uint64_t removed = 0;
    cr_assert_eq(cbm_core_remove(manager, "ha_*", now_ns, &removed), 0);
    cr_assert_eq(removed, 2);
    cr_assert(exists("a"));
    cr_assert_not(exists("ha_one"));
    cr_assert_eq(stats().breakers_count, 1);
    cr_assert_eq(stats().breakers_removed, 2);
    cr_assert_eq(count_events(CBM_CORE_EVENT_REMOVED), 2);
}

Test(remove_breakers, of_none_is_no_error)
{
    given("");
    uint64_t removed = 7;
    cr_assert_eq(cbm_core_remove(manager, "zzz*", now_ns, &removed), 0);
    cr_assert_eq(removed, 0);
}

Test(remove_breakers, makes_their_permits_late)
{
    given("failure_threshold=1");
    cbm_core_permit permit = begin();
    uint64_t removed;
    cr_assert_eq(cbm_core_remove(manager, "a", now_ns, &removed), 0);
    cbm_core_report failure = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1};
    cr_assert_eq(cbm_core_call_report(manager, "a", &permit, &failure, now_ns, NULL), CBM_CORE_E_NOT_FOUND);
    get("a", "failure_threshold=1");
    cr_assert_neq(status().slot_generation, permit.slot_generation);
    report(permit, CBM_CORE_FAILURE);
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(statistics().late_reports, 1);
    cbm_core_decision decision;
    cbm_core_begin by_nobody = {0};
    cr_assert_eq(cbm_core_call_begin_at(manager, permit.slot, permit.slot_generation, &by_nobody, now_ns, &decision),
                 CBM_CORE_E_NOT_FOUND);
}

Test(remove_breakers, forgets_probes_and_control_with_them)
{
    given("failure_threshold=1 timeout_ms=1000");
    make_due();
    begin_held(7, 500);
    uint64_t removed;
    cr_assert_eq(cbm_core_remove(manager, "*", now_ns, &removed), 0);
    get("a", "failure_threshold=1");
    advance_ms(10000);
    cbm_core_holder_gone(manager, 7, now_ns);
    tick_all();
    assert_state(CBM_CORE_CLOSED);
    cr_assert_eq(statistics().total_calls, 0);
}

Test(reset_parts, reach_every_breaker_once)
{
    char name[16];
    uint32_t next = 0;
    int parts = 1;

    given("");
    for (int i = 1; i < 100; i++) {
        snprintf(name, sizeof(name), "ha_%d", i);
        get(name, NULL);
    }
    for (; cbm_core_reset_part(manager, &next, 30, now_ns); parts++) {
        cr_assert_eq(count_events(CBM_CORE_EVENT_RESET), 30 * parts);
    }
    cr_assert_eq(parts, 4);
    cr_assert_eq(count_events(CBM_CORE_EVENT_RESET), 100);
}

Test(reset_parts, remove_takes_those_that_match_in_parts_too)
{
    char name[16];
    uint32_t next = 0;
    uint64_t removed = 0;
    int parts = 1;

    given("");
    for (int i = 1; i < 100; i++) {
        snprintf(name, sizeof(name), i % 2 ? "ha_%d" : "b_%d", i);
        get(name, NULL);
    }
    for (; cbm_core_remove_part(manager, "ha_*", &next, 30, now_ns, &removed) == 1; parts++) {
        cr_assert_eq(removed, 15 * (uint64_t)parts);
    }
    cr_assert_eq(parts, 4);
    cr_assert_eq(removed, 50);
    cr_assert_eq(stats().breakers_count, 50);
    cr_assert_eq(cbm_core_remove_part(manager, "", &next, 30, now_ns, &removed), CBM_CORE_E_INVALID);
}

Test(reset_parts, put_the_expiry_off)
{
    given("expire_after_s=10");
    advance_ms(8000);
    reset();
    advance_ms(8000);
    tick_all();
    cr_assert(exists("a"));
    advance_ms(2000);
    tick_all();
    cr_assert_not(exists("a"));
}

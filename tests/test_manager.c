/* The manager: get, what differs, the config file's word, configure, remove. */
#include "core_fixture.h"

#include <string.h>

TestSuite(get, .fini = end_of_test);
TestSuite(configured, .fini = end_of_test);
TestSuite(configure, .fini = end_of_test);
TestSuite(remove_breakers, .fini = end_of_test);

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
    cr_assert_eq(count_events(CBM_CORE_EVENT_DIFFERS), 2);
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

/* ---- the config file's word ---- */

static const char *section = "failure_threshold=2 timeout_ms=7000";

static bool say_section(void *context, const char *name, cbm_core_policy_request *request)
{
    (void)context;
    if (!section || strncmp(name, "ha_", 3) != 0) {
        return false;
    }
    *request = policy_of(section);
    return true;
}

static void given_section(const char *words)
{
    section = words;
    given_manager(&(cbm_core_options){.no_rate_limit = true, .configured = say_section});
}

Test(configured, wins_over_the_policy_that_is_asked_for)
{
    given_section("failure_threshold=2 timeout_ms=7000");
    cbm_core_get_result result = get("ha_api", "failure_threshold=9");
    cr_assert(result.created);
    cr_assert_eq(result.policy_source, CBM_CORE_SOURCE_CONFIG);
    cr_assert_eq(result.differing, bit("failure_threshold"));
    cr_assert_eq(result.status.policy.failure_threshold, 2);
    cr_assert_eq(result.status.policy.timeout_ms, 7000);
    cr_assert_eq(result.status.policy_source, CBM_CORE_SOURCE_CONFIG);
}

Test(configured, wins_over_a_higher_version)
{
    given_section("failure_threshold=2");
    get("ha_api", NULL);
    get("ha_api", "failure_threshold=9 policy_version=100");
    cr_assert_eq(get("ha_api", NULL).status.policy.failure_threshold, 2);
}

Test(configured, says_nothing_of_other_names)
{
    given_section("failure_threshold=2");
    cbm_core_get_result result = get("b", "failure_threshold=9");
    cr_assert_eq(result.policy_source, CBM_CORE_SOURCE_CREATED);
    cr_assert_eq(result.status.policy.failure_threshold, 9);
}

Test(configured, holds_for_breakers_that_a_call_creates)
{
    given_section("failure_threshold=2");
    cbm_core_decision decision;
    cbm_core_begin by_nobody = {0};
    cr_assert_eq(cbm_core_call_begin(manager, "ha_api", &by_nobody, now_ns, &decision), 0);
    cr_assert_eq(get("ha_api", NULL).status.policy.failure_threshold, 2);
}

Test(configured, anew_changes_policies_and_keeps_state_and_counts)
{
    given_section("failure_threshold=5");
    get("ha_api", NULL);
    cbm_core_report failure = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1};
    cr_assert_eq(cbm_core_call_report(manager, "ha_api", NULL, &failure, now_ns, NULL), 0);
    section = "failure_threshold=2";
    cbm_core_reload(manager, now_ns);
    cbm_core_status now = get("ha_api", NULL).status;
    cr_assert_eq(now.policy.failure_threshold, 2);
    cr_assert_eq(now.failures, 1);
    cr_assert_eq(count_events(CBM_CORE_EVENT_POLICY_CHANGED), 1);
    cr_assert_eq(cbm_core_call_report(manager, "ha_api", NULL, &failure, now_ns, NULL), 0);
    cr_assert_eq(get("ha_api", NULL).status.state, CBM_CORE_OPEN);
}

Test(configured, breakers_do_not_expire)
{
    given_section("expire_after_s=10");
    get("ha_api", NULL);
    get("other", "expire_after_s=10");
    advance_ms(3600000);
    tick_all();
    cr_assert(exists("ha_api"));
    cr_assert_not(exists("other"));
}

/* ---- configure ---- */

static int configure(const char *name, const char *policy, int *bad_field)
{
    cbm_core_policy_request request = policy_of(policy);
    return cbm_core_configure(manager, name, &request, now_ns, bad_field);
}

Test(configure, changes_the_given_fields_and_keeps_the_others_state_and_counts)
{
    given("failure_threshold=5 timeout_ms=1000 jitter=0.5");
    fail(2);
    uint32_t epoch = status().epoch;
    int bad_field;
    cr_assert_eq(configure("a", "failure_threshold=3", &bad_field), 0);
    cr_assert_eq(status().policy.failure_threshold, 3);
    cr_assert_eq(status().policy.timeout_ms, 1000);
    cr_assert_eq(status().policy.jitter_thousandths, 500);
    cr_assert_eq(status().failures, 2);
    cr_assert_eq(status().epoch, epoch);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(configure, keeps_the_counts_of_every_rule_when_its_size_changes)
{
    int bad_field;
    given("rule=count_window window_size=4 minimum_calls=4 failure_rate=100");
    fail(3);
    cr_assert_eq(configure("a", "window_size=8 minimum_calls=8", &bad_field), 0);
    cr_assert_eq(status().failures, 3);
    cr_assert_eq(status().calls, 3);
    end_of_test();

    given("rule=failures window_s=60 failure_threshold=5");
    fail(3);
    cr_assert_eq(configure("a", "failure_threshold=9", &bad_field), 0);
    cr_assert_eq(status().failures, 3);
    end_of_test();

    given("rule=time_window window_s=60 minimum_calls=100");
    fail(3);
    cr_assert_eq(configure("a", "window_s=100", &bad_field), 0);
    cr_assert_eq(status().failures, 3);
}

Test(configure, decides_at_the_next_outcome_and_not_by_itself)
{
    given("failure_threshold=5");
    fail(3);
    int bad_field;
    cr_assert_eq(configure("a", "failure_threshold=2", &bad_field), 0);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(configure, refuses_a_contradiction_with_the_policy_in_force)
{
    given("timeout_ms=5000 timeout_max_ms=6000");
    int bad_field = -1;
    cr_assert_eq(configure("a", "timeout_max_ms=4000", &bad_field), CBM_CORE_E_INVALID);
    cr_assert_eq(bad_field, field("timeout_max_ms"));
    cr_assert_eq(status().policy.timeout_max_ms, 6000);
}

Test(configure, takes_defaults_that_follow_other_fields_along)
{
    given("");
    int bad_field;
    cr_assert_eq(configure("a", "timeout_ms=7200000", &bad_field), 0);
    cr_assert_eq(status().policy.timeout_ms, 7200000);
    cr_assert_eq(status().policy.timeout_max_ms, 7200000);
}

Test(configure, of_an_unknown_name_is_not_found)
{
    given("");
    int bad_field;
    cr_assert_eq(configure("b", "failure_threshold=3", &bad_field), CBM_CORE_E_NOT_FOUND);
    cr_assert_not(exists("b"));
}

/* ---- remove ---- */

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

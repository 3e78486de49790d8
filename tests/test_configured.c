/* The config file's word on policies, configure by hand, and what of them survives what. */
#include "core_fixture.h"

#include <string.h>

TestSuite(configured, .fini = end_of_test);
TestSuite(config_defaults, .fini = end_of_test);
TestSuite(configure, .fini = end_of_test);

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

Test(configured, anew_part_by_part_reaches_every_breaker_once)
{
    char name[16];
    uint32_t next = 0;
    int parts = 1;

    given_section("failure_threshold=5");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "ha_%d", i);
        get(name, NULL);
    }
    section = "failure_threshold=6";
    for (; cbm_core_reload_part(manager, &next, 30, now_ns); parts++) {
        cr_assert_eq(count_events(CBM_CORE_EVENT_POLICY_CHANGED), 30 * parts);
    }
    cr_assert_eq(parts, 4);
    cr_assert_eq(count_events(CBM_CORE_EVENT_POLICY_CHANGED), 100);
    cr_assert_eq(get("ha_99", NULL).status.policy.failure_threshold, 6);
    cr_assert_not(cbm_core_reload_part(manager, &next, 30, now_ns));
}

Test(configured, names_match_patterns_as_states_do)
{
    cr_assert(cbm_core_name_matches("ha_*", "ha_api"));
    cr_assert_not(cbm_core_name_matches("ha_?", "ha_api"));
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

Test(configured, fields_cannot_be_configured_away)
{
    given_section("failure_threshold=5");
    get("ha_api", NULL);
    cbm_core_policy_request request = policy_of("failure_threshold=9");
    int bad_field = -1;
    cr_assert_eq(cbm_core_configure(manager, "ha_api", &request, now_ns, &bad_field), CBM_CORE_E_INVALID);
    cr_assert_eq(bad_field, field("failure_threshold"));
    cr_assert_eq(get("ha_api", NULL).status.policy.failure_threshold, 5);
}

Test(configured, no_longer_brings_back_what_was_asked_for)
{
    given_section("failure_threshold=5");
    get("ha_api", "failure_threshold=9");
    section = NULL;
    cbm_core_reload(manager, now_ns);
    cbm_core_get_result result = get("ha_api", "failure_threshold=9");
    cr_assert_eq(result.status.policy.failure_threshold, 9);
    cr_assert_eq(result.differing, 0);
    cr_assert_eq(result.policy_source, CBM_CORE_SOURCE_EXISTING);
    cr_assert_eq(result.status.policy_source, CBM_CORE_SOURCE_CREATED);
}

Test(configured, leaves_the_fields_that_it_does_not_give_to_who_asks)
{
    given_section("failure_threshold=2");
    cbm_core_get_result result = get("ha_api", "failure_threshold=9 jitter=0.5");
    cr_assert_eq(result.status.policy.failure_threshold, 2);
    cr_assert_eq(result.status.policy.jitter_thousandths, 500);
    cr_assert_eq(result.differing, bit("failure_threshold"));
}

Test(configured, leaves_out_what_is_asked_for_and_contradicts_it)
{
    given_section("timeout_ms=5000");
    cbm_core_get_result result = get("ha_api", "timeout_ms=3000 timeout_max_ms=4000");
    cr_assert_eq(result.status.policy.timeout_ms, 5000);
    cr_assert_eq(result.status.policy.timeout_max_ms, 3600000);
    cr_assert_eq(result.differing, bit("timeout_ms") | bit("timeout_max_ms"));
}

Test(configured, no_longer_brings_back_what_contradicted_it)
{
    given_section("rule=failures window_s=30");
    cbm_core_get_result result = get("ha_api", "failure_threshold=50000 timeout_ms=1234");
    cr_assert_eq(result.status.policy.failure_threshold, 5);
    section = NULL;
    cbm_core_reload(manager, now_ns);
    cr_assert_eq(get("ha_api", NULL).status.policy.failure_threshold, 50000);
    cr_assert_eq(get("ha_api", NULL).status.policy.timeout_ms, 1234);
}

Test(configured, no_longer_leaves_a_breaker_whatever_is_configured_by_hand)
{
    given_section("timeout_ms=5000");
    get("ha_api", NULL);
    cbm_core_policy_request request = policy_of("timeout_max_ms=10000"); /* less than timeout_ms without the section */
    cr_assert_eq(cbm_core_configure(manager, "ha_api", &request, now_ns, NULL), 0);
    section = NULL;
    cbm_core_reload(manager, now_ns);
    cbm_core_status now = get("ha_api", NULL).status;
    cr_assert_eq(now.policy_source, CBM_CORE_SOURCE_CREATED);
    cr_assert_eq(now.policy.timeout_ms, 60000);
    cr_assert_eq(now.policy.timeout_max_ms, 3600000);
}

Test(configured, can_be_configured_by_hand_where_what_was_asked_for_is_left_out)
{
    given_section("rule=failures window_s=30");
    get("ha_api", "failure_threshold=50000");
    cbm_core_policy_request request = policy_of("jitter=0.5");
    cr_assert_eq(cbm_core_configure(manager, "ha_api", &request, now_ns, NULL), 0);
    cr_assert_eq(get("ha_api", NULL).status.policy.jitter_thousandths, 500);
}

Test(configured, does_not_make_sense_of_a_policy_that_a_begin_may_not_ask_for)
{
    given_section("timeout_ms=5000");
    cbm_core_policy_request request = policy_of("timeout_max_ms=10000");
    cbm_core_begin with_policy = {.policy = &request};
    cbm_core_decision decision;
    cr_assert_eq(cbm_core_call_begin(manager, "ha_api", &with_policy, now_ns, &decision), CBM_CORE_E_INVALID);
    cr_assert_not(exists("ha_api"));
}

Test(configured, stands_over_what_was_configured_by_hand_and_over_the_next_reload)
{
    given_section("failure_threshold=5");
    get("ha_api", NULL);
    cbm_core_policy_request request = policy_of("jitter=0.5");
    int bad_field;
    cr_assert_eq(cbm_core_configure(manager, "ha_api", &request, now_ns, &bad_field), 0);
    section = "failure_threshold=6";
    cbm_core_reload(manager, now_ns);
    cbm_core_status now = get("ha_api", NULL).status;
    cr_assert_eq(now.policy.failure_threshold, 6);
    cr_assert_eq(now.policy.jitter_thousandths, 500);
}

Test(configured, anew_says_nothing_where_nothing_has_changed)
{
    given_section("failure_threshold=5");
    get("ha_api", NULL);
    get("b", "failure_threshold=9");
    cbm_core_reload(manager, now_ns);
    cr_assert_eq(count_events(CBM_CORE_EVENT_POLICY_CHANGED), 0);
    cr_assert_eq(get("b", NULL).status.policy.failure_threshold, 9);
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

/* ---- defaults of the config file ---- */

static cbm_core_policy_request defaults;

static void given_defaults(const char *words)
{
    defaults = policy_of(words);
    given_manager(&(cbm_core_options){.no_rate_limit = true, .configured = say_section, .policy_defaults = &defaults});
}

Test(config_defaults, stand_where_neither_a_section_nor_who_asks_says_anything)
{
    section = "jitter=0.25";
    given_defaults("failure_threshold=8 timeout_ms=2000 jitter=0.5");
    cbm_core_get_result result = get("ha_api", "failure_threshold=9");
    cr_assert_eq(result.status.policy.failure_threshold, 9);
    cr_assert_eq(result.status.policy.timeout_ms, 2000);
    cr_assert_eq(result.status.policy.jitter_thousandths, 250);
    cr_assert_eq(result.differing, 0);
    cr_assert_eq(get("b", NULL).policy_source, CBM_CORE_SOURCE_CREATED);
    cr_assert_eq(get("b", NULL).status.policy.failure_threshold, 8);
}

Test(config_defaults, that_contradict_what_is_asked_for_are_left_out)
{
    given_defaults("timeout_ms=500 timeout_max_ms=1000");
    cbm_core_get_result result = get("b", "timeout_ms=5000");
    cr_assert_eq(result.status.policy.timeout_ms, 5000);
    cr_assert_eq(result.status.policy.timeout_max_ms, 3600000);
}

Test(config_defaults, stand_beneath_a_section_that_contradicts_what_is_asked_for)
{
    section = "rule=failures window_s=30";
    given_defaults("timeout_ms=2000");
    cbm_core_get_result result = get("ha_api", "failure_threshold=50000");
    cr_assert_eq(result.policy_source, CBM_CORE_SOURCE_CONFIG);
    cr_assert_eq(result.status.policy.failure_threshold, 5);
    cr_assert_eq(result.status.policy.timeout_ms, 2000);
}

Test(config_defaults, go_with_a_section_that_makes_sense_with_them_whatever_is_asked_for)
{
    section = "timeout_max_ms=10000";
    given_defaults("timeout_ms=2000");
    cbm_core_get_result result = get("ha_api", "timeout_ms=70000");
    cr_assert_eq(result.policy_source, CBM_CORE_SOURCE_CONFIG);
    cr_assert_eq(result.status.policy.timeout_ms, 2000);
    cr_assert_eq(result.status.policy.timeout_max_ms, 10000);
}

Test(config_defaults, that_change_are_in_force_after_a_reload)
{
    given_defaults("failure_threshold=8");
    get("b", "timeout_ms=5000");
    defaults = policy_of("failure_threshold=3 timeout_ms=1000");
    cbm_core_reload(manager, now_ns);
    cbm_core_status now = get("b", NULL).status;
    cr_assert_eq(now.policy.failure_threshold, 3);
    cr_assert_eq(now.policy.timeout_ms, 5000);
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

Test(configure, leaves_failures_over_a_lower_threshold_to_the_next_failure)
{
    given("rule=failures window_s=60 failure_threshold=5");
    fail(3);
    int bad_field;
    cr_assert_eq(configure("a", "failure_threshold=2", &bad_field), 0);
    succeed(10);
    assert_state(CBM_CORE_CLOSED);
    fail(1);
    assert_state(CBM_CORE_OPEN);
}

Test(configure, ends_half_open_when_its_successes_are_enough_for_the_new_policy)
{
    int bad_field;
    given("timeout_ms=1000 success_threshold=3");
    make_due();
    succeed(2);
    cr_assert_eq(configure("a", "success_threshold=2", &bad_field), 0);
    assert_state(CBM_CORE_CLOSED);
    end_of_test();

    given("rule=count_window window_size=10 minimum_calls=5 failure_rate=50 timeout_ms=1000 half_open_calls=4");
    make_due();
    succeed(3);
    cr_assert_eq(configure("a", "half_open_calls=2", &bad_field), 0);
    assert_state(CBM_CORE_CLOSED);
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

/* `local:`: the whole of cbm.h on the manager inside the process, as the specification's singleton. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client_fixture.h"
#include "fake_broker.h"

TestSuite(local, .timeout = 30);

static cbm_client *open_local(void)
{
    return open_client("local:", CBM_FAIL_OPEN);
}

static int succeed(void *argument)
{
    ++*(int *)argument;
    return 0;
}

static int fail_with_7(void *argument)
{
    ++*(int *)argument;
    return 7;
}

/* ---- What the specification says of the manager ----------------------------------------------------------------------- */

Test(local, get_creates_a_breaker_with_5_failures_and_60_seconds)
{
    cbm_client *client = open_local();
    cbm_breaker_state state;

    cr_assert_str_eq(cbm_breaker_name(get_breaker(client, "ha_api", NULL)), "ha_api");
    state = state_of(client, "ha_api");
    cr_assert_eq(state.state, CBM_CLOSED);
    cr_assert_eq(state.failures, 0);
    cr_assert_eq(state.threshold, 5);
    cr_assert_eq(state.timeout_ms, 60000);
    cr_assert_str_eq(state.policy_source, "created");
    cbm_close(client);
}

Test(local, get_returns_an_existing_breaker_unchanged)
{
    cbm_client *client = open_local();
    cbm_policy three = CBM_POLICY_INIT, nine = CBM_POLICY_INIT;

    three.failure_threshold = 3;
    nine.failure_threshold = 9;
    cr_assert_eq(get_breaker(client, "ha_api", &three), get_breaker(client, "ha_api", &nine), "one handle a name");
    cr_assert_eq(state_of(client, "ha_api").threshold, 3);
    cbm_close(client);
}

Test(local, call_runs_the_function_and_counts_its_outcome)
{
    cbm_client *client = open_local();
    int calls = 0, result = -1;

    cr_assert_eq(cbm_call(client, "ha_api", succeed, &calls, &result), 0);
    cr_assert_eq(result, 0);
    cr_assert_eq(cbm_call(client, "ha_api", fail_with_7, &calls, &result), 0, "the function ran");
    cr_assert_eq(result, 7);
    cr_assert_eq(calls, 2);
    cr_assert_eq(state_of(client, "ha_api").statistics.successful_calls, 1);
    cr_assert_eq(state_of(client, "ha_api").statistics.failed_calls, 1);
    cr_assert_eq(state_of(client, "ha_api").failures, 1);
    cbm_close(client);
}

Test(local, call_does_not_run_the_function_while_the_circuit_is_open)
{
    cbm_client *client = open_local();
    int calls = 0;

    for (int i = 0; i < 5; i++)
        cr_assert_eq(cbm_call(client, "ha_api", fail_with_7, &calls, NULL), 0);
    cr_assert_eq(cbm_call(client, "ha_api", fail_with_7, &calls, NULL), CBM_E_OPEN);
    cr_assert_eq(calls, 5);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_OPEN);
    cbm_close(client);
}

Test(local, a_refused_begin_says_when_to_try_again)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;

    for (int i = 0; i < 5; i++)
        cr_assert_eq(call_with(breaker, CBM_FAILURE), 0);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_OPEN);
    cr_assert_gt(cbm_permit_retry_after_ms(&permit), 50000);
    cr_assert_leq(cbm_permit_retry_after_ms(&permit), 60000);
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
    cbm_close(client);
}

Test(local, one_probe_decides_in_half_open)
{
    cbm_client *client = open_local();
    cbm_policy policy = CBM_POLICY_INIT;
    cbm_breaker *breaker;
    cbm_permit probe, other;

    policy.failure_threshold = 1;
    policy.timeout_ms = 1;
    breaker = get_breaker(client, "ha_api", &policy);
    cr_assert_eq(call_with(breaker, CBM_TIMEOUT), 0);
    while (cbm_call_begin(breaker, &probe))
        sleep_ms(1);
    cr_assert_eq(cbm_permit_probe(&probe), 1);
    cr_assert_eq(cbm_call_begin(breaker, &other), CBM_E_HALF_OPEN_FULL);
    cr_assert_eq(cbm_call_report(&probe, CBM_SUCCESS), 0);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_CLOSED);
    cr_assert_eq(state_of(client, "ha_api").statistics.timeout_calls, 1);
    cbm_close(client);
}

Test(local, states_are_those_of_all_breakers_in_the_order_of_names_or_of_a_pattern)
{
    enum { MANY = 600 };
    cbm_client *client = open_local();
    cbm_states_result *states;
    char name[16];

    for (int i = MANY - 1; i >= 0; i--) {
        snprintf(name, sizeof(name), "b%03d", i);
        get_breaker(client, name, NULL);
    }
    cr_assert_eq(cbm_states(client, NULL, &states), 0);
    cr_assert_eq(cbm_states_count(states), MANY);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "b%03d", i);
        cr_assert_str_eq(cbm_states_at(states, (size_t)i)->name, name);
        cr_assert_eq(cbm_states_find(states, name), cbm_states_at(states, (size_t)i));
    }
    cr_assert_null(cbm_states_at(states, MANY));
    cr_assert_null(cbm_states_find(states, "none"));
    cr_assert_null(cbm_states_find(states, NULL));
    cbm_states_free(states);
    cr_assert_eq(cbm_states(client, "b01?", &states), 0);
    cr_assert_eq(cbm_states_count(states), 10);
    cbm_states_free(states);
    cr_assert_eq(cbm_states(client, "none*", &states), 0);
    cr_assert_eq(cbm_states_count(states), 0);
    cbm_states_free(states);
    cbm_close(client);
}

Test(local, reset_all_closes_all_and_keeps_statistics_and_breakers)
{
    cbm_client *client = open_local();

    for (int i = 0; i < 5; i++)
        cr_assert_eq(call_with(get_breaker(client, "ha_api", NULL), CBM_FAILURE), 0);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_OPEN);
    cr_assert_eq(cbm_reset_all(client), 0);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_CLOSED);
    cr_assert_eq(state_of(client, "ha_api").failures, 0);
    cr_assert_eq(state_of(client, "ha_api").statistics.failed_calls, 5);
    cbm_close(client);
}

Test(local, states_tell_policies_transitions_and_time_in_each_state_of_every_breaker)
{
    enum { BREAKERS = 200 }; /* more than the room that a result begins with */
    cbm_client *client = open_client("local:", CBM_FAIL_OPEN);
    cbm_states_result *states;
    char name[16];

    for (uint32_t i = 0; i < BREAKERS; i++) {
        cbm_policy policy = CBM_POLICY_INIT;
        policy.failure_threshold = 1 + i;
        snprintf(name, sizeof(name), "b%03u", i);
        get_breaker(client, name, &policy);
    }
    call_with(get_breaker(client, "b000", NULL), CBM_FAILURE);
    cr_assert_eq(cbm_force_open(client, "b001", NULL, 0), 0);
    sleep_ms(5);
    cr_assert_eq(cbm_reset(client, "b000"), 0);
    cr_assert_eq(cbm_states(client, NULL, &states), 0);
    cr_assert_eq(cbm_states_count(states), BREAKERS);
    for (uint32_t i = 0; i < BREAKERS; i++)
        cr_assert_eq(cbm_states_at(states, i)->policy->failure_threshold, 1 + i);
    cr_assert_eq(cbm_states_at(states, 0)->statistics.transitions[CBM_CLOSED][CBM_OPEN], 1);
    cr_assert_eq(cbm_states_at(states, 0)->statistics.transitions[CBM_OPEN][CBM_CLOSED], 1);
    cr_assert_geq(cbm_states_at(states, 0)->statistics.time_in_state_ms[CBM_OPEN], 4);
    cr_assert_eq(cbm_states_at(states, 1)->statistics.transitions[CBM_CLOSED][CBM_FORCED_OPEN], 1);
    cr_assert_geq(cbm_states_at(states, 1)->statistics.time_in_state_ms[CBM_FORCED_OPEN], 4);
    cr_assert_eq(cbm_states_at(states, 2)->statistics.state_transitions, 0);
    cbm_states_free(states);
    cbm_close(client);
}

Test(local, reset_closes_one)
{
    cbm_client *client = open_local();

    for (int i = 0; i < 5; i++) {
        cr_assert_eq(call_with(get_breaker(client, "a", NULL), CBM_FAILURE), 0);
        cr_assert_eq(call_with(get_breaker(client, "b", NULL), CBM_FAILURE), 0);
    }
    cr_assert_eq(cbm_reset(client, "a"), 0);
    cr_assert_eq(state_of(client, "a").state, CBM_CLOSED);
    cr_assert_eq(state_of(client, "b").state, CBM_OPEN);
    cr_assert_eq(cbm_reset(client, "none"), CBM_E_NOT_FOUND);
    cbm_close(client);
}

Test(local, stats_have_the_fields_of_the_specification_and_the_breakers)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_stats_result *stats;

    get_breaker(client, "alexa_api", NULL);
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_stats(client, &stats), 0);
    cr_assert_eq(cbm_stats_manager(stats)->total_operations, 3);
    cr_assert_eq(cbm_stats_manager(stats)->breakers_count, 2);
    cr_assert_eq(cbm_stats_manager(stats)->rate_limited_count, 0);
    cr_assert_eq(cbm_stats_manager(stats)->rate_limit_window_ms, 1000);
    cr_assert_leq(cbm_stats_manager(stats)->current_rate_limit_size, 3);
    cr_assert_eq(cbm_stats_manager(stats)->max_rate_limit, 1000);
    cr_assert_eq(cbm_states_count(cbm_stats_breakers(stats)), 2);
    cr_assert_eq(cbm_states_find(cbm_stats_breakers(stats), "ha_api")->statistics.total_calls, 1);
    cbm_stats_free(stats);
    cbm_close(client);
}

Test(local, a_thousand_operations_a_second_pass_and_the_next_is_rate_limited)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;
    cbm_stats_result *stats;
    int begun = 0, error;

    while ((error = cbm_call_begin(breaker, &permit)) == 0 && begun < 1000000)
        begun++;
    cr_assert_eq(error, CBM_E_RATE_LIMITED);
    cr_assert_geq(begun, 999);
    cr_assert_gt(cbm_permit_retry_after_ms(&permit), 0);
    cr_assert_eq(cbm_get(client, "other", NULL, &breaker), CBM_E_RATE_LIMITED);
    cr_assert_null(breaker);
    cr_assert_eq(cbm_reset_manager(client), CBM_E_RATE_LIMITED, "the specification's false");
    cr_assert_eq(cbm_stats(client, &stats), 0, "looking is never limited");
    cr_assert_geq(cbm_stats_manager(stats)->rate_limited_count, 2);
    cbm_stats_free(stats);
    cbm_close(client);
}

Test(local, reset_manager_forgets_all_and_handles_stay_good_with_their_policies)
{
    cbm_client *client = open_local();
    cbm_policy policy = CBM_POLICY_INIT;
    cbm_breaker *breaker, *reported;
    cbm_stats_result *stats;

    policy.failure_threshold = 2;
    breaker = get_breaker(client, "ha_api", &policy);
    reported = get_breaker(client, "reported", &policy);
    cr_assert_eq(call_with(breaker, CBM_FAILURE), 0);
    cr_assert_eq(cbm_reset_manager(client), 0);
    cr_assert_eq(cbm_stats(client, &stats), 0);
    cr_assert_eq(cbm_stats_manager(stats)->breakers_count, 0);
    cr_assert_eq(cbm_stats_manager(stats)->total_operations, 0);
    cbm_stats_free(stats);
    cr_assert_eq(call_with(breaker, CBM_FAILURE), 0);
    cr_assert_eq(state_of(client, "ha_api").threshold, 2);
    cr_assert_eq(state_of(client, "ha_api").failures, 1);
    cr_assert_eq(cbm_report(reported, CBM_FAILURE, NULL), 0);
    cr_assert_eq(state_of(client, "reported").threshold, 2);
    cbm_close(client);
}

/* ---- The rest of the face ----------------------------------------------------------------------------------------------- */

Test(local, a_report_says_duration_and_error_text)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_report_options options = {.size = sizeof(options), .error_text = "connection refused", .duration_ns = 7000000};
    cbm_states_result *states;
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_FAILURE, &options), 0);
    cr_assert_eq(cbm_states(client, NULL, &states), 0);
    cr_assert_str_eq(cbm_states_at(states, 0)->last_error_text, "connection refused");
    cr_assert(cbm_states_at(states, 0)->statistics.p50_ms > 5 && cbm_states_at(states, 0)->statistics.p50_ms < 9);
    cr_assert_geq(cbm_states_at(states, 0)->last_failure_ms_ago, 0);
    cbm_states_free(states);
    cbm_close(client);
}

Test(local, a_duration_that_is_not_to_be_recorded_is_not)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_report_options options = {.size = sizeof(options), .duration_ns = -1};
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_SUCCESS, &options), 0);
    cr_assert_eq(cbm_report(breaker, CBM_SUCCESS, NULL), 0, "a report without a permit has none to begin with");
    cr_assert_eq(state_of(client, "ha_api").statistics.p50_ms, -1);
    options.duration_ns = -2;
    cr_assert_eq(cbm_report(breaker, CBM_SUCCESS, &options), CBM_E_INVALID);
    options.duration_ns = INT64_MAX;
    cr_assert_eq(cbm_report(breaker, CBM_SUCCESS, &options), 0, "longer than a day is a day");
    cbm_close(client);
}

Test(local, a_retry_after_opens_at_once)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_report_options options = {.size = sizeof(options), .open_for_ms = 30000};
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_FAILURE, &options), 0);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_OPEN);
    cr_assert_leq(cbm_permit_retry_after_ms(&permit), 30000);
    cbm_close(client);
}

Test(local, control_by_hand)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_states_result *states;
    cbm_permit permit;

    cr_assert_eq(cbm_force_open(client, "ha_api", "maintenance", 0), 0);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_FORCED_OPEN);
    cr_assert_eq(cbm_permit_retry_after_ms(&permit), -1);
    cr_assert_eq(cbm_states(client, NULL, &states), 0);
    cr_assert_str_eq(cbm_states_at(states, 0)->reason, "maintenance");
    cbm_states_free(states);
    cr_assert_eq(cbm_disable(client, "ha_api", NULL, 0), 0);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_DISABLED);
    cr_assert_eq(cbm_metrics_only(client, "ha_api", NULL, 0), 0);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_METRICS_ONLY);
    cr_assert_eq(cbm_enable(client, "ha_api"), 0);
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_enable(client, "none"), CBM_E_NOT_FOUND);
    cbm_close(client);
}

Test(local, configure_changes_what_is_given_and_remove_removes_what_matches)
{
    cbm_client *client = open_local();
    cbm_policy policy = CBM_POLICY_INIT;
    uint64_t removed;

    get_breaker(client, "ha_api", NULL);
    get_breaker(client, "ha_other", NULL);
    get_breaker(client, "alexa", NULL);
    policy.failure_threshold = 9;
    cr_assert_eq(cbm_configure(client, "ha_api", &policy), 0);
    cr_assert_eq(state_of(client, "ha_api").threshold, 9);
    cr_assert_eq(state_of(client, "ha_api").timeout_ms, 60000);
    cr_assert_eq(cbm_configure(client, "none", &policy), CBM_E_NOT_FOUND);
    cr_assert_eq(cbm_remove(client, "ha_*", &removed), 0);
    cr_assert_eq(removed, 2);
    cr_assert_eq(cbm_remove(client, "ha_*", NULL), 0);
    cr_assert_eq(cbm_remove(client, NULL, &removed), CBM_E_INVALID);
    cr_assert_eq(removed, 0);
    cbm_close(client);
}

Test(local, what_needs_a_broker_is_unsupported)
{
    cbm_client *client = open_local();
    char *json;

    cr_assert_eq(cbm_connected(client), 1);
    cr_assert_str_eq(cbm_address(client), "local:");
    cr_assert_eq(cbm_ping(client), CBM_E_UNSUPPORTED);
    cr_assert_eq(cbm_command(client, "stats", &json), CBM_E_UNSUPPORTED);
    cr_assert_null(json);
    cbm_close(client);
}

Test(local, names_that_are_none_are_refused_everywhere)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker;
    char long_name[130];
    int calls = 0;

    memset(long_name, 'n', 129);
    long_name[129] = '\0';
    for (int i = 0; i < 5; i++) {
        const char *name = (const char *[]){NULL, "", "a\nb", "\xff", long_name}[i];

        cr_assert_eq(cbm_get(client, name, NULL, &breaker), CBM_E_INVALID);
        cr_assert_null(breaker);
        cr_assert_eq(cbm_call(client, name, succeed, &calls, NULL), CBM_E_INVALID);
        cr_assert_eq(cbm_reset(client, name), CBM_E_INVALID);
        cr_assert_eq(cbm_force_open(client, name, NULL, 0), CBM_E_INVALID);
    }
    cr_assert_eq(calls, 0);
    long_name[128] = '\0';
    cr_assert_eq(cbm_get(client, long_name, NULL, &breaker), 0, "128 bytes are a name");
    cbm_close(client);
}

Test(local, two_clients_have_a_manager_each)
{
    cbm_client *one = open_local(), *other = open_local();
    cbm_states_result *states;

    get_breaker(one, "ha_api", NULL);
    cr_assert_eq(cbm_states(other, NULL, &states), 0);
    cr_assert_eq(cbm_states_count(states), 0);
    cbm_states_free(states);
    cbm_close(one);
    cbm_close(other);
}

Test(local, null_is_refused_and_never_followed)
{
    cbm_client *client = open_local();
    cbm_breaker *breaker = get_breaker(client, "a", NULL);
    cbm_permit permit;
    cbm_states_result *states;
    cbm_stats_result *stats;
    char *json;

    cr_assert_eq(cbm_open(NULL, "local:", NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_get(NULL, "a", NULL, &breaker), CBM_E_INVALID);
    cr_assert_eq(cbm_get(client, "a", NULL, NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_call_begin(NULL, &permit), CBM_E_INVALID);
    cr_assert_eq(cbm_call_begin(get_breaker(client, "a", NULL), NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_report(NULL, CBM_SUCCESS, NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_call(client, "a", NULL, NULL, NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_call(NULL, "a", succeed, NULL, NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_states(NULL, NULL, &states), CBM_E_INVALID);
    cr_assert_eq(cbm_states(client, NULL, NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_stats(NULL, &stats), CBM_E_INVALID);
    cr_assert_eq(cbm_reset_all(NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_command(NULL, "stats", &json), CBM_E_INVALID);
    cbm_states_free(NULL);
    cbm_stats_free(NULL);
    cbm_free(NULL);
    cbm_close(NULL);
    cr_assert_eq(cbm_states_count(NULL), 0);
    cbm_close(client);
}

/* ---- Permits misused ---------------------------------------------------------------------------------------------------- */

Test(local, a_permit_is_reported_once)
{
    cbm_client *client = open_local();
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(get_breaker(client, "a", NULL), &permit), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID);
    cr_assert_eq(state_of(client, "a").statistics.total_calls, 1);
    cbm_close(client);
}

Test(local, a_permit_that_was_never_given_or_refused_cannot_be_reported)
{
    cbm_client *client = open_local();
    cbm_permit permit = {0};

    cr_assert_eq(cbm_call_report(NULL, CBM_SUCCESS), CBM_E_INVALID);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID);
    get_breaker(client, "a", NULL);
    cr_assert_eq(cbm_force_open(client, "a", NULL, 0), 0);
    cr_assert_eq(cbm_call_begin(get_breaker(client, "a", NULL), &permit), CBM_E_FORCED_OPEN);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID);
    cr_assert_eq(cbm_permit_probe(&permit), 0);
    cbm_close(client);
}

Test(local, an_outcome_that_is_none_is_refused_and_the_permit_kept)
{
    cbm_client *client = open_local();
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(get_breaker(client, "a", NULL), &permit), 0);
    cr_assert_eq(cbm_call_report(&permit, (cbm_outcome)4), CBM_E_INVALID);
    cr_assert_eq(cbm_call_report(&permit, (cbm_outcome)-1), CBM_E_INVALID);
    cr_assert_eq(cbm_call_report(&permit, CBM_IGNORED), 0);
    cbm_close(client);
}

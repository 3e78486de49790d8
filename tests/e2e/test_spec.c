/* Every method of the specification, over the wire: what a program sees through cbm.h. */
#include "clients.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(spec, .timeout = 60);

static int return_argument(void *argument)
{
    return *(int *)argument;
}

static int count_run(void *argument)
{
    return ++*(int *)argument, 0;
}

/* ---- get() -------------------------------------------------------------------------------------------------------- */

Test(spec, get_creates_a_breaker_with_the_default_policy)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    cr_assert_str_eq(cbm_breaker_name(breaker), "ha_api");
    cbm_breaker_state state = state_of(client, "ha_api");
    cr_assert_eq(state.state, CBM_CLOSED);
    cr_assert_eq(state.failures, 0);
    cr_assert_eq(state.threshold, 5);
    cr_assert_eq(state.timeout_ms, 60000);
    cr_assert_eq(state.statistics.total_calls, 0);
    cbm_close(client);
    broker_free(b);
}

Test(spec, get_creates_a_breaker_with_the_policy_asked_for)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 3;
    policy.timeout_ms = 30000;
    breaker_get(client, "ha_api", &policy);
    cbm_breaker_state state = state_of(client, "ha_api");
    cr_assert_eq(state.threshold, 3);
    cr_assert_eq(state.timeout_ms, 30000);
    cbm_close(client);
    broker_free(b);
}

Test(spec, get_returns_an_existing_breaker_unchanged)
{
    broker *b = broker_start(NULL);
    cbm_client *first = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_client *second = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 3;
    fail_calls(breaker_get(first, "ha_api", &policy), 2);
    policy.failure_threshold = 7;
    policy.timeout_ms = 1000;
    cbm_breaker *same = breaker_get(second, "ha_api", &policy);
    cbm_breaker_state state = state_of(second, "ha_api");
    cr_assert_eq(state.threshold, 3);
    cr_assert_eq(state.timeout_ms, 60000);
    cr_assert_eq(state.failures, 2);
    fail_calls(same, 1);
    cr_assert_eq(call_once(same, CBM_SUCCESS), CBM_E_OPEN);
    cbm_close(first);
    cbm_close(second);
    broker_free(b);
}

Test(spec, get_of_the_same_name_gives_the_same_handle)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cr_assert_eq(breaker_get(client, "ha_api", NULL), breaker_get(client, "ha_api", NULL));
    cr_assert_neq(breaker_get(client, "ha_api", NULL), breaker_get(client, "alexa_api", NULL));
    cbm_close(client);
    broker_free(b);
}

Test(spec, get_refuses_names_and_policies_that_are_not_valid_and_creates_nothing)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    char long_name[130];
    memset(long_name, 'n', 129);
    long_name[129] = '\0';
    const char *names[] = {"", "new\nline", "\xff\xfe", long_name};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cbm_breaker *breaker = (cbm_breaker *)&client;
        cr_assert_eq(cbm_get(client, names[i], NULL, &breaker), CBM_E_INVALID);
        cr_assert_null(breaker);
    }
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1000001;
    cbm_breaker *breaker;
    cr_assert_eq(cbm_get(client, "ha_api", &policy, &breaker), CBM_E_INVALID);
    cr_assert_not_null(strstr(cbm_last_message(), "failure_threshold"), "%s", cbm_last_message());
    cbm_states_result *states;
    cr_assert_eq(cbm_states(client, NULL, &states), 0);
    cr_assert_eq(cbm_states_count(states), 0);
    cbm_states_free(states);
    cbm_close(client);
    broker_free(b);
}

/* ---- call() ------------------------------------------------------------------------------------------------------- */

Test(spec, call_runs_the_function_creates_the_breaker_and_counts_the_outcome)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    int good = 0, bad = 42, result = -1;
    cr_assert_eq(cbm_call(client, "ha_api", return_argument, &good, &result), 0);
    cr_assert_eq(result, 0);
    cr_assert_eq(cbm_call_with(client, "ha_api", "request-17", return_argument, &bad, &result), 0);
    cr_assert_eq(result, 42, "the function's own result comes back");
    cbm_breaker_state state = state_of(client, "ha_api");
    cr_assert_eq(state.failures, 1);
    cr_assert_eq(state.statistics.total_calls, 2);
    cr_assert_eq(state.statistics.successful_calls, 1);
    cr_assert_eq(state.statistics.failed_calls, 1);
    cbm_close(client);
    broker_free(b);
}

Test(spec, call_does_not_run_the_function_while_the_circuit_is_open)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    int bad = 1, runs = 0;
    for (int i = 0; i < 5; i++)
        cr_assert_eq(cbm_call(client, "ha_api", return_argument, &bad, NULL), 0);
    cr_assert_eq(cbm_call(client, "ha_api", count_run, &runs, NULL), CBM_E_OPEN);
    cr_assert_eq(runs, 0);
    cbm_breaker_state state = state_of(client, "ha_api");
    cr_assert_eq(state.state, CBM_OPEN);
    cr_assert_eq(state.failures, 5, "the number that opened it stays to be seen");
    cr_assert(state.retry_after_ms > 50000 && state.retry_after_ms <= 60000);
    cr_assert_eq(state.statistics.rejected_calls, 1);
    cr_assert_eq(state.statistics.total_calls, 5, "a refused call is none");
    cbm_close(client);
    broker_free(b);
}

Test(spec, a_success_clears_the_failures)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    fail_calls(breaker, 4);
    cr_assert_eq(call_once(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(state_of(client, "ha_api").failures, 0);
    fail_calls(breaker, 4);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_CLOSED);
    cbm_close(client);
    broker_free(b);
}

/* ---- get_all_states() --------------------------------------------------------------------------------------------- */

Test(spec, get_all_states_tells_of_every_breaker_in_the_order_of_names_over_many_pages)
{
    enum { BREAKERS = 600 };
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    char name[32];
    for (int i = BREAKERS - 1; i >= 0; i--) {
        snprintf(name, sizeof name, "breaker_%04d", i);
        breaker_get(client, name, NULL);
    }
    cbm_states_result *states;
    cr_assert_eq(cbm_states(client, NULL, &states), 0);
    cr_assert_eq(cbm_states_count(states), BREAKERS);
    for (size_t i = 0; i < BREAKERS; i++) {
        snprintf(name, sizeof name, "breaker_%04zu", i);
        cr_assert_str_eq(cbm_states_at(states, i)->name, name);
    }
    cr_assert_null(cbm_states_at(states, BREAKERS));
    cr_assert_not_null(cbm_states_find(states, "breaker_0599"));
    cr_assert_null(cbm_states_find(states, "breaker_0600"));
    cbm_states_free(states);
    cr_assert_eq(cbm_states(client, "breaker_01?[5-6]", &states), 0);
    cr_assert_eq(cbm_states_count(states), 20);
    cr_assert_str_eq(cbm_states_at(states, 0)->name, "breaker_0105");
    cbm_states_free(states);
    cbm_close(client);
    broker_free(b);
}

/* ---- reset_all(), reset() of one ---------------------------------------------------------------------------------- */

Test(spec, reset_all_closes_every_breaker_and_keeps_breakers_and_statistics)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    fail_calls(breaker_get(client, "ha_api", NULL), 5);
    fail_calls(breaker_get(client, "alexa_api", NULL), 2);
    cr_assert_eq(cbm_reset_all(client), 0);
    cbm_breaker_state opened = state_of(client, "ha_api"), failing = state_of(client, "alexa_api");
    cr_assert_eq(opened.state, CBM_CLOSED);
    cr_assert_eq(opened.failures, 0);
    cr_assert_eq(opened.statistics.failed_calls, 5);
    cr_assert_eq(failing.failures, 0);
    cr_assert_eq(failing.statistics.failed_calls, 2);
    cr_assert_eq(call_once(breaker_get(client, "ha_api", NULL), CBM_SUCCESS), 0);
    cbm_close(client);
    broker_free(b);
}

Test(spec, reset_closes_one_breaker_and_leaves_the_others)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    fail_calls(breaker_get(client, "ha_api", NULL), 5);
    fail_calls(breaker_get(client, "alexa_api", NULL), 5);
    cr_assert_eq(cbm_reset(client, "ha_api"), 0);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_CLOSED);
    cr_assert_eq(state_of(client, "alexa_api").state, CBM_OPEN);
    cr_assert_eq(cbm_reset(client, "unknown"), CBM_E_NOT_FOUND);
    cr_assert(state_is(b->address, "alexa_api", "OPEN"));
    cbm_close(client);
    broker_free(b);
}

/* ---- get_stats() -------------------------------------------------------------------------------------------------- */

Test(spec, get_stats_has_every_field_of_the_specification)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL); /* operation 1 */
    breaker_get(client, "alexa_api", NULL);                     /* operation 2 */
    cr_assert_eq(call_once(breaker, CBM_SUCCESS), 0);           /* operation 3: one call is one operation */
    json_t *answer = ask(b->address, "stats");
    cr_assert(json_is_true(json_object_get(answer, "success")));
    cr_assert(json_is_string(json_object_get(answer, "message")));
    const json_t *data = json_object_get(answer, "data");
    cr_assert_eq(json_integer_value(json_object_get(data, "total_operations")), 3);
    cr_assert_eq(json_integer_value(json_object_get(data, "breakers_count")), 2);
    cr_assert(json_is_integer(json_object_get(data, "rate_limited_count")));
    cr_assert_eq(json_integer_value(json_object_get(data, "rate_limited_count")), 0);
    cr_assert_eq(json_integer_value(json_object_get(data, "rate_limit_window_ms")), 1000);
    cr_assert(json_is_integer(json_object_get(data, "current_rate_limit_size")));
    cr_assert_leq(json_integer_value(json_object_get(data, "current_rate_limit_size")), 3);
    cr_assert_eq(json_integer_value(json_object_get(data, "max_rate_limit")), 1000);
    const json_t *dict = json_object_get(json_object_get(data, "breakers"), "ha_api");
    cr_assert_str_eq(json_string_value(json_object_get(dict, "state")), "CLOSED");
    cr_assert_eq(json_integer_value(json_object_get(dict, "threshold")), 5);
    cr_assert_eq(json_number_value(json_object_get(dict, "timeout")), 60);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(dict, "statistics"), "total_calls")), 1);
    json_decref(answer);

    cbm_stats_result *stats;
    cr_assert_eq(cbm_stats(client, &stats), 0);
    const cbm_manager_stats *manager = cbm_stats_manager(stats);
    cr_assert_eq(manager->total_operations, 3, "reading is no operation");
    cr_assert_eq(manager->breakers_count, 2);
    cr_assert_eq(manager->breakers_created, 2);
    cr_assert_eq(cbm_states_count(cbm_stats_breakers(stats)), 2);
    cbm_stats_free(stats);
    cbm_close(client);
    broker_free(b);
}

/* ---- reset() of the manager and the rate limit ---------------------------------------------------------------------- */

Test(spec, reset_of_the_manager_removes_all_breakers_and_counters_and_handles_stay_good)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 2;
    cbm_breaker *breaker = breaker_get(client, "ha_api", &policy);
    breaker_get(client, "alexa_api", NULL);
    fail_calls(breaker, 2);
    cr_assert_eq(cbm_reset_manager(client), 0);
    cbm_stats_result *stats;
    cr_assert_eq(cbm_stats(client, &stats), 0);
    cr_assert_eq(cbm_stats_manager(stats)->breakers_count, 0);
    cr_assert_eq(cbm_stats_manager(stats)->total_operations, 0);
    cr_assert_eq(cbm_stats_manager(stats)->rate_limited_count, 0);
    cbm_stats_free(stats);
    fail_calls(breaker, 2);
    cr_assert_eq(call_once(breaker, CBM_SUCCESS), CBM_E_OPEN, "it was created again with its policy");
    cbm_close(client);
    broker_free(b);
}

/* A limit that stays full for as long as the test runs. To the letter of the specification it counts calls. */
static broker *start_limited(const char *limit, const char *window_ms)
{
    return broker_start(&(broker_options){
        .arguments = {"--rate-limit", limit, "--rate-window-ms", window_ms, "--rate-limit-scope", "calls"}});
}

Test(spec, operations_over_the_rate_limit_are_refused_and_counted)
{
    broker *b = start_limited("10", "600000");
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL), *other;
    cbm_permit permits[9], refused;
    for (int i = 0; i < 9; i++)
        cr_assert_eq(cbm_call_begin(breaker, &permits[i]), 0);
    cr_assert_eq(cbm_call_begin(breaker, &refused), CBM_E_RATE_LIMITED);
    int64_t retry_after_ms = cbm_permit_retry_after_ms(&refused);
    cr_assert(retry_after_ms > 0 && retry_after_ms <= 600000, "%ld", (long)retry_after_ms);
    cr_assert_eq(cbm_get(client, "new", NULL, &other), CBM_E_RATE_LIMITED);
    cr_assert_null(other);
    cr_assert_eq(cbm_reset_manager(client), CBM_E_RATE_LIMITED, "the specification's false");
    for (int i = 0; i < 9; i++)
        cr_assert_eq(cbm_call_report(&permits[i], CBM_SUCCESS), 0, "reports are never limited");
    cbm_stats_result *stats;
    cr_assert_eq(cbm_stats(client, &stats), 0, "reading is never limited");
    const cbm_manager_stats *manager = cbm_stats_manager(stats);
    cr_assert_eq(manager->total_operations, 10);
    cr_assert_eq(manager->rate_limited_count, 3);
    cr_assert_eq(manager->current_rate_limit_size, 10);
    cr_assert_eq(manager->max_rate_limit, 10);
    cr_assert_eq(manager->rate_limit_window_ms, 600000);
    cr_assert_eq(manager->breakers_count, 1, "neither created nor reset");
    cbm_stats_free(stats);
    cr_assert_eq(cbm_ping(client), 0);
    cr_assert_eq(cbm_reset(client, "ha_api"), 0);
    cbm_close(client);
    broker_free(b);
}

static bool is_no_longer_limited(void *context)
{
    return call_once(context, CBM_SUCCESS) == 0;
}

Test(spec, operations_are_let_through_again_when_the_window_has_moved_on)
{
    broker *b = start_limited("5", "300");
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    int64_t first_ms = clock_ms();
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    int calls = 0;
    while (calls < 100 && call_once(breaker, CBM_SUCCESS) == 0)
        calls++;
    cr_assert_lt(calls, 100);
    cr_assert(wait_until(is_no_longer_limited, breaker, HARNESS_DEADLINE_MS));
    cr_assert_geq(clock_ms() - first_ms, 299);
    cbm_close(client);
    broker_free(b);
}

Test(spec, the_default_limit_is_a_thousand_operations_a_second)
{
    broker *b = broker_start(&(broker_options){.arguments = {"--rate-limit-scope", "calls"}});
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    int64_t start_ns = clock_ns();
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    uint64_t passed = 1;
    cbm_permit permit;
    while (clock_ns() - start_ns < 1200000000) {
        if (cbm_call_begin(breaker, &permit) == 0)
            passed++;
    }
    cr_assert_leq(passed, 2000, "two windows at most have been touched: %lu", (unsigned long)passed);
    cr_assert_geq(passed, 1000, "%lu", (unsigned long)passed);
    cbm_close(client);
    broker_free(b);
}

/* ---- What the specification's manager gains by hand control --------------------------------------------------------- */

Test(spec, controls_by_hand_hold_until_enabled)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    cr_assert_eq(cbm_force_open(client, "ha_api", "maintenance", 0), 0);
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_FORCED_OPEN);
    cr_assert_eq(cbm_permit_retry_after_ms(&permit), -1);
    cr_assert_eq(cbm_disable(client, "ha_api", NULL, 0), 0);
    fail_calls(breaker, 10);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_DISABLED);
    cr_assert_eq(cbm_enable(client, "ha_api"), 0);
    cr_assert_eq(state_of(client, "ha_api").state, CBM_CLOSED);
    cr_assert_eq(cbm_force_open(client, "unknown", NULL, 0), CBM_E_NOT_FOUND);
    uint64_t removed = 0;
    cr_assert_eq(cbm_remove(client, "ha_*", &removed), 0);
    cr_assert_eq(removed, 1);
    cbm_close(client);
    broker_free(b);
}

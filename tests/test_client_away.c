/* The broker is away, and comes back: what each mode does, and how handles and counts survive it. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>

#include "client_fixture.h"
#include "error.h"
#include "fake_broker.h"

TestSuite(client_away, .timeout = 60);

static cbm_policy threshold_of(uint32_t failures)
{
    cbm_policy policy = CBM_POLICY_INIT;

    policy.failure_threshold = failures;
    return policy;
}

static bool policy_is(const cbm_request *request, uint32_t failure_threshold)
{
    int row = cbm_core_policy_find("failure_threshold", strlen("failure_threshold"));

    return request->policy.given & UINT32_C(1) << row && request->policy.values.failure_threshold == failure_threshold;
}

/* ---- Fail open ---------------------------------------------------------------------------------------------------------- */

Test(client_away, under_fail_open_calls_pass_and_say_that_they_are_unprotected)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
    fake_broker_go_away(broker);
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    cr_assert_eq(cbm_permit_probe(&permit), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), CBM_E_AWAY);
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), CBM_E_INVALID, "it is spent");
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, an_unprotected_call_is_reported_without_a_permit_when_the_broker_is_back)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;

    fake_broker_go_away(broker);
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    fake_broker_restart(broker, fake_serve_well);
    cr_assert(await_broker(client));
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), 0);
    cr_assert_eq(fake_broker_last(broker, CBM_OP_CALL_REPORT).report.permit_size, 0);
    cr_assert_eq(fake_broker_last(broker, CBM_OP_CALL_REPORT).report.outcome, CBM_CORE_FAILURE);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, what_is_not_a_call_is_away_in_fail_open)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    cbm_states_result *states;
    cbm_stats_result *stats;
    cbm_breaker *breaker;
    char *json;

    fake_broker_go_away(broker);
    cr_assert_eq(cbm_states(client, NULL, &states), CBM_E_AWAY);
    cr_assert_null(states);
    cr_assert_eq(cbm_stats(client, &stats), CBM_E_AWAY);
    cr_assert_null(stats);
    cr_assert_eq(cbm_reset_all(client), CBM_E_AWAY);
    cr_assert_eq(cbm_ping(client), CBM_E_AWAY);
    cr_assert_eq(cbm_command(client, "stats", &json), CBM_E_AWAY);
    cr_assert_null(json);
    cr_assert_eq(cbm_get(client, "later", NULL, &breaker), 0, "a handle attaches later");
    cr_assert_eq(cbm_report(breaker, CBM_SUCCESS, NULL), CBM_E_AWAY);
    cr_assert_eq(cbm_connected(client), 0);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* ---- Fail closed -------------------------------------------------------------------------------------------------------- */

static int run(void *argument)
{
    ++*(int *)argument;
    return 0;
}

Test(client_away, under_fail_closed_calls_are_refused)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL), *other;
    cbm_permit permit;
    int calls = 0;

    fake_broker_go_away(broker);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_AWAY);
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID);
    cr_assert_eq(cbm_call(client, "ha_api", run, &calls, NULL), CBM_E_AWAY);
    cr_assert_eq(calls, 0);
    cr_assert_eq(cbm_get(client, "other", NULL, &other), CBM_E_AWAY);
    cr_assert_null(other);
    fake_broker_restart(broker, fake_serve_well);
    cr_assert(await_broker(client));
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* ---- How long a broker counts as away ----------------------------------------------------------------------------------- */

static void never_answer(fake_peer *peer)
{
    fake_wait_for_the_end(peer);
}

/* Milliseconds until the client asks the broker again. */
static int64_t time_away(cbm_client *client, fake_broker *broker)
{
    int64_t begun_ms = test_clock_ms();
    int connections = fake_broker_connections(broker);

    while (fake_broker_connections(broker) == connections) {
        cbm_ping(client);
        cr_assert_lt(test_clock_ms() - begun_ms, PATIENCE_MS);
        sleep_ms(1);
    }
    return test_clock_ms() - begun_ms;
}

static void greet_and_hang_up(fake_peer *peer)
{
    (void)peer;
}

Test(client_away, the_time_away_is_100_ms_and_doubles_until_the_broker_answers)
{
    fake_broker *broker = fake_broker_start(greet_and_hang_up, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    int64_t first_ms = time_away(client, broker), second_ms = time_away(client, broker);
    int64_t third_ms = time_away(client, broker);

    cr_assert(first_ms >= 90 && first_ms < 100 + SLACK_MS, "%ld", (long)first_ms);
    cr_assert(second_ms >= 190 && second_ms < 200 + SLACK_MS, "%ld", (long)second_ms);
    cr_assert(third_ms >= 390 && third_ms < 400 + SLACK_MS, "%ld", (long)third_ms);
    fake_broker_restart(broker, fake_serve_well);
    cr_assert(await_broker(client));
    fake_broker_restart(broker, greet_and_hang_up);
    cbm_ping(client);
    first_ms = time_away(client, broker);
    cr_assert(first_ms < 100 + SLACK_MS / 2, "an answer has set it back: %ld", (long)first_ms);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, a_broker_that_hangs_costs_one_deadline_and_no_pile_of_connections)
{
    fake_broker *broker = fake_broker_start(never_answer, NULL);
    cbm_client *client = open_hurried(fake_broker_address(broker), CBM_FAIL_OPEN);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    int64_t begun_ms = test_clock_ms();
    cbm_permit permit;

    while (test_clock_ms() - begun_ms < 1000)
        cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(fake_broker_connections(broker), 1, "it goes on waiting on the one that it has");
    cbm_close(client);
    fake_broker_stop(broker);
}

/* ---- Handles and new brokers --------------------------------------------------------------------------------------------- */

Test(client_away, a_begin_brings_the_policy_to_whatever_broker_is_there)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_policy policy = threshold_of(3);
    cbm_breaker *breaker = get_breaker(client, "ha_api", &policy);
    cbm_permit permit;
    cbm_request request;

    fake_broker_restart(broker, fake_serve_well);
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    request = fake_broker_last(broker, CBM_OP_CALL_BEGIN);
    cr_assert(policy_is(&request, 3));
    cr_assert_eq(fake_broker_count(broker, CBM_OP_GET), 1);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_GET), 1, "the begin has made it known");
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, a_report_to_a_new_broker_gets_the_breaker_again_first)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_policy policy = threshold_of(3);
    cbm_breaker *breaker = get_breaker(client, "ha_api", &policy);
    cbm_permit permit;
    cbm_request request;

    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    fake_broker_restart(broker, fake_serve_well);
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), 0);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_GET), 2);
    request = fake_broker_last(broker, CBM_OP_GET);
    cr_assert(policy_is(&request, 3));
    cr_assert_eq(cbm_report(breaker, CBM_FAILURE, NULL), 0);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_GET), 2, "once is enough");
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, a_connection_to_the_same_broker_gets_nothing_again)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);

    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    fake_broker_hang_up(broker);
    cr_assert_eq(cbm_report(breaker, CBM_SUCCESS, NULL), 0);
    cr_assert_eq(fake_broker_connections(broker), 2);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_GET), 1);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, a_handle_got_while_nobody_was_there_attaches_with_its_policy)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client;
    cbm_policy policy = threshold_of(4);
    cbm_breaker *breaker;
    cbm_request request;

    fake_broker_go_away(broker);
    client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    breaker = get_breaker(client, "ha_api", &policy);
    fake_broker_restart(broker, fake_serve_well);
    cr_assert(await_broker(client));
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    request = fake_broker_last(broker, CBM_OP_CALL_BEGIN);
    cr_assert(policy_is(&request, 4));
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, a_name_got_again_without_a_policy_keeps_the_one_it_had)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_policy policy = threshold_of(4);
    cbm_breaker *breaker = get_breaker(client, "ha_api", &policy);
    cbm_request request;

    fake_broker_restart(broker, fake_serve_well);
    cr_assert_eq(get_breaker(client, "ha_api", NULL), breaker);
    request = fake_broker_last(broker, CBM_OP_GET);
    cr_assert(policy_is(&request, 4));
    cbm_close(client);
    fake_broker_stop(broker);
}

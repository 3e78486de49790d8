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

/* ---- Local -------------------------------------------------------------------------------------------------------------- */

/* A broker that opens "opened", forces "forced", and finds all else closed with a threshold of 2. */
static void know_some_states(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        cbm_reply reply;

        fake_ordinary(peer, &reply);
        if (peer->request.op == CBM_OP_GET) {
            reply.data.get.status.policy.failure_threshold = 2;
        } else if (peer->request.op == CBM_OP_CALL_BEGIN && strcmp(peer->request.name, "opened") == 0) {
            cbm_reply_fail(&reply, CBM_PROTO_E_OPEN, NULL);
            reply.has_retry_after = true;
            reply.retry_after_ms = 30000;
        } else if (peer->request.op == CBM_OP_CALL_BEGIN && strcmp(peer->request.name, "forced") == 0) {
            cbm_reply_fail(&reply, CBM_PROTO_E_FORCED_OPEN, NULL);
            reply.has_retry_after = true;
            reply.retry_after_ms = -1;
        } else if (peer->request.op == CBM_OP_CALL_REPORT && strcmp(peer->request.report.name, "reported") == 0) {
            reply.data.report.state = CBM_CORE_OPEN;
        }
        fake_answer_to(peer, peer->id, &reply);
        cbm_reply_deinit(&reply);
    }
}

Test(client_away, under_local_the_manager_in_the_process_goes_on_from_the_last_known_states)
{
    fake_broker *broker = fake_broker_start(know_some_states, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *opened = get_breaker(client, "opened", NULL), *forced = get_breaker(client, "forced", NULL);
    cbm_breaker *closed = get_breaker(client, "closed", NULL), *reported = get_breaker(client, "reported", NULL);
    cbm_permit permit;

    cr_assert_eq(call_with(opened, CBM_SUCCESS), CBM_E_OPEN);
    cr_assert_eq(call_with(forced, CBM_SUCCESS), CBM_E_FORCED_OPEN);
    cr_assert_eq(call_with(closed, CBM_SUCCESS), 0);
    cr_assert_eq(call_with(reported, CBM_FAILURE), 0);
    fake_broker_go_away(broker);
    cr_assert_eq(cbm_call_begin(opened, &permit), CBM_E_OPEN);
    cr_assert(cbm_permit_retry_after_ms(&permit) > 20000 && cbm_permit_retry_after_ms(&permit) <= 30000);
    cr_assert_eq(cbm_call_begin(forced, &permit), CBM_E_FORCED_OPEN);
    cr_assert_eq(cbm_permit_retry_after_ms(&permit), -1);
    cr_assert_eq(cbm_call_begin(reported, &permit), CBM_E_OPEN, "a report was answered OPEN");
    cr_assert(cbm_permit_retry_after_ms(&permit) > 50000 && cbm_permit_retry_after_ms(&permit) <= 60000);
    cr_assert_eq(call_with(closed, CBM_FAILURE), 0);
    cr_assert_eq(call_with(closed, CBM_FAILURE), 0);
    cr_assert_eq(call_with(closed, CBM_SUCCESS), CBM_E_OPEN, "with the policy that the broker had in force");
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
    cr_assert_eq(cbm_connected(client), 0);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, under_local_everything_that_looks_and_steers_works_on_the_manager_in_the_process)
{
    fake_broker *broker = fake_broker_start(know_some_states, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_stats_result *stats;

    get_breaker(client, "b", NULL);
    get_breaker(client, "a", NULL);
    fake_broker_go_away(broker);
    cr_assert_eq(cbm_stats(client, &stats), 0);
    cr_assert_eq(cbm_stats_manager(stats)->breakers_count, 2, "all that have a handle");
    cr_assert_str_eq(cbm_states_at(cbm_stats_breakers(stats), 0)->name, "a");
    cbm_stats_free(stats);
    cr_assert_eq(cbm_force_open(client, "a", NULL, 0), 0);
    cr_assert_eq(call_with(get_breaker(client, "a", NULL), CBM_SUCCESS), CBM_E_FORCED_OPEN);
    cr_assert_eq(cbm_reset_all(client), 0);
    cr_assert_eq(call_with(get_breaker(client, "a", NULL), CBM_SUCCESS), 0);
    cr_assert_eq(cbm_reset(client, "none"), CBM_E_NOT_FOUND);
    cr_assert_eq(cbm_ping(client), CBM_E_AWAY);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, counts_of_an_absence_go_over_once_when_the_broker_is_back)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *first = get_breaker(client, "first", NULL), *second = get_breaker(client, "second", NULL);

    fake_broker_go_away(broker);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(call_with(first, CBM_FAILURE), 0);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(call_with(second, CBM_SUCCESS), 0);
    cr_assert_eq(call_with(second, CBM_TIMEOUT), 0);
    cr_assert_eq(cbm_report(second, CBM_IGNORED, NULL), 0);
    fake_broker_restart(broker, fake_serve_well);
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_FAILURE), 4);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_SUCCESS), 5);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_TIMEOUT), 1);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_IGNORED), 1);
    cr_assert_eq(call_with(first, CBM_SUCCESS), 0);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_FAILURE), 4, "and not again");
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, more_handles_than_a_message_holds_hand_over_all_the_same)
{
    enum { HANDLES = 75 };
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    char name[CBM_CORE_NAME_MAX + 1];

    fake_broker_go_away(broker);
    memset(name, 'n', sizeof(name));
    name[CBM_CORE_NAME_MAX] = '\0';
    for (int i = 0; i < HANDLES; i++) {
        cbm_breaker *breaker;

        name[0] = (char)('0' + i / 10);
        name[1] = (char)('0' + i % 10);
        breaker = get_breaker(client, name, NULL);
        cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
        cr_assert_eq(call_with(breaker, CBM_FAILURE), 0);
    }
    fake_broker_restart(broker, fake_serve_well);
    cr_assert(await_broker(client));
    cr_assert_lt(fake_broker_count(broker, CBM_OP_GET), 10, "no call is delayed by all of them");
    for (int i = 0; i < HANDLES / 2; i++)
        cr_assert_eq(cbm_ping(client), 0);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_SUCCESS), HANDLES);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_FAILURE), HANDLES);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* Takes reports handed over, and hangs up before it answers the first of them. */
static void lose_the_first_handover(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        if (peer->request.op == CBM_OP_CALL_REPORT && fake_broker_count(peer->broker, CBM_OP_CALL_REPORT) == 1)
            return;
        fake_answer(peer);
    }
}

Test(client_away, a_handover_without_an_answer_is_repeated_as_it_was)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);

    fake_broker_go_away(broker);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    fake_broker_restart(broker, lose_the_first_handover);
    cr_assert(await_broker(client));
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_REPORT), 2);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_SUCCESS), 3, "the same sequence counts once");
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, the_brokers_state_wins_when_it_is_back)
{
    fake_broker *broker = fake_broker_start(know_some_states, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *breaker = get_breaker(client, "closed", NULL);

    for (int absence = 0; absence < 2; absence++) {
        fake_broker_go_away(broker);
        cr_assert_eq(call_with(breaker, CBM_FAILURE), 0, "the last known state is CLOSED, in each absence");
        cr_assert_eq(call_with(breaker, CBM_FAILURE), 0);
        cr_assert_eq(call_with(breaker, CBM_FAILURE), CBM_E_OPEN);
        fake_broker_restart(broker, know_some_states);
        cr_assert(await_broker(client));
        cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    }
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, a_permit_of_the_broker_that_died_is_reported_to_the_manager_in_the_process)
{
    fake_broker *broker = fake_broker_start(know_some_states, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *breaker = get_breaker(client, "closed", NULL);
    cbm_permit permits[2];

    cr_assert_eq(cbm_call_begin(breaker, &permits[0]), 0);
    cr_assert_eq(cbm_call_begin(breaker, &permits[1]), 0);
    fake_broker_go_away(broker);
    cr_assert_eq(cbm_call_report(&permits[0], CBM_FAILURE), 0);
    cr_assert_eq(cbm_call_report(&permits[1], CBM_FAILURE), 0);
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), CBM_E_OPEN);
    fake_broker_restart(broker, fake_serve_well);
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_FAILURE), 2);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* Executes reports without ever answering them. */
static void swallow_reports(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer))
        if (peer->request.op != CBM_OP_CALL_REPORT || peer->request.given & CBM_FIELD(REPORTS))
            fake_answer(peer);
}

Test(client_away, a_report_that_may_have_been_executed_is_not_handed_over_as_well)
{
    fake_broker *broker = fake_broker_start(swallow_reports, NULL);
    cbm_client *client = open_hurried(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);

    cr_assert_eq(call_with(breaker, CBM_FAILURE), 0, "the manager in the process has it");
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_REPORT), 1);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_FAILURE), 0);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_away, close_hands_over_all_that_is_owed_if_the_broker_is_there)
{
    enum { HANDLES = 20 };
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);

    fake_broker_go_away(broker);
    for (char name[] = "a"; name[0] < 'a' + HANDLES; name[0]++)
        cr_assert_eq(call_with(get_breaker(client, name, NULL), CBM_SUCCESS), 0);
    fake_broker_restart(broker, fake_serve_well);
    sleep_ms(250); /* past the time for which it counts as away */
    cbm_close(client);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_SUCCESS), HANDLES);
    fake_broker_stop(broker);
}

/* ---- Text commands ------------------------------------------------------------------------------------------------------ */

static void answer_in_text(fake_peer *peer)
{
    const char *json = fake_broker_context(peer->broker);
    uint8_t frame[1024] = {1};
    size_t size = strlen(json);

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        if (peer->request.op != CBM_OP_COUNT) {
            fake_answer(peer);
            continue;
        }
        frame[7] = (uint8_t)((size + 4) >> 8);
        frame[8] = (uint8_t)(size + 4);
        for (int i = 0; i < 4; i++)
            frame[9 + i] = (uint8_t)(peer->id >> (24 - 8 * i));
        memcpy(frame + 13, json, size);
        fake_send(peer, frame, size + 13);
    }
}

static int command_answered(const char *answer)
{
    fake_broker *broker = fake_broker_start(answer_in_text, (void *)answer);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    char *json;
    int error = cbm_command(client, "whatever it is", &json);

    cr_assert_str_eq(json, answer);
    cbm_free(json);
    cbm_close(client);
    fake_broker_stop(broker);
    return error;
}

Test(client_away, a_text_command_gives_its_json_and_the_error_in_it)
{
    cr_assert_eq(command_answered("{\"success\": true, \"message\": \"\", \"data\": {}}\n"), 0);
    cr_assert_eq(command_answered("{\"success\":false,\"message\":\"the circuit is open\",\"error\":\"open\"}\n"),
                 CBM_E_OPEN);
    cr_assert_eq(command_answered("{\"message\":\"\\\"success\\\":true\",\"data\":{\"success\":true},\"success\":false,"
                                  "\"error\":\"full\"}"),
                 CBM_E_FULL);
    cr_assert_eq(command_answered("{\"data\":{\"error\":{\"name\":\"error\"}},\"success\":true}"), 0);
    cr_assert_eq(command_answered("{\"success\":false,\"error\":\"from_the_future\"}"), CBM_E_INTERNAL);
    cr_assert_eq(command_answered("{\"success\":false}"), CBM_E_INTERNAL);
    cr_assert_eq(command_answered("hello"), CBM_E_PROTOCOL);
    cr_assert_eq(command_answered(""), CBM_E_PROTOCOL);
}

Test(client_away, no_command_is_no_command)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    char *json;

    cr_assert_eq(cbm_command(client, NULL, &json), CBM_E_INVALID);
    cr_assert_eq(cbm_command(client, "", &json), CBM_E_INVALID);
    cr_assert_eq(cbm_command(client, "\x81\xa2op\xa4ping", &json), CBM_E_INVALID, "no way around the typed requests");
    cr_assert_null(json);
    cr_assert_eq(cbm_command(client, "stats", NULL), CBM_E_INVALID);
    cbm_close(client);
    fake_broker_stop(broker);
}

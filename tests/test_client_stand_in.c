/* CBM_LOCAL: the manager in the process stands in while the broker is away, and hands over what it counted. */
#include <criterion/criterion.h>
#include <string.h>

#include "client_fixture.h"
#include "error.h"
#include "fake_broker.h"

TestSuite(client_stand_in, .timeout = 60);

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

Test(client_stand_in, under_local_the_manager_in_the_process_goes_on_from_the_last_known_states)
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

Test(client_stand_in, under_local_everything_that_looks_and_steers_works_on_the_manager_in_the_process)
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

Test(client_stand_in, breakers_that_are_removed_take_nothing_from_what_is_known_of_the_others)
{
    fake_broker *broker = fake_broker_start(know_some_states, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *opened = get_breaker(client, "opened", NULL), *forced = get_breaker(client, "forced", NULL);

    cr_assert_eq(call_with(opened, CBM_SUCCESS), CBM_E_OPEN);
    cr_assert_eq(call_with(forced, CBM_SUCCESS), CBM_E_FORCED_OPEN);
    cr_assert_eq(cbm_remove(client, "for*", NULL), 0);
    fake_broker_go_away(broker);
    cr_assert_eq(call_with(opened, CBM_SUCCESS), CBM_E_OPEN);
    cr_assert_eq(call_with(forced, CBM_SUCCESS), 0, "it starts anew");
    cbm_close(client);
    fake_broker_stop(broker);
}

/* A broker that has forced each breaker open for 40 ms more, or found it OPEN until the end of time. */
static void know_ends(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        bool forced = strncmp(peer->request.name, "forced", 6) == 0;
        cbm_reply reply;

        fake_ordinary(peer, &reply);
        if (peer->request.op == CBM_OP_GET && strcmp(peer->request.name, "forced by refusal") != 0) {
            reply.data.get.status.state = forced ? CBM_CORE_FORCED_OPEN : CBM_CORE_OPEN;
            reply.data.get.status.retry_after_ns = forced ? 40 * 1000000 : INT64_MAX - 1000000000;
        } else if (peer->request.op == CBM_OP_CALL_BEGIN) {
            cbm_reply_fail(&reply, CBM_PROTO_E_FORCED_OPEN, NULL);
            reply.has_retry_after = true;
            reply.retry_after_ms = 40;
        }
        fake_answer_to(peer, peer->id, &reply);
        cbm_reply_deinit(&reply);
    }
}

static bool passes_in_the_end(cbm_breaker *breaker)
{
    int64_t end_ms = test_clock_ms() + PATIENCE_MS;

    while (call_with(breaker, CBM_SUCCESS)) {
        if (test_clock_ms() > end_ms)
            return false;
        sleep_ms(5);
    }
    return true;
}

Test(client_stand_in, what_was_forced_open_for_a_time_is_so_no_longer_while_the_broker_is_away)
{
    fake_broker *broker = fake_broker_start(know_ends, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *early = get_breaker(client, "forced early", NULL), *late = get_breaker(client, "forced late", NULL);
    cbm_breaker *refused = get_breaker(client, "forced by refusal", NULL);

    cr_assert_eq(call_with(refused, CBM_SUCCESS), CBM_E_FORCED_OPEN);
    fake_broker_go_away(broker);
    cr_assert(passes_in_the_end(early));
    cr_assert(passes_in_the_end(refused));
    sleep_ms(60); /* it ends before the manager in the process hears of the breaker */
    cr_assert(passes_in_the_end(late));
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_stand_in, an_end_beyond_all_time_stays_in_the_future)
{
    fake_broker *broker = fake_broker_start(know_ends, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *open = get_breaker(client, "open", NULL);

    fake_broker_go_away(broker);
    cr_assert_eq(call_with(open, CBM_SUCCESS), CBM_E_OPEN);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* A broker that has no room for "refused", as anybody's get, begin or report finds. */
static void refuse_one(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        cbm_reply reply;

        fake_ordinary(peer, &reply);
        if (peer->request.op == CBM_OP_GET && strcmp(peer->request.name, "refused") == 0)
            cbm_reply_fail(&reply, CBM_PROTO_E_FULL, NULL);
        fake_answer_to(peer, peer->id, &reply);
        cbm_reply_deinit(&reply);
    }
}

Test(client_stand_in, a_breaker_that_the_broker_has_no_room_for_keeps_no_counts_of_others_back)
{
    fake_broker *broker = fake_broker_start(refuse_one, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_LOCAL);
    cbm_breaker *first, *second;
    int gets;

    fake_broker_go_away(broker);
    first = get_breaker(client, "taken", NULL);
    second = get_breaker(client, "refused", NULL);
    cr_assert_eq(call_with(first, CBM_FAILURE), 0);
    cr_assert_eq(call_with(second, CBM_TIMEOUT), 0);
    fake_broker_restart(broker, refuse_one);
    cr_assert(await_broker(client));
    cr_assert_eq(cbm_ping(client), 0);
    cr_assert_eq(fake_broker_late(broker, CBM_CORE_FAILURE), 1);
    gets = fake_broker_count(broker, CBM_OP_GET);
    cr_assert_eq(cbm_ping(client), 0);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_GET), gets, "it is not asked for again and again");
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_stand_in, counts_of_an_absence_go_over_once_when_the_broker_is_back)
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

Test(client_stand_in, more_handles_than_a_message_holds_hand_over_all_the_same)
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

Test(client_stand_in, a_handover_without_an_answer_is_repeated_as_it_was)
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

Test(client_stand_in, the_brokers_state_wins_when_it_is_back)
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

Test(client_stand_in, a_permit_of_the_broker_that_died_is_reported_to_the_manager_in_the_process)
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

Test(client_stand_in, a_report_that_may_have_been_executed_is_not_handed_over_as_well)
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

Test(client_stand_in, close_hands_over_all_that_is_owed_if_the_broker_is_there)
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

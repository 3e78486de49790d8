/* The connection ends in the middle of a request: what is sent again, and what is not. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>

#include "client_fixture.h"
#include "fake_broker.h"

TestSuite(client_resend, .timeout = 60);

/* Hangs up after `at` bytes of the answer to an operation, on the first connections. */
typedef struct hang_up {
    cbm_operation op;
    size_t at;
    int connections;
    atomic_bool whole;
} hang_up;

static void hang_up_in_the_answer(fake_peer *peer)
{
    hang_up *h = fake_broker_context(peer->broker);

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        uint8_t frame[4096];
        cbm_reply reply;
        size_t size;

        if (peer->request.op != h->op || peer->number > h->connections) {
            fake_answer(peer);
            continue;
        }
        fake_ordinary(peer, &reply);
        size = fake_frame(peer, peer->id, &reply, frame, sizeof(frame));
        h->whole = h->at >= size;
        fake_send(peer, frame, h->whole ? size : h->at);
        return;
    }
}

Test(client_resend, a_reading_is_asked_again_when_the_connection_ends_at_any_byte_of_its_answer)
{
    hang_up h = {.op = CBM_OP_PING, .connections = 1};

    for (h.at = 0; !h.whole; h.at++) {
        fake_broker *broker = fake_broker_start(hang_up_in_the_answer, &h);
        cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);

        cr_assert_eq(cbm_ping(client), 0, "at byte %zu: %s", h.at, cbm_last_message());
        cr_assert_eq(fake_broker_connections(broker), h.whole ? 1 : 2);
        cbm_close(client);
        fake_broker_stop(broker);
    }
}

Test(client_resend, a_begin_is_never_sent_again_once_it_may_have_been_executed)
{
    hang_up h = {.op = CBM_OP_CALL_BEGIN, .connections = 1};
    fake_broker *broker = fake_broker_start(hang_up_in_the_answer, &h);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_AWAY);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_BEGIN), 1);
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0, "the next one has a new connection, at once");
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_resend, a_reset_is_never_sent_again_once_it_may_have_been_executed)
{
    hang_up h = {.op = CBM_OP_RESET_ALL, .connections = 1};
    fake_broker *broker = fake_broker_start(hang_up_in_the_answer, &h);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);

    cr_assert_eq(cbm_reset_all(client), CBM_E_AWAY);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_RESET_ALL), 1);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_resend, a_report_is_sent_once_more_on_a_new_connection_as_the_same_report)
{
    hang_up h = {.op = CBM_OP_CALL_REPORT, .connections = 1};
    fake_broker *broker = fake_broker_start(hang_up_in_the_answer, &h);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    cbm_request first, second;

    cr_assert_eq(call_with(get_breaker(client, "ha_api", NULL), CBM_FAILURE), 0);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_REPORT), 2);
    second = fake_broker_last(broker, CBM_OP_CALL_REPORT);
    cr_assert(second.report.has_client && second.report.has_incarnation);
    cr_assert_eq(second.report.sequence, 1);
    cr_assert_eq(call_with(get_breaker(client, "ha_api", NULL), CBM_FAILURE), 0);
    first = second;
    second = fake_broker_last(broker, CBM_OP_CALL_REPORT);
    cr_assert_eq(second.report.sequence, 2);
    cr_assert_eq(memcmp(first.report.client, second.report.client, CBM_ID_SIZE), 0);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_resend, a_report_that_fails_twice_is_away_and_not_sent_a_third_time)
{
    hang_up h = {.op = CBM_OP_CALL_REPORT, .connections = 9};
    fake_broker *broker = fake_broker_start(hang_up_in_the_answer, &h);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);

    cr_assert_eq(call_with(get_breaker(client, "ha_api", NULL), CBM_FAILURE), CBM_E_AWAY);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_REPORT), 2);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_resend, a_report_sent_again_after_a_restart_names_the_broker_it_was_first_sent_to)
{
    hang_up h = {.op = CBM_OP_CALL_REPORT, .connections = 9};
    fake_broker *broker = fake_broker_start(hang_up_in_the_answer, &h);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    uint8_t first[CBM_ID_SIZE];

    cr_assert_eq(call_with(breaker, CBM_FAILURE), CBM_E_AWAY);
    memset(first, 1, sizeof(first));
    cr_assert_eq(memcmp(fake_broker_last(broker, CBM_OP_CALL_REPORT).report.incarnation, first, CBM_ID_SIZE), 0);
    fake_broker_restart(broker, fake_serve_well);
    cr_assert_eq(call_with(breaker, CBM_FAILURE), 0);
    memset(first, 2, sizeof(first));
    cr_assert_eq(memcmp(fake_broker_last(broker, CBM_OP_CALL_REPORT).report.incarnation, first, CBM_ID_SIZE), 0);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_resend, a_connection_that_the_broker_closed_before_the_request_costs_no_error)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);

    for (int i = 0; i < 20; i++) {
        fake_broker_restart(broker, fake_serve_well);
        cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
        fake_broker_restart(broker, fake_serve_well);
        cr_assert_eq(cbm_reset_all(client), 0);
    }
    cbm_close(client);
    fake_broker_stop(broker);
}

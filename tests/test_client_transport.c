/* What the client does when its peer does not behave as a broker should. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client_fixture.h"
#include "error.h"
#include "fake_broker.h"
#include "sp.h"

TestSuite(transport, .timeout = 60);

static int open_closed(cbm_client **client, const char *address)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;

    options.when_away = CBM_FAIL_CLOSED;
    options.call_timeout_ms = CALL_TIMEOUT_MS;
    options.timeout_ms = TIMEOUT_MS;
    return cbm_open(client, address, &options);
}

/* ---- Nobody there ----------------------------------------------------------------------------------------------------- */

static void costs_nothing_to_call(cbm_breaker *breaker)
{
    int64_t begun_ms = test_clock_ms();
    cbm_permit permit;

    for (int i = 0; i < 100; i++)
        cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_lt(test_clock_ms() - begun_ms, SLACK_MS);
}

Test(transport, a_refused_connection_is_away_at_once)
{
    char *address = fake_refusing_address();
    int64_t begun_ms = test_clock_ms();
    cbm_client *client;

    cr_assert_eq(open_closed(&client, address), CBM_E_AWAY);
    cr_assert_null(client);
    cr_assert_lt(test_clock_ms() - begun_ms, TIMEOUT_MS);
    client = open_client(address, CBM_FAIL_OPEN);
    cr_assert_eq(cbm_connected(client), 0);
    costs_nothing_to_call(get_breaker(client, "ha_api", NULL));
    cbm_close(client);
    fake_address_remove(address);
}

Test(transport, a_full_backlog_costs_one_deadline)
{
    char *address = fake_full_address();
    int64_t begun_ms = test_clock_ms();
    cbm_client *client;

    cr_assert_eq(open_closed(&client, address), CBM_E_AWAY);
    cr_assert_geq(test_clock_ms() - begun_ms, TIMEOUT_MS);
    cr_assert_lt(test_clock_ms() - begun_ms, TIMEOUT_MS + SLACK_MS);
    client = open_hurried(address, CBM_FAIL_OPEN);
    costs_nothing_to_call(get_breaker(client, "ha_api", NULL));
    cbm_close(client);
    fake_address_remove(address);
}

/* ---- Greetings -------------------------------------------------------------------------------------------------------- */

static void greet_wrongly(fake_peer *peer)
{
    fake_send(peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    fake_wait_for_the_end(peer);
}

static void greet_as_publisher(fake_peer *peer)
{
    uint8_t greeting[CBM_SP_GREETING_SIZE];

    cbm_sp_greeting_write(greeting, CBM_SP_PUB);
    fake_send(peer, greeting, sizeof(greeting));
    fake_wait_for_the_end(peer);
}

static void says_no_protocol(fake_serve *serve)
{
    fake_broker *broker = fake_broker_start(serve, NULL);
    cbm_client *client;
    cbm_permit permit;

    cr_assert_eq(open_closed(&client, fake_broker_address(broker)), CBM_E_PROTOCOL);
    client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    cr_assert_eq(cbm_call_begin(get_breaker(client, "ha_api", NULL), &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    cr_assert_eq(cbm_ping(client), CBM_E_PROTOCOL);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(transport, a_peer_that_greets_wrongly_is_not_understood)
{
    says_no_protocol(greet_wrongly);
}

Test(transport, a_peer_of_another_sp_protocol_is_not_understood)
{
    says_no_protocol(greet_as_publisher);
}

static void greet_by_halves(fake_peer *peer)
{
    uint8_t greeting[CBM_SP_GREETING_SIZE];
    atomic_bool *go_on = fake_broker_context(peer->broker);

    cbm_sp_greeting_write(greeting, CBM_SP_REP);
    fake_send(peer, greeting, 3);
    while (!*go_on)
        sleep_ms(1);
    fake_send(peer, greeting + 3, sizeof(greeting) - 3);
    if (!fake_read_greeting(peer))
        return;
    while (fake_receive(peer))
        fake_answer(peer);
}

Test(transport, a_greeting_that_is_late_is_read_on_at_the_next_call_on_the_same_connection)
{
    atomic_bool go_on = false;
    fake_broker *broker = fake_broker_start(greet_by_halves, &go_on);
    int64_t begun_ms = test_clock_ms();
    cbm_client *client = open_hurried(fake_broker_address(broker), CBM_FAIL_OPEN);

    cr_assert_geq(test_clock_ms() - begun_ms, TIMEOUT_MS);
    cr_assert_lt(test_clock_ms() - begun_ms, TIMEOUT_MS + SLACK_MS);
    cr_assert_eq(cbm_connected(client), 0);
    go_on = true;
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_connections(broker), 1);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* ---- Late and wrong answers ------------------------------------------------------------------------------------------- */

/* Withholds the answer to the first begin until the next request comes, and then sends both, the old one first. */
static void answer_the_first_begin_late(fake_peer *peer)
{
    uint32_t withheld = 0;

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        cbm_reply reply;

        if (peer->request.op == CBM_OP_CALL_BEGIN && fake_broker_count(peer->broker, CBM_OP_CALL_BEGIN) == 1) {
            withheld = peer->id;
            continue;
        }
        if (withheld) {
            cbm_reply_fail(memset(&reply, 0, sizeof(reply)), CBM_PROTO_E_OPEN, NULL);
            fake_answer_to(peer, withheld, &reply);
            withheld = 0;
        }
        fake_answer(peer);
    }
}

Test(transport, an_answer_that_comes_after_its_deadline_is_skipped)
{
    fake_broker *broker = fake_broker_start(answer_the_first_begin_late, NULL);
    cbm_client *client = open_hurried(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    int64_t begun_ms = test_clock_ms();
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_AWAY);
    cr_assert_geq(test_clock_ms() - begun_ms, CALL_TIMEOUT_MS);
    cr_assert_lt(test_clock_ms() - begun_ms, CALL_TIMEOUT_MS + SLACK_MS);
    cr_assert(await_broker(client));
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(fake_broker_connections(broker), 1, "the connection is still good");
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(transport, a_missed_deadline_costs_nothing_more_until_the_broker_is_asked_again)
{
    fake_broker *broker = fake_broker_start(answer_the_first_begin_late, NULL);
    cbm_client *client = open_hurried(fake_broker_address(broker), CBM_FAIL_OPEN);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    costs_nothing_to_call(breaker);
    cr_assert(await_broker(client));
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* As above, but the first begin is granted a probe. */
static void grant_a_probe_late(fake_peer *peer)
{
    uint32_t withheld = 0;

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        cbm_reply reply;

        if (peer->request.op == CBM_OP_CALL_BEGIN && fake_broker_count(peer->broker, CBM_OP_CALL_BEGIN) == 1) {
            withheld = peer->id;
            continue;
        }
        if (withheld) {
            memset(&reply, 0, sizeof(reply));
            reply.kind = CBM_REPLY_BEGIN;
            reply.data.begin =
                (cbm_begin_reply){.permit = "the probe", .permit_size = 9, .state = CBM_CORE_HALF_OPEN, .probe = true};
            fake_answer_to(peer, withheld, &reply);
            withheld = 0;
        }
        fake_answer(peer);
    }
}

Test(transport, a_probe_that_comes_after_its_deadline_is_given_back)
{
    fake_broker *broker = fake_broker_start(grant_a_probe_late, NULL);
    cbm_client *client = open_hurried(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;
    cbm_request report;

    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_AWAY);
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_REPORT), 1);
    report = fake_broker_last(broker, CBM_OP_CALL_REPORT);
    cr_assert_eq(report.report.outcome, CBM_CORE_IGNORED);
    cr_assert_str_eq(report.report.name, "ha_api");
    cr_assert_eq(report.report.permit_size, 9);
    cr_assert_eq(memcmp(report.report.permit, "the probe", 9), 0);
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_REPORT), 1, "once");
    cbm_close(client);
    fake_broker_stop(broker);
}

/* Answers the first connection's pings with what the context says. */
typedef struct wrong_answer {
    const void *bytes;
    size_t size;
    uint32_t id_offset; /* the request's id plus this is put into bytes 9 to 12; 0 there: not */
    bool with_id;
} wrong_answer;

static void answer_pings_wrongly(fake_peer *peer)
{
    const wrong_answer *wrong = fake_broker_context(peer->broker);
    uint8_t bytes[256];

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        if (peer->request.op != CBM_OP_PING || peer->number > 1) {
            fake_answer(peer);
            continue;
        }
        memcpy(bytes, wrong->bytes, wrong->size);
        if (wrong->with_id) {
            uint32_t id = (peer->id + wrong->id_offset) | CBM_SP_ID_BIT;

            for (int i = 0; i < 4; i++)
                bytes[CBM_SP_PREFIX_SIZE + i] = (uint8_t)(id >> (24 - 8 * i));
        }
        fake_send(peer, bytes, wrong->size);
    }
}

static void is_not_understood(wrong_answer wrong)
{
    fake_broker *broker = fake_broker_start(answer_pings_wrongly, &wrong);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);

    cr_assert_eq(cbm_ping(client), CBM_E_PROTOCOL);
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_connections(broker), 2, "such a connection is given up");
    cbm_close(client);
    fake_broker_stop(broker);
}

#define FRAME(text) .bytes = (text), .size = sizeof(text) - 1

Test(transport, a_frame_of_another_type_is_not_understood)
{
    is_not_understood((wrong_answer){FRAME("\x02\0\0\0\0\0\0\0\x05\x80\0\0\0\x80")});
}

Test(transport, a_frame_without_room_for_an_id_is_not_understood)
{
    is_not_understood((wrong_answer){FRAME("\x01\0\0\0\0\0\0\0\x03\x80\0\0")});
}

Test(transport, a_length_of_4_gib_is_not_understood_and_not_allocated)
{
    is_not_understood((wrong_answer){FRAME("\x01\0\0\0\x01\0\0\0\x05\x80\0\0\0\x80")});
}

Test(transport, a_length_just_over_1_mib_is_not_understood)
{
    is_not_understood((wrong_answer){FRAME("\x01\0\0\0\0\0\x10\0\x21\x80\0\0\0\x80")});
}

Test(transport, an_answer_to_a_request_that_was_never_sent_is_not_understood)
{
    is_not_understood((wrong_answer){FRAME("\x01\0\0\0\0\0\0\0\x05\0\0\0\0\x80"), .with_id = true, .id_offset = 1});
}

Test(transport, a_body_that_is_no_msgpack_is_not_understood)
{
    is_not_understood((wrong_answer){FRAME("\x01\0\0\0\0\0\0\0\x08\0\0\0\0hiho"), .with_id = true});
}

Test(transport, a_body_that_is_no_answer_is_not_understood)
{
    is_not_understood((wrong_answer){FRAME("\x01\0\0\0\0\0\0\0\x05\0\0\0\0\x80"), .with_id = true});
}

/* Answers whatever is asked after `info` by bytes at random, in a frame that is right or not, and hangs up. */
static void answer_at_random(fake_peer *peer)
{
    unsigned seed = *(unsigned *)fake_broker_context(peer->broker);
    uint8_t bytes[200] = {1};
    size_t size = (unsigned)rand_r(&seed) % sizeof(bytes);
    size_t from = 0;

    if (!fake_greet(peer) || !fake_receive(peer))
        return;
    fake_answer(peer);
    if (!fake_receive(peer))
        return;
    if (seed % 4 && size >= CBM_SP_PREFIX_SIZE + CBM_SP_ID_SIZE) {
        bytes[8] = (uint8_t)(size - CBM_SP_PREFIX_SIZE);
        for (int i = 0; i < 4; i++)
            bytes[CBM_SP_PREFIX_SIZE + i] = (uint8_t)(peer->id >> (24 - 8 * i));
        from = CBM_SP_PREFIX_SIZE + CBM_SP_ID_SIZE;
        if (from < size)
            bytes[from++] = (uint8_t)(0x80 | (rand_r(&seed) & 0x0f)); /* often a map */
    }
    for (; from < size; from++)
        bytes[from] = (uint8_t)rand_r(&seed);
    fake_send(peer, bytes, size);
}

Test(transport, bytes_at_random_are_survived_and_refused)
{
    unsigned seed;
    fake_broker *broker = fake_broker_start(answer_at_random, &seed);

    for (seed = 1; seed <= 500; seed++) {
        cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
        cbm_stats_result *stats;
        int error = cbm_stats(client, &stats);

        cr_assert(error == CBM_E_PROTOCOL || error == CBM_E_AWAY, "seed %u: %d", seed, error);
        cr_assert_null(stats);
        cbm_close(client);
    }
    fake_broker_stop(broker);
}

/* ---- Answers in pieces ------------------------------------------------------------------------------------------------ */

/* Sends the answer to the first ping up to a byte, and goes on with the rest when told to. */
typedef struct stutter {
    size_t at;
    atomic_bool go_on;
    atomic_bool whole; /* out: the frame has no more than `at` bytes */
} stutter;

static void stutter_at_a_ping(fake_peer *peer)
{
    stutter *s = fake_broker_context(peer->broker);

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        uint8_t frame[1024];
        cbm_reply reply;
        size_t size;

        fake_ordinary(peer, &reply);
        size = fake_frame(peer, peer->id, &reply, frame, sizeof(frame));
        if (peer->request.op == CBM_OP_PING && fake_broker_count(peer->broker, CBM_OP_PING) == 1) {
            fake_send(peer, frame, s->at);
            while (!s->go_on)
                sleep_ms(1);
            fake_send(peer, frame + s->at, size - s->at);
        } else {
            fake_send(peer, frame, size);
        }
    }
}

static void goes_on_after_half_a_frame(size_t at)
{
    stutter s = {.at = at};
    fake_broker *broker = fake_broker_start(stutter_at_a_ping, &s);
    cbm_client *client = open_hurried(fake_broker_address(broker), CBM_FAIL_CLOSED);
    int64_t begun_ms = test_clock_ms();

    cr_assert_eq(cbm_ping(client), CBM_E_AWAY);
    cr_assert_geq(test_clock_ms() - begun_ms, TIMEOUT_MS);
    cr_assert_lt(test_clock_ms() - begun_ms, TIMEOUT_MS + SLACK_MS);
    s.go_on = true;
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_connections(broker), 1);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(transport, half_a_frame_and_silence_is_a_missed_deadline_and_the_rest_is_read_later)
{
    goes_on_after_half_a_frame(0);
    goes_on_after_half_a_frame(5);
    goes_on_after_half_a_frame(CBM_SP_PREFIX_SIZE + 2);
    goes_on_after_half_a_frame(CBM_SP_PREFIX_SIZE + CBM_SP_ID_SIZE + 1);
}

/* ---- Large answers ---------------------------------------------------------------------------------------------------- */

#define MANY 256

static void answer_with_many_states(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        static uint8_t frame[CBM_REPLY_MAX + 64];
        cbm_reply reply;

        if (peer->request.op != CBM_OP_STATES) {
            fake_answer(peer);
            continue;
        }
        fake_ordinary(peer, &reply);
        reply.data.page.statuses = calloc(MANY, sizeof(cbm_core_status));
        reply.data.page.count = MANY;
        for (int i = 0; i < MANY; i++) {
            cbm_core_status *status = &reply.data.page.statuses[i];

            snprintf(status->name, sizeof(status->name), "%03d%0*d", i, CBM_CORE_NAME_MAX - 3, i);
            memset(status->last_error_text, 'e', CBM_CORE_TEXT_MAX);
            memset(status->reason, 'r', CBM_CORE_TEXT_MAX);
            status->failure_rate = status->slow_call_rate = -1;
            status->policy.timeout_ms = 60000;
        }
        fake_send(peer, frame, fake_frame(peer, peer->id, &reply, frame, sizeof(frame)));
        cbm_reply_deinit(&reply);
    }
}

Test(transport, an_answer_of_hundreds_of_kilobytes_is_read_whole)
{
    fake_broker *broker = fake_broker_start(answer_with_many_states, NULL);
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;
    cbm_states_result *states;

    options.timeout_ms = PATIENCE_MS;
    cr_assert_eq(cbm_open(&client, fake_broker_address(broker), &options), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(cbm_states(client, NULL, &states), 0, "%s", cbm_last_message());
        cr_assert_eq(cbm_states_count(states), MANY);
        cr_assert_eq(strlen(cbm_states_at(states, MANY - 1)->last_error_text), CBM_CORE_TEXT_MAX);
        cbm_states_free(states);
        cr_assert_eq(cbm_ping(client), 0);
    }
    cr_assert_eq(fake_broker_connections(broker), 1);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* ---- A peer that knows no `info` --------------------------------------------------------------------------------------- */

static void know_no_info(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        cbm_reply reply;

        if (peer->request.op != CBM_OP_INFO) {
            fake_answer(peer);
            continue;
        }
        cbm_reply_fail(memset(&reply, 0, sizeof(reply)), CBM_PROTO_E_UNKNOWN_OP, NULL);
        fake_answer_to(peer, peer->id, &reply);
    }
}

Test(transport, a_broker_without_info_serves_as_well)
{
    fake_broker *broker = fake_broker_start(know_no_info, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);

    cr_assert_eq(call_with(get_breaker(client, "ha_api", NULL), CBM_SUCCESS), 0);
    cr_assert_not(fake_broker_last(broker, CBM_OP_CALL_REPORT).report.has_incarnation);
    cbm_close(client);
    fake_broker_stop(broker);
}

/* The programs and sockets of NNG itself talk to the broker: nngcat, libnng's REQ and SUB. */
#include "clients.h"
#include "codec.h"
#include "error.h"
#include "message.h"

#include <criterion/criterion.h>
#include <nng/nng.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(nng, .timeout = 60);

/* ---- nngcat ------------------------------------------------------------------------------------------------------- */

/* What jq makes of the text; it must be one JSON document. */
static char *jq(const char *filter, const char *json)
{
    program_result result;
    program_run(&result, (const char *const[]){"jq", "-r", "-c", filter, NULL}, json, HARNESS_DEADLINE_MS);
    cr_assert_eq(result.status, 0, "jq did not take: %s: %s", json, result.err);
    result.out[strcspn(result.out, "\n")] = '\0';
    free(result.err);
    return result.out;
}

static void assert_jq(const char *json, const char *filter, const char *expected)
{
    char *value = jq(filter, json);
    cr_assert_str_eq(value, expected, "%s of %s", filter, json);
    free(value);
}

/* A text command that the operation must take: its positional field and what else it requires. */
static void write_command(char *command, size_t size, const cbm_operation_row *row)
{
    int length = snprintf(command, size, "%s", row->name);
    if (row->requires & CBM_FIELD(NAME) || strcmp(row->name, "call_report") == 0)
        length += snprintf(command + length, size - (size_t)length, " ha_api");
    if (row->requires & CBM_FIELD(PATTERN))
        length += snprintf(command + length, size - (size_t)length, " alexa_*");
    if (row->takes & CBM_FIELD(REPORT))
        length += snprintf(command + length, size - (size_t)length, " outcome=failure");
    if (row->requires & CBM_FIELD(LEDGER))
        length += snprintf(command + length, size - (size_t)length, " ledger=00112233445566778899aabbccddeeff");
    snprintf(command + length, size - (size_t)length, " correlation_id=nngcat-%s", row->name);
}

/* Memory is shared by programs, not by people with nngcat: there is no such ledger, or no such offer, but that in JSON too. */
static bool answers_well(const cbm_operation_row *row, const char *outcome)
{
    bool of_memory =
        strcmp(row->name, "attach") == 0 || strcmp(row->name, "detach") == 0 || strcmp(row->name, "pull") == 0;
    bool of_file = strcmp(row->name, "reload") == 0; /* this broker has none to read again */
    return strcmp(outcome, "true") == 0 || (of_file && strcmp(outcome, "unsupported") == 0) ||
           (of_memory && (strcmp(outcome, "unsupported") == 0 || strcmp(outcome, "not_found") == 0));
}

Test(nng, nngcat_and_jq_work_for_every_operation_of_the_table)
{
    broker *b = broker_start_unlimited();
    for (int op = 0; op < CBM_OP_COUNT; op++) {
        const cbm_operation_row *row = &cbm_operations[op];
        free(nngcat_request(b->address, "get ha_api")); /* whatever the operation before it did */
        char command[256];
        write_command(command, sizeof command, row);
        char *answer = nngcat_request(b->address, command);
        char *outcome = jq(".error // .success", answer);
        cr_assert(answers_well(row, outcome), "'%s' was answered: %s", command, answer);
        free(outcome);
        free(answer);
    }
    broker_free(b);
}

Test(nng, a_breaker_lives_and_opens_by_nngcat_alone)
{
    broker *b = broker_start(NULL);
    char *answer = nngcat_request(b->address, "get ha_api failure_threshold=3 timeout=30");
    assert_jq(answer, "[.data.name, .data.state, .data.threshold, .data.timeout, .data.created]",
              "[\"ha_api\",\"CLOSED\",3,30,true]");
    free(answer);
    for (int i = 0; i < 3; i++) {
        answer = nngcat_request(b->address, "call_begin ha_api");
        assert_jq(answer, "[.success, .data.state, .data.probe]", "[true,\"CLOSED\",false]");
        char *permit = jq(".data.permit", answer);
        char command[256];
        snprintf(command, sizeof command, "call_report ha_api permit=%s outcome=failure error_text=\"HTTP 503\"",
                 permit);
        free(permit);
        free(answer);
        answer = nngcat_request(b->address, command);
        assert_jq(answer, ".data.state", i < 2 ? "CLOSED" : "OPEN");
        free(answer);
    }
    answer = nngcat_request(b->address, "call_begin ha_api");
    assert_jq(answer, "[.success, .error, .data.retry_after_ms > 29000, .data.retry_after_ms <= 30000]",
              "[false,\"open\",true,true]");
    free(answer);
    answer = nngcat_request(b->address, "stats");
    assert_jq(answer, ".data.breakers.ha_api | [.state, .failures, .last_error_text, .statistics.rejected_calls]",
              "[\"OPEN\",3,\"HTTP 503\",1]");
    free(answer);
    broker_free(b);
}

static bool is_due(void *context)
{
    json_t *state = ask_state(context, "ha_api");
    bool due = json_is_true(json_object_get(state, "due"));
    json_decref(state);
    return due;
}

/* Each nngcat hangs up at once: its permit lives on by its lease. */
Test(nng, a_probe_taken_by_one_nngcat_is_reported_by_another)
{
    broker *b = broker_start(NULL);
    free(nngcat_request(b->address, "get ha_api failure_threshold=1 timeout_ms=20 permit_lease_ms=60000"));
    free(nngcat_request(b->address, "call_report ha_api outcome=failure"));
    cr_assert(wait_until(is_due, b->address, HARNESS_DEADLINE_MS));
    char *answer = nngcat_request(b->address, "call_begin ha_api");
    assert_jq(answer, "[.data.state, .data.probe]", "[\"HALF_OPEN\",true]");
    char *permit = jq(".data.permit", answer), command[256];
    free(answer);
    answer = nngcat_request(b->address, "call_begin ha_api");
    assert_jq(answer, ".error", "half_open_full");
    free(answer);
    snprintf(command, sizeof command, "call_report ha_api permit=%s outcome=success", permit);
    answer = nngcat_request(b->address, command);
    assert_jq(answer, ".data.state", "CLOSED");
    free(answer);
    free(permit);
    broker_free(b);
}

Test(nng, nngcat_is_told_what_is_wrong_with_its_command)
{
    broker *b = broker_start(NULL);
    static const struct {
        const char *command, *error;
    } wrong[] = {
        {"frobnicate", "unknown_op"},
        {"get", "bad_request"},
        {"get ha_api failure_threshold=0", "bad_request"},
        {"get ha_api failure_threshold=many", "bad_request"},
        {"get ha_api timeout=30 timeout_ms=30000", "bad_request"},
        {"get \"unfinished", "bad_request"},
        {"call_report ha_api outcome=splendid", "bad_request"},
        {"reset nobody_knows_it", "not_found"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *answer = nngcat_request(b->address, wrong[i].command);
        assert_jq(answer, "[.success, .error, (.message | length) > 0]",
                  strcmp(wrong[i].error, "unknown_op") == 0  ? "[false,\"unknown_op\",true]"
                  : strcmp(wrong[i].error, "not_found") == 0 ? "[false,\"not_found\",true]"
                                                             : "[false,\"bad_request\",true]");
        free(answer);
    }
    char *answer = nngcat_request(b->address, "stats");
    assert_jq(answer, ".data.breakers_count", "0");
    free(answer);
    broker_free(b);
}

/* ---- libnng's REQ --------------------------------------------------------------------------------------------------- */

static nng_socket req_open(const char *address)
{
    nng_socket socket;
    MUST(nng_req0_open(&socket) == 0);
    MUST(nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, HARNESS_DEADLINE_MS) == 0);
    MUST(nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, HARNESS_DEADLINE_MS) == 0);
    int error = nng_dial(socket, address, NULL, 0);
    if (error != 0)
        harness_fail("nng_dial: %s", nng_strerror(error));
    return socket;
}

/* One msgpack request and its decoded reply. */
static void req_ask(nng_socket socket, cbm_reply_kind kind, const uint8_t *request, size_t size, cbm_reply *reply)
{
    MUST(nng_send(socket, (void *)request, size, 0) == 0);
    void *bytes;
    size_t answered;
    int error = nng_recv(socket, &bytes, &answered, NNG_FLAG_ALLOC);
    if (error != 0)
        harness_fail("nng_recv: %s", nng_strerror(error));
    cbm_fault fault;
    if (cbm_reply_decode(bytes, answered, kind, reply, &fault) != 0)
        harness_fail("the reply was not understood: %s", fault.message);
    nng_free(bytes, answered);
}

Test(nng, libnngs_own_req_socket_speaks_msgpack_with_the_broker)
{
    broker *b = broker_start_unlimited();
    nng_socket socket = req_open(b->address);
    uint8_t request[256];
    cbm_reply reply;
    size_t size = pack_texts(request, sizeof request, "op", "get", "name", "ha_api", NULL);
    req_ask(socket, CBM_REPLY_GET, request, size, &reply);
    cr_assert_eq(reply.error, 0, "%s", reply.message);
    cr_assert(reply.data.get.created);
    cr_assert_eq(reply.data.get.status.threshold, 5);
    cbm_reply_deinit(&reply);
    size = pack_texts(request, sizeof request, "op", "call_report", "name", "ha_api", "outcome", "failure", NULL);
    for (int i = 1; i <= 1000; i++) {
        req_ask(socket, CBM_REPLY_REPORT, request, size, &reply);
        cr_assert_eq(reply.error, 0);
        cr_assert_eq(reply.data.report.state, i < 5 ? CBM_CORE_CLOSED : CBM_CORE_OPEN);
        cbm_reply_deinit(&reply);
    }
    size = pack_texts(request, sizeof request, "op", "call_begin", "name", "ha_api", NULL);
    req_ask(socket, CBM_REPLY_BEGIN, request, size, &reply);
    cr_assert_eq(reply.error, CBM_PROTO_E_OPEN);
    cr_assert(reply.has_retry_after && reply.retry_after_ms > 0);
    cbm_reply_deinit(&reply);
    cr_assert_eq(statistic(b->address, "ha_api", "failed_calls"), 1000);
    nng_close(socket);
    broker_free(b);
}

Test(nng, many_contexts_of_one_req_socket_ask_at_once)
{
    enum { CONTEXTS = 32 };
    broker *b = broker_start_unlimited();
    nng_socket socket = req_open(b->address);
    nng_ctx contexts[CONTEXTS];
    nng_aio *aios[CONTEXTS];
    for (int i = 0; i < CONTEXTS; i++) {
        char command[64];
        snprintf(command, sizeof command, "get breaker_%d", i);
        nng_msg *message;
        cr_assert_eq(nng_ctx_open(&contexts[i], socket), 0);
        cr_assert_eq(nng_aio_alloc(&aios[i], NULL, NULL), 0);
        nng_aio_set_timeout(aios[i], HARNESS_DEADLINE_MS);
        cr_assert_eq(nng_msg_alloc(&message, 0), 0);
        cr_assert_eq(nng_msg_append(message, command, strlen(command)), 0);
        nng_aio_set_msg(aios[i], message);
        nng_ctx_send(contexts[i], aios[i]);
    }
    for (int i = 0; i < CONTEXTS; i++) {
        nng_aio_wait(aios[i]);
        cr_assert_eq(nng_aio_result(aios[i]), 0);
        nng_ctx_recv(contexts[i], aios[i]);
    }
    for (int i = 0; i < CONTEXTS; i++) {
        nng_aio_wait(aios[i]);
        cr_assert_eq(nng_aio_result(aios[i]), 0);
        nng_msg *message = nng_aio_get_msg(aios[i]);
        char name[32];
        snprintf(name, sizeof name, "breaker_%d", i);
        json_t *answer = json_loadb(nng_msg_body(message), nng_msg_len(message), 0, NULL);
        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "data"), "name")), name,
                         "each context gets the answer to its own question");
        json_decref(answer);
        nng_msg_free(message);
        nng_aio_free(aios[i]);
        nng_ctx_close(contexts[i]);
    }
    nng_close(socket);
    broker_free(b);
}

#define REDIALERS 5

typedef struct redialers {
    nng_socket sockets[REDIALERS];
} redialers;

static bool asks_successfully(nng_socket socket)
{
    if (nng_send(socket, (void *)"ping", 4, 0) != 0)
        return false;
    void *bytes;
    size_t size;
    if (nng_recv(socket, &bytes, &size, NNG_FLAG_ALLOC) != 0)
        return false;
    nng_free(bytes, size);
    return true;
}

static bool one_asks_successfully(void *context)
{
    const redialers *r = context;
    for (int i = 0; i < REDIALERS; i++) {
        if (asks_successfully(r->sockets[i]))
            return true;
    }
    return false;
}

/* One of several, because libnng's dialer gives up for good when it meets a broker at the moment of its death (seen in 1.5.2). */
Test(nng, a_req_socket_finds_a_restarted_broker_again)
{
    broker *b = broker_start(NULL);
    redialers r;
    for (int i = 0; i < REDIALERS; i++) {
        r.sockets[i] = req_open(b->address);
        cr_assert(asks_successfully(r.sockets[i]));
        cr_assert_eq(nng_socket_set_ms(r.sockets[i], NNG_OPT_RECVTIMEO, 1000), 0);
        cr_assert_eq(nng_socket_set_ms(r.sockets[i], NNG_OPT_SENDTIMEO, 1000), 0);
    }
    broker_kill(b);
    broker_restart(b);
    cr_assert(wait_until(one_asks_successfully, &r, HARNESS_DEADLINE_MS));
    for (int i = 0; i < REDIALERS; i++)
        nng_close(r.sockets[i]);
    broker_free(b);
}

/* ---- SUB ------------------------------------------------------------------------------------------------------------ */

#define GREETING_DEADLINE_MS 2000

static void count_lost_pipe(nng_pipe pipe, nng_pipe_ev event, void *context)
{
    (void)pipe;
    (void)event;
    atomic_fetch_add((atomic_int *)context, 1);
}

static bool has_lost_a_pipe(void *context)
{
    return atomic_load((atomic_int *)context) != 0;
}

Test(nng, a_sub_socket_connects_and_stays_connected)
{
    broker *b = broker_start(NULL);
    atomic_int lost = 0;
    nng_socket socket;
    cr_assert_eq(nng_sub0_open(&socket), 0);
    cr_assert_eq(nng_socket_set(socket, NNG_OPT_SUB_SUBSCRIBE, "", 0), 0);
    cr_assert_eq(nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, count_lost_pipe, &lost), 0);
    cr_assert_eq(nng_dial(socket, b->address, NULL, 0), 0);
    cr_assert_not(wait_until(has_lost_a_pipe, &lost, GREETING_DEADLINE_MS + 500),
                  "a peer that has greeted is not one that says nothing");
    json_decref(ask(b->address, "ping"));
    nng_close(socket);
    broker_free(b);
}

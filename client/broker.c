#include "broker.h"

#include <stdlib.h>
#include <string.h>

#include "board_call.h"
#include "client.h"
#include "clock.h"
#include "codec.h"
#include "error.h"

#define PLACE_RETRY_NS CBM_NS_PER_S

int cbm_broker_round_trip(cbm_link *link, const cbm_request *request, int64_t deadline_ns, cbm_reply *reply,
                          cbm_link_reply *answer)
{
    cbm_fault fault;
    int error;

    *answer = (cbm_link_reply){0};
    cbm_buffer_clear(&link->out);
    error = cbm_request_encode(request, &link->out);
    if (error)
        return error;
    error = cbm_link_request(link, deadline_ns, answer);
    if (error)
        return error;
    error = cbm_reply_decode(answer->body, answer->size, cbm_operations[request->op].reply, reply, &fault);
    if (error == 0 || error == CBM_PROTO_E_NOMEM)
        return error;
    return cbm_link_reject(link);
}

/* Whether the breaker has not been asked for in the broker's present life; then the request for it gets its policy. */
static bool must_attach(cbm_client *client, const cbm_breaker *breaker, cbm_request *request)
{
    bool must;

    pthread_mutex_lock(&client->lock);
    must = breaker->attached != client->link.life;
    if (must && breaker->has_policy) {
        request->policy = breaker->policy;
        request->given |= CBM_FIELD(POLICY);
    }
    pthread_mutex_unlock(&client->lock);
    return must;
}

static void note_attached(cbm_client *client, cbm_breaker *breaker)
{
    pthread_mutex_lock(&client->lock);
    breaker->attached = client->link.life;
    pthread_mutex_unlock(&client->lock);
}

/* Gets a breaker by its handle, with its policy. 0 with a reply, which tells when the broker refuses, or a cbm_error. */
static int get_again(cbm_client *client, cbm_breaker *breaker, cbm_request *request, int64_t deadline_ns,
                     cbm_reply *reply, cbm_link_reply *answer)
{
    int error;

    strcpy(request->name, breaker->name);
    cbm_client_prepare_get(client, breaker, request);
    error = cbm_broker_round_trip(&client->link, request, deadline_ns, reply, answer);
    if (error || reply->error)
        return error;
    note_attached(client, breaker);
    cbm_known_learn(client, breaker, request, reply);
    cbm_breaker_settle(breaker, &reply->data.get);
    return 0;
}

int cbm_broker_attach(cbm_client *client, cbm_breaker *breaker, int64_t deadline_ns, cbm_reply *refusal)
{
    cbm_request request = {.op = CBM_OP_GET, .given = CBM_FIELD(NAME)};
    cbm_link_reply answer;
    int error;

    refusal->error = 0;
    if (!must_attach(client, breaker, &request))
        return 0;
    error = get_again(client, breaker, &request, deadline_ns, refusal, &answer);
    if (!error && !refusal->error)
        cbm_reply_deinit(refusal);
    return error;
}

/* A begin by a handle that has no place on the board, or lost it, while the board could answer. */
static bool wants_place(const cbm_exchange *exchange)
{
    const cbm_breaker *breaker = exchange->breaker;

    if (!exchange->permit || !atomic_load_explicit(&breaker->client->attached, memory_order_relaxed))
        return false;
    return !cbm_board_has(breaker) && (!breaker->place_retry_ns || cbm_clock_ns() >= breaker->place_retry_ns);
}

/*
 * Gets the breaker, as that brings it onto the board, instead of beginning: one operation, and the next begins need none. When the
 * board cannot say how to begin, the exchange goes on as it would have. 0 with exchange->by_board or a reply, or none of them.
 */
static int begin_by_place(cbm_client *client, cbm_exchange *exchange, cbm_reply *reply, bool *again)
{
    cbm_breaker *breaker = exchange->breaker;
    cbm_request request = {.op = CBM_OP_GET, .given = exchange->request->given & ~CBM_FIELD(LEASE_MS)};
    cbm_link_reply answer;
    int error;

    request.policy = exchange->request->policy;
    strcpy(request.correlation_id, exchange->request->correlation_id);
    error = get_again(client, breaker, &request, exchange->deadline_ns, reply, &answer);
    if (error) {
        *again = answer.lost;
        return error;
    }
    exchange->life = client->link.life;
    if (reply->error)
        return 0;
    cbm_reply_deinit(reply);
    if (!cbm_board_has(breaker))
        breaker->place_retry_ns = cbm_clock_ns() + PLACE_RETRY_NS;
    exchange->board_answer = cbm_board_begin(breaker, exchange->permit);
    exchange->by_board = exchange->board_answer != CBM_BOARD_ASKS;
    return 0;
}

/* The handle that was asked for, made here if need be: after the link is left, another broker's answer may have come first. */
static void settle_named(cbm_client *client, const char *name, const cbm_get_reply *reply)
{
    cbm_breaker *breaker = cbm_client_handle(client, name);

    if (breaker)
        cbm_breaker_settle(breaker, reply);
}

/* Whether executing it twice does no harm: readings, a get, and a report that the broker can tell from its double. */
static bool resendable(const cbm_request *request)
{
    if (request->op == CBM_OP_CALL_REPORT)
        return request->report.has_client && request->report.has_incarnation;
    return request->op == CBM_OP_GET || !(cbm_operations[request->op].flags & CBM_OPERATION_CHANGES);
}

/*
 * Reports carry the incarnation of the broker they were first sent to: when they are sent again to another one, that may
 * have died with or without the first, it takes them as statistics only. Their sequence is not taken before they have their
 * turn: one that waited while others sent a thousand would be too old to be told from a double, and be counted never.
 */
static void stamp(cbm_client *client, cbm_exchange *exchange)
{
    cbm_report_message *report = &exchange->request->report;
    const cbm_link *link = &client->link;

    if (exchange->request->op != CBM_OP_CALL_REPORT || exchange->maybe_executed)
        return;
    report->sequence = ++client->sequence;
    report->has_incarnation = link->has_incarnation;
    memcpy(report->incarnation, link->incarnation, CBM_ID_SIZE);
}

/* What was found open may turn out to have ended: then on another connection. */
static int attach_or_connect(cbm_client *client, int64_t deadline_ns)
{
    const cbm_transport *transport = &client->link.transport;
    int error;

    cbm_attach(client, deadline_ns);
    if (cbm_transport_is_open(transport))
        return 0;
    error = cbm_link_connect(&client->link, deadline_ns);
    if (error)
        return error;
    cbm_attach(client, deadline_ns);
    return cbm_transport_is_open(transport) ? 0 : CBM_E_AWAY;
}

/* One attempt. *again: the connection was lost and another attempt does no harm. */
static int attempt(cbm_client *client, cbm_exchange *exchange, cbm_reply *reply, bool *again)
{
    cbm_link *link = &client->link;
    cbm_request *request = exchange->request;
    cbm_link_reply answer;
    int error;

    *again = false;
    error = cbm_link_connect(link, exchange->deadline_ns);
    if (error)
        return error;
    cbm_attach_check(client);
    if (request->op == CBM_OP_GET || (request->op == CBM_OP_CALL_BEGIN && exchange->permit))
        error = attach_or_connect(client, exchange->deadline_ns);
    if (error)
        return error;
    if (request->op == CBM_OP_GET)
        cbm_client_prepare_get(client, exchange->breaker, request);
    if (request->op == CBM_OP_CALL_BEGIN && wants_place(exchange)) {
        error = begin_by_place(client, exchange, reply, again);
        if (error || exchange->by_board || reply->error)
            return error;
    }
    /* A begin brings the policy itself. A report would create an unknown breaker without one, or not find it. */
    if (exchange->breaker && request->op == CBM_OP_CALL_REPORT) {
        error = cbm_broker_attach(client, exchange->breaker, exchange->deadline_ns, reply);
        if (error) {
            *again = !cbm_transport_is_open(&link->transport) && error == CBM_E_AWAY;
            return error;
        }
    }
    stamp(client, exchange);
    error = cbm_broker_round_trip(link, request, exchange->deadline_ns, reply, &answer);
    if (error) {
        if (request->op == CBM_OP_CALL_BEGIN && answer.sent)
            cbm_orphans_expect(&link->orphans, answer.id, request->name);
        exchange->maybe_executed |= answer.sent;
        *again = answer.lost && (!answer.sent || resendable(request));
        return error;
    }
    exchange->life = link->life;
    if (request->op == CBM_OP_GET && !reply->error)
        settle_named(client, request->name, &reply->data.get);
    if (exchange->breaker && request->op == CBM_OP_CALL_BEGIN && !reply->error)
        note_attached(client, exchange->breaker);
    cbm_known_learn(client, exchange->breaker, request, reply);
    return 0;
}

/* Probes that came too late. Should that fail, their leases end in the end. */
static void give_back_orphans(cbm_link *link, int64_t deadline_ns)
{
    cbm_request request = {.op = CBM_OP_CALL_REPORT, .given = CBM_FIELD(REPORT)};
    cbm_link_reply answer;
    cbm_reply reply;

    while (cbm_orphans_take(&link->orphans, &request.report)) {
        if (cbm_broker_round_trip(link, &request, deadline_ns, &reply, &answer))
            return;
        cbm_reply_deinit(&reply);
    }
}

/* The broker's word counts again. */
static void end_absence(cbm_client *client)
{
    pthread_mutex_lock(&client->lock);
    if (client->stood_in) {
        client->stood_in = false;
        client->absence++;
    }
    pthread_mutex_unlock(&client->lock);
}

static int execute(cbm_client *client, cbm_exchange *exchange, cbm_reply *reply)
{
    bool again;
    int error = cbm_link_enter(&client->link, exchange->deadline_ns);

    if (error)
        return error;
    error = attempt(client, exchange, reply, &again);
    if (error && again)
        error = attempt(client, exchange, reply, &again);
    if (!error)
        give_back_orphans(&client->link, exchange->deadline_ns);
    if (!error && client->when_away == CBM_LOCAL) {
        end_absence(client);
        cbm_handover_send(client, exchange->deadline_ns);
    }
    cbm_link_leave(&client->link);
    return error;
}

static int copy_text(const uint8_t *bytes, size_t size, char **text)
{
    *text = malloc(size + 1);
    if (!*text)
        return CBM_E_NOMEM;
    memcpy(*text, bytes, size);
    (*text)[size] = '\0';
    return 0;
}

static int command(cbm_client *client, const char *text, int64_t deadline_ns, char **json)
{
    cbm_link *link = &client->link;
    cbm_link_reply answer = {0};
    int error = cbm_link_enter(link, deadline_ns);

    if (error)
        return error;
    for (int tries = 0; tries < 2; tries++) {
        error = cbm_link_connect(link, deadline_ns);
        if (error)
            break;
        cbm_buffer_clear(&link->out);
        error = cbm_buffer_append(&link->out, text, strlen(text));
        if (error)
            break;
        error = cbm_link_request(link, deadline_ns, &answer);
        if (!answer.lost || answer.sent)
            break;
    }
    if (!error)
        error = copy_text(answer.body, answer.size, json);
    cbm_link_leave(link);
    return error;
}

static bool connected(cbm_client *client)
{
    return atomic_load_explicit(&client->answered, memory_order_relaxed) &&
           (!atomic_load_explicit(&client->attached, memory_order_relaxed) || cbm_board_alive(client->board));
}

const cbm_backend cbm_broker_backend = {execute, command, connected};

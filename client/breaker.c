#include "breaker.h"

#include <string.h>

#include "board_call.h"
#include "client.h"
#include "clock.h"
#include "failure.h"
#include "fork.h"
#include "permit.h"
#include "structs.h"

#define DURATION_MAX_NS (INT64_C(86400000) * CBM_NS_PER_MS) /* the wire takes no longer ones */

/* ---- Begin ------------------------------------------------------------------------------------------------------ */

/* -1: until somebody enables it. */
static int64_t ns_of(int64_t retry_after_ms)
{
    return retry_after_ms < 0 || retry_after_ms >= INT64_MAX / CBM_NS_PER_MS ? INT64_MAX
                                                                             : retry_after_ms * CBM_NS_PER_MS;
}

static int refuse(cbm_permit *permit, const cbm_reply *reply)
{
    permit->cbm_private_kind = CBM_PERMIT_REFUSED;
    permit->cbm_private_retry_after_ns = reply->has_retry_after ? ns_of(reply->retry_after_ms) : 0;
    return cbm_client_refused(reply);
}

static int grant(cbm_permit *permit, const cbm_begin_reply *reply, bool by_local)
{
    permit->cbm_private_kind = by_local ? CBM_PERMIT_LOCAL : CBM_PERMIT_BROKER;
    permit->cbm_private_size = (uint8_t)reply->permit_size;
    memcpy(permit->cbm_private_permit, reply->permit, reply->permit_size);
    if (reply->probe)
        permit->cbm_private_flags |= CBM_PERMIT_PROBE;
    return 0;
}

static int begin_without_answer(cbm_client *client, cbm_permit *permit, int error)
{
    cbm_client_unanswered(client, error); /* under fail-open too, to tell why the permit is unprotected */
    if (client->when_away == CBM_FAIL_OPEN && cbm_is_absence(error)) {
        permit->cbm_private_kind = CBM_PERMIT_UNPROTECTED;
        return 0;
    }
    permit->cbm_private_kind = CBM_PERMIT_REFUSED;
    permit->cbm_private_retry_after_ns = 0;
    return error;
}

/* The breaker may have been removed, or the broker be another one: whoever creates it again does so with its policy. */
static void bring_policy(cbm_breaker *breaker, cbm_request *request)
{
    pthread_mutex_lock(&breaker->client->lock);
    if (breaker->has_policy) {
        request->policy = breaker->policy;
        request->given |= CBM_FIELD(POLICY);
    }
    pthread_mutex_unlock(&breaker->client->lock);
}

static void set_lease(cbm_request *request, uint32_t lease_ms)
{
    if (!lease_ms)
        return;
    request->lease_ms = lease_ms == CBM_NEVER ? 0 : lease_ms;
    request->given |= CBM_FIELD(LEASE_MS);
}

/* The call is entered. */
static int begin(cbm_breaker *breaker, const cbm_begin_options *options, cbm_permit *permit)
{
    cbm_request request = {.op = CBM_OP_CALL_BEGIN, .given = CBM_FIELD(NAME)};
    cbm_exchange exchange = {.request = &request, .breaker = breaker};
    cbm_client *client = breaker->client;
    cbm_reply reply;
    int error;

    if (client->shares_memory)
        exchange.permit = permit;
    strcpy(request.name, breaker->name);
    bring_policy(breaker, &request);
    set_lease(&request, options->lease_ms);
    cbm_request_correlate(&request, options->correlation_id);
    exchange.deadline_ns = cbm_clock_ns() + client->call_timeout_ns;

    error = cbm_client_execute(client, &exchange, &reply);
    if (!error && exchange.by_board) {
        if (!exchange.board_answer)
            permit->cbm_private_flags |= CBM_PERMIT_COUNTED;
        return exchange.board_answer;
    }
    if (error)
        error = begin_without_answer(client, permit, error);
    else
        error = reply.error ? refuse(permit, &reply) : grant(permit, &reply.data.begin, exchange.by_local);
    permit->cbm_private_begun_ns = cbm_clock_ns();
    return error;
}

/* A thread that was not known yet, or a begin with options, has not looked at the board. */
int cbm_begin_by_message(cbm_breaker *breaker, const cbm_begin_options *given, cbm_permit *permit)
{
    cbm_begin_options options;
    int error;

    if (!permit)
        return cbm_fail(CBM_E_INVALID, "permit: NULL");
    memset(permit, 0, sizeof(*permit));
    if (!breaker)
        return cbm_fail(CBM_E_INVALID, "breaker: NULL");
    error = cbm_enter(breaker->client);
    if (error)
        return error;
    if (!cbm_struct_read(&options, sizeof(options), given)) {
        error = cbm_fail(CBM_E_INVALID, "cbm_begin_options: its size is not one that this library knows");
        goto left;
    }
    permit->cbm_private_process = cbm_process();
    permit->cbm_private_breaker = breaker;
    error = cbm_board_begin(breaker, permit);
    if (error == CBM_BOARD_ASKS)
        error = begin(breaker, &options, permit);
    if (!error && options.timed && !cbm_permit_is_timed(permit)) {
        permit->cbm_private_begun_ns = cbm_clock_ns();
        permit->cbm_private_flags |= CBM_PERMIT_TIMED;
    }
left:
    cbm_leave(breaker->client);
    return error;
}

int cbm_call_begin_with(cbm_breaker *breaker, const cbm_begin_options *options, cbm_permit *permit)
{
    return cbm_begin_by_message(breaker, options, permit);
}

int64_t cbm_permit_retry_after_ms(const cbm_permit *permit)
{
    int64_t retry_after_ns = permit->cbm_private_kind == CBM_PERMIT_REFUSED ? permit->cbm_private_retry_after_ns : 0;

    if (retry_after_ns == INT64_MAX)
        return -1;
    return (retry_after_ns + CBM_NS_PER_MS - 1) / CBM_NS_PER_MS; /* as the wire rounds */
}

int cbm_permit_unprotected(const cbm_permit *permit)
{
    return permit->cbm_private_kind == CBM_PERMIT_UNPROTECTED;
}

int cbm_permit_probe(const cbm_permit *permit)
{
    return (permit->cbm_private_flags & CBM_PERMIT_PROBE) != 0;
}

/* ---- Report ----------------------------------------------------------------------------------------------------- */

static int64_t clamp_duration(int64_t duration_ns)
{
    return duration_ns > DURATION_MAX_NS ? DURATION_MAX_NS : duration_ns;
}

static int fill_report(cbm_request *request, cbm_breaker *breaker, cbm_outcome outcome, const cbm_report_options *given,
                       int64_t measured_ns)
{
    cbm_report_message *report = &request->report;
    cbm_report_options options;

    if ((unsigned)outcome > CBM_IGNORED)
        return cbm_fail(CBM_E_INVALID, "outcome: not one of cbm_outcome");
    if (!cbm_struct_read(&options, sizeof(options), given))
        return cbm_fail(CBM_E_INVALID, "cbm_report_options: its size is not one that this library knows");
    if (options.duration_ns < -1)
        return cbm_fail(CBM_E_INVALID, "duration_ns: negative");
    request->op = CBM_OP_CALL_REPORT;
    request->given = CBM_FIELD(REPORT);
    strcpy(report->name, breaker->name);
    report->outcome = (cbm_core_outcome)outcome;
    report->duration_ns = clamp_duration(options.duration_ns ? options.duration_ns : measured_ns);
    if (options.error_text)
        cbm_core_text_copy(report->error_text, sizeof(report->error_text), options.error_text,
                           strlen(options.error_text));
    report->open_for_ms = options.open_for_ms;
    report->count = 1;
    report->has_client = true;
    memcpy(report->client, breaker->client->id, CBM_ID_SIZE);
    cbm_request_correlate(request, options.correlation_id);
    return 0;
}

static int report_answer(const cbm_reply *reply)
{
    return reply->error ? cbm_client_refused(reply) : 0;
}

/* To the manager in this process. `owed`: the broker is to hear of it when it is back. */
static int report_locally(cbm_breaker *breaker, cbm_exchange *exchange, bool owed)
{
    cbm_client *client = breaker->client;
    cbm_reply reply;

    cbm_local_backend.execute(client, exchange, &reply);
    if (client->backend == &cbm_local_backend)
        return report_answer(&reply);
    if (owed)
        cbm_handover_add(breaker, (cbm_outcome)exchange->request->report.outcome);
    return report_answer(&reply);
}

/* To the broker, and under CBM_LOCAL to the manager in this process when it is away. */
static int report_to_backend(cbm_breaker *breaker, cbm_exchange *exchange)
{
    cbm_client *client = breaker->client;
    cbm_reply reply;
    int error = client->backend->execute(client, exchange, &reply);

    if (!error)
        return report_answer(&reply);
    if (client->when_away != CBM_LOCAL || !cbm_is_absence(error))
        return cbm_client_unanswered(client, error);
    exchange->request->report.permit_size = 0;
    return report_locally(breaker, exchange, !exchange->maybe_executed);
}

/* Why that permit cannot be reported, or 0. */
static int check_permit(const cbm_permit *permit)
{
    if (!permit || !permit->cbm_private_breaker)
        return cbm_fail(CBM_E_INVALID, "permit: none");
    switch (permit->cbm_private_kind) {
    case CBM_PERMIT_BROKER:
    case CBM_PERMIT_BOARD:
    case CBM_PERMIT_LOCAL:
    case CBM_PERMIT_PULLS:
    case CBM_PERMIT_UNPROTECTED: break;
    case CBM_PERMIT_REPORTED: return cbm_fail(CBM_E_INVALID, "permit: reported already");
    default: return cbm_fail(CBM_E_INVALID, "permit: the call was refused");
    }
    if (permit->cbm_private_process != cbm_process())
        return cbm_fail(CBM_E_INHERITED, NULL);
    return 0;
}

/*
 * What a message says of a permit of the board. When the board is not that of the broker which gave the permit any more, neither
 * is the slot's generation, and it is taken as an old one.
 */
static size_t write_board_permit(const cbm_permit *permit, uint8_t bytes[CBM_PERMIT_MAX])
{
    const cbm_board *board = permit->cbm_private_breaker->client->board;
    cbm_board_permit of_board = cbm_permit_of_board(permit);
    cbm_core_permit core = {
        .slot = cbm_place_slot(of_board.place),
        .slot_generation = cbm_word_generation(of_board.word),
        .epoch = cbm_word_epoch(of_board.word),
        .flags = permit->cbm_private_flags & CBM_PERMIT_COUNTED ? 0 : CBM_CORE_PERMIT_UNCOUNTED,
    };

    return cbm_permit_write(bytes, &core, board->incarnation);
}

static void bring_permit(const cbm_permit *permit, cbm_report_message *report)
{
    switch (permit->cbm_private_kind) {
    case CBM_PERMIT_UNPROTECTED: break;
    case CBM_PERMIT_BOARD: report->permit_size = write_board_permit(permit, report->permit); break;
    default:
        report->permit_size = permit->cbm_private_size;
        memcpy(report->permit, permit->cbm_private_permit, permit->cbm_private_size);
    }
}

/* The call is entered, the permit good, the report filled in. */
static int report(cbm_permit *permit, cbm_exchange *exchange)
{
    cbm_client *client = exchange->breaker->client;
    int error;

    exchange->deadline_ns = cbm_clock_ns() + client->call_timeout_ns;
    bring_permit(permit, &exchange->request->report);
    if (permit->cbm_private_kind != CBM_PERMIT_LOCAL) {
        permit->cbm_private_kind = CBM_PERMIT_REPORTED;
        return report_to_backend(exchange->breaker, exchange);
    }
    permit->cbm_private_kind = CBM_PERMIT_REPORTED;
    error = report_locally(exchange->breaker, exchange, true);
    if (client->owes)
        cbm_handover_try(client, exchange->deadline_ns);
    return error;
}

/* Whether the ledger can hold all that such a report says. */
static bool fits_ledger(const cbm_permit *permit, const cbm_report_message *report)
{
    return permit->cbm_private_kind == CBM_PERMIT_BOARD && report->outcome == CBM_CORE_SUCCESS &&
           !report->error_text[0] && !report->open_for_ms;
}

/* A thread that was not known yet, or a report with options, has not tried the ledger. */
int cbm_report_by_message(cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *options)
{
    cbm_request request = {0};
    cbm_exchange exchange = {.request = &request};
    int64_t measured_ns = -1;
    int error = check_permit(permit);
    cbm_client *client;

    if (error)
        return error;
    client = permit->cbm_private_breaker->client;
    if (permit->cbm_private_kind == CBM_PERMIT_PULLS) {
        permit->cbm_private_kind = CBM_PERMIT_REPORTED;
        return cbm_report_by_pull(permit->cbm_private_breaker);
    }
    error = cbm_enter(client);
    if (error)
        return error;
    exchange.breaker = permit->cbm_private_breaker;
    if (cbm_permit_is_timed(permit))
        measured_ns = cbm_clock_ns() - permit->cbm_private_begun_ns;
    error = fill_report(&request, exchange.breaker, outcome, options, measured_ns);
    if (error)
        goto left;
    error =
        fits_ledger(permit, &request.report) ? cbm_board_succeed(permit, request.report.duration_ns) : CBM_BOARD_ASKS;
    if (error == CBM_BOARD_PULLS)
        error = cbm_report_by_pull(exchange.breaker);
    else if (error == CBM_BOARD_ASKS)
        error = report(permit, &exchange);
left:
    cbm_leave(client);
    return error;
}

int cbm_call_report_with(cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *options)
{
    return cbm_report_by_message(permit, outcome, options);
}

int cbm_report_by_pull(cbm_breaker *breaker)
{
    cbm_client *client = breaker->client;
    cbm_request request = {.op = CBM_OP_PULL, .given = CBM_FIELD(NAME)};
    cbm_exchange exchange = {.request = &request};
    cbm_reply reply;

    if (cbm_enter(client))
        return 0;
    strcpy(request.name, breaker->name);
    exchange.deadline_ns = cbm_clock_ns() + client->call_timeout_ns;
    if (client->backend->execute(client, &exchange, &reply) == 0)
        cbm_reply_deinit(&reply);
    cbm_leave(client);
    return 0;
}

int cbm_report(cbm_breaker *breaker, cbm_outcome outcome, const cbm_report_options *options)
{
    cbm_request request = {0};
    cbm_exchange exchange = {.request = &request, .breaker = breaker};
    cbm_client *client;
    int error;

    if (!breaker)
        return cbm_fail(CBM_E_INVALID, "breaker: NULL");
    client = breaker->client;
    error = cbm_enter(client);
    if (error)
        return error;
    error = fill_report(&request, breaker, outcome, options, -1);
    if (error)
        goto left;
    pthread_mutex_lock(&client->lock);
    request.policy = breaker->policy; /* not sent: for the local manager, should it have to create the breaker */
    pthread_mutex_unlock(&client->lock);
    exchange.deadline_ns = cbm_clock_ns() + client->call_timeout_ns;
    error = report_to_backend(breaker, &exchange);
left:
    cbm_leave(client);
    return error;
}

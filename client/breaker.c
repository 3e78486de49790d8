/* The calls: may it be made, and how did it go. */
#include <string.h>

#include "client.h"
#include "clock.h"
#include "failure.h"
#include "fork.h"
#include "structs.h"

#define DURATION_MAX_NS (INT64_C(86400000) * CBM_NS_PER_MS) /* the wire takes no longer ones */

/* cbm_private_kind */
enum {
    PERMIT_NONE = 0,
    PERMIT_REFUSED, /* it holds retry_after_ms */
    PERMIT_BROKER,
    PERMIT_LOCAL,       /* of the manager in this process */
    PERMIT_UNPROTECTED, /* nobody was asked */
    PERMIT_REPORTED,
};

/* cbm_private_flags */
enum { PERMIT_PROBE = 1 };

_Static_assert(sizeof(cbm_permit) == 64, "bindings rely on it");
_Static_assert(sizeof(((cbm_permit *)0)->cbm_private_permit) == CBM_PERMIT_MAX, "the wire's permit fits");

/* ---- Begin ------------------------------------------------------------------------------------------------------ */

static int refuse(cbm_permit *permit, const cbm_reply *reply)
{
    permit->cbm_private_kind = PERMIT_REFUSED;
    permit->cbm_private_retry_after_ms = reply->has_retry_after ? reply->retry_after_ms : 0;
    return cbm_client_refused(reply);
}

static int grant(cbm_permit *permit, const cbm_begin_reply *reply, bool by_local)
{
    permit->cbm_private_kind = by_local ? PERMIT_LOCAL : PERMIT_BROKER;
    permit->cbm_private_size = (uint8_t)reply->permit_size;
    memcpy(permit->cbm_private_permit, reply->permit, reply->permit_size);
    if (reply->probe)
        permit->cbm_private_flags |= PERMIT_PROBE;
    return 0;
}

static int begin_without_answer(cbm_client *client, cbm_permit *permit, int error)
{
    cbm_client_unanswered(client, error); /* under fail-open too, to tell why the permit is unprotected */
    if (client->when_away == CBM_FAIL_OPEN && cbm_is_absence(error)) {
        permit->cbm_private_kind = PERMIT_UNPROTECTED;
        return 0;
    }
    permit->cbm_private_kind = PERMIT_REFUSED;
    permit->cbm_private_retry_after_ms = 0;
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

int cbm_call_begin(cbm_breaker *breaker, cbm_permit *permit)
{
    return cbm_call_begin_with(breaker, NULL, permit);
}

int cbm_call_begin_with(cbm_breaker *breaker, const cbm_begin_options *given, cbm_permit *permit)
{
    cbm_request request = {.op = CBM_OP_CALL_BEGIN, .given = CBM_FIELD(NAME)};
    cbm_exchange exchange = {.request = &request, .breaker = breaker};
    cbm_begin_options options;
    cbm_reply reply;
    int error;

    if (!permit)
        return cbm_fail(CBM_E_INVALID, "permit: NULL");
    memset(permit, 0, sizeof(*permit));
    if (!breaker)
        return cbm_fail(CBM_E_INVALID, "breaker: NULL");
    if (!cbm_struct_read(&options, sizeof(options), given))
        return cbm_fail(CBM_E_INVALID, "cbm_begin_options: its size is not one that this library knows");
    permit->cbm_private_process = cbm_process();
    permit->cbm_private_breaker = breaker;
    permit->cbm_private_begun_ns = cbm_clock_ns();
    strcpy(request.name, breaker->name);
    bring_policy(breaker, &request);
    set_lease(&request, options.lease_ms);
    cbm_request_correlate(&request, options.correlation_id);
    exchange.deadline_ns = permit->cbm_private_begun_ns + breaker->client->call_timeout_ns;

    error = cbm_client_execute(breaker->client, &exchange, &reply);
    if (error)
        error = begin_without_answer(breaker->client, permit, error);
    else
        error = reply.error ? refuse(permit, &reply) : grant(permit, &reply.data.begin, exchange.by_local);
    permit->cbm_private_begun_ns = cbm_clock_ns();
    return error;
}

int64_t cbm_permit_retry_after_ms(const cbm_permit *permit)
{
    return permit->cbm_private_kind == PERMIT_REFUSED ? permit->cbm_private_retry_after_ms : 0;
}

int cbm_permit_unprotected(const cbm_permit *permit)
{
    return permit->cbm_private_kind == PERMIT_UNPROTECTED;
}

int cbm_permit_probe(const cbm_permit *permit)
{
    return (permit->cbm_private_flags & PERMIT_PROBE) != 0;
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
    report->sequence = ++breaker->client->sequence;
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

int cbm_call_report(cbm_permit *permit, cbm_outcome outcome)
{
    return cbm_call_report_with(permit, outcome, NULL);
}

/* Why that permit cannot be reported, or 0. */
static int check_permit(const cbm_permit *permit)
{
    if (!permit || !permit->cbm_private_breaker)
        return cbm_fail(CBM_E_INVALID, "permit: none");
    switch (permit->cbm_private_kind) {
    case PERMIT_BROKER:
    case PERMIT_LOCAL:
    case PERMIT_UNPROTECTED: break;
    case PERMIT_REPORTED: return cbm_fail(CBM_E_INVALID, "permit: reported already");
    default: return cbm_fail(CBM_E_INVALID, "permit: the call was refused");
    }
    if (permit->cbm_private_process != cbm_process())
        return cbm_fail(CBM_E_INHERITED, NULL);
    return 0;
}

int cbm_call_report_with(cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *options)
{
    cbm_request request = {0};
    cbm_exchange exchange = {.request = &request};
    int error = check_permit(permit);
    uint8_t kind;
    int64_t now_ns;

    if (error)
        return error;
    now_ns = cbm_clock_ns();
    error = fill_report(&request, permit->cbm_private_breaker, outcome, options, now_ns - permit->cbm_private_begun_ns);
    if (error)
        return error;
    exchange.breaker = permit->cbm_private_breaker;
    exchange.deadline_ns = now_ns + exchange.breaker->client->call_timeout_ns;
    kind = permit->cbm_private_kind;
    permit->cbm_private_kind = PERMIT_REPORTED;
    if (kind != PERMIT_UNPROTECTED) {
        request.report.permit_size = permit->cbm_private_size;
        memcpy(request.report.permit, permit->cbm_private_permit, permit->cbm_private_size);
    }
    if (kind != PERMIT_LOCAL)
        return report_to_backend(exchange.breaker, &exchange);
    error = report_locally(exchange.breaker, &exchange, true);
    if (exchange.breaker->client->owes)
        cbm_handover_try(exchange.breaker->client, exchange.deadline_ns);
    return error;
}

int cbm_report(cbm_breaker *breaker, cbm_outcome outcome, const cbm_report_options *options)
{
    cbm_request request = {0};
    cbm_exchange exchange = {.request = &request, .breaker = breaker};
    int error;

    if (!breaker)
        return cbm_fail(CBM_E_INVALID, "breaker: NULL");
    cbm_process();
    error = fill_report(&request, breaker, outcome, options, -1);
    if (error)
        return error;
    pthread_mutex_lock(&breaker->client->lock);
    request.policy = breaker->policy; /* not sent: for the local manager, should it have to create the breaker */
    pthread_mutex_unlock(&breaker->client->lock);
    exchange.deadline_ns = cbm_clock_ns() + breaker->client->call_timeout_ns;
    return report_to_backend(breaker, &exchange);
}

/* ---- Both in one ------------------------------------------------------------------------------------------------ */

int cbm_call(cbm_client *client, const char *name, cbm_function *function, void *argument, int *result)
{
    return cbm_call_with(client, name, NULL, function, argument, result);
}

int cbm_call_with(cbm_client *client, const char *name, const char *correlation_id, cbm_function *function,
                  void *argument, int *result)
{
    cbm_begin_options begin = {.size = sizeof(begin), .correlation_id = correlation_id};
    cbm_report_options report = {.size = sizeof(report), .correlation_id = correlation_id};
    cbm_request request = {0};
    cbm_breaker *breaker;
    cbm_permit permit;
    int returned;
    int error;

    if (!client || !function)
        return cbm_fail(CBM_E_INVALID, client ? "function: NULL" : "client: NULL");
    cbm_process();
    error = cbm_request_name(&request, name);
    if (error)
        return error;
    if (client->backend == &cbm_failed_backend)
        return cbm_fail(client->failure, NULL);
    breaker = cbm_client_handle(client, request.name);
    if (!breaker)
        return cbm_fail(CBM_E_NOMEM, NULL);
    error = cbm_call_begin_with(breaker, &begin, &permit);
    if (error)
        return error;
    returned = function(argument);
    if (result)
        *result = returned;
    cbm_call_report_with(&permit, returned ? CBM_FAILURE : CBM_SUCCESS, &report);
    return 0;
}

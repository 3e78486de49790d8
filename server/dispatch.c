#include "dispatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "codec.h"
#include "engine_store.h"
#include "error.h"
#include "expects.h"
#include "log.h"
#include "text.h"

typedef void handler(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply);

/* A row of operations.def without its handler here does not compile, and a handler without its row is unused. */
#define CBM_OPERATION(symbol, name, positional, takes, requires, reply, flags, help) static handler handle_##name;
#include "operations.def"
#undef CBM_OPERATION

static handler *const handlers[CBM_OP_COUNT] = {
#define CBM_OPERATION(symbol, name, positional, takes, requires, reply, flags, help) [CBM_OP_##symbol] = handle_##name,
#include "operations.def"
#undef CBM_OPERATION
};

/* ---- Errors ----------------------------------------------------------------------------------------------------- */

static void fail(cbm_reply *reply, int error)
{
    cbm_reply_fail(reply, error, NULL);
}

static void set_retry_after(cbm_reply *reply, int64_t retry_after_ns)
{
    reply->has_retry_after = true;
    reply->retry_after_ms = cbm_ms_round_up(retry_after_ns);
}

static void set_field(cbm_reply *reply, const char *field)
{
    snprintf(reply->field, sizeof reply->field, "%s", field);
}

static int contradicting_field(const cbm_core_policy_request *request)
{
    cbm_core_policy policy;
    int bad_field = -1;

    (void)cbm_core_policy_resolve(request, &policy, &bad_field);
    return bad_field;
}

/* bad_field: a row of the table of policy fields, -1: none of them is to blame, so it is the name. */
static void fail_policy(cbm_reply *reply, int error, const cbm_core_policy_request *request, int bad_field)
{
    const char *field = bad_field < 0 ? "name" : cbm_core_policy_table()[bad_field].name;
    bool by_itself = contradicting_field(request) >= 0;
    char message[192];

    if (error != CBM_PROTO_E_INVALID) {
        fail(reply, error);
        return;
    }
    snprintf(message, sizeof message, "%s %s%s", field,
             bad_field < 0 ? "must be " CBM_NAME_EXPECTS : cbm_policy_field_beside(bad_field),
             bad_field < 0 || by_itself ? "" : " (together with the policy in force)");
    cbm_reply_fail(reply, error, message);
    set_field(reply, field);
}

static void finish_status(cbm_reply *reply, int error)
{
    if (error)
        fail(reply, error);
}

/* ---- Calls ------------------------------------------------------------------------------------------------------ */

static void handle_get(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    cbm_core_get_result result = {.bad_field = -1};
    bool claims = (request->given & CBM_FIELD(LEDGER)) != 0;
    cbm_ledger_claim claim = {
        .ledger = request->ledger,
        .wanted = request->given & CBM_FIELD(ENTRY) ? (int64_t)request->entry : -1,
        .entry = -1,
    };
    int error = cbm_engine_get(engine, caller, request->name, &request->policy, claims ? &claim : NULL, &result);

    if (error) {
        fail_policy(reply, error, &request->policy, result.bad_field);
        return;
    }
    reply->data.get = (cbm_get_reply){
        .status = result.status,
        .created = result.created,
        .policy_source = result.policy_source,
        .differs = result.differing,
        .entry = claim.entry,
    };
}

static void handle_call_begin(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    cbm_core_decision decision = {0};
    bool lease_given = (request->given & CBM_FIELD(LEASE_MS)) != 0;
    int error = cbm_engine_call_begin(engine, caller, request->name, lease_given ? &request->lease_ms : NULL,
                                      &request->policy, &decision);
    cbm_begin_reply *begin = &reply->data.begin;

    if (error == CBM_PROTO_E_INVALID) {
        fail_policy(reply, error, &request->policy, contradicting_field(&request->policy));
        return;
    }
    if (error) {
        fail(reply, error);
        if (error == CBM_PROTO_E_OPEN || error == CBM_PROTO_E_HALF_OPEN_FULL || error == CBM_PROTO_E_FORCED_OPEN ||
            error == CBM_PROTO_E_RATE_LIMITED)
            set_retry_after(reply, decision.retry_after_ns);
        return;
    }
    begin->state = decision.state;
    begin->probe = decision.probe;
    begin->permit_size = cbm_permit_write(begin->permit, &decision.permit, cbm_engine_incarnation(engine));
}

static void handle_reports(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    cbm_report_reply *report = &reply->data.report;

    report->results = calloc(request->report_count ? request->report_count : 1, sizeof *report->results);
    if (!report->results) {
        fail(reply, CBM_PROTO_E_NOMEM);
        return;
    }
    report->result_count = request->report_count;
    for (size_t i = 0; i < request->report_count; i++) {
        const cbm_report_message *message = &request->reports[i];
        cbm_report_result *result = &report->results[i];

        result->error = cbm_access_may_name(caller, message->name)
                            ? cbm_engine_call_report(engine, caller, message, &result->state)
                            : CBM_PROTO_E_DENIED;
    }
}

static void handle_call_report(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    int error;

    reply->data.report = (cbm_report_reply){.stored = true};
    if (request->given & CBM_FIELD(REPORTS)) {
        handle_reports(engine, caller, request, reply);
        return;
    }
    error = cbm_engine_call_report(engine, caller, &request->report, &reply->data.report.state);
    if (error == CBM_PROTO_E_INVALID) {
        cbm_reply_fail(reply, error, "the permit is not one of that breaker");
        set_field(reply, "permit");
    } else if (error) {
        fail(reply, error);
    }
}

/* ---- Looking ---------------------------------------------------------------------------------------------------- */

/* A page may so be shorter than asked for, and empty; `next` leads on all the same. */
static void leave_out_what_is_not_theirs(const cbm_caller *caller, cbm_page_reply *page)
{
    size_t kept = 0;

    if (!cbm_access_is_restricted(caller))
        return;
    for (size_t i = 0; i < page->count; i++)
        if (cbm_access_may_name(caller, page->statuses[i].name))
            page->statuses[kept++] = page->statuses[i];
    page->count = kept;
}

static void fill_page(cbm_engine *engine, const cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    cbm_page_reply *page = &reply->data.page;

    page->statuses = malloc(request->limit * sizeof *page->statuses);
    if (!page->statuses) {
        fail(reply, CBM_PROTO_E_NOMEM);
        return;
    }
    cbm_engine_states(engine, request->pattern, request->after, request->limit, page);
    leave_out_what_is_not_theirs(caller, page);
}

static void handle_states(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    fill_page(engine, caller, request, reply);
}

static void handle_stats(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    if (!request->after[0]) /* on the first page, that tells of the manager, nothing is left out */
        cbm_engine_pull_ledgers(engine);
    cbm_engine_stats(engine, &reply->data.page.stats);
    cbm_engine_store_tell(engine, &reply->data.page);
    fill_page(engine, caller, request, reply);
    if (reply->error == 0 && !request->after[0])
        cbm_engine_users(engine, caller, &reply->data.page);
}

static void handle_ping(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    (void)engine, (void)caller, (void)request, (void)reply;
}

static void handle_info(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    (void)caller, (void)request;
    cbm_engine_info(engine, &reply->data.info);
    cbm_engine_reload_info(engine, &reply->data.info);
}

/* ---- Resetting and steering ----------------------------------------------------------------------------------------- */

static void handle_reset(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    finish_status(reply, cbm_engine_reset(engine, caller, request->name, &reply->data.status));
}

static void handle_reset_all(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    (void)request, (void)reply;
    cbm_engine_reset_all(engine, caller);
}

static void handle_reset_manager(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    (void)request;
    finish_status(reply, cbm_engine_reset_manager(engine, caller));
}

static void handle_configure(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    int bad_field = -1;
    int error = cbm_engine_configure(engine, caller, request->name, &request->policy, &bad_field, &reply->data.status);

    if (error)
        fail_policy(reply, error, &request->policy, bad_field);
}

static void handle_remove(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    int error = cbm_engine_remove(engine, caller, request->pattern, &reply->data.removed);

    if (error == CBM_PROTO_E_INVALID) {
        cbm_reply_fail(reply, error, "pattern must be " CBM_NAME_EXPECTS);
        set_field(reply, "pattern");
    } else {
        finish_status(reply, error);
    }
}

static void control(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_core_control what,
                    cbm_reply *reply)
{
    finish_status(reply,
                  cbm_engine_control(engine, caller, request->name, what, request->reason[0] ? request->reason : NULL,
                                     request->for_ms, &reply->data.status));
}

static void handle_force_open(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    control(engine, caller, request, CBM_CORE_CONTROL_FORCE_OPEN, reply);
}

static void handle_disable(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    control(engine, caller, request, CBM_CORE_CONTROL_DISABLE, reply);
}

static void handle_metrics_only(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    control(engine, caller, request, CBM_CORE_CONTROL_METRICS_ONLY, reply);
}

static void handle_enable(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    control(engine, caller, request, CBM_CORE_CONTROL_ENABLE, reply);
}

static void handle_reload(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    (void)caller, (void)request;
    if (!cbm_engine_reload_ask(engine, &reply->data.reload))
        cbm_reply_fail(reply, CBM_PROTO_E_UNSUPPORTED,
                       "there is nothing to read again: cbmd was started without --config");
}

/* ---- Shared memory ---------------------------------------------------------------------------------------------- */

static void handle_attach(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    (void)request;
    finish_status(reply, cbm_engine_attach(engine, caller, reply->data.attach.token, &reply->data.attach.now_ns));
}

static void handle_detach(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    int error = cbm_engine_detach(engine, caller, request->ledger);

    if (error)
        cbm_reply_fail(reply, error, "there is no such ledger");
}

static void handle_pull(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    finish_status(reply, cbm_engine_pull(engine, caller, request->name));
}

/* ---- From bytes to bytes ---------------------------------------------------------------------------------------- */

static void log_operation(const cbm_caller *caller, const cbm_request *request, const cbm_reply *reply,
                          int64_t duration_ns)
{
    cbm_log_line line;

    cbm_log_line_begin(&line, CBM_LOG_DEBUG, "operation");
    cbm_log_line_string(&line, "op", request->op < CBM_OP_COUNT ? cbm_operations[request->op].name : "?");
    if (request->name[0])
        cbm_log_line_string(&line, "breaker", request->name);
    cbm_log_line_int(&line, "duration_us", duration_ns / 1000);
    cbm_log_line_string(&line, "result", cbm_proto_error_name(reply->error));
    if (reply->field[0])
        cbm_log_line_string(&line, "field", reply->field);
    cbm_log_line_uint(&line, "uid", caller->uid);
    cbm_log_line_int(&line, "pid", caller->pid);
    if (request->correlation_id[0])
        cbm_log_line_string(&line, "correlation_id", request->correlation_id);
    cbm_log_line_end(&line);
}

static void handle(cbm_engine *engine, cbm_caller *caller, const cbm_request *request, cbm_reply *reply)
{
    char message[sizeof reply->message];
    int error;

    memset(reply, 0, sizeof *reply);
    reply->kind = cbm_operations[request->op].reply;
    error = cbm_access_check(caller, request, message, sizeof message);
    if (error) {
        cbm_reply_fail(reply, error, message);
        return;
    }
    caller->correlation_id = request->correlation_id;
    handlers[request->op](engine, caller, request, reply);
    caller->correlation_id = "";
}

static int encode(const cbm_reply *reply, bool text, cbm_scratch *scratch)
{
    int error;

    cbm_buffer_clear(&scratch->body);
    if (!text)
        return cbm_reply_encode(reply, &scratch->body);
    cbm_buffer_clear(&scratch->reply);
    error = cbm_reply_encode(reply, &scratch->reply);
    return error ? error : cbm_text_from_reply(scratch->reply.data, scratch->reply.size, &scratch->body);
}

/* The other wording of a reply that tells of something that is being stored. Only reports have one. */
static bool encode_unstored(cbm_reply *reply, bool text, cbm_scratch *scratch)
{
    cbm_buffer stored = scratch->body;
    int error;

    if (reply->error == 0 && reply->kind == CBM_REPLY_REPORT)
        reply->data.report.stored = false;
    scratch->body = scratch->unstored;
    error = encode(reply, text, scratch);
    scratch->unstored = scratch->body;
    scratch->body = stored;
    return error == 0;
}

/* Halves a page that does not fit into a reply until it does. */
static int handle_and_encode(cbm_engine *engine, cbm_caller *caller, cbm_request *request, cbm_reply *reply, bool text,
                             cbm_scratch *scratch)
{
    for (;;) {
        int error;
        bool page;
        size_t count;

        handle(engine, caller, request, reply);
        if (caller->next_part)
            return 0;
        error = encode(reply, text, scratch);
        page = reply->error == 0 && (reply->kind == CBM_REPLY_STATES || reply->kind == CBM_REPLY_STATS);
        count = page ? reply->data.page.count : 0;
        if (error != CBM_PROTO_E_TOO_LARGE || count < 2)
            return error;
        cbm_reply_deinit(reply);
        request->limit = (uint32_t)(count / 2);
    }
}

static int decode(const uint8_t *body, size_t size, bool text, cbm_scratch *scratch, cbm_request *request,
                  cbm_fault *fault)
{
    int error;

    if (!text)
        return cbm_request_decode(body, size, request, fault);
    cbm_buffer_clear(&scratch->request);
    error = cbm_text_to_request(body, size, &scratch->request, fault);
    return error ? error : cbm_request_decode(scratch->request.data, scratch->request.size, request, fault);
}

static bool answer_failure(int error, const char *message, const char *field, bool text, cbm_reply *reply,
                           cbm_scratch *scratch)
{
    memset(reply, 0, sizeof *reply);
    cbm_reply_fail(reply, error, message);
    if (field)
        set_field(reply, field);
    return encode(reply, text, scratch) == 0;
}

/* The caller's permits are its connection's; whoever types a command hangs up at once, so those live by their lease alone. */
static bool answer_request(cbm_engine *engine, cbm_caller *caller, cbm_request *request, bool text, cbm_reply *reply,
                           cbm_scratch *scratch)
{
    cbm_caller typist = *caller;
    int error;

    typist.holder = 0;
    error = handle_and_encode(engine, text ? &typist : caller, request, reply, text, scratch);
    caller->holds = caller->holds || typist.holds;
    if (text) {
        caller->next_part = typist.next_part;
        caller->so_far = typist.so_far;
    }
    if (error == 0)
        return true;
    cbm_reply_deinit(reply);
    return answer_failure(error, NULL, NULL, text, reply, scratch);
}

bool cbm_dispatch(cbm_engine *engine, cbm_caller *caller, const uint8_t *body, size_t size, cbm_scratch *scratch)
{
    bool text = cbm_text_is_command(body, size);
    bool debug = cbm_log_enabled(CBM_LOG_DEBUG);
    int64_t begun_ns = debug ? cbm_clock_ns() : 0;
    cbm_request request = {.op = CBM_OP_COUNT};
    cbm_reply reply;
    cbm_fault fault = {0};
    bool decoded = decode(body, size, text, scratch, &request, &fault) == 0;
    bool answered;

    caller->part = caller->next_part;
    caller->next_part = 0;
    if (decoded)
        answered = answer_request(engine, caller, &request, text, &reply, scratch);
    else
        answered = answer_failure(fault.error, fault.message, fault.field, text, &reply, scratch);
    if (answered && !caller->next_part && caller->ticket && *caller->ticket)
        answered = encode_unstored(&reply, text, scratch);
    if (debug)
        log_operation(caller, &request, &reply, cbm_clock_ns() - begun_ns);
    cbm_reply_deinit(&reply);
    if (decoded)
        cbm_request_deinit(&request);
    return answered;
}

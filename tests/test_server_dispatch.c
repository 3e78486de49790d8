/* Requests to replies without a socket: every operation answers, nothing that comes is left unanswered, permits and holders. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec.h"
#include "dispatch.h"
#include "error.h"
#include "log.h"
#include "sp.h"

static cbm_engine *engine;
static cbm_caller caller = {.holder = 1, .connection = 1, .uid = 1000, .admin = true, .correlation_id = ""};

static cbm_engine *new_engine(void)
{
    cbm_engine_options options = {.max_breakers = 1000, .rate_window_ms = 1000, .address = "ipc:///tmp/s"};
    cbm_engine *made;

    cr_assert_eq(cbm_engine_new(&made, &options), 0);
    return made;
}

static void set_up(void)
{
    cbm_log_set_level(CBM_LOG_ERROR);
    engine = new_engine();
}

static void tear_down(void)
{
    cbm_engine_free(engine);
}

TestSuite(server_dispatch, .init = set_up, .fini = tear_down, .timeout = 30);

/* ---- Asking ----------------------------------------------------------------------------------------------------- */

static const cbm_buffer *dispatch_bytes(const void *bytes, size_t size)
{
    cbm_scratch *scratch = cbm_scratch_get();

    cr_assert(cbm_dispatch(engine, &caller, bytes, size, scratch));
    return &scratch->body;
}

static json_t *command(const char *text)
{
    const cbm_buffer *body = dispatch_bytes(text, strlen(text));
    json_t *answer = json_loadb((const char *)body->data, body->size, 0, NULL);

    cr_assert_not_null(answer, "%s: %.*s", text, (int)body->size, (const char *)body->data);
    return answer;
}

/* "" for a success, else its error. */
static const char *error_of(const char *text)
{
    static char error[32];
    json_t *answer = command(text);

    snprintf(error, sizeof error, "%s",
             json_is_true(json_object_get(answer, "success")) ? ""
                                                              : json_string_value(json_object_get(answer, "error")));
    json_decref(answer);
    return error;
}

static const char *state_of(const char *name)
{
    static char state[32];
    char text[200];
    json_t *answer;
    json_t *dict;

    snprintf(text, sizeof text, "states %s", name);
    answer = command(text);
    dict = json_object_get(json_object_get(answer, "data"), name);
    snprintf(state, sizeof state, "%s", dict ? json_string_value(json_object_get(dict, "state")) : "none");
    json_decref(answer);
    return state;
}

static json_int_t counter_of(const char *name, const char *counter)
{
    char text[200];
    json_t *answer;
    json_int_t value;

    snprintf(text, sizeof text, "states %s", name);
    answer = command(text);
    value = json_integer_value(json_object_get(
        json_object_get(json_object_get(json_object_get(answer, "data"), name), "statistics"), counter));
    json_decref(answer);
    return value;
}

static cbm_reply ask(const cbm_request *request)
{
    cbm_buffer bytes;
    cbm_reply reply;
    cbm_fault fault;
    const cbm_buffer *body;

    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_request_encode(request, &bytes), 0);
    body = dispatch_bytes(bytes.data, bytes.size);
    cr_assert_eq(cbm_reply_decode(body->data, body->size, cbm_operations[request->op].reply, &reply, &fault), 0, "%s",
                 fault.message);
    cbm_buffer_deinit(&bytes);
    return reply;
}

static cbm_begin_reply begin(const char *name)
{
    cbm_request request = {.op = CBM_OP_CALL_BEGIN, .given = CBM_FIELD(NAME)};
    cbm_reply reply;

    strcpy(request.name, name);
    reply = ask(&request);
    cr_assert_eq(reply.error, 0, "%s", reply.message);
    return reply.data.begin;
}

static cbm_request report_of(const char *name, cbm_core_outcome outcome, const cbm_begin_reply *permit)
{
    cbm_request request = {.op = CBM_OP_CALL_REPORT, .given = CBM_FIELD(REPORT)};

    strcpy(request.report.name, name);
    request.report.outcome = outcome;
    request.report.duration_ns = -1;
    request.report.count = 1;
    if (permit) {
        memcpy(request.report.permit, permit->permit, permit->permit_size);
        request.report.permit_size = permit->permit_size;
    }
    return request;
}

static int report(const char *name, cbm_core_outcome outcome, const cbm_begin_reply *permit)
{
    cbm_request request = report_of(name, outcome, permit);
    cbm_reply reply = ask(&request);
    int error = reply.error;

    cbm_reply_deinit(&reply);
    return error;
}

static bool is_due(const char *name)
{
    cbm_core_status status;

    cr_assert_eq(cbm_engine_state_of(engine, name, &status), 0);
    return status.due;
}

/* A breaker that is OPEN and whose next begin is a probe. */
static void open_breaker(const char *name, const char *policy)
{
    char text[200];

    snprintf(text, sizeof text, "get %s failure_threshold=1 timeout_ms=1 %s", name, policy);
    cr_assert_str_empty(error_of(text));
    cr_assert_eq(report(name, CBM_CORE_FAILURE, NULL), 0);
    cr_assert_str_eq(state_of(name), "OPEN");
    for (int64_t deadline_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; !is_due(name);)
        cr_assert_lt(cbm_clock_ns(), deadline_ns, "it stays closed to calls");
}

/* ---- Every operation answers ------------------------------------------------------------------------------------------ */

Test(server_dispatch, every_operation_answers_with_its_success_or_its_own_reason)
{
    static const struct {
        const char *text;
        const char *error;
    } rows[] = {
        {"get a failure_threshold=2", ""},
        {"call_begin a", ""},
        {"call_report a outcome=success", ""},
        {"states", ""},
        {"stats", ""},
        {"reset a", ""},
        {"reset b", "not_found"},
        {"reset_all", ""},
        {"configure a timeout_ms=5", ""},
        {"configure b timeout_ms=5", "not_found"},
        {"force_open a reason=maintenance", ""},
        {"call_begin a", "forced_open"},
        {"disable a", ""},
        {"metrics_only a", ""},
        {"enable a", ""},
        {"enable b", "not_found"},
        {"remove a", ""},
        {"attach", "unsupported"},
        {"detach ledger=00112233445566778899aabbccddeeff", "not_found"},
        {"pull a", "not_found"},
        {"get a", ""},
        {"pull a", ""},
        {"ping", ""},
        {"info", ""},
        {"reset_manager", ""},
        {"pull a", "not_found"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_str_eq(error_of(rows[i].text), rows[i].error, "%s", rows[i].text);
}

Test(server_dispatch, garbage_is_answered_too)
{
    static const char *const garbage[] = {"\x80", "\xc1", "\x81\xa2op", "\x81\xa2op\xa4ping\x00", "\x93\x01\x02\x03",
                                          "\xff"};
    cbm_reply reply;
    cbm_fault fault;

    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        const cbm_buffer *body = dispatch_bytes(garbage[i], strlen(garbage[i]));

        cr_assert_eq(cbm_reply_decode(body->data, body->size, CBM_REPLY_NONE, &reply, &fault), 0);
        cr_assert(reply.error == CBM_PROTO_E_INVALID || i == 3, "%zu: %d", i, reply.error);
        cr_assert_gt(strlen(reply.message), 0);
    }
    cr_assert_eq(dispatch_bytes("", 0)->data[0] & 0xf0, 0x80, "no bytes at all: a map answers");
    cr_assert_str_eq(error_of("what is this"), "unknown_op");
    cr_assert_str_eq(error_of("get a nonsense="), "bad_request");
}

Test(server_dispatch, a_policy_that_contradicts_itself_names_the_field)
{
    static const char *const commands[] = {"get a rule=failures", "call_begin a rule=failures"};

    for (size_t i = 0; i < 2; i++) {
        json_t *answer = command(commands[i]);

        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "data"), "field")), "window_s");
        json_decref(answer);
    }
    cr_assert_str_eq(state_of("a"), "none");
}

Test(server_dispatch, refusals_say_when_to_come_back)
{
    json_t *answer;

    cr_assert_str_empty(error_of("get a failure_threshold=1 timeout=60"));
    cr_assert_eq(report("a", CBM_CORE_FAILURE, NULL), 0);
    answer = command("call_begin a");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "error")), "open");
    cr_assert_geq(json_integer_value(json_object_get(json_object_get(answer, "data"), "retry_after_ms")), 59000);
    cr_assert_leq(json_integer_value(json_object_get(json_object_get(answer, "data"), "retry_after_ms")), 60000);
    json_decref(answer);
    cr_assert_str_empty(error_of("force_open a"));
    answer = command("call_begin a");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(answer, "data"), "retry_after_ms")), -1);
    json_decref(answer);
}

Test(server_dispatch, what_others_depend_on_is_for_root_and_the_brokers_user)
{
    static const char *const admin[] = {"configure a timeout_ms=5", "remove a", "force_open a", "disable a",
                                        "metrics_only a",           "enable a"};

    cr_assert_str_empty(error_of("get a"));
    caller.admin = false;
    for (size_t i = 0; i < sizeof admin / sizeof *admin; i++)
        cr_assert_str_eq(error_of(admin[i]), "denied", "%s", admin[i]);
    cr_assert_str_empty(error_of("get a"));
    cr_assert_str_empty(error_of("reset a"));
    cr_assert_str_eq(state_of("a"), "CLOSED");
}

/* ---- Pages ---------------------------------------------------------------------------------------------------------- */

static size_t count_page(json_t *answer, char next[CBM_CORE_NAME_MAX + 1])
{
    json_t *more = json_object_get(answer, "next");

    cr_assert(json_is_true(json_object_get(answer, "success")));
    snprintf(next, CBM_CORE_NAME_MAX + 1, "%s", more ? json_string_value(more) : "");
    return json_object_size(json_object_get(answer, "data"));
}

Test(server_dispatch, a_page_that_does_not_fit_is_halved_and_the_rest_follows)
{
    char next[CBM_CORE_NAME_MAX + 1] = "";
    char text[200];
    size_t seen = 0;
    int pages = 0;

    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "get breaker_%03d", i);
        cr_assert_str_empty(error_of(text));
    }
    cbm_scratch_get()->body.limit = 40000;
    do {
        json_t *answer;

        snprintf(text, sizeof text, "states limit=256 after=\"%s\"", next);
        answer = command(next[0] ? text : "states limit=256");
        seen += count_page(answer, next);
        json_decref(answer);
        pages++;
    } while (next[0]);
    cr_assert_eq(seen, 200);
    cr_assert_gt(pages, 3);
}

Test(server_dispatch, one_state_that_does_not_fit_is_an_error_and_no_endless_halving)
{
    cr_assert_str_empty(error_of("get a"));
    cbm_scratch_get()->body.limit = 300;
    cr_assert_str_eq(error_of("states"), "too_large");
}

/* ---- Permits and holders ---------------------------------------------------------------------------------------------- */

Test(server_dispatch, a_connection_that_goes_gives_its_probe_back_as_the_policy_says)
{
    cbm_begin_reply probe;

    open_breaker("a", "permit_lease_ms=0");
    probe = begin("a");
    cr_assert(probe.probe);
    cr_assert(caller.holds);
    cr_assert_str_eq(error_of("call_begin a"), "half_open_full");
    cbm_engine_caller_gone(engine, &caller);
    cr_assert_str_eq(state_of("a"), "OPEN");
    cr_assert_eq(counter_of("a", "abandoned"), 1);
}

Test(server_dispatch, the_probe_of_a_text_command_outlives_its_connection)
{
    open_breaker("a", "");
    cr_assert_str_empty(error_of("call_begin a lease_ms=60000"));
    cr_assert_not(caller.holds);
    cbm_engine_caller_gone(engine, &caller);
    cr_assert_str_eq(state_of("a"), "HALF_OPEN");
}

Test(server_dispatch, a_lease_that_runs_out_is_noticed_without_anybody_asking)
{
    struct pollfd log = {.events = POLLIN};
    int pipe_ends[2];
    char text[4096] = "";
    size_t size = 0;

    open_breaker("a", "");
    cr_assert_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
    log.fd = pipe_ends[0];
    cbm_log_set_output(pipe_ends[1]);
    cbm_log_set_level(CBM_LOG_WARN);
    cr_assert_str_empty(error_of("call_begin a lease_ms=20"));
    while (!strstr(text, "event=lease_expired breaker=a")) {
        cr_assert_eq(poll(&log, 1, 10000), 1, "nothing more happened: %s", text);
        size += (size_t)read(pipe_ends[0], text + size, sizeof text - 1 - size);
        text[size] = '\0';
    }
}

/* ---- Reports come once, and from this incarnation ------------------------------------------------------------------- */

Test(server_dispatch, a_report_that_comes_twice_counts_once_and_is_answered_twice)
{
    cbm_request request = report_of("a", CBM_CORE_FAILURE, NULL);

    cr_assert_str_empty(error_of("get a failure_threshold=3"));
    request.report.has_client = true;
    memset(request.report.client, 7, CBM_ID_SIZE);
    for (int i = 0; i < 10; i++) {
        cbm_reply reply;

        request.report.sequence = 1 + (uint64_t)i / 5;
        reply = ask(&request);
        cr_assert_eq(reply.error, 0);
        cr_assert_eq(reply.data.report.state, CBM_CORE_CLOSED);
    }
    cr_assert_eq(counter_of("a", "failed_calls"), 2);
}

Test(server_dispatch, a_report_that_failed_may_come_again)
{
    cbm_begin_reply permit = begin("a");
    cbm_request request = report_of("b", CBM_CORE_FAILURE, &permit);

    request.report.has_client = true;
    request.report.sequence = 1;
    cr_assert_eq(ask(&request).error, CBM_PROTO_E_NOT_FOUND);
    strcpy(request.report.name, "a");
    cr_assert_eq(ask(&request).error, 0);
    cr_assert_eq(counter_of("a", "failed_calls"), 1);
}

Test(server_dispatch, a_permit_of_another_incarnation_is_late_and_creates_nothing)
{
    cbm_engine *here = engine;
    cbm_begin_reply permit;

    engine = new_engine();
    permit = begin("a");
    cbm_engine_free(engine);
    engine = here;
    cr_assert_eq(report("a", CBM_CORE_FAILURE, &permit), CBM_PROTO_E_NOT_FOUND);
    cr_assert_str_eq(state_of("a"), "none");
    cr_assert_str_empty(error_of("get a failure_threshold=1"));
    cr_assert_eq(report("a", CBM_CORE_FAILURE, &permit), 0);
    cr_assert_str_eq(state_of("a"), "CLOSED");
    cr_assert_eq(counter_of("a", "late_reports"), 1);
}

Test(server_dispatch, a_report_of_another_incarnation_changes_no_state)
{
    cbm_request request = report_of("a", CBM_CORE_FAILURE, NULL);

    cr_assert_str_empty(error_of("get a failure_threshold=1"));
    request.report.has_incarnation = true;
    request.report.open_for_ms = 60000;
    cr_assert_eq(ask(&request).error, 0);
    cr_assert_str_eq(state_of("a"), "CLOSED");
    memcpy(request.report.incarnation, cbm_engine_incarnation(engine), CBM_ID_SIZE);
    cr_assert_eq(ask(&request).error, 0);
    cr_assert_str_eq(state_of("a"), "OPEN");
}

Test(server_dispatch, reports_of_an_array_are_taken_one_by_one)
{
    cbm_begin_reply permit = begin("a");
    cbm_report_message reports[3] = {
        report_of("a", CBM_CORE_SUCCESS, &permit).report,
        report_of("unknown", CBM_CORE_SUCCESS, &permit).report,
        report_of("b", CBM_CORE_FAILURE, NULL).report,
    };
    cbm_request request = {
        .op = CBM_OP_CALL_REPORT, .given = CBM_FIELD(REPORTS), .reports = reports, .report_count = 3};
    cbm_reply reply = ask(&request);

    cr_assert_eq(reply.error, 0);
    cr_assert_eq(reply.data.report.result_count, 3);
    cr_assert_eq(reply.data.report.results[0].error, 0);
    cr_assert_eq(reply.data.report.results[1].error, CBM_PROTO_E_NOT_FOUND);
    cr_assert_eq(reply.data.report.results[2].error, 0);
    cr_assert_eq(counter_of("a", "successful_calls"), 1);
    cr_assert_eq(counter_of("b", "failed_calls"), 1);
    cbm_reply_deinit(&reply);
}

Test(server_dispatch, info_tells_the_incarnation_and_the_limits)
{
    cbm_request request = {.op = CBM_OP_INFO};
    cbm_reply reply = ask(&request);

    cr_assert_eq(memcmp(reply.data.info.incarnation, cbm_engine_incarnation(engine), CBM_ID_SIZE), 0);
    cr_assert_eq(reply.data.info.max_breakers, 1000);
    cr_assert_str_eq(reply.data.info.address, "ipc:///tmp/s");
    cr_assert_eq(reply.data.info.pid, (uint32_t)getpid());
}

/* ---- In parts --------------------------------------------------------------------------------------------------- */

static void open_many(int count)
{
    char text[64];

    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof text, "call_report b_%d outcome=failure open_for_ms=60000", i);
        cr_assert_str_eq(error_of(text), "");
    }
}

Test(server_dispatch, a_reset_of_all_goes_on_where_its_last_part_ended)
{
    open_many(100);
    caller.next_part = 92;
    (void)dispatch_bytes("reset_all", 9);
    cr_assert_eq(caller.next_part, 0);
    cr_assert_str_eq(state_of("b_91"), "OPEN");
    cr_assert_str_eq(state_of("b_92"), "CLOSED");
    do
        (void)dispatch_bytes("reset_all", 9);
    while (caller.next_part);
    cr_assert_str_eq(state_of("b_0"), "CLOSED");
    cr_assert_str_eq(state_of("b_91"), "CLOSED");
}

Test(server_dispatch, what_was_removed_is_counted_over_all_parts)
{
    open_many(100);
    caller.next_part = 92;
    caller.so_far = 7;
    (void)dispatch_bytes("remove b_*", 10);
    cr_assert_eq(caller.next_part, 0);
    cr_assert_eq(caller.so_far, 15);
    do
        (void)dispatch_bytes("remove b_*", 10);
    while (caller.next_part);
    cr_assert_eq(caller.so_far, 92, "and begins anew");
}

Test(server_dispatch, what_is_refused_meanwhile_has_no_more_parts)
{
    caller.next_part = 8;
    cr_assert_str_eq(error_of("get"), "bad_request");
    cr_assert_eq(caller.next_part, 0);
}

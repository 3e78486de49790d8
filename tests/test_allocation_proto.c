/* Every allocation of proto, and of msgpack-c behind it, fails once, for each request, reply and text command. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocation.h"
#include "wire_text.h"

TestSuite(allocation_proto, .timeout = 60);

static long failures;

/* Does `work` with the 1st, 2nd, ... allocation failing until there are no more of them. */
static void with_each_allocation_failing(int (*work)(const void *), const void *argument, const char *what)
{
    cr_assert_eq(work(argument), 0, "%s", what);
    for (long n = 1;; n++, failures++) {
        long live = allocation_live();
        int error;

        allocation_fail_at(n);
        error = work(argument);
        if (!allocation_has_failed()) {
            allocation_fail_at(0);
            cr_assert_eq(error, 0, "%s: %d", what, error);
            cr_assert_gt(n, 1, "%s asks for no memory", what);
            return;
        }
        allocation_fail_at(0);
        cr_assert(error == CBM_PROTO_E_NOMEM || error == 0, "%s, allocation %ld: %d", what, n, error);
        cr_assert_eq(allocation_live(), live, "%s, allocation %ld: something is left behind", what, n);
    }
}

static int send_and_read_request(const void *argument)
{
    const cbm_request *sent = argument;
    cbm_request got;
    cbm_buffer bytes;
    cbm_fault fault;
    int error;

    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    error = cbm_request_encode(sent, &bytes);
    if (!error)
        error = cbm_request_decode(bytes.data, bytes.size, &got, &fault);
    if (!error)
        cbm_request_deinit(&got);
    cbm_buffer_deinit(&bytes);
    return error;
}

Test(allocation_proto, of_requests)
{
    for (int op = 0; op < CBM_OP_COUNT; op++) {
        cbm_request request = full_request(op);

        with_each_allocation_failing(send_and_read_request, &request, cbm_operations[op].name);
        cbm_request_deinit(&request);
    }
    cbm_request reports = full_reports_request(CBM_REPORTS_MAX);

    with_each_allocation_failing(send_and_read_request, &reports, "reports");
    cbm_request_deinit(&reports);
    fprintf(stderr, "requests: %ld allocations failed once each\n", failures);
}

static int send_and_read_reply(const void *argument)
{
    const cbm_reply *sent = argument;
    cbm_reply got = {0};
    cbm_buffer bytes, json;
    cbm_fault fault;
    int error;

    cbm_buffer_init(&bytes, CBM_REPLY_MAX);
    cbm_buffer_init(&json, CBM_REPLY_MAX);
    error = cbm_reply_encode(sent, &bytes);
    if (!error)
        error = cbm_reply_decode(bytes.data, bytes.size, sent->kind, &got, &fault);
    if (!error)
        error = cbm_text_from_reply(bytes.data, bytes.size, &json);
    cbm_reply_deinit(&got);
    cbm_buffer_deinit(&json);
    cbm_buffer_deinit(&bytes);
    return error;
}

Test(allocation_proto, of_replies)
{
    for (int kind = CBM_REPLY_NONE; kind <= CBM_REPLY_INFO; kind++) {
        cbm_reply reply = full_reply(kind);
        char what[32];

        snprintf(what, sizeof what, "reply %d", kind);
        with_each_allocation_failing(send_and_read_reply, &reply, what);
        cbm_reply_deinit(&reply);
    }
    fprintf(stderr, "replies: %ld allocations failed once each\n", failures);
}

static int read_command(const void *argument)
{
    const char *text = argument;
    cbm_request request;
    cbm_buffer bytes;
    cbm_fault fault;
    int error;

    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    error = cbm_text_to_request(text, strlen(text), &bytes, &fault);
    if (!error)
        error = cbm_request_decode(bytes.data, bytes.size, &request, &fault);
    if (!error)
        cbm_request_deinit(&request);
    cbm_buffer_deinit(&bytes);
    return error;
}

Test(allocation_proto, of_text_commands)
{
    static const char *const commands[] = {
        "ping",
        "get \"a \\u00e4 b\" failure_threshold=3 timeout=30.5",
        "call_report ha_api outcome=failure error_text=\"it \\\"broke\\\"\" duration_ms=12.5",
        "force_open ha_api reason=\"maintenance until noon\" for_ms=60000",
    };

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        with_each_allocation_failing(read_command, commands[i], commands[i]);
    fprintf(stderr, "text commands: %ld allocations failed once each\n", failures);
}

/* Replies to msgpack. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "reply_fields.h"
#include "sp.h"

static void write_status(msgpack_packer *packer, const cbm_core_status *status)
{
    msgpack_pack_map(packer, cbm_status_pairs());
    cbm_status_write(packer, status);
}

static void write_differs(msgpack_packer *packer, uint32_t differs)
{
    const cbm_core_policy_field *rows = cbm_core_policy_table();

    differs &= (uint32_t)CBM_ALL_ROWS(CBM_CORE_POLICY_FIELDS);
    cbm_pack_text(packer, "differs");
    msgpack_pack_array(packer, (size_t)__builtin_popcount(differs));
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++)
        if (differs & UINT32_C(1) << i)
            cbm_pack_text(packer, rows[i].name);
}

static void write_get(msgpack_packer *packer, const cbm_get_reply *get)
{
    cbm_core_status status = get->status;
    uint64_t fields = UINT64_C(1) << CBM_GET_CREATED;

    /* The request's answer stands where other state dicts have the policy's origin. */
    status.policy_source = get->policy_source;
    if (get->entry >= 0)
        fields |= UINT64_C(1) << CBM_GET_ENTRY;
    msgpack_pack_map(packer, cbm_status_pairs() + (size_t)__builtin_popcountll(fields) + 1);
    cbm_status_write(packer, &status);
    cbm_fields_write(packer, cbm_get_rows, CBM_GET_FIELDS, get, fields);
    write_differs(packer, get->differs);
}

static void write_state(msgpack_packer *packer, cbm_core_state state)
{
    cbm_pack_text(packer, "state");
    cbm_pack_text(packer, cbm_core_state_name(state));
}

static void write_results(msgpack_packer *packer, const cbm_report_reply *report)
{
    cbm_pack_text(packer, "results");
    msgpack_pack_array(packer, report->result_count);
    for (size_t i = 0; i < report->result_count; i++) {
        msgpack_pack_map(packer, 1);
        if (report->results[i].error) {
            cbm_pack_text(packer, "error");
            cbm_pack_text(packer, cbm_proto_error_name(report->results[i].error));
        } else {
            write_state(packer, report->results[i].state);
        }
    }
}

static void write_report(msgpack_packer *packer, const cbm_report_reply *report)
{
    msgpack_pack_map(packer, report->stored ? 1 : 2);
    if (report->results)
        write_results(packer, report);
    else
        write_state(packer, report->state);
    if (!report->stored) {
        cbm_pack_text(packer, "stored");
        msgpack_pack_false(packer);
    }
}

static void write_breakers(msgpack_packer *packer, const cbm_page_reply *page)
{
    msgpack_pack_map(packer, page->count);
    for (size_t i = 0; i < page->count; i++) {
        cbm_pack_text(packer, page->statuses[i].name);
        write_status(packer, &page->statuses[i]);
    }
}

static void write_users(msgpack_packer *packer, const cbm_page_reply *page)
{
    cbm_pack_text(packer, "users");
    msgpack_pack_map(packer, page->user_count);
    for (size_t i = 0; i < page->user_count; i++) {
        char uid[24];

        snprintf(uid, sizeof uid, "%" PRIu64, page->users[i].uid);
        cbm_pack_text(packer, uid);
        msgpack_pack_map(packer, CBM_USER_FIELDS);
        cbm_fields_write(packer, cbm_user_rows, CBM_USER_FIELDS, &page->users[i], CBM_ALL_ROWS(CBM_USER_FIELDS));
    }
}

static void write_user_limits(msgpack_packer *packer, const cbm_user_limits *limits)
{
    cbm_pack_text(packer, "user_limits");
    msgpack_pack_map(packer, CBM_USER_LIMITS_FIELDS);
    cbm_fields_write(packer, cbm_user_limits_rows, CBM_USER_LIMITS_FIELDS, limits,
                     CBM_ALL_ROWS(CBM_USER_LIMITS_FIELDS));
}

static void write_store(msgpack_packer *packer, const cbm_page_reply *page)
{
    if (page->store[0]) {
        cbm_pack_text(packer, "store");
        cbm_pack_text(packer, page->store);
    }
    if (page->store_error[0]) {
        cbm_pack_text(packer, "store_error");
        cbm_pack_text(packer, page->store_error);
    }
}

static void write_stats(msgpack_packer *packer, const cbm_page_reply *page)
{
    size_t more = (page->users != NULL) + page->has_user_limits + (page->store[0] != '\0') +
                  (page->store_error[0] != '\0') + (size_t)1;

    msgpack_pack_map(packer, CBM_STATS_FIELDS + more);
    cbm_fields_write(packer, cbm_stats_rows, CBM_STATS_FIELDS, &page->stats, CBM_ALL_ROWS(CBM_STATS_FIELDS));
    write_store(packer, page);
    if (page->users)
        write_users(packer, page);
    if (page->has_user_limits)
        write_user_limits(packer, &page->user_limits);
    cbm_pack_text(packer, "breakers");
    write_breakers(packer, page);
}

static void write_limits(msgpack_packer *packer, const cbm_info_reply *info)
{
    msgpack_pack_map(packer, CBM_LIMITS_FIELDS + 5);
    cbm_fields_write(packer, cbm_limits_rows, CBM_LIMITS_FIELDS, info, CBM_ALL_ROWS(CBM_LIMITS_FIELDS));
    cbm_pack_text(packer, "rate_limit_scope");
    cbm_pack_text(packer, info->rate_limit_calls ? "calls" : "requests");
    cbm_pack_text(packer, "request_bytes");
    msgpack_pack_uint64(packer, CBM_REQUEST_MAX);
    cbm_pack_text(packer, "reply_bytes");
    msgpack_pack_uint64(packer, CBM_REPLY_MAX);
    cbm_pack_text(packer, "reports");
    msgpack_pack_uint32(packer, CBM_REPORTS_MAX);
    cbm_pack_text(packer, "page");
    msgpack_pack_uint32(packer, CBM_PAGE_MAX);
}

static void write_info(msgpack_packer *packer, const cbm_info_reply *info)
{
    msgpack_pack_map(packer, CBM_INFO_FIELDS + (info->has_reload ? 3 : 2));
    cbm_fields_write(packer, cbm_info_rows, CBM_INFO_FIELDS, info, CBM_ALL_ROWS(CBM_INFO_FIELDS));
    cbm_pack_text(packer, "limits");
    write_limits(packer, info);
    cbm_pack_text(packer, "addresses");
    msgpack_pack_array(packer, info->address[0] ? 1 : 0);
    if (info->address[0])
        cbm_pack_text(packer, info->address);
    if (info->has_reload) {
        cbm_pack_text(packer, "reload");
        msgpack_pack_map(packer, CBM_RELOAD_FIELDS);
        cbm_fields_write(packer, cbm_reload_rows, CBM_RELOAD_FIELDS, info, CBM_ALL_ROWS(CBM_RELOAD_FIELDS));
    }
}

static void write_rows(msgpack_packer *packer, const cbm_field_row *rows, size_t count, const void *from)
{
    msgpack_pack_map(packer, count);
    cbm_fields_write(packer, rows, count, from, CBM_ALL_ROWS(count));
}

static void write_data(msgpack_packer *packer, const cbm_reply *reply)
{
    switch (reply->kind) {
    case CBM_REPLY_NONE: msgpack_pack_map(packer, 0); break;
    case CBM_REPLY_STATUS: write_status(packer, &reply->data.status); break;
    case CBM_REPLY_GET: write_get(packer, &reply->data.get); break;
    case CBM_REPLY_BEGIN: write_rows(packer, cbm_begin_rows, CBM_BEGIN_FIELDS, &reply->data.begin); break;
    case CBM_REPLY_REPORT: write_report(packer, &reply->data.report); break;
    case CBM_REPLY_STATES: write_breakers(packer, &reply->data.page); break;
    case CBM_REPLY_STATS: write_stats(packer, &reply->data.page); break;
    case CBM_REPLY_REMOVED:
        msgpack_pack_map(packer, 1);
        cbm_pack_text(packer, "removed");
        msgpack_pack_uint64(packer, reply->data.removed);
        break;
    case CBM_REPLY_RELOAD:
        msgpack_pack_map(packer, 1);
        cbm_pack_text(packer, "reload");
        msgpack_pack_uint64(packer, reply->data.reload);
        break;
    case CBM_REPLY_ATTACH: write_rows(packer, cbm_attach_rows, CBM_ATTACH_FIELDS, &reply->data.attach); break;
    case CBM_REPLY_PONG:
        msgpack_pack_map(packer, 1);
        cbm_pack_text(packer, "pong");
        msgpack_pack_true(packer);
        break;
    case CBM_REPLY_INFO: write_info(packer, &reply->data.info); break;
    }
}

static const char *default_message(const cbm_reply *reply)
{
    switch (reply->kind) {
    case CBM_REPLY_NONE: return "Done";
    case CBM_REPLY_STATUS: return "Circuit breaker state";
    case CBM_REPLY_GET: return reply->data.get.created ? "Circuit breaker created" : "Circuit breaker found";
    case CBM_REPLY_BEGIN: return "Call permitted";
    case CBM_REPLY_REPORT: return reply->data.report.results ? "Outcomes reported" : "Outcome reported";
    case CBM_REPLY_STATES: return "Circuit breaker states";
    case CBM_REPLY_STATS: return "Circuit breaker statistics";
    case CBM_REPLY_REMOVED: return "Circuit breakers removed";
    case CBM_REPLY_RELOAD: return "The config file is read again; info tells what comes of it";
    case CBM_REPLY_ATTACH: return "Attach with this token";
    case CBM_REPLY_PONG: return "pong";
    case CBM_REPLY_INFO: return "Circuit breaker manager";
    }
    return "Done";
}

static bool has_next(const cbm_reply *reply)
{
    return (reply->kind == CBM_REPLY_STATES || reply->kind == CBM_REPLY_STATS) && reply->data.page.more;
}

static void write_success(msgpack_packer *packer, const cbm_reply *reply)
{
    msgpack_pack_map(packer, has_next(reply) ? 4 : 3);
    cbm_pack_text(packer, "success");
    msgpack_pack_true(packer);
    cbm_pack_text(packer, "message");
    cbm_pack_text(packer, reply->message[0] ? reply->message : default_message(reply));
    cbm_pack_text(packer, "data");
    write_data(packer, reply);
    if (has_next(reply)) {
        cbm_pack_text(packer, "next");
        cbm_pack_text(packer, reply->data.page.next);
    }
}

static void write_failure(msgpack_packer *packer, const cbm_reply *reply)
{
    bool has_field = reply->field[0] != '\0';

    msgpack_pack_map(packer, 4);
    cbm_pack_text(packer, "success");
    msgpack_pack_false(packer);
    cbm_pack_text(packer, "message");
    cbm_pack_text(packer, reply->message[0] ? reply->message : cbm_proto_error_sentence(reply->error));
    cbm_pack_text(packer, "error");
    cbm_pack_text(packer, cbm_proto_error_name(reply->error));
    cbm_pack_text(packer, "data");
    msgpack_pack_map(packer, (size_t)reply->has_retry_after + has_field);
    if (reply->has_retry_after) {
        cbm_pack_text(packer, "retry_after_ms");
        msgpack_pack_int64(packer, reply->retry_after_ms);
    }
    if (has_field) {
        cbm_pack_text(packer, "field");
        cbm_pack_text(packer, reply->field);
    }
}

int cbm_reply_encode(const cbm_reply *reply, cbm_buffer *buffer)
{
    msgpack_packer packer;
    size_t start = buffer->size;

    cbm_packer_init(&packer, buffer);
    if (reply->error)
        write_failure(&packer, reply);
    else
        write_success(&packer, reply);
    return cbm_buffer_settle(buffer, start, CBM_REPLY_BODY_MAX);
}

/* What is encoded is decoded as it was: every operation, every kind of reply, every field. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire_text.h"

static cbm_buffer encode_request(const cbm_request *request)
{
    cbm_buffer buffer;

    cbm_buffer_init(&buffer, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_request_encode(request, &buffer), 0);
    return buffer;
}

static cbm_request decode_request(const cbm_buffer *buffer)
{
    cbm_request request;
    cbm_fault fault;

    cr_assert_eq(cbm_request_decode(buffer->data, buffer->size, &request, &fault), 0, "%s", fault.message);
    return request;
}

static cbm_buffer encode_reply(const cbm_reply *reply)
{
    cbm_buffer buffer;

    cbm_buffer_init(&buffer, CBM_REPLY_MAX);
    cr_assert_eq(cbm_reply_encode(reply, &buffer), 0);
    return buffer;
}

static cbm_reply decode_reply(const cbm_buffer *buffer, cbm_reply_kind kind)
{
    cbm_reply reply;
    cbm_fault fault;

    cr_assert_eq(cbm_reply_decode(buffer->data, buffer->size, kind, &reply, &fault), 0, "%s", fault.message);
    return reply;
}

static void assert_report_equal(const cbm_report_message *one, const cbm_report_message *other)
{
    cr_assert_str_eq(one->name, other->name);
    cr_assert_eq(one->permit_size, other->permit_size);
    cr_assert_eq(memcmp(one->permit, other->permit, one->permit_size), 0);
    cr_assert_eq(one->outcome, other->outcome);
    cr_assert_eq(one->duration_ns, other->duration_ns);
    cr_assert_str_eq(one->error_text, other->error_text);
    cr_assert_eq(one->open_for_ms, other->open_for_ms);
    cr_assert_eq(one->has_client, other->has_client);
    cr_assert_eq(memcmp(one->client, other->client, CBM_ID_SIZE), 0);
    cr_assert_eq(one->sequence, other->sequence);
    cr_assert_eq(one->has_incarnation, other->has_incarnation);
    cr_assert_eq(memcmp(one->incarnation, other->incarnation, CBM_ID_SIZE), 0);
    cr_assert_eq(one->late, other->late);
    cr_assert_eq(one->count, other->count);
}

Test(request, of_each_operation_comes_back_with_every_field)
{
    for (int op = 0; op < CBM_OP_COUNT; op++) {
        cbm_request sent = full_request((cbm_operation)op), got;
        cbm_buffer bytes = encode_request(&sent);

        got = decode_request(&bytes);
        cr_assert_eq(got.op, sent.op);
        cr_assert_eq(got.given, sent.given, "%s", cbm_operations[op].name);
        cr_assert_str_eq(got.correlation_id, sent.correlation_id);
        if (sent.given & CBM_FIELD(NAME))
            cr_assert_str_eq(got.name, sent.name);
        cr_assert_eq(got.policy.given, sent.policy.given);
        cr_assert_eq(memcmp(&got.policy.values, &sent.policy.values, sizeof(sent.policy.values)), 0);
        if (sent.given & CBM_FIELD(LEDGER))
            cr_assert_eq(memcmp(got.ledger, sent.ledger, CBM_ID_SIZE), 0);
        cr_assert_eq(got.entry, sent.entry);
        cr_assert_eq(got.lease_ms, sent.lease_ms);
        if (sent.given & CBM_FIELD(REPORT))
            assert_report_equal(&got.report, &sent.report);
        if (sent.given & CBM_FIELD(PATTERN))
            cr_assert_str_eq(got.pattern, sent.pattern);
        if (sent.given & CBM_FIELD(AFTER))
            cr_assert_str_eq(got.after, sent.after);
        if (sent.given & CBM_FIELD(LIMIT))
            cr_assert_eq(got.limit, sent.limit);
        if (sent.given & CBM_FIELD(REASON))
            cr_assert_str_eq(got.reason, sent.reason);
        if (sent.given & CBM_FIELD(FOR_MS))
            cr_assert_eq(got.for_ms, sent.for_ms);
        cbm_request_deinit(&got);
        cbm_buffer_deinit(&bytes);
    }
}

Test(request, with_no_more_than_it_must_have_comes_back)
{
    for (int op = 0; op < CBM_OP_COUNT; op++) {
        cbm_request sent = {.op = (cbm_operation)op, .given = cbm_operations[op].requires, .name = "a", .pattern = "*"},
                    got;
        cbm_buffer bytes;

        if (op == CBM_OP_CALL_REPORT) {
            sent.given = CBM_FIELD(REPORT);
            sent.report = (cbm_report_message){.name = "a", .duration_ns = -1, .count = 1};
        }
        bytes = encode_request(&sent);
        got = decode_request(&bytes);
        cr_assert_eq(got.given, sent.given);
        cr_assert_eq(got.limit, CBM_PAGE_DEFAULT);
        if (op == CBM_OP_CALL_REPORT) {
            assert_report_equal(&got.report, &sent.report);
            cr_assert_str_eq(got.name, "a");
        }
        cbm_request_deinit(&got);
        cbm_buffer_deinit(&bytes);
    }
}

Test(request, of_256_reports_comes_back)
{
    cbm_request sent = full_reports_request(CBM_REPORTS_MAX), got;
    cbm_buffer bytes;

    /* With texts and permits in all of them they would not fit 64 KiB. */
    for (size_t i = 0; i < sent.report_count; i++)
        sent.reports[i].error_text[0] = '\0';
    bytes = encode_request(&sent);
    got = decode_request(&bytes);
    cr_assert_eq(got.given, CBM_FIELD(REPORTS));
    cr_assert_eq(got.report_count, CBM_REPORTS_MAX);
    for (size_t i = 0; i < got.report_count; i++)
        assert_report_equal(&got.reports[i], &sent.reports[i]);
    cbm_request_deinit(&got);
    cbm_request_deinit(&sent);
    cbm_buffer_deinit(&bytes);
}

Test(request, may_have_its_op_anywhere_and_keys_that_nobody_knows)
{
    cbm_buffer bytes =
        wire_text("{'name': 'a', 'new': {'x': [1, null, -3, 1.5]}, 'op': 'get', 'lease_ms': 'not for get'}");
    cbm_request request = decode_request(&bytes);

    cr_assert_eq(request.op, CBM_OP_GET);
    cr_assert_str_eq(request.name, "a");
    cr_assert_eq(request.given, CBM_FIELD(NAME));
    cbm_buffer_deinit(&bytes);
}

Test(request, takes_timeout_in_seconds_for_timeout_ms)
{
    static const struct {
        const char *text;
        uint32_t ms;
    } cases[] = {
        {"{'op': 'get', 'name': 'a', 'timeout': 30}", 30000},
        {"{'op': 'get', 'name': 'a', 'timeout': 30.0}", 30000},
        {"{'op': 'get', 'name': 'a', 'timeout': 0.3}", 300},
        {"{'op': 'get', 'name': 'a', 'timeout': 0.001}", 1},
        {"{'op': 'get', 'name': 'a', 'timeout': 1.1}", 1100},
        {"{'op': 'get', 'name': 'a', 'timeout': 2592000}", 2592000000u},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cbm_buffer bytes = wire_text(cases[i].text);
        cbm_request request = decode_request(&bytes);

        cr_assert_eq(request.policy.values.timeout_ms, cases[i].ms, "%s", cases[i].text);
        cbm_buffer_deinit(&bytes);
    }
}

Test(request, takes_a_single_precision_float_for_the_number_it_stands_for)
{
    /* failure_rate: 33.3f, timeout: 0.3f, jitter 0.1f */
    cbm_buffer bytes = wire_bytes("85 a26f70 a3676574 a46e616d65 a161 ac6661696c7572655f72617465 ca42053333"
                                  " a774696d656f7574 ca3e99999a a66a6974746572 ca3dcccccd");
    cbm_request request = decode_request(&bytes);

    cr_assert_eq(request.policy.values.failure_rate_tenths, 333);
    cr_assert_eq(request.policy.values.timeout_ms, 300);
    cr_assert_eq(request.policy.values.jitter_thousandths, 100);
    cbm_buffer_deinit(&bytes);
}

/* uint 8 to 64 and int 8 to 64, of which a peer may use any */
Test(request, takes_an_integer_in_any_width)
{
    static const char *const values[] = {"07",    "cc 07",   "cd 0007",     "ce 00000007",        "cf 0000000000000007",
                                         "d0 07", "d1 0007", "d2 00000007", "d3 0000000000000007"};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char hex[200];
        cbm_buffer bytes;
        cbm_request request;

        snprintf(hex, sizeof(hex), "83 a26f70 a3676574 a46e616d65 a161 b16661696c7572655f7468726573686f6c64 %s",
                 values[i]);
        bytes = wire_bytes(hex);
        request = decode_request(&bytes);
        cr_assert_eq(request.policy.values.failure_threshold, 7, "%s", values[i]);
        cbm_buffer_deinit(&bytes);
    }
}

Test(request, takes_zero_where_zero_is_a_value)
{
    cbm_buffer bytes = wire_text("{'op': 'get', 'name': 'a', 'half_open_max_wait_ms': 0, 'permit_lease_ms': 0, "
                                 "'failure_spacing_ms': 0, 'expire_after_s': 0, 'policy_version': 0, 'jitter': 0}");
    cbm_request request = decode_request(&bytes);

    cr_assert_eq(__builtin_popcount(request.policy.given), 6);
    cbm_buffer_deinit(&bytes);
}

Test(request, cuts_long_texts_at_a_character)
{
    char text[2000] = "{'op': 'call_report', 'name': 'a', 'outcome': 'failure', 'error_text': '";
    cbm_request request;
    cbm_buffer bytes;

    for (int i = 0; i < 200; i++)
        strcat(text, "\xe2\x82\xac"); /* three bytes each: 256 is no multiple */
    strcat(text, "', 'correlation_id': '");
    for (int i = 0; i < 70; i++)
        strcat(text, "\xc3\xa4");
    strcat(text, "'}");
    bytes = wire_text(text);
    request = decode_request(&bytes);
    cr_assert_eq(strlen(request.report.error_text), 255);
    cr_assert_eq(strlen(request.correlation_id), 128);
    cbm_buffer_deinit(&bytes);

    snprintf(text, sizeof(text), "{'op': 'disable', 'name': 'a', 'reason': '%0*d'}", 1000, 0);
    bytes = wire_text(text);
    request = decode_request(&bytes);
    cr_assert_eq(strlen(request.reason), 256);
    cbm_buffer_deinit(&bytes);
}

Test(request, keeps_durations_to_the_nanosecond)
{
    static const struct {
        const char *duration;
        int64_t ns;
    } cases[] = {
        {"0", 0},   {"12", 12000000}, {"12.5", 12500000}, {"0.000001", 1}, {"86400000", INT64_C(86400000000000)},
        {"0.0", 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[200];
        cbm_buffer bytes;
        cbm_request request;

        snprintf(text, sizeof(text), "{'op': 'call_report', 'name': 'a', 'outcome': 'success', 'duration_ms': %s}",
                 cases[i].duration);
        bytes = wire_text(text);
        request = decode_request(&bytes);
        cr_assert_eq(request.report.duration_ns, cases[i].ns, "%s", cases[i].duration);
        cbm_buffer_deinit(&bytes);
    }
}

Test(reply, of_each_kind_comes_back_byte_for_byte)
{
    for (int kind = CBM_REPLY_NONE; kind <= CBM_REPLY_INFO; kind++) {
        cbm_reply sent = full_reply((cbm_reply_kind)kind), got;
        cbm_buffer bytes = encode_reply(&sent), again;

        got = decode_reply(&bytes, (cbm_reply_kind)kind);
        cr_assert_eq(got.error, 0);
        cr_assert_eq(got.kind, sent.kind);
        cr_assert_str_eq(got.message, "well");
        again = encode_reply(&got);
        cr_assert(wire_equal(&bytes, &again), "kind %d", kind);
        cbm_reply_deinit(&got);
        cbm_reply_deinit(&sent);
        cbm_buffer_deinit(&bytes);
        cbm_buffer_deinit(&again);
    }
}

Test(reply, of_get_comes_back_with_every_member_of_the_state)
{
    cbm_reply sent = full_reply(CBM_REPLY_GET), got;
    cbm_buffer bytes = encode_reply(&sent);
    const cbm_core_status *one = &sent.data.get.status, *other;

    got = decode_reply(&bytes, CBM_REPLY_GET);
    other = &got.data.get.status;
    cr_assert_str_eq(one->name, other->name);
    cr_assert_eq(one->state, other->state);
    cr_assert_eq(one->failures, other->failures);
    cr_assert_eq(one->threshold, other->threshold);
    cr_assert_eq(one->retry_after_ns, other->retry_after_ns);
    cr_assert_eq(one->due, other->due);
    cr_assert_eq(one->failure_rate, other->failure_rate);
    cr_assert_eq(one->slow_call_rate, other->slow_call_rate);
    cr_assert_eq(one->calls, other->calls);
    cr_assert_eq(one->would_open, other->would_open);
    cr_assert_eq(one->epoch, other->epoch);
    cr_assert_eq(one->slot, other->slot);
    cr_assert_eq(one->slot_generation, other->slot_generation);
    cr_assert_eq(one->permits_out, other->permits_out);
    cr_assert_eq(memcmp(&one->policy, &other->policy, sizeof(one->policy)), 0);
    cr_assert_eq(one->policy_source, other->policy_source);
    cr_assert_str_eq(one->reason, other->reason);
    cr_assert_eq(one->control_ends_ns, other->control_ends_ns);
    cr_assert_eq(one->last_failure_ns_ago, other->last_failure_ns_ago);
    cr_assert_str_eq(one->last_error_text, other->last_error_text);
    cr_assert_eq(memcmp(&one->statistics, &other->statistics, sizeof(one->statistics)), 0);
    cr_assert(got.data.get.created);
    cr_assert_eq(got.data.get.policy_source, sent.data.get.policy_source);
    cr_assert_eq(got.data.get.differs, sent.data.get.differs);
    cr_assert_eq(got.data.get.entry, 12);
    cbm_buffer_deinit(&bytes);
}

Test(reply, of_a_single_report_says_when_it_was_not_stored)
{
    cbm_reply sent = {.kind = CBM_REPLY_REPORT}, got;
    cbm_buffer bytes;

    sent.data.report.state = CBM_CORE_OPEN;
    for (int stored = 0; stored < 2; stored++) {
        sent.data.report.stored = stored;
        bytes = encode_reply(&sent);
        got = decode_reply(&bytes, CBM_REPLY_REPORT);
        cr_assert_eq(got.data.report.state, CBM_CORE_OPEN);
        cr_assert_eq(got.data.report.stored, (bool)stored);
        cr_assert_null(got.data.report.results);
        cbm_buffer_deinit(&bytes);
    }
}

Test(reply, of_an_error_carries_message_retry_time_and_field)
{
    cbm_reply sent = {.has_retry_after = true, .retry_after_ms = -1, .field = "timeout_ms"}, got;
    cbm_buffer bytes;

    cbm_reply_fail(&sent, CBM_PROTO_E_FORCED_OPEN, NULL);
    bytes = encode_reply(&sent);
    got = decode_reply(&bytes, CBM_REPLY_BEGIN);
    cr_assert_eq(got.error, CBM_PROTO_E_FORCED_OPEN);
    cr_assert_eq(got.kind, CBM_REPLY_NONE);
    cr_assert_str_eq(got.message, "the circuit was opened by hand");
    cr_assert(got.has_retry_after);
    cr_assert_eq(got.retry_after_ms, -1);
    cr_assert_str_eq(got.field, "timeout_ms");
    cbm_buffer_deinit(&bytes);
}

Test(reply, of_an_error_needs_no_data)
{
    cbm_buffer bytes = wire_text("{'success': false, 'error': 'from_the_future'}");
    cbm_reply reply = decode_reply(&bytes, CBM_REPLY_STATS);

    cr_assert_eq(reply.error, CBM_PROTO_E_INTERNAL);
    cr_assert_not(reply.has_retry_after);
    cbm_buffer_deinit(&bytes);
}

Test(reply, of_an_older_or_newer_broker_is_understood)
{
    cbm_buffer bytes =
        wire_text("{'success': true, 'news': 1, 'data': {'name': 'a', 'state': 'OPEN', 'mood': [1], "
                  "'policy': {'timeout_ms': 4000000000, 'humour': 3}, 'statistics': {'total_calls': 3, 'x': 'y',"
                  " 'transitions': {'OPEN->MELTED': 3, 'x': 1}, 'time_in_state_ms': {'MELTED': 1}}}}");
    cbm_reply reply = decode_reply(&bytes, CBM_REPLY_STATUS);

    cr_assert_eq(reply.data.status.state, CBM_CORE_OPEN);
    cr_assert_eq(reply.data.status.policy.timeout_ms, 4000000000u);
    cr_assert_eq(reply.data.status.statistics.total_calls, 3);
    cr_assert_eq(reply.data.status.failure_rate, -1);
    cr_assert_eq(reply.data.status.last_failure_ns_ago, -1);
    cbm_buffer_deinit(&bytes);
}

Test(reply, has_retry_after_rounded_up_so_that_the_wait_is_enough)
{
    static const struct {
        int64_t ns, ms;
    } cases[] = {
        {0, 0}, {1, 1}, {999999, 1}, {1000000, 1}, {1000001, 2}, {-1, -1}, {INT64_MAX, INT64_MAX / 1000000 + 1}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(cbm_ms_round_up(cases[i].ns), cases[i].ms);
}

Test(reply, with_more_than_fits_is_too_large_and_leaves_the_buffer_clean)
{
    cbm_reply reply = {.kind = CBM_REPLY_STATES};
    cbm_buffer buffer, before;

    cbm_buffer_init(&buffer, SIZE_MAX / 2);
    cbm_buffer_append(&buffer, "before", 6);
    reply.data.page.count = 2000;
    reply.data.page.statuses = calloc(2000, sizeof(cbm_core_status));
    for (size_t i = 0; i < 2000; i++)
        reply.data.page.statuses[i] = full_status("a name");
    cr_assert_eq(cbm_reply_encode(&reply, &buffer), CBM_PROTO_E_TOO_LARGE);
    cr_assert_eq(buffer.size, 6);
    cr_assert_eq(buffer.error, 0);
    reply.data.page.count = 1;
    cr_assert_eq(cbm_reply_encode(&reply, &buffer), 0);
    cr_assert_eq(memcmp(buffer.data, "before", 6), 0);
    cbm_buffer_deinit(&buffer);

    /* The same when the buffer's own limit is what stops it. */
    cbm_buffer_init(&before, 100);
    cr_assert_eq(cbm_reply_encode(&reply, &before), CBM_PROTO_E_TOO_LARGE);
    cr_assert_eq(before.size, 0);
    cr_assert_eq(before.error, 0);
    cbm_buffer_deinit(&before);
    cbm_reply_deinit(&reply);
}

Test(reply, of_the_largest_page_with_the_longest_texts_fits)
{
    cbm_reply reply = {.kind = CBM_REPLY_STATS};
    cbm_buffer buffer;

    reply.data.page.count = CBM_PAGE_MAX;
    reply.data.page.statuses = calloc(CBM_PAGE_MAX, sizeof(cbm_core_status));
    for (size_t i = 0; i < CBM_PAGE_MAX; i++) {
        cbm_core_status *status = &reply.data.page.statuses[i];

        *status = full_status("");
        snprintf(status->name, sizeof(status->name), "%0*zu", CBM_CORE_NAME_MAX, i);
        memset(status->reason, 'r', CBM_CORE_TEXT_MAX);
        memset(status->last_error_text, 'e', CBM_CORE_TEXT_MAX);
        status->calls = UINT64_MAX;
        memset(&status->statistics, 0x7f, sizeof(status->statistics));
    }
    buffer = encode_reply(&reply);
    cr_assert_leq(buffer.size, CBM_REPLY_MAX - CBM_SP_BACKTRACE_MAX);
    cbm_buffer_deinit(&buffer);
    cbm_reply_deinit(&reply);
}

Test(reply, has_the_spec_s_words_when_no_others_are_given)
{
    cbm_reply reply = {.kind = CBM_REPLY_STATS};
    cbm_buffer bytes = encode_reply(&reply);
    char *json = wire_json(&bytes);

    cr_assert_str_eq(json,
                     "{\"success\":true,\"message\":\"Circuit breaker statistics\",\"data\":{\"total_operations\":0,"
                     "\"breakers_count\":0,\"rate_limited_count\":0,\"rate_limit_window_ms\":0,"
                     "\"current_rate_limit_size\":0,\"max_rate_limit\":0,\"max_breakers\":0,\"breakers_created\":0,"
                     "\"breakers_removed\":0,\"breakers\":{}}}\n");
    free(json);
    cbm_buffer_deinit(&bytes);
}

Test(permit, is_32_bytes_that_come_back)
{
    cbm_core_permit permit = {
        .slot = 1, .slot_generation = 0xfffffffe, .epoch = 3, .flags = 4, .id = UINT64_C(0x0102030405060708)};
    cbm_core_permit got;
    uint8_t bytes[CBM_PERMIT_MAX], incarnation[CBM_ID_SIZE] = {9, 8, 7}, other[CBM_ID_SIZE] = {9, 8, 6};
    bool ours;

    cr_assert_eq(cbm_permit_write(bytes, &permit, incarnation), CBM_PERMIT_MAX);
    cr_assert_eq(bytes[0], 1);
    cr_assert_eq(bytes[16], 8);
    cr_assert(cbm_permit_read(bytes, sizeof(bytes), incarnation, &got, &ours));
    cr_assert(ours);
    cr_assert_eq(memcmp(&got, &permit, sizeof(got)), 0);
    cr_assert(cbm_permit_read(bytes, sizeof(bytes), other, &got, &ours));
    cr_assert_not(ours);
    cr_assert_not(cbm_permit_read(bytes, sizeof(bytes) - 1, incarnation, &got, &ours));
    cr_assert_not(cbm_permit_read(bytes, 0, incarnation, &got, &ours));
}

/* What is refused, as what, and with which field to blame. */
#include <stdio.h>
#include <string.h>

#include "wire_text.h"

static cbm_fault refuse(const cbm_buffer *bytes, const char *what)
{
    cbm_request request;
    cbm_fault fault;
    int error = cbm_request_decode(bytes->data, bytes->size, &request, &fault);

    cr_assert_neq(error, 0, "taken: %s", what);
    cr_assert_eq(error, fault.error);
    cr_assert_null(request.reports);
    cr_assert_gt(strlen(fault.message), 0);
    return fault;
}

static void assert_bad(const char *text, const char *field)
{
    cbm_buffer bytes = wire_text(text);
    cbm_fault fault = refuse(&bytes, text);

    cr_assert_eq(fault.error, CBM_PROTO_E_INVALID, "%s", text);
    cr_assert_str_eq(fault.field, field, "%s: %s", text, fault.message);
    /* A person reads the message alone. */
    cr_assert(strstr(fault.message, field), "%s: %s", text, fault.message);
    cbm_buffer_deinit(&bytes);
}

/* A value that `get` must refuse in a field of its own. */
static void assert_bad_value(const char *field, const char *value)
{
    char text[400];

    snprintf(text, sizeof(text), "{'op': 'get', 'name': 'a', '%s': %s}", field, value);
    assert_bad(text, field);
}

static void assert_bad_report(const char *pairs, const char *field)
{
    char text[600];

    snprintf(text, sizeof(text), "{'op': 'call_report', 'name': 'a', 'outcome': 'success', %s}", pairs);
    assert_bad(text, field);
}

static cbm_fault refuse_hex(const char *hex)
{
    cbm_buffer bytes = wire_bytes(hex);
    cbm_fault fault = refuse(&bytes, hex);

    cbm_buffer_deinit(&bytes);
    return fault;
}

Test(request, without_an_operation_that_exists)
{
    cbm_buffer bytes = wire_text("{'op': 'fly', 'name': 'a'}");
    cbm_fault fault = refuse(&bytes, "fly");

    cr_assert_eq(fault.error, CBM_PROTO_E_UNKNOWN_OP);
    cr_assert_str_eq(fault.message, "there is no operation \"fly\"");
    cbm_buffer_deinit(&bytes);
    assert_bad("{'name': 'a'}", "op");
    assert_bad("{'op': 3}", "op");
    assert_bad("{'op': null}", "op");
    assert_bad("{}", "op");
}

Test(request, without_what_its_operation_requires)
{
    for (int op = 0; op < CBM_OP_COUNT; op++) {
        char text[64];
        const cbm_operation_row *row = &cbm_operations[op];

        snprintf(text, sizeof(text), "{'op': '%s'}", row->name);
        if (row->requires & CBM_FIELD(NAME))
            assert_bad(text, "name");
        if (row->requires & CBM_FIELD(PATTERN))
            assert_bad(text, "pattern");
        if (row->requires & CBM_FIELD(LEDGER))
            assert_bad(text, "ledger");
    }
    assert_bad("{'op': 'call_report'}", "name");
    assert_bad("{'op': 'call_report', 'name': 'a'}", "outcome");
    assert_bad("{'op': 'call_report', 'outcome': 'success'}", "name");
}

Test(request, with_a_name_that_cannot_be_one)
{
    char text[400];

    assert_bad("{'op': 'get', 'name': ''}", "name");
    assert_bad("{'op': 'get', 'name': 3}", "name");
    assert_bad("{'op': 'get', 'name': null}", "name");
    assert_bad("{'op': 'get', 'name': ['a']}", "name");
    assert_bad("{'op': 'get', 'name': 'hex:6161'}", "name");
    assert_bad("{'op': 'get', 'name': 'a\\u0000b'}", "name");
    assert_bad("{'op': 'get', 'name': 'a\\nb'}", "name");
    assert_bad("{'op': 'get', 'name': 'a\\u0085b'}", "name");
    snprintf(text, sizeof(text), "{'op': 'get', 'name': '%0129d'}", 0);
    assert_bad(text, "name");
    /* a UTF-8 that is not: a lone continuation byte, an overlong slash, a surrogate, a cut character */
    cr_assert_str_eq(refuse_hex("82 a26f70 a3676574 a46e616d65 a180").field, "name");
    cr_assert_str_eq(refuse_hex("82 a26f70 a3676574 a46e616d65 a2c0af").field, "name");
    cr_assert_str_eq(refuse_hex("82 a26f70 a3676574 a46e616d65 a3eda080").field, "name");
    cr_assert_str_eq(refuse_hex("82 a26f70 a3676574 a46e616d65 a3f09f98").field, "name");
    cr_assert_str_eq(refuse_hex("82 a26f70 a3676574 a46e616d65 a4f4908080").field, "name");
}

Test(request, with_a_text_that_is_not_utf_8)
{
    cr_assert_str_eq(refuse_hex("82 a26f70 a470696e67 ae636f7272656c6174696f6e5f6964 a1ff").field, "correlation_id");
    cr_assert_str_eq(refuse_hex("83 a26f70 a764697361626c65 a46e616d65 a161 a6726561736f6e a1ff").field, "reason");
    cr_assert_str_eq(refuse_hex("82 a26f70 a6737461746573 a77061747465726e a1ff").field, "pattern");
    cr_assert_str_eq(refuse_hex("81 a26f70 a1ff").field, "op");
    cr_assert_eq(refuse_hex("82 a26f70 a470696e67 a1ff 01").error, CBM_PROTO_E_INVALID);
}

Test(request, with_a_float_where_an_integer_is_asked_for)
{
    assert_bad_value("failure_threshold", "3.0");
    assert_bad_value("window_s", "3.0");
    assert_bad_value("timeout_ms", "1000.0");
    assert_bad_value("policy_version", "1.0");
    assert_bad_value("entry", "1.0");
    assert_bad("{'op': 'states', 'limit': 3.0}", "limit");
    assert_bad("{'op': 'call_begin', 'name': 'a', 'lease_ms': 3.0}", "lease_ms");
    assert_bad("{'op': 'disable', 'name': 'a', 'for_ms': 3.0}", "for_ms");
    assert_bad_report("'open_for_ms': 3.0", "open_for_ms");
    assert_bad_report("'client': 'hex:00112233445566778899aabbccddeeff', 'sequence': 1.0", "sequence");
    assert_bad_report("'late': true, 'count': 2.0", "count");
}

Test(request, with_a_text_where_a_number_is_asked_for)
{
    assert_bad_value("failure_threshold", "'3'");
    assert_bad_value("failure_rate", "'50'");
    assert_bad_value("timeout", "'30'");
    assert_bad_value("failure_rate", "null");
    assert_bad_value("failure_rate", "true");
    assert_bad_report("'duration_ms': '12'", "duration_ms");
}

Test(request, with_a_number_where_a_word_is_asked_for)
{
    assert_bad_value("rule", "0");
    assert_bad_value("rule", "'Consecutive'");
    assert_bad_value("rule", "''");
    assert_bad_value("on_abandon", "'fail'");
    assert_bad("{'op': 'call_report', 'name': 'a', 'outcome': 0}", "outcome");
    assert_bad("{'op': 'call_report', 'name': 'a', 'outcome': 'SUCCESS'}", "outcome");
}

/* Below, above, and an explicit 0 where 0 is no value: each policy field by its own row. */
Test(request, with_a_policy_value_out_of_range)
{
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
        char value[64];

        if (row->kind == CBM_CORE_FIELD_WORD)
            continue;
        snprintf(value, sizeof(value), "%.15g", ((double)row->maximum + 1) / row->scale);
        assert_bad_value(row->name, value);
        assert_bad_value(row->name, "-1");
        assert_bad_value(row->name, "18446744073709551615e3");
        if (!row->zero_allowed && row->minimum > 0)
            assert_bad_value(row->name, "0");
        if (row->minimum > 1) {
            snprintf(value, sizeof(value), "%.15g", ((double)row->minimum - 1) / row->scale);
            assert_bad_value(row->name, value);
        }
    }
}

Test(request, with_a_number_between_two_steps)
{
    assert_bad_value("failure_rate", "33.33");
    assert_bad_value("slow_call_rate", "0.05");
    assert_bad_value("backoff_multiplier", "1.0005");
    assert_bad_value("timeout", "0.0005");
    assert_bad_value("timeout", "1.0001");
}

Test(request, with_a_number_that_is_none)
{
    /* failure_rate: NaN, +inf, -inf; duration_ms: NaN */
    cr_assert_str_eq(
        refuse_hex("83 a26f70 a3676574 a46e616d65 a161 ac6661696c7572655f72617465 cb7ff8000000000000").field,
        "failure_rate");
    cr_assert_str_eq(
        refuse_hex("83 a26f70 a3676574 a46e616d65 a161 ac6661696c7572655f72617465 cb7ff0000000000000").field,
        "failure_rate");
    cr_assert_str_eq(refuse_hex("83 a26f70 a3676574 a46e616d65 a161 a774696d656f7574 cbfff0000000000000").field,
                     "timeout");
    cr_assert_str_eq(refuse_hex("84 a26f70 ab63616c6c5f7265706f7274 a46e616d65 a161 a76f7574636f6d65 a773756363657373"
                                " ab6475726174696f6e5f6d73 cb7ff8000000000000")
                         .field,
                     "duration_ms");
}

Test(request, with_timeout_and_timeout_ms)
{
    assert_bad("{'op': 'get', 'name': 'a', 'timeout': 30, 'timeout_ms': 30000}", "timeout");
    assert_bad("{'op': 'configure', 'name': 'a', 'timeout_ms': 30000, 'timeout': 30}", "timeout");
    assert_bad_value("timeout", "0");
    assert_bad_value("timeout", "-1");
    assert_bad_value("timeout", "2592001");
    assert_bad_value("timeout", "1e300");
}

Test(request, with_another_number_out_of_range)
{
    assert_bad("{'op': 'states', 'limit': 0}", "limit");
    assert_bad("{'op': 'states', 'limit': 257}", "limit");
    assert_bad("{'op': 'stats', 'limit': -1}", "limit");
    assert_bad("{'op': 'call_begin', 'name': 'a', 'lease_ms': 2592000001}", "lease_ms");
    assert_bad("{'op': 'call_begin', 'name': 'a', 'lease_ms': -1}", "lease_ms");
    assert_bad("{'op': 'force_open', 'name': 'a', 'for_ms': 2592000001}", "for_ms");
    assert_bad("{'op': 'get', 'name': 'a', 'entry': 4294967296}", "entry");
    assert_bad_report("'duration_ms': -0.001", "duration_ms");
    assert_bad_report("'duration_ms': 86400001", "duration_ms");
    assert_bad_report("'duration_ms': 86400000.5", "duration_ms");
    assert_bad_report("'open_for_ms': 0", "open_for_ms");
    assert_bad_report("'open_for_ms': 4294967296", "open_for_ms");
    assert_bad_report("'count': 0", "count");
    assert_bad_report("'late': true, 'count': 1099511627777", "count");
    assert_bad_report("'client': 'hex:00112233445566778899aabbccddeeff', 'sequence': 0", "sequence");
}

Test(request, with_bytes_of_the_wrong_length_or_type)
{
    assert_bad("{'op': 'get', 'name': 'a', 'ledger': 'hex:00'}", "ledger");
    assert_bad("{'op': 'detach', 'ledger': '0123456789abcdef'}", "ledger");
    assert_bad_report("'permit': 'hex:'", "permit");
    assert_bad_report("'permit': 'text'", "permit");
    assert_bad_report("'permit': 'hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20'", "permit");
    assert_bad_report("'client': 'hex:0011', 'sequence': 1", "client");
    assert_bad_report("'incarnation': 'hex:00112233445566778899aabbccddeeff00'", "incarnation");
    assert_bad_report("'late': 1", "late");
}

Test(request, with_a_pattern_or_name_to_go_on_after_that_is_too_long)
{
    char text[400];

    snprintf(text, sizeof(text), "{'op': 'states', 'pattern': '%0129d'}", 0);
    assert_bad(text, "pattern");
    snprintf(text, sizeof(text), "{'op': 'stats', 'after': '%0129d'}", 0);
    assert_bad(text, "after");
    assert_bad("{'op': 'remove', 'pattern': 'a\\u0000'}", "pattern");
}

Test(report, with_fields_that_owe_each_other)
{
    assert_bad_report("'client': 'hex:00112233445566778899aabbccddeeff'", "sequence");
    assert_bad_report("'sequence': 7", "client");
    assert_bad_report("'count': 2", "count");
    assert_bad_report("'late': false, 'count': 2", "count");
}

Test(report, of_both_forms_at_once)
{
    assert_bad(
        "{'op': 'call_report', 'name': 'a', 'outcome': 'success', 'reports': [{'name': 'a', 'outcome': 'success'}]}",
        "reports");
    assert_bad("{'op': 'call_report', 'outcome': 'success', 'reports': [{'name': 'a', 'outcome': 'success'}]}",
               "reports");
}

Test(reports, that_are_no_array_of_1_to_256_maps)
{
    char text[16000] = "{'op': 'call_report', 'reports': [";

    assert_bad("{'op': 'call_report', 'reports': []}", "reports");
    assert_bad("{'op': 'call_report', 'reports': {'name': 'a'}}", "reports");
    assert_bad("{'op': 'call_report', 'reports': null}", "reports");
    assert_bad("{'op': 'call_report', 'reports': [1]}", "reports[0]");
    for (int i = 0; i < 257; i++)
        strcat(text, i == 0 ? "{'name': 'a', 'outcome': 'success'}" : ", {'name': 'a', 'outcome': 'success'}");
    strcat(text, "]}");
    assert_bad(text, "reports");
}

Test(reports, of_which_one_is_bad_are_refused_as_a_whole)
{
    assert_bad("{'op': 'call_report', 'reports': [{'name': 'a', 'outcome': 'success'}, {'name': 'a'}]}",
               "reports[1].outcome");
    assert_bad("{'op': 'call_report', 'reports': [{'outcome': 'success'}]}", "reports[0].name");
    assert_bad("{'op': 'call_report', 'reports': [{'name': 'a', 'outcome': 'success'}, "
               "{'name': 'a', 'outcome': 'success', 'duration_ms': 'long'}]}",
               "reports[1].duration_ms");
    assert_bad("{'op': 'call_report', 'reports': [{'name': 'a', 'outcome': 'success', 'sequence': 1}]}",
               "reports[0].client");
}

Test(bytes, that_are_no_map)
{
    cr_assert_eq(refuse_hex("").error, CBM_PROTO_E_INVALID);
    cr_assert_eq(refuse_hex("c0").error, CBM_PROTO_E_INVALID);
    cr_assert_eq(refuse_hex("01").error, CBM_PROTO_E_INVALID);
    cr_assert_eq(refuse_hex("90").error, CBM_PROTO_E_INVALID);
    cr_assert_eq(refuse_hex("a3676574").error, CBM_PROTO_E_INVALID);
    cr_assert_eq(refuse_hex("c1").error, CBM_PROTO_E_INVALID);
}

Test(bytes, with_a_key_that_stands_twice)
{
    /* op twice; a key that nobody knows twice; name twice in one of the reports */
    cr_assert(strstr(refuse_hex("82 a26f70 a470696e67 a26f70 a470696e67").message, "\"op\" stands twice"));
    cr_assert(strstr(refuse_hex("83 a26f70 a470696e67 a178 01 a178 01").message, "\"x\" stands twice"));
    cr_assert(strstr(refuse_hex("83 a0 01 a0 01 a26f70 a470696e67").message, "\"\" stands twice"));
    cr_assert_str_eq(
        refuse_hex("82 a26f70 ab63616c6c5f7265706f7274 a77265706f727473 91 82 a46e616d65 a161 a46e616d65 a161").field,
        "reports[0]");
}

Test(bytes, with_a_key_that_is_no_text)
{
    cr_assert(strstr(refuse_hex("82 a26f70 a470696e67 01 02").message, "key"));
    cr_assert(strstr(refuse_hex("82 a26f70 a470696e67 c40161 02").message, "key"));
    cr_assert(strstr(refuse_hex("82 a26f70 a470696e67 c0 02").message, "key"));
}

Test(bytes, behind_the_map)
{
    cr_assert(strstr(refuse_hex("81 a26f70 a470696e67 c0").message, "behind"));
}

Test(bytes, of_more_than_64_kib)
{
    static uint8_t bytes[CBM_REQUEST_MAX + 1];
    cbm_request request;
    cbm_fault fault;

    cr_assert_eq(cbm_request_decode(bytes, sizeof(bytes), &request, &fault), CBM_PROTO_E_TOO_LARGE);
}

Test(fault, leaves_op_and_correlation_id_for_the_log)
{
    cbm_buffer bytes = wire_text("{'op': 'get', 'correlation_id': 'c-1', 'name': 3}");
    cbm_request request;
    cbm_fault fault;

    cr_assert_neq(cbm_request_decode(bytes.data, bytes.size, &request, &fault), 0);
    cr_assert_eq(request.op, CBM_OP_GET);
    cr_assert_str_eq(request.correlation_id, "c-1");
    cbm_buffer_deinit(&bytes);

    bytes = wire_text("{'correlation_id': 'c-2', 'op': 'fly'}");
    cr_assert_neq(cbm_request_decode(bytes.data, bytes.size, &request, &fault), 0);
    cr_assert_eq(request.op, CBM_OP_COUNT);
    cr_assert_str_eq(request.correlation_id, "c-2");
    cbm_buffer_deinit(&bytes);
}

static void assert_bad_reply(const char *text, cbm_reply_kind kind)
{
    cbm_buffer bytes = wire_text(text);
    cbm_reply reply;
    cbm_fault fault;

    cr_assert_eq(cbm_reply_decode(bytes.data, bytes.size, kind, &reply, &fault), CBM_PROTO_E_PROTOCOL, "%s", text);
    cr_assert_eq(fault.error, CBM_PROTO_E_PROTOCOL);
    cr_assert_gt(strlen(fault.message), 0);
    cbm_buffer_deinit(&bytes);
}

Test(reply, that_breaks_the_contract)
{
    assert_bad_reply("{}", CBM_REPLY_NONE);
    assert_bad_reply("[]", CBM_REPLY_NONE);
    assert_bad_reply("{'success': 1, 'data': {}}", CBM_REPLY_NONE);
    assert_bad_reply("{'success': false, 'message': 'x'}", CBM_REPLY_NONE);
    assert_bad_reply("{'success': false, 'error': 3}", CBM_REPLY_NONE);
    assert_bad_reply("{'success': false, 'error': 'open', 'data': {'retry_after_ms': 1.5}}", CBM_REPLY_NONE);
    assert_bad_reply("{'success': false, 'error': 'open', 'data': {'retry_after_ms': -2}}", CBM_REPLY_NONE);
    assert_bad_reply("{'success': true, 'message': 3, 'data': {}}", CBM_REPLY_NONE);
    assert_bad_reply("{'success': true, 'data': []}", CBM_REPLY_NONE);
    assert_bad_reply("{'success': true}", CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'name': 'a'}}", CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'name': 'a', 'state': 'MELTED'}}", CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'name': 'a', 'state': 'OPEN', 'failures': -1}}", CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'name': 'a', 'state': 'OPEN', 'policy': 3}}", CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'name': 'a', 'state': 'OPEN', 'policy': {'rule': 'x'}}}",
                     CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'name': 'a', 'state': 'OPEN', 'policy': {'jitter': -1}}}",
                     CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'name': 'a', 'state': 'OPEN', 'statistics': {'total_calls': 'x'}}}",
                     CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'name': 'a', 'state': 'OPEN', 'statistics': {'transitions': "
                     "{'OPEN->CLOSED': -1}}}}",
                     CBM_REPLY_STATUS);
    assert_bad_reply("{'success': true, 'data': {'state': 'OPEN'}}", CBM_REPLY_BEGIN);
    assert_bad_reply("{'success': true, 'data': {'state': 'OPEN', 'permit': 'hex:'}}", CBM_REPLY_BEGIN);
    assert_bad_reply("{'success': true, 'data': {}}", CBM_REPLY_REPORT);
    assert_bad_reply("{'success': true, 'data': {'results': []}}", CBM_REPLY_REPORT);
    assert_bad_reply("{'success': true, 'data': {'results': [{'state': 'OPEN'}, {}]}}", CBM_REPLY_REPORT);
    assert_bad_reply("{'success': true, 'data': {'a': {'name': 'b', 'state': 'OPEN'}}}", CBM_REPLY_STATES);
    assert_bad_reply("{'success': true, 'data': {'a': {'name': 'a', 'state': 'OPEN'}, 'b': 3}}", CBM_REPLY_STATES);
    assert_bad_reply("{'success': true, 'data': {}, 'next': ''}", CBM_REPLY_STATES);
    assert_bad_reply("{'success': true, 'data': {'total_operations': 1}}", CBM_REPLY_STATS);
    assert_bad_reply("{'success': true, 'data': {}}", CBM_REPLY_REMOVED);
    assert_bad_reply("{'success': true, 'data': {'token': 'hex:00'}}", CBM_REPLY_ATTACH);
    assert_bad_reply("{'success': true, 'data': {'differs': 3, 'name': 'a', 'state': 'OPEN'}}", CBM_REPLY_GET);
}

/* Text commands, and replies as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire_text.h"

static cbm_buffer read_command(const char *command)
{
    cbm_buffer request;
    cbm_fault fault;

    cbm_buffer_init(&request, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_text_to_request(command, strlen(command), &request, &fault), 0, "%s: %s", command, fault.message);
    return request;
}

/* The command says the same as the msgpack written as JSON. */
static void assert_means(const char *command, const char *text)
{
    cbm_buffer request = read_command(command), expected = wire_text(text);

    cr_assert(wire_equal(&request, &expected), "%s: %s", command, wire_json(&request));
    cbm_buffer_deinit(&request);
    cbm_buffer_deinit(&expected);
}

static void assert_bad(const char *command, size_t column, const char *why)
{
    char prefix[32];
    cbm_buffer request;
    cbm_fault fault;

    cbm_buffer_init(&request, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_text_to_request(command, strlen(command), &request, &fault), CBM_PROTO_E_INVALID, "%s", command);
    snprintf(prefix, sizeof(prefix), "column %zu: ", column);
    cr_assert_eq(strncmp(fault.message, prefix, strlen(prefix)), 0, "%s: %s", command, fault.message);
    cr_assert(strstr(fault.message, why), "%s: %s", command, fault.message);
    cr_assert_eq(request.size, 0);
    cbm_buffer_deinit(&request);
}

/* The command is read, and the decoder of all requests refuses what it says. */
static void assert_refused(const char *command, const char *field)
{
    cbm_buffer bytes = read_command(command);
    cbm_request request;
    cbm_fault fault;

    cr_assert_eq(cbm_request_decode(bytes.data, bytes.size, &request, &fault), CBM_PROTO_E_INVALID, "%s", command);
    cr_assert_str_eq(fault.field, field);
    cbm_buffer_deinit(&bytes);
}

Test(command, is_known_by_a_first_byte_that_is_printable)
{
    cr_assert(cbm_text_is_command("stats", 5));
    cr_assert(cbm_text_is_command(" stats", 6));
    cr_assert(cbm_text_is_command("~", 1));
    cr_assert_not(cbm_text_is_command("\x81\xa2op\xa4ping", 9));
    cr_assert_not(cbm_text_is_command("\xde", 1));
    cr_assert_not(cbm_text_is_command("\n", 1));
    cr_assert_not(cbm_text_is_command("\x7f", 1));
    cr_assert_not(cbm_text_is_command("", 0));
}

Test(command, is_a_word_a_bare_word_and_fields)
{
    assert_means("stats", "{'op': 'stats'}");
    assert_means("get ha_api", "{'op': 'get', 'name': 'ha_api'}");
    assert_means("get ha_api failure_threshold=3 timeout=30",
                 "{'op': 'get', 'name': 'ha_api', 'failure_threshold': 3, 'timeout': 30}");
    assert_means("states ha_*", "{'op': 'states', 'pattern': 'ha_*'}");
    assert_means("states pattern=ha_* limit=10 after=ha_a",
                 "{'op': 'states', 'pattern': 'ha_*', 'limit': 10, 'after': 'ha_a'}");
    assert_means("remove ha_*", "{'op': 'remove', 'pattern': 'ha_*'}");
    assert_means("force_open ha_api reason=flood for_ms=0",
                 "{'op': 'force_open', 'name': 'ha_api', 'reason': 'flood', 'for_ms': 0}");
    assert_means("call_begin ha_api lease_ms=0 correlation_id=c-1",
                 "{'op': 'call_begin', 'name': 'ha_api', 'lease_ms': 0, 'correlation_id': 'c-1'}");
}

Test(command, of_every_operation_is_read)
{
    for (int op = 0; op < CBM_OP_COUNT; op++) {
        cbm_buffer bytes = read_command(cbm_operations[op].name);

        cbm_buffer_deinit(&bytes);
    }
}

Test(command, of_every_field_that_an_operation_takes_is_read)
{
    assert_means(
        "call_report ha_api outcome=failure duration_ms=12.5 error_text=\"a b\" permit=00fF open_for_ms=30000 "
        "client=00112233445566778899aabbccddeeff sequence=18446744073709551 "
        "incarnation=ffeeddccbbaa99887766554433221100 late=true count=2",
        "{'op': 'call_report', 'name': 'ha_api', 'outcome': 'failure', 'duration_ms': 12.5, 'error_text': 'a b', "
        "'permit': 'hex:00ff', 'open_for_ms': 30000, 'client': 'hex:00112233445566778899aabbccddeeff', "
        "'sequence': 18446744073709551, 'incarnation': 'hex:ffeeddccbbaa99887766554433221100', 'late': true, "
        "'count': 2}");
    assert_means("get a ledger=00112233445566778899aabbccddeeff entry=0",
                 "{'op': 'get', 'name': 'a', 'ledger': 'hex:00112233445566778899aabbccddeeff', 'entry': 0}");
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
        char command[100];
        cbm_request request;
        cbm_fault fault;
        cbm_buffer bytes;

        if (row->kind == CBM_CORE_FIELD_WORD)
            snprintf(command, sizeof(command), "configure a %s=%s", row->name, row->words[1]);
        else
            snprintf(command, sizeof(command), "configure a %s=%.15g", row->name, (double)row->maximum / row->scale);
        bytes = read_command(command);
        cr_assert_eq(cbm_request_decode(bytes.data, bytes.size, &request, &fault), 0, "%s: %s", command, fault.message);
        cr_assert_eq(request.policy.given, UINT32_C(1) << field);
        cbm_buffer_deinit(&bytes);
    }
}

Test(command, has_values_of_the_type_of_their_field)
{
    assert_means("get name=123", "{'op': 'get', 'name': '123'}");
    assert_means("get true", "{'op': 'get', 'name': 'true'}");
    assert_means("disable a reason=42", "{'op': 'disable', 'name': 'a', 'reason': '42'}");
    assert_means("get a failure_rate=33.3", "{'op': 'get', 'name': 'a', 'failure_rate': 33.3}");
    assert_means("get a failure_rate=50", "{'op': 'get', 'name': 'a', 'failure_rate': 50}");
    assert_means("get a failure_rate=50.0", "{'op': 'get', 'name': 'a', 'failure_rate': 50}");
    assert_means("get a timeout=0.3", "{'op': 'get', 'name': 'a', 'timeout': 0.3}");
    assert_means("get a timeout=0000.0010", "{'op': 'get', 'name': 'a', 'timeout': 0.001}");
    assert_means("get a failure_threshold=007", "{'op': 'get', 'name': 'a', 'failure_threshold': 7}");
    assert_means("get a failure_threshold=\"3\"", "{'op': 'get', 'name': 'a', 'failure_threshold': 3}");
}

Test(command, has_values_out_of_range_refused_by_field)
{
    assert_refused("get a failure_threshold=0", "failure_threshold");
    assert_refused("get a failure_threshold=-3", "failure_threshold");
    assert_refused("get a failure_rate=33.33", "failure_rate");
    assert_refused("get a rule=sometimes", "rule");
    assert_refused("get a timeout=1 timeout_ms=1000", "timeout");
    assert_refused("call_report a outcome=maybe", "outcome");
    assert_refused("call_report a outcome=success permit=", "permit");
    assert_refused("get name=", "name");
    assert_refused("get", "name");
    assert_refused("states limit=1000", "limit");
}

Test(command, quotes_what_has_spaces_with_the_escapes_of_json)
{
    assert_means("get \"my api\"", "{'op': 'get', 'name': 'my api'}");
    assert_means("get name=\"my api\" timeout=1", "{'op': 'get', 'name': 'my api', 'timeout': 1}");
    assert_means("get \"a\\\"b\\\\c\\/d\\u00e4\\ud83d\\ude00\"",
                 "{'op': 'get', 'name': 'a\\\"b\\\\c/d\\u00e4\\ud83d\\ude00'}");
    assert_means("get \"a=b\"", "{'op': 'get', 'name': 'a=b'}");
    assert_means("get http://host/?a=b", "{'op': 'get', 'name': 'http://host/?a=b'}");
    assert_means("get caf\xc3\xa9", "{'op': 'get', 'name': 'caf\xc3\xa9'}");
    assert_means("disable a reason=\"\"", "{'op': 'disable', 'name': 'a', 'reason': ''}");
}

Test(command, may_end_and_be_spaced_as_people_do)
{
    assert_means("stats\n", "{'op': 'stats'}");
    assert_means("stats\r\n", "{'op': 'stats'}");
    assert_means("  get\t a   timeout=1  ", "{'op': 'get', 'name': 'a', 'timeout': 1}");
    assert_means("get \"a\"\n", "{'op': 'get', 'name': 'a'}");
}

Test(command, may_end_with_the_nul_of_c)
{
    cbm_buffer request, expected = wire_text("{'op': 'stats'}");
    cbm_fault fault;

    cbm_buffer_init(&request, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_text_to_request("stats", 6, &request, &fault), 0);
    cr_assert(wire_equal(&request, &expected));
    cbm_buffer_deinit(&request);
    cbm_buffer_deinit(&expected);
}

Test(command, with_an_unknown_word_is_an_unknown_operation)
{
    static const char *const words[] = {"fly", "Stats", "help", " ", "statsx", "=", "{\"op\":\"stats\"}", "\"stats\""};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        cbm_buffer request;
        cbm_fault fault;

        cbm_buffer_init(&request, CBM_REQUEST_MAX);
        cr_assert_eq(cbm_text_to_request(words[i], strlen(words[i]), &request, &fault), CBM_PROTO_E_UNKNOWN_OP, "%s",
                     words[i]);
        cr_assert(strstr(fault.message, "there is no operation"), "%s", fault.message);
        cbm_buffer_deinit(&request);
    }
}

Test(command, with_a_mistake_says_the_column)
{
    assert_bad("get a b", 7, "field=value was expected");
    assert_bad("get timeout=1 a", 15, "field=value was expected");
    assert_bad("stats all", 7, "stats takes fields only");
    assert_bad("get a failure_treshold=3", 7, "get takes no field \"failure_treshold\"");
    assert_bad("get a lease_ms=3", 7, "get takes no field \"lease_ms\"");
    assert_bad("ping name=a", 6, "ping takes no field \"name\"");
    assert_bad("call_report reports=a", 13, "takes no field \"reports\"");
    assert_bad("call_report policy=a", 13, "takes no field \"policy\"");
    assert_bad("get a failure_threshold=three", 25, "failure_threshold must be an integer");
    assert_bad("get a failure_threshold=3.0", 25, "must be an integer");
    assert_bad("get a failure_threshold=", 25, "must be an integer");
    assert_bad("get a failure_threshold=18446744073709551616", 25, "must be an integer");
    assert_bad("get a failure_threshold=-", 25, "must be an integer");
    assert_bad("get a failure_rate=1e1", 20, "failure_rate must be a number");
    assert_bad("get a failure_rate=.5", 20, "must be a number");
    assert_bad("get a failure_rate=5.", 20, "must be a number");
    assert_bad("get a failure_rate=1,5", 20, "must be a number");
    assert_bad("get a failure_rate=1.5.5", 20, "must be a number");
    assert_bad("get a failure_rate=0.00000000000000001", 20, "must be a number");
    assert_bad("get a failure_rate=nan", 20, "must be a number");
    assert_bad("call_report a outcome=success late=yes", 36, "late must be true or false");
    assert_bad("call_report a outcome=success permit=0", 38, "permit must be hex");
    assert_bad("call_report a outcome=success permit=0g", 38, "permit must be hex");
    assert_bad("get \"a", 5, "has no end");
    assert_bad("get \"a\\\"", 5, "has no end");
    assert_bad("get \"a\\", 5, "has no end");
    assert_bad("get \"a\"b", 8, "a space must follow");
    assert_bad("get \"\\x\"", 5, "not a JSON string");
    assert_bad("get \"\xff\"", 5, "not a JSON string");
    assert_bad("get name=\"a", 10, "has no end");
}

Test(command, with_a_field_that_is_not_taken_names_it)
{
    static const char text[] = "get a failure_treshold_with_a_name_that_is_far_too_long=3";
    cbm_buffer request;
    cbm_fault fault;

    cbm_buffer_init(&request, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_text_to_request(text, strlen(text), &request, &fault), CBM_PROTO_E_INVALID);
    cr_assert_str_eq(fault.field, "failure_treshold_with_a_name_th");
    cbm_buffer_deinit(&request);
}

Test(command, that_makes_too_large_a_request_is_refused)
{
    size_t size = CBM_REQUEST_MAX + 100;
    char *command = malloc(size);
    cbm_buffer request;
    cbm_fault fault;

    memset(command, 'x', size);
    memcpy(command, "disable a reason=", 17);
    cbm_buffer_init(&request, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_text_to_request(command, size, &request, &fault), CBM_PROTO_E_TOO_LARGE);
    cr_assert_eq(request.size, 0);
    cbm_buffer_deinit(&request);
    free(command);
}

static void assert_json(const char *text, const char *expected)
{
    cbm_buffer bytes = wire_text(text);
    char *json = wire_json(&bytes);

    cr_assert_str_eq(json, expected);
    free(json);
    cbm_buffer_deinit(&bytes);
}

Test(json, is_one_line_in_the_order_of_the_message)
{
    assert_json("{'z': 1, 'a': [true, null, -1, 'x\\ny'], 'm': {'b': 2, 'a': 1}}",
                "{\"z\":1,\"a\":[true,null,-1,\"x\\ny\"],\"m\":{\"b\":2,\"a\":1}}\n");
}

Test(json, has_bytes_as_hex_and_numbers_as_people_write_them)
{
    assert_json("{'permit': 'hex:00FF7f', 'rate': 33.3, 'p50': 12.5, 'empty': 'hex:'}",
                "{\"permit\":\"00ff7f\",\"rate\":33.3,\"p50\":12.5,\"empty\":\"\"}\n");
}

/* msgpack-c gives an empty text that is the first of a message no address. */
Test(json, of_an_empty_text_is_an_empty_text)
{
    static const struct {
        const char *hex, *json;
    } cases[] = {{"a0", "\"\"\n"}, {"81 a0 a0", "{\"\":\"\"}\n"}, {"91 a0", "[\"\"]\n"}, {"c400", "\"\"\n"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cbm_buffer bytes = wire_bytes(cases[i].hex);
        char *json = wire_json(&bytes);

        cr_assert_str_eq(json, cases[i].json);
        free(json);
        cbm_buffer_deinit(&bytes);
    }
}

Test(json, of_what_has_no_json_is_refused)
{
    static const char *const refused[] = {
        "", "81 01 02", "82 a161 01 a161 02", "81 a1ff 01", "a1ff", "91", "c1",
    };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        cbm_buffer bytes = wire_bytes(refused[i]), json;

        cbm_buffer_init(&json, CBM_REPLY_MAX);
        cr_assert_eq(cbm_text_from_reply(bytes.data, bytes.size, &json), CBM_PROTO_E_PROTOCOL, "%s", refused[i]);
        cr_assert_eq(json.size, 0);
        cbm_buffer_deinit(&json);
        cbm_buffer_deinit(&bytes);
    }
}

Test(json, has_null_for_a_number_that_is_none_and_a_real_for_one_too_large)
{
    cbm_buffer bytes = wire_bytes("93 cb7ff8000000000000 cb7ff0000000000000 cfffffffffffffffff");
    char *json = wire_json(&bytes);

    cr_assert_str_eq(json, "[null,null,1.84467440737096e19]\n");
    free(json);
    cbm_buffer_deinit(&bytes);
}

Test(json, that_does_not_fit_is_too_large_and_leaves_the_buffer_clean)
{
    cbm_buffer bytes = wire_text("{'text': 'twenty bytes of text'}"), json;

    cbm_buffer_init(&json, 20);
    cr_assert_eq(cbm_text_from_reply(bytes.data, bytes.size, &json), CBM_PROTO_E_TOO_LARGE);
    cr_assert_eq(json.size, 0);
    cr_assert_eq(json.error, 0);
    cbm_buffer_deinit(&json);
    cbm_buffer_deinit(&bytes);
}

Test(json, of_each_kind_of_reply_is_read_by_people_s_tools)
{
    for (int kind = CBM_REPLY_NONE; kind <= CBM_REPLY_INFO; kind++) {
        cbm_reply reply = full_reply((cbm_reply_kind)kind);
        cbm_buffer bytes;
        char *json;

        cbm_buffer_init(&bytes, CBM_REPLY_MAX);
        cr_assert_eq(cbm_reply_encode(&reply, &bytes), 0);
        json = wire_json(&bytes);
        cr_assert_eq(strncmp(json, "{\"success\":true,\"message\":\"well\",\"data\":{", 41), 0, "%s", json);
        cr_assert_eq(strchr(json, '\n'), json + strlen(json) - 1);
        free(json);
        cbm_reply_deinit(&reply);
        cbm_buffer_deinit(&bytes);
    }
}

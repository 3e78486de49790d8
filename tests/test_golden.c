/*
 * proto/PROTOCOL.md is the document that others write clients from, so it is what is tested: its golden examples are read
 * out of it, and each operation, field, error and policy field must stand in it.
 *
 * A golden block is JSON on one line and the same as bytes in hex:
 *   golden request | golden reply OPERATION | golden frame request ID | golden frame reply ID | golden greeting REQ or REP (no JSON)
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request_fields.h"
#include "wire_text.h"

static char *document;

static void read_document(void)
{
    FILE *file = fopen(CBM_PROTOCOL_MD, "rb");
    size_t size;

    cr_assert(file, "%s", CBM_PROTOCOL_MD);
    document = calloc(1, 1 << 20);
    size = fread(document, 1, (1 << 20) - 1, file);
    fclose(file);
    cr_assert(size > 10000 && size < (1 << 20) - 1);
}

TestSuite(golden, .init = read_document);
TestSuite(document, .init = read_document);

typedef struct golden_block {
    char what[64]; /* "reply get" */
    char *json;    /* NULL: none */
    cbm_buffer bytes;
} golden_block;

/* The golden block at or after `at`; NULL: there is none. Else where to go on. */
static const char *next_golden(const char *at, golden_block *golden)
{
    static const char fence[] = "```golden ";
    const char *line = strstr(at, fence), *end;
    char *block;
    const char *hex;

    if (!line)
        return NULL;
    line += strlen(fence);
    snprintf(golden->what, sizeof(golden->what), "%.*s", (int)strcspn(line, "\n"), line);
    line += strcspn(line, "\n") + 1;
    end = strstr(line, "```");
    cr_assert(end, "a golden block without end: %s", golden->what);
    block = strndup(line, (size_t)(end - line));
    golden->json = NULL;
    hex = block;
    if (*block == '{') {
        golden->json = strndup(block, strcspn(block, "\n"));
        hex = block + strcspn(block, "\n");
    }
    golden->bytes = wire_bytes(hex);
    cr_assert_gt(golden->bytes.size, 0, "no bytes: %s", golden->what);
    free(block);
    return end + 3;
}

static void golden_free(golden_block *golden)
{
    free(golden->json);
    cbm_buffer_deinit(&golden->bytes);
}

static void assert_json_is(const golden_block *golden, const void *body, size_t size)
{
    cbm_buffer bytes = {.data = (uint8_t *)body, .size = size};
    char *line = wire_json(&bytes);

    line[strcspn(line, "\n")] = '\0';
    cr_assert_str_eq(line, golden->json, "golden %s", golden->what);
    free(line);
}

static cbm_request request_of(const void *body, size_t size)
{
    cbm_request request;
    cbm_fault fault;

    cr_assert_eq(cbm_request_decode(body, size, &request, &fault), 0, "%s", fault.message);
    return request;
}

static void assert_request_comes_back(const golden_block *golden)
{
    cbm_request request = request_of(golden->bytes.data, golden->bytes.size);
    cbm_buffer again;

    cbm_buffer_init(&again, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_request_encode(&request, &again), 0);
    cr_assert(wire_equal(&golden->bytes, &again), "golden request %s", golden->json);
    cbm_request_deinit(&request);
    cbm_buffer_deinit(&again);
}

static void assert_reply_comes_back(const golden_block *golden, int op)
{
    cbm_reply reply;
    cbm_fault fault;
    cbm_buffer again;

    cr_assert_geq(op, 0, "golden %s: no such operation", golden->what);
    cr_assert_eq(cbm_reply_decode(golden->bytes.data, golden->bytes.size, cbm_operations[op].reply, &reply, &fault), 0,
                 "golden %s: %s", golden->what, fault.message);
    cbm_buffer_init(&again, CBM_REPLY_MAX);
    cr_assert_eq(cbm_reply_encode(&reply, &again), 0);
    cr_assert(wire_equal(&golden->bytes, &again), "golden %s", golden->what);
    cbm_reply_deinit(&reply);
    cbm_buffer_deinit(&again);
}

Test(golden, requests_are_what_is_sent_and_accepted)
{
    bool shown[CBM_OP_COUNT] = {false};
    const char *at = document;
    golden_block golden;

    while ((at = next_golden(at, &golden))) {
        if (strcmp(golden.what, "request") == 0) {
            cbm_request request = request_of(golden.bytes.data, golden.bytes.size);

            assert_json_is(&golden, golden.bytes.data, golden.bytes.size);
            assert_request_comes_back(&golden);
            shown[request.op] = true;
            cbm_request_deinit(&request);
        }
        golden_free(&golden);
    }
    for (int op = 0; op < CBM_OP_COUNT; op++)
        cr_assert(shown[op], "no golden request of %s", cbm_operations[op].name);
}

Test(golden, replies_are_what_is_sent_and_accepted)
{
    bool shown[CBM_REPLY_INFO + 1] = {false};
    const char *at = document;
    golden_block golden;

    while ((at = next_golden(at, &golden))) {
        if (strncmp(golden.what, "reply ", 6) == 0) {
            int op = cbm_operation_find(golden.what + 6, strlen(golden.what + 6));

            assert_json_is(&golden, golden.bytes.data, golden.bytes.size);
            assert_reply_comes_back(&golden, op);
            shown[cbm_operations[op].reply] = true;
        }
        golden_free(&golden);
    }
    /* A state dict alone is what the one of get holds. */
    for (int kind = CBM_REPLY_NONE; kind <= CBM_REPLY_INFO; kind++)
        cr_assert(shown[kind] || kind == CBM_REPLY_STATUS, "no golden reply of kind %d", kind);
}

Test(golden, frames_are_what_passes_the_socket)
{
    const char *at = document;
    golden_block golden;
    int frames = 0;

    while ((at = next_golden(at, &golden))) {
        if (strncmp(golden.what, "frame ", 6) == 0) {
            uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX];
            uint32_t id = (uint32_t)strtoul(strrchr(golden.what, ' '), NULL, 10);
            cbm_sp_frame frame;
            size_t needed, size;

            cr_assert_eq(cbm_sp_frame_read(golden.bytes.data, golden.bytes.size, CBM_REQUEST_MAX, &frame, &needed),
                         CBM_SP_FRAME);
            cr_assert_eq(frame.size, golden.bytes.size);
            cr_assert_eq(frame.id, id | CBM_SP_ID_BIT);
            assert_json_is(&golden, frame.body, frame.body_size);
            size = cbm_sp_frame_write_id(header, id, frame.body_size);
            cr_assert_eq(memcmp(header, golden.bytes.data, size), 0);
            frames++;
        }
        golden_free(&golden);
    }
    cr_assert_geq(frames, 2);
}

Test(golden, greetings_are_what_opens_the_connection)
{
    const char *at = document;
    golden_block golden;
    int greetings = 0;

    while ((at = next_golden(at, &golden))) {
        if (strncmp(golden.what, "greeting ", 9) == 0) {
            uint8_t greeting[CBM_SP_GREETING_SIZE];

            cbm_sp_greeting_write(greeting, strcmp(golden.what + 9, "REQ") == 0 ? CBM_SP_REQ : CBM_SP_REP);
            cr_assert_eq(golden.bytes.size, sizeof(greeting));
            cr_assert_arr_eq(golden.bytes.data, greeting, sizeof(greeting));
            greetings++;
        }
        golden_free(&golden);
    }
    cr_assert_eq(greetings, 2);
}

/* The indented pairs of a text command that is refused and its answer. */
Test(golden, mistakes_in_text_commands_are_answered_as_shown)
{
    const char *answer = document;
    int shown = 0;

    while ((answer = strstr(answer, "\n    {\"success\":false,"))) {
        const char *command = answer;
        cbm_reply reply = {0};
        cbm_buffer bytes;
        cbm_fault fault;
        char *line;

        while (command[-1] != '\n')
            command--;
        command += 4;
        cbm_buffer_init(&bytes, CBM_REPLY_MAX);
        cr_assert_neq(cbm_text_to_request(command, (size_t)(answer - command), &bytes, &fault), 0);
        cbm_reply_fail(&reply, fault.error, fault.message);
        strcpy(reply.field, fault.field);
        cr_assert_eq(cbm_reply_encode(&reply, &bytes), 0);
        line = wire_json(&bytes);
        cr_assert_eq(strncmp(answer + 5, line, strlen(line)), 0, "%s", line);
        free(line);
        cbm_buffer_deinit(&bytes);
        answer++;
        shown++;
    }
    cr_assert_geq(shown, 1);
}

/* ---- What must be said ------------------------------------------------------------------------------------------- */

static void assert_says(const char *format, const char *text)
{
    char expected[512];

    snprintf(expected, sizeof(expected), format, text);
    cr_assert(strstr(document, expected), "PROTOCOL.md does not say: %s", expected);
}

Test(document, has_a_section_for_each_operation)
{
    for (int op = 0; op < CBM_OP_COUNT; op++)
        assert_says("\n### `%s`\n", cbm_operations[op].name);
}

/* The section of one operation, to be freed. */
static char *section(const char *operation)
{
    char heading[64];
    const char *from, *to;

    snprintf(heading, sizeof(heading), "\n### `%s`\n", operation);
    from = strstr(document, heading) + 1;
    to = strstr(from, "\n##");
    return strndup(from, to ? (size_t)(to - from) : strlen(from));
}

Test(document, names_the_fields_in_the_section_of_each_operation)
{
    /* Those of disable and metrics_only are said to be as those of force_open, those of stats as those of states. */
    static const cbm_operation told_elsewhere[] = {CBM_OP_DISABLE, CBM_OP_METRICS_ONLY};

    for (int op = 0; op < CBM_OP_COUNT; op++) {
        char *text = section(cbm_operations[op].name), expected[64];

        for (size_t i = 0; i < sizeof(told_elsewhere) / sizeof(told_elsewhere[0]); i++)
            if (op == (int)told_elsewhere[i])
                cr_assert(strstr(text, "As `force_open`"));
        for (int field = 0; field < CBM_REQUEST_NONE; field++) {
            if (!(cbm_operations[op].takes & UINT32_C(1) << field) || strstr(text, "As `force_open`"))
                continue;
            snprintf(expected, sizeof(expected), "`%s`", cbm_request_rows[field].name);
            if (field == CBM_REQUEST_POLICY)
                cr_assert(strstr(text, "(#policy-fields)"), "%s", cbm_operations[op].name);
            else if (cbm_request_rows[field].name)
                cr_assert(strstr(text, expected), "%s: %s", cbm_operations[op].name, expected);
        }
        free(text);
    }
}

Test(document, names_the_fields_of_a_report_with_their_ranges)
{
    char *text = section("call_report"), expected[64];

    for (int field = 0; field < CBM_REPORT_FIELDS; field++) {
        const cbm_field_row *row = &cbm_report_rows[field];

        snprintf(expected, sizeof(expected), "`%s`", row->name);
        cr_assert(strstr(text, expected), "%s", expected);
        if (row->type == CBM_TYPE_U32 || row->type == CBM_TYPE_U64) {
            snprintf(expected, sizeof(expected), "integer, %llu to %llu", (unsigned long long)row->minimum,
                     (unsigned long long)row->maximum);
            cr_assert(strstr(text, expected), "%s: %s", row->name, expected);
        }
    }
    cr_assert(strstr(text, "number, 0 to 86400000"));
    free(text);
}

Test(document, has_the_row_of_each_error)
{
    static const char *const rows[] = {
#define X(symbol, number, name, sentence) "\n| `" name "` | " #number " | " sentence " |\n",
        CBM_ERROR_TABLE(X)
#undef X
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_says("%s", rows[i]);
}

static void describe_range(const cbm_core_policy_field *row, char *text, size_t size)
{
    size_t at;

    if (row->kind == CBM_CORE_FIELD_WORD) {
        text[0] = '\0';
        for (int i = 0; row->words[i]; i++) {
            at = strlen(text);
            snprintf(text + at, size - at, "%s%s", i ? ", " : "", row->words[i]);
        }
        return;
    }
    snprintf(text, size, "%s%.15g to %.15g", row->zero_allowed && row->minimum > 0 ? "0, " : "",
             (double)row->minimum / row->scale, (double)row->maximum / row->scale);
    at = strlen(text);
    if (row->scale > 1)
        snprintf(text + at, size - at, " in steps of %.15g", 1.0 / row->scale);
}

Test(document, has_the_row_of_each_policy_field_with_its_range_and_default)
{
    static const char *const kinds[] = {
        [CBM_CORE_FIELD_UINT] = "integer",
        [CBM_CORE_FIELD_NUMBER] = "number",
        [CBM_CORE_FIELD_WORD] = "text",
    };

    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
        char range[128], line[256];

        describe_range(row, range, sizeof(range));
        snprintf(line, sizeof(line), "\n| `%s` | %s | %s | %s |", row->name, kinds[row->kind], range,
                 row->default_text);
        assert_says("%s", line);
    }
    assert_says("`%s` (number of seconds", CBM_TIMEOUT_KEY);
}

static void assert_keys_named(const json_t *map)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)map, key, value) assert_says("`%s`", key);
}

Test(document, names_each_key_that_replies_have)
{
    for (int kind = CBM_REPLY_NONE; kind <= CBM_REPLY_INFO; kind++) {
        cbm_reply reply = full_reply((cbm_reply_kind)kind);
        cbm_buffer bytes;
        char *line;
        json_t *json, *data;

        cbm_buffer_init(&bytes, CBM_REPLY_MAX);
        cr_assert_eq(cbm_reply_encode(&reply, &bytes), 0);
        line = wire_json(&bytes);
        json = json_loads(line, 0, NULL);
        data = json_object_get(json, "data");
        assert_keys_named(json);
        if (kind != CBM_REPLY_STATES)
            assert_keys_named(data);
        assert_keys_named(json_object_get(data, "statistics"));
        assert_keys_named(json_object_get(data, "limits"));
        json_decref(json);
        free(line);
        cbm_reply_deinit(&reply);
        cbm_buffer_deinit(&bytes);
    }
    for (int state = 0; state < CBM_CORE_STATES; state++)
        assert_says("`%s`", cbm_core_state_name((cbm_core_state)state));
}

Test(document, has_the_limits)
{
    assert_says("%s", "65,536 bytes");
    assert_says("%s", "1,048,576");
    cr_assert_eq(CBM_REQUEST_MAX, 65536);
    cr_assert_eq(CBM_REPLY_MAX, 1048576);
    assert_says("%s", "integer, 1 to 256 | at most so many; 100 when left out");
    cr_assert_eq(CBM_PAGE_MAX, 256);
    cr_assert_eq(CBM_PAGE_DEFAULT, 100);
}

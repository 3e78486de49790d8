#include "wire_text.h"

#include <jansson.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int append(void *buffer, const char *bytes, size_t size)
{
    return cbm_buffer_append(buffer, bytes, size);
}

static void append_hex(cbm_buffer *buffer, const char *hex)
{
    for (; *hex; hex++) {
        char pair[3] = {0};
        uint8_t byte;

        if (*hex == ' ' || *hex == '\n')
            continue;
        memcpy(pair, hex, 2);
        cr_assert_eq(strspn(pair, "0123456789abcdefABCDEF"), 2, "not hex: %s", hex);
        byte = (uint8_t)strtoul(pair, NULL, 16);
        cbm_buffer_append(buffer, &byte, 1);
        hex++;
    }
}

cbm_buffer wire_bytes(const char *hex)
{
    cbm_buffer buffer;

    cbm_buffer_init(&buffer, 1 << 24);
    append_hex(&buffer, hex);
    return buffer;
}

static void pack_text(msgpack_packer *packer, const char *text, size_t length)
{
    if (strncmp(text, "hex:", 4) == 0) {
        cbm_buffer bytes = wire_bytes(text + 4);

        msgpack_pack_bin_with_body(packer, bytes.data, bytes.size);
        cbm_buffer_deinit(&bytes);
    } else {
        msgpack_pack_str_with_body(packer, text, length);
    }
}

static void pack(msgpack_packer *packer, json_t *json)
{
    const char *key;
    json_t *value;
    size_t i;

    switch (json_typeof(json)) {
    case JSON_OBJECT:
        msgpack_pack_map(packer, json_object_size(json));
        json_object_foreach(json, key, value)
        {
            msgpack_pack_str_with_body(packer, key, strlen(key));
            pack(packer, value);
        }
        break;
    case JSON_ARRAY:
        msgpack_pack_array(packer, json_array_size(json));
        json_array_foreach(json, i, value) pack(packer, value);
        break;
    case JSON_STRING: pack_text(packer, json_string_value(json), json_string_length(json)); break;
    case JSON_INTEGER: msgpack_pack_int64(packer, json_integer_value(json)); break;
    case JSON_REAL: msgpack_pack_double(packer, json_real_value(json)); break;
    case JSON_TRUE: msgpack_pack_true(packer); break;
    case JSON_FALSE: msgpack_pack_false(packer); break;
    case JSON_NULL: msgpack_pack_nil(packer); break;
    }
}

cbm_buffer wire_text(const char *text)
{
    char *quoted = strdup(text);
    cbm_buffer buffer;
    msgpack_packer packer;
    json_error_t error;
    json_t *json;

    for (char *at = quoted; *at; at++)
        if (*at == '\'')
            *at = '"';
    json = json_loads(quoted, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    cr_assert(json, "%s in %s", error.text, text);
    cbm_buffer_init(&buffer, 1 << 24);
    msgpack_packer_init(&packer, &buffer, append);
    pack(&packer, json);
    json_decref(json);
    free(quoted);
    return buffer;
}

bool wire_equal(const cbm_buffer *one, const cbm_buffer *other)
{
    return one->size == other->size && (one->size == 0 || memcmp(one->data, other->data, one->size) == 0);
}

char *wire_json(const cbm_buffer *buffer)
{
    cbm_buffer json;
    char *line;

    cbm_buffer_init(&json, 1 << 24);
    cr_assert_eq(cbm_text_from_reply(buffer->data, buffer->size, &json), 0);
    line = strndup((char *)json.data, json.size);
    cbm_buffer_deinit(&json);
    return line;
}

static void fill(uint8_t *bytes, size_t size, uint8_t first)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(first + i);
}

static cbm_report_message full_report(const char *name, uint64_t sequence)
{
    cbm_report_message report = {
        .permit_size = CBM_PERMIT_MAX,
        .outcome = CBM_CORE_TIMEOUT,
        .duration_ns = 12500001,
        .error_text = "connection refused: b\xc3\xa4h",
        .open_for_ms = 30000,
        .has_client = true,
        .sequence = sequence,
        .has_incarnation = true,
        .late = true,
        .count = 3,
    };

    snprintf(report.name, sizeof(report.name), "%s", name);
    fill(report.permit, sizeof(report.permit), 1);
    fill(report.client, sizeof(report.client), 40);
    fill(report.incarnation, sizeof(report.incarnation), 80);
    return report;
}

static void fill_policy(cbm_core_policy_request *policy)
{
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
        int error;

        if (row->kind == CBM_CORE_FIELD_WORD)
            error = cbm_core_policy_set_word(policy, field, row->words[1], strlen(row->words[1]));
        else
            error = cbm_core_policy_set_number(policy, field, (double)row->maximum / row->scale);
        cr_assert_eq(error, 0, "%s", row->name);
    }
}

cbm_request full_request(cbm_operation op)
{
    cbm_request request = {
        .op = op,
        .given = cbm_operations[op].takes & ~CBM_FIELD(REPORTS),
        .name = "ha_api",
        .correlation_id = "request 7",
        .entry = 0,
        .lease_ms = 0,
        .pattern = "ha_*",
        .after = "ha_a",
        .limit = CBM_PAGE_MAX,
        .reason = "maintenance until 6 o'clock",
        .for_ms = 3600000,
    };

    if (request.given & CBM_FIELD(POLICY))
        fill_policy(&request.policy);
    if (request.given & CBM_FIELD(REPORT))
        request.report = full_report("ha_api", UINT64_MAX);
    request.given |= CBM_FIELD(CORRELATION_ID);
    fill(request.ledger, sizeof(request.ledger), 100);
    return request;
}

cbm_request full_reports_request(size_t count)
{
    cbm_request request = {.op = CBM_OP_CALL_REPORT, .given = CBM_FIELD(REPORTS), .report_count = count};
    char name[32];

    request.reports = calloc(count, sizeof(*request.reports));
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "breaker %zu", i);
        request.reports[i] = full_report(name, i + 1);
    }
    return request;
}

cbm_core_status full_status(const char *name)
{
    cbm_core_policy_request asked = {0};
    cbm_core_status status = {
        .state = CBM_CORE_OPEN,
        .failures = 3,
        .threshold = 5,
        .retry_after_ns = 29999 * CBM_CORE_NS_PER_MS,
        .due = true,
        .failure_rate = 33.3,
        .slow_call_rate = 12.5,
        .calls = 1000,
        .would_open = true,
        .epoch = 77,
        .slot = 4,
        .slot_generation = 9,
        .permits_out = 1,
        .policy_source = CBM_CORE_SOURCE_CONFIG,
        .reason = "by hand",
        .control_ends_ns = 5 * CBM_CORE_NS_PER_S,
        .last_failure_ns_ago = 125 * CBM_CORE_NS_PER_MS,
        .last_error_text = "timed out",
        .statistics = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, UINT64_MAX, .p50_ms = 1.5, .p90_ms = 20,
                       .p99_ms = 300.25},
    };

    snprintf(status.name, sizeof(status.name), "%s", name);
    fill_policy(&asked);
    status.policy = asked.values;
    for (int from = 0; from < CBM_CORE_STATES; from++) {
        status.statistics.time_in_state_ns[from] = from * CBM_CORE_NS_PER_S;
        for (int to = 0; to < CBM_CORE_STATES; to++)
            status.statistics.transitions[from][to] = (uint64_t)(from * 10 + to);
    }
    return status;
}

static void fill_page(cbm_page_reply *page)
{
    page->stats = (cbm_core_stats){1234, 5, 2, 1000, 100, 1000, 65536, 8, 3};
    page->count = 3;
    page->statuses = calloc(page->count, sizeof(*page->statuses));
    page->statuses[0] = full_status("alexa_api");
    page->statuses[1] = full_status("ha_api");
    page->statuses[2] = full_status("mit Umlaut \xc3\xa4");
    page->more = true;
    strcpy(page->next, "mit Umlaut \xc3\xa4");
}

cbm_reply full_reply(cbm_reply_kind kind)
{
    cbm_reply reply = {.kind = kind, .message = "well"};

    switch (kind) {
    case CBM_REPLY_NONE:
    case CBM_REPLY_PONG: break;
    case CBM_REPLY_STATUS: reply.data.status = full_status("ha_api"); break;
    case CBM_REPLY_GET:
        reply.data.get = (cbm_get_reply){full_status("ha_api"), true, CBM_CORE_SOURCE_CONFIG, 0x100005, 12};
        break;
    case CBM_REPLY_BEGIN:
        reply.data.begin = (cbm_begin_reply){.permit_size = CBM_PERMIT_MAX, .state = CBM_CORE_HALF_OPEN, .probe = true};
        fill(reply.data.begin.permit, CBM_PERMIT_MAX, 7);
        break;
    case CBM_REPLY_REPORT:
        reply.data.report.result_count = 2;
        reply.data.report.results = calloc(2, sizeof(cbm_report_result));
        reply.data.report.results[0].state = CBM_CORE_OPEN;
        reply.data.report.results[1].error = CBM_PROTO_E_NOT_FOUND;
        break;
    case CBM_REPLY_STATES:
    case CBM_REPLY_STATS: fill_page(&reply.data.page); break;
    case CBM_REPLY_REMOVED: reply.data.removed = 17; break;
    case CBM_REPLY_RELOAD: reply.data.reload = 3; break;
    case CBM_REPLY_ATTACH:
        reply.data.attach.now_ns = INT64_C(123456789012345);
        fill(reply.data.attach.token, CBM_ID_SIZE, 9);
        break;
    case CBM_REPLY_INFO:
        reply.data.info =
            (cbm_info_reply){"0.1.0", 4711, 86400000, {1, 2, 3}, 65536, 1000, 1000, true, "ipc:///run/cbm/cbm.sock"};
        break;
    }
    return reply;
}

uint64_t test_seed(void)
{
    const char *given = getenv("CBM_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000003;

    fprintf(stderr, "CBM_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* splitmix64 */
uint64_t test_random(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);

    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

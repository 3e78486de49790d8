#include "status.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "document.h"
#include "error.h"
#include "fault.h"

static_assert(sizeof(cbm_core_state) == sizeof(uint32_t), "CBM_TYPE_WORD stores 4 bytes");
static_assert(sizeof(cbm_core_policy_source) == sizeof(uint32_t), "CBM_TYPE_WORD stores 4 bytes");
static_assert(sizeof(cbm_core_policy) == CBM_CORE_POLICY_FIELDS * sizeof(uint32_t),
              "a member for each row of the table");

const char *cbm_state_word(uint32_t state)
{
    return cbm_core_state_name((cbm_core_state)state);
}

const char *cbm_source_word(uint32_t source)
{
    static const char *const words[] = {"created", "existing", "config"};

    return source < sizeof(words) / sizeof(words[0]) ? words[source] : "?";
}

#define AT(member) .offset = offsetof(cbm_core_status, member)
#define TEXT(member) AT(member), .size = sizeof(((cbm_core_status *)0)->member)

typedef enum status_field {
    STATUS_NAME,
    STATUS_STATE,
    STATUS_FAILURES,
    STATUS_THRESHOLD,
    STATUS_TIMEOUT,
    STATUS_TIMEOUT_MS,
    STATUS_RETRY_AFTER_MS,
    STATUS_DUE,
    STATUS_FAILURE_RATE,
    STATUS_SLOW_CALL_RATE,
    STATUS_CALLS,
    STATUS_WOULD_OPEN,
    STATUS_EPOCH,
    STATUS_SLOT,
    STATUS_SLOT_GENERATION,
    STATUS_PERMITS_OUT,
    STATUS_POLICY_SOURCE,
    STATUS_REASON,
    STATUS_CONTROL_ENDS_MS,
    STATUS_LAST_FAILURE_MS_AGO,
    STATUS_LAST_ERROR_TEXT,
    STATUS_FIELDS,
} status_field;

static const cbm_field_row status_rows[STATUS_FIELDS] = {
    [STATUS_NAME] = {"name", CBM_TYPE_NAME, TEXT(name)},
    [STATUS_STATE] = {"state", CBM_TYPE_WORD, AT(state), .maximum = CBM_CORE_STATES - 1, .word = cbm_state_word},
    [STATUS_FAILURES] = {"failures", CBM_TYPE_U32, AT(failures), .maximum = UINT32_MAX},
    [STATUS_THRESHOLD] = {"threshold", CBM_TYPE_U32, AT(threshold), .maximum = UINT32_MAX},
    [STATUS_TIMEOUT] = {"timeout", CBM_TYPE_SECONDS, AT(policy.timeout_ms)},
    [STATUS_TIMEOUT_MS] = {"timeout_ms", CBM_TYPE_U32, AT(policy.timeout_ms), .maximum = UINT32_MAX},
    [STATUS_RETRY_AFTER_MS] = {"retry_after_ms", CBM_TYPE_MS_UP, AT(retry_after_ns)},
    [STATUS_DUE] = {"due", CBM_TYPE_BOOL, AT(due)},
    [STATUS_FAILURE_RATE] = {"failure_rate", CBM_TYPE_NUMBER, AT(failure_rate)},
    [STATUS_SLOW_CALL_RATE] = {"slow_call_rate", CBM_TYPE_NUMBER, AT(slow_call_rate)},
    [STATUS_CALLS] = {"calls", CBM_TYPE_U64, AT(calls), .maximum = UINT64_MAX},
    [STATUS_WOULD_OPEN] = {"would_open", CBM_TYPE_BOOL, AT(would_open)},
    [STATUS_EPOCH] = {"epoch", CBM_TYPE_U32, AT(epoch), .maximum = UINT32_MAX},
    [STATUS_SLOT] = {"slot", CBM_TYPE_U32, AT(slot), .maximum = UINT32_MAX},
    [STATUS_SLOT_GENERATION] = {"slot_generation", CBM_TYPE_U32, AT(slot_generation), .maximum = UINT32_MAX},
    [STATUS_PERMITS_OUT] = {"permits_out", CBM_TYPE_U32, AT(permits_out), .maximum = UINT32_MAX},
    [STATUS_POLICY_SOURCE] = {"policy_source", CBM_TYPE_WORD, AT(policy_source), .maximum = CBM_CORE_SOURCE_CONFIG,
                              .word = cbm_source_word},
    [STATUS_REASON] = {"reason", CBM_TYPE_TEXT, TEXT(reason)},
    [STATUS_CONTROL_ENDS_MS] = {"control_ends_ms", CBM_TYPE_MS_UP, AT(control_ends_ns)},
    [STATUS_LAST_FAILURE_MS_AGO] = {"last_failure_ms_ago", CBM_TYPE_MS_DOWN, AT(last_failure_ns_ago)},
    [STATUS_LAST_ERROR_TEXT] = {"last_error_text", CBM_TYPE_TEXT, TEXT(last_error_text)},
};

#undef AT
#undef TEXT
#define COUNTER(member)                                                                                                \
    {                                                                                                                  \
#member, CBM_TYPE_U64, .offset = offsetof(cbm_core_statistics, member), .maximum = UINT64_MAX                  \
    }
#define QUANTILE(member)                                                                                               \
    {                                                                                                                  \
#member, CBM_TYPE_NUMBER, .offset = offsetof(cbm_core_statistics, member)                                      \
    }

static const cbm_field_row statistics_rows[] = {
    COUNTER(total_calls),       COUNTER(successful_calls), COUNTER(failed_calls),   COUNTER(timeout_calls),
    COUNTER(ignored_calls),     COUNTER(slow_calls),       COUNTER(rejected_calls), COUNTER(half_open_rejected_calls),
    COUNTER(late_reports),      COUNTER(lumped_failures),  COUNTER(leases_expired), COUNTER(abandoned),
    COUNTER(state_transitions), QUANTILE(p50_ms),          QUANTILE(p90_ms),        QUANTILE(p99_ms),
};

#define STATISTICS_ROWS (sizeof(statistics_rows) / sizeof(statistics_rows[0]))
#define ALL_OF(count) ((UINT64_C(1) << (count)) - 1)

/* "CLOSED->OPEN" */
static void pair_name(char *text, size_t size, uint32_t from, uint32_t to)
{
    snprintf(text, size, "%s->%s", cbm_state_word(from), cbm_state_word(to));
}

static void write_transitions(msgpack_packer *packer, const cbm_core_statistics *statistics)
{
    size_t pairs = 0;
    char name[40];

    for (uint32_t from = 0; from < CBM_CORE_STATES; from++)
        for (uint32_t to = 0; to < CBM_CORE_STATES; to++)
            pairs += statistics->transitions[from][to] != 0;
    cbm_pack_text(packer, "transitions");
    msgpack_pack_map(packer, pairs);
    for (uint32_t from = 0; from < CBM_CORE_STATES; from++) {
        for (uint32_t to = 0; to < CBM_CORE_STATES; to++) {
            if (statistics->transitions[from][to] == 0)
                continue;
            pair_name(name, sizeof(name), from, to);
            cbm_pack_text(packer, name);
            msgpack_pack_uint64(packer, statistics->transitions[from][to]);
        }
    }
}

static void write_time_in_state(msgpack_packer *packer, const cbm_core_statistics *statistics)
{
    cbm_pack_text(packer, "time_in_state_ms");
    msgpack_pack_map(packer, CBM_CORE_STATES);
    for (uint32_t state = 0; state < CBM_CORE_STATES; state++) {
        cbm_pack_text(packer, cbm_state_word(state));
        msgpack_pack_int64(packer, statistics->time_in_state_ns[state] / CBM_CORE_NS_PER_MS);
    }
}

static void write_statistics(msgpack_packer *packer, const cbm_core_statistics *statistics)
{
    cbm_pack_text(packer, "statistics");
    msgpack_pack_map(packer, STATISTICS_ROWS + 2);
    cbm_fields_write(packer, statistics_rows, STATISTICS_ROWS, statistics, ALL_OF(STATISTICS_ROWS));
    write_transitions(packer, statistics);
    write_time_in_state(packer, statistics);
}

static void write_policy(msgpack_packer *packer, const cbm_core_policy *policy)
{
    cbm_pack_text(packer, "policy");
    msgpack_pack_map(packer, CBM_CORE_POLICY_FIELDS);
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        cbm_pack_text(packer, cbm_core_policy_table()[i].name);
        cbm_pack_policy_value(packer, policy, i);
    }
}

size_t cbm_status_pairs(void)
{
    return STATUS_FIELDS + 2; /* and policy, statistics */
}

void cbm_status_write(msgpack_packer *packer, const cbm_core_status *status)
{
    cbm_fields_write(packer, status_rows, STATUS_FIELDS, status, ALL_OF(STATUS_FIELDS));
    write_policy(packer, &status->policy);
    write_statistics(packer, &status->statistics);
}

static int read_policy_value(const cbm_core_policy_field *row, const msgpack_object *value, uint32_t *to,
                             cbm_fault *fault)
{
    double number;

    if (row->kind == CBM_CORE_FIELD_WORD) {
        for (uint32_t i = 0; row->words[i]; i++) {
            if (cbm_str_equal(value, row->words[i])) {
                *to = i;
                return 0;
            }
        }
    } else if (cbm_object_number(value, &number)) {
        number = nearbyint(number * row->scale);
        if (number >= 0 && number <= UINT32_MAX) {
            *to = (uint32_t)number;
            return 0;
        }
    }
    return cbm_fault_set(fault, CBM_PROTO_E_INVALID, row->name, "policy.%s is not one", row->name);
}

/* Ranges are not looked at: those of a newer broker may be wider. */
static int read_policy(const msgpack_object *map, cbm_core_policy *policy, cbm_fault *fault)
{
    uint32_t *values = (uint32_t *)policy;
    int error = cbm_map_check(map, "policy", fault);

    for (uint32_t i = 0; !error && i < map->via.map.size; i++) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i];
        int field = cbm_core_policy_find(pair->key.via.str.ptr, pair->key.via.str.size);

        if (field >= 0)
            error = read_policy_value(&cbm_core_policy_table()[field], &pair->val, &values[field], fault);
    }
    return error;
}

/* The state of that name; -1: one of a newer broker. */
static int read_state_name(const char *text, size_t length)
{
    for (uint32_t state = 0; state < CBM_CORE_STATES; state++)
        if (strlen(cbm_state_word(state)) == length && memcmp(cbm_state_word(state), text, length) == 0)
            return (int)state;
    return -1;
}

static int read_transitions(const msgpack_object *map, cbm_core_statistics *statistics, cbm_fault *fault)
{
    int error = cbm_map_check(map, "transitions", fault);

    for (uint32_t i = 0; !error && i < map->via.map.size; i++) {
        const msgpack_object_str *key = &map->via.map.ptr[i].key.via.str;
        const msgpack_object *value = &map->via.map.ptr[i].val;
        const char *arrow = key->size > 0 ? memmem(key->ptr, key->size, "->", 2) : NULL;
        int from, to;

        if (!arrow)
            continue;
        from = read_state_name(key->ptr, (size_t)(arrow - key->ptr));
        to = read_state_name(arrow + 2, key->size - (size_t)(arrow - key->ptr) - 2);
        if (from < 0 || to < 0)
            continue;
        if (value->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return cbm_fault_set(fault, CBM_PROTO_E_INVALID, "transitions", "transitions must be counts");
        statistics->transitions[from][to] = value->via.u64;
    }
    return error;
}

static int read_time_in_state(const msgpack_object *map, cbm_core_statistics *statistics, cbm_fault *fault)
{
    int error = cbm_map_check(map, "time_in_state_ms", fault);

    for (uint32_t i = 0; !error && i < map->via.map.size; i++) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i];
        int state = read_state_name(pair->key.via.str.ptr, pair->key.via.str.size);

        if (state < 0)
            continue;
        if (pair->val.type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
            pair->val.via.u64 > (uint64_t)(INT64_MAX / CBM_CORE_NS_PER_MS))
            return cbm_fault_set(fault, CBM_PROTO_E_INVALID, "time_in_state_ms",
                                 "time_in_state_ms must be milliseconds");
        statistics->time_in_state_ns[state] = (int64_t)pair->val.via.u64 * CBM_CORE_NS_PER_MS;
    }
    return error;
}

static int read_statistics(const msgpack_object *map, cbm_core_statistics *statistics, cbm_fault *fault)
{
    const msgpack_object *nested;
    uint64_t seen;
    int error = cbm_map_check(map, "statistics", fault);

    if (!error)
        error = cbm_fields_read(statistics_rows, STATISTICS_ROWS, map, statistics, &seen, "statistics.", fault);
    if (!error && (nested = cbm_map_find(map, "transitions")))
        error = read_transitions(nested, statistics, fault);
    if (!error && (nested = cbm_map_find(map, "time_in_state_ms")))
        error = read_time_in_state(nested, statistics, fault);
    return error;
}

int cbm_status_read(const msgpack_object *map, cbm_core_status *status, cbm_fault *fault)
{
    const msgpack_object *nested;
    uint64_t seen, needed = UINT64_C(1) << STATUS_NAME | UINT64_C(1) << STATUS_STATE;
    int error;

    *status = (cbm_core_status){
        .failure_rate = -1,
        .slow_call_rate = -1,
        .last_failure_ns_ago = -1,
        .statistics = {.p50_ms = -1, .p90_ms = -1, .p99_ms = -1},
    };
    error = cbm_map_check(map, "state dict", fault);
    if (!error)
        error = cbm_fields_read(status_rows, STATUS_FIELDS, map, status, &seen, "", fault);
    if (!error && (seen & needed) != needed)
        error = cbm_fault_set(fault, CBM_PROTO_E_INVALID, "state", "a state dict without name or state");
    if (!error && (nested = cbm_map_find(map, "policy")))
        error = read_policy(nested, &status->policy, fault);
    if (!error && (nested = cbm_map_find(map, "statistics")))
        error = read_statistics(nested, &status->statistics, fault);
    return error;
}

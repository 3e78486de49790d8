/* Requests from msgpack. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "document.h"
#include "error.h"
#include "fault.h"
#include "request_fields.h"
#include "sp.h"

static int policy_fault(int field, const msgpack_object *value, cbm_fault *fault)
{
    const char *name = cbm_core_policy_table()[field].name;
    char expects[96], shown[CBM_SHOWN_MAX];

    cbm_policy_field_expects(field, expects, sizeof(expects));
    return cbm_fault_set(fault, CBM_PROTO_E_INVALID, name, "%s must be %s, not %s", name, expects,
                         cbm_object_shown(value, shown));
}

/*
 * A number of steps of 1/scale. A float32 that is the nearest one to such a number is taken for it, since it cannot be 33.3
 * itself; a double is left as it is.
 */
static bool read_steps(const msgpack_object *value, double scale, double *number)
{
    double nearest;

    if (!cbm_object_number(value, number))
        return false;
    nearest = nearbyint(*number * scale) / scale;
    if (value->type == MSGPACK_OBJECT_FLOAT32 && (float)nearest == (float)*number)
        *number = nearest;
    return true;
}

static int read_policy_field(int field, const msgpack_object *value, cbm_core_policy_request *policy, cbm_fault *fault)
{
    const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
    double number;
    int error = CBM_CORE_E_INVALID;

    if (row->kind == CBM_CORE_FIELD_WORD) {
        if (value->type == MSGPACK_OBJECT_STR)
            error = cbm_core_policy_set_word(policy, field, value->via.str.ptr, value->via.str.size);
    } else if (row->kind == CBM_CORE_FIELD_NUMBER || value->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
        if (read_steps(value, row->scale, &number))
            error = cbm_core_policy_set_number(policy, field, number);
    }
    return error ? policy_fault(field, value, fault) : 0;
}

static int read_timeout(const msgpack_object *value, cbm_core_policy_request *policy, cbm_fault *fault)
{
    int field = cbm_policy_timeout_field();
    double seconds, ms;
    char shown[CBM_SHOWN_MAX];

    if (policy->given & UINT32_C(1) << field)
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, CBM_TIMEOUT_KEY,
                             "timeout and timeout_ms are the same: give one of them");
    if (!read_steps(value, 1000, &seconds))
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, CBM_TIMEOUT_KEY, "timeout must be a number of seconds, not %s",
                             cbm_object_shown(value, shown));
    ms = cbm_timeout_ms_of(seconds);
    if (ms < 0 || cbm_core_policy_set_number(policy, field, ms) != 0)
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, CBM_TIMEOUT_KEY,
                             "timeout must be a number of seconds from 0.001 to %.15g, in whole milliseconds, not %s",
                             (double)cbm_core_policy_table()[field].maximum / 1000, cbm_object_shown(value, shown));
    return 0;
}

static int read_policy(const msgpack_object *map, cbm_request *request, cbm_fault *fault)
{
    const msgpack_object *timeout;
    int error;

    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i];
        int field = cbm_core_policy_find(pair->key.via.str.ptr, pair->key.via.str.size);

        if (field < 0)
            continue;
        error = read_policy_field(field, &pair->val, &request->policy, fault);
        if (error)
            return error;
    }
    timeout = cbm_map_find(map, CBM_TIMEOUT_KEY);
    if (timeout) {
        error = read_timeout(timeout, &request->policy, fault);
        if (error)
            return error;
    }
    if (request->policy.given)
        request->given |= CBM_FIELD(POLICY);
    return 0;
}

static bool has(uint64_t seen, cbm_report_field field)
{
    return seen >> field & 1;
}

static int report_fault(cbm_fault *fault, const char *prefix, const char *field, const char *why)
{
    char name[64];

    snprintf(name, sizeof(name), "%s%s", prefix, field);
    return cbm_fault_set(fault, CBM_PROTO_E_INVALID, name, "%s%s", name, why);
}

/* What one report's fields owe each other. */
static int check_report(const cbm_report_message *report, uint64_t seen, const char *prefix, cbm_fault *fault)
{
    if (!has(seen, CBM_REPORT_NAME))
        return report_fault(fault, prefix, "name", " is missing");
    if (!has(seen, CBM_REPORT_OUTCOME))
        return report_fault(fault, prefix, "outcome", " is missing");
    if (has(seen, CBM_REPORT_CLIENT) && !has(seen, CBM_REPORT_SEQUENCE))
        return report_fault(fault, prefix, "sequence", " is missing: it goes with client");
    if (has(seen, CBM_REPORT_SEQUENCE) && !has(seen, CBM_REPORT_CLIENT))
        return report_fault(fault, prefix, "client", " is missing: it goes with sequence");
    if (report->count > 1 && !report->late)
        return report_fault(fault, prefix, "count", " above 1 goes with late only");
    return 0;
}

static int read_report(const msgpack_object *map, cbm_report_message *report, uint64_t *seen, const char *prefix,
                       cbm_fault *fault)
{
    int error;

    *report = (cbm_report_message){.duration_ns = -1, .count = 1};
    error = cbm_fields_read(cbm_report_rows, CBM_REPORT_FIELDS, map, report, seen, prefix, fault);
    report->has_client = has(*seen, CBM_REPORT_CLIENT);
    report->has_incarnation = has(*seen, CBM_REPORT_INCARNATION);
    return error;
}

static int read_reports(const msgpack_object *array, cbm_request *request, cbm_fault *fault)
{
    size_t count = array->via.array.size;

    if (array->type != MSGPACK_OBJECT_ARRAY || count < 1 || count > CBM_REPORTS_MAX)
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, "reports", "reports must be an array of 1 to %d maps",
                             CBM_REPORTS_MAX);
    request->reports = calloc(count, sizeof(*request->reports));
    if (!request->reports)
        return cbm_fault_set(fault, CBM_PROTO_E_NOMEM, NULL, "%s", cbm_proto_error_sentence(CBM_PROTO_E_NOMEM));
    request->report_count = count;
    request->given |= CBM_FIELD(REPORTS);
    for (size_t i = 0; i < count; i++) {
        char name[24], prefix[25];
        uint64_t seen;
        int error;

        snprintf(name, sizeof(name), "reports[%zu]", i);
        snprintf(prefix, sizeof(prefix), "%s.", name);
        error = cbm_map_check(&array->via.array.ptr[i], name, fault);
        if (!error)
            error = read_report(&array->via.array.ptr[i], &request->reports[i], &seen, prefix, fault);
        if (!error)
            error = check_report(&request->reports[i], seen, prefix, fault);
        if (error)
            return error;
    }
    return 0;
}

/* Either the fields of one report, or `reports`. */
static int read_one_or_more_reports(const msgpack_object *map, cbm_request *request, cbm_fault *fault)
{
    const msgpack_object *reports = cbm_map_find(map, "reports");
    uint64_t seen;
    int error = read_report(map, &request->report, &seen, "", fault);

    if (error)
        return error;
    if (reports && seen)
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, "reports",
                             "the fields of a report stand in its map in reports");
    if (reports)
        return read_reports(reports, request, fault);
    error = check_report(&request->report, seen, "", fault);
    if (error)
        return error;
    memcpy(request->name, request->report.name, sizeof(request->name));
    request->given |= CBM_FIELD(REPORT);
    return 0;
}

static int read_op(const msgpack_object *map, cbm_request *request, cbm_fault *fault)
{
    const msgpack_object *op = cbm_map_find(map, "op");
    int found;

    if (!op)
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, "op", "op is missing");
    if (op->type != MSGPACK_OBJECT_STR || !cbm_core_text_valid(op->via.str.ptr, op->via.str.size))
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, "op", "op must be a UTF-8 text");
    found = cbm_operation_find(op->via.str.ptr, op->via.str.size);
    if (found < 0)
        return cbm_fault_set(fault, CBM_PROTO_E_UNKNOWN_OP, "op", "there is no operation \"%.*s\"",
                             op->via.str.size > 64 ? 64 : (int)op->via.str.size, op->via.str.ptr);
    request->op = (cbm_operation)found;
    return 0;
}

/* The fields that have a row of their own and that the operation takes; the others are nobody's business. */
static int read_plain_fields(const msgpack_object *map, cbm_request *request, uint32_t takes, cbm_fault *fault)
{
    for (; takes; takes &= takes - 1) {
        int field = __builtin_ctz(takes);
        const cbm_field_row *row = &cbm_request_rows[field];
        const msgpack_object *value = row->name ? cbm_map_find(map, row->name) : NULL;
        int error = value ? cbm_field_read(row, value, request, "", fault) : 0;

        if (error)
            return error;
        if (value)
            request->given |= UINT32_C(1) << field;
    }
    return 0;
}

static int check_required(const cbm_request *request, uint32_t requires, cbm_fault *fault)
{
    for (int field = 0; field < CBM_REQUEST_NONE; field++) {
        const char *name = cbm_request_rows[field].name;

        if (requires & ~request->given & UINT32_C(1) << field)
            return cbm_fault_set(fault, CBM_PROTO_E_INVALID, name, "%s is missing", name);
    }
    return 0;
}

static int read_request(const msgpack_object *root, cbm_request *request, cbm_fault *fault)
{
    const cbm_operation_row *operation;
    int error = cbm_map_check(root, NULL, fault);

    if (!error)
        error = read_plain_fields(root, request, CBM_FIELD(CORRELATION_ID), fault);
    if (!error)
        error = read_op(root, request, fault);
    if (error)
        return error;
    operation = &cbm_operations[request->op];
    error = read_plain_fields(root, request, operation->takes, fault);
    if (!error && operation->takes & CBM_FIELD(POLICY))
        error = read_policy(root, request, fault);
    if (!error && operation->takes & CBM_FIELD(REPORTS))
        error = read_one_or_more_reports(root, request, fault);
    if (!error)
        error = check_required(request, operation->requires, fault);
    return error;
}

int cbm_request_decode(const void *bytes, size_t size, cbm_request *request, cbm_fault *fault)
{
    cbm_document document;
    int error;

    *fault = (cbm_fault){0};
    *request = (cbm_request){.op = CBM_OP_COUNT, .limit = CBM_PAGE_DEFAULT};
    error = cbm_document_open(&document, bytes, size, CBM_REQUEST_MAX, fault);
    if (error)
        return error;
    error = read_request(&document.root, request, fault);
    if (error)
        cbm_request_deinit(request);
    cbm_document_close(&document);
    return error;
}

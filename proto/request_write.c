/* Requests to msgpack. */
#include <string.h>

#include "error.h"
#include "request_fields.h"
#include "sp.h"

static size_t bits(uint64_t set)
{
    return (size_t)__builtin_popcountll(set);
}

static void write_policy(msgpack_packer *packer, const cbm_core_policy_request *policy)
{
    const cbm_core_policy_field *rows = cbm_core_policy_table();

    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        if (!(policy->given & UINT32_C(1) << i))
            continue;
        cbm_pack_text(packer, rows[i].name);
        cbm_pack_policy_value(packer, &policy->values, i);
    }
}

/* The fields of a report that say something. */
static uint64_t report_fields(const cbm_report_message *report)
{
    uint64_t fields = UINT64_C(1) << CBM_REPORT_NAME | UINT64_C(1) << CBM_REPORT_OUTCOME;

    fields |= (uint64_t)(report->permit_size > 0) << CBM_REPORT_PERMIT;
    fields |= (uint64_t)(report->duration_ns >= 0) << CBM_REPORT_DURATION_MS;
    fields |= (uint64_t)(report->error_text[0] != '\0') << CBM_REPORT_ERROR_TEXT;
    fields |= (uint64_t)(report->open_for_ms > 0) << CBM_REPORT_OPEN_FOR_MS;
    fields |= (uint64_t)report->has_client << CBM_REPORT_CLIENT;
    fields |= (uint64_t)report->has_client << CBM_REPORT_SEQUENCE;
    fields |= (uint64_t)report->has_incarnation << CBM_REPORT_INCARNATION;
    fields |= (uint64_t)report->late << CBM_REPORT_LATE;
    fields |= (uint64_t)(report->count > 1) << CBM_REPORT_COUNT;
    return fields;
}

static void write_reports(msgpack_packer *packer, const cbm_report_message *reports, size_t count)
{
    msgpack_pack_array(packer, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t fields = report_fields(&reports[i]);

        msgpack_pack_map(packer, bits(fields));
        cbm_fields_write(packer, cbm_report_rows, CBM_REPORT_FIELDS, &reports[i], fields);
    }
}

static void write_request(msgpack_packer *packer, const cbm_request *request)
{
    uint32_t several = CBM_FIELD(POLICY) | CBM_FIELD(REPORT) | CBM_FIELD(REPORTS);
    uint32_t plain = request->given & ~several;
    uint32_t policy = request->given & CBM_FIELD(POLICY) ? request->policy.given : 0;
    uint64_t report = request->given & CBM_FIELD(REPORT) ? report_fields(&request->report) : 0;
    bool reports = request->given & CBM_FIELD(REPORTS);

    if (request->correlation_id[0] != '\0')
        plain |= CBM_FIELD(CORRELATION_ID);
    msgpack_pack_map(packer, 1 + bits(plain) + bits(policy) + bits(report) + reports);
    cbm_pack_text(packer, "op");
    cbm_pack_text(packer, cbm_operations[request->op].name);
    cbm_fields_write(packer, cbm_request_rows, CBM_REQUEST_NONE, request, plain);
    if (policy)
        write_policy(packer, &request->policy);
    if (report)
        cbm_fields_write(packer, cbm_report_rows, CBM_REPORT_FIELDS, &request->report, report);
    if (reports) {
        cbm_pack_text(packer, "reports");
        write_reports(packer, request->reports, request->report_count);
    }
}

int cbm_request_encode(const cbm_request *request, cbm_buffer *buffer)
{
    msgpack_packer packer;
    size_t start = buffer->size;

    if ((unsigned)request->op >= CBM_OP_COUNT)
        return CBM_PROTO_E_INVALID;
    cbm_packer_init(&packer, buffer);
    write_request(&packer, request);
    return cbm_buffer_settle(buffer, start, CBM_REQUEST_MAX);
}

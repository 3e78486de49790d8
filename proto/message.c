#include "message.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"

const cbm_operation_row cbm_operations[CBM_OP_COUNT] = {
#define CBM_OPERATION(symbol, name, positional, takes, requires, reply, flags, help)                                   \
    {#name, CBM_REQUEST_##positional, takes, requires, CBM_REPLY_##reply, flags, help},
#include "operations.def"
#undef CBM_OPERATION
};

int cbm_operation_find(const char *name, size_t length)
{
    for (int i = 0; i < CBM_OP_COUNT; i++)
        if (strlen(cbm_operations[i].name) == length && memcmp(cbm_operations[i].name, name, length) == 0)
            return i;
    return -1;
}

void cbm_request_deinit(cbm_request *request)
{
    free(request->reports);
    request->reports = NULL;
    request->report_count = 0;
}

void cbm_reply_deinit(cbm_reply *reply)
{
    /* The union's pointers exist only where the reply has data, which an error has not. */
    if (reply->error)
        return;
    if (reply->kind == CBM_REPLY_REPORT) {
        free(reply->data.report.results);
        reply->data.report.results = NULL;
        reply->data.report.result_count = 0;
    } else if (reply->kind == CBM_REPLY_STATES || reply->kind == CBM_REPLY_STATS) {
        free(reply->data.page.users);
        reply->data.page.users = NULL;
        reply->data.page.user_count = 0;
        free(reply->data.page.statuses);
        reply->data.page.statuses = NULL;
        reply->data.page.count = 0;
    }
}

void cbm_reply_fail(cbm_reply *reply, int error, const char *message)
{
    cbm_reply_deinit(reply);
    reply->error = error ? error : CBM_PROTO_E_INTERNAL;
    reply->kind = CBM_REPLY_NONE;
    if (!message || !*message)
        message = cbm_proto_error_sentence(reply->error);
    cbm_core_text_copy(reply->message, sizeof(reply->message), message, strlen(message));
}

int64_t cbm_ms_round_up(int64_t ns)
{
    if (ns < 0)
        return -1;
    return ns / CBM_CORE_NS_PER_MS + (ns % CBM_CORE_NS_PER_MS != 0);
}

#define PERMIT_INCARNATION 8 /* bytes of it in a permit: enough to tell two brokers of one host apart */

size_t cbm_permit_write(uint8_t bytes[CBM_PERMIT_MAX], const cbm_core_permit *permit,
                        const uint8_t incarnation[CBM_ID_SIZE])
{
    cbm_put_le(bytes, 4, permit->slot);
    cbm_put_le(bytes + 4, 4, permit->slot_generation);
    cbm_put_le(bytes + 8, 4, permit->epoch);
    cbm_put_le(bytes + 12, 4, permit->flags);
    cbm_put_le(bytes + 16, 8, permit->id);
    memcpy(bytes + 24, incarnation, PERMIT_INCARNATION);
    return 24 + PERMIT_INCARNATION;
}

bool cbm_permit_read(const uint8_t *bytes, size_t size, const uint8_t incarnation[CBM_ID_SIZE], cbm_core_permit *permit,
                     bool *ours)
{
    if (size != 24 + PERMIT_INCARNATION)
        return false;
    *permit = (cbm_core_permit){
        .slot = (uint32_t)cbm_get_le(bytes, 4),
        .slot_generation = (uint32_t)cbm_get_le(bytes + 4, 4),
        .epoch = (uint32_t)cbm_get_le(bytes + 8, 4),
        .flags = (uint32_t)cbm_get_le(bytes + 12, 4),
        .id = cbm_get_le(bytes + 16, 8),
    };
    *ours = memcmp(bytes + 24, incarnation, PERMIT_INCARNATION) == 0;
    return true;
}

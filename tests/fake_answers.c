/* What a broker answers that finds every breaker CLOSED. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec.h"
#include "error.h"
#include "fake_broker.h"
#include "sp.h"

#define MUST(condition)                                                                                                \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

static void fill_status(cbm_core_status *status, const char *name)
{
    cbm_core_policy_request none = {0};
    int field;

    strcpy(status->name, name);
    MUST(cbm_core_policy_resolve(&none, &status->policy, &field) == 0);
    status->threshold = 5;
    status->failure_rate = status->slow_call_rate = -1;
    status->last_failure_ns_ago = -1;
    status->statistics.p50_ms = status->statistics.p90_ms = status->statistics.p99_ms = -1;
}

void fake_ordinary(const fake_peer *peer, cbm_reply *reply)
{
    const cbm_request *request = &peer->request;

    memset(reply, 0, sizeof(*reply));
    if (request->op == CBM_OP_COUNT) {
        cbm_reply_fail(reply, CBM_PROTO_E_INVALID, "what is that?");
        return;
    }
    reply->kind = cbm_operations[request->op].reply;
    switch (reply->kind) {
    case CBM_REPLY_STATUS: fill_status(&reply->data.status, request->name); break;
    case CBM_REPLY_GET:
        fill_status(&reply->data.get.status, request->name);
        reply->data.get.created = true;
        reply->data.get.entry = -1;
        break;
    case CBM_REPLY_BEGIN:
        reply->data.begin.permit_size = CBM_PERMIT_MAX;
        memset(reply->data.begin.permit, fake_broker_incarnation(peer->broker), CBM_PERMIT_MAX);
        break;
    case CBM_REPLY_REPORT:
        reply->data.report.stored = true;
        reply->data.report.result_count = request->report_count;
        if (request->report_count)
            reply->data.report.results = calloc(request->report_count, sizeof(*reply->data.report.results));
        break;
    case CBM_REPLY_INFO:
        strcpy(reply->data.info.version, "0.0.0");
        reply->data.info.pid = (uint32_t)getpid();
        memset(reply->data.info.incarnation, fake_broker_incarnation(peer->broker), CBM_ID_SIZE);
        strcpy(reply->data.info.address, fake_broker_address(peer->broker));
        break;
    default: break;
    }
}

size_t fake_frame(const fake_peer *peer, uint32_t id, const cbm_reply *reply, uint8_t *frame, size_t size)
{
    uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX];
    cbm_buffer body;
    size_t header_size;
    size_t total;

    (void)peer;
    cbm_buffer_init(&body, CBM_REPLY_MAX);
    MUST(cbm_reply_encode(reply, &body) == 0);
    header_size = cbm_sp_frame_write_id(header, id, body.size);
    total = header_size + body.size;
    MUST(total <= size);
    memcpy(frame, header, header_size);
    memcpy(frame + header_size, body.data, body.size);
    cbm_buffer_deinit(&body);
    return total;
}

void fake_answer_to(fake_peer *peer, uint32_t id, const cbm_reply *reply)
{
    uint8_t frame[64 * 1024];

    fake_send(peer, frame, fake_frame(peer, id, reply, frame, sizeof(frame)));
}

void fake_answer(fake_peer *peer)
{
    cbm_reply reply;

    fake_ordinary(peer, &reply);
    fake_answer_to(peer, peer->id, &reply);
    cbm_reply_deinit(&reply);
}

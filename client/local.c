#include "local.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "random.h"

#define TICK_MOST 16 /* idle breakers expire by the way, a few at a call */

int cbm_local_init(cbm_local *local)
{
    cbm_core_options options = {0};
    int error;

    cbm_random(local->incarnation, sizeof(local->incarnation));
    cbm_random(&options.seed, sizeof(options.seed));
    error = cbm_core_manager_new(&local->manager, &options);
    if (error)
        local->manager = NULL;
    return error;
}

void cbm_local_deinit(cbm_local *local)
{
    cbm_core_manager_free(local->manager);
    local->manager = NULL;
}

static void answer_error(cbm_reply *reply, int error, int64_t retry_after_ns)
{
    cbm_reply_fail(reply, error, NULL);
    switch (error) {
    case CBM_PROTO_E_OPEN:
    case CBM_PROTO_E_HALF_OPEN_FULL:
    case CBM_PROTO_E_FORCED_OPEN:
    case CBM_PROTO_E_RATE_LIMITED:
        reply->has_retry_after = true;
        reply->retry_after_ms = cbm_ms_round_up(retry_after_ns);
        break;
    default: break;
    }
}

static int answer_status(cbm_local *local, const char *name, int64_t now_ns, cbm_reply *reply)
{
    return cbm_core_state_of(local->manager, name, now_ns, &reply->data.status);
}

static int get(cbm_local *local, const cbm_request *request, int64_t now_ns, cbm_reply *reply)
{
    cbm_core_get_result result;
    int error = cbm_core_get(local->manager, request->name, &request->policy, now_ns, &result);

    if (error)
        return error;
    reply->data.get = (cbm_get_reply){
        .status = result.status,
        .created = result.created,
        .policy_source = result.policy_source,
        .differs = result.differing,
        .entry = -1,
    };
    return 0;
}

static int call_begin(cbm_local *local, const cbm_request *request, uint64_t holder, int64_t now_ns, cbm_reply *reply)
{
    cbm_core_begin begin = {
        .holder = holder,
        .lease_given = (request->given & CBM_FIELD(LEASE_MS)) != 0,
        .lease_ms = request->lease_ms,
        .policy = &request->policy,
    };
    cbm_core_decision decision = {0};
    int error = cbm_core_call_begin(local->manager, request->name, &begin, now_ns, &decision);

    if (error) {
        answer_error(reply, error, decision.retry_after_ns);
        return 0;
    }
    reply->data.begin.state = decision.state;
    reply->data.begin.probe = decision.probe;
    reply->data.begin.permit_size = cbm_permit_write(reply->data.begin.permit, &decision.permit, local->incarnation);
    return 0;
}

/* Where a report would create the breaker, it is created with its policy first. */
static void create_with_policy(cbm_local *local, const cbm_request *request, int64_t now_ns)
{
    const char *name = request->report.name;
    cbm_core_status status;

    if (request->policy.given && cbm_core_state_of(local->manager, name, now_ns, &status) == CBM_CORE_E_NOT_FOUND)
        cbm_core_adopt(local->manager, name, &request->policy, CBM_CORE_CLOSED, 0, now_ns);
}

static int call_report(cbm_local *local, const cbm_request *request, int64_t now_ns, cbm_reply *reply)
{
    const cbm_report_message *message = &request->report;
    cbm_core_report report = {
        .outcome = message->outcome,
        .duration_ns = message->duration_ns,
        .text = message->error_text[0] ? message->error_text : NULL,
        .open_for_ms = message->open_for_ms,
    };
    cbm_core_permit permit;
    bool ours = false;

    if (message->permit_size &&
        !(cbm_permit_read(message->permit, message->permit_size, local->incarnation, &permit, &ours) && ours))
        return CBM_PROTO_E_INVALID;
    if (!message->permit_size)
        create_with_policy(local, request, now_ns);
    reply->data.report.stored = true;
    return cbm_core_call_report(local->manager, message->name, message->permit_size ? &permit : NULL, &report, now_ns,
                                &reply->data.report.state);
}

static int page(cbm_local *local, const cbm_request *request, int64_t now_ns, cbm_page_reply *page)
{
    size_t limit = request->limit ? request->limit : CBM_PAGE_DEFAULT;

    page->statuses = malloc(limit * sizeof(*page->statuses));
    if (!page->statuses)
        return CBM_PROTO_E_NOMEM;
    page->count = cbm_core_states(local->manager, request->pattern, request->after, limit, now_ns, page->statuses,
                                  page->next, &page->more);
    cbm_core_stats_get(local->manager, now_ns, &page->stats);
    return 0;
}

static int configure(cbm_local *local, const cbm_request *request, int64_t now_ns, cbm_reply *reply)
{
    int field = -1;
    int error = cbm_core_configure(local->manager, request->name, &request->policy, now_ns, &field);

    return error ? error : answer_status(local, request->name, now_ns, reply);
}

static int control(cbm_local *local, const cbm_request *request, cbm_core_control control, int64_t now_ns,
                   cbm_reply *reply)
{
    int error = cbm_core_control_set(local->manager, request->name, control, request->reason, request->for_ms, now_ns);

    return error ? error : answer_status(local, request->name, now_ns, reply);
}

static int reset(cbm_local *local, const cbm_request *request, int64_t now_ns, cbm_reply *reply)
{
    int error = cbm_core_reset(local->manager, request->name, now_ns);

    return error ? error : answer_status(local, request->name, now_ns, reply);
}

static int reset_all(cbm_local *local, int64_t now_ns)
{
    cbm_core_reset_all(local->manager, now_ns);
    return 0;
}

bool cbm_local_serves(cbm_operation op)
{
    switch (op) {
    case CBM_OP_ATTACH:
    case CBM_OP_DETACH:
    case CBM_OP_PULL:
    case CBM_OP_RELOAD:
    case CBM_OP_PING:
    case CBM_OP_INFO: return false;
    default: return true;
    }
}

static int execute(cbm_local *local, const cbm_request *request, uint64_t holder, int64_t now_ns, cbm_reply *reply)
{
    switch (request->op) {
    case CBM_OP_GET: return get(local, request, now_ns, reply);
    case CBM_OP_CALL_BEGIN: return call_begin(local, request, holder, now_ns, reply);
    case CBM_OP_CALL_REPORT: return call_report(local, request, now_ns, reply);
    case CBM_OP_STATES:
    case CBM_OP_STATS: return page(local, request, now_ns, &reply->data.page);
    case CBM_OP_RESET: return reset(local, request, now_ns, reply);
    case CBM_OP_RESET_ALL: return reset_all(local, now_ns);
    case CBM_OP_RESET_MANAGER: return cbm_core_reset_manager(local->manager, now_ns);
    case CBM_OP_CONFIGURE: return configure(local, request, now_ns, reply);
    case CBM_OP_REMOVE: return cbm_core_remove(local->manager, request->pattern, now_ns, &reply->data.removed);
    case CBM_OP_FORCE_OPEN: return control(local, request, CBM_CORE_CONTROL_FORCE_OPEN, now_ns, reply);
    case CBM_OP_DISABLE: return control(local, request, CBM_CORE_CONTROL_DISABLE, now_ns, reply);
    case CBM_OP_METRICS_ONLY: return control(local, request, CBM_CORE_CONTROL_METRICS_ONLY, now_ns, reply);
    case CBM_OP_ENABLE: return control(local, request, CBM_CORE_CONTROL_ENABLE, now_ns, reply);
    default: return CBM_PROTO_E_UNSUPPORTED;
    }
}

void cbm_local_execute(cbm_local *local, const cbm_request *request, uint64_t holder, int64_t now_ns, cbm_reply *reply)
{
    int error;

    memset(reply, 0, sizeof(*reply));
    reply->kind = cbm_operations[request->op].reply;
    if (now_ns >= cbm_core_next_deadline(local->manager))
        cbm_core_tick(local->manager, now_ns, TICK_MOST);
    error = execute(local, request, holder, now_ns, reply);
    if (error)
        answer_error(reply, error, 0);
}

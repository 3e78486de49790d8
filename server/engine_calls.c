/* Calls: get, begin, report. */
#include "engine_inner.h"

#include <string.h>

#include "engine_store.h"
#include "error.h"

int cbm_engine_get(cbm_engine *engine, cbm_caller *caller, const char *name, const cbm_core_policy_request *policy,
                   cbm_ledger_claim *claim, cbm_core_get_result *result)
{
    int64_t now_ns = cbm_engine_enter(engine, caller);
    int error;

    if (policy && policy->values.policy_version > 0) /* it may replace the one in force */
        cbm_engine_hold_name(engine, name, now_ns);
    (void)cbm_engine_pull_name(engine, name, CBM_LEDGER_ALL, now_ns);
    error = cbm_core_get(engine->manager, name, policy, now_ns, result);
    if (error == 0 && claim)
        cbm_engine_claim(engine, caller, claim, &result->status);
    if (error == 0)
        cbm_engine_store_mark(engine, result->status.slot);
    cbm_engine_leave(engine);
    return error;
}

int cbm_engine_call_begin(cbm_engine *engine, cbm_caller *caller, const char *name, const uint32_t *lease_ms,
                          const cbm_core_policy_request *policy, cbm_core_decision *decision)
{
    cbm_core_begin begin = {
        .lease_given = lease_ms != NULL,
        .lease_ms = lease_ms ? *lease_ms : 0,
        .policy = policy,
    };
    int64_t now_ns = cbm_engine_enter(engine, caller);
    int error;

    begin.holder = cbm_engine_holder_of(engine, caller);
    cbm_engine_pull_if_due(engine, name, now_ns);
    error = cbm_core_call_begin(engine->manager, name, &begin, now_ns, decision);
    if (error == 0)
        cbm_engine_store_mark(engine, decision->permit.slot);
    cbm_engine_leave(engine);
    if (error == 0 && decision->probe && caller->holder)
        caller->holds = true;
    return error;
}

/* The permit of another incarnation names a slot that means something else here, so the core never sees it. */
typedef struct received_permit {
    cbm_core_permit permit;
    bool given;
    bool ours;
} received_permit;

static bool is_foreign(const cbm_engine *engine, const cbm_report_message *message, const received_permit *permit)
{
    if (permit->given && !permit->ours)
        return true;
    return message->has_incarnation && memcmp(message->incarnation, engine->incarnation, CBM_ID_SIZE) != 0;
}

static int state_of(cbm_engine *engine, const char *name, int64_t now_ns, cbm_core_state *state)
{
    cbm_core_status status;
    int error = cbm_core_state_of(engine->manager, name, now_ns, &status);

    *state = error ? CBM_CORE_CLOSED : status.state;
    return error;
}

static int apply_report(cbm_engine *engine, const cbm_report_message *message, const received_permit *permit,
                        int64_t now_ns, cbm_core_state *state)
{
    bool foreign = is_foreign(engine, message, permit);
    cbm_core_report report = {
        .outcome = message->outcome,
        .duration_ns = message->duration_ns,
        .text = message->error_text[0] ? message->error_text : NULL,
        .open_for_ms = foreign ? 0 : message->open_for_ms,
        .late = foreign || message->late,
        .count = message->count,
    };
    int error;

    if (!foreign || !permit->given)
        return cbm_core_call_report(engine->manager, message->name, permit->given ? &permit->permit : NULL, &report,
                                    now_ns, state);
    /* Without its permit the report would create an unknown name; with one of ours it would not. */
    error = state_of(engine, message->name, now_ns, state);
    return error ? error : cbm_core_call_report(engine->manager, message->name, NULL, &report, now_ns, state);
}

int cbm_engine_call_report(cbm_engine *engine, const cbm_caller *caller, const cbm_report_message *message,
                           cbm_core_state *state)
{
    received_permit permit = {.given = message->permit_size > 0};
    int64_t now_ns;
    int error = 0;

    if (permit.given &&
        !cbm_permit_read(message->permit, message->permit_size, engine->incarnation, &permit.permit, &permit.ours))
        return CBM_PROTO_E_INVALID;
    now_ns = cbm_engine_enter(engine, caller);
    if (message->has_client && cbm_replay_seen(&engine->replay, message->client, message->sequence)) {
        (void)state_of(engine, message->name, now_ns, state); /* removed meanwhile: it was applied all the same */
        cbm_engine_store_wait_for_all(engine);
    } else {
        cbm_engine_pull_for_report(engine, message, now_ns);
        error = apply_report(engine, message, &permit, now_ns, state);
        if (error == 0 && message->has_client)
            cbm_replay_mark(&engine->replay, caller->uid, message->client, message->sequence);
        if (error == 0)
            cbm_engine_store_mark_name(engine, message->name);
    }
    cbm_engine_leave(engine);
    return error;
}

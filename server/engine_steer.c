/* Resetting and steering. */
#include "engine_inner.h"

#include <string.h>

#define RESET_SLICE 8
#define REMOVE_SLICE 8
#define RELOAD_SLICE 8
#define RELOAD_AT_ONCE_NS CBM_CORE_NS_PER_MS /* then the others have their turn */

/* ---- By hand: answered with the state dict, read under the same lock ------------------------------------------------ */

static int leave_with_status(cbm_engine *engine, const char *name, int64_t now_ns, int error, cbm_core_status *status)
{
    if (error == 0)
        error = cbm_core_state_of(engine->manager, name, now_ns, status);
    cbm_engine_leave(engine);
    return error;
}

int cbm_engine_reset(cbm_engine *engine, const cbm_caller *caller, const char *name, cbm_core_status *status)
{
    int64_t now_ns = cbm_engine_enter(engine, caller);
    int error;

    cbm_engine_hold_name(engine, name, now_ns);
    (void)cbm_engine_pull_name(engine, name, CBM_LEDGER_ALL, now_ns);
    error = cbm_core_reset(engine->manager, name, now_ns);
    return leave_with_status(engine, name, now_ns, error, status);
}

void cbm_engine_reset_all(cbm_engine *engine, cbm_caller *caller)
{
    int64_t now_ns = cbm_engine_enter(engine, caller);
    uint32_t next = caller->part;
    bool more;

    do {
        cbm_engine_hold(engine, next, now_ns);
        cbm_engine_pull_slot(engine, next, CBM_LEDGER_ALL, now_ns);
        more = cbm_core_reset_part(engine->manager, &next, 1, now_ns);
    } while (more && (next % RESET_SLICE || cbm_clock_ns() < now_ns + CBM_PART_NS));
    caller->next_part = more ? next : 0;
    cbm_engine_leave(engine);
}

/* In one go: whoever sees one breaker gone must not see another that was there before, nor lose what it makes anew. */
int cbm_engine_reset_manager(cbm_engine *engine, const cbm_caller *caller)
{
    int64_t now_ns = cbm_engine_enter(engine, caller);
    int error;

    cbm_engine_pull_all(engine, now_ns);
    error = cbm_core_reset_manager(engine->manager, now_ns);
    cbm_engine_leave(engine);
    return error;
}

int cbm_engine_control(cbm_engine *engine, const cbm_caller *caller, const char *name, cbm_core_control control,
                       const char *reason, uint32_t for_ms, cbm_core_status *status)
{
    int64_t now_ns = cbm_engine_enter(engine, caller);
    int error;

    cbm_engine_hold_name(engine, name, now_ns);
    (void)cbm_engine_pull_name(engine, name, CBM_LEDGER_ALL, now_ns);
    error = cbm_core_control_set(engine->manager, name, control, reason, for_ms, now_ns);
    return leave_with_status(engine, name, now_ns, error, status);
}

int cbm_engine_configure(cbm_engine *engine, const cbm_caller *caller, const char *name,
                         const cbm_core_policy_request *policy, int *bad_field, cbm_core_status *status)
{
    int64_t now_ns = cbm_engine_enter(engine, caller);
    int error;

    cbm_engine_hold_name(engine, name, now_ns);
    (void)cbm_engine_pull_name(engine, name, CBM_LEDGER_ALL, now_ns);
    error = cbm_core_configure(engine->manager, name, policy, now_ns, bad_field);
    return leave_with_status(engine, name, now_ns, error, status);
}

/* What stands in one slot, if it matches; *slot goes on to the next. As cbm_core_remove_part. */
static int remove_slot(cbm_engine *engine, const char *pattern, uint32_t *slot, int64_t now_ns, uint64_t *removed)
{
    cbm_engine_hold(engine, *slot, now_ns);
    cbm_engine_pull_slot(engine, *slot, CBM_LEDGER_ALL, now_ns);
    return cbm_core_remove_part(engine->manager, pattern, slot, 1, now_ns, removed);
}

static int remove_part(cbm_engine *engine, cbm_caller *caller, const char *pattern, int64_t now_ns)
{
    uint32_t next = caller->part;
    int more;

    do {
        more = remove_slot(engine, pattern, &next, now_ns, &caller->so_far);
    } while (more > 0 && (next % REMOVE_SLICE || cbm_clock_ns() < now_ns + CBM_PART_NS));
    caller->next_part = more > 0 ? next : 0;
    return more < 0 ? more : 0;
}

int cbm_engine_remove(cbm_engine *engine, cbm_caller *caller, const char *pattern, uint64_t *removed)
{
    int64_t now_ns = cbm_engine_enter(engine, caller);
    uint32_t slot;
    int error = 0;

    if (!caller->part)
        caller->so_far = 0;
    if (!strpbrk(pattern, "*?[\\") && cbm_core_find(engine->manager, pattern, &slot) == 0)
        (void)remove_slot(engine, pattern, &slot, now_ns, &caller->so_far);
    else
        error = remove_part(engine, caller, pattern, now_ns);
    *removed = caller->so_far;
    cbm_engine_leave(engine);
    return error;
}

/* ---- By the config file --------------------------------------------------------------------------------------------- */

void cbm_engine_reload(cbm_engine *engine, cbm_config *config)
{
    cbm_config *old;
    uint32_t next = 0;
    bool more;

    cbm_engine_enter(engine, NULL);
    old = engine->config;
    engine->config = config;
    engine->policy_defaults = *cbm_config_defaults(config);
    cbm_engine_leave(engine);
    cbm_config_free(old);
    do {
        int64_t now_ns = cbm_engine_enter(engine, NULL), end_ns = now_ns + RELOAD_AT_ONCE_NS;

        do {
            cbm_engine_pull_range(engine, next, RELOAD_SLICE, now_ns);
            more = cbm_core_reload_part(engine->manager, &next, RELOAD_SLICE, now_ns);
            now_ns = engine->now_ns = cbm_clock_ns();
        } while (more && now_ns < end_ns);
        cbm_engine_leave(engine);
        if (more) /* or the lock would be taken again before those who wait for it have woken up */
            cbm_engine_give_way();
    } while (more);
}

/* What the engine says of its users and of its config file: neither needs its lock. */
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "engine_inner.h"

static cbm_user_usage on_the_wire(const cbm_quota_usage *usage)
{
    return (cbm_user_usage){
        .uid = usage->uid,
        .connections = usage->used[CBM_QUOTA_CONNECTIONS],
        .ledgers = usage->used[CBM_QUOTA_LEDGERS],
        .ledger_bytes = usage->used[CBM_QUOTA_LEDGER_BYTES],
        .pending_bytes = usage->used[CBM_QUOTA_BYTES],
        .breakers = usage->used[CBM_QUOTA_BREAKERS],
        .permits = usage->used[CBM_QUOTA_PERMITS],
        .requests = usage->requests,
        .paced = usage->rests,
        .refused = usage->refused,
    };
}

static cbm_user_limits limits_on_the_wire(const cbm_quota_limits *limits)
{
    return (cbm_user_limits){
        .connections = limits->each[CBM_QUOTA_CONNECTIONS],
        .ledgers = limits->each[CBM_QUOTA_LEDGERS],
        .ledger_bytes = limits->each[CBM_QUOTA_LEDGER_BYTES],
        .pending_bytes = limits->bytes_together / 2, /* as much as is left for others */
        .breakers = limits->each[CBM_QUOTA_BREAKERS],
        .permits = limits->each[CBM_QUOTA_PERMITS],
        .requests_per_s = limits->requests_per_s,
    };
}

void cbm_engine_users(cbm_engine *engine, const cbm_caller *caller, cbm_page_reply *page)
{
    bool all = cbm_access_is_admin(caller);
    cbm_quota_usage *usages = engine->options.quota ? malloc(CBM_USERS_MAX * sizeof *usages) : NULL;
    size_t count;

    page->users = usages ? calloc(CBM_USERS_MAX, sizeof *page->users) : NULL;
    if (page->users) {
        count = cbm_quota_list(engine->options.quota, all ? CBM_NOBODY : caller->uid, usages, CBM_USERS_MAX);
        for (size_t i = 0; i < count; i++)
            page->users[page->user_count++] = on_the_wire(&usages[i]);
        page->user_limits = limits_on_the_wire(cbm_quota_limits_of(engine->options.quota));
        page->has_user_limits = true;
    }
    free(usages);
}

bool cbm_engine_reload_ask(cbm_engine *engine, uint64_t *number)
{
    return engine->options.reload && cbm_reload_ask(engine->options.reload, number);
}

void cbm_engine_reload_info(cbm_engine *engine, cbm_info_reply *info)
{
    cbm_reload_outcome outcome;

    info->has_reload = engine->options.reload && engine->options.reload->possible;
    if (!info->has_reload)
        return;
    cbm_reload_outcome_get(engine->options.reload, &outcome);
    info->reload_asked = outcome.asked;
    info->reload_done = outcome.done;
    info->reload_success = outcome.success;
    cbm_core_text_copy(info->reload_message, sizeof info->reload_message, outcome.message, strlen(outcome.message));
}

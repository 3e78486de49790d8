/* Looking: states, statistics. What ledgers hold is taken first. */
#include "engine_inner.h"

#define AT_ONCE_NS CBM_CORE_NS_PER_MS /* of pulls; then the others have their turn */

/* Releases the lock for a moment when it has been held for long. */
static void give_way_after(cbm_engine *engine, int64_t *end_ns)
{
    if (cbm_clock_ns() < *end_ns)
        return;
    cbm_engine_leave(engine);
    cbm_engine_give_way();
    *end_ns = cbm_engine_enter(engine, NULL) + AT_ONCE_NS;
}

/* Breakers that ledgers hold are read again, now that it is known which they are. One that is gone meanwhile stays as it was. */
static void refresh(cbm_engine *engine, cbm_page_reply *page, int64_t now_ns)
{
    int64_t end_ns = now_ns + AT_ONCE_NS;

    for (size_t i = 0; i < page->count; i++) {
        cbm_core_status *status = &page->statuses[i];
        cbm_core_status again;

        if (!cbm_ledgers_holders(&engine->shared.ledgers, status->slot))
            continue;
        if (!cbm_engine_pull_name(engine, status->name, CBM_LEDGER_ALL, engine->now_ns))
            continue;
        if (cbm_core_state_of(engine->manager, status->name, engine->now_ns, &again) == 0)
            *status = again;
        give_way_after(engine, &end_ns);
    }
}

void cbm_engine_states(cbm_engine *engine, const char *pattern, const char *after, size_t limit, cbm_page_reply *page)
{
    int64_t now_ns = cbm_engine_enter(engine, NULL);

    while (cbm_engine_tick(engine, now_ns)) /* so that nothing is settled of which the ledgers know more */
        continue;
    page->count =
        cbm_core_states(engine->manager, pattern, after, limit, now_ns, page->statuses, page->next, &page->more);
    refresh(engine, page, now_ns);
    cbm_engine_leave(engine);
}

void cbm_engine_pull_ledgers(cbm_engine *engine)
{
    int64_t end_ns = cbm_engine_enter(engine, NULL) + AT_ONCE_NS;

    for (uint32_t slot = 0; slot < engine->shared.ledgers.held_below; slot++) {
        if (!cbm_ledgers_holders(&engine->shared.ledgers, slot))
            continue;
        cbm_engine_pull_slot(engine, slot, CBM_LEDGER_ALL, engine->now_ns);
        give_way_after(engine, &end_ns);
    }
    cbm_engine_leave(engine);
}

void cbm_engine_stats(cbm_engine *engine, cbm_core_stats *stats)
{
    int64_t now_ns = cbm_engine_enter(engine, NULL);

    cbm_core_stats_get(engine->manager, now_ns, stats);
    cbm_engine_leave(engine);
}

int cbm_engine_state_of(cbm_engine *engine, const char *name, cbm_core_status *status)
{
    int64_t now_ns = cbm_engine_enter(engine, NULL);
    int error;

    (void)cbm_engine_pull_name(engine, name, CBM_LEDGER_ALL, now_ns);
    error = cbm_core_state_of(engine->manager, name, now_ns, status);
    cbm_engine_leave(engine);
    return error;
}

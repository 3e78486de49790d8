/* Looking: states, statistics. */
#include "engine_inner.h"

void cbm_engine_states(cbm_engine *engine, const char *pattern, const char *after, size_t limit, cbm_page_reply *page)
{
    int64_t now_ns = cbm_engine_enter(engine, NULL);

    page->count =
        cbm_core_states(engine->manager, pattern, after, limit, now_ns, page->statuses, page->next, &page->more);
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
    int error = cbm_core_state_of(engine->manager, name, now_ns, status);

    cbm_engine_leave(engine);
    return error;
}

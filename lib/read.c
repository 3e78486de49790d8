/* What can be read: states by name or page, and the manager's own numbers. */
#include "manager.h"

#include "glob.h"

#include <string.h>

/* So that a pattern which matches nothing, or is hard to match, holds nobody up: a few milliseconds of either. */
#define PAGE_LOOKS_AT 4096 /* names */
#define PAGE_STEPS (128 * 1024)

/* ---- Reading -------------------------------------------------------------------------------------------------------- */

int cbm_core_state_of(cbm_core_manager *manager, const char *name, int64_t now_ns, cbm_core_status *status)
{
    core_breaker *breaker;
    int error;

    now_ns = core_manager_now(manager, now_ns);
    error = core_manager_find_existing(manager, name, now_ns, &breaker);
    if (error == CBM_CORE_OK) {
        core_breaker_status(&manager->shared, breaker, now_ns, status);
    }
    return error;
}

size_t cbm_core_states(cbm_core_manager *manager, const char *pattern, const char *after, size_t limit, int64_t now_ns,
                       cbm_core_status *statuses, char next[CBM_CORE_NAME_MAX + 1], bool *more)
{
    const core_name_index *index = &manager->registry.in_order;
    core_name_cursor cursor = core_name_index_after(index, after != NULL ? after : "");
    core_name_cursor ahead;
    core_breaker *last = NULL; /* looked at */
    size_t written = 0;
    size_t steps = 0;

    now_ns = core_manager_now(manager, now_ns);
    for (int looked_at = 0; written < limit && looked_at < PAGE_LOOKS_AT && steps < PAGE_STEPS; looked_at++) {
        core_breaker *breaker = core_name_index_next(index, &cursor);

        if (breaker == NULL) {
            break;
        }
        last = breaker;
        if (core_glob_match_counted(pattern, core_breaker_name(breaker), &steps)) {
            core_breaker_settle(&manager->shared, breaker, now_ns);
            core_breaker_status(&manager->shared, breaker, now_ns, &statuses[written++]);
        }
    }
    if (last != NULL) {
        strcpy(next, core_breaker_name(last));
    } else if (next != after) { /* who gives the same array for both goes on where the last page ended */
        cbm_core_text_copy(next, CBM_CORE_NAME_MAX + 1, after, after != NULL ? strlen(after) : 0);
    }
    ahead = cursor;
    *more = core_name_index_next(index, &ahead) != NULL;
    return written;
}

void cbm_core_stats_get(cbm_core_manager *manager, int64_t now_ns, cbm_core_stats *stats)
{
    now_ns = core_manager_now(manager, now_ns);
    *stats = (cbm_core_stats){
        .total_operations = manager->total_operations,
        .breakers_count = manager->registry.count,
        .rate_limited_count = manager->rate_limited_count,
        .rate_limit_window_ms = (uint64_t)(manager->limiter.window_ns / CBM_CORE_NS_PER_MS),
        .current_rate_limit_size = core_limiter_count(&manager->limiter, now_ns),
        .max_rate_limit = manager->limiter.maximum,
        .max_breakers = manager->registry.maximum,
        .breakers_created = manager->created,
        .breakers_removed = manager->removed,
    };
}

#include "limiter.h"

#include "cbm_core.h"

#include <stdlib.h>

int core_limiter_init(core_limiter *limiter, uint32_t maximum, uint32_t window_ms)
{
    *limiter = (core_limiter){.maximum = maximum, .window_ns = window_ms * CBM_CORE_NS_PER_MS};
    if (maximum == 0) {
        return CBM_CORE_OK;
    }
    limiter->times = malloc(maximum * sizeof(*limiter->times));
    return limiter->times != NULL ? CBM_CORE_OK : CBM_CORE_E_NOMEM;
}

void core_limiter_deinit(core_limiter *limiter)
{
    free(limiter->times);
    *limiter = (core_limiter){.maximum = 0};
}

/* Each time is dropped once, so this is O(1) amortized. */
static void forget(core_limiter *limiter, int64_t now_ns)
{
    while (limiter->count > 0 && now_ns - limiter->times[limiter->oldest] >= limiter->window_ns) {
        limiter->oldest = limiter->oldest + 1 == limiter->maximum ? 0 : limiter->oldest + 1;
        limiter->count--;
    }
}

bool core_limiter_has_room(core_limiter *limiter, int64_t now_ns)
{
    if (limiter->maximum == 0) {
        return true;
    }
    forget(limiter, now_ns);
    return limiter->count < limiter->maximum;
}

void core_limiter_take(core_limiter *limiter, int64_t now_ns)
{
    uint32_t newest;

    if (limiter->maximum == 0) {
        return;
    }
    newest = limiter->maximum - limiter->oldest > limiter->count
                 ? limiter->oldest + limiter->count
                 : limiter->count - (limiter->maximum - limiter->oldest);
    limiter->times[newest] = now_ns;
    limiter->count++;
}

int64_t core_limiter_wait_ns(core_limiter *limiter, int64_t now_ns)
{
    if (core_limiter_has_room(limiter, now_ns)) {
        return 0;
    }
    return core_limiter_oldest_ns(limiter, now_ns);
}

int64_t core_limiter_oldest_ns(const core_limiter *limiter, int64_t now_ns)
{
    return limiter->count == 0 ? 0 : limiter->window_ns - (now_ns - limiter->times[limiter->oldest]);
}

uint32_t core_limiter_count(core_limiter *limiter, int64_t now_ns)
{
    forget(limiter, now_ns);
    return limiter->count;
}

void core_limiter_clear(core_limiter *limiter)
{
    limiter->oldest = 0;
    limiter->count = 0;
}

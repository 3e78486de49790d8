/* Which breaker has time's own work to do next: a binary heap. Its room is reserved with the slots, so pushing never fails. */
#ifndef CORE_DEADLINES_H
#define CORE_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

struct core_breaker;

typedef struct core_deadlines {
    struct core_breaker **heap; /* by core_breaker.deadline_ns */
    uint32_t count;
    uint32_t capacity;
} core_deadlines;

#define CORE_NOT_IN_HEAP UINT32_MAX

void core_deadlines_deinit(core_deadlines *deadlines);
/* Room for so many breakers. CBM_CORE_E_NOMEM. */
int core_deadlines_reserve(core_deadlines *deadlines, uint32_t capacity);
/* Sets a breaker's deadline; CBM_CORE_NEVER_NS takes it out. */
void core_deadlines_set(core_deadlines *deadlines, struct core_breaker *breaker, int64_t deadline_ns);
/* The breaker whose deadline is first, NULL: none has one. */
struct core_breaker *core_deadlines_first(const core_deadlines *deadlines);

#endif

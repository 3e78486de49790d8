/*
 * Breakers in the order of their names, for pages: a list of short sorted arrays, so that neither adding nor taking
 * out moves more than a page of memory, however many breakers there are.
 */
#ifndef CORE_NAME_INDEX_H
#define CORE_NAME_INDEX_H

#include <stdint.h>

struct core_breaker;
typedef struct core_name_block core_name_block;

typedef struct core_name_index {
    core_name_block **blocks; /* none is empty */
    uint32_t count;
    uint32_t capacity;
} core_name_index;

/* A place between two names. */
typedef struct core_name_cursor {
    uint32_t block;
    uint32_t at;
} core_name_cursor;

/* CBM_CORE_E_NOMEM: nothing changed. The name must not be there. */
int core_name_index_add(core_name_index *index, struct core_breaker *breaker);
void core_name_index_remove(core_name_index *index, const struct core_breaker *breaker);
void core_name_index_clear(core_name_index *index);

/* The place behind `after` ("": the start), and the breaker at a place, which is moved on; NULL at the end. */
core_name_cursor core_name_index_after(const core_name_index *index, const char *after);
struct core_breaker *core_name_index_next(const core_name_index *index, core_name_cursor *cursor);

#endif

/* The calls of a trace that have begun and not ended, by the id that the trace gives them. */
#ifndef CBMCTL_CALL_TABLE_H
#define CBMCTL_CALL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct call_entry {
    int64_t id;
    uint64_t permit_id;
    uint32_t epoch;
    bool used; /* the slot holds a call */
    bool permitted;
} call_entry;

typedef struct call_table {
    call_entry *slots;
    size_t capacity, count; /* capacity is a power of two, or 0 */
} call_table;

/* A zero-initialised table is empty. */
void call_table_deinit(call_table *table);
/* NULL: there is none. */
call_entry *call_table_find(const call_table *table, int64_t id);
/* The entry of a call that is not in the table yet. NULL without memory. */
call_entry *call_table_add(call_table *table, int64_t id);
void call_table_remove(call_table *table, call_entry *entry);

#endif

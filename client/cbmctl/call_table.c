/* Open addressing with linear probing, at most half full. */
#include "call_table.h"

#include <stdlib.h>

#define FIRST_CAPACITY 64

static size_t home_of(const call_table *table, int64_t id)
{
    uint64_t hash = (uint64_t)id * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32) & (table->capacity - 1);
}

static size_t next_of(const call_table *table, size_t slot)
{
    return (slot + 1) & (table->capacity - 1);
}

/* Where the id stands, or else the free slot where it belongs. */
static size_t slot_of(const call_table *table, int64_t id)
{
    size_t slot = home_of(table, id);
    while (table->slots[slot].used && table->slots[slot].id != id)
        slot = next_of(table, slot);
    return slot;
}

void call_table_deinit(call_table *table)
{
    free(table->slots);
    *table = (call_table){0};
}

call_entry *call_table_find(const call_table *table, int64_t id)
{
    if (table->count == 0)
        return NULL;
    call_entry *entry = &table->slots[slot_of(table, id)];
    return entry->used ? entry : NULL;
}

static bool grow(call_table *table)
{
    call_table larger = {.capacity = table->capacity == 0 ? FIRST_CAPACITY : 2 * table->capacity,
                         .count = table->count};
    larger.slots = calloc(larger.capacity, sizeof(*larger.slots));
    if (larger.slots == NULL)
        return false;
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i].used)
            larger.slots[slot_of(&larger, table->slots[i].id)] = table->slots[i];
    }
    free(table->slots);
    *table = larger;
    return true;
}

call_entry *call_table_add(call_table *table, int64_t id)
{
    if (2 * table->count >= table->capacity && !grow(table))
        return NULL;
    call_entry *entry = &table->slots[slot_of(table, id)];
    *entry = (call_entry){.id = id, .used = true};
    table->count++;
    return entry;
}

/* Those behind it move up when they could not be found past the gap. */
void call_table_remove(call_table *table, call_entry *entry)
{
    size_t gap = (size_t)(entry - table->slots), mask = table->capacity - 1;
    for (size_t slot = next_of(table, gap); table->slots[slot].used; slot = next_of(table, slot)) {
        size_t home = home_of(table, table->slots[slot].id);
        if (((slot - home) & mask) >= ((slot - gap) & mask)) {
            table->slots[gap] = table->slots[slot];
            gap = slot;
        }
    }
    table->slots[gap].used = false;
    table->count--;
}

#include "registry.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define BUCKETS_MIN ((size_t)16)

static uint64_t eight_bytes(const char *at)
{
    uint64_t bytes;

    memcpy(&bytes, at, sizeof(bytes));
    return bytes;
}

/* Up to eight. */
static uint64_t few_bytes(const char *at, size_t count)
{
    uint32_t first, last;

    if (count < sizeof(first))
        return count ? (uint64_t)(unsigned char)at[0] << 16 | (uint64_t)(unsigned char)at[count / 2] << 8 |
                           (unsigned char)at[count - 1]
                     : 0;
    memcpy(&first, at, sizeof(first));
    memcpy(&last, at + count - sizeof(last), sizeof(last));
    return (uint64_t)first << 32 | last;
}

/* Eight bytes at a time: it stands in the way of every cbm_call. */
static size_t hash(const char *name, size_t length)
{
    uint64_t value = UINT64_C(0x9e3779b97f4a7c15) ^ length;

    for (; length > 8; name += 8, length -= 8) {
        value = (value ^ eight_bytes(name)) * UINT64_C(0xff51afd7ed558ccd);
        value ^= value >> 32;
    }
    value = (value ^ few_bytes(name, length)) * UINT64_C(0xff51afd7ed558ccd);
    return (size_t)(value ^ value >> 32);
}

static _Atomic(cbm_breaker *) *bucket_of(cbm_registry_table *table, const char *name)
{
    return &table->buckets[hash(name, strlen(name)) & (table->bucket_count - 1)];
}

void cbm_registry_leave_board(cbm_registry *registry)
{
    for (cbm_breaker *breaker = registry->first; breaker; breaker = breaker->following)
        atomic_store_explicit(&breaker->place, CBM_PLACE_NONE, memory_order_release);
}

void cbm_registry_clear(cbm_registry *registry)
{
    cbm_registry_table *table = atomic_load(&registry->table);

    cbm_registry_leave_board(registry);
    for (size_t i = 0; table && i < table->bucket_count; i++)
        atomic_store_explicit(&table->buckets[i], NULL, memory_order_relaxed);
    while (registry->first) {
        cbm_breaker *breaker = registry->first;

        registry->first = breaker->following;
        breaker->following = registry->spare;
        breaker->name[0] = '\0'; /* nobody is to find it by its name */
        registry->spare = breaker;
    }
    registry->count = 0;
}

cbm_breaker *cbm_registry_find(const cbm_registry *registry, const char *name)
{
    cbm_registry_table *table = atomic_load_explicit(&registry->table, memory_order_acquire);
    cbm_breaker *breaker;

    if (!table)
        return NULL;
    breaker = atomic_load_explicit(bucket_of(table, name), memory_order_acquire);
    while (breaker && strcmp(breaker->name, name) != 0)
        breaker = atomic_load_explicit(&breaker->chained, memory_order_acquire);
    return breaker;
}

static void put(cbm_registry_table *table, cbm_breaker *breaker)
{
    _Atomic(cbm_breaker *) *bucket = bucket_of(table, breaker->name);

    atomic_store_explicit(&breaker->chained, atomic_load_explicit(bucket, memory_order_relaxed), memory_order_release);
    atomic_store_explicit(bucket, breaker, memory_order_release);
}

/*
 * Twice as many buckets. Without memory for them the chains get longer, no more. Who goes along a chain meanwhile goes over into
 * one of the new table, which ends as well, and may miss what it looks for.
 */
static void grow(cbm_registry *registry, cbm_registry_table *smaller)
{
    size_t count = smaller ? smaller->bucket_count * 2 : BUCKETS_MIN;
    cbm_registry_table *table = calloc(1, sizeof(*table) + count * sizeof(table->buckets[0]));

    if (!table)
        return;
    table->smaller = smaller;
    table->bucket_count = count;
    for (cbm_breaker *breaker = registry->first; breaker; breaker = breaker->following)
        put(table, breaker);
    atomic_store_explicit(&registry->table, table, memory_order_release);
}

/* Whose it was before, it belonged to the same client. */
static cbm_breaker *new_handle(cbm_registry *registry, cbm_client *client)
{
    cbm_breaker *breaker = registry->spare;

    if (breaker) {
        registry->spare = breaker->following;
        memset(&breaker->name, 0, sizeof(*breaker) - offsetof(cbm_breaker, name));
    } else {
        breaker = calloc(1, sizeof(*breaker));
        if (!breaker)
            return NULL;
        breaker->client = client;
        atomic_init(&breaker->place, CBM_PLACE_NONE);
    }
    atomic_store_explicit(&breaker->slow_ns, INT64_MAX, memory_order_relaxed);
    breaker->entry = CBM_NO_ENTRY;
    return breaker;
}

cbm_breaker *cbm_registry_get(cbm_registry *registry, cbm_client *client, const char *name)
{
    cbm_breaker *breaker = cbm_registry_find(registry, name);
    cbm_registry_table *table = atomic_load_explicit(&registry->table, memory_order_relaxed);

    if (breaker)
        return breaker;
    if (!table || registry->count >= table->bucket_count)
        grow(registry, table);
    table = atomic_load_explicit(&registry->table, memory_order_relaxed);
    if (!table)
        return NULL;
    breaker = new_handle(registry, client);
    if (!breaker)
        return NULL;
    strcpy(breaker->name, name);
    breaker->following = registry->first;
    registry->first = breaker;
    registry->count++;
    put(table, breaker);
    return breaker;
}

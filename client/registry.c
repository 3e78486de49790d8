#include "registry.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define BUCKETS_MIN ((size_t)16)

static size_t hash(const char *name)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (; *name; name++)
        value = (value ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return (size_t)(value ^ value >> 32);
}

void cbm_registry_deinit(cbm_registry *registry)
{
    cbm_breaker *breaker = registry->first;

    while (breaker) {
        cbm_breaker *following = breaker->following;
        free(breaker);
        breaker = following;
    }
    free(registry->buckets);
    *registry = (cbm_registry){0};
}

cbm_breaker *cbm_registry_find(const cbm_registry *registry, const char *name)
{
    cbm_breaker *breaker;

    if (!registry->buckets)
        return NULL;
    breaker = registry->buckets[hash(name) & (registry->bucket_count - 1)];
    while (breaker && strcmp(breaker->name, name) != 0)
        breaker = breaker->chained;
    return breaker;
}

/* Twice as many buckets. Without memory for them the chains get longer, no more. */
static void grow(cbm_registry *registry)
{
    size_t count = registry->bucket_count ? registry->bucket_count * 2 : BUCKETS_MIN;
    cbm_breaker **buckets = calloc(count, sizeof(cbm_breaker *));

    if (!buckets)
        return;
    for (cbm_breaker *breaker = registry->first; breaker; breaker = breaker->following) {
        cbm_breaker **bucket = &buckets[hash(breaker->name) & (count - 1)];

        breaker->chained = *bucket;
        *bucket = breaker;
    }
    free(registry->buckets);
    registry->buckets = buckets;
    registry->bucket_count = count;
}

cbm_breaker *cbm_registry_get(cbm_registry *registry, cbm_client *client, const char *name)
{
    cbm_breaker *breaker = cbm_registry_find(registry, name);
    cbm_breaker **bucket;

    if (breaker)
        return breaker;
    if (registry->count >= registry->bucket_count)
        grow(registry);
    if (!registry->buckets)
        return NULL;
    breaker = calloc(1, sizeof(*breaker));
    if (!breaker)
        return NULL;
    breaker->client = client;
    strcpy(breaker->name, name);
    bucket = &registry->buckets[hash(name) & (registry->bucket_count - 1)];
    breaker->chained = *bucket;
    *bucket = breaker;
    breaker->following = registry->first;
    registry->first = breaker;
    registry->count++;
    return breaker;
}

/*
 * The handles of a client by name: a chained hash table. Handles are only added, and are never freed, nor are tables that have
 * become too small, so that looking needs no lock.
 */
#ifndef CBM_CLIENT_REGISTRY_H
#define CBM_CLIENT_REGISTRY_H

#include <stdatomic.h>
#include <stddef.h>

#include "cbm.h"

typedef struct cbm_registry_table {
    struct cbm_registry_table *smaller; /* the one before */
    size_t bucket_count;                /* a power of two */
    _Atomic(cbm_breaker *) buckets[];
} cbm_registry_table;

typedef struct cbm_registry {
    _Atomic(cbm_registry_table *) table; /* NULL: none yet */
    size_t count;
    cbm_breaker *first; /* all of them, through `following` */
    cbm_breaker *spare; /* those of the client that had this memory before */
} cbm_registry;

void cbm_registry_clear(cbm_registry *registry); /* its memory is kept for the next client */
/* No handle knows a place on the board any more. */
void cbm_registry_leave_board(cbm_registry *registry);
/* Needs no lock; without it NULL may also mean that the table is growing just now. */
cbm_breaker *cbm_registry_find(const cbm_registry *registry, const char *name);
/* The handle of that name, made when there is none. NULL: no memory. */
cbm_breaker *cbm_registry_get(cbm_registry *registry, cbm_client *client, const char *name);

#endif

/* The handles of a client by name: a chained hash table. Handles are only added; they live as long as the client. */
#ifndef CBM_CLIENT_REGISTRY_H
#define CBM_CLIENT_REGISTRY_H

#include <stddef.h>

#include "cbm.h"

typedef struct cbm_registry {
    cbm_breaker **buckets; /* a power of two; NULL: none yet */
    size_t bucket_count;
    size_t count;
    cbm_breaker *first; /* all of them, through `following` */
} cbm_registry;

void cbm_registry_deinit(cbm_registry *registry); /* frees the handles */
cbm_breaker *cbm_registry_find(const cbm_registry *registry, const char *name);
/* The handle of that name, made when there is none. NULL: no memory. */
cbm_breaker *cbm_registry_get(cbm_registry *registry, cbm_client *client, const char *name);

#endif

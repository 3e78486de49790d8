#include "policy_pool.h"

#include "policy.h"
#include "table.h"

#include <stdlib.h>

struct core_policy_entry {
    cbm_core_policy effective; /* first: the calls read it */
    uint32_t references;
    cbm_core_policy_request request; /* the key */
    UT_hash_handle hh;
};

const cbm_core_policy *core_policy_of(const core_policy_entry *entry)
{
    return &entry->effective;
}

const cbm_core_policy_request *core_policy_request_of(const core_policy_entry *entry)
{
    return &entry->request;
}

int core_policy_acquire(core_policy_pool *pool, const cbm_core_policy_request *request, core_policy_entry **entry,
                        int *bad_field)
{
    static const cbm_core_policy_request nothing;
    cbm_core_policy_request key;
    core_policy_entry *found;

    core_policy_normalize(&key, request != NULL ? request : &nothing);
    HASH_FIND(hh, pool->entries, &key, sizeof(key), found);
    if (found == NULL) {
        cbm_core_policy effective;
        int error = cbm_core_policy_resolve(&key, &effective, bad_field);

        if (error != CBM_CORE_OK) {
            return error;
        }
        found = calloc(1, sizeof(*found));
        if (found == NULL) {
            return CBM_CORE_E_NOMEM;
        }
        found->effective = effective;
        found->request = key;
        HASH_ADD(hh, pool->entries, request, sizeof(found->request), found);
        if (found->hh.tbl == NULL) {
            free(found);
            return CBM_CORE_E_NOMEM;
        }
    }
    found->references++;
    *entry = found;
    return CBM_CORE_OK;
}

void core_policy_release(core_policy_pool *pool, core_policy_entry *entry)
{
    if (entry != NULL && --entry->references == 0) {
        HASH_DELETE(hh, pool->entries, entry);
        free(entry);
    }
}

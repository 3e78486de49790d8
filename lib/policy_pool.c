#include "policy_pool.h"

#include "hash.h"
#include "policy.h"
#include "table.h"

#include <stdlib.h>

struct core_policy_entry {
    cbm_core_policy effective; /* first: the calls read it */
    uint32_t references;
    core_policy_layers layers; /* the key */
    UT_hash_handle hh;
};

const cbm_core_policy *core_policy_of(const core_policy_entry *entry)
{
    return &entry->effective;
}

const core_policy_layers *core_policy_layers_of(const core_policy_entry *entry)
{
    return &entry->layers;
}

static int resolve(const core_policy_layers *layers, cbm_core_policy *effective, int *bad_field)
{
    cbm_core_policy_request merged = {0};

    if ((layers->left_out & CORE_LEAVE_OUT_DEFAULTS) == 0) {
        core_policy_merge(&merged, &merged, &layers->defaults);
    }
    if ((layers->left_out & CORE_LEAVE_OUT_ASKED) == 0) {
        core_policy_merge(&merged, &merged, &layers->asked);
    }
    core_policy_merge(&merged, &merged, &layers->section);
    return cbm_core_policy_resolve(&merged, effective, bad_field);
}

static core_policy_entry *add(core_policy_pool *pool, const core_policy_layers *key, unsigned hash,
                              const cbm_core_policy *effective)
{
    core_policy_entry *entry = calloc(1, sizeof(*entry));

    if (entry == NULL) {
        return NULL;
    }
    entry->effective = *effective;
    entry->layers = *key;
    HASH_ADD_BYHASHVALUE(hh, pool->entries, layers, sizeof(entry->layers), hash, entry);
    if (entry->hh.tbl == NULL) {
        free(entry);
        return NULL;
    }
    return entry;
}

int core_policy_acquire(core_policy_pool *pool, const core_policy_layers *layers, core_policy_entry **entry,
                        int *bad_field)
{
    core_policy_layers key;
    core_policy_entry *found;
    unsigned hash;

    core_policy_normalize(&key.defaults, &layers->defaults);
    core_policy_normalize(&key.asked, &layers->asked);
    core_policy_normalize(&key.section, &layers->section);
    key.left_out = layers->left_out;
    hash = core_hash(pool->hash_key, &key, sizeof(key));
    HASH_FIND_BYHASHVALUE(hh, pool->entries, &key, sizeof(key), hash, found);
    if (found == NULL) {
        cbm_core_policy effective;
        int error = resolve(&key, &effective, bad_field);

        if (error != CBM_CORE_OK) {
            return error;
        }
        found = add(pool, &key, hash, &effective);
        if (found == NULL) {
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

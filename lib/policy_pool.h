/* Policies in force, each kept once: most breakers of a host have the same few, and a policy is larger than a breaker's state. */
#ifndef CORE_POLICY_POOL_H
#define CORE_POLICY_POOL_H

#include "cbm_core.h"

typedef struct core_policy_entry core_policy_entry;

struct core_policy_pool {
    core_policy_entry *entries;
    uint64_t hash_key; /* clients choose the layers, and shall not choose the bucket */
};
typedef struct core_policy_pool core_policy_pool;

enum { CORE_LEAVE_OUT_DEFAULTS = 1, CORE_LEAVE_OUT_ASKED = 2 };

/* What a policy is made of; each layer's fields stand above those of the layers before it. */
typedef struct core_policy_layers {
    cbm_core_policy_request defaults; /* of the config file */
    cbm_core_policy_request asked;    /* by who created the breaker or configured it */
    cbm_core_policy_request section;  /* of the config file */
    uint32_t left_out;                /* layers that contradict the rest: kept for the next reload, but not in force */
} core_policy_layers;

const cbm_core_policy *core_policy_of(const core_policy_entry *entry);
const core_policy_layers *core_policy_layers_of(const core_policy_entry *entry);

/*
 * The entry of these layers, with one more reference, to be given up by _release. CBM_CORE_E_INVALID with *bad_field as
 * cbm_core_policy_resolve has it, CBM_CORE_E_NOMEM.
 */
int core_policy_acquire(core_policy_pool *pool, const core_policy_layers *layers, core_policy_entry **entry,
                        int *bad_field);
void core_policy_release(core_policy_pool *pool, core_policy_entry *entry);

#endif

/* Policies in force, each kept once: most breakers of a host have the same few, and a policy is larger than a breaker's state. */
#ifndef CORE_POLICY_POOL_H
#define CORE_POLICY_POOL_H

#include "cbm_core.h"

typedef struct core_policy_entry core_policy_entry;

struct core_policy_pool {
    core_policy_entry *entries;
};
typedef struct core_policy_pool core_policy_pool;

/* The effective policy and the request that it was resolved from, which a later change is merged into. */
const cbm_core_policy *core_policy_of(const core_policy_entry *entry);
const cbm_core_policy_request *core_policy_request_of(const core_policy_entry *entry);

/*
 * The entry of a request (NULL: nothing asked for), with one more reference, to be given up by _release. CBM_CORE_E_INVALID
 * with *bad_field as cbm_core_policy_resolve has it, CBM_CORE_E_NOMEM.
 */
int core_policy_acquire(core_policy_pool *pool, const cbm_core_policy_request *request, core_policy_entry **entry,
                        int *bad_field);
void core_policy_release(core_policy_pool *pool, core_policy_entry *entry);

#endif

/* The manager from inside: what the operations of cbm_core.h have in common. */
#ifndef CORE_MANAGER_H
#define CORE_MANAGER_H

#include "limiter.h"
#include "registry.h"
#include "shares.h"

struct cbm_core_manager {
    core_registry registry;
    core_shared shared;
    core_limiter limiter;
    core_shares shares;
    uint64_t account; /* on whose behalf: see cbm_core_on_behalf */
    uint64_t connection;
    int64_t now_ns; /* the latest time seen */
    uint64_t total_operations;
    uint64_t rate_limited_count;
    uint64_t created;
    uint64_t removed;
    const cbm_core_policy_request *policy_defaults;
    bool (*configured)(void *context, const char *name, cbm_core_policy_request *request);
    void *configured_context;
    cbm_core_charge *charge;
    void *charge_context;
};

/* The clock of the manager never runs backwards, whatever it is told: every operation asks this what time it is. */
int64_t core_manager_now(cbm_core_manager *manager, int64_t now_ns);

/* Whether the limiter has room for an operation of whoever asks, which is not taken yet. To be asked once for an operation. */
bool core_manager_has_room(cbm_core_manager *manager, int64_t now_ns);
/* After it had none: how long until there may be some. */
int64_t core_manager_wait_ns(cbm_core_manager *manager, int64_t now_ns);
/* Counts and tells that there was none for an operation on `name`, whose breaker is NULL when there is none. Returns the error. */
int core_manager_refuse(cbm_core_manager *manager, const char *name, const core_breaker *breaker, int64_t now_ns);
/* One operation that had room. */
void core_manager_take_operation(cbm_core_manager *manager, int64_t now_ns);

bool core_manager_is_name(const char *name);
/* The breaker of that name as it stands now; NULL: none. */
core_breaker *core_manager_find(cbm_core_manager *manager, const char *name, int64_t now_ns);
/* For the operations that need one: CBM_CORE_E_INVALID, CBM_CORE_E_NOT_FOUND. */
int core_manager_find_existing(cbm_core_manager *manager, const char *name, int64_t now_ns, core_breaker **breaker);
/* A new breaker, told. `asked` has been found valid, or is NULL. CBM_CORE_E_FULL, CBM_CORE_E_NOMEM: nothing changed. */
int core_manager_create(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *asked,
                        int64_t now_ns, core_breaker **breaker);
void core_manager_remove(cbm_core_manager *manager, core_breaker *breaker, int64_t now_ns);

/*
 * Puts in force the policy that who asks for `asked` would get now, as the config file stands. CBM_CORE_E_NOMEM: nothing
 * changed.
 */
int core_manager_ask_anew(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_policy_request *asked,
                          int64_t now_ns);
/* Adds fields to what was asked for. CBM_CORE_E_INVALID, CBM_CORE_E_NOMEM: nothing changed. */
int core_manager_change_asked(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_policy_request *fields,
                              int64_t now_ns, int *bad_field);

#endif

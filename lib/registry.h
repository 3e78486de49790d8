/* The manager's breakers: by name, by slot and in the order of their names. */
#ifndef CORE_REGISTRY_H
#define CORE_REGISTRY_H

#include "breaker.h"
#include "name_index.h"

typedef struct core_block core_block; /* of breakers that never move */

typedef struct core_registry {
    core_block **blocks;
    uint32_t blocks_count;
    uint32_t blocks_capacity;
    uint32_t slots_made; /* slots that have ever been in use */
    uint32_t maximum;
    uint32_t count;
    uint32_t first_number; /* where epochs (as far as they have bits) and slot generations start; not 0 */
    uint32_t *unused;      /* slots to be used again, last in first out */
    uint32_t unused_count;
    uint64_t hash_key;
    core_breaker_rest *by_name;
    core_name_index in_order;
    core_policy_pool policies;
} core_registry;

void core_registry_init(core_registry *registry, uint32_t maximum, uint32_t first_number, uint64_t hash_key);
/* Frees what is left. */
void core_registry_deinit(core_registry *registry, core_shared *shared);

core_breaker *core_registry_find(const core_registry *registry, const char *name); /* NULL: none */
/* The breaker in a slot, if it is of that generation. */
core_breaker *core_registry_at(const core_registry *registry, uint32_t slot, uint32_t slot_generation);
/* The breaker in a slot below slots_made, NULL when it is empty. */
core_breaker *core_registry_in_slot(const core_registry *registry, uint32_t slot);

/* Slot generation and epoch of the breaker in a slot or, when it is empty, of the next one to get it. */
void core_registry_numbers(const core_registry *registry, uint32_t slot, uint32_t *slot_generation, uint32_t *epoch);

/*
 * Makes a breaker in CLOSED, under a valid name that is not there. Takes over the reference to the policy. CBM_CORE_E_FULL,
 * CBM_CORE_E_NOMEM: nothing changed, the reference stays with the caller.
 */
int core_registry_add(core_registry *registry, core_shared *shared, const char *name, core_policy_entry *policy,
                      int64_t now_ns, core_breaker **breaker);
void core_registry_remove(core_registry *registry, core_shared *shared, core_breaker *breaker);

#endif

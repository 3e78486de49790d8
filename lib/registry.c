#include "registry.h"

#include "hash.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_A_BLOCK 64u
#define PAGE 4096u

/* What calls touch lies together: a page for each block, a line for each breaker. Blocks never move. */
struct core_block {
    core_breaker breakers[SLOTS_A_BLOCK];
    core_breaker_rest rests[SLOTS_A_BLOCK];
};
_Static_assert(sizeof(core_breaker) == 64, "a breaker is a line of cache");
_Static_assert(sizeof(core_block) % PAGE == 0, "as aligned_alloc wants it");

void core_registry_init(core_registry *registry, uint32_t maximum, uint32_t first_number, uint64_t hash_key)
{
    *registry = (core_registry){
        .maximum = maximum,
        .first_number = first_number == 0 ? 1 : first_number,
        .hash_key = hash_key,
        .policies = {.hash_key = hash_key},
    };
}

static core_breaker *slot_at(const core_registry *registry, uint32_t slot)
{
    return &registry->blocks[slot / SLOTS_A_BLOCK]->breakers[slot % SLOTS_A_BLOCK];
}

core_breaker *core_registry_in_slot(const core_registry *registry, uint32_t slot)
{
    core_breaker *breaker = slot_at(registry, slot);

    return breaker->in_use ? breaker : NULL;
}

core_breaker *core_registry_at(const core_registry *registry, uint32_t slot, uint32_t slot_generation)
{
    core_breaker *breaker;

    if (slot >= registry->slots_made) {
        return NULL;
    }
    breaker = slot_at(registry, slot);
    return breaker->in_use && breaker->slot_generation == slot_generation ? breaker : NULL;
}

void core_registry_numbers(const core_registry *registry, uint32_t slot, uint32_t *slot_generation, uint32_t *epoch)
{
    if (slot < registry->slots_made) {
        const core_breaker *breaker = slot_at(registry, slot);

        *slot_generation = breaker->slot_generation;
        *epoch = breaker->epoch;
        return;
    }
    *slot_generation = registry->first_number;
    *epoch = registry->first_number & (uint32_t)CBM_CORE_EPOCH_MASK;
}

static uint32_t hash_of(const core_registry *registry, const char *name, size_t length)
{
    return core_hash(registry->hash_key, name, length);
}

core_breaker *core_registry_find(const core_registry *registry, const char *name)
{
    size_t length = strlen(name);
    core_breaker_rest *rest;

    HASH_FIND_BYHASHVALUE(hh, registry->by_name, name, length, hash_of(registry, name, length), rest);
    return rest != NULL ? rest->breaker : NULL;
}

/* Room for SLOTS_A_BLOCK more slots, in everything that has room for each slot. */
static int add_block(core_registry *registry, core_shared *shared)
{
    uint32_t slots = (registry->blocks_count + 1) * SLOTS_A_BLOCK;
    core_block *block;
    uint32_t *unused;

    if (core_deadlines_reserve(&shared->deadlines, slots) != CBM_CORE_OK) {
        return CBM_CORE_E_NOMEM;
    }
    unused = realloc(registry->unused, slots * sizeof(*unused));
    if (unused == NULL) {
        return CBM_CORE_E_NOMEM;
    }
    registry->unused = unused;
    if (registry->blocks_count == registry->blocks_capacity) {
        uint32_t capacity = registry->blocks_capacity == 0 ? 4 : registry->blocks_capacity * 2;
        core_block **blocks = realloc(registry->blocks, capacity * sizeof(*blocks));

        if (blocks == NULL) {
            return CBM_CORE_E_NOMEM;
        }
        registry->blocks = blocks;
        registry->blocks_capacity = capacity;
    }
    block = aligned_alloc(PAGE, sizeof(*block));
    if (block == NULL) {
        return CBM_CORE_E_NOMEM;
    }
    registry->blocks[registry->blocks_count++] = block;
    return CBM_CORE_OK;
}

/* An empty slot; it is taken only by taken_slot(). */
static core_breaker *empty_slot(core_registry *registry, core_shared *shared)
{
    if (registry->unused_count > 0) {
        return slot_at(registry, registry->unused[registry->unused_count - 1]);
    }
    if (registry->slots_made == registry->blocks_count * SLOTS_A_BLOCK && add_block(registry, shared) != CBM_CORE_OK) {
        return NULL;
    }
    return slot_at(registry, registry->slots_made);
}

/* Epoch and generation of a slot used before are those that it was left with: see core_registry_remove. */
static void clear_slot(core_registry *registry, core_breaker *breaker)
{
    uint32_t slot = registry->unused_count > 0 ? breaker->slot : registry->slots_made;
    core_breaker cleared = {.slot = slot};

    core_registry_numbers(registry, slot, &cleared.slot_generation, &cleared.epoch);
    cleared.rest = &registry->blocks[slot / SLOTS_A_BLOCK]->rests[slot % SLOTS_A_BLOCK];
    *breaker = cleared;
    *breaker->rest = (core_breaker_rest){.breaker = breaker};
}

static void take_slot(core_registry *registry, core_breaker *breaker)
{
    breaker->in_use = true;
    registry->count++;
    if (registry->unused_count > 0) {
        registry->unused_count--;
    } else {
        registry->slots_made++;
    }
}

/* Takes over the name. */
static bool add_by_name(core_registry *registry, core_breaker *breaker, char *name)
{
    size_t length = strlen(name);
    uint32_t hash = hash_of(registry, name, length);

    HASH_ADD_KEYPTR_BYHASHVALUE(hh, registry->by_name, name, length, hash, breaker->rest);
    return breaker->rest->hh.tbl != NULL;
}

int core_registry_add(core_registry *registry, core_shared *shared, const char *name, core_policy_entry *policy,
                      int64_t now_ns, core_breaker **added)
{
    core_breaker *breaker;
    char *own_name;

    if (registry->count >= registry->maximum) {
        return CBM_CORE_E_FULL;
    }
    breaker = empty_slot(registry, shared);
    own_name = strdup(name);
    if (breaker == NULL || own_name == NULL) {
        goto no_name;
    }
    clear_slot(registry, breaker);
    if (core_rule_init(&breaker->rule, core_policy_of(policy)) != CBM_CORE_OK) {
        goto no_name;
    }
    if (!add_by_name(registry, breaker, own_name)) {
        goto no_hash;
    }
    if (core_name_index_add(&registry->in_order, breaker) != CBM_CORE_OK) {
        goto no_place;
    }
    breaker->policy = policy;
    take_slot(registry, breaker);
    core_breaker_start(shared, breaker, now_ns);
    *added = breaker;
    return CBM_CORE_OK;

no_place:
    HASH_DELETE(hh, registry->by_name, breaker->rest);
no_hash:
    core_rule_deinit(&breaker->rule, core_policy_of(policy));
no_name:
    free(own_name);
    return CBM_CORE_E_NOMEM;
}

void core_registry_remove(core_registry *registry, core_shared *shared, core_breaker *breaker)
{
    char *name = (char *)breaker->rest->hh.key; /* its own: see core_registry_add */

    core_breaker_stop(shared, breaker);
    core_name_index_remove(&registry->in_order, breaker);
    HASH_DELETE(hh, registry->by_name, breaker->rest);
    core_rule_deinit(&breaker->rule, core_breaker_policy(breaker));
    core_policy_release(&registry->policies, breaker->policy);
    free(name);
    breaker->in_use = false;
    /* Those of the next breaker here, so that handles and permits of this one are known to be old. No generation is 0. */
    breaker->slot_generation = breaker->slot_generation == UINT32_MAX ? 1 : breaker->slot_generation + 1;
    breaker->epoch = core_epoch_after(breaker->epoch);
    registry->unused[registry->unused_count++] = breaker->slot;
    registry->count--;
}

void core_registry_deinit(core_registry *registry, core_shared *shared)
{
    for (uint32_t slot = 0; slot < registry->slots_made; slot++) {
        core_breaker *breaker = core_registry_in_slot(registry, slot);

        if (breaker != NULL) {
            core_registry_remove(registry, shared, breaker);
        }
    }
    core_name_index_clear(&registry->in_order);
    for (uint32_t i = 0; i < registry->blocks_count; i++) {
        free(registry->blocks[i]);
    }
    free(registry->blocks);
    free(registry->unused);
}

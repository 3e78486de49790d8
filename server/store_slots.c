#include "store_slots.h"

#include <stdlib.h>

bool cbm_slot_set_init(cbm_slot_set *set, uint32_t maximum)
{
    *set = (cbm_slot_set){
        .slots = calloc(maximum, sizeof *set->slots),
        .member = calloc(maximum, sizeof *set->member),
        .maximum = maximum,
    };
    if (set->slots && set->member)
        return true;
    cbm_slot_set_deinit(set);
    return false;
}

void cbm_slot_set_deinit(cbm_slot_set *set)
{
    free(set->slots);
    free(set->member);
    *set = (cbm_slot_set){0};
}

void cbm_slot_set_add(cbm_slot_set *set, uint32_t slot)
{
    if (slot >= set->maximum || set->member[slot])
        return;
    set->member[slot] = true;
    set->slots[set->count++] = slot;
}

uint32_t cbm_slot_set_take(cbm_slot_set *set, uint32_t *slots, uint32_t most)
{
    uint32_t taken = 0;

    while (taken < most && set->count > 0) {
        uint32_t slot = set->slots[--set->count];

        set->member[slot] = false;
        slots[taken++] = slot;
    }
    return taken;
}

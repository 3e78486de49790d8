/* A set of slots: each once, in the order in which they came. */
#ifndef CBM_SERVER_STORE_SLOTS_H
#define CBM_SERVER_STORE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cbm_slot_set {
    uint32_t *slots;
    uint32_t count;
    uint32_t maximum; /* slots are below it */
    bool *member;
} cbm_slot_set;

bool cbm_slot_set_init(cbm_slot_set *set, uint32_t maximum); /* false: no memory */
void cbm_slot_set_deinit(cbm_slot_set *set);
void cbm_slot_set_add(cbm_slot_set *set, uint32_t slot);
/* Moves up to `most` of them, those that came last, into an array. Returns how many. */
uint32_t cbm_slot_set_take(cbm_slot_set *set, uint32_t *slots, uint32_t most);

#endif

/*
 * Where a breaker stands on the board and in the ledger, in one word, so that a handle can change it under calls:
 * generation << 32 | slot << 8 | entry. A place is good while its generation is that of its slot.
 */
#ifndef CBM_CLIENT_PLACE_H
#define CBM_CLIENT_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "ledger.h"

#define CBM_PLACE_NONE UINT64_MAX
#define CBM_NO_ENTRY 255 /* the ledger had no room: on the board only */

_Static_assert(CBM_LEDGER_ENTRIES <= CBM_NO_ENTRY, "the number of an entry fits into a byte");
_Static_assert(CBM_BOARD_SLOTS_MAX < 0xffffff, "and that of a slot into three, with CBM_PLACE_NONE beyond all");

static inline uint64_t cbm_place_make(uint32_t slot, uint32_t generation, uint32_t entry)
{
    return (uint64_t)generation << 32 | (uint64_t)slot << 8 | entry;
}

static inline uint32_t cbm_place_slot(uint64_t place)
{
    return (uint32_t)place >> 8;
}

static inline uint32_t cbm_place_generation(uint64_t place)
{
    return (uint32_t)(place >> 32);
}

static inline uint32_t cbm_place_entry(uint64_t place)
{
    return (uint32_t)place & 0xff;
}

static inline bool cbm_place_is_good(uint64_t place, uint64_t word)
{
    return (place ^ word) >> CBM_WORD_GENERATION_SHIFT == 0;
}

#endif

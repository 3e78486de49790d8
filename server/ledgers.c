#include "ledgers_inner.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "hash_table.h"

/* Numbers of ledgers never meet those of connections, which count from 1. The low bits say where it stands in `all`. */
#define HOLDER_FLAG (UINT64_C(1) << 63)
#define PLACE_BITS 20
#define PLACE_MASK ((UINT64_C(1) << PLACE_BITS) - 1)

typedef struct cbm_ledger_node {
    cbm_mapped_ledger ledger;
    UT_hash_handle hh;
} cbm_ledger_node;

int cbm_ledgers_init(cbm_ledgers *ledgers, uint32_t slots)
{
    *ledgers = (cbm_ledgers){.slot_count = slots};
    ledgers->slots = calloc(slots, sizeof *ledgers->slots);
    return ledgers->slots ? 0 : CBM_PROTO_E_NOMEM;
}

static void free_ledger(cbm_mapped_ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->entry_count; i++)
        free(ledger->entries[i].durations);
    free(ledger->entries);
    free(ledger);
}

void cbm_ledgers_deinit(cbm_ledgers *ledgers)
{
    HASH_CLEAR(hh, ledgers->by_id);
    for (uint32_t i = 0; i < ledgers->capacity; i++) {
        cbm_mapped_ledger *ledger = ledgers->all[i];

        if (!ledger)
            continue;
        if (ledger->page)
            munmap((void *)ledger->page, CBM_LEDGER_SIZE);
        free_ledger(ledger);
    }
    for (uint32_t slot = 0; slot < ledgers->held_below; slot++)
        free(ledgers->slots[slot].all);
    free(ledgers->left);
    free(ledgers->all);
    free(ledgers->slots);
    *ledgers = (cbm_ledgers){0};
}

/* ---- The ledgers ------------------------------------------------------------------------------------------------- */

static bool find_place(cbm_ledgers *ledgers, uint32_t *place)
{
    uint32_t capacity = ledgers->capacity ? 2 * ledgers->capacity : 16;
    cbm_mapped_ledger **all;

    if (ledgers->count < ledgers->capacity) {
        while (ledgers->all[ledgers->next_place])
            ledgers->next_place = (ledgers->next_place + 1) % ledgers->capacity;
        *place = ledgers->next_place;
        return true;
    }
    all = realloc(ledgers->all, capacity * sizeof *all);
    if (!all)
        return false;
    memset(all + ledgers->capacity, 0, (capacity - ledgers->capacity) * sizeof *all);
    *place = ledgers->next_place = ledgers->capacity;
    ledgers->all = all;
    ledgers->capacity = capacity;
    return true;
}

int cbm_ledgers_add(cbm_ledgers *ledgers, const uint8_t id[CBM_ID_SIZE], const cbm_ledger *page,
                    const cbm_ledger_owner *owner, cbm_mapped_ledger **ledger_out)
{
    cbm_ledger_node *node;
    uint32_t place;

    if (ledgers->count > PLACE_MASK)
        return CBM_PROTO_E_FULL;
    node = calloc(1, sizeof *node);
    if (!node || !find_place(ledgers, &place)) {
        free(node);
        return CBM_PROTO_E_NOMEM;
    }
    memcpy(node->ledger.id, id, CBM_ID_SIZE);
    HASH_ADD(hh, ledgers->by_id, ledger.id, CBM_ID_SIZE, node);
    if (!node->hh.tbl) {
        free(node);
        return CBM_PROTO_E_NOMEM;
    }
    node->ledger.owner = *owner;
    node->ledger.page = page;
    node->ledger.holder = HOLDER_FLAG | ++ledgers->numbers << PLACE_BITS | place;
    ledgers->all[place] = &node->ledger;
    ledgers->count++;
    *ledger_out = &node->ledger;
    return 0;
}

cbm_mapped_ledger *cbm_ledgers_find(const cbm_ledgers *ledgers, const uint8_t id[CBM_ID_SIZE])
{
    cbm_ledger_node *node;

    HASH_FIND(hh, ledgers->by_id, id, CBM_ID_SIZE, node);
    return node ? &node->ledger : NULL;
}

bool cbm_ledgers_is_number(uint64_t holder)
{
    return (holder & HOLDER_FLAG) != 0;
}

cbm_mapped_ledger *cbm_ledgers_of_holder(const cbm_ledgers *ledgers, uint64_t holder)
{
    uint64_t place = holder & PLACE_MASK;
    cbm_mapped_ledger *ledger = cbm_ledgers_is_number(holder) && place < ledgers->capacity ? ledgers->all[place] : NULL;

    return ledger && ledger->holder == holder ? ledger : NULL;
}

static void forget_broken(cbm_ledgers *ledgers, const cbm_mapped_ledger *ledger)
{
    cbm_mapped_ledger **at = &ledgers->broken;

    while (*at && *at != ledger)
        at = &(*at)->next_broken;
    if (*at)
        *at = ledger->next_broken;
}

const cbm_ledger *cbm_ledgers_remove(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger)
{
    const cbm_ledger *page = ledger->page;
    cbm_ledger_node *node = (cbm_ledger_node *)ledger;

    if (ledger->broken)
        forget_broken(ledgers, ledger);
    HASH_DEL(ledgers->by_id, node);
    ledgers->all[ledger->holder & PLACE_MASK] = NULL;
    ledgers->count--;
    free_ledger(ledger);
    return page;
}

const cbm_ledger *cbm_ledgers_remap(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, const cbm_ledger *page)
{
    const cbm_ledger *old = ledger->page;

    ledger->page = page;
    for (uint32_t i = 0; i < ledger->entry_count; i++) {
        const cbm_entry_record *entry = &ledger->entries[i];

        if (entry->state == CBM_ENTRY_BOUND)
            ledgers->slots[entry->slot].all[entry->at].page = page;
    }
    return old;
}

void cbm_ledgers_mark_broken(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger)
{
    if (ledger->broken)
        return;
    ledger->broken = true;
    ledger->next_broken = ledgers->broken;
    ledgers->broken = ledger;
}

cbm_mapped_ledger *cbm_ledgers_next_broken(cbm_ledgers *ledgers)
{
    cbm_mapped_ledger *ledger = ledgers->broken;

    if (ledger) {
        ledgers->broken = ledger->next_broken;
        ledger->broken = false;
    }
    return ledger;
}

/* Who holds which breaker: entries handed out and given back. */
#include "ledgers_inner.h"

#include <stdlib.h>
#include <string.h>

/* ---- Who holds what ------------------------------------------------------------------------------------------------ */

/* FNV-1a. Only its own client gains or loses by two names that meet. */
static uint64_t hash_name(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return hash;
}

/* Makes the record of an entry, and of those before it. */
static cbm_entry_record *record_of(cbm_mapped_ledger *ledger, uint32_t entry)
{
    uint32_t count = ledger->entry_count ? ledger->entry_count : 4;
    cbm_entry_record *entries;

    if (entry < ledger->entry_count)
        return &ledger->entries[entry];
    while (count <= entry)
        count *= 2;
    if (count > CBM_LEDGER_ENTRIES)
        count = CBM_LEDGER_ENTRIES;
    entries = realloc(ledger->entries, count * sizeof *entries);
    if (!entries)
        return NULL;
    memset(entries + ledger->entry_count, 0, (count - ledger->entry_count) * sizeof *entries);
    ledger->entries = entries;
    ledger->entry_count = count;
    return &entries[entry];
}

static bool room_for_holding(cbm_holdings *holdings)
{
    uint32_t capacity = holdings->capacity ? 2 * holdings->capacity : 1;
    cbm_holding *all;

    if (holdings->count < holdings->capacity)
        return true;
    all = aligned_alloc(64, capacity * sizeof *all);
    if (!all)
        return false;
    if (holdings->count)
        memcpy(all, holdings->all, holdings->count * sizeof *all);
    free(holdings->all);
    holdings->all = all;
    holdings->capacity = capacity;
    return true;
}

static void recall(const cbm_ledgers *ledgers, const cbm_mapped_ledger *ledger, uint32_t entry,
                   cbm_entry_record *record)
{
    uint64_t mark[CBM_LEDGER_MARK] = {0};
    const uint64_t *durations = mark + CBM_LEDGER_COUNTERS;

    if (!ledgers->recall || !ledgers->recall(ledgers->recall_context, ledger->id, entry, mark, CBM_LEDGER_MARK))
        return;
    memcpy(record->seen, mark, sizeof record->seen);
    if (record->seen[CBM_COUNTER_TIMED] && !record->durations)
        record->durations = calloc(CBM_LEDGER_BUCKETS, sizeof *record->durations);
    for (uint32_t bucket = 0; record->durations && bucket < CBM_LEDGER_BUCKETS; bucket++)
        record->durations[bucket] = (uint32_t)durations[bucket];
}

/* The first look at a fresh entry: what is known of it, and whether it is fresh indeed. */
static void look_at(const cbm_ledgers *ledgers, const cbm_mapped_ledger *ledger, uint32_t entry,
                    cbm_entry_record *record)
{
    recall(ledgers, ledger, entry, record);
    if (cbm_ledgers_has_news(ledger->page, entry, record))
        record->state = CBM_ENTRY_FOREIGN;
}

static cbm_entry_record *find_fresh(const cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, uint32_t *entry)
{
    for (*entry = 0; *entry < CBM_LEDGER_ENTRIES; ++*entry) {
        cbm_entry_record *record = record_of(ledger, *entry);

        if (!record)
            return NULL;
        if (record->state != CBM_ENTRY_FRESH)
            continue;
        look_at(ledgers, ledger, *entry, record);
        if (record->state == CBM_ENTRY_FRESH)
            return record;
    }
    return NULL;
}

static cbm_entry_record *find_left(cbm_mapped_ledger *ledger, uint32_t *entry)
{
    for (*entry = 0; *entry < ledger->entry_count; ++*entry)
        if (ledger->entries[*entry].state != CBM_ENTRY_BOUND)
            return &ledger->entries[*entry];
    return NULL;
}

static cbm_entry_record *find_named(cbm_mapped_ledger *ledger, uint64_t name, uint32_t *entry)
{
    for (*entry = 0; *entry < ledger->entry_count; ++*entry)
        if (ledger->entries[*entry].state == CBM_ENTRY_LEFT && ledger->entries[*entry].name == name)
            return &ledger->entries[*entry];
    return NULL;
}

static cbm_entry_record *find_wanted(const cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, int64_t wanted,
                                     uint32_t *entry)
{
    cbm_entry_record *record;

    if (wanted < 0 || wanted >= CBM_LEDGER_ENTRIES)
        return NULL;
    *entry = (uint32_t)wanted;
    record = record_of(ledger, *entry);
    if (record && record->state == CBM_ENTRY_FRESH)
        look_at(ledgers, ledger, *entry, record);
    return record && record->state != CBM_ENTRY_BOUND ? record : NULL;
}

/*
 * What stands in an entry when it is bound: of that very breaker, or so its client says, or of another one that is gone, of which
 * nobody asks any more.
 */
static void take_before(cbm_ledgers *ledgers, cbm_holding *holding, bool same_breaker, cbm_ledger_news *before)
{
    cbm_ledger_news nobodys = {0};

    cbm_ledgers_read_holding(ledgers, holding, CBM_LEDGER_ALL, same_breaker ? before : &nobodys);
}

static int64_t bound_already(const cbm_mapped_ledger *ledger, uint32_t slot)
{
    for (uint32_t entry = 0; entry < ledger->entry_count; entry++)
        if (ledger->entries[entry].state == CBM_ENTRY_BOUND && ledger->entries[entry].slot == slot)
            return entry;
    return -1;
}

int64_t cbm_ledgers_bind(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, uint32_t slot, const char *name,
                         int64_t wanted, cbm_ledger_news *before)
{
    int64_t bound = bound_already(ledger, slot);
    uint64_t hash = hash_name(name);
    cbm_holdings *holdings = &ledgers->slots[slot];
    cbm_entry_record *record;
    bool was_wanted, same_breaker;
    uint32_t entry;

    *before = (cbm_ledger_news){0};
    if (bound >= 0 || !ledger->page || ledger->broken)
        return bound;
    record = find_wanted(ledgers, ledger, wanted, &entry);
    was_wanted = record != NULL;
    if (!record)
        record = find_named(ledger, hash, &entry);
    if (!record)
        record = find_fresh(ledgers, ledger, &entry);
    if (!record)
        record = find_left(ledger, &entry);
    if (!record || !room_for_holding(holdings))
        return -1;
    same_breaker = record->state == CBM_ENTRY_LEFT ? record->name == hash : was_wanted;
    holdings->all[holdings->count] = (cbm_holding){.page = ledger->page, .ledger = ledger, .entry = entry};
    memcpy(holdings->all[holdings->count].seen, record->seen, sizeof record->seen);
    take_before(ledgers, &holdings->all[holdings->count], same_breaker, before);
    if (ledger->broken)
        return -1;
    record->state = CBM_ENTRY_BOUND;
    record->slot = slot;
    record->name = hash;
    record->at = holdings->count++;
    if (slot >= ledgers->held_below)
        ledgers->held_below = slot + 1;
    return entry;
}

void cbm_ledgers_unbind(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, uint32_t entry)
{
    cbm_entry_record *record = &ledger->entries[entry];
    cbm_holdings *holdings = &ledgers->slots[record->slot];
    cbm_holding *gone = &holdings->all[record->at], *last = &holdings->all[--holdings->count];

    memcpy(record->seen, gone->seen, sizeof record->seen);
    record->state = CBM_ENTRY_LEFT;
    if (gone != last) {
        *gone = *last;
        gone->ledger->entries[gone->entry].at = record->at;
    }
    if (!holdings->count) {
        free(holdings->all);
        *holdings = (cbm_holdings){0};
    }
}

/* Without memory for that, a later broker finds an older watermark, and takes a little twice. */
static void note_left(cbm_ledgers *ledgers, const cbm_mapped_ledger *ledger, uint32_t entry)
{
    if (!ledgers->recall || ledger->entries[entry].noted)
        return;
    if (ledgers->left_count == ledgers->left_capacity) {
        uint32_t capacity = ledgers->left_capacity ? 2 * ledgers->left_capacity : 16;
        cbm_left_entry *left = realloc(ledgers->left, capacity * sizeof *left);

        if (!left)
            return;
        ledgers->left = left;
        ledgers->left_capacity = capacity;
    }
    ledgers->left[ledgers->left_count++] = (cbm_left_entry){ledger->holder, entry};
    ledger->entries[entry].noted = true;
}

void cbm_ledgers_unbind_slot(cbm_ledgers *ledgers, uint32_t slot)
{
    while (cbm_ledgers_holders(ledgers, slot)) {
        const cbm_holding *last = &ledgers->slots[slot].all[ledgers->slots[slot].count - 1];

        note_left(ledgers, last->ledger, last->entry);
        cbm_ledgers_unbind(ledgers, last->ledger, last->entry);
    }
}

/* Reading what is new in ledgers, and how far that has come. */
#include "ledgers_inner.h"

#include <stdlib.h>
#include <string.h>

/* ---- Reading ------------------------------------------------------------------------------------------------------- */

#define AHEAD 8 /* holders of which memory is on its way while one is read */

static uint32_t lanes_in_use(const cbm_ledger *page)
{
    uint32_t lanes = atomic_load_explicit(&page->lanes_in_use, memory_order_relaxed);

    return lanes < CBM_LEDGER_LANES ? lanes : CBM_LEDGER_LANES;
}

/* How many counters a depth reads. */
static uint32_t counters_of(cbm_ledger_depth depth)
{
    return depth == CBM_LEDGER_SUCCESSES ? CBM_LEDGER_EPOCHS : CBM_LEDGER_COUNTERS;
}

static void sum_lanes(const cbm_ledger *page, uint32_t entry, uint32_t lanes, cbm_ledger_depth depth,
                      uint64_t sums[CBM_LEDGER_COUNTERS])
{
    memset(sums, 0, counters_of(depth) * sizeof *sums);
    for (uint32_t lane = 0; lane < lanes; lane++) {
        const cbm_entry *read = &page->entries[lane][entry];

        for (uint32_t i = 0; i < CBM_LEDGER_EPOCHS; i++)
            sums[i] += atomic_load_explicit(&read->successes[i], memory_order_relaxed);
        if (depth == CBM_LEDGER_SUCCESSES)
            continue;
        sums[CBM_COUNTER_LATE] += atomic_load_explicit(&read->late, memory_order_relaxed);
        sums[CBM_COUNTER_REJECTED] += atomic_load_explicit(&read->rejected, memory_order_relaxed);
        sums[CBM_COUNTER_HALF_OPEN_REJECTED] += atomic_load_explicit(&read->half_open_rejected, memory_order_relaxed);
        sums[CBM_COUNTER_TIMED] += atomic_load_explicit(&read->timed, memory_order_acquire);
    }
}

/* False: they cannot be, and nothing is taken. */
static bool take_counters(uint64_t *seen, const uint64_t *sums, uint32_t count, uint64_t *news)
{
    for (uint32_t i = 0; i < count; i++)
        if (sums[i] - seen[i] > CBM_LEDGER_NEW_MAX)
            return false;
    for (uint32_t i = 0; i < count; i++) {
        news[i] += sums[i] - seen[i];
        seen[i] = sums[i];
    }
    return true;
}

/* Without memory to remember them they are left for another time. */
static void take_durations(const cbm_ledger *page, uint32_t entry, uint32_t lanes, uint32_t **seen, uint64_t *news)
{
    if (!*seen)
        *seen = calloc(CBM_LEDGER_BUCKETS, sizeof **seen);
    if (!*seen)
        return;
    if (lanes > CBM_LEDGER_HISTOGRAM_LANES)
        lanes = CBM_LEDGER_HISTOGRAM_LANES;
    for (uint32_t bucket = 0; bucket < CBM_LEDGER_BUCKETS; bucket++) {
        uint32_t sum = 0;

        for (uint32_t lane = 0; lane < lanes; lane++)
            sum += atomic_load_explicit(&page->histograms[lane][entry].counts[bucket], memory_order_relaxed);
        news[bucket] += sum - (*seen)[bucket];
        (*seen)[bucket] = sum;
    }
}

void cbm_ledgers_read_holding(cbm_ledgers *ledgers, cbm_holding *holding, cbm_ledger_depth depth, cbm_ledger_news *news)
{
    uint32_t lanes = lanes_in_use(holding->page);
    uint64_t timed = news->counters[CBM_COUNTER_TIMED];
    uint64_t sums[CBM_LEDGER_COUNTERS];

    if (holding->ledger->broken)
        return;
    sum_lanes(holding->page, holding->entry, lanes, depth, sums);
    holding->lanes = lanes;
    if (!take_counters(holding->seen, sums, counters_of(depth), news->counters))
        cbm_ledgers_mark_broken(ledgers, holding->ledger);
    else if (news->counters[CBM_COUNTER_TIMED] != timed)
        take_durations(holding->page, holding->entry, lanes, &holding->ledger->entries[holding->entry].durations,
                       news->durations);
}

static void fetch_ahead(const cbm_holding *holding, cbm_ledger_depth depth)
{
    __builtin_prefetch(&holding->page->lanes_in_use);
    for (uint32_t lane = 0; lane < holding->lanes; lane++) {
        __builtin_prefetch(&holding->page->entries[lane][holding->entry].successes);
        if (depth == CBM_LEDGER_ALL)
            __builtin_prefetch(&holding->page->entries[lane][holding->entry].late);
    }
}

void cbm_ledgers_read(cbm_ledgers *ledgers, uint32_t slot, cbm_ledger_depth depth, cbm_ledger_news *news)
{
    uint32_t count = cbm_ledgers_holders(ledgers, slot);
    cbm_holding *all = count ? ledgers->slots[slot].all : NULL;

    for (uint32_t i = 0; i < count && i < AHEAD; i++)
        fetch_ahead(&all[i], depth);
    for (uint32_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            fetch_ahead(&all[i + AHEAD], depth);
        cbm_ledgers_read_holding(ledgers, &all[i], depth, news);
    }
}

void cbm_ledgers_read_entry(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, uint32_t entry, cbm_ledger_depth depth,
                            cbm_ledger_news *news)
{
    const cbm_entry_record *record = &ledger->entries[entry];

    cbm_ledgers_read_holding(ledgers, &ledgers->slots[record->slot].all[record->at], depth, news);
}

bool cbm_ledgers_has_news(const cbm_ledger *page, uint32_t entry, const cbm_entry_record *record)
{
    uint64_t sums[CBM_LEDGER_COUNTERS];

    sum_lanes(page, entry, lanes_in_use(page), CBM_LEDGER_ALL, sums);
    return memcmp(sums, record->seen, sizeof sums) != 0;
}

/* ---- Watermarks ---------------------------------------------------------------------------------------------------- */

static void fill_mark(const uint64_t *seen, const uint32_t *durations, uint64_t mark[CBM_LEDGER_MARK])
{
    memcpy(mark, seen, CBM_LEDGER_COUNTERS * sizeof *mark);
    for (uint32_t bucket = 0; bucket < CBM_LEDGER_BUCKETS; bucket++)
        mark[CBM_LEDGER_COUNTERS + bucket] = durations ? durations[bucket] : 0;
}

uint32_t cbm_ledgers_mark(const cbm_ledgers *ledgers, uint32_t slot, uint32_t index, uint8_t ledger[CBM_ID_SIZE],
                          uint64_t mark[CBM_LEDGER_MARK])
{
    const cbm_holding *holding = &ledgers->slots[slot].all[index];

    memcpy(ledger, holding->ledger->id, CBM_ID_SIZE);
    fill_mark(holding->seen, holding->ledger->entries[holding->entry].durations, mark);
    return holding->entry;
}

/* NULL: its ledger is gone. */
static cbm_entry_record *record_of_left(const cbm_ledgers *ledgers, const cbm_left_entry *left)
{
    const cbm_mapped_ledger *ledger = cbm_ledgers_of_holder(ledgers, left->holder);

    return ledger ? &ledger->entries[left->entry] : NULL;
}

bool cbm_ledgers_next_left(cbm_ledgers *ledgers, uint8_t id[CBM_ID_SIZE], uint32_t *entry,
                           uint64_t mark[CBM_LEDGER_MARK])
{
    while (ledgers->left_read < ledgers->left_count) {
        const cbm_left_entry *left = &ledgers->left[ledgers->left_read++];
        cbm_entry_record *record = record_of_left(ledgers, left);

        if (!record)
            continue;
        record->noted = false; /* what happens from now on is another time */
        if (record->state != CBM_ENTRY_LEFT)
            continue;
        *entry = left->entry;
        memcpy(id, cbm_ledgers_of_holder(ledgers, left->holder)->id, CBM_ID_SIZE);
        fill_mark(record->seen, record->durations, mark);
        return true;
    }
    return false;
}

static void forget_left(cbm_ledgers *ledgers, uint32_t count)
{
    ledgers->left_count -= count;
    if (ledgers->left_count) {
        memmove(ledgers->left, ledgers->left + count, ledgers->left_count * sizeof *ledgers->left);
        return;
    }
    free(ledgers->left);
    ledgers->left = NULL;
    ledgers->left_capacity = 0;
}

/* Each entry that is left still, once: some were noted again meanwhile. */
static void keep_left(cbm_ledgers *ledgers)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < ledgers->left_count; i++) {
        cbm_entry_record *record = record_of_left(ledgers, &ledgers->left[i]);

        if (record)
            record->noted = false;
    }
    for (uint32_t i = 0; i < ledgers->left_count; i++) {
        cbm_entry_record *record = record_of_left(ledgers, &ledgers->left[i]);

        if (!record || record->state != CBM_ENTRY_LEFT || record->noted)
            continue;
        record->noted = true;
        ledgers->left[kept++] = ledgers->left[i];
    }
    ledgers->left_count = kept;
}

void cbm_ledgers_left_stored(cbm_ledgers *ledgers, bool stored)
{
    if (stored)
        forget_left(ledgers, ledgers->left_read);
    else
        keep_left(ledgers);
    ledgers->left_read = 0;
}

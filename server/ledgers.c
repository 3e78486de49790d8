#include "ledgers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A lack of memory is an answer instead of an exit: a failed add leaves hh.tbl of the element NULL. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((void)(element))
#include <uthash.h>

#include "error.h"

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

static void mark_broken(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger)
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
        sums[CBM_COUNTER_TIMED] += atomic_load_explicit(&read->timed, memory_order_relaxed);
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

/* Whether anything was added to news. */
static void read_holding(cbm_ledgers *ledgers, cbm_holding *holding, cbm_ledger_depth depth, cbm_ledger_news *news)
{
    uint32_t lanes = lanes_in_use(holding->page);
    uint64_t timed = news->counters[CBM_COUNTER_TIMED];
    uint64_t sums[CBM_LEDGER_COUNTERS];

    if (holding->ledger->broken)
        return;
    sum_lanes(holding->page, holding->entry, lanes, depth, sums);
    holding->lanes = lanes;
    if (!take_counters(holding->seen, sums, counters_of(depth), news->counters))
        mark_broken(ledgers, holding->ledger);
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
        read_holding(ledgers, &all[i], depth, news);
    }
}

void cbm_ledgers_read_entry(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, uint32_t entry, cbm_ledger_depth depth,
                            cbm_ledger_news *news)
{
    const cbm_entry_record *record = &ledger->entries[entry];

    read_holding(ledgers, &ledgers->slots[record->slot].all[record->at], depth, news);
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

/* Without memory for that, a later broker finds an older watermark, and takes a little twice. */
static void note_left(cbm_ledgers *ledgers, const cbm_mapped_ledger *ledger, uint32_t entry)
{
    if (!ledgers->recall)
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
}

bool cbm_ledgers_next_left(cbm_ledgers *ledgers, uint8_t id[CBM_ID_SIZE], uint32_t *entry,
                           uint64_t mark[CBM_LEDGER_MARK])
{
    while (ledgers->left_count) {
        const cbm_left_entry *left = &ledgers->left[--ledgers->left_count];
        const cbm_mapped_ledger *ledger = cbm_ledgers_of_holder(ledgers, left->holder);

        if (!ledger || ledger->entries[left->entry].state != CBM_ENTRY_LEFT)
            continue;
        *entry = left->entry;
        memcpy(id, ledger->id, CBM_ID_SIZE);
        fill_mark(ledger->entries[left->entry].seen, ledger->entries[left->entry].durations, mark);
        return true;
    }
    free(ledgers->left);
    ledgers->left = NULL;
    ledgers->left_capacity = 0;
    return false;
}

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

/* Whether something stands in the entry beyond what was taken of it. */
static bool has_news(const cbm_ledger *page, uint32_t entry, const cbm_entry_record *record)
{
    uint64_t sums[CBM_LEDGER_COUNTERS];

    sum_lanes(page, entry, lanes_in_use(page), CBM_LEDGER_ALL, sums);
    return memcmp(sums, record->seen, sizeof sums) != 0;
}

static void recall(const cbm_ledgers *ledgers, const cbm_mapped_ledger *ledger, uint32_t entry,
                   cbm_entry_record *record)
{
    uint64_t mark[CBM_LEDGER_MARK] = {0};
    const uint64_t *durations = mark + CBM_LEDGER_COUNTERS;

    if (!ledgers->recall ||
        !ledgers->recall(ledgers->recall_context, ledger->id, entry, mark, CBM_LEDGER_MARK))
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
    if (has_news(ledger->page, entry, record))
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

    read_holding(ledgers, holding, CBM_LEDGER_ALL, same_breaker ? before : &nobodys);
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

void cbm_ledgers_unbind_slot(cbm_ledgers *ledgers, uint32_t slot)
{
    while (cbm_ledgers_holders(ledgers, slot)) {
        const cbm_holding *last = &ledgers->slots[slot].all[ledgers->slots[slot].count - 1];

        note_left(ledgers, last->ledger, last->entry);
        cbm_ledgers_unbind(ledgers, last->ledger, last->entry);
    }
}

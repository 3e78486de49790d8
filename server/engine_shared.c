#include "engine_inner.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine_store.h"
#include "error.h"
#include "log.h"

#define FULL_BEYOND_NS (100 * CBM_CORE_NS_PER_MS) /* the end of a lease is not seen before it is here */
#define FULL_WITHOUT_END_NS CBM_CORE_NS_PER_S

/* ---- Life ---------------------------------------------------------------------------------------------------------- */

int cbm_shared_init(cbm_shared *shared, const cbm_engine_options *options, const uint8_t incarnation[CBM_ID_SIZE])
{
    uint32_t slots = options->max_breakers;
    int error = cbm_publisher_new(&shared->publisher, slots, incarnation);

    shared->ticks.next_ns = CBM_CORE_NEVER_NS;
    shared->asks = options->rate_limit_calls;
    if (error == CBM_PROTO_E_UNSUPPORTED)
        cbm_log_message(CBM_LOG_WARN, "no_shared_memory", "this system has none to share: every call is a message");
    else if (error)
        return error;
    if ((error = cbm_tokens_new(&shared->tokens)) != 0 || (error = cbm_ledgers_init(&shared->ledgers, slots)) != 0)
        return error;
    shared->slots = calloc(slots, sizeof *shared->slots);
    shared->slot_count = slots;
    return shared->slots ? 0 : CBM_PROTO_E_NOMEM;
}

void cbm_shared_deinit(cbm_shared *shared)
{
    cbm_engine_unmap(shared->unmapped, shared->unmapped_count);
    cbm_ledgers_deinit(&shared->ledgers);
    cbm_tokens_free(shared->tokens);
    cbm_publisher_free(shared->publisher);
    free(shared->ticks.slots);
    free(shared->nameless);
    free(shared->slots);
}

/* ---- What has changed ---------------------------------------------------------------------------------------------- */

void cbm_shared_change(cbm_shared *shared, uint32_t slot)
{
    if (!shared->publisher || slot >= shared->slot_count || shared->slots[slot].changed)
        return;
    shared->slots[slot].changed = true;
    shared->slots[slot].next_changed = shared->first_changed;
    shared->first_changed = slot + 1;
}

void cbm_shared_event(cbm_shared *shared, const cbm_core_event *event)
{
    if (event->type == CBM_CORE_EVENT_REMOVED)
        cbm_ledgers_unbind_slot(&shared->ledgers, event->slot);
    cbm_shared_change(shared, event->slot);
}

static bool next_changed(cbm_shared *shared, uint32_t *slot)
{
    if (!shared->first_changed)
        return false;
    *slot = shared->first_changed - 1;
    shared->first_changed = shared->slots[*slot].next_changed;
    shared->slots[*slot].changed = false;
    return true;
}

void cbm_shared_unmap(cbm_shared *shared, const cbm_ledger *page)
{
    if (shared->unmapped_count == shared->unmapped_capacity) {
        uint32_t capacity = shared->unmapped_capacity ? 2 * shared->unmapped_capacity : 4;
        const cbm_ledger **unmapped = realloc(shared->unmapped, capacity * sizeof *unmapped);

        if (!unmapped) {
            munmap((void *)page, CBM_LEDGER_SIZE);
            return;
        }
        shared->unmapped = unmapped;
        shared->unmapped_capacity = capacity;
    }
    shared->unmapped[shared->unmapped_count++] = page;
}

void cbm_shared_take_unmapped(cbm_shared *shared, const cbm_ledger ***pages, uint32_t *count)
{
    *pages = shared->unmapped;
    *count = shared->unmapped_count;
    shared->unmapped = NULL;
    shared->unmapped_count = shared->unmapped_capacity = 0;
}

void cbm_engine_unmap(const cbm_ledger **pages, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        munmap((void *)pages[i], CBM_LEDGER_SIZE);
    free(pages);
}

static uint64_t word_of(const cbm_shared *shared, const cbm_core_glance *glance, int64_t now_ns, int64_t *aux)
{
    uint64_t flags = shared->asks ? CBM_WORD_ASK : 0;

    *aux = 0;
    if (glance->fast)
        flags |= CBM_WORD_FAST;
    if (glance->full) {
        flags |= CBM_WORD_FULL;
        *aux = glance->retry_at_ns == CBM_CORE_NEVER_NS ? now_ns + FULL_WITHOUT_END_NS
                                                        : glance->retry_at_ns + FULL_BEYOND_NS;
    } else if (glance->state == CBM_CORE_OPEN || glance->state == CBM_CORE_FORCED_OPEN) {
        *aux = glance->retry_at_ns;
    } else if (glance->slow_call_ns >= 0) {
        flags |= CBM_WORD_TIMED;
        *aux = glance->slow_call_ns;
    }
    return cbm_word_make(glance->state, flags, glance->epoch, glance->slot_generation);
}

/* ---- Pulling ------------------------------------------------------------------------------------------------------- */

static uint64_t successes_of(const cbm_ledger_news *news)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CBM_LEDGER_EPOCHS; i++)
        sum += news->counters[i];
    return sum;
}

static bool has_any(const cbm_ledger_news *news)
{
    for (uint32_t i = 0; i < CBM_LEDGER_COUNTERS; i++)
        if (news->counters[i])
            return true;
    return false;
}

static void record_durations(cbm_engine *engine, uint32_t slot, uint32_t generation, const cbm_ledger_news *news)
{
    if (!news->counters[CBM_COUNTER_TIMED])
        return;
    for (uint32_t bucket = 0; bucket < CBM_LEDGER_BUCKETS; bucket++)
        if (news->durations[bucket])
            (void)cbm_core_durations_add(engine->manager, slot, generation, cbm_ledger_bucket_ns(bucket),
                                         news->durations[bucket]);
}

/* What decides nothing. Where every begin is asked for, it was counted as an operation then. */
static void record_counts(cbm_engine *engine, uint32_t slot, uint32_t generation, const cbm_ledger_news *news,
                          uint64_t late)
{
    cbm_core_counts counts = {
        .late_successes = late,
        .rejected = news->counters[CBM_COUNTER_REJECTED],
        .half_open_rejected = news->counters[CBM_COUNTER_HALF_OPEN_REJECTED],
        .operations = engine->shared.asks ? 0 : successes_of(news) + news->counters[CBM_COUNTER_LATE],
    };

    (void)cbm_core_counts_add(engine->manager, slot, generation, &counts);
}

/* Counters of other epochs than the present one belong to the seven before it, so that the core finds them late. */
static void record(cbm_engine *engine, uint32_t slot, const cbm_core_glance *glance, const cbm_ledger_news *news,
                   int64_t at_ns)
{
    if (!has_any(news))
        return;
    cbm_engine_store_mark(engine, slot);
    record_durations(engine, slot, glance->slot_generation, news);
    record_counts(engine, slot, glance->slot_generation, news, news->counters[CBM_COUNTER_LATE]);
    for (uint32_t ago = 0; ago < CBM_LEDGER_EPOCHS; ago++) {
        uint32_t epoch = (glance->epoch - ago) & (uint32_t)CBM_CORE_EPOCH_MASK;
        uint64_t count = news->counters[epoch % CBM_LEDGER_EPOCHS];

        if (count)
            (void)cbm_core_successes_record(engine->manager, slot, glance->slot_generation, epoch, count, at_ns, NULL);
    }
}

bool cbm_engine_record_before(cbm_engine *engine, uint32_t slot, const cbm_ledger_news *news)
{
    cbm_core_glance glance;

    if (!has_any(news) || cbm_core_glance_at(engine->manager, slot, engine->now_ns, &glance) != 0)
        return false;
    cbm_engine_store_mark(engine, slot);
    record_durations(engine, slot, glance.slot_generation, news);
    record_counts(engine, slot, glance.slot_generation, news, successes_of(news) + news->counters[CBM_COUNTER_LATE]);
    return true;
}

/*
 * When what is pulled now happened. A breaker with a tick that is due has it here: what was counted since the one before belongs
 * to the second that has ended.
 */
static int64_t time_of_pull(const cbm_shared_slot *slot, int64_t now_ns)
{
    if (slot->tick && slot->second < now_ns / CBM_CORE_NS_PER_S)
        return (slot->second + 1) * CBM_CORE_NS_PER_S - 1;
    return now_ns;
}

void cbm_engine_pull_slot(cbm_engine *engine, uint32_t slot, cbm_ledger_depth depth, int64_t now_ns)
{
    cbm_shared *shared = &engine->shared;
    cbm_ledger_news news;
    cbm_core_glance glance;
    int64_t at_ns;

    if (!cbm_ledgers_holders(&shared->ledgers, slot) || cbm_core_glance_at(engine->manager, slot, now_ns, &glance) != 0)
        return;
    cbm_shared_change(shared, slot);
    at_ns = time_of_pull(&shared->slots[slot], now_ns);
    shared->slots[slot].second = now_ns / CBM_CORE_NS_PER_S;
    memset(&news, 0, depth == CBM_LEDGER_ALL ? sizeof news : offsetof(cbm_ledger_news, durations));
    cbm_ledgers_read(&shared->ledgers, slot, depth, &news);
    record(engine, slot, &glance, &news, at_ns);
}

void cbm_engine_pull_entry(cbm_engine *engine, cbm_mapped_ledger *ledger, uint32_t entry, int64_t now_ns)
{
    uint32_t slot = ledger->entries[entry].slot;
    cbm_ledger_news news = {0};
    cbm_core_glance glance;

    if (cbm_core_glance_at(engine->manager, slot, now_ns, &glance) != 0)
        return;
    cbm_shared_change(&engine->shared, slot);
    cbm_ledgers_read_entry(&engine->shared.ledgers, ledger, entry, CBM_LEDGER_ALL, &news);
    record(engine, slot, &glance, &news, time_of_pull(&engine->shared.slots[slot], now_ns));
}

void cbm_engine_hold(cbm_engine *engine, uint32_t slot, int64_t now_ns)
{
    cbm_shared *shared = &engine->shared;
    cbm_core_glance glance;
    uint64_t word;
    int64_t aux;

    if (slot >= shared->slot_count || !shared->slots[slot].fast || !cbm_ledgers_holders(&shared->ledgers, slot) ||
        cbm_core_glance_at(engine->manager, slot, now_ns, &glance) != 0)
        return;
    cbm_shared_change(shared, slot);
    word = word_of(shared, &glance, now_ns, &aux) & ~CBM_WORD_FAST;
    (void)cbm_publisher_put(shared->publisher, slot, word, aux);
    shared->slots[slot].fast = false;
    if (!glance.fast &&
        shared->slots[slot].tick) /* in this second they could decide: they are of the one that has ended */
        shared->slots[slot].second = now_ns / CBM_CORE_NS_PER_S - 1;
    atomic_thread_fence(memory_order_seq_cst);
    cbm_engine_pull_slot(engine, slot, CBM_LEDGER_SUCCESSES, now_ns);
}

void cbm_engine_hold_name(cbm_engine *engine, const char *name, int64_t now_ns)
{
    uint32_t slot;

    if (cbm_core_find(engine->manager, name, &slot) == 0)
        cbm_engine_hold(engine, slot, now_ns);
}

void cbm_engine_pull_for_report(cbm_engine *engine, const cbm_report_message *message, int64_t now_ns)
{
    cbm_core_glance glance;
    uint32_t slot;

    if (!cbm_engine_pull_name(engine, message->name, CBM_LEDGER_SUCCESSES, now_ns) ||
        cbm_core_find(engine->manager, message->name, &slot) != 0 || !engine->shared.slots[slot].fast ||
        cbm_core_glance_at(engine->manager, slot, now_ns, &glance) != 0)
        return;
    if (message->open_for_ms > 0 || ((message->outcome == CBM_CORE_FAILURE || message->outcome == CBM_CORE_TIMEOUT ||
                                      (glance.slow_call_ns >= 0 && message->duration_ns > glance.slow_call_ns)) &&
                                     cbm_core_failure_decides(engine->manager, slot, glance.slot_generation, now_ns)))
        cbm_engine_hold(engine, slot, now_ns);
}

static bool is_due(cbm_engine *engine, uint32_t slot, int64_t now_ns)
{
    cbm_core_glance glance;

    return cbm_core_glance_at(engine->manager, slot, now_ns, &glance) == 0 && glance.due;
}

bool cbm_engine_pull_name(cbm_engine *engine, const char *name, cbm_ledger_depth depth, int64_t now_ns)
{
    uint32_t slot;

    if (cbm_core_find(engine->manager, name, &slot) != 0) {
        (void)cbm_engine_tick_deadlines(engine, now_ns, CBM_CORE_NEVER_NS);
        return false;
    }
    cbm_shared_change(&engine->shared, slot);
    if (engine->shared.slots[slot].fast && is_due(engine, slot, now_ns))
        cbm_engine_hold(engine, slot, now_ns);
    if (depth == CBM_LEDGER_ALL || engine->shared.slots[slot].fast)
        cbm_engine_pull_slot(engine, slot, depth, now_ns);
    return true;
}

void cbm_engine_pull_if_due(cbm_engine *engine, const char *name, int64_t now_ns)
{
    uint32_t slot;

    if (cbm_core_find(engine->manager, name, &slot) != 0 || is_due(engine, slot, now_ns))
        (void)cbm_engine_pull_name(engine, name, CBM_LEDGER_SUCCESSES, now_ns);
    else
        cbm_shared_change(&engine->shared, slot);
}

void cbm_engine_pull_range(cbm_engine *engine, uint32_t first, uint32_t count, int64_t now_ns)
{
    for (uint32_t slot = first; slot - first < count && slot < engine->shared.slot_count; slot++) {
        cbm_shared_change(&engine->shared, slot);
        cbm_engine_hold(engine, slot, now_ns);
    }
}

void cbm_engine_pull_all(cbm_engine *engine, int64_t now_ns)
{
    for (uint32_t slot = 0; slot < engine->shared.ledgers.held_below; slot++) {
        cbm_engine_hold(engine, slot, now_ns);
        cbm_engine_pull_slot(engine, slot, CBM_LEDGER_ALL, now_ns);
    }
}

/* ---- Publishing ---------------------------------------------------------------------------------------------------- */

/* Returns whether somebody may have counted, by what the board said before, what now has to be looked for. */
static bool put(cbm_engine *engine, uint32_t slot)
{
    cbm_shared *shared = &engine->shared;
    cbm_core_glance glance;
    uint64_t word, before;
    int64_t aux = 0;

    if (cbm_core_glance_at(engine->manager, slot, engine->now_ns, &glance) == 0) {
        word = word_of(shared, &glance, engine->now_ns, &aux);
    } else { /* of the next breaker to get that slot, of which nobody has a permit yet */
        glance = (cbm_core_glance){.slot_generation = glance.slot_generation, .epoch = glance.epoch};
        word = cbm_word_make(CBM_CORE_CLOSED, CBM_WORD_ASK, glance.epoch, glance.slot_generation);
    }
    before = cbm_publisher_put(shared->publisher, slot, word, aux);
    shared->slots[slot].fast = word & CBM_WORD_FAST;
    if (!(before & CBM_WORD_FAST))
        shared->slots[slot].second = engine->now_ns / CBM_CORE_NS_PER_S; /* nothing was counted before */
    cbm_shared_tick_as_needed(shared, slot, &glance, engine->now_ns);
    return before & CBM_WORD_FAST && ((word ^ before) & (CBM_WORD_PERMIT_MASK | CBM_WORD_FAST)) != 0;
}

/*
 * It ends: what is found may take `fast` away or open the breaker, but as soon as the board does not say `fast`, nobody counts any
 * more what it would have to look for.
 */
static void publish_slot(cbm_engine *engine, uint32_t slot)
{
    while (put(engine, slot) && cbm_ledgers_holders(&engine->shared.ledgers, slot)) {
        atomic_thread_fence(memory_order_seq_cst);
        cbm_engine_pull_slot(engine, slot, CBM_LEDGER_SUCCESSES, engine->now_ns);
    }
}

static void give_up_broken(cbm_engine *engine)
{
    cbm_mapped_ledger *ledger;

    while ((ledger = cbm_ledgers_next_broken(&engine->shared.ledgers)) != NULL)
        cbm_engine_give_up_ledger(engine, ledger);
}

void cbm_engine_publish(cbm_engine *engine)
{
    uint32_t slot;

    if (!engine->shared.publisher)
        return;
    give_up_broken(engine);
    while (next_changed(&engine->shared, &slot)) {
        publish_slot(engine, slot);
        give_up_broken(engine);
    }
}

#include "engine_store.h"

#include "engine_inner.h"

#include <stdio.h>

#include "error.h"
#include "log.h"

/* ---- What has changed -------------------------------------------------------------------------------------------- */

void cbm_engine_store_mark(cbm_engine *engine, uint32_t slot)
{
    if (engine->store)
        cbm_store_mark(engine->store, slot);
}

void cbm_engine_store_mark_name(cbm_engine *engine, const char *name)
{
    uint32_t slot;

    if (engine->store && cbm_core_find(engine->manager, name, &slot) == 0)
        cbm_store_mark(engine->store, slot);
}

static void wait_for(const cbm_engine *engine, uint64_t ticket)
{
    if (engine->caller && engine->caller->ticket)
        *engine->caller->ticket = ticket;
}

void cbm_engine_store_wait_for_all(cbm_engine *engine)
{
    uint64_t last = engine->store ? cbm_store_last_ticket(engine->store) : 0;

    if (last && !cbm_store_is_committed(cbm_store_waits_of(engine->store), last))
        wait_for(engine, last);
}

void cbm_engine_store_event(cbm_engine *engine, const cbm_core_event *event)
{
    if (!engine->store)
        return;
    switch (event->type) {
    case CBM_CORE_EVENT_TRANSITION: wait_for(engine, cbm_store_transition(engine->store, event)); break;
    case CBM_CORE_EVENT_REMOVED:
    case CBM_CORE_EVENT_POLICY_CHANGED:
        if (engine->caller) /* it was asked for; else it follows from time, or from a file that will be read again */
            wait_for(engine, cbm_store_mark_now(engine->store, event->slot));
        else
            cbm_store_mark(engine->store, event->slot);
        break;
    case CBM_CORE_EVENT_CREATED:
    case CBM_CORE_EVENT_RESET:
    case CBM_CORE_EVENT_REJECTED:
    case CBM_CORE_EVENT_LEASE_EXPIRED:
    case CBM_CORE_EVENT_ABANDONED: cbm_store_mark(engine->store, event->slot); break;
    case CBM_CORE_EVENT_RATE_LIMITED:
    case CBM_CORE_EVENT_DIFFERS: break;
    }
}

void cbm_engine_store_ledger_ended(cbm_engine *engine, const uint8_t ledger[CBM_ID_SIZE])
{
    if (engine->store)
        cbm_store_ledger_ended(engine->store, ledger);
}

static void put_mark(cbm_store_batch *batch, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry, const uint64_t *mark)
{
    size_t count = mark[CBM_COUNTER_TIMED] ? CBM_LEDGER_MARK : CBM_LEDGER_COUNTERS;

    cbm_store_batch_watermark(batch, ledger, entry, mark, count);
}

/* How far the ledgers have been folded into what is stored of a breaker. */
static void collect_marks(cbm_engine *engine, uint32_t slot, cbm_store_batch *batch)
{
    uint32_t holders = cbm_ledgers_holders(&engine->shared.ledgers, slot);
    uint64_t mark[CBM_LEDGER_MARK];
    uint8_t ledger[CBM_ID_SIZE];

    for (uint32_t i = 0; i < holders; i++) {
        uint32_t entry = cbm_ledgers_mark(&engine->shared.ledgers, slot, i, ledger, mark);

        put_mark(batch, ledger, entry, mark);
    }
}

static void collect_left(cbm_engine *engine, cbm_store_batch *batch)
{
    uint64_t mark[CBM_LEDGER_MARK];
    uint8_t ledger[CBM_ID_SIZE];
    uint32_t entry;

    while (cbm_ledgers_next_left(&engine->shared.ledgers, ledger, &entry, mark))
        put_mark(batch, ledger, entry, mark);
    batch->asks_back = engine->shared.ledgers.left_read > 0;
}

static size_t recall(void *context, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry, uint64_t *mark, size_t most)
{
    return cbm_store_watermark(context, ledger, entry, mark, most);
}

/* By the store's thread. */
static void collect(void *context, const uint32_t *slots, size_t count, cbm_store_batch *batch)
{
    cbm_engine *engine = context;
    int64_t now_ns;

    pthread_mutex_lock(&engine->lock);
    now_ns = cbm_clock_ns();
    for (size_t i = 0; i < count; i++) {
        batch->breakers[i].slot = slots[i];
        batch->breakers[i].present =
            cbm_core_snapshot_at(engine->manager, slots[i], now_ns, &batch->breakers[i].snapshot) == 0;
        collect_marks(engine, slots[i], batch);
    }
    collect_left(engine, batch);
    batch->count = count;
    cbm_core_totals_get(engine->manager, &batch->totals);
    pthread_mutex_unlock(&engine->lock);
}

static void on_stored(void *context, bool stored)
{
    cbm_engine *engine = context;

    pthread_mutex_lock(&engine->lock);
    cbm_ledgers_left_stored(&engine->shared.ledgers, stored);
    pthread_mutex_unlock(&engine->lock);
}

/* ---- What was stored ------------------------------------------------------------------------------------------------- */

static uint32_t restore_one(void *context, const cbm_core_snapshot *snapshot, int64_t elapsed_ns)
{
    cbm_engine *engine = context;
    uint32_t slot;
    int error = cbm_core_restore(engine->manager, snapshot, elapsed_ns, cbm_clock_ns(), &slot);

    if (error == 0)
        return slot;
    cbm_log_message(CBM_LOG_WARN, "not_restored", "%s: %s", snapshot->name, cbm_proto_error_sentence(error));
    return CBM_STORE_NOT_TAKEN;
}

static void log_restored(const cbm_store_restored *restored)
{
    cbm_log_line line;

    cbm_log_line_begin(&line, restored->unreadable || restored->not_taken ? CBM_LOG_WARN : CBM_LOG_INFO, "restored");
    cbm_log_line_uint(&line, "breakers", restored->taken);
    if (restored->not_taken)
        cbm_log_line_uint(&line, "not_restored", restored->not_taken);
    if (restored->unreadable)
        cbm_log_line_uint(&line, "unreadable", restored->unreadable);
    if (cbm_log_enabled(restored->unreadable || restored->not_taken ? CBM_LOG_WARN : CBM_LOG_INFO))
        cbm_log_line_end(&line);
}

int cbm_engine_restore(cbm_engine *engine, cbm_store *store, char *message, size_t message_size)
{
    cbm_store_source source = {collect, engine, on_stored};
    cbm_store_restored restored;
    cbm_store_error error;

    cbm_engine_enter(engine, NULL);
    engine->restoring = true;
    error = cbm_store_restore(store, restore_one, engine, &restored);
    engine->restoring = false;
    if (error == CBM_STORE_OK) { /* before the timer may find something to store */
        cbm_core_totals_set(engine->manager, &restored.totals);
        engine->store = store;
        engine->shared.ledgers.recall = recall;
        engine->shared.ledgers.recall_context = store;
    }
    cbm_engine_leave(engine);
    if (error == CBM_STORE_OK)
        error = cbm_store_start(store, &source);
    if (error != CBM_STORE_OK) {
        snprintf(message, message_size, "not all of the state could be read");
        return CBM_PROTO_E_INTERNAL;
    }
    log_restored(&restored);
    return 0;
}

void cbm_engine_store_stop(cbm_engine *engine)
{
    cbm_store *store = engine->store;

    if (!store)
        return;
    cbm_engine_pull_ledgers(engine);
    cbm_store_stop(store);
    pthread_mutex_lock(&engine->lock);
    engine->store = NULL;
    engine->shared.ledgers.recall = NULL;
    pthread_mutex_unlock(&engine->lock);
}

cbm_store *cbm_engine_store(const cbm_engine *engine)
{
    return engine->store;
}

cbm_store_waits *cbm_engine_store_waits(const cbm_engine *engine)
{
    return cbm_store_waits_of(engine->store);
}

void cbm_engine_store_tell(const cbm_engine *engine, cbm_page_reply *page)
{
    cbm_store_health health = {.failing = false};

    if (engine->store)
        cbm_store_health_get(engine->store, &health);
    snprintf(page->store, sizeof page->store, "%s", !engine->store ? "off" : health.failing ? "failing" : "ok");
    if (health.failing)
        snprintf(page->store_error, sizeof page->store_error, "%s", health.error[0] ? health.error : "unknown");
}

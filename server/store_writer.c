/* The store's thread: waits for what is marked, fetches it, writes it, and tries again when the disk does not take it. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "log.h"
#include "store_inner.h"

#define LATER_AT_ONCE                                                                                                  \
    512 /* breakers in one transaction, when nothing is urgent: what becomes urgent waits for no more */
#define RETRY_FIRST_NS (100 * CBM_CORE_NS_PER_MS)
#define RETRY_MOST_NS (5 * CBM_CORE_NS_PER_S)
#define COMPLAINT_SPACING_NS (60 * CBM_CORE_NS_PER_S)
#define CHECKPOINT_PAGES 1000      /* of the log, when there is a moment for it */
#define CHECKPOINT_MUST_PAGES 8000 /* ... and when there is none */
#define HISTORY_MS (INT64_C(30) * 24 * 3600 * 1000)
#define HISTORY_ROWS 100000
#define TRIM_TRANSITIONS 1000
#define TRIM_NS (3600 * CBM_CORE_NS_PER_S)
#define UNCLAIMED_NS (24 * 3600 * CBM_CORE_NS_PER_S) /* a ledger that has not come back by then has ended */

/* ---- When the disk does not take it --------------------------------------------------------------------------------- */

void cbm_store_fail(cbm_store *store, const char *why)
{
    int64_t now_ns = cbm_clock_ns();
    bool changed;

    pthread_mutex_lock(&store->lock);
    changed = !store->health.failing || strcmp(store->health.error, why) != 0;
    store->health.failing = true;
    cbm_core_text_copy(store->health.error, sizeof store->health.error, why, strlen(why));
    pthread_mutex_unlock(&store->lock);
    cbm_store_waits_fail(&store->waits);
    store->retry_after_ns = store->retry_after_ns == 0                  ? RETRY_FIRST_NS
                            : store->retry_after_ns < RETRY_MOST_NS / 2 ? 2 * store->retry_after_ns
                                                                        : RETRY_MOST_NS;
    store->retry_ns = now_ns + store->retry_after_ns;
    if (changed || now_ns - store->complained_ns >= COMPLAINT_SPACING_NS) {
        store->complained_ns = now_ns;
        cbm_log_message(CBM_LOG_ERROR, "store_failing",
                        "nothing can be stored in %s (%s): the broker goes on, and tries again; what happens "
                        "meanwhile would be lost with it",
                        store->directory.path, why);
    }
}

static void recover(cbm_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->health = (cbm_store_health){0};
    pthread_mutex_unlock(&store->lock);
    store->retry_after_ns = 0;
    store->complained_ns = 0;
    cbm_log_message(CBM_LOG_WARN, "store_resumed", "the state is stored in %s again", store->directory.path);
}

static bool is_failing(const cbm_store *store)
{
    return store->retry_after_ns != 0;
}

void cbm_store_mark_all(cbm_store *store)
{
    pthread_mutex_lock(&store->lock);
    for (uint32_t slot = 0; slot < store->slots_seen; slot++)
        cbm_slot_set_add(&store->later, slot);
    store->later_due_ns = 0;
    pthread_mutex_unlock(&store->lock);
}

/* Nothing of it is left that could be relied on: all that is known is written into a new one. */
static void replace(cbm_store *store, const char *why)
{
    char message[512] = "";
    char kept[256];

    snprintf(kept, sizeof kept, "%s", why); /* it may be SQLite's, which is closed */
    memset(store->row_of_slot, 0, store->slots * sizeof *store->row_of_slot);
    store->next_row = 1;
    cbm_store_mark_all(store);
    if (cbm_store_replace_database(store, kept, message, sizeof message) != CBM_STORE_OK)
        cbm_store_fail(store, message);
    cbm_store_flusher_set(&store->flusher, -1); /* that was the log of the old one */
}

/* A connection that found that it cannot write would find the same for ever. */
static bool is_worn_out(int result)
{
    int primary = result & 0xff;

    return primary == SQLITE_READONLY || primary == SQLITE_CANTOPEN || primary == SQLITE_PERM ||
           primary == SQLITE_AUTH || primary == SQLITE_MISUSE;
}

static void on_failure(cbm_store *store, int result)
{
    char why[160];
    int system_error = store->db.sqlite ? sqlite3_system_errno(store->db.sqlite) : 0;
    const char *text =
        result == SQLITE_NOMEM || !store->db.sqlite ? sqlite3_errstr(result) : sqlite3_errmsg(store->db.sqlite);

    if (system_error && (result & 0xff) != SQLITE_FULL)
        snprintf(why, sizeof why, "%.100s: %.50s", text, strerror(system_error));
    else
        snprintf(why, sizeof why, "%.150s", text);
    cbm_store_db_rollback(&store->db);
    cbm_store_fail(store, why);
    if (cbm_store_db_is_damage(result))
        replace(store, why);
    else if (is_worn_out(result))
        cbm_store_db_close(&store->db);
}

/* Who knows what has become of the file meanwhile: it may be another one, so all that is known is written into it. */
static bool reopen(cbm_store *store)
{
    char message[512] = "";

    if (store->db.sqlite)
        return true;
    if (cbm_store_open_database(store, message, sizeof message) != CBM_STORE_OK) {
        cbm_store_fail(store, message);
        return false;
    }
    cbm_store_flusher_set(&store->flusher, -1);
    cbm_store_mark_all(store);
    return true;
}

/* ---- Writing: one transaction ---------------------------------------------------------------------------------------- */

static int write_breaker(cbm_store *store, uint32_t slot, bool present, const cbm_core_snapshot *snapshot,
                         const cbm_store_time *now)
{
    int64_t *row = &store->row_of_slot[slot];

    if (!present)
        return *row ? cbm_store_db_delete_breaker(&store->db, *row) : SQLITE_OK;
    if (!*row)
        *row = store->next_row++; /* the slot's from now on, also when this is not committed */
    return cbm_store_db_put_breaker(&store->db, snapshot, *row, now);
}

/* As of one moment, and after the marks that it answers. */
static int write_slice(cbm_store *store, const uint32_t *slots, uint32_t count)
{
    cbm_store_batch *batch = &store->batch;
    cbm_store_time now;
    int result = SQLITE_OK;

    batch->count = 0;
    batch->watermark_count = 0;
    batch->asks_back = false;
    batch->incomplete = false;
    cbm_store_now(store, &now);
    store->source.collect(store->source.context, slots, count, batch);
    store->tell_source = store->tell_source || batch->asks_back;
    if (batch->incomplete)
        return SQLITE_NOMEM;
    for (size_t i = 0; i < batch->count && result == SQLITE_OK; i++)
        result = write_breaker(store, batch->breakers[i].slot, batch->breakers[i].present, &batch->breakers[i].snapshot,
                               &now);
    for (size_t i = 0; i < batch->watermark_count && result == SQLITE_OK; i++)
        result = cbm_store_db_put_watermark(&store->db, &batch->watermarks[i]);
    store->manager.totals = batch->totals;
    return result;
}

static int write_slots(cbm_store *store, const uint32_t *slots, uint32_t count)
{
    int result = SQLITE_OK;
    uint32_t done = 0;

    do {
        uint32_t slice = count - done < CBM_STORE_SLICE ? count - done : CBM_STORE_SLICE;

        result = write_slice(store, slots + done, slice);
        done += slice;
    } while (done < count && result == SQLITE_OK);
    return result;
}

static int write_rest(cbm_store *store)
{
    int result = SQLITE_OK;

    for (size_t i = 0; i < store->transitions.count && result == SQLITE_OK; i++)
        result = cbm_store_db_put_transition(&store->db, &store->transitions.rows[i]);
    for (size_t i = 0; i < store->endings.count && result == SQLITE_OK; i++)
        result = cbm_store_db_delete_ledger(&store->db, store->endings.ledgers[i]);
    return result == SQLITE_OK ? cbm_store_db_put_manager(&store->db, &store->manager) : result;
}

static void log_dropped(cbm_store *store)
{
    if (store->transitions.dropped)
        cbm_log_message(CBM_LOG_WARN, "store_history",
                        "%llu transitions are missing in the history: they waited too long for the disk",
                        (unsigned long long)store->transitions.dropped);
    store->transitions.dropped = 0;
}

/* The log is a file from the first commit on. */
static void tell_flusher(cbm_store *store)
{
    if (!cbm_store_flusher_has_file(&store->flusher))
        cbm_store_flusher_set(&store->flusher, cbm_store_log_open(&store->directory));
    cbm_store_flusher_wrote(&store->flusher);
}

static void tell_source(cbm_store *store, bool stored)
{
    if (store->tell_source)
        store->source.stored(store->source.context, stored);
    store->tell_source = false;
}

/* False: it could not be written, and nothing of it is forgotten but by whoever calls. */
static bool write_transaction(cbm_store *store, const uint32_t *slots, uint32_t count)
{
    int result;

    if (!reopen(store))
        return false;
    result = cbm_store_db_begin(&store->db);
    if (result == SQLITE_OK)
        result = write_slots(store, slots, count);
    if (result == SQLITE_OK)
        result = write_rest(store);
    if (result == SQLITE_OK)
        result = cbm_store_db_commit(&store->db);
    tell_source(store, result == SQLITE_OK);
    if (result != SQLITE_OK) {
        on_failure(store, result);
        return false;
    }
    store->transitions_written += store->transitions.count;
    store->transitions.count = 0;
    store->endings.count = 0;
    log_dropped(store);
    tell_flusher(store);
    return true;
}

/* ---- What is urgent, and what is not ---------------------------------------------------------------------------------- */

/* With the lock held. */
static void put_back(cbm_store *store, cbm_slot_set *set, const uint32_t *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        cbm_slot_set_add(set, slots[i]);
    if (set == &store->later)
        store->later_due_ns = 0;
}

static void write_urgent(cbm_store *store)
{
    bool was_failing = is_failing(store);
    uint64_t ticket;
    bool written;

    pthread_mutex_lock(&store->lock);
    ticket = store->sequence;
    store->taken_count = cbm_slot_set_take(&store->now, store->taken, store->slots);
    cbm_store_queue_move(&store->transitions, &store->queue);
    cbm_store_ended_move(&store->endings, &store->ended);
    pthread_mutex_unlock(&store->lock);
    pthread_mutex_lock(&store->db_lock);
    written = write_transaction(store, store->taken, store->taken_count);
    pthread_mutex_unlock(&store->db_lock);
    if (written) {
        if (was_failing)
            recover(store);
        cbm_store_commit(&store->waits, ticket);
        return;
    }
    pthread_mutex_lock(&store->lock);
    put_back(store, &store->now, store->taken, store->taken_count);
    pthread_mutex_unlock(&store->lock);
}

static void write_later(cbm_store *store)
{
    uint32_t count;
    bool written;

    if (store->taken_later_count == 0) {
        pthread_mutex_lock(&store->lock);
        store->taken_later_count = cbm_slot_set_take(&store->later, store->taken_later, store->slots);
        store->later_due_ns = CBM_CORE_NEVER_NS;
        cbm_store_ended_move(&store->endings, &store->ended);
        pthread_mutex_unlock(&store->lock);
    }
    count = store->taken_later_count < LATER_AT_ONCE ? store->taken_later_count : LATER_AT_ONCE;
    pthread_mutex_lock(&store->db_lock);
    written = write_transaction(store, store->taken_later + store->taken_later_count - count, count);
    pthread_mutex_unlock(&store->db_lock);
    if (written) {
        store->taken_later_count -= count;
        return;
    }
    pthread_mutex_lock(&store->lock);
    put_back(store, &store->later, store->taken_later, store->taken_later_count);
    pthread_mutex_unlock(&store->lock);
    store->taken_later_count = 0;
}

/* ---- Between the writing ----------------------------------------------------------------------------------------------- */

/* The first commit after it begins the log anew and syncs its head: here, and not on the way of somebody's reply. */
static void checkpoint(cbm_store *store)
{
    int result;

    pthread_mutex_lock(&store->db_lock);
    result = sqlite3_wal_checkpoint_v2(store->db.sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (result == SQLITE_OK) {
        store->checkpoint_due = false;
        store->db.wal_pages = 0;
        if (!write_transaction(store, NULL, 0))
            result = SQLITE_OK; /* dealt with */
    } else {
        on_failure(store, result);
    }
    pthread_mutex_unlock(&store->db_lock);
}

static void end_ledger(void *context, const uint8_t ledger[CBM_ID_SIZE])
{
    cbm_store *store = context;

    cbm_store_ended_add(&store->endings, ledger);
}

static void give_up_ledgers(cbm_store *store, int64_t now_ns)
{
    if (now_ns - store->started_ns < UNCLAIMED_NS)
        return;
    pthread_mutex_lock(&store->lock);
    cbm_store_watermarks_give_up(&store->watermarks, end_ledger, store);
    pthread_mutex_unlock(&store->lock);
}

static void trim(cbm_store *store)
{
    int64_t now_ns = cbm_clock_ns();
    int result;

    if (store->trimmed_ns && store->transitions_written < TRIM_TRANSITIONS && now_ns - store->trimmed_ns < TRIM_NS)
        return;
    give_up_ledgers(store, now_ns);
    pthread_mutex_lock(&store->db_lock);
    result = cbm_store_db_trim_history(&store->db, cbm_store_wall_ms(store) - HISTORY_MS, HISTORY_ROWS);
    if (result == SQLITE_OK) {
        store->trimmed_ns = now_ns;
        store->transitions_written = 0;
        tell_flusher(store);
    } else {
        on_failure(store, result);
    }
    pthread_mutex_unlock(&store->db_lock);
}

/* What the kernel could not bring to the disk it has forgotten: the log is of no use, so all goes into the database. */
static void on_sync_failure(cbm_store *store)
{
    int error = cbm_store_flusher_take_error(&store->flusher);
    char why[160];

    snprintf(why, sizeof why, "what was written could not be synced: %.80s", strerror(error));
    cbm_store_fail(store, why);
    store->checkpoint_due = true;
    cbm_store_mark_all(store);
}

/* ---- The thread -------------------------------------------------------------------------------------------------------- */

typedef struct work {
    bool stopping, urgent, later, sync_failed;
} work;

static void wait_until(cbm_store *store, int64_t until_ns)
{
    struct timespec until = {.tv_sec = until_ns / CBM_CORE_NS_PER_S, .tv_nsec = until_ns % CBM_CORE_NS_PER_S};

    if (until_ns == CBM_CORE_NEVER_NS)
        pthread_cond_wait(&store->wake, &store->lock);
    else
        pthread_cond_timedwait(&store->wake, &store->lock, &until);
}

/* With the lock held. */
static void look_for_work(cbm_store *store, int64_t now_ns, work *found)
{
    *found = (work){
        .stopping = store->stopping,
        .urgent = !cbm_store_is_committed(&store->waits, store->sequence) || is_failing(store),
        .later = store->taken_later_count > 0 || store->later_due_ns <= now_ns ||
                 (store->stopping && store->later_due_ns != CBM_CORE_NEVER_NS),
        .sync_failed = store->sync_failed,
    };
    store->sync_failed = false;
}

static void wait_for_work(cbm_store *store, work *found)
{
    pthread_mutex_lock(&store->lock);
    for (;;) {
        int64_t now_ns = cbm_clock_ns();
        bool waits_to_retry = is_failing(store) && now_ns < store->retry_ns;

        look_for_work(store, now_ns, found);
        if (found->stopping || found->sync_failed || (!waits_to_retry && (found->urgent || found->later)))
            break;
        wait_until(store, waits_to_retry ? store->retry_ns : store->later_due_ns);
    }
    pthread_mutex_unlock(&store->lock);
}

/* When the disk does not take the last of it either, it is lost, which is said. */
static void finish(cbm_store *store)
{
    write_urgent(store);
    do
        write_later(store);
    while (store->taken_later_count > 0 && !is_failing(store));
    if (is_failing(store))
        cbm_log_message(CBM_LOG_ERROR, "store_lost", "the last of the state could not be stored in %s",
                        store->directory.path);
}

void *cbm_store_run(void *argument)
{
    cbm_store *store = argument;
    work found;

    for (;;) {
        wait_for_work(store, &found);
        if (found.stopping)
            break;
        if (found.sync_failed) {
            on_sync_failure(store);
            continue;
        }
        if (found.urgent)
            write_urgent(store);
        else
            write_later(store);
        if (is_failing(store))
            continue;
        if (store->checkpoint_due || store->db.wal_pages > CHECKPOINT_MUST_PAGES ||
            (!found.urgent && store->db.wal_pages > CHECKPOINT_PAGES))
            checkpoint(store);
        else if (!found.urgent || store->transitions_written >= TRIM_TRANSITIONS)
            trim(store);
    }
    finish(store);
    return NULL;
}

/* The store's face: what has changed is marked, and how it stands is told. */
#include "store.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "store_inner.h"

#define LATER_NS                                                                                                       \
    (3 * CBM_CORE_NS_PER_S) /* what is not urgent waits for so long, so that much of it is written at once */
#define BOOT_FILE "/proc/sys/kernel/random/boot_id"

/* ---- Time ------------------------------------------------------------------------------------------------------------- */

static int64_t system_wall_ms(void *context)
{
    struct timespec now;

    (void)context;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / CBM_CORE_NS_PER_MS;
}

static int64_t system_monotonic_ns(void *context)
{
    (void)context;
    return cbm_clock_ns();
}

/* Without the name each start counts as a boot of its own, and the wall clock decides. */
static void read_boot_name(char *name, size_t size)
{
    FILE *file = fopen(BOOT_FILE, "re");

    if (!file || !fgets(name, (int)size, file))
        snprintf(name, size, "unknown-%lld", (long long)system_wall_ms(NULL));
    name[strcspn(name, "\n")] = '\0';
    if (file)
        fclose(file);
}

void cbm_store_clock_init(cbm_store *store, const cbm_store_clock *clock)
{
    if (clock) {
        store->clock = *clock;
        snprintf(store->boot_name, sizeof store->boot_name, "%s", clock->boot);
        return;
    }
    store->clock = (cbm_store_clock){.wall_ms = system_wall_ms, .monotonic_ns = system_monotonic_ns};
    read_boot_name(store->boot_name, sizeof store->boot_name);
}

int64_t cbm_store_wall_ms(const cbm_store *store)
{
    return store ? store->clock.wall_ms(store->clock.context) : system_wall_ms(NULL);
}

void cbm_store_now(const cbm_store *store, cbm_store_time *time)
{
    *time = (cbm_store_time){
        .wall_ms = store->clock.wall_ms(store->clock.context),
        .monotonic_ns = store->clock.monotonic_ns(store->clock.context),
        .boot = store->manager.boot,
    };
}

/* ---- Marking ---------------------------------------------------------------------------------------------------------- */

static void see(cbm_store *store, uint32_t slot)
{
    if (slot < store->slots && store->slots_seen <= slot)
        store->slots_seen = slot + 1;
}

void cbm_store_mark(cbm_store *store, uint32_t slot)
{
    pthread_mutex_lock(&store->lock);
    see(store, slot);
    cbm_slot_set_add(&store->later, slot);
    if (store->later_due_ns == CBM_CORE_NEVER_NS) {
        store->later_due_ns = cbm_clock_ns() + LATER_NS;
        pthread_cond_signal(&store->wake);
    }
    pthread_mutex_unlock(&store->lock);
}

/* With the lock held. */
static uint64_t mark_now(cbm_store *store, uint32_t slot)
{
    see(store, slot);
    cbm_slot_set_add(&store->now, slot);
    pthread_cond_signal(&store->wake);
    return ++store->sequence;
}

uint64_t cbm_store_mark_now(cbm_store *store, uint32_t slot)
{
    uint64_t ticket;

    pthread_mutex_lock(&store->lock);
    ticket = mark_now(store, slot);
    pthread_mutex_unlock(&store->lock);
    return ticket;
}

uint64_t cbm_store_transition(cbm_store *store, const cbm_core_event *event)
{
    cbm_store_transition_row row = {
        .at_ms = cbm_store_wall_ms(store),
        .from = (uint8_t)event->from,
        .to = (uint8_t)event->to,
        .cause = (uint8_t)event->cause,
        .failures = event->failures,
    };
    uint64_t ticket;

    snprintf(row.name, sizeof row.name, "%s", event->name);
    pthread_mutex_lock(&store->lock);
    if (!cbm_store_queue_add(&store->queue, &row))
        store->queue.dropped++;
    ticket = mark_now(store, event->slot);
    pthread_mutex_unlock(&store->lock);
    return ticket;
}

uint64_t cbm_store_last_ticket(cbm_store *store)
{
    uint64_t last;

    pthread_mutex_lock(&store->lock);
    last = store->sequence;
    pthread_mutex_unlock(&store->lock);
    return last;
}

void cbm_store_ledger_ended(cbm_store *store, const uint8_t ledger[CBM_ID_SIZE])
{
    pthread_mutex_lock(&store->lock);
    cbm_store_ended_add(&store->ended, ledger);
    if (store->later_due_ns == CBM_CORE_NEVER_NS) {
        store->later_due_ns = cbm_clock_ns() + LATER_NS;
        pthread_cond_signal(&store->wake);
    }
    pthread_mutex_unlock(&store->lock);
}

size_t cbm_store_watermark(cbm_store *store, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry, uint64_t *counters,
                           size_t most)
{
    size_t count;

    pthread_mutex_lock(&store->lock);
    count = cbm_store_watermarks_get(&store->watermarks, ledger, entry, counters, most);
    pthread_mutex_unlock(&store->lock);
    return count;
}

cbm_store_waits *cbm_store_waits_of(cbm_store *store)
{
    return &store->waits;
}

/* ---- The threads ------------------------------------------------------------------------------------------------------ */

static void on_sync_failed(void *context)
{
    cbm_store *store = context;

    pthread_mutex_lock(&store->lock);
    store->sync_failed = true;
    pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->lock);
}

cbm_store_error cbm_store_start(cbm_store *store, const cbm_store_source *source)
{
    store->source = *source;
    if (cbm_store_flusher_start(&store->flusher, on_sync_failed, store) != 0)
        return CBM_STORE_E_NOMEM;
    store->running = pthread_create(&store->thread, NULL, cbm_store_run, store) == 0;
    if (store->running)
        return CBM_STORE_OK;
    cbm_store_flusher_stop(&store->flusher);
    return CBM_STORE_E_NOMEM;
}

void cbm_store_stop(cbm_store *store)
{
    if (!store->running)
        return;
    pthread_mutex_lock(&store->lock);
    store->stopping = true;
    pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->thread, NULL);
    store->running = false;
    cbm_store_flusher_stop(&store->flusher);
}

/* ---- Looking ---------------------------------------------------------------------------------------------------------- */

void cbm_store_health_get(cbm_store *store, cbm_store_health *health)
{
    pthread_mutex_lock(&store->lock);
    *health = store->health;
    pthread_mutex_unlock(&store->lock);
}

size_t cbm_store_history(cbm_store *store, const char *name, int64_t before, size_t limit,
                         cbm_store_transition_row *rows)
{
    size_t count;

    pthread_mutex_lock(&store->db_lock);
    count = cbm_store_db_get_history(&store->db, name, before, limit, rows);
    pthread_mutex_unlock(&store->db_lock);
    return count;
}

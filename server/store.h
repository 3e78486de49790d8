/*
 * The store: what outlives the broker, in an SQLite database of a directory of its own. It has a thread, and only that one ever
 * waits for the disk. Others mark what has changed, which takes a moment whatever the disk does, and the thread fetches
 * it from its source: so however long the disk is away, what waits to be written is the newest state of each breaker.
 *
 * A transition is written at once and has a ticket. When cbm_store_committed reaches it, the transition outlives the broker's
 * death; against the loss of power it is safe some milliseconds later. All else is written, together, within seconds.
 */
#ifndef CBM_SERVER_STORE_H
#define CBM_SERVER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbm_core.h"
#include "message.h"
#include "store_record.h"
#include "store_wait.h"

typedef struct cbm_store cbm_store;

typedef struct cbm_store_options {
    const char *directory;        /* made, with mode 0700, when it is not there */
    uint32_t slots;               /* max_breakers */
    const cbm_store_clock *clock; /* NULL: the system's */
} cbm_store_options;

typedef enum cbm_store_error {
    CBM_STORE_OK = 0,
    CBM_STORE_E_REFUSED, /* what is there was written by a newer cbmd, or not by cbmd at all */
    CBM_STORE_E_BUSY,    /* another cbmd uses the directory */
    CBM_STORE_E_IO,      /* it cannot be read, or the directory not be made */
    CBM_STORE_E_NOMEM,
} cbm_store_error;

/*
 * Takes the directory for as long as the store is open. A damaged database is moved aside, with a line in the log that says where
 * to. With another error than 0 nothing has changed, and `message` is a sentence.
 */
cbm_store_error cbm_store_open(cbm_store **store, const cbm_store_options *options, char *message, size_t message_size);
/* Writes what is marked, if the disk takes it, and closes. NULL is fine. */
void cbm_store_close(cbm_store *store);

/* Beyond all epochs and slot generations of before: first_epoch of the manager. */
uint32_t cbm_store_first_number(const cbm_store *store);

/* ---- At the start, before cbm_store_start ---- */

/* Takes a breaker that was stored elapsed_ns ago. Returns its slot; CBM_STORE_NOT_TAKEN: it stays in the store as it is. */
typedef uint32_t cbm_store_restore_visit(void *context, const cbm_core_snapshot *snapshot, int64_t elapsed_ns);
#define CBM_STORE_NOT_TAKEN UINT32_MAX
typedef struct cbm_store_restored {
    uint32_t taken, not_taken, unreadable;
    cbm_core_totals totals;
} cbm_store_restored;
/* CBM_STORE_E_IO: not all could be read. */
cbm_store_error cbm_store_restore(cbm_store *store, cbm_store_restore_visit *visit, void *context,
                                  cbm_store_restored *restored);
/*
 * Where the thread finds what was marked. `collect` fills in the records of up to CBM_STORE_SLICE slots, and the watermarks of
 * the ledgers that were folded into each, all as of one moment. `stored` tells whether what was collected since the last time,
 * for one transaction, is in the database now; it is called if the batch asks for that. Both may wait for the engine's lock, and
 * are called without any of the store's.
 */
typedef struct cbm_store_source {
    void (*collect)(void *context, const uint32_t *slots, size_t count, cbm_store_batch *batch);
    void *context;
    void (*stored)(void *context, bool stored);
} cbm_store_source;
cbm_store_error cbm_store_start(cbm_store *store, const cbm_store_source *source);
/* No more is collected from now on: writes what is marked, and ends the thread. */
void cbm_store_stop(cbm_store *store);

/* ---- What has changed: none of these waits, any lock may be held ---- */

void cbm_store_mark(cbm_store *store, uint32_t slot); /* written within seconds */
/* Written at once: returns the ticket. */
uint64_t cbm_store_mark_now(cbm_store *store, uint32_t slot);
/* The same for a transition, which goes into the history too. */
uint64_t cbm_store_transition(cbm_store *store, const cbm_core_event *event);
uint64_t cbm_store_last_ticket(cbm_store *store); /* 0: none was given yet */
/*
 * What had been taken, before the start, of an entry of a ledger and is in the statistics that were restored: up to `most`
 * counters; 0: nothing.
 */
size_t cbm_store_watermark(cbm_store *store, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry, uint64_t *counters,
                           size_t most);
/* A ledger has ended, and is in nobody's hands any more. */
void cbm_store_ledger_ended(cbm_store *store, const uint8_t ledger[CBM_ID_SIZE]);

static inline uint64_t cbm_store_committed(const cbm_store_waits *waits)
{
    return atomic_load_explicit(&waits->committed, memory_order_acquire);
}
/* For those whose reply depends on a ticket. */
cbm_store_waits *cbm_store_waits_of(cbm_store *store);

/* ---- Looking ---- */

typedef struct cbm_store_health {
    bool failing;    /* what is marked cannot be written for now */
    char error[160]; /* why; "": not failing */
} cbm_store_health;
void cbm_store_health_get(cbm_store *store, cbm_store_health *health);

/*
 * Up to `limit` transitions, the newest first, of one breaker (NULL: of all), before the row `before` (0: from the newest on).
 * Returns how many. It waits for the disk, so it is not for a callback of NNG or a holder of the engine's lock.
 */
size_t cbm_store_history(cbm_store *store, const char *name, int64_t before, size_t limit,
                         cbm_store_transition_row *rows);

#endif

/* The store from inside: what its face (store.c), its beginning (store_open.c) and its thread (store_writer.c) share. */
#ifndef CBM_SERVER_STORE_INNER_H
#define CBM_SERVER_STORE_INNER_H

#include "store.h"
#include "store_db.h"
#include "store_directory.h"
#include "store_flusher.h"
#include "store_slots.h"
#include "store_watermarks.h"

#define CBM_STORE_TRANSITIONS_MAX 16384 /* that wait to be written: beyond it the oldest are given up */

/* Transitions that wait. */
typedef struct cbm_store_queue {
    cbm_store_transition_row *rows;
    size_t count, capacity;
    uint64_t dropped;
} cbm_store_queue;

typedef struct cbm_store_ended {
    uint8_t (*ledgers)[CBM_ID_SIZE];
    size_t count, capacity;
} cbm_store_ended;

struct cbm_store {
    cbm_store_directory directory;
    cbm_store_clock clock;
    char boot_name[64];
    uint32_t slots;
    cbm_store_waits waits;
    cbm_store_flusher flusher;
    cbm_store_source source;
    pthread_t thread;
    bool running;

    /* What was marked, and how things stand: under this lock, which is held for moments only. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    cbm_slot_set now, later;
    uint32_t slots_seen;  /* slots at and above it were never marked */
    uint64_t sequence;    /* the last ticket */
    int64_t later_due_ns; /* CBM_CORE_NEVER_NS: nothing is marked for later */
    cbm_store_queue queue;
    cbm_store_ended ended;
    cbm_store_watermarks watermarks; /* of before the start */
    bool stopping;
    bool sync_failed;
    cbm_store_health health;

    /* The thread's own, but for the database, which a reader of the history uses too. */
    pthread_mutex_t db_lock;
    cbm_store_db db;
    cbm_store_manager_row manager;
    int64_t *row_of_slot; /* 0: that slot has none */
    int64_t next_row;
    uint32_t *taken; /* slots that are being written */
    uint32_t taken_count;
    uint32_t *taken_later; /* slots whose turn it is when nothing is urgent */
    uint32_t taken_later_count;
    cbm_store_queue transitions;
    cbm_store_ended endings;
    cbm_store_batch batch;
    bool tell_source;             /* what comes of the transaction under way */
    uint64_t transitions_written; /* since the history was trimmed */
    int64_t trimmed_ns;           /* 0: not yet */
    int64_t started_ns;
    int64_t retry_ns; /* failing: when to try again */
    int64_t retry_after_ns;
    int64_t complained_ns;
    bool checkpoint_due; /* what the log holds may not have reached the disk */
};

void cbm_store_clock_init(cbm_store *store, const cbm_store_clock *clock);
int64_t cbm_store_wall_ms(const cbm_store *store); /* NULL: of the system */
void cbm_store_now(const cbm_store *store, cbm_store_time *time);

/* Of store_open.c. Opens what is there or makes a new one; what is damaged is moved aside. _E_REFUSED, _E_IO with a message. */
cbm_store_error cbm_store_open_database(cbm_store *store, char *message, size_t message_size);
/* The damaged database, open until now, is moved aside and a new one made. */
cbm_store_error cbm_store_replace_database(cbm_store *store, const char *why, char *message, size_t message_size);

/* Of store_writer.c. */
void *cbm_store_run(void *store);
/* Everything is written again, as if all of it had changed. */
void cbm_store_mark_all(cbm_store *store);
/* Says that nothing can be written for now, in the log and in the health. */
void cbm_store_fail(cbm_store *store, const char *why);

/* Of store_queue.c. */
bool cbm_store_queue_add(cbm_store_queue *queue, const cbm_store_transition_row *row);
/* Puts what is in `from` behind what is in `to`, and empties it. */
void cbm_store_queue_move(cbm_store_queue *to, cbm_store_queue *from);
void cbm_store_ended_add(cbm_store_ended *ended, const uint8_t ledger[CBM_ID_SIZE]);
void cbm_store_ended_move(cbm_store_ended *to, cbm_store_ended *from);

#endif

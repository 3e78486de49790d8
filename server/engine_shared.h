/*
 * The engine and its shared memory: what has been counted in ledgers comes before what is done now, and what follows from that is
 * on the board before anybody is answered. Each operation is
 *
 *   pull        what the ledgers hold is recorded, so that it comes before the operation; what may decide holds the counting first
 *   apply       the operation itself, by the core
 *   publish     what the breaker says now is written on the board
 *   fence       if that ended the fast counting, or the epoch under which it was done: whoever counts after this sees it, and asks
 *   pull        what was counted before anybody could see it is recorded; that may open the breaker, which is published too
 *   unlock, reply
 *
 * While the board does not say that successes may stay in ledgers there is nothing to pull: what was counted before it said so
 * has been pulled, and who counts later sees it and asks for a pull. All of this is under the engine's lock.
 */
#ifndef CBM_SERVER_ENGINE_SHARED_H
#define CBM_SERVER_ENGINE_SHARED_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "ledgers.h"
#include "publisher.h"
#include "tokens.h"

/* What the engine knows of a slot for its board. */
typedef struct cbm_shared_slot {
    uint32_t next_changed; /* 1 + the slot that is published after it */
    uint32_t tick;         /* 1 + its place among those with a tick; 0: it has none */
    int64_t second;        /* with a tick: what was counted before this second has been recorded */
    bool changed;
    bool fast; /* the board says that successes may stay in ledgers */
} cbm_shared_slot;

/* The seconds of time windows: slots whose ledgers are pulled at each boundary. */
typedef struct cbm_second_ticks {
    uint32_t *slots;
    uint32_t count, capacity;
    uint32_t left;   /* of the tick under way, the first ones */
    int64_t next_ns; /* of the next tick */
    int64_t lateness_max_ns, lateness_last_ns;
} cbm_second_ticks;

typedef struct cbm_shared {
    cbm_publisher *publisher; /* NULL: none of this is there, and nobody has a ledger */
    cbm_tokens *tokens;
    cbm_ledgers ledgers;
    cbm_shared_slot *slots;
    uint32_t slot_count;
    uint32_t first_changed; /* 1 + slot; 0: none */
    cbm_second_ticks ticks;
    bool asks;                                     /* every begin goes to the broker, where it is counted */
    void (*ended)(void *context, uint64_t holder); /* NULL: nobody hands ledgers over, so there are no tokens for it */
    void *ended_context;
    const cbm_ledger **unmapped; /* when the lock is released */
    uint32_t unmapped_count, unmapped_capacity;
    uint64_t *nameless; /* connections of processes without a pid that may attach */
    uint32_t nameless_count, nameless_capacity;
} cbm_shared;

/* Without shared memory on this system that is no error. CBM_PROTO_E_NOMEM. */
int cbm_shared_init(cbm_shared *shared, const cbm_engine_options *options, const uint8_t incarnation[CBM_ID_SIZE]);
void cbm_shared_deinit(cbm_shared *shared);

/* Something of that slot may have changed: what it says now is published before the lock is released. */
void cbm_shared_change(cbm_shared *shared, uint32_t slot);
/* The same for what the core tells. */
void cbm_shared_event(cbm_shared *shared, const cbm_core_event *event);
/* Has it unmapped when the lock is released. */
void cbm_shared_unmap(cbm_shared *shared, const cbm_ledger *page);

/* ---- The parts of an operation ---- */

/*
 * Before an operation on a breaker: pulls what can decide anything, or all; a breaker that time has done something to in any
 * case. False: there is none of that name; then time's work is done first, since the core may do it to make room.
 */
bool cbm_engine_pull_name(cbm_engine *engine, const char *name, cbm_ledger_depth depth, int64_t now_ns);
/*
 * Before an operation that may open the breaker, end the fast counting or its epoch: takes `fast` from the board and pulls. Who
 * counts a success after this waits for the lock. Otherwise one could be counted between the pull and the new word, after which
 * its process begins another call: by the board before the operation, by what was recorded after it.
 */
void cbm_engine_hold(cbm_engine *engine, uint32_t slot, int64_t now_ns);
void cbm_engine_hold_name(cbm_engine *engine, const char *name, int64_t now_ns);
/* Before a report: a hold if it may decide, else a pull. */
void cbm_engine_pull_for_report(cbm_engine *engine, const cbm_report_message *message, int64_t now_ns);
/* Before one that the ledgers cannot change: pulls only a breaker that time has done something to. */
void cbm_engine_pull_if_due(cbm_engine *engine, const char *name, int64_t now_ns);
void cbm_engine_pull_slot(cbm_engine *engine, uint32_t slot, cbm_ledger_depth depth, int64_t now_ns);
/* Before one on each of some slots, which then are published. */
void cbm_engine_pull_range(cbm_engine *engine, uint32_t first, uint32_t count, int64_t now_ns);
/* Before one on any number of breakers. */
void cbm_engine_pull_all(cbm_engine *engine, int64_t now_ns);
/* What was counted long ago: statistics alone. False: there is nothing. */
bool cbm_engine_record_before(cbm_engine *engine, uint32_t slot, const cbm_ledger_news *news);
/* One entry of a ledger, for the last time. */
void cbm_engine_pull_entry(cbm_engine *engine, cbm_mapped_ledger *ledger, uint32_t entry, int64_t now_ns);

/* ---- Time (engine_ticks.c) ---- */

/* Whether the slot is among those that are pulled at each boundary of a second follows what it says now. */
void cbm_shared_tick_as_needed(cbm_shared *shared, uint32_t slot, const cbm_core_glance *glance, int64_t now_ns);
/* What is due by time, each breaker pulled before. Returns whether there is more: no more than the lock may be held for. */
bool cbm_engine_tick(cbm_engine *engine, int64_t now_ns);
/* Of it what is due in the core; until the clock says end_ns. */
bool cbm_engine_tick_deadlines(cbm_engine *engine, int64_t now_ns, int64_t end_ns);
/* When there is something to do by time. */
int64_t cbm_engine_next_deadline(const cbm_engine *engine);

/* ---- Ledgers (engine_ledgers.c) ---- */

void cbm_engine_give_up_ledger(cbm_engine *engine, cbm_mapped_ledger *ledger);
/* A connection is gone: ledgers of processes without a pid that came by it end. */
void cbm_engine_end_nameless(cbm_engine *engine, uint64_t connection);
/* Binds an entry of the claimed ledger to the breaker of *status, which then tells what had been counted in it as well. */
void cbm_engine_claim(cbm_engine *engine, cbm_caller *caller, cbm_ledger_claim *claim, cbm_core_status *status);
/* To whom a permit of the caller belongs: its ledger, that is its process, while there is one; else its connection. */
uint64_t cbm_engine_holder_of(cbm_engine *engine, cbm_caller *caller);

/* ---- The end of an operation ---- */

/* Publishes what has changed: the last thing under the lock. */
void cbm_engine_publish(cbm_engine *engine);
/* Hands over what is to be unmapped. */
void cbm_shared_take_unmapped(cbm_shared *shared, const cbm_ledger ***pages, uint32_t *count);
/* Behind the lock, since nobody needs to wait for it. */
void cbm_engine_unmap(const cbm_ledger **pages, uint32_t count);

#endif

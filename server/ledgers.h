/*
 * The ledgers that are mapped (proto/ledger.h), and who holds which breaker: what has been counted of a breaker is read from
 * those that hold it, and from nobody else. Guarded by the engine's lock.
 *
 * What stands in a ledger is its process's word, and may change while it is read. All that is taken of it are differences to
 * what was seen before: one that is negative, or more than a process can have counted, gives the ledger up.
 */
#ifndef CBM_SERVER_LEDGERS_H
#define CBM_SERVER_LEDGERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "ledger.h"

#define CBM_LEDGER_NEW_MAX (UINT64_C(1) << 40)

/* The counters of an entry, each the sum of its lanes: those of successes by epoch modulo CBM_LEDGER_EPOCHS come first. */
enum {
    CBM_COUNTER_LATE = CBM_LEDGER_EPOCHS,
    CBM_COUNTER_REJECTED,
    CBM_COUNTER_HALF_OPEN_REJECTED,
    CBM_COUNTER_TIMED,
    CBM_LEDGER_COUNTERS,
};

/* What has been taken of an entry, its watermark: the counters, then the buckets of its durations modulo 2^32. */
#define CBM_LEDGER_MARK (CBM_LEDGER_COUNTERS + CBM_LEDGER_BUCKETS)

/* What is new since then. */
typedef struct cbm_ledger_news {
    uint64_t counters[CBM_LEDGER_COUNTERS];
    uint64_t durations[CBM_LEDGER_BUCKETS]; /* only if counters[CBM_COUNTER_TIMED] */
} cbm_ledger_news;

/* What can decide anything, or all. */
typedef enum cbm_ledger_depth {
    CBM_LEDGER_SUCCESSES,
    CBM_LEDGER_ALL,
} cbm_ledger_depth;

typedef enum cbm_entry_state {
    CBM_ENTRY_FRESH,   /* nobody has been given it */
    CBM_ENTRY_FOREIGN, /* nor that, but something was counted in it: of a breaker that an earlier broker gave it to */
    CBM_ENTRY_LEFT,    /* its breaker is gone */
    CBM_ENTRY_BOUND,
} cbm_entry_state;

/* An entry as the broker knows it. */
typedef struct cbm_entry_record {
    cbm_entry_state state;
    bool charged;                       /* to its user */
    bool noted;                         /* among those that were left */
    uint32_t slot;                      /* BOUND: its breaker's */
    uint32_t at;                        /* BOUND: its place among the holdings of that slot */
    uint64_t name;                      /* BOUND, LEFT: hash of the breaker's name */
    uint32_t *durations;                /* seen; NULL: none */
    uint64_t seen[CBM_LEDGER_COUNTERS]; /* but for BOUND: then the holding has it */
} cbm_entry_record;

typedef struct cbm_mapped_ledger {
    uint8_t id[CBM_ID_SIZE];
    cbm_ledger_owner owner;
    uint64_t holder;        /* its number, as the holder of permits */
    const cbm_ledger *page; /* NULL: it was given up; its process may hold permits still */
    bool broken;            /* to be given up */
    cbm_entry_record *entries;
    uint32_t entry_count;
    uint64_t charged; /* bytes that the broker reads, to its user */
    struct cbm_mapped_ledger *next_broken;
} cbm_mapped_ledger;

/* What one ledger holds of one breaker. Those of a breaker lie side by side, so that a pull is one walk over memory. */
typedef struct cbm_holding {
    _Alignas(64) const cbm_ledger *page;
    cbm_mapped_ledger *ledger;
    uint32_t entry;
    uint32_t lanes; /* in use when it was read last */
    uint64_t seen[CBM_LEDGER_COUNTERS];
} cbm_holding;

_Static_assert(sizeof(cbm_holding) == 128, "two lines of cache");

typedef struct cbm_holdings {
    cbm_holding *all;
    uint32_t count, capacity;
} cbm_holdings;

/* The watermark of an entry from before this broker began, up to `most` of it. Returns how much of it is known; the rest is 0. */
typedef size_t cbm_ledger_recall(void *context, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry, uint64_t *mark,
                                 size_t most);

/* An entry whose breaker is gone. */
typedef struct cbm_left_entry {
    uint64_t holder;
    uint32_t entry;
} cbm_left_entry;

typedef struct cbm_ledgers {
    cbm_holdings *slots;
    uint32_t slot_count;
    uint32_t held_below;     /* no slot from this one on was ever held */
    cbm_mapped_ledger **all; /* by place; NULL: free */
    uint32_t count, capacity, next_place;
    struct cbm_ledger_node *by_id;
    uint64_t numbers; /* given to ledgers so far */
    cbm_mapped_ledger *broken;
    cbm_ledger_recall *recall; /* NULL: nothing is known of before, and nothing will be of now */
    void *recall_context;
    cbm_left_entry *left; /* of which the watermark is not stored, if there is a recall */
    uint32_t left_count, left_capacity;
    uint32_t left_read; /* the first ones are being stored */
} cbm_ledgers;

int cbm_ledgers_init(cbm_ledgers *ledgers, uint32_t slots); /* CBM_PROTO_E_NOMEM */
void cbm_ledgers_deinit(cbm_ledgers *ledgers);              /* unmaps what is left */

/* Whether a holder of permits is a ledger, that is or was: their numbers never meet those of connections. */
bool cbm_ledgers_is_number(uint64_t holder);
/* A ledger of an id that is not there yet. CBM_PROTO_E_NOMEM, CBM_PROTO_E_FULL. */
int cbm_ledgers_add(cbm_ledgers *ledgers, const uint8_t id[CBM_ID_SIZE], const cbm_ledger *page,
                    const cbm_ledger_owner *owner, cbm_mapped_ledger **ledger);
/* Forgets it. No entry may be bound any more. Returns what is to be unmapped; NULL: nothing. */
const cbm_ledger *cbm_ledgers_remove(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger);
/* Another mapping of the same ledger. Returns the old one. */
const cbm_ledger *cbm_ledgers_remap(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, const cbm_ledger *page);
cbm_mapped_ledger *cbm_ledgers_find(const cbm_ledgers *ledgers, const uint8_t id[CBM_ID_SIZE]);
cbm_mapped_ledger *cbm_ledgers_of_holder(const cbm_ledgers *ledgers, uint64_t holder);

/*
 * The entry for a breaker, bound to it: the one that is already; `wanted` (-1: none in particular), unless that is another's; one
 * that was that breaker's; a fresh one; one whose breaker is gone. -1: there is none. *before: what is in it and was never taken:
 * the outcomes are of that breaker, but of long ago.
 */
int64_t cbm_ledgers_bind(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, uint32_t slot, const char *name,
                         int64_t wanted, cbm_ledger_news *before);
void cbm_ledgers_unbind(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, uint32_t entry);
/* The breaker of that slot is gone. */
void cbm_ledgers_unbind_slot(cbm_ledgers *ledgers, uint32_t slot);

static inline uint32_t cbm_ledgers_holders(const cbm_ledgers *ledgers, uint32_t slot)
{
    return slot < ledgers->held_below ? ledgers->slots[slot].count : 0;
}

/* Adds what is new of a breaker in all ledgers that hold it, and takes it: the next call does not find it again. */
void cbm_ledgers_read(cbm_ledgers *ledgers, uint32_t slot, cbm_ledger_depth depth, cbm_ledger_news *news);
/* The same of one entry, which is bound. */
void cbm_ledgers_read_entry(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger, uint32_t entry, cbm_ledger_depth depth,
                            cbm_ledger_news *news);

/* The watermark of the holding `index` of a slot. Returns its entry. */
uint32_t cbm_ledgers_mark(const cbm_ledgers *ledgers, uint32_t slot, uint32_t index, uint8_t ledger[CBM_ID_SIZE],
                          uint64_t mark[CBM_LEDGER_MARK]);
/* That of an entry whose breaker is gone, each once until the next call of the other function. False: no more. */
bool cbm_ledgers_next_left(cbm_ledgers *ledgers, uint8_t ledger[CBM_ID_SIZE], uint32_t *entry,
                           uint64_t mark[CBM_LEDGER_MARK]);
/* Those that were read since the last time are stored, or are not: then they are read again. */
void cbm_ledgers_left_stored(cbm_ledgers *ledgers, bool stored);

/* A ledger that turned out not to make sense, taken off the list of them; NULL: no more. */
cbm_mapped_ledger *cbm_ledgers_next_broken(cbm_ledgers *ledgers);

#endif

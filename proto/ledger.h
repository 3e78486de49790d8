/*
 * A ledger: what one client process has counted of its calls. One writer, the process; the broker has it mapped read-only
 * and trusts nothing in it. What stands in it only grows: the broker takes the differences, so nothing is gathered, aged or
 * flushed, and a process that is killed loses nothing of it.
 *
 * A memfd of fixed size, sealed against shrinking and growing. A header; the entries, lane after lane; the histograms,
 * likewise. An entry belongs to one breaker; a lane to one thread at a time, so that threads share no line of cache.
 */
#ifndef CBM_PROTO_LEDGER_H
#define CBM_PROTO_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbm_core.h"
#include "message.h"

#define CBM_LEDGER_MAGIC UINT64_C(0x3172656764654c43) /* "CLedger1" */
#define CBM_LEDGER_VERSION 1
#define CBM_LEDGER_SIZE ((size_t)1 << 20)
#define CBM_LEDGER_ENTRIES 255 /* more breakers of one process go by message */
#define CBM_LEDGER_LANES 16
#define CBM_LEDGER_EPOCHS 8          /* counters of successes, by epoch modulo this */
#define CBM_LEDGER_HISTOGRAM_LANES 4 /* that of lane l is l % 4: threads meet there only beyond four */
#define CBM_LEDGER_BUCKETS 128

/* Written by the threads of its lane alone, but for a lane that more than one has to share: so all are atomic. */
typedef struct cbm_entry {
    _Alignas(64) _Atomic uint64_t successes[CBM_LEDGER_EPOCHS]; /* fast ones, by the epoch of their permit */
    _Alignas(64) _Atomic uint64_t late;                         /* successes whose permit was of an older epoch */
    _Atomic uint64_t rejected;                                  /* refused from the board, in OPEN and FORCED_OPEN */
    _Atomic uint64_t half_open_rejected;                        /* refused from the board as FULL; not in `rejected` */
    _Atomic uint64_t timed;                                     /* durations added to the histogram */
    uint64_t reserved[4];
} cbm_entry;

/* Durations of successes (fast and late ones), log-scale: cbm_ledger_bucket. */
typedef struct cbm_ledger_histogram {
    _Alignas(64) _Atomic uint32_t counts[CBM_LEDGER_BUCKETS];
} cbm_ledger_histogram;

typedef struct cbm_ledger {
    uint64_t magic;
    uint32_t version;
    uint32_t entry_size;
    uint64_t size;
    uint32_t entry_count;
    uint32_t lane_count;
    uint8_t id[CBM_ID_SIZE];                    /* random: the ledger's name on the wire and in the store */
    _Alignas(64) _Atomic uint32_t lanes_in_use; /* never lowered: lanes at and above it were never written */
    _Alignas(128) cbm_entry entries[CBM_LEDGER_LANES][CBM_LEDGER_ENTRIES];
    cbm_ledger_histogram histograms[CBM_LEDGER_HISTOGRAM_LANES][CBM_LEDGER_ENTRIES];
} cbm_ledger;

_Static_assert(sizeof(cbm_entry) == 128, "two lines of cache");
_Static_assert(offsetof(cbm_ledger, entries) <= 256, "a small client's header and entries share a page");
_Static_assert(sizeof(cbm_ledger) <= CBM_LEDGER_SIZE, "it fits");

/* For the writer: fills the header of a zeroed ledger. */
void cbm_ledger_init(cbm_ledger *ledger, const uint8_t id[CBM_ID_SIZE]);
/* Whether the header is one that this version understands. The writer may change it at any time: copy what is used. */
bool cbm_ledger_valid(const cbm_ledger *ledger, size_t size);
/* Four steps for each doubling, from a microsecond on. */
uint32_t cbm_ledger_bucket(int64_t duration_ns);
/* A duration that stands for all of a bucket. */
int64_t cbm_ledger_bucket_ns(uint32_t bucket);

#endif

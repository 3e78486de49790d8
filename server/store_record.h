/* What the store writes and reads: records of breakers, watermarks of ledgers, transitions. */
#ifndef CBM_SERVER_STORE_RECORD_H
#define CBM_SERVER_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbm_core.h"
#include "message.h"

#define CBM_STORE_SLICE 32               /* breakers that are collected at once */
#define CBM_STORE_WATERMARK_COUNTERS 192 /* of an entry, at most */

/* Where time comes from. The monotonic clock counts within one boot only; the wall clock goes on, and may jump. */
typedef struct cbm_store_clock {
    int64_t (*wall_ms)(void *context);
    int64_t (*monotonic_ns)(void *context);
    const char *boot; /* a name of this boot */
    void *context;
} cbm_store_clock;

/* When something was written: by both clocks, since only within one boot the monotonic one can be compared. */
typedef struct cbm_store_time {
    int64_t wall_ms;
    int64_t monotonic_ns;
    int64_t boot; /* boots are numbered */
} cbm_store_time;

typedef struct cbm_store_record {
    int64_t row; /* in the table */
    cbm_store_time written;
    cbm_core_snapshot snapshot;
} cbm_store_record;

/* What has been taken of an entry of a ledger, in as many counters as whoever takes it has. */
typedef struct cbm_store_watermark_row {
    uint8_t ledger[CBM_ID_SIZE];
    uint32_t entry;
    uint32_t count;
    uint64_t counters[CBM_STORE_WATERMARK_COUNTERS];
} cbm_store_watermark_row;

/* A slice of what was marked, as of one moment. */
typedef struct cbm_store_batch {
    struct {
        uint32_t slot;
        bool present; /* else the slot is empty */
        cbm_core_snapshot snapshot;
    } breakers[CBM_STORE_SLICE];
    size_t count;
    cbm_core_totals totals;
    cbm_store_watermark_row *watermarks; /* owned */
    size_t watermark_count, watermark_capacity;
    bool asks_back;  /* whoever collected wants to know whether it was stored */
    bool incomplete; /* there was no memory for all of it: nothing of it may be written */
} cbm_store_batch;

/* For `collect`. */
void cbm_store_batch_watermark(cbm_store_batch *batch, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry,
                               const uint64_t *counters, size_t count);

typedef struct cbm_store_transition_row {
    int64_t row;   /* later ones are greater */
    int64_t at_ms; /* wall clock */
    char name[CBM_CORE_NAME_MAX + 1];
    uint8_t from, to, cause;
    uint32_t failures;
} cbm_store_transition_row;

#endif

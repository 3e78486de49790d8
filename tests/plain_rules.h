/*
 * The plain rules of one breaker, as one process without memory to share would follow them, for histories of a few
 * operations whose times are known only within an interval. A value: copied, compared and hashed byte by byte.
 *
 * No lease ends in such a history, and no failure grows too old to count; OPEN ends, and seconds pass.
 */
#ifndef CBM_TEST_PLAIN_RULES_H
#define CBM_TEST_PLAIN_RULES_H

#include "cbm_core.h"

enum { PLAIN_WINDOW_MAX = 16, PLAIN_SECONDS_MAX = 4, PLAIN_PERMITS_MAX = 32 };

typedef struct plain_totals {
    int32_t calls, failures, slow;
} plain_totals;

typedef struct plain_breaker {
    int64_t now_ns; /* the earliest that it can be */
    int64_t second; /* that of the last outcome, time windows */
    /* OPEN: when it ends at the earliest and at the latest. */
    int64_t open_ends_from_ns, open_ends_to_ns;
    int32_t state; /* cbm_core_state */
    int32_t epoch; /* from 1 */
    int32_t in_a_row;
    int32_t opened_failures;
    int32_t permits_out;
    plain_totals probes;
    int32_t late, transitions;
    int32_t window_count;
    plain_totals seconds[PLAIN_SECONDS_MAX]; /* [0]: that of `second`, [1]: the one before, ... */
    uint8_t window[PLAIN_WINDOW_MAX];        /* oldest first; bit 0: failure, bit 1: slow */
    uint8_t permit_epochs[PLAIN_PERMITS_MAX];
    uint8_t permit_is_probe_out[PLAIN_PERMITS_MAX];
} plain_breaker;

void plain_init(plain_breaker *b, int64_t now_ns);

/*
 * Each is one operation that takes effect at some time from `from_ns` to `to_ns`, and not before those already done. False: with
 * this answer it cannot have.
 */
bool plain_begin(plain_breaker *b, const cbm_core_policy *policy, int64_t from_ns, int64_t to_ns, int error, bool probe,
                 int permit);
/* `second`: in which the outcome falls (time windows): see plain_seconds. */
bool plain_report(plain_breaker *b, const cbm_core_policy *policy, int64_t from_ns, int64_t to_ns, int permit,
                  cbm_core_outcome outcome, bool slow, int open_for_ms, int64_t second);
bool plain_reset(plain_breaker *b, int64_t from_ns, int64_t to_ns);
/* Only its time: what a reader sees is for the caller to compare. `second` as above. */
bool plain_read(plain_breaker *b, const cbm_core_policy *policy, int64_t from_ns, int64_t to_ns, int64_t second);

/* The failures that are shown. */
int plain_failures(const plain_breaker *b, const cbm_core_policy *policy);

#endif

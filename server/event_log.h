/*
 * What the core tells as it happens, as lines of the log. Refusals that repeat are counted, not repeated; of all else there are
 * so many lines a second at most, since resets, for one, are limited by nothing.
 */
#ifndef CBM_SERVER_EVENT_LOG_H
#define CBM_SERVER_EVENT_LOG_H

#include "caller.h"
#include "cbm_core.h"

/* Refusals: the first is logged, those that follow within a second are counted into the next line. */
typedef struct cbm_refusals {
    int64_t logged_ns; /* 0: not yet */
    uint32_t untold;   /* since then */
} cbm_refusals;

#define CBM_EVENT_LINES_A_SECOND 2000 /* of each level: many at level info keep no warning away */

/* Lines of one level. */
typedef struct cbm_event_lines {
    int64_t since_ns;
    uint32_t told;   /* since then */
    uint64_t untold; /* likewise, beyond the limit */
} cbm_event_lines;

typedef struct cbm_event_log {
    cbm_refusals *rejections; /* of each slot */
    uint32_t slots;
    cbm_refusals rate_limited;
    cbm_event_lines warnings, others;
} cbm_event_log;

int cbm_event_log_init(cbm_event_log *log, uint32_t slots); /* CBM_CORE_E_NOMEM */
void cbm_event_log_deinit(cbm_event_log *log);
/* Queues the event's line; caller: whose request caused it, NULL: nobody's. Under the engine's lock. */
void cbm_event_log_add(cbm_event_log *log, const cbm_core_event *event, const cbm_caller *caller);

#endif

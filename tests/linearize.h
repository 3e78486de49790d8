/*
 * Whether there is an order of the operations of a history, each taking effect at one time between its start and its end, in
 * which the plain rules give exactly these answers. A search through all orders (Wing and Gong) that goes nowhere twice: what
 * has been done already and the breaker that came of it are remembered.
 */
#ifndef CBM_TEST_LINEARIZE_H
#define CBM_TEST_LINEARIZE_H

#include "cbm_core.h"

#include <stdio.h>

enum { LINEARIZE_MAX = 24 };

typedef enum event_kind {
    EVENT_BEGIN,
    EVENT_REPORT,
    EVENT_RESET,
    EVENT_READ,
} event_kind;

/* What a reader saw. */
typedef struct event_reading {
    cbm_core_state state;
    int failures;
    int successful_calls, failed_calls, ignored_calls, late_reports, rejected_calls, state_transitions;
} event_reading;

typedef struct event {
    event_kind kind;
    int process;
    int64_t start_ns, end_ns; /* CLOCK_MONOTONIC, in all processes the same */
    int error;                /* BEGIN: 0, or the cbm_core_error */
    bool probe;               /* BEGIN, with 0 */
    int permit;               /* BEGIN with 0, REPORT: which, from 0, in the whole history */
    cbm_core_outcome outcome; /* REPORT */
    bool slow;
    int open_for_ms; /* 0: none */
    event_reading reading;
} event;

typedef struct history {
    cbm_core_policy policy;
    /*
     * How much earlier than it began an outcome may be dated (time windows): what stands in a ledger when a second ends is
     * taken a little after that, as of the second that ended.
     */
    int64_t dated_back_ns;
    int count;
    event events[LINEARIZE_MAX];
} history;

typedef struct linearize_result {
    bool linearizable;
    uint64_t states;          /* looked at */
    int longest;              /* the most operations that could be put in order */
    int order[LINEARIZE_MAX]; /* those */
} linearize_result;

void linearize(const history *h, linearize_result *result);
void history_print(const history *h, const linearize_result *result, FILE *to);

#endif

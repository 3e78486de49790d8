/*
 * A breaker of libcbm-core and the model of it, walked in step: each step is done to both, and after each they must say the
 * same of everything that can be read.
 */
#ifndef CBM_TEST_PAIR_H
#define CBM_TEST_PAIR_H

#include "cbm_core.h"
#include "model.h"

typedef enum step_kind {
    STEP_BEGIN,      /* holder, ms: the lease, -1: the policy's */
    STEP_REPORT,     /* which, outcome, duration_ms, open_for_ms */
    STEP_OBSERVE,    /* a report without a permit: outcome, duration_ms, open_for_ms */
    STEP_HAND_OVER,  /* a report that is late by declaration: outcome, count */
    STEP_ADVANCE,    /* ms */
    STEP_ADVANCE_TO, /* which moment (0: the next one) and offset_ns from it */
    STEP_RESET,
    STEP_CONTROL,     /* control, ms: for how long */
    STEP_HOLDER_GONE, /* holder */
    STEP_TICK,
    STEP_CONFIGURE, /* which field, ms: its value in steps of the field */
} step_kind;

#define OLDEST (-1) /* permit that is not reported yet */
#define NEWEST (-2)

typedef struct step {
    step_kind kind;
    int which; /* REPORT: OLDEST, NEWEST, or a permit's number, reported already or not */
    int64_t offset_ns;
    cbm_core_outcome outcome;
    int64_t duration_ms; /* -1: not known */
    uint32_t open_for_ms;
    uint64_t count;
    uint64_t holder;
    int64_t ms;
    cbm_core_control control;
} step;

/* One manager for all walks of this process. The text tells a reader of a failure how to get here again. */
void pair_init(void);
void pair_deinit(void);
void pair_start(const cbm_core_policy_request *request, int64_t into_second_ns, const char *text);
/* false: there was nothing to do, and nothing was done. Fails the test at the first difference. */
bool pair_do(const step *step);
/* How many permits were given since the start. */
int pair_permits(void);

#endif

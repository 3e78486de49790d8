/*
 * A second statement of what one breaker does, naive on purpose, for the tests to compare libcbm-core with.
 *
 * It keeps the whole history: every epoch, every outcome, every permit. Nothing is counted as it goes; each question is
 * answered by looking the history through again. The breaker's state is that of the last epoch.
 */
#ifndef CBM_TEST_MODEL_H
#define CBM_TEST_MODEL_H

#include "cbm_core.h"

#define MODEL_MAX 1024 /* epochs, records, permits in one run */

/* A span of time between two raises of the epoch: one state, one rule count. */
typedef struct model_epoch {
    cbm_core_state state;
    cbm_core_cause cause; /* of its beginning */
    int64_t began_ns;
    int64_t open_until_ns;   /* OPEN */
    int64_t control_ends_ns; /* CBM_CORE_NEVER_NS: none, or without end */
} model_epoch;

typedef struct model_record {
    int64_t at_ns;
    int epoch; /* of the breaker when it was recorded */
    cbm_core_outcome outcome;
    uint64_t count;
    bool slow;
    bool counts;    /* the rule sees it */
    bool forgotten; /* it did, until a new policy made its window smaller */
    bool opens;     /* ... and says open, asked after it */
    bool late;
    bool lumped;
    bool lease;     /* not reported: a lease ran out */
    bool abandoned; /* not reported: the holder is gone */
} model_record;

typedef struct model_permit {
    int epoch;
    bool probe; /* given in HALF_OPEN: it is remembered */
    bool out;
    uint64_t holder;
    int64_t lease_ends_ns; /* CBM_CORE_NEVER_NS: as long as the holder lives */
} model_permit;

typedef struct model {
    cbm_core_policy policy;
    int64_t policy_since_ns;
    int64_t now_ns;
    int epochs_count, records_count, permits_count;
    uint64_t rejected, half_open_rejected, released;
    bool open_time_unknown; /* jitter: the last epoch's open_until_ns is to be told by model_learn_open */
    model_epoch epochs[MODEL_MAX];
    model_record records[MODEL_MAX];
    model_permit permits[MODEL_MAX];
} model;

void model_init(model *m, const cbm_core_policy *policy, int64_t now_ns);

/* 0 and the permit's number, or the error that libcbm-core answers. lease_ms -1: the policy's. */
int model_begin(model *m, uint64_t holder, int64_t lease_ms, int64_t now_ns, int *permit, int64_t *retry_after_ns);
/* permit -1: none. */
void model_report(model *m, int permit, const cbm_core_report *report, int64_t now_ns);
void model_reset(model *m, int64_t now_ns);
void model_control(model *m, cbm_core_control control, uint32_t for_ms, int64_t now_ns);
void model_holder_gone(model *m, uint64_t holder, int64_t now_ns);
/* Not for another rule. Other window sizes and thresholds: in CLOSED and METRICS_ONLY only. */
void model_configure(model *m, const cbm_core_policy *policy, int64_t now_ns);
/* What falls due up to now happens, each at its own time. */
void model_settle(model *m, int64_t now_ns);

/* The range of how long an OPEN that began last may last, and the telling of it (jitter). */
void model_open_range(const model *m, int64_t *least_ns, int64_t *most_ns);
void model_learn_open(model *m, int64_t open_until_ns);

const model_epoch *model_now(const model *m);
/* The next time at which something happens by itself (lease, maximum wait, end of a control). */
int64_t model_next_deadline(const model *m);
/* Times after now at which an answer changes: those, the end of OPEN, failures that age, ...; returns how many. */
int model_moments(const model *m, int64_t moments[], int limit);
/* Fills what of a status can be known from the history; the rest is left alone. */
void model_status(model *m, int64_t now_ns, cbm_core_status *status);

#endif

/*
 * The same events through two managers. One is told of everything at once. The other is told of it as clients and broker do it
 * through shared memory: what clients see of the breaker is what was published after the last operation on it; begins are
 * allowed and refused from that alone; fast successes are only counted, and recorded when they are pulled: before each failure,
 * timeout, slow call and control, before a deadline that is due, at each second for a time window, whenever states are read, and
 * when `fast` goes off. Both must answer the same, go through the same states, and count the same.
 */
#ifndef CBM_TEST_HELD_BACK_H
#define CBM_TEST_HELD_BACK_H

#include "cbm_core.h"

enum { STEPS_MAX = 48 };

typedef enum kind {
    BEGIN,
    SUCCEED,
    FAIL, /* or timeout, ignored; with a duration, with open_for_ms */
    OBSERVE,
    ADVANCE,
    READ,
    HOLDER_GONE,
    CONTROL,
    RESET,
    CONFIGURE,
    OTHER_RULE,
    REPLACE, /* removed and created again */
    HAND_OVER,
    KINDS
} kind;

typedef struct step {
    kind kind;
    uint32_t a, b;
} step;

typedef struct sequence {
    uint32_t first_epoch;
    uint64_t jitter_seed;
    const cbm_core_policy_request *policy;
    const cbm_core_policy_request *other_rule; /* what OTHER_RULE configures */
    int count;
    step steps[STEPS_MAX];
} sequence;

/* What the two disagree on, NULL: nothing. */
const char *held_back_run(const sequence *q);
/* In all runs: successes that were held back and pulled, begins that were refused from the board. */
extern uint64_t held_back_pulled, held_back_refused;

#endif

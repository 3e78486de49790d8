/* What a breaker counts, and what it remembers of its past. */
#ifndef CORE_STATISTICS_H
#define CORE_STATISTICS_H

#include "cbm_core.h"
#include "histogram.h"

/* But for the successes: those stand where a call finds them (breaker.h). */
typedef struct core_counters {
    uint64_t failed;
    uint64_t timeout;
    uint64_t ignored;
    uint64_t slow;
    uint64_t rejected;
    uint64_t half_open_rejected;
    uint64_t late;
    uint64_t lumped;
    uint64_t leases_expired;
    uint64_t abandoned;
} core_counters;

/*
 * What most breakers never need: made at the first failure text, transition or difference. Without memory for it
 * the breaker works as well, and only this part of its past is missing.
 */
typedef struct core_history {
    char *error_text;
    uint32_t error_capacity;
    uint32_t told_count;
    uint32_t *told; /* the sets of differing fields that were told already */
    int64_t time_in_state_ns[CBM_CORE_STATES];
    uint64_t transitions[CBM_CORE_STATES][CBM_CORE_STATES];
} core_history;

void core_history_free(core_history *history); /* NULL is fine */

/* Each makes *history at need, and does without when there is no memory. */
void core_history_transition(core_history **history, cbm_core_state from, cbm_core_state to, int64_t lasted_ns);
void core_history_error_text(core_history **history, const char *text);
/* Whether this set of fields was not told yet; it counts as told from now on. */
bool core_history_first_time(core_history **history, uint32_t fields);

/* Counts outcomes that are no successes. */
void core_counters_outcome(core_counters *counters, cbm_core_outcome outcome, uint64_t count);
/* What was refused, or came late, without anybody asking here. */
void core_counters_elsewhere(core_counters *counters, const cbm_core_counts *counts);
/* Everything of `statistics` but the successes and the time in the present state. */
void core_statistics_fill(cbm_core_statistics *statistics, const core_counters *counters, const core_history *history,
                          const core_histogram *durations);

#endif

#include "statistics.h"

#include <stdlib.h>
#include <string.h>

#define TOLD_MAX 64 /* a breaker whose callers differ in more ways than this has told enough */

static core_history *made(core_history **history)
{
    if (*history == NULL) {
        *history = calloc(1, sizeof(**history));
    }
    return *history;
}

void core_history_free(core_history *history)
{
    if (history != NULL) {
        free(history->error_text);
        free(history->told);
        free(history);
    }
}

void core_history_transition(core_history **history, cbm_core_state from, cbm_core_state to, int64_t lasted_ns)
{
    if (made(history) != NULL) {
        (*history)->transitions[from][to]++;
        (*history)->time_in_state_ns[from] += lasted_ns;
    }
}

void core_history_error_text(core_history **history, const char *text)
{
    size_t length = strnlen(text, CBM_CORE_TEXT_MAX + 4); /* so that the character at the cut is seen whole */
    uint32_t needed = (uint32_t)(length > CBM_CORE_TEXT_MAX ? CBM_CORE_TEXT_MAX : length) + 1;

    if (made(history) == NULL) {
        return;
    }
    if (needed > (*history)->error_capacity) {
        char *room = malloc(needed);

        if (room == NULL) {
            return;
        }
        free((*history)->error_text);
        (*history)->error_text = room;
        (*history)->error_capacity = needed;
    }
    cbm_core_text_copy((*history)->error_text, needed, text, length);
}

bool core_history_first_time(core_history **history, uint32_t fields)
{
    core_history *past = made(history);
    uint32_t *told;

    if (past == NULL) {
        return true;
    }
    for (uint32_t i = 0; i < past->told_count; i++) {
        if (past->told[i] == fields) {
            return false;
        }
    }
    if (past->told_count == TOLD_MAX) {
        return false;
    }
    told = realloc(past->told, (past->told_count + 1) * sizeof(*told));
    if (told != NULL) {
        told[past->told_count++] = fields;
        past->told = told;
    }
    return true;
}

void core_counters_outcome(core_counters *counters, cbm_core_outcome outcome, uint64_t count)
{
    if (outcome == CBM_CORE_IGNORED) {
        counters->ignored += count;
        return;
    }
    counters->failed += count;
    if (outcome == CBM_CORE_TIMEOUT) {
        counters->timeout += count;
    }
}

void core_counters_elsewhere(core_counters *counters, const cbm_core_counts *counts)
{
    counters->late += counts->late_successes;
    counters->rejected += counts->rejected + counts->half_open_rejected;
    counters->half_open_rejected += counts->half_open_rejected;
}

static void fill_history(cbm_core_statistics *statistics, const core_history *history)
{
    memcpy(statistics->transitions, history->transitions, sizeof(history->transitions));
    memcpy(statistics->time_in_state_ns, history->time_in_state_ns, sizeof(history->time_in_state_ns));
    for (int from = 0; from < CBM_CORE_STATES; from++) {
        for (int to = 0; to < CBM_CORE_STATES; to++) {
            statistics->state_transitions += history->transitions[from][to];
        }
    }
}

void core_statistics_fill(cbm_core_statistics *statistics, const core_counters *counters, const core_history *history,
                          const core_histogram *durations)
{
    *statistics = (cbm_core_statistics){
        .total_calls = counters->failed + counters->ignored,
        .failed_calls = counters->failed,
        .timeout_calls = counters->timeout,
        .ignored_calls = counters->ignored,
        .slow_calls = counters->slow,
        .rejected_calls = counters->rejected,
        .half_open_rejected_calls = counters->half_open_rejected,
        .late_reports = counters->late,
        .lumped_failures = counters->lumped,
        .leases_expired = counters->leases_expired,
        .abandoned = counters->abandoned,
        .p50_ms = core_histogram_percentile_ms(durations, 500),
        .p90_ms = core_histogram_percentile_ms(durations, 900),
        .p99_ms = core_histogram_percentile_ms(durations, 990),
    };
    if (history != NULL) {
        fill_history(statistics, history);
    }
}

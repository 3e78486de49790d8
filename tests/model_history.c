#include "model_history.h"

bool history_is_window(const model *m)
{
    return m->policy.rule == CBM_CORE_RULE_COUNT_WINDOW || m->policy.rule == CBM_CORE_RULE_TIME_WINDOW;
}

bool history_is_failure(cbm_core_outcome outcome)
{
    return outcome == CBM_CORE_FAILURE || outcome == CBM_CORE_TIMEOUT;
}

int64_t history_ms(uint64_t milliseconds)
{
    return (int64_t)milliseconds * CBM_CORE_NS_PER_MS;
}

int history_epoch(const model *m)
{
    return m->epochs_count - 1;
}

const model_epoch *model_now(const model *m)
{
    return &m->epochs[history_epoch(m)];
}

/* ---- What the history says of the rule ---- */

/* Whether record `i` lies in the time that the rule looks at, seen at at_ns. */
static bool within(const model *m, const model_record *record, int64_t at_ns)
{
    switch (m->policy.rule) {
    case CBM_CORE_RULE_FAILURES: return at_ns - record->at_ns < (int64_t)m->policy.window_s * CBM_CORE_NS_PER_S;
    case CBM_CORE_RULE_TIME_WINDOW:
        return at_ns / CBM_CORE_NS_PER_S - record->at_ns / CBM_CORE_NS_PER_S < (int64_t)m->policy.window_s;
    default: return true;
    }
}

/* Whether the rule sees no further than what is counted already, `record` being the next older one. */
static bool is_full(const model *m, const model_record *record, const history_tally *t)
{
    switch (m->policy.rule) {
    case CBM_CORE_RULE_CONSECUTIVE: return !history_is_failure(record->outcome);
    case CBM_CORE_RULE_FAILURES: return t->failures == m->policy.failure_threshold; /* so many are kept, no more */
    case CBM_CORE_RULE_COUNT_WINDOW: return t->calls == m->policy.window_size;
    default: return false;
    }
}

/*
 * Goes through what counts of one epoch, newest first, as far as the rule sees it; HALF_OPEN forgets nothing while it lasts.
 * Stops at record `until`, found or not; -1: at the end.
 */
static bool look_back(const model *m, int epoch, int64_t at_ns, int until, history_tally *t)
{
    bool half_open = m->epochs[epoch].state == CBM_CORE_HALF_OPEN;
    for (int i = m->records_count - 1; i >= 0; i--) {
        const model_record *record = &m->records[i];
        if (record->epoch != epoch || !record->counts || record->forgotten ||
            (!half_open && !within(m, record, at_ns))) {
            continue;
        }
        if (!half_open && is_full(m, record, t)) {
            return false;
        }
        if (i == until) {
            return true;
        }
        t->calls++;
        t->failures += history_is_failure(record->outcome);
        t->successes += !history_is_failure(record->outcome);
        t->slow += record->slow;
    }
    return false;
}

history_tally history_look_back(const model *m, int epoch, int64_t at_ns)
{
    history_tally t = {0};
    look_back(m, epoch, at_ns, -1, &t);
    return t;
}

bool history_is_seen(const model *m, int record, int64_t at_ns)
{
    history_tally t = {0};
    return look_back(m, m->records[record].epoch, at_ns, record, &t);
}

bool history_rates_open(const model *m, history_tally t)
{
    return t.failures * 1000 >= (uint64_t)m->policy.failure_rate_tenths * t.calls ||
           t.slow * 1000 >= (uint64_t)m->policy.slow_call_rate_tenths * t.calls;
}

bool history_rule_opens(const model *m, int epoch, int64_t at_ns)
{
    history_tally t = history_look_back(m, epoch, at_ns);
    if (history_is_window(m)) {
        return t.calls > 0 && t.calls >= m->policy.minimum_calls && history_rates_open(m, t);
    }
    return t.failures >= m->policy.failure_threshold;
}

uint64_t history_needed_probes(const model *m)
{
    return m->policy.minimum_calls < m->policy.half_open_calls ? m->policy.minimum_calls : m->policy.half_open_calls;
}

/* ---- What it says of permits ---- */

bool history_is_out(const model *m, const model_permit *permit)
{
    return permit->probe && permit->out && permit->epoch == history_epoch(m);
}

model_permit *history_earliest_lease(model *m)
{
    model_permit *earliest = NULL;
    for (int i = 0; i < m->permits_count; i++) {
        model_permit *permit = &m->permits[i];
        if (history_is_out(m, permit) && permit->lease_ends_ns != CBM_CORE_NEVER_NS &&
            (!earliest || permit->lease_ends_ns < earliest->lease_ends_ns)) {
            earliest = permit;
        }
    }
    return earliest;
}

uint64_t history_permits_out(const model *m)
{
    uint64_t count = 0;
    for (int i = 0; i < m->permits_count; i++) {
        count += history_is_out(m, &m->permits[i]);
    }
    return count;
}

bool history_may_probe(const model *m)
{
    history_tally t = history_look_back(m, history_epoch(m), m->now_ns);
    uint64_t out = history_permits_out(m);
    if (history_is_window(m)) {
        return out + t.calls < m->policy.half_open_calls;
    }
    return out < m->policy.half_open_calls && out + t.successes < m->policy.success_threshold;
}

int64_t history_time_left(const model *m, int64_t until_ns)
{
    return until_ns == CBM_CORE_NEVER_NS ? -1 : until_ns > m->now_ns ? until_ns - m->now_ns : 0;
}

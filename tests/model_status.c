#include "model_history.h"

void model_open_range(const model *m, int64_t *least_ns, int64_t *most_ns)
{
    int64_t time = model_now(m)->open_until_ns - model_now(m)->began_ns;
    int64_t spread = (int64_t)((__int128)time * m->policy.jitter_thousandths / 1000);
    *least_ns = time;
    *most_ns = time + spread;
}

static int add_moment(const model *m, int64_t moments[], int count, int limit, int64_t at_ns)
{
    if (count < limit && at_ns > m->now_ns && at_ns != CBM_CORE_NEVER_NS) {
        moments[count++] = at_ns;
    }
    return count;
}

int model_moments(const model *m, int64_t moments[], int limit)
{
    int count = add_moment(m, moments, 0, limit, model_next_deadline(m));
    if (model_now(m)->state == CBM_CORE_OPEN) {
        count = add_moment(m, moments, count, limit, model_now(m)->open_until_ns);
    }
    bool spaced = false;
    for (int i = m->records_count - 1; i >= 0; i--) {
        const model_record *record = &m->records[i];
        if (record->epoch != history_epoch(m) || !record->counts) {
            continue;
        }
        if (m->policy.rule == CBM_CORE_RULE_FAILURES) {
            count =
                add_moment(m, moments, count, limit, record->at_ns + (int64_t)m->policy.window_s * CBM_CORE_NS_PER_S);
        } else if (m->policy.rule == CBM_CORE_RULE_TIME_WINDOW) {
            int64_t second = record->at_ns / CBM_CORE_NS_PER_S + m->policy.window_s;
            count = add_moment(m, moments, count, limit, second * CBM_CORE_NS_PER_S);
        }
        if (!spaced && m->policy.failure_spacing_ms > 0 && history_is_failure(record->outcome)) {
            count = add_moment(m, moments, count, limit, record->at_ns + history_ms(m->policy.failure_spacing_ms));
            spaced = true;
        }
    }
    return count;
}

/* What the rule has recorded; what opened the breaker stays in sight, as it stood then, through OPEN and HALF_OPEN. */
static history_tally recorded(const model *m)
{
    int epoch = history_epoch(m);
    int64_t at_ns = m->now_ns;
    while (m->epochs[epoch].state == CBM_CORE_OPEN || m->epochs[epoch].state == CBM_CORE_HALF_OPEN) {
        at_ns = m->epochs[epoch--].began_ns;
    }
    return history_look_back(m, epoch, at_ns);
}

/* METRICS_ONLY: whether the rule would have opened at some outcome of this epoch. */
static bool would_open(const model *m)
{
    for (int i = 0; i < m->records_count; i++) {
        if (m->records[i].epoch == history_epoch(m) && m->records[i].opens) {
            return true;
        }
    }
    return false;
}

static void fill_statistics(const model *m, cbm_core_statistics *s)
{
    *s = (cbm_core_statistics){.rejected_calls = m->rejected, .half_open_rejected_calls = m->half_open_rejected};
    s->abandoned = m->released;
    for (int i = 0; i < m->records_count; i++) {
        const model_record *record = &m->records[i];
        s->total_calls += record->count;
        s->successful_calls += record->outcome == CBM_CORE_SUCCESS ? record->count : 0;
        s->failed_calls += history_is_failure(record->outcome) ? record->count : 0;
        s->timeout_calls += record->outcome == CBM_CORE_TIMEOUT ? record->count : 0;
        s->ignored_calls += record->outcome == CBM_CORE_IGNORED ? record->count : 0;
        s->slow_calls += record->slow ? record->count : 0;
        s->late_reports += record->late ? record->count : 0;
        s->lumped_failures += record->lumped;
        s->leases_expired += record->lease;
        s->abandoned += record->abandoned;
    }
    for (int i = 0; i < m->epochs_count; i++) {
        int64_t ended_ns = i < history_epoch(m) ? m->epochs[i + 1].began_ns : m->now_ns;
        s->time_in_state_ns[m->epochs[i].state] += ended_ns - m->epochs[i].began_ns;
        if (i > 0 && m->epochs[i].state != m->epochs[i - 1].state) {
            s->state_transitions++;
            s->transitions[m->epochs[i - 1].state][m->epochs[i].state]++;
        }
    }
}

static int64_t last_failure_ns_ago(const model *m)
{
    for (int i = m->records_count - 1; i >= 0; i--) {
        if (history_is_failure(m->records[i].outcome)) {
            return m->now_ns - m->records[i].at_ns;
        }
    }
    return -1;
}

void model_status(model *m, int64_t now_ns, cbm_core_status *status)
{
    model_settle(m, now_ns);
    const model_epoch *now = model_now(m);
    status->state = now->state;
    status->epoch = (uint32_t)history_epoch(m);
    status->failures = (uint32_t)recorded(m).failures;
    status->permits_out = (uint32_t)history_permits_out(m);
    status->due = now->state == CBM_CORE_OPEN && m->now_ns >= now->open_until_ns;
    status->retry_after_ns = 0;
    if (now->state == CBM_CORE_OPEN) {
        status->retry_after_ns = history_time_left(m, now->open_until_ns);
    } else if (now->state == CBM_CORE_FORCED_OPEN) {
        status->retry_after_ns = history_time_left(m, now->control_ends_ns);
    } else if (now->state == CBM_CORE_HALF_OPEN && !history_may_probe(m)) {
        const model_permit *lease = history_earliest_lease(m);
        status->retry_after_ns = history_time_left(m, lease ? lease->lease_ends_ns : CBM_CORE_NEVER_NS);
    }
    status->control_ends_ns = now->control_ends_ns == CBM_CORE_NEVER_NS ? 0 : now->control_ends_ns - m->now_ns;
    status->would_open = now->state == CBM_CORE_METRICS_ONLY && would_open(m);
    history_tally t =
        now->state == CBM_CORE_HALF_OPEN ? history_look_back(m, history_epoch(m), m->now_ns) : recorded(m);
    uint64_t enough = now->state == CBM_CORE_HALF_OPEN ? history_needed_probes(m) : m->policy.minimum_calls;
    bool rated = history_is_window(m) && t.calls > 0 && t.calls >= enough;
    status->calls = history_is_window(m) ? t.calls : 0;
    status->failure_rate = rated ? 100.0 * (double)t.failures / (double)t.calls : -1;
    status->slow_call_rate = rated ? 100.0 * (double)t.slow / (double)t.calls : -1;
    status->last_failure_ns_ago = last_failure_ns_ago(m);
    fill_statistics(m, &status->statistics);
}

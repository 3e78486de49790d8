#include "model.h"
#include "model_history.h"

#include <criterion/criterion.h>

static model_epoch *new_epoch(model *m, cbm_core_state state, cbm_core_cause cause, int64_t at_ns)
{
    cr_assert_lt(m->epochs_count, MODEL_MAX);
    model_epoch *epoch = &m->epochs[m->epochs_count++];
    *epoch = (model_epoch){.state = state, .cause = cause, .began_ns = at_ns, .control_ends_ns = CBM_CORE_NEVER_NS};
    return epoch;
}

void model_init(model *m, const cbm_core_policy *policy, int64_t now_ns)
{
    m->policy = *policy;
    m->policy_since_ns = now_ns;
    m->now_ns = now_ns;
    m->epochs_count = m->records_count = m->permits_count = 0;
    m->rejected = m->half_open_rejected = m->released = 0;
    m->open_time_unknown = false;
    new_epoch(m, CBM_CORE_CLOSED, CBM_CORE_CAUSE_NONE, now_ns);
}

/* ---- Opening and closing ---- */

/* Re-openings in a row before the present moment: those from HALF_OPEN since CLOSED, but for open_for_ms. */
static int reopenings(const model *m)
{
    int count = 0;
    for (int i = history_epoch(m); i > 0 && m->epochs[i].state != CBM_CORE_CLOSED; i--) {
        count += m->epochs[i].state == CBM_CORE_OPEN && m->epochs[i - 1].state == CBM_CORE_HALF_OPEN &&
                 m->epochs[i].cause != CBM_CORE_CAUSE_OPEN_FOR;
    }
    return count;
}

static int64_t open_time(const model *m)
{
    int64_t most = history_ms(m->policy.timeout_max_ms);
    int64_t time = history_ms(m->policy.timeout_ms);
    for (int i = reopenings(m); i > 0 && time < most; i--) {
        time = (int64_t)((__int128)time * m->policy.backoff_multiplier_thousandths / 1000);
    }
    return time < most ? time : most;
}

static void open_by_rule(model *m, cbm_core_cause cause, int64_t at_ns)
{
    model_epoch *epoch = new_epoch(m, CBM_CORE_OPEN, cause, at_ns);
    epoch->open_until_ns = at_ns + open_time(m);
    m->open_time_unknown = m->policy.jitter_thousandths > 0;
}

void model_learn_open(model *m, int64_t open_until_ns)
{
    m->epochs[history_epoch(m)].open_until_ns = open_until_ns;
    m->open_time_unknown = false;
}

static void decide_half_open(model *m, cbm_core_cause cause, int64_t at_ns)
{
    history_tally t = history_look_back(m, history_epoch(m), at_ns);
    if (!history_is_window(m)) {
        if (t.failures > 0) {
            open_by_rule(m, cause, at_ns);
        } else if (t.successes >= m->policy.success_threshold) {
            new_epoch(m, CBM_CORE_CLOSED, cause, at_ns);
        }
    } else if (t.calls >= history_needed_probes(m)) {
        if (history_rates_open(m, t)) {
            open_by_rule(m, cause, at_ns);
        } else {
            new_epoch(m, CBM_CORE_CLOSED, cause, at_ns);
        }
    }
}

static void record(model *m, model_record what)
{
    cr_assert_lt(m->records_count, MODEL_MAX);
    what.epoch = history_epoch(m);
    m->records[m->records_count++] = what;
}

/* ---- Time's own work ---- */

/* A maximum wait that a new policy finds over already is over from then on. */
static int64_t half_open_ends(const model *m)
{
    if (model_now(m)->state != CBM_CORE_HALF_OPEN || m->policy.half_open_max_wait_ms == 0) {
        return CBM_CORE_NEVER_NS;
    }
    int64_t ends_ns = model_now(m)->began_ns + history_ms(m->policy.half_open_max_wait_ms);
    return ends_ns > m->policy_since_ns ? ends_ns : m->policy_since_ns;
}

int64_t model_next_deadline(const model *m)
{
    const model_permit *lease = history_earliest_lease((model *)m);
    int64_t next = model_now(m)->control_ends_ns;
    next = half_open_ends(m) < next ? half_open_ends(m) : next;
    return lease && lease->lease_ends_ns < next ? lease->lease_ends_ns : next;
}

void model_settle(model *m, int64_t now_ns)
{
    if (now_ns > m->now_ns) {
        m->now_ns = now_ns;
    }
    for (;;) {
        int64_t at_ns = model_next_deadline(m);
        if (at_ns > m->now_ns) {
            return;
        }
        cr_assert_not(m->open_time_unknown, "the model must be told of each opening under jitter");
        model_permit *lease = history_earliest_lease(m);
        if (lease && lease->lease_ends_ns == at_ns) {
            lease->out = false;
            record(m, (model_record){
                          .at_ns = at_ns, .outcome = CBM_CORE_FAILURE, .count = 1, .counts = true, .lease = true});
            decide_half_open(m, CBM_CORE_CAUSE_LEASE, at_ns);
        } else if (half_open_ends(m) == at_ns) {
            open_by_rule(m, CBM_CORE_CAUSE_MAX_WAIT, at_ns);
        } else {
            new_epoch(m, CBM_CORE_CLOSED, CBM_CORE_CAUSE_CONTROL_ENDED, at_ns);
        }
    }
}

/* ---- Calls ---- */

static int refuse(model *m, int error, int64_t until_ns, int64_t *retry_after_ns)
{
    m->rejected++;
    *retry_after_ns = history_time_left(m, until_ns);
    return error;
}

int model_begin(model *m, uint64_t holder, int64_t lease_ms, int64_t now_ns, int *permit, int64_t *retry_after_ns)
{
    model_settle(m, now_ns);
    if (model_now(m)->state == CBM_CORE_FORCED_OPEN) {
        return refuse(m, CBM_CORE_E_FORCED_OPEN, model_now(m)->control_ends_ns, retry_after_ns);
    }
    if (model_now(m)->state == CBM_CORE_OPEN) {
        if (m->now_ns < model_now(m)->open_until_ns) {
            return refuse(m, CBM_CORE_E_OPEN, model_now(m)->open_until_ns, retry_after_ns);
        }
        new_epoch(m, CBM_CORE_HALF_OPEN, CBM_CORE_CAUSE_TIMEOUT_OVER, m->now_ns);
    }
    bool probe = model_now(m)->state == CBM_CORE_HALF_OPEN;
    if (probe && !history_may_probe(m)) {
        m->half_open_rejected++;
        const model_permit *lease = history_earliest_lease(m);
        return refuse(m, CBM_CORE_E_HALF_OPEN_FULL, lease ? lease->lease_ends_ns : CBM_CORE_NEVER_NS, retry_after_ns);
    }
    if (lease_ms < 0) {
        lease_ms = m->policy.permit_lease_ms;
    }
    if (lease_ms == 0 && holder == 0) {
        lease_ms = m->policy.timeout_ms;
    }
    cr_assert_lt(m->permits_count, MODEL_MAX);
    m->permits[m->permits_count] = (model_permit){
        .epoch = history_epoch(m),
        .probe = probe,
        .out = true,
        .holder = holder,
        .lease_ends_ns = probe && lease_ms > 0 ? m->now_ns + history_ms((uint64_t)lease_ms) : CBM_CORE_NEVER_NS,
    };
    *permit = m->permits_count++;
    *retry_after_ns = 0;
    return 0;
}

/* METRICS_ONLY shows what CLOSED would do. */
static bool is_lumped(const model *m, cbm_core_outcome outcome)
{
    bool closed = model_now(m)->state == CBM_CORE_CLOSED || model_now(m)->state == CBM_CORE_METRICS_ONLY;
    if (history_is_window(m) || !closed || !history_is_failure(outcome)) {
        return false;
    }
    for (int i = m->records_count - 1; i >= 0; i--) {
        const model_record *record = &m->records[i];
        if (record->epoch == history_epoch(m) && record->counts && history_is_failure(record->outcome)) {
            return m->now_ns - record->at_ns < history_ms(m->policy.failure_spacing_ms);
        }
    }
    return false;
}

void model_report(model *m, int number, const cbm_core_report *report, int64_t now_ns)
{
    model_settle(m, now_ns);
    model_permit *permit = number < 0 ? NULL : &m->permits[number];
    cbm_core_state state = model_now(m)->state;
    bool late =
        report->late || (permit && permit->epoch != history_epoch(m)) || (permit && permit->probe && !permit->out);
    model_record what = {
        .at_ns = m->now_ns,
        .outcome = report->outcome,
        .count = report->late && report->count > 1 ? report->count : 1,
        .slow = (m->policy.rule == CBM_CORE_RULE_COUNT_WINDOW || m->policy.rule == CBM_CORE_RULE_TIME_WINDOW) &&
                report->duration_ns > history_ms(m->policy.slow_call_duration_ms),
        .late = late,
    };
    if (permit && permit->probe && !late) {
        permit->out = false;
    }
    int64_t open_for =
        history_ms(report->open_for_ms < m->policy.open_for_max_ms ? report->open_for_ms : m->policy.open_for_max_ms);
    bool decides = !late && (state == CBM_CORE_CLOSED ||
                             (permit && (state == CBM_CORE_HALF_OPEN || state == CBM_CORE_METRICS_ONLY)));
    if (!decides) {
        record(m, what);
        model_epoch *epoch = &m->epochs[history_epoch(m)];
        if (state == CBM_CORE_OPEN && open_for > 0 && !report->late && m->now_ns + open_for > epoch->open_until_ns) {
            epoch->open_until_ns = m->now_ns + open_for;
        }
        return;
    }
    what.lumped = is_lumped(m, report->outcome);
    what.counts = report->outcome != CBM_CORE_IGNORED && !what.lumped;
    record(m, what);
    model_record *last = &m->records[m->records_count - 1];
    last->opens = what.counts && state != CBM_CORE_HALF_OPEN &&
                  (history_is_window(m) || history_is_failure(what.outcome)) && /* else successes decide nothing */
                  history_rule_opens(m, history_epoch(m), m->now_ns);
    if (open_for > 0 && state != CBM_CORE_METRICS_ONLY) {
        new_epoch(m, CBM_CORE_OPEN, CBM_CORE_CAUSE_OPEN_FOR, m->now_ns)->open_until_ns = m->now_ns + open_for;
    } else if (state == CBM_CORE_CLOSED && last->opens) {
        open_by_rule(m, CBM_CORE_CAUSE_RULE, m->now_ns);
    } else if (state == CBM_CORE_HALF_OPEN && what.counts) {
        decide_half_open(m, CBM_CORE_CAUSE_PROBES, m->now_ns);
    }
}

/* What the rule can no longer see it does not see again, however large a later policy makes its window. */
static void forget_the_old(model *m)
{
    bool seen[MODEL_MAX];
    for (int i = 0; i < m->records_count; i++) {
        seen[i] = m->records[i].epoch == history_epoch(m) && history_is_seen(m, i, m->now_ns);
    }
    for (int i = 0; i < m->records_count; i++) {
        m->records[i].forgotten = !seen[i];
    }
}

void model_configure(model *m, const cbm_core_policy *policy, int64_t now_ns)
{
    model_settle(m, now_ns);
    bool records = model_now(m)->state == CBM_CORE_CLOSED || model_now(m)->state == CBM_CORE_METRICS_ONLY;
    if (records) {
        forget_the_old(m);
    }
    m->policy = *policy;
    m->policy_since_ns = m->now_ns;
    if (records) {
        forget_the_old(m);
    }
    model_settle(m, now_ns);
    if (model_now(m)->state == CBM_CORE_HALF_OPEN) {
        decide_half_open(m, CBM_CORE_CAUSE_PROBES, m->now_ns);
    }
}

void model_holder_gone(model *m, uint64_t holder, int64_t now_ns)
{
    model_settle(m, now_ns);
    for (int i = 0; i < m->permits_count; i++) {
        model_permit *permit = &m->permits[i];
        if (!history_is_out(m, permit) || permit->holder != holder || holder == 0) {
            continue;
        }
        permit->out = false;
        if (m->policy.on_abandon == CBM_CORE_ABANDON_RELEASE) {
            m->released++;
            continue;
        }
        record(m, (model_record){
                      .at_ns = m->now_ns, .outcome = CBM_CORE_FAILURE, .count = 1, .counts = true, .abandoned = true});
        decide_half_open(m, CBM_CORE_CAUSE_ABANDONED, m->now_ns);
    }
}

void model_reset(model *m, int64_t now_ns)
{
    model_settle(m, now_ns);
    new_epoch(m, CBM_CORE_CLOSED, CBM_CORE_CAUSE_RESET, m->now_ns);
}

void model_control(model *m, cbm_core_control control, uint32_t for_ms, int64_t now_ns)
{
    static const cbm_core_state states[] = {
        [CBM_CORE_CONTROL_FORCE_OPEN] = CBM_CORE_FORCED_OPEN,
        [CBM_CORE_CONTROL_DISABLE] = CBM_CORE_DISABLED,
        [CBM_CORE_CONTROL_METRICS_ONLY] = CBM_CORE_METRICS_ONLY,
        [CBM_CORE_CONTROL_ENABLE] = CBM_CORE_CLOSED,
    };
    model_settle(m, now_ns);
    model_epoch *epoch = new_epoch(m, states[control], CBM_CORE_CAUSE_CONTROL, m->now_ns);
    if (for_ms > 0 && control != CBM_CORE_CONTROL_ENABLE) {
        epoch->control_ends_ns = m->now_ns + history_ms(for_ms);
    }
}

/* What can be done with a breaker: calls, and steering by hand. What follows from it is in transition.c. */
#include "breaker.h"

#include "times.h"
#include "transition.h"

#include <stdlib.h>
#include <string.h>

/* ---- A call: begin -------------------------------------------------------------------------------------------------- */

int64_t core_breaker_retry_after(const core_shared *shared, const core_breaker *breaker, int64_t now_ns)
{
    int64_t end_ns = CBM_CORE_NEVER_NS;

    switch ((cbm_core_state)breaker->state) {
    case CBM_CORE_OPEN: return core_time_left(breaker->rest->state_ends_ns, now_ns);
    case CBM_CORE_HALF_OPEN:
        if (core_probes_admit(&breaker->rest->probes, core_breaker_policy(breaker), breaker->rest->permits.count)) {
            return 0;
        }
        end_ns = core_permits_first_end(&shared->permits, &breaker->rest->permits);
        break;
    case CBM_CORE_FORCED_OPEN: end_ns = breaker->rest->state_ends_ns; break;
    default: return 0;
    }
    return end_ns == CBM_CORE_NEVER_NS ? -1 : core_time_left(end_ns, now_ns);
}

static int refuse(core_shared *shared, core_breaker *breaker, int error, int64_t now_ns, cbm_core_decision *decision)
{
    breaker->rest->counters.rejected++;
    breaker->rest->counters.half_open_rejected += error == CBM_CORE_E_HALF_OPEN_FULL;
    decision->retry_after_ns = core_breaker_retry_after(shared, breaker, now_ns);
    core_breaker_tell(
        shared, breaker,
        (cbm_core_event){.type = CBM_CORE_EVENT_REJECTED, .error = error, .retry_after_ns = decision->retry_after_ns},
        now_ns);
    return error;
}

static int64_t lease_end(const core_breaker *breaker, const cbm_core_begin *begin, int64_t now_ns)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    uint32_t lease_ms = begin->lease_given ? begin->lease_ms : policy->permit_lease_ms;

    if (lease_ms == 0 && begin->holder == 0) {
        lease_ms = policy->timeout_ms; /* nobody's death would end it */
    }
    return lease_ms == 0 ? CBM_CORE_NEVER_NS : core_time_add_ms(now_ns, lease_ms);
}

/* A permit of HALF_OPEN, into which an OPEN that is over is moved first, once it is sure that there is a permit to give. */
static int begin_probe(core_shared *shared, core_breaker *breaker, const cbm_core_begin *begin, int64_t now_ns,
                       uint64_t *id)
{
    static const cbm_core_begin nobody;
    core_permit_list given;
    int error;

    if (begin == NULL) {
        begin = &nobody;
    }
    if (breaker->state == CBM_CORE_OPEN) {
        core_permit_list_init(&given);
        error =
            core_permits_give(&shared->permits, &given, breaker, begin->holder, lease_end(breaker, begin, now_ns), id);
        if (error != CBM_CORE_OK) {
            return error;
        }
        core_enter_state(shared, breaker, CBM_CORE_HALF_OPEN, CBM_CORE_CAUSE_TIMEOUT_OVER, now_ns);
        breaker->rest->permits = given;
    } else {
        if (!core_probes_admit(&breaker->rest->probes, core_breaker_policy(breaker), breaker->rest->permits.count)) {
            return CBM_CORE_E_HALF_OPEN_FULL;
        }
        error = core_permits_give(&shared->permits, &breaker->rest->permits, breaker, begin->holder,
                                  lease_end(breaker, begin, now_ns), id);
        if (error != CBM_CORE_OK) {
            return error;
        }
    }
    core_breaker_schedule(shared, breaker, now_ns);
    return CBM_CORE_OK;
}

int core_breaker_begin(core_shared *shared, core_breaker *breaker, const cbm_core_begin *begin, int64_t now_ns,
                       cbm_core_decision *decision)
{
    int error = CBM_CORE_OK;
    uint64_t id = 0;

    switch ((cbm_core_state)breaker->state) {
    case CBM_CORE_CLOSED:
    case CBM_CORE_DISABLED:
    case CBM_CORE_METRICS_ONLY: break;
    case CBM_CORE_FORCED_OPEN: error = CBM_CORE_E_FORCED_OPEN; break;
    case CBM_CORE_OPEN:
        error =
            now_ns < breaker->rest->state_ends_ns ? CBM_CORE_E_OPEN : begin_probe(shared, breaker, begin, now_ns, &id);
        break;
    case CBM_CORE_HALF_OPEN: error = begin_probe(shared, breaker, begin, now_ns, &id); break;
    }
    decision->state = (cbm_core_state)breaker->state;
    if (error == CBM_CORE_E_NOMEM) {
        return error;
    }
    breaker->last_used_ns = now_ns;
    if (error != CBM_CORE_OK) {
        return refuse(shared, breaker, error, now_ns, decision);
    }
    decision->permit = (cbm_core_permit){
        .slot = breaker->slot,
        .slot_generation = breaker->slot_generation,
        .epoch = breaker->epoch,
        .id = id,
    };
    decision->probe = id != 0;
    return CBM_CORE_OK;
}

/* ---- A call: report ------------------------------------------------------------------------------------------------- */

static bool is_failure(const cbm_core_report *report)
{
    return report->outcome == CBM_CORE_FAILURE || report->outcome == CBM_CORE_TIMEOUT;
}

/* Only a rule with rates knows slow calls: elsewhere nobody would have to say how long a success took. */
static bool is_slow(const core_breaker *breaker, const cbm_core_report *report)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);

    return report->duration_ns > policy->slow_call_duration_ms * CBM_CORE_NS_PER_MS && core_rule_has_rates(policy);
}

/* After an outcome was recorded: opens when the rule says so, which METRICS_ONLY only shows. Returns whether it opened. */
static bool evaluate(core_shared *shared, core_breaker *breaker, bool failure, int64_t now_ns)
{
    if (!core_rule_opens(&breaker->rule, core_breaker_policy(breaker), failure, now_ns)) {
        return false;
    }
    if (breaker->state == CBM_CORE_METRICS_ONLY) {
        breaker->would_open = true;
        return false;
    }
    core_open(shared, breaker, CBM_CORE_CAUSE_RULE, now_ns);
    return true;
}

/* An outcome of CLOSED or METRICS_ONLY. */
static void record(core_shared *shared, core_breaker *breaker, const cbm_core_report *report, int64_t now_ns)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    bool failed_before = core_rule_failures(&breaker->rule, policy, now_ns) > 0;

    if (!core_rule_record(&breaker->rule, policy, is_failure(report), is_slow(breaker, report), now_ns)) {
        breaker->rest->counters.lumped++;
        return;
    }
    if (breaker->state == CBM_CORE_CLOSED && report->open_for_ms > 0) {
        return; /* opened by that instead, and for that long */
    }
    if (!evaluate(shared, breaker, is_failure(report), now_ns) &&
        failed_before != (core_rule_failures(&breaker->rule, policy, now_ns) > 0)) {
        core_breaker_schedule(shared, breaker, now_ns); /* only a breaker without failures expires */
    }
}

static void record_probe(core_shared *shared, core_breaker *breaker, const cbm_core_report *report, uint64_t id,
                         int64_t now_ns)
{
    core_permits_take_back(&shared->permits, &breaker->rest->permits, core_permits_find(&shared->permits, breaker, id));
    if (report->outcome != CBM_CORE_IGNORED) {
        breaker->rest->probes.recorded++;
        breaker->rest->probes.failures += is_failure(report);
        breaker->rest->probes.slow += is_slow(breaker, report);
    }
    if (report->open_for_ms == 0 && report->outcome != CBM_CORE_IGNORED) {
        core_decide_by_probes(shared, breaker, CBM_CORE_CAUSE_PROBES, now_ns);
    } else {
        core_breaker_schedule(shared, breaker, now_ns);
    }
}

static void count(core_breaker *breaker, const cbm_core_report *report, uint64_t times, int64_t now_ns)
{
    if (report->outcome == CBM_CORE_SUCCESS) {
        breaker->successful_calls += times;
    } else {
        core_counters_outcome(&breaker->rest->counters, report->outcome, times);
    }
    if (is_slow(breaker, report)) {
        breaker->rest->counters.slow += times;
    }
    if (report->duration_ns >= 0) {
        core_histogram_add(&breaker->rest->durations, report->duration_ns, times);
    }
    if (is_failure(report)) {
        breaker->rest->last_failure_ns = now_ns;
        if (report->text != NULL) {
            core_history_error_text(&breaker->rest->history, report->text);
        }
    }
}

/* Whether a permit is out still: of this epoch and, in HALF_OPEN, not reported or lost. */
static bool is_current(const core_shared *shared, const core_breaker *breaker, const cbm_core_permit *permit)
{
    if (permit->slot != breaker->slot || permit->slot_generation != breaker->slot_generation ||
        permit->epoch != breaker->epoch) {
        return false;
    }
    if (breaker->state == CBM_CORE_HALF_OPEN) {
        return core_permits_find(&shared->permits, breaker, permit->id) != CORE_NO_PERMIT;
    }
    return permit->id == 0 && breaker->state != CBM_CORE_OPEN && breaker->state != CBM_CORE_FORCED_OPEN;
}

void core_breaker_report(core_shared *shared, core_breaker *breaker, const cbm_core_permit *permit,
                         const cbm_core_report *report, int64_t now_ns)
{
    bool late = report->late || (permit != NULL && !is_current(shared, breaker, permit));
    bool decides = permit != NULL ? !late : !late && breaker->state == CBM_CORE_CLOSED;
    uint64_t times = report->late && report->count > 1 ? report->count : 1;

    breaker->last_used_ns = now_ns;
    if (late) { /* without the test each call would touch one more line of cache */
        breaker->rest->counters.late += times;
    }
    count(breaker, report, times, now_ns);
    if (decides && breaker->state == CBM_CORE_HALF_OPEN) {
        record_probe(shared, breaker, report, permit->id, now_ns);
    } else if (decides && breaker->state != CBM_CORE_DISABLED && report->outcome != CBM_CORE_IGNORED) {
        record(shared, breaker, report, now_ns);
    }
    if (report->open_for_ms > 0 && !report->late &&
        (breaker->state == CBM_CORE_OPEN ||
         (decides && (breaker->state == CBM_CORE_CLOSED || breaker->state == CBM_CORE_HALF_OPEN)))) {
        core_open_for(shared, breaker, report->open_for_ms, now_ns);
    }
}

/* The first success that is evaluated sees the highest rates, each further one only lowers them: how many there are up to it. */
static uint64_t successes_to_evaluate(core_breaker *breaker, int64_t at_ns)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    core_window_totals totals;

    if (!core_rule_totals(&breaker->rule, policy, at_ns, &totals) || totals.calls >= policy->minimum_calls) {
        return 1;
    }
    return policy->minimum_calls - totals.calls;
}

void core_breaker_successes(core_shared *shared, core_breaker *breaker, uint32_t epoch, uint64_t times, int64_t at_ns,
                            int64_t now_ns)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    bool second_over = at_ns / CBM_CORE_NS_PER_S < now_ns / CBM_CORE_NS_PER_S;
    uint64_t first;

    if (times == 0) {
        return;
    }
    breaker->successful_calls += times;
    breaker->last_used_ns = core_time_max(breaker->last_used_ns, at_ns);
    if (epoch != breaker->epoch) {
        breaker->rest->counters.late += times;
        return;
    }
    if (!core_state_records((cbm_core_state)breaker->state)) {
        return;
    }
    at_ns = core_time_max(at_ns, breaker->rest->state_since_ns);
    first = successes_to_evaluate(breaker, at_ns);
    first = first < times ? first : times;
    core_rule_record_successes(&breaker->rule, policy, first, at_ns);
    /* What a time window held when they happened may have left it since: then they decide nothing any more. */
    if (!(policy->rule == CBM_CORE_RULE_TIME_WINDOW && second_over) && evaluate(shared, breaker, false, at_ns)) {
        breaker->rest->counters.late += times - first;
        return;
    }
    core_rule_record_successes(&breaker->rule, policy, times - first, at_ns);
    core_breaker_schedule(shared, breaker, at_ns);
}

bool core_breaker_successes_decide(core_breaker *breaker, int64_t now_ns)
{
    if (breaker->state == CBM_CORE_METRICS_ONLY && breaker->would_open) {
        return false; /* that stays as it is, whatever comes */
    }
    return breaker->state == CBM_CORE_HALF_OPEN ||
           (core_state_records((cbm_core_state)breaker->state) &&
            core_rule_successes_decide(&breaker->rule, core_breaker_policy(breaker), now_ns));
}

bool core_breaker_failure_decides(core_breaker *breaker, int64_t now_ns)
{
    return breaker->state == CBM_CORE_HALF_OPEN ||
           (core_state_records((cbm_core_state)breaker->state) &&
            core_rule_failure_decides(&breaker->rule, core_breaker_policy(breaker), now_ns));
}

void core_breaker_abandon(core_shared *shared, core_breaker *breaker, uint32_t permit_index, int64_t now_ns)
{
    breaker->rest->counters.abandoned++;
    core_breaker_tell(shared, breaker, (cbm_core_event){.type = CBM_CORE_EVENT_ABANDONED}, now_ns);
    if (core_breaker_policy(breaker)->on_abandon == CBM_CORE_ABANDON_FAILURE) {
        core_lose_probe(shared, breaker, permit_index, CBM_CORE_CAUSE_ABANDONED, now_ns);
        return;
    }
    core_permits_take_back(&shared->permits, &breaker->rest->permits, permit_index);
    core_breaker_schedule(shared, breaker, now_ns);
}

/* ---- By hand -------------------------------------------------------------------------------------------------------- */

void core_breaker_reset(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns)
{
    core_enter_state(shared, breaker, CBM_CORE_CLOSED, cause, now_ns);
}

int core_breaker_control(core_shared *shared, core_breaker *breaker, cbm_core_control control, const char *reason,
                         uint32_t for_ms, int64_t now_ns)
{
    static const cbm_core_state states[] = {
        [CBM_CORE_CONTROL_FORCE_OPEN] = CBM_CORE_FORCED_OPEN,
        [CBM_CORE_CONTROL_DISABLE] = CBM_CORE_DISABLED,
        [CBM_CORE_CONTROL_METRICS_ONLY] = CBM_CORE_METRICS_ONLY,
    };
    char *kept = NULL;

    if (control == CBM_CORE_CONTROL_ENABLE) {
        core_breaker_reset(shared, breaker, CBM_CORE_CAUSE_CONTROL, now_ns);
        return CBM_CORE_OK;
    }
    if (reason != NULL && reason[0] != '\0') {
        size_t length = strnlen(reason, CBM_CORE_TEXT_MAX + 4); /* so that the character at the cut is seen whole */
        size_t size = (length < CBM_CORE_TEXT_MAX ? length : CBM_CORE_TEXT_MAX) + 1;

        kept = malloc(size);
        if (kept == NULL) {
            return CBM_CORE_E_NOMEM;
        }
        cbm_core_text_copy(kept, size, reason, length);
    }
    core_set_reason(breaker, kept);
    breaker->rest->state_ends_ns = for_ms == 0 ? CBM_CORE_NEVER_NS : core_time_add_ms(now_ns, for_ms);
    core_enter_state(shared, breaker, states[control], CBM_CORE_CAUSE_CONTROL, now_ns);
    return CBM_CORE_OK;
}

void core_breaker_adopt(core_shared *shared, core_breaker *breaker, cbm_core_state state, int64_t retry_after_ns,
                        int64_t now_ns)
{
    int64_t end_ns = core_time_add(now_ns, core_time_max(retry_after_ns, 0));

    if (state == CBM_CORE_OPEN) {
        breaker->rest->state_ends_ns = end_ns;
    } else if (state != CBM_CORE_CLOSED && state != CBM_CORE_HALF_OPEN) {
        core_set_reason(breaker, NULL);
        breaker->rest->state_ends_ns = retry_after_ns > 0 ? end_ns : CBM_CORE_NEVER_NS;
    }
    core_enter_state(shared, breaker, state, CBM_CORE_CAUSE_ADOPTED, now_ns);
    if ((state == CBM_CORE_OPEN || state == CBM_CORE_HALF_OPEN) && breaker->rest->opened_failures == 0) {
        /* What opened it elsewhere is not known, but that enough failed is. */
        breaker->rest->opened_failures = core_rule_threshold(&breaker->rule, core_breaker_policy(breaker), now_ns);
    }
}

int core_breaker_change_policy(core_shared *shared, core_policy_pool *pool, core_breaker *breaker,
                               core_policy_entry *policy, int64_t now_ns)
{
    int64_t rule_now_ns = core_state_records((cbm_core_state)breaker->state) ? now_ns : breaker->rest->frozen_ns;
    int error = core_rule_change(&breaker->rule, core_breaker_policy(breaker), core_policy_of(policy), rule_now_ns);

    if (error != CBM_CORE_OK) {
        return error;
    }
    core_policy_release(pool, breaker->policy);
    breaker->policy = policy;
    core_breaker_schedule(shared, breaker, now_ns);
    core_breaker_tell(shared, breaker, (cbm_core_event){.type = CBM_CORE_EVENT_POLICY_CHANGED}, now_ns);
    core_settle_since(shared, breaker, now_ns, now_ns);
    if (breaker->state == CBM_CORE_HALF_OPEN) {
        /* The probes so far may be enough for the new policy, and then it would give out no more. */
        core_decide_by_probes(shared, breaker, CBM_CORE_CAUSE_PROBES, now_ns);
    }
    return CBM_CORE_OK;
}

/* ---- Beginning and end ---------------------------------------------------------------------------------------------- */

void core_breaker_start(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    breaker->state = CBM_CORE_CLOSED;
    breaker->rest->state_since_ns = now_ns;
    breaker->last_used_ns = now_ns;
    breaker->rest->last_failure_ns = CORE_NEVER_HAPPENED_NS;
    breaker->rest->state_ends_ns = CBM_CORE_NEVER_NS;
    breaker->rest->deadline_ns = CBM_CORE_NEVER_NS;
    breaker->rest->heap_index = CORE_NOT_IN_HEAP;
    core_permit_list_init(&breaker->rest->permits);
    core_breaker_schedule(shared, breaker, now_ns);
}

void core_breaker_stop(core_shared *shared, core_breaker *breaker)
{
    core_permits_take_back_all(&shared->permits, &breaker->rest->permits);
    core_deadlines_set(&shared->deadlines, breaker, CBM_CORE_NEVER_NS);
    core_history_free(breaker->rest->history);
    free(breaker->rest->durations);
    free(breaker->rest->reason);
}

/*
 * What moves a breaker from state to state. Each change, and each reset and control even without a change, raises the epoch and
 * thereby makes all permits given before late.
 *
 *   from           to              when                                                              cause
 *   -------------  --------------  ----------------------------------------------------------------  -------------------
 *   CLOSED         OPEN            an outcome was recorded and the rule says open                    RULE
 *   CLOSED         OPEN            a report carries open_for_ms                                      OPEN_FOR
 *   OPEN           HALF_OPEN       a begin at or after the end of OPEN (it gets a permit there)      TIMEOUT_OVER
 *   HALF_OPEN      CLOSED          the probes' outcomes say close                                    PROBES
 *   HALF_OPEN      OPEN            the probes' outcomes say open                                     PROBES
 *   HALF_OPEN      OPEN, CLOSED    the same, the last outcome being a lease that ran out             LEASE
 *   HALF_OPEN      OPEN, CLOSED    the same, the last outcome being a holder that died               ABANDONED
 *   HALF_OPEN      OPEN            a probe's report carries open_for_ms                              OPEN_FOR
 *   HALF_OPEN      OPEN            half_open_max_wait_ms is over                                     MAX_WAIT
 *   any            FORCED_OPEN, DISABLED, METRICS_ONLY     force_open, disable, metrics_only         CONTROL
 *   any            CLOSED          enable                                                            CONTROL
 *   a manual one   CLOSED          for_ms is over                                                    CONTROL_ENDED
 *   any            CLOSED          reset                                                             RESET
 *   any            any             adopt                                                             ADOPTED
 *
 * The time of a change that time makes is its deadline, not the moment at which somebody noticed.
 */
#include "breaker.h"

#include "hash.h"
#include "times.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_LINE 64
#define HOT_BEGIN (offsetof(core_breaker, counters) + offsetof(core_counters, successful))
#define HOT_END (offsetof(core_breaker, rule) + offsetof(core_rule, last_counted_ns))
_Static_assert(HOT_BEGIN % CACHE_LINE == 0 && HOT_END - HOT_BEGIN <= CACHE_LINE, "the hot part is one line of cache");

/* ---- Events and deadlines ------------------------------------------------------------------------------------------- */

void core_breaker_tell(core_shared *shared, const core_breaker *breaker, cbm_core_event event, int64_t now_ns)
{
    if (shared->on_event == NULL) {
        return;
    }
    event.name = breaker->name;
    event.slot = breaker->slot;
    event.now_ns = now_ns;
    if (event.type != CBM_CORE_EVENT_TRANSITION) {
        event.from = event.to = (cbm_core_state)breaker->state;
    }
    shared->on_event(shared->event_context, &event);
}

int64_t core_breaker_expiry(core_breaker *breaker, int64_t now_ns)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);

    if (breaker->state != CBM_CORE_CLOSED || breaker->configured || policy->expire_after_s == 0) {
        return CBM_CORE_NEVER_NS;
    }
    return core_time_max(core_time_add_s(breaker->last_used_ns, policy->expire_after_s),
                         core_rule_quiet_from(&breaker->rule, policy, now_ns));
}

static int64_t max_wait_end(const core_breaker *breaker)
{
    uint32_t wait_ms = core_breaker_policy(breaker)->half_open_max_wait_ms;

    return wait_ms == 0 ? CBM_CORE_NEVER_NS : core_time_add_ms(breaker->state_since_ns, wait_ms);
}

void core_breaker_schedule(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    switch ((cbm_core_state)breaker->state) {
    case CBM_CORE_HALF_OPEN:
        breaker->settle_at_ns =
            core_time_min(core_permits_first_end(&shared->permits, &breaker->permits), max_wait_end(breaker));
        break;
    case CBM_CORE_CLOSED:
    case CBM_CORE_OPEN: breaker->settle_at_ns = CBM_CORE_NEVER_NS; break;
    default: breaker->settle_at_ns = breaker->control_ends_ns; break;
    }
    core_deadlines_set(&shared->deadlines, breaker,
                       core_time_min(breaker->settle_at_ns, core_breaker_expiry(breaker, now_ns)));
}

/* ---- Transitions ---------------------------------------------------------------------------------------------------- */

static bool records(cbm_core_state state)
{
    return state == CBM_CORE_CLOSED || state == CBM_CORE_METRICS_ONLY;
}

/* The failures that count, or that counted when the breaker left CLOSED. */
static uint32_t failures_of(core_breaker *breaker, int64_t now_ns)
{
    return records((cbm_core_state)breaker->state)
               ? core_rule_failures(&breaker->rule, core_breaker_policy(breaker), now_ns)
               : breaker->opened_failures;
}

static void set_reason(core_breaker *breaker, char *reason)
{
    free(breaker->reason);
    breaker->reason = reason;
}

/* Everything that entering a state means, except for what is particular to who enters it. */
static void enter(core_shared *shared, core_breaker *breaker, cbm_core_state to, cbm_core_cause cause, int64_t now_ns)
{
    cbm_core_state from = (cbm_core_state)breaker->state;
    uint32_t failures = from == CBM_CORE_HALF_OPEN ? breaker->probes.failures : failures_of(breaker, now_ns);
    int64_t retry_after_ns = to == CBM_CORE_OPEN ? core_time_left(breaker->open_until_ns, now_ns) : 0;

    core_permits_take_back_all(&shared->permits, &breaker->permits);
    breaker->epoch++;
    if (from != to) {
        core_history_transition(&breaker->history, from, to, now_ns - breaker->state_since_ns);
        breaker->state_since_ns = now_ns;
    }
    if (to == CBM_CORE_OPEN || to == CBM_CORE_HALF_OPEN) {
        if (records(from)) { /* what opened it stays in sight until it is CLOSED */
            breaker->opened_failures = failures;
            breaker->frozen_ns = now_ns;
        }
    } else {
        core_rule_clear(&breaker->rule, core_breaker_policy(breaker));
        breaker->opened_failures = 0;
        breaker->reopenings = 0;
        breaker->would_open = false;
        breaker->last_used_ns = core_time_max(breaker->last_used_ns, now_ns);
    }
    if (to == CBM_CORE_CLOSED || to == CBM_CORE_OPEN || to == CBM_CORE_HALF_OPEN) {
        set_reason(breaker, NULL);
        breaker->control_ends_ns = CBM_CORE_NEVER_NS;
    }
    breaker->probes = (core_probes){0};
    breaker->state = (uint8_t)to;
    core_breaker_schedule(shared, breaker, now_ns);
    core_breaker_tell(
        shared, breaker,
        (cbm_core_event){
            .type = from == CBM_CORE_CLOSED && to == CBM_CORE_CLOSED ? CBM_CORE_EVENT_RESET : CBM_CORE_EVENT_TRANSITION,
            .from = from,
            .to = to,
            .cause = cause,
            .failures = failures,
            .retry_after_ns = retry_after_ns,
        },
        now_ns);
}

/* base^exponent, at most `most`. */
static double power(double base, uint32_t exponent, double most)
{
    double result = 1;

    for (; exponent > 0 && result < most; exponent /= 2) {
        if (exponent % 2 == 1) {
            result *= base;
        }
        base = base < most ? base * base : most;
    }
    return result < most ? result : most;
}

/* How long the next OPEN lasts: timeout_ms x backoff_multiplier^reopenings, at most timeout_max_ms, and jitter on top. */
static int64_t open_duration(core_shared *shared, const core_breaker *breaker)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    double limit = (double)policy->timeout_max_ms / policy->timeout_ms;
    double factor = power(policy->backoff_multiplier_thousandths / 1000.0, breaker->reopenings, limit);
    double duration_ns = (double)policy->timeout_ms * factor * (double)CBM_CORE_NS_PER_MS;

    if (policy->jitter_thousandths > 0) {
        double part = (double)(core_random(&shared->random) >> 11) / 9007199254740992.0; /* 53 bits: 0 to 1 */

        duration_ns += duration_ns * part * policy->jitter_thousandths / 1000.0;
    }
    return (int64_t)(duration_ns + 0.5);
}

/* Opens from CLOSED, or again from HALF_OPEN, which is a step of the backoff. */
static void open_now(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns)
{
    if (breaker->state == CBM_CORE_HALF_OPEN && breaker->reopenings < UINT32_MAX) {
        breaker->reopenings++;
    }
    breaker->open_until_ns = core_time_add(now_ns, open_duration(shared, breaker));
    enter(shared, breaker, CBM_CORE_OPEN, cause, now_ns);
}

/* Opens, or stays OPEN, for as long as a report asks. While OPEN it never shortens. */
static void open_for(core_shared *shared, core_breaker *breaker, uint32_t open_for_ms, int64_t now_ns)
{
    uint32_t most_ms = core_breaker_policy(breaker)->open_for_max_ms;
    int64_t until_ns = core_time_add_ms(now_ns, open_for_ms < most_ms ? open_for_ms : most_ms);

    if (breaker->state == CBM_CORE_OPEN) {
        breaker->open_until_ns = core_time_max(breaker->open_until_ns, until_ns);
        return;
    }
    breaker->open_until_ns = until_ns;
    enter(shared, breaker, CBM_CORE_OPEN, CBM_CORE_CAUSE_OPEN_FOR, now_ns);
}

static void decide_by_probes(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns)
{
    switch (core_probes_verdict(&breaker->probes, core_breaker_policy(breaker))) {
    case CORE_VERDICT_OPEN: open_now(shared, breaker, cause, now_ns); break;
    case CORE_VERDICT_CLOSE: enter(shared, breaker, CBM_CORE_CLOSED, cause, now_ns); break;
    case CORE_VERDICT_NONE: core_breaker_schedule(shared, breaker, now_ns); break;
    }
}

/* ---- Time ----------------------------------------------------------------------------------------------------------- */

static void count_failure(core_breaker *breaker, int64_t now_ns)
{
    core_counters_outcome(&breaker->counters, CBM_CORE_FAILURE, false, 1);
    breaker->last_failure_ns = now_ns;
}

/* A probe of which nothing will be heard counts as a failed one. */
static void lose_probe(core_shared *shared, core_breaker *breaker, uint32_t index, cbm_core_cause cause, int64_t now_ns)
{
    core_permits_take_back(&shared->permits, &breaker->permits, index);
    count_failure(breaker, now_ns);
    breaker->probes.recorded++;
    breaker->probes.failures++;
    decide_by_probes(shared, breaker, cause, now_ns);
}

static void lease_ran_out(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    breaker->counters.leases_expired++;
    core_breaker_tell(shared, breaker, (cbm_core_event){.type = CBM_CORE_EVENT_LEASE_EXPIRED}, now_ns);
    lose_probe(shared, breaker, breaker->permits.first, CBM_CORE_CAUSE_LEASE, now_ns);
}

/* As _settle_due, but nothing happens before `not_before_ns`, at which the breaker was already. */
static void settle_since(core_shared *shared, core_breaker *breaker, int64_t not_before_ns, int64_t now_ns)
{
    while (now_ns >= breaker->settle_at_ns) {
        int64_t at_ns = core_time_max(breaker->settle_at_ns, not_before_ns);

        if (breaker->state != CBM_CORE_HALF_OPEN) {
            enter(shared, breaker, CBM_CORE_CLOSED, CBM_CORE_CAUSE_CONTROL_ENDED, at_ns);
        } else if (core_permits_first_end(&shared->permits, &breaker->permits) == breaker->settle_at_ns) {
            lease_ran_out(shared, breaker, at_ns);
        } else {
            open_now(shared, breaker, CBM_CORE_CAUSE_MAX_WAIT, at_ns);
        }
    }
}

void core_breaker_settle_due(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    settle_since(shared, breaker, 0, now_ns);
}

/* ---- A call: begin -------------------------------------------------------------------------------------------------- */

int64_t core_breaker_retry_after(const core_shared *shared, const core_breaker *breaker, int64_t now_ns)
{
    int64_t end_ns = CBM_CORE_NEVER_NS;

    switch ((cbm_core_state)breaker->state) {
    case CBM_CORE_OPEN: return core_time_left(breaker->open_until_ns, now_ns);
    case CBM_CORE_HALF_OPEN:
        if (core_probes_admit(&breaker->probes, core_breaker_policy(breaker), breaker->permits.count)) {
            return 0;
        }
        end_ns = core_permits_first_end(&shared->permits, &breaker->permits);
        break;
    case CBM_CORE_FORCED_OPEN: end_ns = breaker->control_ends_ns; break;
    default: return 0;
    }
    return end_ns == CBM_CORE_NEVER_NS ? -1 : core_time_left(end_ns, now_ns);
}

static int refuse(core_shared *shared, core_breaker *breaker, int error, int64_t now_ns, cbm_core_decision *decision)
{
    breaker->counters.rejected++;
    breaker->counters.half_open_rejected += error == CBM_CORE_E_HALF_OPEN_FULL;
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
        enter(shared, breaker, CBM_CORE_HALF_OPEN, CBM_CORE_CAUSE_TIMEOUT_OVER, now_ns);
        breaker->permits = given;
    } else {
        if (!core_probes_admit(&breaker->probes, core_breaker_policy(breaker), breaker->permits.count)) {
            return CBM_CORE_E_HALF_OPEN_FULL;
        }
        error = core_permits_give(&shared->permits, &breaker->permits, breaker, begin->holder,
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
        error = now_ns < breaker->open_until_ns ? CBM_CORE_E_OPEN : begin_probe(shared, breaker, begin, now_ns, &id);
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

static bool is_slow(const core_breaker *breaker, const cbm_core_report *report)
{
    return report->duration_ns > core_breaker_policy(breaker)->slow_call_duration_ms * CBM_CORE_NS_PER_MS;
}

/* After an outcome was recorded: opens when the rule says so, which METRICS_ONLY only shows. Returns whether it opened. */
static bool evaluate(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    if (!core_rule_opens(&breaker->rule, core_breaker_policy(breaker), now_ns)) {
        return false;
    }
    if (breaker->state == CBM_CORE_METRICS_ONLY) {
        breaker->would_open = true;
        return false;
    }
    open_now(shared, breaker, CBM_CORE_CAUSE_RULE, now_ns);
    return true;
}

/* An outcome of CLOSED or METRICS_ONLY. */
static void record(core_shared *shared, core_breaker *breaker, const cbm_core_report *report, int64_t now_ns)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    bool failed_before = core_rule_failures(&breaker->rule, policy, now_ns) > 0;

    if (!core_rule_record(&breaker->rule, policy, is_failure(report), is_slow(breaker, report), now_ns)) {
        breaker->counters.lumped++;
        return;
    }
    if (breaker->state == CBM_CORE_CLOSED && report->open_for_ms > 0) {
        return; /* opened by that instead, and for that long */
    }
    if (!evaluate(shared, breaker, now_ns) &&
        failed_before != (core_rule_failures(&breaker->rule, policy, now_ns) > 0)) {
        core_breaker_schedule(shared, breaker, now_ns); /* only a breaker without failures expires */
    }
}

static void record_probe(core_shared *shared, core_breaker *breaker, const cbm_core_report *report, uint64_t id,
                         int64_t now_ns)
{
    core_permits_take_back(&shared->permits, &breaker->permits, core_permits_find(&shared->permits, breaker, id));
    if (report->outcome != CBM_CORE_IGNORED) {
        breaker->probes.recorded++;
        breaker->probes.failures += is_failure(report);
        breaker->probes.slow += is_slow(breaker, report);
    }
    if (report->open_for_ms == 0 && report->outcome != CBM_CORE_IGNORED) {
        decide_by_probes(shared, breaker, CBM_CORE_CAUSE_PROBES, now_ns);
    } else {
        core_breaker_schedule(shared, breaker, now_ns);
    }
}

static void count(core_breaker *breaker, const cbm_core_report *report, uint64_t times, int64_t now_ns)
{
    core_counters_outcome(&breaker->counters, report->outcome, is_slow(breaker, report), times);
    if (report->duration_ns >= 0) {
        core_history_duration(&breaker->history, report->duration_ns, times);
    }
    if (is_failure(report)) {
        breaker->last_failure_ns = now_ns;
        if (report->text != NULL) {
            core_history_error_text(&breaker->history, report->text);
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
    breaker->counters.late += late ? times : 0;
    count(breaker, report, times, now_ns);
    if (decides && breaker->state == CBM_CORE_HALF_OPEN) {
        record_probe(shared, breaker, report, permit->id, now_ns);
    } else if (decides && breaker->state != CBM_CORE_DISABLED && report->outcome != CBM_CORE_IGNORED) {
        record(shared, breaker, report, now_ns);
    }
    if (report->open_for_ms > 0 && !report->late &&
        (breaker->state == CBM_CORE_OPEN ||
         (decides && (breaker->state == CBM_CORE_CLOSED || breaker->state == CBM_CORE_HALF_OPEN)))) {
        open_for(shared, breaker, report->open_for_ms, now_ns);
    }
}

void core_breaker_successes(core_shared *shared, core_breaker *breaker, uint32_t epoch, uint64_t times, int64_t at_ns)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);

    if (times == 0) {
        return;
    }
    core_counters_outcome(&breaker->counters, CBM_CORE_SUCCESS, false, times);
    breaker->last_used_ns = core_time_max(breaker->last_used_ns, at_ns);
    if (epoch != breaker->epoch) {
        breaker->counters.late += times;
        return;
    }
    if (!records((cbm_core_state)breaker->state)) {
        return;
    }
    core_rule_record_successes(&breaker->rule, policy, times, at_ns);
    if (!evaluate(shared, breaker, at_ns)) {
        core_breaker_schedule(shared, breaker, at_ns);
    }
}

bool core_breaker_successes_decide(core_breaker *breaker, int64_t now_ns)
{
    return breaker->state == CBM_CORE_HALF_OPEN ||
           (records((cbm_core_state)breaker->state) &&
            core_rule_successes_decide(&breaker->rule, core_breaker_policy(breaker), now_ns));
}

void core_breaker_abandon(core_shared *shared, core_breaker *breaker, uint32_t permit_index, int64_t now_ns)
{
    breaker->counters.abandoned++;
    core_breaker_tell(shared, breaker, (cbm_core_event){.type = CBM_CORE_EVENT_ABANDONED}, now_ns);
    if (core_breaker_policy(breaker)->on_abandon == CBM_CORE_ABANDON_FAILURE) {
        lose_probe(shared, breaker, permit_index, CBM_CORE_CAUSE_ABANDONED, now_ns);
        return;
    }
    core_permits_take_back(&shared->permits, &breaker->permits, permit_index);
    core_breaker_schedule(shared, breaker, now_ns);
}

/* ---- By hand -------------------------------------------------------------------------------------------------------- */

void core_breaker_reset(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns)
{
    enter(shared, breaker, CBM_CORE_CLOSED, cause, now_ns);
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
    set_reason(breaker, kept);
    breaker->control_ends_ns = for_ms == 0 ? CBM_CORE_NEVER_NS : core_time_add_ms(now_ns, for_ms);
    enter(shared, breaker, states[control], CBM_CORE_CAUSE_CONTROL, now_ns);
    return CBM_CORE_OK;
}

void core_breaker_adopt(core_shared *shared, core_breaker *breaker, cbm_core_state state, int64_t retry_after_ns,
                        int64_t now_ns)
{
    int64_t end_ns = core_time_add(now_ns, core_time_max(retry_after_ns, 0));

    if (state == CBM_CORE_OPEN) {
        breaker->open_until_ns = end_ns;
    } else if (state != CBM_CORE_CLOSED && state != CBM_CORE_HALF_OPEN) {
        set_reason(breaker, NULL);
        breaker->control_ends_ns = retry_after_ns > 0 ? end_ns : CBM_CORE_NEVER_NS;
    }
    enter(shared, breaker, state, CBM_CORE_CAUSE_ADOPTED, now_ns);
    if ((state == CBM_CORE_OPEN || state == CBM_CORE_HALF_OPEN) && breaker->opened_failures == 0) {
        /* What opened it elsewhere is not known, but that enough failed is. */
        breaker->opened_failures = core_rule_threshold(&breaker->rule, core_breaker_policy(breaker), now_ns);
    }
}

int core_breaker_change_policy(core_shared *shared, core_policy_pool *pool, core_breaker *breaker,
                               core_policy_entry *policy, int64_t now_ns)
{
    int error = core_rule_change(&breaker->rule, core_breaker_policy(breaker), core_policy_of(policy));

    if (error != CBM_CORE_OK) {
        return error;
    }
    core_policy_release(pool, breaker->policy);
    breaker->policy = policy;
    core_breaker_schedule(shared, breaker, now_ns);
    core_breaker_tell(shared, breaker, (cbm_core_event){.type = CBM_CORE_EVENT_POLICY_CHANGED}, now_ns);
    settle_since(shared, breaker, now_ns, now_ns);
    if (breaker->state == CBM_CORE_HALF_OPEN) {
        /* The probes so far may be enough for the new policy, and then it would give out no more. */
        decide_by_probes(shared, breaker, CBM_CORE_CAUSE_PROBES, now_ns);
    }
    return CBM_CORE_OK;
}

/* ---- Beginning and end ---------------------------------------------------------------------------------------------- */

void core_breaker_start(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    breaker->state = CBM_CORE_CLOSED;
    breaker->state_since_ns = now_ns;
    breaker->last_used_ns = now_ns;
    breaker->last_failure_ns = -1;
    breaker->control_ends_ns = CBM_CORE_NEVER_NS;
    breaker->deadline_ns = CBM_CORE_NEVER_NS;
    breaker->heap_index = CORE_NOT_IN_HEAP;
    core_permit_list_init(&breaker->permits);
    core_breaker_schedule(shared, breaker, now_ns);
}

void core_breaker_stop(core_shared *shared, core_breaker *breaker)
{
    core_permits_take_back_all(&shared->permits, &breaker->permits);
    core_deadlines_set(&shared->deadlines, breaker, CBM_CORE_NEVER_NS);
    core_history_free(breaker->history);
    free(breaker->reason);
}

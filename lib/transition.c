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
#include "transition.h"

#include "hash.h"
#include "times.h"

#include <stdlib.h>

/* ---- Events and deadlines ------------------------------------------------------------------------------------------- */

void core_breaker_tell(core_shared *shared, const core_breaker *breaker, cbm_core_event event, int64_t now_ns)
{
    if (shared->on_event == NULL) {
        return;
    }
    event.name = core_breaker_name(breaker);
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

    return wait_ms == 0 ? CBM_CORE_NEVER_NS : core_time_add_ms(breaker->rest->state_since_ns, wait_ms);
}

void core_breaker_schedule(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    switch ((cbm_core_state)breaker->state) {
    case CBM_CORE_HALF_OPEN:
        breaker->rest->settle_at_ns =
            core_time_min(core_permits_first_end(&shared->permits, &breaker->rest->permits), max_wait_end(breaker));
        break;
    case CBM_CORE_CLOSED:
    case CBM_CORE_OPEN: breaker->rest->settle_at_ns = CBM_CORE_NEVER_NS; break;
    default: breaker->rest->settle_at_ns = breaker->rest->state_ends_ns; break;
    }
    core_deadlines_set(&shared->deadlines, breaker,
                       core_time_min(breaker->rest->settle_at_ns, core_breaker_expiry(breaker, now_ns)));
}

/* ---- Transitions ---------------------------------------------------------------------------------------------------- */

bool core_state_records(cbm_core_state state)
{
    return state == CBM_CORE_CLOSED || state == CBM_CORE_METRICS_ONLY;
}

bool core_state_is_manual(cbm_core_state state)
{
    return state == CBM_CORE_FORCED_OPEN || state == CBM_CORE_DISABLED || state == CBM_CORE_METRICS_ONLY;
}

/* The failures that count, or that counted when the breaker left CLOSED. */
static uint32_t failures_of(core_breaker *breaker, int64_t now_ns)
{
    return core_state_records((cbm_core_state)breaker->state)
               ? core_rule_failures(&breaker->rule, core_breaker_policy(breaker), now_ns)
               : breaker->rest->opened_failures;
}

void core_set_reason(core_breaker *breaker, char *reason)
{
    free(breaker->rest->reason);
    breaker->rest->reason = reason;
}

/* Everything that entering a state means, except for what is particular to who enters it. */
void core_enter_state(core_shared *shared, core_breaker *breaker, cbm_core_state to, cbm_core_cause cause,
                      int64_t now_ns)
{
    cbm_core_state from = (cbm_core_state)breaker->state;
    uint32_t failures = from == CBM_CORE_HALF_OPEN ? breaker->rest->probes.failures : failures_of(breaker, now_ns);
    int64_t retry_after_ns = to == CBM_CORE_OPEN ? core_time_left(breaker->rest->state_ends_ns, now_ns) : 0;

    core_permits_take_back_all(&shared->permits, &breaker->rest->permits);
    breaker->epoch = core_epoch_after(breaker->epoch);
    if (from != to) {
        core_history_transition(&breaker->rest->history, from, to, now_ns - breaker->rest->state_since_ns);
        breaker->rest->state_since_ns = now_ns;
    }
    if (to == CBM_CORE_OPEN || to == CBM_CORE_HALF_OPEN) {
        if (core_state_records(from)) { /* what opened it stays in sight until it is CLOSED */
            breaker->rest->opened_failures = failures;
            breaker->rest->frozen_ns = now_ns;
        }
    } else {
        core_rule_clear(&breaker->rule, core_breaker_policy(breaker));
        breaker->rest->opened_failures = 0;
        breaker->rest->reopenings = 0;
        breaker->would_open = false;
        breaker->last_used_ns = core_time_max(breaker->last_used_ns, now_ns);
    }
    if (to == CBM_CORE_CLOSED || to == CBM_CORE_HALF_OPEN) {
        breaker->rest->state_ends_ns = CBM_CORE_NEVER_NS;
    }
    if (!core_state_is_manual(to)) {
        core_set_reason(breaker, NULL);
    }
    breaker->rest->probes = (core_probes){0};
    breaker->state = (uint8_t)to;
    /* A reset puts the expiry off, which is seen when it comes: many of them would cost much otherwise. */
    if (from != CBM_CORE_CLOSED || to != CBM_CORE_CLOSED ||
        breaker->rest->deadline_ns > core_breaker_expiry(breaker, now_ns)) {
        core_breaker_schedule(shared, breaker, now_ns);
    }
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
    double factor = power(policy->backoff_multiplier_thousandths / 1000.0, breaker->rest->reopenings, limit);
    double duration_ns = (double)policy->timeout_ms * factor * (double)CBM_CORE_NS_PER_MS;

    if (policy->jitter_thousandths > 0) {
        double part = (double)(core_random(&shared->random) >> 11) / 9007199254740992.0; /* 53 bits: 0 to 1 */

        duration_ns += duration_ns * part * policy->jitter_thousandths / 1000.0;
    }
    return (int64_t)(duration_ns + 0.5);
}

/* Opens from CLOSED, or again from HALF_OPEN, which is a step of the backoff. */
void core_open(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns)
{
    if (breaker->state == CBM_CORE_HALF_OPEN && breaker->rest->reopenings < UINT32_MAX) {
        breaker->rest->reopenings++;
    }
    breaker->rest->state_ends_ns = core_time_add(now_ns, open_duration(shared, breaker));
    core_enter_state(shared, breaker, CBM_CORE_OPEN, cause, now_ns);
}

/* Opens, or stays OPEN, for as long as a report asks. While OPEN it never shortens. */
void core_open_for(core_shared *shared, core_breaker *breaker, uint32_t open_for_ms, int64_t now_ns)
{
    uint32_t most_ms = core_breaker_policy(breaker)->open_for_max_ms;
    int64_t until_ns = core_time_add_ms(now_ns, open_for_ms < most_ms ? open_for_ms : most_ms);

    if (breaker->state == CBM_CORE_OPEN) {
        breaker->rest->state_ends_ns = core_time_max(breaker->rest->state_ends_ns, until_ns);
        return;
    }
    breaker->rest->state_ends_ns = until_ns;
    core_enter_state(shared, breaker, CBM_CORE_OPEN, CBM_CORE_CAUSE_OPEN_FOR, now_ns);
}

void core_decide_by_probes(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns)
{
    switch (core_probes_verdict(&breaker->rest->probes, core_breaker_policy(breaker))) {
    case CORE_VERDICT_OPEN: core_open(shared, breaker, cause, now_ns); break;
    case CORE_VERDICT_CLOSE: core_enter_state(shared, breaker, CBM_CORE_CLOSED, cause, now_ns); break;
    case CORE_VERDICT_NONE: core_breaker_schedule(shared, breaker, now_ns); break;
    }
}

/* ---- Time ----------------------------------------------------------------------------------------------------------- */

static void count_failure(core_breaker *breaker, int64_t now_ns)
{
    breaker->rest->counters.failed++;
    breaker->rest->last_failure_ns = now_ns;
}

/* A probe of which nothing will be heard counts as a failed one. */
void core_lose_probe(core_shared *shared, core_breaker *breaker, uint32_t index, cbm_core_cause cause, int64_t now_ns)
{
    core_permits_take_back(&shared->permits, &breaker->rest->permits, index);
    count_failure(breaker, now_ns);
    breaker->rest->probes.recorded++;
    breaker->rest->probes.failures++;
    core_decide_by_probes(shared, breaker, cause, now_ns);
}

static void lease_ran_out(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    breaker->rest->counters.leases_expired++;
    core_breaker_tell(shared, breaker, (cbm_core_event){.type = CBM_CORE_EVENT_LEASE_EXPIRED}, now_ns);
    core_lose_probe(shared, breaker, breaker->rest->permits.first, CBM_CORE_CAUSE_LEASE, now_ns);
}

/* As _settle_due, but nothing happens before `not_before_ns`, at which the breaker was already. */
void core_settle_since(core_shared *shared, core_breaker *breaker, int64_t not_before_ns, int64_t now_ns)
{
    while (now_ns >= breaker->rest->settle_at_ns) {
        int64_t at_ns = core_time_max(breaker->rest->settle_at_ns, not_before_ns);

        if (breaker->state != CBM_CORE_HALF_OPEN) {
            core_enter_state(shared, breaker, CBM_CORE_CLOSED, CBM_CORE_CAUSE_CONTROL_ENDED, at_ns);
        } else if (core_permits_first_end(&shared->permits, &breaker->rest->permits) == breaker->rest->settle_at_ns) {
            lease_ran_out(shared, breaker, at_ns);
        } else {
            core_open(shared, breaker, CBM_CORE_CAUSE_MAX_WAIT, at_ns);
        }
    }
}

void core_breaker_settle_due(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    core_settle_since(shared, breaker, 0, now_ns);
}

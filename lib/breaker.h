/* One breaker: its states, permits and epochs. breaker.c opens with the table of transitions. */
#ifndef CORE_BREAKER_H
#define CORE_BREAKER_H

#include "cbm_core.h"
#include "deadlines.h"
#include "histogram.h"
#include "permits.h"
#include "policy_pool.h"
#include "rule.h"
#include "statistics.h"
#include "table.h"

#define CORE_NEVER_HAPPENED_NS INT64_MIN

/* What a call on a CLOSED breaker does not need. */
typedef struct core_breaker_rest {
    struct core_breaker *breaker;
    int64_t state_since_ns;
    int64_t state_ends_ns; /* OPEN: when a begin may go on; a manual state: when it ends by itself */
    int64_t settle_at_ns;  /* before this there is nothing to settle */
    int64_t frozen_ns;     /* when the rule stopped recording, on leaving CLOSED or METRICS_ONLY */
    int64_t
        last_failure_ns; /* CORE_NEVER_HAPPENED_NS: never; of a restored breaker it may lie before this clock began */
    int64_t deadline_ns; /* not later than the next thing that time does to it, expiry included */
    uint32_t heap_index;
    uint32_t reopenings;      /* in a row: the step of the backoff */
    uint32_t opened_failures; /* the failures that opened it, until CLOSED */
    core_permit_list permits;
    core_probes probes;
    char *reason; /* of a manual state; NULL: none */
    core_counters counters;
    core_histogram *durations; /* NULL: none was given yet */
    core_history *history;     /* NULL: none yet */
    UT_hash_handle hh;         /* by name, which it owns as its key */
} core_breaker_rest;

/* One line of cache: with tens of thousands of breakers, what a call costs is the lines that it touches. */
typedef struct core_breaker {
    uint8_t state;   /* cbm_core_state */
    bool in_use;     /* else an empty slot */
    bool configured; /* the policy is that of a section of the config file */
    bool would_open; /* METRICS_ONLY: the rule has said open since */
    uint32_t epoch;
    uint32_t slot_generation;
    uint32_t slot;
    core_policy_entry *policy;
    core_breaker_rest *rest;
    core_rule rule;
    int64_t last_used_ns; /* last get, begin or report; for expiry */
    uint64_t successful_calls;
} core_breaker;

static inline uint32_t core_epoch_after(uint32_t epoch)
{
    return (epoch + 1) & (uint32_t)CBM_CORE_EPOCH_MASK;
}

/* What the breakers of a manager share. */
typedef struct core_shared {
    core_permits permits;
    core_deadlines deadlines;
    uint64_t random;
    void (*on_event)(void *context, const cbm_core_event *event);
    void *event_context;
} core_shared;

static inline const char *core_breaker_name(const core_breaker *breaker)
{
    return breaker->rest->hh.key;
}

static inline const cbm_core_policy *core_breaker_policy(const core_breaker *breaker)
{
    return core_policy_of(breaker->policy);
}

/* Sends an event about a breaker; the members left 0 are filled in: name, slot, present state, time. */
void core_breaker_tell(core_shared *shared, const core_breaker *breaker, cbm_core_event event, int64_t now_ns);

/* Starts in CLOSED. The rule, name, policy and slot are set up already. */
void core_breaker_start(core_shared *shared, core_breaker *breaker, int64_t now_ns);
/* Takes it out of everything shared. */
void core_breaker_stop(core_shared *shared, core_breaker *breaker);

/*
 * Does what time has done by now: leases that ran out, half_open_max_wait_ms, controls that ended, each at its own time. Every
 * other function here expects it to have been called.
 */
void core_breaker_settle_due(core_shared *shared, core_breaker *breaker, int64_t now_ns);
static inline void core_breaker_settle(core_shared *shared, core_breaker *breaker, int64_t now_ns)
{
    if (breaker->state != CBM_CORE_CLOSED && now_ns >= breaker->rest->settle_at_ns) {
        core_breaker_settle_due(shared, breaker, now_ns);
    }
}
/* Sets settle_at_ns and the deadline anew, after anything that may have moved them forward. */
void core_breaker_schedule(core_shared *shared, core_breaker *breaker, int64_t now_ns);
/* When it may be forgotten; CBM_CORE_NEVER_NS: not as it is. */
int64_t core_breaker_expiry(core_breaker *breaker, int64_t now_ns);

int core_breaker_begin(core_shared *shared, core_breaker *breaker, const cbm_core_begin *begin, int64_t now_ns,
                       cbm_core_decision *decision);
/* `permit` must be one that could be of this breaker, or NULL. */
void core_breaker_report(core_shared *shared, core_breaker *breaker, const cbm_core_permit *permit,
                         const cbm_core_report *report, int64_t now_ns);
/* The successes of an epoch that were held back, as core_rule_record_successes takes them. */
void core_breaker_successes(core_shared *shared, core_breaker *breaker, uint32_t epoch, uint64_t times, int64_t at_ns,
                            int64_t now_ns);
bool core_breaker_successes_decide(core_breaker *breaker, int64_t now_ns);
/* Whether one more failure or slow call could: core_rule_failure_decides. */
bool core_breaker_failure_decides(core_breaker *breaker, int64_t now_ns);
/* The holder of one of its permits is gone. */
void core_breaker_abandon(core_shared *shared, core_breaker *breaker, uint32_t permit_index, int64_t now_ns);

void core_breaker_reset(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns);
/* CBM_CORE_E_NOMEM: nothing changed. */
int core_breaker_control(core_shared *shared, core_breaker *breaker, cbm_core_control control, const char *reason,
                         uint32_t for_ms, int64_t now_ns);
void core_breaker_adopt(core_shared *shared, core_breaker *breaker, cbm_core_state state, int64_t retry_after_ns,
                        int64_t now_ns);
/* Another policy, whose reference is taken over and the old one's given up. CBM_CORE_E_NOMEM: nothing of that happened. */
int core_breaker_change_policy(core_shared *shared, core_policy_pool *pool, core_breaker *breaker,
                               core_policy_entry *policy, int64_t now_ns);

/* How long until a call may be let through, as in cbm_core_status.retry_after_ns. */
int64_t core_breaker_retry_after(const core_shared *shared, const core_breaker *breaker, int64_t now_ns);
void core_breaker_status(const core_shared *shared, core_breaker *breaker, int64_t now_ns, cbm_core_status *status);

#endif

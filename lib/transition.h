/* How a breaker gets from state to state. transition.c opens with the table of all transitions. */
#ifndef CORE_TRANSITION_H
#define CORE_TRANSITION_H

#include "breaker.h"

/* Whether the rule records what is reported in that state. */
bool core_state_records(cbm_core_state state);

/* Whether a state is entered by hand alone. */
bool core_state_is_manual(cbm_core_state state);

/*
 * Enters a state, also one that it is in already: a new epoch, no permit out, everything set as the state wants it. Who
 * enters OPEN or a manual state sets state_ends_ns before, and for the latter the reason.
 */
void core_enter_state(core_shared *shared, core_breaker *breaker, cbm_core_state to, cbm_core_cause cause,
                      int64_t now_ns);
/* Opens from CLOSED, or again from HALF_OPEN, which is a step of the backoff. */
void core_open(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns);
/* Opens for as long as a report asks, or stays OPEN for so long if that is longer. */
void core_open_for(core_shared *shared, core_breaker *breaker, uint32_t open_for_ms, int64_t now_ns);

/* HALF_OPEN: decides when the probes' outcomes are enough for it. */
void core_decide_by_probes(core_shared *shared, core_breaker *breaker, cbm_core_cause cause, int64_t now_ns);
/* A probe of which nothing will be heard counts as a failed one. */
void core_lose_probe(core_shared *shared, core_breaker *breaker, uint32_t permit_index, cbm_core_cause cause,
                     int64_t now_ns);

/* As core_breaker_settle_due, but nothing is dated before `not_before_ns`. */
void core_settle_since(core_shared *shared, core_breaker *breaker, int64_t not_before_ns, int64_t now_ns);

/* Takes over `reason`, NULL: none. */
void core_set_reason(core_breaker *breaker, char *reason);

#endif

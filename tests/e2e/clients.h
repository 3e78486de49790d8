/* Clients of libcbm-client as the tests use them, and one that works in the background while something else goes wrong. */
#ifndef CBM_E2E_CLIENTS_H
#define CBM_E2E_CLIENTS_H

#include "cbm.h"
#include "harness.h"

/* With deadlines that a busy machine does not miss: for tests that are not about deadlines. */
cbm_client *client_open(const char *address, cbm_when_away when_away);
cbm_breaker *breaker_get(cbm_client *client, const char *name, const cbm_policy *policy);
/* One call with that outcome: what begin returned; the report must be taken. */
int call_once(cbm_breaker *breaker, cbm_outcome outcome);
/* `count` calls that are let through and fail. */
void fail_calls(cbm_breaker *breaker, int count);
/* Begins until one is let through (its permit is given out) or the deadline is over. */
bool begin_until_permitted(cbm_breaker *breaker, cbm_permit *permit, int deadline_ms);
/* The state dict of one breaker, which must be there, as a copy without its strings. */
cbm_breaker_state state_of(cbm_client *client, const char *name);
cbm_policy policy_of(cbm_client *client, const char *name); /* all fields in force */

typedef struct worker worker;

/* A process of its own that begins and reports without a pause, fail-closed; every call has to succeed. */
worker *worker_start(const char *address);
uint64_t worker_calls(const worker *w);
/* Whether it makes another 20 calls in time. */
bool worker_progresses(worker *w);
/* Its exit status: 0 when every call went well. */
int worker_stop(worker *w);

#endif

/* What the tests of libcbm-client share. */
#ifndef CBM_CLIENT_FIXTURE_H
#define CBM_CLIENT_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "cbm.h"

#define CALL_TIMEOUT_MS 150
#define TIMEOUT_MS 300
#define SLACK_MS 1500     /* what a busy machine may be late by */
#define PATIENCE_MS 20000 /* for conditions that will hold, sooner or later */

/* With deadlines that a busy machine keeps, for tests that are not about deadlines. Must succeed. */
cbm_client *open_client(const char *address, cbm_when_away when_away);
/* With the deadlines above, for tests that are. */
cbm_client *open_hurried(const char *address, cbm_when_away when_away);
cbm_breaker *get_breaker(cbm_client *client, const char *name, const cbm_policy *policy);
/* Begins and reports; what begin returned, or else what report did. */
int call_with(cbm_breaker *breaker, cbm_outcome outcome);
/* Waits until the broker does not count as away any more: a ping gets through. */
bool await_broker(cbm_client *client);
/* State dict of a breaker that must be there; strings are not kept. */
cbm_breaker_state state_of(cbm_client *client, const char *name);
void sleep_ms(int64_t ms);

#endif

/* The broker as a backend: one operation is one request and its reply over the link. */
#ifndef CBM_CLIENT_BROKER_H
#define CBM_CLIENT_BROKER_H

#include "cbm.h"
#include "link.h"
#include "message.h"

/* For the thread that is in the link. 0 with a reply, or a cbm_error; *answer says what became of the request. */
int cbm_broker_round_trip(cbm_link *link, const cbm_request *request, int64_t deadline_ns, cbm_reply *reply,
                          cbm_link_reply *answer);
/*
 * Gets a breaker again, with its policy, when that has not been done in the broker's present life. 0 with refusal->error 0 when
 * the broker knows it now, or with the broker's refusal; else a cbm_error.
 */
int cbm_broker_attach(cbm_client *client, cbm_breaker *breaker, int64_t deadline_ns, cbm_reply *refusal);

#endif

/* What the broker last said of a breaker: the local manager goes on from there while the broker is away. */
#ifndef CBM_CLIENT_KNOWN_H
#define CBM_CLIENT_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "cbm.h"
#include "cbm_core.h"
#include "message.h"

typedef struct cbm_known {
    bool policy_known;
    bool state_known;
    cbm_core_policy policy;
    cbm_core_state state;
    int64_t retry_at_ns; /* of OPEN; INT64_MAX: until somebody enables it */
} cbm_known;

/* Takes what a reply of the broker to that request tells about the handle (may be NULL) and others. */
void cbm_known_learn(cbm_client *client, cbm_breaker *breaker, const cbm_request *request, const cbm_reply *reply);

/* Under the client's lock: what the board says of the handle, when it has a place there; a dead broker's last word too. */
void cbm_known_look(const cbm_client *client, cbm_breaker *breaker);

/* Under the client's lock, before the local manager stands in: tells it, once an absence, what is known of a handle, or of all. */
void cbm_known_prepare(cbm_client *client, cbm_breaker *breaker, int64_t now_ns);
void cbm_known_prepare_all(cbm_client *client, int64_t now_ns);

#endif

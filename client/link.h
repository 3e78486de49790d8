/*
 * The one way of a client to its broker: a connection that its threads take in turn, what is known of the broker, and for
 * how long it counts as away. A thread waits for another's call no longer than its own deadline.
 */
#ifndef CBM_CLIENT_LINK_H
#define CBM_CLIENT_LINK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "endpoint.h"
#include "message.h"
#include "orphans.h"
#include "transport.h"

typedef struct cbm_link {
    cbm_endpoint endpoints[CBM_ENDPOINT_DEFAULTS];
    size_t endpoint_count;
    _Atomic size_t endpoint; /* the one in use, or tried last */
    bool settled;            /* a broker answered there: no other is tried any more */

    pthread_mutex_t lock; /* held for moments only: guards busy and what belongs to away */
    pthread_cond_t freed;
    bool busy;
    int64_t away_until_ns;
    int64_t away_step_ns;  /* 0: not away */
    int away_error;        /* what calls get meanwhile: CBM_E_AWAY, _DENIED, _UNTRUSTED or _PROTOCOL */
    atomic_bool *answered; /* whether the last attempt was */

    /* The rest belongs to the thread that is in. */
    int cancel_state; /* as it was: meanwhile the thread cannot be cancelled, or nobody would ever get in again */
    cbm_transport transport;
    cbm_buffer out; /* the request being sent */
    cbm_orphans orphans;
    uint32_t hello_id; /* of the `info` that goes with the greeting, while its reply is out; else 0 */
    bool has_incarnation;
    uint8_t incarnation[CBM_ID_SIZE];
    uint64_t life;        /* counts the brokers met: another incarnation, or one that does not say, is a new one */
    uint64_t connections; /* counts them */
    bool sees_peers;      /* the broker and this process live in one pid namespace, as far as can be told */
    bool limits_calls;    /* its rate limit counts every call */
} cbm_link;

/* `answered` is kept up to date; it belongs to the caller. */
int cbm_link_init(cbm_link *link, atomic_bool *answered);
void cbm_link_deinit(cbm_link *link);
/* In a forked child: locks as new, the parent's connection closed. */
void cbm_link_renew(cbm_link *link);

/* Waits for the connection. CBM_E_AWAY (or what else made it count as away) at the deadline, or at once while away. */
int cbm_link_enter(cbm_link *link, int64_t deadline_ns);
void cbm_link_leave(cbm_link *link);

/* The rest is for the thread that is in. */

/* Connects if need be and learns who the broker is. 0, CBM_E_AWAY, _DENIED, _UNTRUSTED, _PROTOCOL, _NOMEM. */
int cbm_link_connect(cbm_link *link, int64_t deadline_ns);

typedef struct cbm_link_reply {
    const uint8_t *body; /* good until the next request or leave */
    size_t size;
    uint32_t id; /* of the request */
    bool sent;   /* the request was sent as a whole: without an answer nobody knows whether it was executed */
    bool lost;   /* the connection ended before the answer */
} cbm_link_reply;

/* Sends the request in `out` and waits for the reply. 0, CBM_E_AWAY, _PROTOCOL, _NOMEM. */
int cbm_link_request(cbm_link *link, int64_t deadline_ns, cbm_link_reply *reply);
/* What the broker sent was not understood: closes the connection. Returns CBM_E_PROTOCOL. */
int cbm_link_reject(cbm_link *link);

#endif

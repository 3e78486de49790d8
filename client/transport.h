/*
 * One SP connection over a blocking Unix socket: the only file that talks to the broker. No thread, no signal; every wait
 * ends at its deadline (CLOCK_MONOTONIC). For one thread at a time.
 */
#ifndef CBM_CLIENT_TRANSPORT_H
#define CBM_CLIENT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "endpoint.h"

typedef enum cbm_transport_result {
    CBM_TRANSPORT_OK = 0,
    CBM_TRANSPORT_TIMEOUT,     /* the deadline passed; see cbm_transport_is_open whether it can go on later */
    CBM_TRANSPORT_UNREACHABLE, /* nobody accepts there */
    CBM_TRANSPORT_DENIED,      /* this user may not connect there, or not look whether anybody accepts */
    CBM_TRANSPORT_UNTRUSTED,   /* closed: the peer is a stranger */
    CBM_TRANSPORT_LOST,        /* closed by the peer */
    CBM_TRANSPORT_BROKEN,      /* closed: what came is not SP, or not for us */
    CBM_TRANSPORT_NOMEM,       /* closed */
} cbm_transport_result;

/* Told of each reply that is skipped, since nobody waits for it any more. */
typedef void cbm_transport_skipped(void *context, uint32_t id, const uint8_t *body, size_t size);

typedef struct cbm_transport {
    int fd;            /* -1: closed */
    bool greeted;      /* the peer's greeting was read */
    uint32_t first_id; /* of the requests sent on this connection, without SP's high bit */
    uint32_t next_id;
    cbm_buffer in;           /* bytes read and not yet consumed */
    size_t frame_size;       /* of the reply given out by receive, at the front of `in` */
    int64_t send_timeout_ns; /* as the socket has it now; 0: none yet */
    cbm_transport_skipped *skipped;
    void *skipped_context;
} cbm_transport;

void cbm_transport_init(cbm_transport *transport, cbm_transport_skipped *skipped, void *skipped_context);
void cbm_transport_deinit(cbm_transport *transport); /* closes */
void cbm_transport_close(cbm_transport *transport);
bool cbm_transport_is_open(const cbm_transport *transport);
/* The process id of the peer, as it is seen here; 0: it cannot be told. */
uint32_t cbm_transport_peer(const cbm_transport *transport);
/* In a forked child: closes the parent's connection; `idle` says that no thread was at work on it, else its memory is left alone. */
void cbm_transport_abandon(cbm_transport *transport, bool idle);

/*
 * Connects and sends the greeting together with a first request, so that both cost one round trip. On a timeout after that the
 * connection stays open and receive() goes on waiting.
 */
cbm_transport_result cbm_transport_open(cbm_transport *transport, const cbm_endpoint *endpoint, const void *body,
                                        size_t size, int64_t deadline_ns, uint32_t *id);
/*
 * LOST means: not executed, the request is not on the other side as a whole. A timeout in the middle of a request closes,
 * since its rest could not be told from another request.
 */
cbm_transport_result cbm_transport_send(cbm_transport *transport, const void *body, size_t size, int64_t deadline_ns,
                                        uint32_t *id);
/*
 * The reply to request `id`. Replies to older requests are skipped. The body stays good until the next call of this file; what
 * was read of a reply at the deadline is kept.
 */
cbm_transport_result cbm_transport_receive(cbm_transport *transport, uint32_t id, int64_t deadline_ns,
                                           const uint8_t **body, size_t *size);

#endif

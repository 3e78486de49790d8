/*
 * A connection on which a ledger is handed over (proto/handshake.h), from the moment it is accepted: what it says, and what it is
 * told. Never waits. Whatever it sends, no descriptor of it stays open.
 */
#ifndef CBM_SERVER_ATTACH_PEER_H
#define CBM_SERVER_ATTACH_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "attach_watch.h"
#include "engine.h"
#include "ledger.h"
#include "publisher.h"
#include "tokens.h"

#define CBM_ATTACH_PATIENCE_NS CBM_CORE_NS_PER_S /* for each of its messages */

typedef enum cbm_attach_stage {
    CBM_ATTACH_SILENT,  /* its request is awaited */
    CBM_ATTACH_WAITING, /* for its turn: no more than some of a user may have the reply and not acknowledge it */
    CBM_ATTACH_REPLIED, /* its acknowledgement is awaited */
} cbm_attach_stage;

typedef struct cbm_attach_peer {
    cbm_attach_source source; /* first: what the event is of */
    struct cbm_attach_peer *next, *previous;
    int descriptor;
    uint64_t uid;
    int64_t pid; /* 0: in another pid namespace */
    cbm_attach_stage stage;
    int64_t deadline_ns;   /* INT64_MAX: none */
    cbm_token_owner owner; /* from WAITING on, and what follows */
    const cbm_ledger *ledger;
    int process;     /* pidfd, in REPLIED; -1: none */
    const char *why; /* of what it is refused */
} cbm_attach_peer;

/* What came of reading it: 0, or a negative cbm_proto_error that it is to be told, or: */
#define CBM_ATTACH_NOTHING 1 /* there is nothing to read yet */
#define CBM_ATTACH_GONE 2    /* it has gone, or does not speak of what it came for: to be closed without a word */

/* Takes the descriptor over in any case. NULL: no memory, or nobody is there any more. */
cbm_attach_peer *cbm_attach_peer_new(int descriptor, int64_t now_ns);
void cbm_attach_peer_free(cbm_attach_peer *peer);

/* SILENT: its request. With 0 it has a token, and its ledger is mapped. */
int cbm_attach_peer_request(cbm_attach_peer *peer, cbm_tokens *tokens, int64_t now_ns);
/* WAITING: opens its process and gives it the board. Never NOTHING. */
int cbm_attach_peer_reply(cbm_attach_peer *peer, const cbm_publisher *publisher, const uint8_t *incarnation);
/* REPLIED: its acknowledgement. */
int cbm_attach_peer_acknowledgement(const cbm_attach_peer *peer);
/* Tells it why nothing comes of it, in whatever stage. */
void cbm_attach_peer_refuse(const cbm_attach_peer *peer, int result, const uint8_t *incarnation);

#endif

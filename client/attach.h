/* Attaching: the client gets the board of its broker, and the broker the client's ledger (proto/handshake.h). */
#ifndef CBM_CLIENT_ATTACH_H
#define CBM_CLIENT_ATTACH_H

#include <stdbool.h>
#include <stdint.h>

#include "cbm.h"

typedef struct cbm_attachment {
    uint64_t life;       /* of the broker whose board is mapped; 0: none is */
    uint64_t connection; /* over which it was */
    uint64_t tried_life; /* of the broker that was asked last */
    int64_t retry_at_ns; /* after a failure it is left alone for a while, each time in a row twice as long */
    int64_t retry_step_ns;
    bool ledger_over; /* the broker may be done with the ledger: the next attach brings another */
} cbm_attachment;

/*
 * For the thread that is in the link, connected: when the attachment has ended, with its broker or its connection, nothing is
 * counted by it any more.
 */
void cbm_attach_check(cbm_client *client);
/*
 * For the thread that is in the link, connected: attaches unless that is done, of no use with this broker, or not to be tried again
 * yet. Takes half of the time that is left, at most. Without success all goes by message.
 */
void cbm_attach(cbm_client *client, int64_t deadline_ns);
/* At the end: the broker reads the ledger once more, and is done with it. */
void cbm_attach_end(cbm_client *client, int64_t deadline_ns);
/* In a forked child: for itself, from the start. */
void cbm_attach_renew(cbm_client *client);

#endif

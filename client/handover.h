/*
 * Counts that the local manager took while the broker was away, handed over when it is back: as late reports, statistics
 * only, each applied at most once.
 */
#ifndef CBM_CLIENT_HANDOVER_H
#define CBM_CLIENT_HANDOVER_H

#include <stddef.h>
#include <stdint.h>

#include "cbm.h"
#include "message.h"

#define CBM_OUTCOMES 4
#define CBM_HANDOVER_BATCH 32   /* reports in one message: well below its 64 KiB */
#define CBM_HANDOVER_MESSAGES 4 /* at a time: the rest goes with the next call, so that none is delayed by much */

typedef struct cbm_handover {
    cbm_report_message
        *batch;   /* allocated with the client, so that a report allocates nothing; NULL: this client owes never */
    size_t count; /* of those in it that the broker has not confirmed */
} cbm_handover;

int cbm_handover_init(cbm_handover *handover);
void cbm_handover_deinit(cbm_handover *handover);

/* One outcome more that the broker has not heard of. */
void cbm_handover_add(cbm_breaker *breaker, cbm_outcome outcome);
/* For the thread that is in the link, with the broker known to answer: hands over some messages' worth. */
void cbm_handover_send(cbm_client *client, int64_t deadline_ns);
/* Enters the link for that, unless the broker counts as away. */
void cbm_handover_try(cbm_client *client, int64_t deadline_ns);
/* At the end: all of it, as far as it can be done before the deadline. */
void cbm_handover_finish(cbm_client *client, int64_t deadline_ns);
/* In a forked child: what the parent owes is the parent's. */
void cbm_handover_forget(cbm_client *client);

#endif

/*
 * The memory that a client shares with its broker: a range of addresses for the board and one for the ledger, kept for
 * ever. Another board is mapped over the last one, and what there is none of reads as zeros, so a thread in a call may
 * look at any time and nothing has to be reclaimed: what it knows of an older board does not match the newer one.
 */
#ifndef CBM_CLIENT_MEMORY_H
#define CBM_CLIENT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cbm.h"
#include "message.h"

typedef struct cbm_memory {
    int ledger_fd; /* -1: there is no ledger yet */
    dev_t ledger_device;
    ino_t ledger_inode; /* so that a program which has closed all descriptors does not pass on another file */
    uint8_t ledger_id[CBM_ID_SIZE];
} cbm_memory;

/* Reserves both ranges, client->board and client->ledger, unless the memory of an earlier client has them. Without them all goes
   by message. */
void cbm_memory_init(cbm_client *client);
/* The ranges are kept, and read as zeros. */
void cbm_memory_release(cbm_client *client);
/* In a forked child: nothing of the parent's can be reached any more, at the same addresses. */
void cbm_memory_renew(cbm_client *client);

/* The descriptor of this process's ledger, made at first. -1: there can be none. */
int cbm_memory_ledger(cbm_client *client);
/* The next time it is that of another one. */
void cbm_memory_end_ledger(cbm_client *client);
/* Whether the descriptor is that of a board of that size and incarnation which nobody but its broker can change. */
bool cbm_memory_check_board(int fd, uint64_t size, const uint8_t incarnation[CBM_ID_SIZE]);
/* Maps it where the last one was. False: then there is none. */
bool cbm_memory_map_board(cbm_client *client, int fd, uint64_t size);

#endif

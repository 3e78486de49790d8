/*
 * The board's writer: makes the memfd, seals it so that nobody else can write, and says on it whether the broker lives. The
 * slots are written under the engine's lock.
 */
#ifndef CBM_SERVER_PUBLISHER_H
#define CBM_SERVER_PUBLISHER_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"

typedef struct cbm_publisher cbm_publisher;

/* CBM_PROTO_E_NOMEM, or CBM_PROTO_E_UNSUPPORTED where the system has no memfds with these seals: then all goes by message. */
int cbm_publisher_new(cbm_publisher **publisher, uint32_t slot_count, const uint8_t incarnation[CBM_ID_SIZE]);
void cbm_publisher_free(cbm_publisher *publisher); /* NULL is fine */

int cbm_publisher_descriptor(const cbm_publisher *publisher); /* to be passed to clients */
uint64_t cbm_publisher_size(const cbm_publisher *publisher);

/* By the main thread, when the broker serves: from now on the kernel says on the board when it has died. */
void cbm_publisher_live(cbm_publisher *publisher);
/* By the main thread, at a clean exit, when nobody is served any more. */
void cbm_publisher_die(cbm_publisher *publisher);

/* Writes a slot, unless it says that already. Returns the word that stood there. */
uint64_t cbm_publisher_put(cbm_publisher *publisher, uint32_t slot, uint64_t word, int64_t aux);

#endif

/*
 * The socket beside the broker's own where clients bring their ledgers and get the board (proto/handshake.h), and the watch
 * over their processes. One thread of its own; it blocks nobody, and nobody who says nothing there blocks others.
 */
#ifndef CBM_SERVER_ATTACH_H
#define CBM_SERVER_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "engine.h"

typedef struct cbm_attach cbm_attach;

/*
 * Listens on the address with CBM_SHM_SUFFIX, with the owner, group and mode of the socket itself (which must be there already).
 * False: `message` says why; the broker then serves by message alone.
 */
bool cbm_attach_start(cbm_attach **attach, const cbm_address *address, cbm_engine *engine, char *message,
                      size_t message_size);
/* Ends the thread. Ledgers stay with the engine. NULL is fine. */
void cbm_attach_stop(cbm_attach *attach);

#endif

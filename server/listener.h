/* The socket: accepts connections and makes peers of them, for as long as the process has descriptors, and again after that. */
#ifndef CBM_SERVER_LISTENER_H
#define CBM_SERVER_LISTENER_H

#include <stdbool.h>
#include <stddef.h>

#include "address.h"
#include "engine.h"
#include "registry.h"

typedef struct cbm_listener cbm_listener;

/*
 * Binds and accepts. The socket file gets mode 0660 and the group cbm, where there is one and we may give it. Whoever
 * calls holds the lock of the address. False: `message` says why.
 */
bool cbm_listener_start(cbm_listener **listener, const cbm_address *address, cbm_engine *engine, cbm_registry *registry,
                        char *message, size_t message_size);
/* Accepts no more, and removes the socket file. Peers go on. */
void cbm_listener_stop(cbm_listener *listener);

#endif

/* The socket: accepts connections and makes peers of them, for as long as the process has descriptors, and again after that. */
#ifndef CBM_SERVER_LISTENER_H
#define CBM_SERVER_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access.h"
#include "address.h"
#include "engine.h"
#include "quota.h"
#include "registry.h"

typedef struct cbm_listener cbm_listener;

typedef struct cbm_listener_options {
    const cbm_address *address;
    uint32_t socket_mode;
    const char *socket_group; /* by name or number; "": cbm, where there is one and we may give it */
    cbm_engine *engine;
    cbm_registry *registry;
    cbm_quota *quota;
    const cbm_access *access;
} cbm_listener_options;

/*
 * Binds and accepts. Whoever calls holds the lock of the address. False: `message` says why; a group that was asked for and
 * cannot be given is a reason.
 */
bool cbm_listener_start(cbm_listener **listener, const cbm_listener_options *options, char *message,
                        size_t message_size);
/* Accepts no more, and removes the socket file. Peers go on. */
void cbm_listener_stop(cbm_listener *listener);

#endif

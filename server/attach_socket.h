/* The listening socket on which ledgers are handed over, beside the broker's own. */
#ifndef CBM_SERVER_ATTACH_SOCKET_H
#define CBM_SERVER_ATTACH_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#include "address.h"

typedef struct cbm_attach_socket {
    int descriptor;                        /* non-blocking; -1: none */
    char path[sizeof(struct sockaddr_un)]; /* of its file, which goes with it; "": abstract, or not bound */
} cbm_attach_socket;

/*
 * Listens on the address with CBM_SHM_SUFFIX. A socket in the file system gets owner, group and mode of the broker's own, which
 * must be there, and is at no moment open to more. What a dead broker left there is removed: the broker's lock is held.
 * False: `message` says why, and nothing is left behind.
 */
bool cbm_attach_socket_open(cbm_attach_socket *opened, const cbm_address *address, char *message, size_t message_size);
void cbm_attach_socket_close(cbm_attach_socket *opened);

#endif

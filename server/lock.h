/*
 * One broker an address: `<path>.lock` is locked for as long as the broker lives, and the kernel gives it back however the
 * broker ends. Whoever holds it may remove the socket file that a dead one left behind.
 */
#ifndef CBM_SERVER_LOCK_H
#define CBM_SERVER_LOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "address.h"

typedef struct cbm_lock {
    int descriptor; /* -1: not held (an abstract socket needs none: its bind is the lock) */
    char path[CBM_ADDRESS_NAME_MAX + sizeof ".lock"];
} cbm_lock;

/* False: not ours, nothing was disturbed, and `message` says why. */
bool cbm_lock_acquire(cbm_lock *lock, const cbm_address *address, char *message, size_t message_size);
/*
 * Under the lock: what stands at a socket's path is left over and is removed, or is not ours to touch; then false, and `message`
 * says what it is.
 */
bool cbm_lock_remove_stale(const char *path, char *message, size_t message_size);
/* The socket file must be gone by now. */
void cbm_lock_release(cbm_lock *lock);

#endif

/* All clients of this process, for what a fork must do to each. */
#ifndef CBM_CLIENT_CLIENTS_H
#define CBM_CLIENT_CLIENTS_H

#include "client.h"

void cbm_clients_add(cbm_client *client);
void cbm_clients_remove(cbm_client *client);

/*
 * The memory of a client that is closed serves the next one, with its handles and its ranges of addresses, and never anything else: a
 * program that errs and calls after cbm_close finds a closed client there, and calls need not say that they are under way while
 * all they touch is that. All but this comes zeroed. NULL: no memory.
 */
cbm_client *cbm_clients_take(void);
void cbm_clients_give_back(cbm_client *client);

/* Around fork(): no thread is at work on a registry or an in-process manager while the process is copied. */
void cbm_clients_lock_all(void);
void cbm_clients_unlock_all(void);
/* In a new process, before its first call: locks as new, connections closed. */
void cbm_clients_renew(void);

#endif

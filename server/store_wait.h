/*
 * Waiting for the store without a thread that waits: an aio sleeps, and is woken up before its time when what it waits for has
 * been written.
 */
#ifndef CBM_SERVER_STORE_WAIT_H
#define CBM_SERVER_STORE_WAIT_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Part of whoever waits; zero-initialised. */
typedef struct cbm_store_waiter {
    nng_aio *aio;
    uint64_t ticket;
    bool waits;
    struct cbm_store_waiter *next, *previous;
} cbm_store_waiter;

typedef struct cbm_store_waits {
    pthread_mutex_t lock;
    cbm_store_waiter *first;
    _Atomic uint64_t committed; /* all tickets up to this one */
    _Atomic bool failing;       /* nothing is being written: nobody needs to wait */
} cbm_store_waits;

void cbm_store_waits_init(cbm_store_waits *waits);
void cbm_store_waits_deinit(cbm_store_waits *waits); /* nobody may wait */

/*
 * Lets the aio sleep for at most `most_ms`. Its callback then calls cbm_store_wait_over first of all. False: there is nothing to
 * wait for, since the ticket is written, or will not be soon; the callback does not come.
 */
bool cbm_store_wait(cbm_store_waits *waits, cbm_store_waiter *waiter, nng_aio *aio, uint64_t ticket, int most_ms);
void cbm_store_wait_over(cbm_store_waits *waits, cbm_store_waiter *waiter);
bool cbm_store_is_committed(const cbm_store_waits *waits, uint64_t ticket);

/* By the store's thread. */
void cbm_store_commit(cbm_store_waits *waits, uint64_t ticket);
/* Whoever waits is woken up, as they would wait in vain. */
void cbm_store_waits_fail(cbm_store_waits *waits);

#endif

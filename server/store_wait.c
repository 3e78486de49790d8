#include "store_wait.h"

void cbm_store_waits_init(cbm_store_waits *waits)
{
    *waits = (cbm_store_waits){.first = NULL};
    pthread_mutex_init(&waits->lock, NULL);
}

void cbm_store_waits_deinit(cbm_store_waits *waits)
{
    pthread_mutex_destroy(&waits->lock);
}

bool cbm_store_is_committed(const cbm_store_waits *waits, uint64_t ticket)
{
    return atomic_load_explicit(&waits->committed, memory_order_acquire) >= ticket;
}

static void take_out(cbm_store_waits *waits, cbm_store_waiter *waiter)
{
    if (!waiter->waits)
        return;
    waiter->waits = false;
    if (waiter->next)
        waiter->next->previous = waiter->previous;
    if (waiter->previous)
        waiter->previous->next = waiter->next;
    else
        waits->first = waiter->next;
}

bool cbm_store_wait(cbm_store_waits *waits, cbm_store_waiter *waiter, nng_aio *aio, uint64_t ticket, int most_ms)
{
    bool worth_it;

    pthread_mutex_lock(&waits->lock);
    worth_it = !cbm_store_is_committed(waits, ticket) && !atomic_load(&waits->failing);
    if (worth_it) {
        *waiter = (cbm_store_waiter){.aio = aio, .ticket = ticket, .waits = true, .next = waits->first};
        if (waits->first)
            waits->first->previous = waiter;
        waits->first = waiter;
        /* Under the lock: the thread that wakes it up cannot come before it sleeps. */
        nng_sleep_aio(most_ms, aio);
    }
    pthread_mutex_unlock(&waits->lock);
    return worth_it;
}

void cbm_store_wait_over(cbm_store_waits *waits, cbm_store_waiter *waiter)
{
    pthread_mutex_lock(&waits->lock);
    take_out(waits, waiter);
    pthread_mutex_unlock(&waits->lock);
}

/* With the lock held, so that no waiter, and no aio of one, goes away meanwhile. */
static void wake_up_to(cbm_store_waits *waits, uint64_t ticket)
{
    cbm_store_waiter *next;

    for (cbm_store_waiter *waiter = waits->first; waiter; waiter = next) {
        next = waiter->next;
        if (waiter->ticket > ticket)
            continue;
        take_out(waits, waiter);
        nng_aio_abort(waiter->aio, NNG_ECANCELED);
    }
}

void cbm_store_commit(cbm_store_waits *waits, uint64_t ticket)
{
    pthread_mutex_lock(&waits->lock);
    atomic_store(&waits->failing, false);
    if (!cbm_store_is_committed(waits, ticket))
        atomic_store_explicit(&waits->committed, ticket, memory_order_release);
    wake_up_to(waits, ticket);
    pthread_mutex_unlock(&waits->lock);
}

void cbm_store_waits_fail(cbm_store_waits *waits)
{
    pthread_mutex_lock(&waits->lock);
    atomic_store(&waits->failing, true);
    wake_up_to(waits, UINT64_MAX);
    pthread_mutex_unlock(&waits->lock);
}

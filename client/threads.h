/*
 * The threads of this process that call the library: each has a lane of its own in the ledgers, and a mark that says whose call
 * it is in, so that cbm_close can wait for calls under way. Marking is two plain stores; who closes pays for the order.
 */
#ifndef CBM_CLIENT_THREADS_H
#define CBM_CLIENT_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "fork.h"

#define CBM_THREAD_UNKNOWN UINT32_MAX /* no number of a process */

/* A thread's mark, on a line of cache of its own. Outlives the thread: it serves another one then. */
typedef struct cbm_thread_record {
    _Alignas(64) _Atomic(const cbm_client *) in; /* whose call it is in; NULL: none */
    bool taken;
} cbm_thread_record;

typedef struct cbm_thread {
    uint32_t process;          /* in which it is known; CBM_THREAD_UNKNOWN: in none, as yet */
    uint16_t lane;             /* in the ledgers */
    bool lane_is_shared;       /* other threads may write there too */
    bool fenced;               /* this system lets nobody order another's stores: each mark does it itself */
    cbm_thread_record *record; /* NULL: there are more threads than records; its calls are counted */
    int failure;               /* of its last call, when that left no text; 0: it did */
} cbm_thread;

/* Cheap to reach from a shared library too: a few bytes of what every thread has from its start. */
extern _Thread_local cbm_thread cbm_this_thread __attribute__((tls_model("initial-exec")));

/*
 * For calls that cost next to nothing. False: this thread is not known yet in this process, or the client is being closed; then
 * cbm_enter sees to it. The mark stays in either case.
 */
static inline bool cbm_mark(const cbm_client *client)
{
    const cbm_thread *thread = &cbm_this_thread;

    if (__builtin_expect(thread->process != atomic_load_explicit(&cbm_process_mark_page->state, memory_order_acquire),
                         0))
        return false;
    if (__builtin_expect(thread->fenced, 0))
        atomic_exchange(&thread->record->in, client);
    else
        atomic_store_explicit(&thread->record->in, client, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    return !atomic_load_explicit(&client->closing, memory_order_relaxed);
}

static inline void cbm_unmark(void)
{
    atomic_store_explicit(&cbm_this_thread.record->in, NULL, memory_order_release);
}

/* First in every other call; also after cbm_mark, which it repeats. CBM_E_INVALID: the client is being closed, or in no call. */
int cbm_enter(cbm_client *client);
void cbm_leave(cbm_client *client);

/* For cbm_close: from now on nobody enters. Returns when nobody is in. */
void cbm_threads_await(cbm_client *client);

/* Once, when the library is loaded. */
void cbm_threads_begin(void);
/* In a forked child: the others are gone, this one is to be known anew. */
void cbm_threads_renew(void);

#endif

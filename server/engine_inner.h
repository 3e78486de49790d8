/* The engine from inside: what its files share. engine.c has its life, lock and timer; the operations are in the other engine_*.c. */
#ifndef CBM_SERVER_ENGINE_INNER_H
#define CBM_SERVER_ENGINE_INNER_H

#include <nng/nng.h>
#include <pthread.h>

#include "accounts.h"
#include "engine.h"
#include "engine_shared.h"
#include "event_log.h"
#include "replay.h"

struct cbm_engine {
    pthread_mutex_t lock;
    cbm_core_manager *manager;
    cbm_replay replay;
    cbm_event_log events;
    cbm_accounts accounts;
    cbm_shared shared;
    int64_t now_ns;                          /* of the operation under way */
    const cbm_caller *caller;                /* on whose behalf the lock is held; NULL: time's */
    cbm_config *config;                      /* NULL: none */
    cbm_core_policy_request policy_defaults; /* its own */

    nng_aio *timer;
    int64_t timer_ns; /* when it fires; CBM_CORE_NEVER_NS: it does not run */
    bool stopping;
    struct cbm_store *store; /* NULL: none */
    bool restoring;          /* what happens is nothing new */

    cbm_engine_options options;
    int64_t started_ns;
    uint8_t incarnation[CBM_ID_SIZE];
};

/* Takes the lock on behalf of the caller (NULL: time's, or of nobody who asked), and says what time it is. */
int64_t cbm_engine_enter(cbm_engine *engine, const cbm_caller *caller);
/* Publishes what has changed, and releases the lock. */
void cbm_engine_leave(cbm_engine *engine);
/* Without the lock, before it is taken again: those who wait for it wake up. */
void cbm_engine_give_way(void);

#endif

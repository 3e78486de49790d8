/*
 * Every connection, from the moment it is accepted to its last callback. Those that have not greeted are few and have
 * 2 s: the oldest goes when there are too many, so that connections which say nothing take no place from others.
 *
 * A connection belongs to its own callback, which alone frees it; here it can only be given up, which means that what it waits
 * for is aborted and its callback ends it. If it happens to wait for nothing just then, it is given up again a little later.
 */
#ifndef CBM_SERVER_REGISTRY_H
#define CBM_SERVER_REGISTRY_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "turns.h"

typedef struct cbm_registry_list cbm_registry_list;

/* A connection's part of it. */
typedef struct cbm_registry_entry {
    struct cbm_registry_entry *next, *previous;
    cbm_registry_list *list;
    nng_aio *aio; /* what it waits for */
    int64_t accepted_ns;
} cbm_registry_entry;

struct cbm_registry_list {
    cbm_registry_entry *first, *last;
    size_t count;
};

typedef struct cbm_registry {
    pthread_mutex_t lock;
    pthread_cond_t emptied;
    cbm_registry_list silent; /* not greeted yet, the oldest first */
    cbm_registry_list greeted;
    cbm_registry_list given_up; /* until their callbacks have ended them */
    size_t silent_max;
    size_t living; /* added and not released */
    nng_aio *sweep;
    bool sweeping;   /* the sweep's timer runs */
    cbm_turns turns; /* of those that have greeted */
    atomic_bool stopping;
} cbm_registry;

int cbm_registry_init(cbm_registry *registry, size_t silent_max); /* CBM_PROTO_E_NOMEM */
void cbm_registry_deinit(cbm_registry *registry);                 /* after cbm_registry_stop */

void cbm_registry_add(cbm_registry *registry, cbm_registry_entry *entry);
/* False: it was given up already. */
bool cbm_registry_greeted(cbm_registry *registry, cbm_registry_entry *entry);
/* It ends: before its aio goes. */
void cbm_registry_remove(cbm_registry *registry, cbm_registry_entry *entry);
/* It has ended: it uses neither NNG nor the engine any more. */
void cbm_registry_release(cbm_registry *registry);
/* There are no descriptors left: gives up whoever had time enough to greet. */
void cbm_registry_relieve(cbm_registry *registry);
bool cbm_registry_is_stopping(const cbm_registry *registry);
/* Gives up all and waits until the last is gone. Nothing may be added any more. */
void cbm_registry_stop(cbm_registry *registry);

#endif

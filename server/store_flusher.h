/*
 * Makes what was written safe against the loss of power: a thread that syncs the log of the database some milliseconds after a
 * commit, and so many commits at once. Commits go on meanwhile.
 */
#ifndef CBM_SERVER_STORE_FLUSHER_H
#define CBM_SERVER_STORE_FLUSHER_H

#include <pthread.h>
#include <stdbool.h>

typedef struct cbm_store_flusher {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running;
    bool stopping;
    bool dirty;
    int descriptor; /* of the log; -1: none */
    int error;      /* of the last sync, until it is taken */
    void (*failed)(void *context);
    void *context;
} cbm_store_flusher;

/* `failed` is called by the thread when a sync has failed; cbm_store_flusher_take_error then says why. 0 or an errno. */
int cbm_store_flusher_start(cbm_store_flusher *flusher, void (*failed)(void *context), void *context);
/* Syncs what is to be synced, and ends. */
void cbm_store_flusher_stop(cbm_store_flusher *flusher);
/* Another log; -1: none. It is the flusher's from now on. */
void cbm_store_flusher_set(cbm_store_flusher *flusher, int descriptor);
bool cbm_store_flusher_has_file(cbm_store_flusher *flusher);
void cbm_store_flusher_wrote(cbm_store_flusher *flusher);
int cbm_store_flusher_take_error(cbm_store_flusher *flusher);

#endif

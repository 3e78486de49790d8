/*
 * Reading the config file again, as SIGHUP and the operation `reload` ask for it: done by the main thread, since files may be slow
 * to read. What came of it can be asked for.
 */
#ifndef CBM_SERVER_RELOAD_H
#define CBM_SERVER_RELOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct cbm_reload_outcome {
    uint64_t asked; /* how often, since the start, by the operation */
    uint64_t done;  /* as of which of them the file was read; equal to asked: of all */
    bool success;   /* the last time; true before that */
    char message[512];
} cbm_reload_outcome;

typedef struct cbm_reload {
    pthread_mutex_t lock;
    cbm_reload_outcome outcome;
    bool possible; /* there is a config file */
} cbm_reload;

void cbm_reload_init(cbm_reload *reload, bool possible);
void cbm_reload_deinit(cbm_reload *reload);

/* Has the main thread do it. False: there is no config file. Never waits. *number: see `done`. */
bool cbm_reload_ask(cbm_reload *reload, uint64_t *number);
void cbm_reload_outcome_get(cbm_reload *reload, cbm_reload_outcome *outcome);

/* By the main thread: returns what to give to cbm_reload_end. */
uint64_t cbm_reload_begin(cbm_reload *reload);
void cbm_reload_end(cbm_reload *reload, uint64_t number, bool success, const char *message);

#endif

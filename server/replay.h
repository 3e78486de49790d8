/*
 * Reports that were applied, so that one that comes again is not applied twice: of each client the last 1024 sequence
 * numbers. Of clients the most recently heard are remembered, in memory taken once. Not thread-safe.
 */
#ifndef CBM_SERVER_REPLAY_H
#define CBM_SERVER_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

#define CBM_REPLAY_WINDOW 1024

typedef struct cbm_replay_client cbm_replay_client;

typedef struct cbm_replay {
    uint64_t key[2]; /* random: nobody can choose ids that fall into one bucket */
    cbm_replay_client *clients;
    uint32_t *buckets;
    uint32_t capacity; /* clients and buckets */
    uint32_t used;
    uint32_t newest, oldest; /* ends of the list by last use */
} cbm_replay;

/* capacity: clients, a power of two. CBM_PROTO_E_NOMEM. */
int cbm_replay_init(cbm_replay *replay, uint32_t capacity, const uint64_t key[2]);
void cbm_replay_deinit(cbm_replay *replay);

/* Whether it was applied already; one older than the window counts as that: at most once is the promise. */
bool cbm_replay_seen(cbm_replay *replay, const uint8_t client[CBM_ID_SIZE], uint64_t sequence);
/* It is applied now. Forgets the client that was not heard for the longest time when there is no room. */
void cbm_replay_mark(cbm_replay *replay, const uint8_t client[CBM_ID_SIZE], uint64_t sequence);

#endif

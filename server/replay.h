/*
 * Reports that were applied, so that one that comes again is not applied twice: of each client the last 1024 sequence
 * numbers. Of clients the most recently heard are remembered, in memory taken once, and no user (uid) makes room for its own by
 * having those of others forgotten, as long as these have no more than an equal share. Not thread-safe.
 */
#ifndef CBM_SERVER_REPLAY_H
#define CBM_SERVER_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

#define CBM_REPLAY_WINDOW 1024

#define CBM_REPLAY_USERS 256 /* those that come later share what the last one has */

typedef struct cbm_replay_client cbm_replay_client;

typedef struct cbm_replay_user {
    uint64_t uid;
    uint32_t newest, oldest; /* ends of the list of its clients by last use */
    uint32_t count;          /* 0: the entry is free */
} cbm_replay_user;

typedef struct cbm_replay {
    uint64_t key[2]; /* random: nobody can choose ids that fall into one bucket */
    cbm_replay_client *clients;
    uint32_t *buckets;
    uint32_t capacity; /* clients and buckets */
    uint32_t used;
    cbm_replay_user *users;
} cbm_replay;

/* capacity: clients, a power of two. CBM_PROTO_E_NOMEM. */
int cbm_replay_init(cbm_replay *replay, uint32_t capacity, const uint64_t key[2]);
void cbm_replay_deinit(cbm_replay *replay);

/* Whether it was applied already; one older than the window counts as that: at most once is the promise. */
bool cbm_replay_seen(cbm_replay *replay, const uint8_t client[CBM_ID_SIZE], uint64_t sequence);
/* It is applied now. When there is no room the client is forgotten that was not heard for the longest time, of whoever has most. */
void cbm_replay_mark(cbm_replay *replay, uint64_t uid, const uint8_t client[CBM_ID_SIZE], uint64_t sequence);

#endif

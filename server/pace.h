/*
 * The pace of peers: after a round of requests, how long a peer is not read. Nothing is ever refused here.
 *
 * Two things hold a peer back. Requests a second, of its connection and of its user. And heavy rounds (many requests at once,
 * or large replies) have their turns one after the other, whatever the number of peers: so whoever asks for little finds at
 * most one of them in its way. While somebody does, they leave most of the time free; alone, they have all of it.
 * (For many connections that ask for little each, see turns.h.)
 *
 * Pure: the caller brings the clock, and calls for one peer at a time.
 */
#ifndef CBM_SERVER_PACE_H
#define CBM_SERVER_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "last_two.h"

#define CBM_PART_NS 250000 /* that one part of a request takes, of those that concern all breakers */

/* What a peer did in one round. */
typedef struct cbm_pace_round {
    uint64_t connection;
    uint32_t requests;
    size_t bytes;     /* of requests and replies */
    int64_t begun_ns; /* CLOCK_MONOTONIC */
    int64_t ended_ns;
    uint32_t parts; /* of requests that are handled in parts */
} cbm_pace_round;

/* Common to all peers. */
typedef struct cbm_pace {
    cbm_last_two light; /* connections that ask for little, when they were served */
} cbm_pace;

typedef struct cbm_pace_user {
    int64_t requests_due_ns; /* when the requests so far would be due at the permitted rate */
    int64_t heavy_until_ns;  /* the turns of its heavy rounds so far end then */
} cbm_pace_user;

typedef struct cbm_pace_peer {
    int64_t requests_due_ns;
    int64_t heavy_ns; /* the end of its last heavy round's turn; 0: none */
} cbm_pace_peer;

/* Whether a round is a heavy one. */
bool cbm_pace_is_heavy(const cbm_pace_peer *peer, const cbm_pace_round *round);
/* At `rate` requests a second (0: any): until when who made them rests; <= now: not at all. */
int64_t cbm_pace_requests(int64_t *due_ns, uint32_t requests, uint32_t rate, int64_t now_ns);
/*
 * After any round: until when the peer rests for the sake of those who ask for little; <= round->ended_ns: not at all.
 * users: how many have heavy rounds under way, this one included.
 */
int64_t cbm_pace_weight(cbm_pace *pace, cbm_pace_user *user, cbm_pace_peer *peer, const cbm_pace_round *round,
                        uint32_t users);

#endif

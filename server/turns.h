/*
 * Users have their turns one after the other. NNG hands out what has arrived in one queue: a user with a thousand busy
 * connections would have a thousand requests in it, and everybody else would wait behind them. So a lap is run: a task goes
 * to the tail of that queue again and again, and between two of its passes only a few rounds of each user are handled. More of
 * them wait in the user's own line, the first come first. Whoever comes then waits for a few rounds of each user that is busy.
 *
 * Nothing rests because of it: the next lap begins at once. While only one user asks, there are no laps.
 */
#ifndef CBM_SERVER_TURNS_H
#define CBM_SERVER_TURNS_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "last_two.h"

typedef struct cbm_turns cbm_turns;
typedef struct cbm_turns_user cbm_turns_user;

/* A connection's part of it. */
typedef struct cbm_turn {
    cbm_turns *turns;
    cbm_turns_user *user; /* NULL: has not joined */
    nng_aio *aio;         /* the connection's; it waits for nothing else meanwhile */
    bool waits;
    uint64_t had_in; /* the lap in which its turn came; 0: that is used up */
    struct cbm_turn *next, *previous;
} cbm_turn;

struct cbm_turns {
    pthread_mutex_t lock;
    nng_aio *lap;
    uint64_t number;         /* of the lap under way */
    bool running;            /* the task is in the queue */
    bool used;               /* somebody had a turn since its last pass */
    cbm_turns_user *users;   /* by uid */
    cbm_turns_user *waiting; /* those with somebody in their line */
    cbm_last_two asked;      /* users */
};

int cbm_turns_init(cbm_turns *turns);  /* CBM_PROTO_E_NOMEM */
void cbm_turns_stop(cbm_turns *turns); /* when nobody takes turns any more */
void cbm_turns_deinit(cbm_turns *turns);

/* A connection of that user. False: there is no memory for it. */
bool cbm_turns_join(cbm_turns *turns, cbm_turn *turn, uint64_t uid, nng_aio *aio);
void cbm_turns_leave(cbm_turn *turn); /* who has not joined: nothing */

/*
 * Before a round. True: go ahead. False: the aio's callback comes, with 0 when it is the connection's turn, else because the aio
 * was aborted.
 */
bool cbm_turns_take(cbm_turn *turn, int64_t now_ns);
/* The same before it is read again: while others of its user wait, what it has to say may as well wait in its socket. */
bool cbm_turns_take_to_read(cbm_turn *turn);

#endif

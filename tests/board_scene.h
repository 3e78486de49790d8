/* A broker with a board, a client that shares memory with it, and one breaker: what most tests of calls on the board begin with. */
#ifndef CBM_BOARD_SCENE_H
#define CBM_BOARD_SCENE_H

#include "client_fixture.h"
#include "fake_board.h"

#define SECOND INT64_C(1000000000)

typedef struct scene {
    fake_board *board;
    cbm_client *client;
    cbm_breaker *breaker; /* "ha_api", in slot 0 */
} scene;

/* Its client is attached. */
scene new_scene(cbm_when_away when_away);
/* With the deadlines of open_hurried. */
scene new_hurried_scene(cbm_when_away when_away);
void end_scene(scene *s);

int64_t now_ns(void);                        /* CLOCK_MONOTONIC */
int count(const scene *s, cbm_operation op); /* requests that the broker has got */
int messages(const scene *s);                /* of all operations */
fake_counts counts(const scene *s);          /* of the breaker, in the ledger attached last */
/* The word of the breaker on the board. */
void put(const scene *s, cbm_core_state state, uint64_t flags, uint32_t epoch, int64_t aux);

#endif

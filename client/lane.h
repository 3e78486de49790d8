/*
 * Lanes: each thread of this process that counts in ledgers has one of its own there, the same in all ledgers, so that threads
 * share no line of cache. What no lane is left for shares the last one.
 */
#ifndef CBM_CLIENT_LANE_H
#define CBM_CLIENT_LANE_H

#include <stdbool.h>
#include <stdint.h>

#define CBM_LANE_NONE UINT32_MAX /* beyond all lanes: none was taken yet */

typedef struct cbm_thread {
    uint32_t lane;
    bool lane_is_shared; /* other threads may write there too */
    uint32_t process;    /* in which it was taken */
    int failure;         /* of the thread's last call, when that left no text; 0: it did */
} cbm_thread;

/* Cheap to reach from a shared library too: a few bytes of what every thread has from its start. */
extern _Thread_local cbm_thread cbm_this_thread __attribute__((tls_model("initial-exec")));

/* Gives this thread a lane, until it ends. */
void cbm_lane_take(void);

/* Once, when the library is loaded. */
void cbm_lanes_begin(void);
/* In a forked child: the other threads are gone. */
void cbm_lanes_renew(void);

#endif

/*
 * For a thread that closes what others have passed to it. Such a descriptor may take its time to close: a TCP socket with SO_LINGER
 * waits for its peer, whoever holds it last. While a thread hurries, waits of that kind are interrupted after some milliseconds.
 */
#ifndef CBM_SERVER_HURRY_H
#define CBM_SERVER_HURRY_H

#include <stdbool.h>
#include <time.h>

typedef struct cbm_hurry {
    timer_t timer;
    bool there; /* false: nothing is interrupted */
} cbm_hurry;

/* All by the thread itself. */
void cbm_hurry_init(cbm_hurry *hurry);
void cbm_hurry_deinit(cbm_hurry *hurry);
void cbm_hurry_begin(const cbm_hurry *hurry);
void cbm_hurry_end(const cbm_hurry *hurry);

#endif

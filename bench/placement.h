/*
 * On which processors client and server run. Left to the scheduler a round trip has two speeds, by whether both happen to share a
 * processor (a switch of context) or not (waking an idle processor), and which of them comes is chance.
 */
#ifndef CBM_BENCH_PLACEMENT_H
#define CBM_BENCH_PLACEMENT_H

#include <stdbool.h>
#include <sys/types.h>

typedef enum bench_placement {
    BENCH_ANYWHERE, /* as the scheduler likes */
    BENCH_APART,    /* the client on the first processor, the server on the others */
    BENCH_TOGETHER, /* both on the first */
} bench_placement;

bool bench_placement_possible(bench_placement placement);      /* BENCH_APART needs two processors */
void bench_place_server(pid_t pid, bench_placement placement); /* with all its threads */
void bench_place_client(bench_placement placement);            /* the calling process */
void bench_place_worker(int index);                            /* the calling thread: each on a processor of its own */

#endif

/*
 * Many clients in a few processes: each is a cbm_client with a ledger of its own, as each process of a host has one. They call when they
 * are told to, from as many threads as lanes are wanted.
 */
#ifndef CBM_BENCH_HOLDERS_H
#define CBM_BENCH_HOLDERS_H

#include <stdbool.h>
#include <sys/types.h>

#include "cbm.h"

#define BENCH_HOLDER_PROCESSES 4
#define BENCH_HOLDER_BREAKERS 10
#define BENCH_HOLDER_LANES 8

/* A breaker, and how many of the clients hold it: the first ones. */
typedef struct bench_held {
    const char *name;
    int clients;
} bench_held;

typedef struct bench_holders_plan {
    const char *address;
    int clients;
    int lanes;
    bench_held held[BENCH_HOLDER_BREAKERS];
    int breakers;
    const cbm_policy *policy;
} bench_holders_plan;

typedef struct bench_holders {
    pid_t processes[BENCH_HOLDER_PROCESSES];
    int to[BENCH_HOLDER_PROCESSES];
    int from[BENCH_HOLDER_PROCESSES];
    int count; /* of processes */
} bench_holders;

/* They are attached when it returns. */
bool bench_holders_start(bench_holders *holders, const bench_holders_plan *plan);
/* Every thread of every client makes a call on each breaker that it holds, a success. Returns when all have. */
bool bench_holders_call(bench_holders *holders);
void bench_holders_stop(bench_holders *holders);

#endif

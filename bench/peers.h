/*
 * The servers that a round trip is measured against, each a process of its own on a Unix socket: cbmd itself, and two that
 * answer with cbmd's recorded bytes and do nothing else, so that the client sees no difference; and Redis.
 */
#ifndef CBM_BENCH_PEERS_H
#define CBM_BENCH_PEERS_H

#include <stdbool.h>
#include <sys/types.h>

typedef enum bench_peer_kind { BENCH_CBMD, BENCH_REP, BENCH_ECHO, BENCH_REDIS, BENCH_PEERS } bench_peer_kind;

typedef struct bench_peer {
    const char *name;
    char path[128]; /* of the socket */
    pid_t pid;      /* 0: not running */
} bench_peer;

/* Starts what can be started and waits until each answers. False when cbmd, REP or the echo could not be: it said why. */
bool bench_peers_start(bench_peer peers[BENCH_PEERS], const char *cbmd);
void bench_peers_stop(bench_peer peers[BENCH_PEERS]);

/* The two that answer canned bytes; each returns only when something is wrong. */
int bench_echo_serve(const char *path);
int bench_rep_serve(const char *path);

/* A breaker in Redis, as two scripts; one connection. */
typedef struct bench_redis bench_redis;
bench_redis *bench_redis_connect(const char *path); /* NULL: not to be had */
bool bench_redis_begin(bench_redis *redis);         /* false: refused, or no answer */
bool bench_redis_report(bench_redis *redis, bool success);
void bench_redis_close(bench_redis *redis);

#endif

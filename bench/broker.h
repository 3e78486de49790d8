/* A cbmd of the benchmark's own, on a socket in a temporary directory. */
#ifndef CBM_BENCH_BROKER_H
#define CBM_BENCH_BROKER_H

#include <stdbool.h>
#include <sys/types.h>

#include "cbm.h"

typedef struct bench_broker {
    pid_t pid; /* 0: not running */
    char directory[64];
    char path[96];     /* of the socket */
    char address[128]; /* as cbm_open takes it */
} bench_broker;

/* Without rate limit, quotas of users and store: what is measured is the broker, not what it is told to allow. */
bool bench_broker_start(bench_broker *broker, const char *cbmd);
void bench_broker_stop(bench_broker *broker);

/* Refuses where the broker is away, so that nothing is measured of a client that stands alone. NULL: said why. */
cbm_client *bench_open(const char *address, unsigned flags);
cbm_breaker *bench_get(cbm_client *client, const char *name, const cbm_policy *policy);
/* Creates `count` breakers, by several processes at once. */
bool bench_fill(const char *address, int count);
/* Says on standard error what cannot be measured, and what cbm says about it. */
bool bench_complain(const char *what);

#endif

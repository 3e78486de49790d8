/*
 * Load for the fault tests: processes of libcbm-client that call, trip, reset and probe without a pause while somebody else kills
 * the broker or them, and write down in memory that outlives them what they did and what they were told. What they wrote is then
 * compared with what the broker says.
 */
#ifndef CBM_E2E_FAULT_LOAD_H
#define CBM_E2E_FAULT_LOAD_H

#include <stdatomic.h>

#include "clients.h"

enum {
    LOAD_PROCESSES = 8,
    LOAD_COUNTED = 4, /* breakers that never open, one of each rule: for counting */
    LOAD_TRIPS = 8,   /* of each process alone: for opening and resetting */
    LOAD_PROBED = 3,  /* of all: open and half-open all the time */
    LOAD_LEASE_MS = 300,
};

/* What a process did to a counted breaker. Of one thread alone, until its process is gone and another one goes on. */
typedef struct load_tally {
    _Atomic uint64_t begun;   /* successes: raised before the report */
    _Atomic uint64_t fast;    /* those that went into its ledger: raised after it */
    _Atomic uint64_t told;    /* those by message that were answered */
    _Atomic uint64_t failing; /* failures: raised before the report */
    _Atomic uint64_t failed;  /* those that were answered */
} load_tally;

typedef enum load_trip_phase {
    LOAD_CLOSED,
    LOAD_UNSURE, /* something was asked for, and no answer came yet, or none that says enough */
    LOAD_TOLD,   /* the report that opened it was answered, as one that is stored */
} load_trip_phase;

typedef struct load_trip {
    _Atomic int phase;
    _Atomic int64_t asked_ns, told_ns; /* good when TOLD */
} load_trip;

typedef struct load_process {
    load_tally counted[LOAD_COUNTED];
    load_trip trips[LOAD_TRIPS];
    _Atomic int attached_life; /* in this life of the broker all counted breakers were called without a message */
    _Atomic uint64_t trips_told, trips_stored_late, resets_undone, away;
} load_process;

typedef struct load {
    char address[128];
    _Atomic int life; /* of the broker: raised between its death and its next start */
    _Atomic bool stop;
    _Atomic int64_t permitted_ns[LOAD_PROBED]; /* when the last begin returned a permit */
    _Atomic uint64_t probes, abandoned;
    load_process processes[LOAD_PROCESSES];
    pid_t pids[LOAD_PROCESSES]; /* the parent's */
} load;

/* In shared memory; makes all breakers, which are to be kept before anybody is killed. */
load *load_new(const broker *b);
void load_start(load *l, int index);
/* Ends all, which must have gone well, and frees. */
void load_stop(load *l);
void load_free(load *l);

const char *load_counted_name(int number);
const char *load_probed_name(int number);
void load_trip_name(int process, int number, char name[32]);
uint32_t load_trip_timeout_ms(int number);

/* Whether every process shares memory with the broker of this life. */
bool load_is_attached(void *load);
/* How the counted breaker `number` was called by all, or by one. */
load_tally load_sum(const load *l, int number);

#endif

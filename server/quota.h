/*
 * What each user (uid) uses of the broker, and how much of it it may use. Whatever a peer makes the broker take is charged to
 * its user before it is taken, and discharged when it is given back, so that no user spends what is not its own. Thread-safe;
 * a charge is a short critical section without I/O, fit for any callback.
 */
#ifndef CBM_SERVER_QUOTA_H
#define CBM_SERVER_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pace.h"

typedef enum cbm_quota_kind {
    CBM_QUOTA_CONNECTIONS,  /* that have greeted */
    CBM_QUOTA_LEDGERS,      /* mapped: one a client process */
    CBM_QUOTA_LEDGER_BYTES, /* pages of ledgers that the broker reads */
    CBM_QUOTA_BYTES,        /* in flight: large requests that are not whole, replies that are not taken */
    CBM_QUOTA_BREAKERS,     /* created by the user, and still there */
    CBM_QUOTA_PERMITS,      /* of HALF_OPEN, out */
    CBM_QUOTA_KINDS,
} cbm_quota_kind;

typedef struct cbm_quota cbm_quota;

typedef struct cbm_quota_limits {
    uint64_t each[CBM_QUOTA_KINDS]; /* of one user; 0: no limit of its own */
    /*
     * CBM_QUOTA_BYTES of all users together. A user may have at most as much of it as is left for others, so whoever comes
     * next always finds some: a user alone half, two a third each. 0: no limit.
     */
    uint64_t bytes_together;
    uint32_t requests_per_s; /* of one user, at which it is paced; a connection may have half of them. 0: any */
} cbm_quota_limits;

/* What one user uses now. */
typedef struct cbm_quota_usage {
    uint64_t uid;
    uint64_t used[CBM_QUOTA_KINDS];
    uint64_t refused; /* charges, since the broker saw the user first */
    uint64_t requests;
    uint64_t rests; /* how often one of its connections was not read for a while */
} cbm_quota_usage;

int cbm_quota_new(cbm_quota **quota, const cbm_quota_limits *limits); /* CBM_PROTO_E_NOMEM */
void cbm_quota_free(cbm_quota *quota);                                /* NULL is fine */

/*
 * Before it is taken. False: it would be more than the user may have (or there is no memory to count it in), and nothing is
 * charged.
 */
bool cbm_quota_charge(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind, uint64_t amount);
/* For those whom no limit of their own holds back; fails for want of memory alone. */
bool cbm_quota_charge_unlimited(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind, uint64_t amount);
/* As much as was charged before, or a part of it. */
void cbm_quota_discharge(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind, uint64_t amount);
/* Whether one more could be charged now. */
bool cbm_quota_has_room(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind);

/* A round of a connection of that user. Returns for how many milliseconds it is not to be read. */
uint32_t cbm_quota_round(cbm_quota *quota, uint64_t uid, cbm_pace_peer *peer, const cbm_pace_round *round);

/* What was given to cbm_quota_new: it does not change. */
const cbm_quota_limits *cbm_quota_limits_of(const cbm_quota *quota);
/* That user, or all of them by uid (UINT64_MAX), into `usages` (room for `capacity`); returns how many were put there. */
size_t cbm_quota_list(cbm_quota *quota, uint64_t uid, cbm_quota_usage *usages, size_t capacity);

#endif

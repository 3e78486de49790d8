/* On whose behalf something is done. */
#ifndef CBM_SERVER_CALLER_H
#define CBM_SERVER_CALLER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cbm_access cbm_access;

typedef struct cbm_caller {
    uint64_t holder; /* of permits: its connection; 0: nobody's, as of a text command */
    uint64_t connection;
    uint64_t uid;
    uint64_t gid;
    int64_t pid;                /* 0: not known */
    bool admin;                 /* root or the broker's own user: may do what others depend on */
    bool holds;                 /* was given a permit that is to be given back when it goes */
    const char *correlation_id; /* of the request under way; "": none */
    uint64_t *ticket;         /* raised to that of the store, by what the request changes at once; NULL: nobody asks */
    uint32_t part;            /* of a request that is handled in parts: where this one begins */
    uint32_t next_part;       /* where the next one does; 0: it is done */
    uint64_t so_far;          /* how many the parts before have dealt with */
    const cbm_access *access; /* who else may do what; NULL: nobody else */
} cbm_caller;

#endif

/*
 * Fair shares of the limiter. Who is alone may use all of it. As soon as others ask, each user has an equal share, and within
 * it each of the user's connections, of at least one operation a window; what somebody leaves of a share goes to whoever
 * asks. How much somebody asks for is seen over the last window, so shares are right within one window.
 */
#ifndef CORE_SHARES_H
#define CORE_SHARES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct core_share core_share; /* of a user, or of a connection of one */

typedef struct core_shares {
    core_share *all; /* NULL: there are no shares */
    uint32_t capacity;
    uint32_t used;   /* those below it have been in use */
    uint32_t unused; /* a list of those that are not */
    uint32_t *buckets;
    uint32_t first_user;
    uint32_t active_users;

    uint32_t *takers; /* of the operations in the window, oldest first, as in the limiter's ring */
    uint32_t maximum;
    uint32_t oldest;
    uint32_t count;

    int64_t window_ns;
    int64_t now_ns;
    int64_t slice;   /* of time, under way */
    uint32_t asking; /* whoever asked last */
} core_shares;

#define CORE_SHARES_CAPACITY 16384 /* users and connections that asked lately; others share what their user has */

/* CBM_CORE_E_NOMEM. maximum 0: no shares */
int core_shares_init(core_shares *shares, uint32_t maximum, int64_t window_ns);
void core_shares_deinit(core_shares *shares);

/*
 * Somebody asks for one operation, with `in_window` of all taken. False: it is more than its share; if it fits into the window all
 * the same, others have that place.
 */
bool core_shares_ask(core_shares *shares, uint64_t user, uint64_t connection, uint32_t in_window, int64_t now_ns);
/* Whoever asked last takes it: with each core_limiter_take. */
void core_shares_take(core_shares *shares);

#endif

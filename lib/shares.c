#include "shares.h"

#include "cbm_core.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define US (CBM_CORE_NS_PER_MS / 1000)
#define USER_MORE 8 /* operations, and a quarter, that a user may want more than it did in the last window */
#define SLICES 8    /* of a window: asking is counted by them */

struct core_share {
    uint64_t key;
    uint32_t user;  /* NONE: this is one */
    uint32_t count; /* operations in the window */
    uint32_t asked; /* in the slice under way and a whole window before it */
    uint32_t asked_in[SLICES + 1];
    int64_t since_ns;          /* when it began to ask */
    uint32_t first_connection; /* of a user */
    uint32_t active_connections;
    uint32_t previous, next; /* users, or connections of the same user; unused: only next */
    uint32_t next_in_bucket;
};

/* ---- Life ----------------------------------------------------------------------------------------------------------- */

int core_shares_init(core_shares *shares, uint32_t maximum, int64_t window_ns)
{
    *shares = (core_shares){
        .maximum = maximum,
        .window_ns = window_ns,
        .unused = NONE,
        .first_user = NONE,
        .asking = NONE,
    };
    if (maximum == 0) {
        return CBM_CORE_OK;
    }
    shares->capacity = CORE_SHARES_CAPACITY;
    shares->all = malloc(shares->capacity * sizeof(*shares->all));
    shares->buckets = malloc(shares->capacity * sizeof(*shares->buckets));
    shares->takers = malloc(maximum * sizeof(*shares->takers));
    if (shares->all == NULL || shares->buckets == NULL || shares->takers == NULL) {
        core_shares_deinit(shares);
        return CBM_CORE_E_NOMEM;
    }
    memset(shares->buckets, 0xff, shares->capacity * sizeof(*shares->buckets));
    return CBM_CORE_OK;
}

void core_shares_deinit(core_shares *shares)
{
    free(shares->all);
    free(shares->buckets);
    free(shares->takers);
    *shares = (core_shares){.all = NULL};
}

/* ---- Finding, adding, removing -------------------------------------------------------------------------------------- */

static uint32_t *bucket_of(const core_shares *shares, uint64_t key, uint32_t user)
{
    uint64_t mixed = (key + user) * UINT64_C(0x9e3779b97f4a7c15);

    return &shares->buckets[(mixed >> 32) & (shares->capacity - 1)];
}

static uint32_t find(const core_shares *shares, uint64_t key, uint32_t user)
{
    uint32_t at = *bucket_of(shares, key, user);

    while (at != NONE && (shares->all[at].key != key || shares->all[at].user != user)) {
        at = shares->all[at].next_in_bucket;
    }
    return at;
}

static uint32_t *siblings(core_shares *shares, uint32_t user)
{
    return user == NONE ? &shares->first_user : &shares->all[user].first_connection;
}

static uint32_t *active_siblings(core_shares *shares, uint32_t user)
{
    return user == NONE ? &shares->active_users : &shares->all[user].active_connections;
}

static uint32_t find_or_add(core_shares *shares, uint64_t key, uint32_t user)
{
    uint32_t at = find(shares, key, user);
    uint32_t *bucket = bucket_of(shares, key, user);
    uint32_t *first = siblings(shares, user);

    if (at != NONE) {
        return at;
    }
    if (shares->unused != NONE) {
        at = shares->unused;
        shares->unused = shares->all[at].next;
    } else if (shares->used < shares->capacity) {
        at = shares->used++;
    } else {
        return NONE;
    }
    shares->all[at] = (core_share){
        .key = key,
        .user = user,
        .first_connection = NONE,
        .previous = NONE,
        .next = *first,
        .next_in_bucket = *bucket,
    };
    if (*first != NONE) {
        shares->all[*first].previous = at;
    }
    *first = at;
    *bucket = at;
    return at;
}

static void remove_share(core_shares *shares, uint32_t at)
{
    core_share *share = &shares->all[at];
    uint32_t *link = bucket_of(shares, share->key, share->user);

    while (*link != at) {
        link = &shares->all[*link].next_in_bucket;
    }
    *link = share->next_in_bucket;
    *(share->previous == NONE ? siblings(shares, share->user) : &shares->all[share->previous].next) = share->next;
    if (share->next != NONE) {
        shares->all[share->next].previous = share->previous;
    }
    share->next = shares->unused;
    shares->unused = at;
}

/* ---- Time ----------------------------------------------------------------------------------------------------------- */

/* What left the limiter's window: the oldest first, as there. */
static void forget(core_shares *shares, uint32_t in_window)
{
    while (shares->count > in_window) {
        uint32_t taker = shares->takers[shares->oldest];

        if (taker != NONE) {
            shares->all[taker].count--;
        }
        if (taker != NONE && shares->all[taker].user != NONE) {
            shares->all[shares->all[taker].user].count--;
        }
        shares->oldest = shares->oldest + 1 == shares->maximum ? 0 : shares->oldest + 1;
        shares->count--;
    }
}

/* Forgets what was asked in `slices` that are over by now. Goes for good when nothing is left of it. */
static void turn_page(core_shares *shares, uint32_t at, int64_t slices)
{
    core_share *share = &shares->all[at];
    bool was_active = share->asked > 0;

    for (int64_t i = 1; i <= slices; i++) {
        uint32_t *oldest = &share->asked_in[(shares->slice + i) % (SLICES + 1)];

        share->asked -= *oldest;
        *oldest = 0;
    }
    if (was_active && share->asked == 0) {
        --*active_siblings(shares, share->user);
    }
    if (share->asked == 0 && share->count == 0 && share->first_connection == NONE) {
        remove_share(shares, at);
    }
}

static void turn_pages(core_shares *shares, int64_t now_ns)
{
    int64_t slice = now_ns / (shares->window_ns / SLICES);
    int64_t passed = slice - shares->slice > SLICES ? SLICES + 1 : slice - shares->slice;
    uint32_t next_user;
    uint32_t next;

    if (passed <= 0) {
        return;
    }
    for (uint32_t user = shares->first_user; user != NONE; user = next_user) {
        next_user = shares->all[user].next;
        for (uint32_t at = shares->all[user].first_connection; at != NONE; at = next) {
            next = shares->all[at].next;
            turn_page(shares, at, passed);
        }
        turn_page(shares, user, passed);
    }
    shares->slice = slice;
}

/* ---- Shares --------------------------------------------------------------------------------------------------------- */

static uint32_t share_of(uint32_t all, uint32_t active)
{
    uint32_t share = active == 0 ? all : all / active;

    return share == 0 ? 1 : share;
}

/* How much of a share it wants; of who asks for less than a window, what it will have asked for then if it goes on so. */
static uint32_t wanted(const core_shares *shares, const core_share *share, uint32_t all)
{
    int64_t slice_ns = shares->window_ns / SLICES;
    int64_t for_ns = shares->now_ns - share->since_ns;
    int64_t asked = share->asked;

    if (for_ns < shares->window_ns) {
        asked = asked * (shares->window_ns / US) / ((for_ns < slice_ns ? slice_ns : for_ns) / US);
    }
    asked += share->asked == 0 ? 0 : asked / 4 + (share->user == NONE ? USER_MORE : 1);
    return asked < all ? (uint32_t)asked : all;
}

/* What the others may still want of their shares. */
static uint32_t kept_for_others(core_shares *shares, uint32_t at, uint32_t share)
{
    uint32_t kept = 0;

    for (uint32_t other = *siblings(shares, shares->all[at].user); other != NONE; other = shares->all[other].next) {
        const core_share *they = &shares->all[other];
        uint32_t theirs = wanted(shares, they, share);

        if (other != at && theirs > they->count) {
            kept += theirs - they->count;
        }
    }
    return kept;
}

/* Of `all` that its siblings and it have together, of which `taken` are gone: how much it may have in all. */
static uint32_t most_of(core_shares *shares, uint32_t at, uint32_t all, uint32_t taken)
{
    uint32_t active = *active_siblings(shares, shares->all[at].user);
    uint32_t share = share_of(all, active);
    uint32_t gone;

    if (active <= 1) {
        return all;
    }
    gone = taken - shares->all[at].count + kept_for_others(shares, at, share);
    return gone < all && all - gone > share ? all - gone : share;
}

static void count_asking(core_shares *shares, uint32_t at)
{
    core_share *share = &shares->all[at];

    if (share->asked == 0) {
        ++*active_siblings(shares, share->user);
        share->since_ns = shares->now_ns;
    }
    if (share->asked < 2 * shares->maximum) { /* more does not matter */
        share->asked++;
        share->asked_in[shares->slice % (SLICES + 1)]++;
    }
}

static bool is_within_share(core_shares *shares, uint32_t user, uint32_t connection)
{
    const core_share *whose = &shares->all[user];
    uint32_t share = share_of(shares->maximum, shares->active_users);
    uint32_t most;

    if (whose->count < share &&
        (connection == user || shares->all[connection].count < share_of(share, whose->active_connections))) {
        return true;
    }
    most = most_of(shares, user, shares->maximum, shares->count);
    if (whose->count >= most) {
        return false;
    }
    return connection == user || shares->all[connection].count < most_of(shares, connection, most, whose->count);
}

bool core_shares_ask(core_shares *shares, uint64_t user, uint64_t connection, uint32_t in_window, int64_t now_ns)
{
    uint32_t whose;

    shares->asking = NONE;
    if (shares->all == NULL) {
        return true;
    }
    forget(shares, in_window);
    turn_pages(shares, now_ns);
    shares->now_ns = now_ns;
    whose = find_or_add(shares, user, NONE);
    if (whose == NONE) {
        return true;
    }
    count_asking(shares, whose);
    shares->asking = find_or_add(shares, connection, whose);
    if (shares->asking == NONE) {
        shares->asking = whose;
    } else {
        count_asking(shares, shares->asking);
    }
    return is_within_share(shares, whose, shares->asking);
}

void core_shares_take(core_shares *shares)
{
    uint32_t taker = shares->asking;
    uint32_t newest;

    if (shares->all == NULL || shares->count == shares->maximum) {
        return;
    }
    newest = shares->maximum - shares->oldest > shares->count ? shares->oldest + shares->count
                                                              : shares->count - (shares->maximum - shares->oldest);
    shares->takers[newest] = taker;
    shares->count++;
    shares->asking = NONE;
    if (taker != NONE) {
        shares->all[taker].count++;
    }
    if (taker != NONE && shares->all[taker].user != NONE) {
        shares->all[shares->all[taker].user].count++;
    }
}

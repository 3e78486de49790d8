#include "quota.h"

#include <pthread.h>
#include <stdlib.h>

#include "cbm_core.h"
#include "error.h"
#include "hash_table.h"
#include "message.h"

#define REST_MAX_MS 60000
#define IDLE_KEPT 1024 /* users that use nothing now and are remembered all the same */

typedef struct quota_user {
    cbm_quota_usage usage;
    cbm_pace_user pace;
    UT_hash_handle hh;
} quota_user;

struct cbm_quota {
    pthread_mutex_t lock;
    cbm_quota_limits limits;
    quota_user *users; /* by uid */
    uint64_t bytes;    /* CBM_QUOTA_BYTES of all */
    cbm_pace pace;
};

int cbm_quota_new(cbm_quota **quota, const cbm_quota_limits *limits)
{
    *quota = calloc(1, sizeof **quota);
    if (!*quota)
        return CBM_PROTO_E_NOMEM;
    (*quota)->limits = *limits;
    pthread_mutex_init(&(*quota)->lock, NULL);
    return 0;
}

static void forget(cbm_quota *quota, quota_user *user)
{
    HASH_DEL(quota->users, user);
    free(user);
}

void cbm_quota_free(cbm_quota *quota)
{
    if (!quota)
        return;
    while (quota->users)
        forget(quota, quota->users);
    pthread_mutex_destroy(&quota->lock);
    free(quota);
}

/* ---- Users ------------------------------------------------------------------------------------------------------ */

static quota_user *find(const cbm_quota *quota, uint64_t uid)
{
    quota_user *user;

    HASH_FIND(hh, quota->users, &uid, sizeof uid, user);
    return user;
}

static quota_user *find_or_add(cbm_quota *quota, uint64_t uid)
{
    quota_user *user = find(quota, uid);

    if (user)
        return user;
    user = calloc(1, sizeof *user);
    if (!user)
        return NULL;
    user->usage.uid = uid;
    HASH_ADD(hh, quota->users, usage.uid, sizeof user->usage.uid, user);
    if (!user->hh.tbl) { /* the table had no memory for it */
        free(user);
        return NULL;
    }
    return user;
}

static bool uses_nothing(const quota_user *user)
{
    for (int kind = 0; kind < CBM_QUOTA_KINDS; kind++)
        if (user->usage.used[kind])
            return false;
    return true;
}

/* ---- Charges ---------------------------------------------------------------------------------------------------- */

static bool has_room(const cbm_quota *quota, const quota_user *user, cbm_quota_kind kind, uint64_t amount)
{
    uint64_t most = quota->limits.each[kind], used = user->usage.used[kind], together = quota->limits.bytes_together;

    if (most && (used > most || amount > most - used))
        return false;
    if (kind != CBM_QUOTA_BYTES || !together)
        return true;
    return quota->bytes <= together && amount <= together - quota->bytes &&
           used + amount <= together - quota->bytes - amount;
}

static void add(cbm_quota *quota, quota_user *user, cbm_quota_kind kind, uint64_t amount)
{
    user->usage.used[kind] += amount;
    if (kind == CBM_QUOTA_BYTES)
        quota->bytes += amount;
}

static bool charge(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind, uint64_t amount, bool limited)
{
    quota_user *user;
    bool room = false;

    pthread_mutex_lock(&quota->lock);
    user = find_or_add(quota, uid);
    if (user) {
        room = !limited || has_room(quota, user, kind, amount);
        if (room)
            add(quota, user, kind, amount);
        else
            user->usage.refused++;
    }
    pthread_mutex_unlock(&quota->lock);
    return room;
}

bool cbm_quota_charge(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind, uint64_t amount)
{
    return charge(quota, uid, kind, amount, true);
}

bool cbm_quota_charge_unlimited(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind, uint64_t amount)
{
    return charge(quota, uid, kind, amount, false);
}

void cbm_quota_discharge(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind, uint64_t amount)
{
    quota_user *user;

    pthread_mutex_lock(&quota->lock);
    user = find(quota, uid);
    if (user) {
        if (amount > user->usage.used[kind])
            amount = user->usage.used[kind];
        user->usage.used[kind] -= amount;
        if (kind == CBM_QUOTA_BYTES)
            quota->bytes -= amount;
        if (HASH_COUNT(quota->users) > IDLE_KEPT && uses_nothing(user))
            forget(quota, user);
    }
    pthread_mutex_unlock(&quota->lock);
}

bool cbm_quota_has_room(cbm_quota *quota, uint64_t uid, cbm_quota_kind kind)
{
    static const quota_user nobody;
    const quota_user *user;
    bool room;

    pthread_mutex_lock(&quota->lock);
    user = find(quota, uid);
    room = has_room(quota, user ? user : &nobody, kind, 1);
    pthread_mutex_unlock(&quota->lock);
    return room;
}

/* ---- Pace ------------------------------------------------------------------------------------------------------- */

/* Users whose heavy rounds have not had all their turns, `user` included. */
static uint32_t heavy_users(const cbm_quota *quota, const quota_user *user, int64_t now_ns)
{
    uint32_t count = 1;

    for (const quota_user *other = quota->users; other; other = other->hh.next)
        count += other != user && other->pace.heavy_until_ns > now_ns;
    return count;
}

static int64_t rest_until(cbm_quota *quota, quota_user *user, cbm_pace_peer *peer, const cbm_pace_round *round)
{
    uint32_t rate = quota->limits.requests_per_s, users = 1;
    int64_t until_ns[3], latest_ns = 0;

    if (cbm_pace_is_heavy(peer, round))
        users = heavy_users(quota, user, round->ended_ns);
    until_ns[0] = cbm_pace_weight(&quota->pace, &user->pace, peer, round, users);
    until_ns[1] = cbm_pace_requests(&user->pace.requests_due_ns, round->requests, rate, round->ended_ns);
    until_ns[2] = cbm_pace_requests(&peer->requests_due_ns, round->requests, rate - rate / 2, round->ended_ns);
    for (int i = 0; i < 3; i++)
        latest_ns = until_ns[i] > latest_ns ? until_ns[i] : latest_ns;
    return latest_ns;
}

uint32_t cbm_quota_round(cbm_quota *quota, uint64_t uid, cbm_pace_peer *peer, const cbm_pace_round *round)
{
    quota_user *user;
    int64_t rest_ns = 0;

    pthread_mutex_lock(&quota->lock);
    user = find_or_add(quota, uid);
    if (user) {
        rest_ns = rest_until(quota, user, peer, round) - round->ended_ns;
        user->usage.requests += round->requests;
        user->usage.rests += rest_ns > 0;
    }
    pthread_mutex_unlock(&quota->lock);
    if (rest_ns <= 0)
        return 0;
    return rest_ns > REST_MAX_MS * CBM_CORE_NS_PER_MS ? REST_MAX_MS : (uint32_t)cbm_ms_round_up(rest_ns);
}

/* ---- Looking ---------------------------------------------------------------------------------------------------- */

const cbm_quota_limits *cbm_quota_limits_of(const cbm_quota *quota)
{
    return &quota->limits;
}

static int by_uid(const quota_user *a, const quota_user *b)
{
    return a->usage.uid < b->usage.uid ? -1 : a->usage.uid > b->usage.uid;
}

size_t cbm_quota_list(cbm_quota *quota, uint64_t uid, cbm_quota_usage *usages, size_t capacity)
{
    size_t count = 0;

    pthread_mutex_lock(&quota->lock);
    HASH_SORT(quota->users, by_uid);
    for (quota_user *user = quota->users; user && count < capacity; user = user->hh.next)
        if (uid == UINT64_MAX || user->usage.uid == uid)
            usages[count++] = user->usage;
    pthread_mutex_unlock(&quota->lock);
    return count;
}

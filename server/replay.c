#include "replay.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

#define NONE UINT32_MAX
#define WORDS (CBM_REPLAY_WINDOW / 64)

struct cbm_replay_client {
    uint8_t id[CBM_ID_SIZE];
    uint64_t highest;
    uint64_t applied[WORDS]; /* bit `sequence` modulo the window */
    uint32_t user;
    uint32_t next_in_bucket;
    uint32_t newer, older; /* of the same user */
};

int cbm_replay_init(cbm_replay *replay, uint32_t capacity, const uint64_t key[2])
{
    *replay = (cbm_replay){.capacity = capacity};
    replay->key[0] = key[0];
    replay->key[1] = key[1];
    replay->clients = calloc(capacity, sizeof *replay->clients);
    replay->buckets = malloc(capacity * sizeof *replay->buckets);
    replay->users = calloc(CBM_REPLAY_USERS, sizeof *replay->users);
    if (!replay->clients || !replay->buckets || !replay->users) {
        cbm_replay_deinit(replay);
        return CBM_PROTO_E_NOMEM;
    }
    memset(replay->buckets, 0xff, capacity * sizeof *replay->buckets);
    return 0;
}

void cbm_replay_deinit(cbm_replay *replay)
{
    free(replay->clients);
    free(replay->buckets);
    free(replay->users);
    *replay = (cbm_replay){0};
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t bucket_of(const cbm_replay *replay, const uint8_t id[CBM_ID_SIZE])
{
    uint64_t halves[2];

    memcpy(halves, id, sizeof halves);
    halves[0] = mix(halves[0] ^ replay->key[0], halves[1] ^ replay->key[1]);
    return (uint32_t)(mix(halves[0] ^ replay->key[1], UINT64_C(0x9e3779b97f4a7c15)) & (replay->capacity - 1));
}

static uint32_t find(const cbm_replay *replay, const uint8_t id[CBM_ID_SIZE], uint32_t bucket)
{
    uint32_t at = replay->buckets[bucket];

    while (at != NONE && memcmp(replay->clients[at].id, id, CBM_ID_SIZE) != 0)
        at = replay->clients[at].next_in_bucket;
    return at;
}

static void list_remove(cbm_replay *replay, uint32_t at)
{
    cbm_replay_client *client = &replay->clients[at];
    cbm_replay_user *user = &replay->users[client->user];

    if (client->newer == NONE)
        user->newest = client->older;
    else
        replay->clients[client->newer].older = client->older;
    if (client->older == NONE)
        user->oldest = client->newer;
    else
        replay->clients[client->older].newer = client->newer;
    user->count--;
}

static void list_put_newest(cbm_replay *replay, uint32_t at)
{
    cbm_replay_client *client = &replay->clients[at];
    cbm_replay_user *user = &replay->users[client->user];

    if (user->count++ == 0)
        user->newest = user->oldest = NONE;
    client->newer = NONE;
    client->older = user->newest;
    if (user->newest == NONE)
        user->oldest = at;
    else
        replay->clients[user->newest].newer = at;
    user->newest = at;
}

/* ---- Users ------------------------------------------------------------------------------------------------------ */

static uint32_t find_user(cbm_replay *replay, uint64_t uid)
{
    uint32_t found = CBM_REPLAY_USERS - 1;

    for (uint32_t i = CBM_REPLAY_USERS; i-- > 0;) {
        if (replay->users[i].count && replay->users[i].uid == uid)
            return i;
        if (!replay->users[i].count)
            found = i;
    }
    if (!replay->users[found].count)
        replay->users[found].uid = uid;
    return found;
}

/* Itself, when it has its share already; else whoever has most. */
static uint32_t user_to_make_room(const cbm_replay *replay, uint32_t user)
{
    uint32_t most = user, users = replay->users[user].count == 0;

    for (uint32_t i = 0; i < CBM_REPLAY_USERS; i++) {
        users += replay->users[i].count > 0;
        if (replay->users[i].count > replay->users[most].count)
            most = i;
    }
    return replay->users[user].count && replay->users[user].count >= replay->capacity / users ? user : most;
}

static void bucket_remove(cbm_replay *replay, uint32_t at)
{
    uint32_t *link = &replay->buckets[bucket_of(replay, replay->clients[at].id)];

    while (*link != at)
        link = &replay->clients[*link].next_in_bucket;
    *link = replay->clients[at].next_in_bucket;
}

static uint32_t add(cbm_replay *replay, uint64_t uid, const uint8_t id[CBM_ID_SIZE], uint32_t bucket)
{
    uint32_t user = find_user(replay, uid), at;
    cbm_replay_client *client;

    if (replay->used < replay->capacity) {
        at = replay->used++;
    } else {
        at = replay->users[user_to_make_room(replay, user)].oldest;
        list_remove(replay, at);
        bucket_remove(replay, at);
    }
    client = &replay->clients[at];
    *client = (cbm_replay_client){.user = user, .next_in_bucket = replay->buckets[bucket]};
    memcpy(client->id, id, CBM_ID_SIZE);
    replay->buckets[bucket] = at;
    list_put_newest(replay, at);
    return at;
}

static uint64_t bit_of(uint64_t sequence)
{
    return UINT64_C(1) << (sequence % 64);
}

static uint64_t *word_of(cbm_replay_client *client, uint64_t sequence)
{
    return &client->applied[sequence % CBM_REPLAY_WINDOW / 64];
}

bool cbm_replay_seen(cbm_replay *replay, const uint8_t id[CBM_ID_SIZE], uint64_t sequence)
{
    uint32_t at = find(replay, id, bucket_of(replay, id));
    cbm_replay_client *client;

    if (at == NONE)
        return false;
    client = &replay->clients[at];
    if (sequence > client->highest)
        return false;
    if (client->highest - sequence >= CBM_REPLAY_WINDOW)
        return true;
    return (*word_of(client, sequence) & bit_of(sequence)) != 0;
}

static void advance(cbm_replay_client *client, uint64_t sequence)
{
    if (sequence - client->highest >= CBM_REPLAY_WINDOW) {
        memset(client->applied, 0, sizeof client->applied);
    } else {
        for (uint64_t s = client->highest + 1; s != sequence; s++)
            *word_of(client, s) &= ~bit_of(s);
    }
    client->highest = sequence;
}

void cbm_replay_mark(cbm_replay *replay, uint64_t uid, const uint8_t id[CBM_ID_SIZE], uint64_t sequence)
{
    uint32_t bucket = bucket_of(replay, id);
    uint32_t at = find(replay, id, bucket);
    cbm_replay_client *client;

    if (at == NONE) {
        at = add(replay, uid, id, bucket);
    } else {
        list_remove(replay, at);
        list_put_newest(replay, at);
    }
    client = &replay->clients[at];
    if (sequence > client->highest)
        advance(client, sequence);
    else if (client->highest - sequence >= CBM_REPLAY_WINDOW)
        return;
    *word_of(client, sequence) |= bit_of(sequence);
}

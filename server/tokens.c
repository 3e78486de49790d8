#include "tokens.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "error.h"

#define LIFE_NS (10 * CBM_CORE_NS_PER_S)
#define TOKENS_OF_A_USER 128
#define TOKENS_MAX 4096
#define FIRST_CAPACITY 16

typedef struct cbm_token {
    uint8_t bytes[CBM_ID_SIZE];
    cbm_token_owner owner;
    int64_t until_ns;
} cbm_token;

struct cbm_tokens {
    pthread_mutex_t lock;
    cbm_token *all; /* in the order in which they were issued */
    size_t count, capacity;
};

int cbm_tokens_new(cbm_tokens **tokens_out)
{
    cbm_tokens *tokens = calloc(1, sizeof *tokens);

    *tokens_out = tokens;
    if (!tokens)
        return CBM_PROTO_E_NOMEM;
    pthread_mutex_init(&tokens->lock, NULL);
    return 0;
}

void cbm_tokens_free(cbm_tokens *tokens)
{
    if (!tokens)
        return;
    pthread_mutex_destroy(&tokens->lock);
    free(tokens->all);
    free(tokens);
}

static void drop(cbm_tokens *tokens, size_t at, size_t count)
{
    tokens->count -= count;
    memmove(tokens->all + at, tokens->all + at + count, (tokens->count - at) * sizeof *tokens->all);
}

static void drop_expired(cbm_tokens *tokens, int64_t now_ns)
{
    size_t expired = 0;

    while (expired < tokens->count && tokens->all[expired].until_ns <= now_ns)
        expired++;
    if (expired)
        drop(tokens, 0, expired);
}

/* The oldest one of a user that has its share of them already, or of all. */
static void make_room(cbm_tokens *tokens, uint64_t uid)
{
    size_t of_user = 0, oldest = 0;

    for (size_t i = tokens->count; i-- > 0;) {
        if (tokens->all[i].owner.uid != uid)
            continue;
        of_user++;
        oldest = i;
    }
    if (of_user >= TOKENS_OF_A_USER)
        drop(tokens, oldest, 1);
    else if (tokens->count == TOKENS_MAX)
        drop(tokens, 0, 1);
}

static int grow(cbm_tokens *tokens)
{
    size_t capacity = tokens->capacity ? 2 * tokens->capacity : FIRST_CAPACITY;
    cbm_token *all;

    if (tokens->count < tokens->capacity)
        return 0;
    all = realloc(tokens->all, capacity * sizeof *all);
    if (!all)
        return CBM_PROTO_E_NOMEM;
    tokens->all = all;
    tokens->capacity = capacity;
    return 0;
}

int cbm_tokens_issue(cbm_tokens *tokens, const cbm_token_owner *owner, int64_t now_ns, uint8_t token[CBM_ID_SIZE])
{
    cbm_token issued = {.owner = *owner, .until_ns = now_ns + LIFE_NS};
    int error;

    if (getrandom(issued.bytes, sizeof issued.bytes, 0) != sizeof issued.bytes)
        return CBM_PROTO_E_INTERNAL;
    pthread_mutex_lock(&tokens->lock);
    drop_expired(tokens, now_ns);
    make_room(tokens, owner->uid);
    error = grow(tokens);
    if (error == 0) {
        tokens->all[tokens->count++] = issued;
        memcpy(token, issued.bytes, sizeof issued.bytes);
    }
    pthread_mutex_unlock(&tokens->lock);
    return error;
}

bool cbm_tokens_redeem(cbm_tokens *tokens, const uint8_t token[CBM_ID_SIZE], uint64_t uid, int64_t pid, int64_t now_ns,
                       cbm_token_owner *owner)
{
    bool good = false;

    pthread_mutex_lock(&tokens->lock);
    for (size_t i = 0; i < tokens->count; i++) {
        const cbm_token *found = &tokens->all[i];

        if (memcmp(found->bytes, token, CBM_ID_SIZE) != 0)
            continue;
        good = found->owner.uid == uid && found->owner.pid == pid && now_ns < found->until_ns;
        if (good)
            *owner = found->owner;
        drop(tokens, i, 1);
        break;
    }
    pthread_mutex_unlock(&tokens->lock);
    return good;
}

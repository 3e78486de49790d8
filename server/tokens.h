/*
 * One-time tokens: who got one by the operation `attach` may bring a ledger to the other socket. Has a lock of its own.
 */
#ifndef CBM_SERVER_TOKENS_H
#define CBM_SERVER_TOKENS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "message.h"

/* To whom it was given: the same process has to bring it back. */
typedef struct cbm_token_owner {
    uint64_t uid;
    int64_t pid;         /* 0: not known (another pid namespace) */
    uint64_t connection; /* its SP connection, whose end is then its death */
} cbm_token_owner;

typedef struct cbm_tokens cbm_tokens;

int cbm_tokens_new(cbm_tokens **tokens); /* CBM_PROTO_E_NOMEM */
void cbm_tokens_free(cbm_tokens *tokens);
/* A new token, good for 10 s. A user has few at once: the oldest of its own goes. CBM_PROTO_E_NOMEM, CBM_PROTO_E_INTERNAL. */
int cbm_tokens_issue(cbm_tokens *tokens, const cbm_token_owner *owner, int64_t now_ns, uint8_t token[CBM_ID_SIZE]);
/* False: not one, used already, too old, or of another uid or pid. It is used up in any case. */
bool cbm_tokens_redeem(cbm_tokens *tokens, const uint8_t token[CBM_ID_SIZE], uint64_t uid, int64_t pid, int64_t now_ns,
                       cbm_token_owner *owner);

#endif

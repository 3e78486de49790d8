/* A broker that is asked for tokens and brought ledgers by raw peers, and what it has open. */
#ifndef CBM_E2E_SHM_BROKER_H
#define CBM_E2E_SHM_BROKER_H

#include "harness.h"
#include "shm_peer.h"

/* A broker with no breaker in it, and how many descriptors it has open while nobody is connected. */
typedef struct shm_broker {
    broker *broker;
    const char *path; /* as shm_connect takes it */
    int descriptors;
} shm_broker;

shm_broker shm_broker_start(const broker_options *options);
/* Nothing that anybody did has left a descriptor open in it; it still serves; it ends well. */
void shm_broker_free(shm_broker *b);
/* Whether it comes to have no more open than at the start, and that many. */
bool shm_broker_descriptors_settle(const shm_broker *b, int more);

/* A token for this process, over a connection that is closed again. */
void shm_token(const shm_broker *b, uint8_t token[CBM_ID_SIZE]);
/* Brings a ledger, with a token of its own: shm_attach. */
int shm_bring(const shm_broker *b, int ledger);
/* A new ledger that is as it should be: 0, and its id. */
int shm_bring_good(const shm_broker *b, uint8_t id[CBM_ID_SIZE]);
/* Whether the broker gives this process an entry of that ledger. */
bool shm_is_attached(const shm_broker *b, const uint8_t id[CBM_ID_SIZE]);

#endif

/* The manager inside this process, behind the messages of the broker: for `local:`, and to stand in for a broker that is away. */
#ifndef CBM_CLIENT_LOCAL_H
#define CBM_CLIENT_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

#include "cbm_core.h"
#include "message.h"

typedef struct cbm_local {
    cbm_core_manager *manager; /* NULL: none */
    uint8_t incarnation[CBM_ID_SIZE];
} cbm_local;

int cbm_local_init(cbm_local *local);
void cbm_local_deinit(cbm_local *local);
/* Whether it knows that operation: not those that are about a broker. */
bool cbm_local_serves(cbm_operation op);
/* Answers one request, as a broker would. To be called under the client's lock. */
void cbm_local_execute(cbm_local *local, const cbm_request *request, uint64_t holder, int64_t now_ns, cbm_reply *reply);

#endif

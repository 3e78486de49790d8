/* A process that shares memory with an engine, without a process: a ledger, a view of the board, and the way clients count. */
#ifndef CBM_TESTS_COUNTING_CLIENT_H
#define CBM_TESTS_COUNTING_CLIENT_H

#include "board.h"
#include "engine.h"
#include "ledger.h"

typedef struct counting_client {
    cbm_engine *engine;
    cbm_caller caller;
    cbm_ledger *ledger; /* the client's own mapping */
    int descriptor;
    const cbm_board *board;
    uint64_t holder;
    uint32_t lane;
} counting_client;

/* A breaker of a client. */
typedef struct counting_handle {
    counting_client *client;
    char name[CBM_CORE_NAME_MAX + 1];
    uint32_t slot, generation;
    int64_t entry;
} counting_handle;

/* Tokens are given out from now on; *ended (may be NULL) counts the ledgers whose end is told. */
void counting_listen(cbm_engine *engine, int *ended);
/* pid tells clients apart. Attaches; its requests come by the connection `pid`. */
counting_client *counting_client_new(cbm_engine *engine, int64_t pid);
/* Brings the ledger again. Returns the error. */
int counting_client_attach(counting_client *client);
/* Its broker is another one now, which it brings its ledger. */
void counting_client_move(counting_client *client, cbm_engine *engine);
/* What is left of it in the test; the engine has its own mapping. */
void counting_client_free(counting_client *client);

/* `policy`: words as in a text command, "" for none. */
counting_handle counting_get(counting_client *client, const char *name, const char *policy);
/* With the entry that it had. */
void counting_get_again(counting_handle *handle);

uint64_t counting_word(const counting_handle *handle, int64_t *aux);
cbm_entry *counting_entry(const counting_handle *handle);

typedef enum counting_result {
    COUNTED,
    COUNTED_LATE,
    COUNTED_AND_PULLED, /* the board had changed meanwhile */
    NOT_COUNTED,        /* it may not stay in the ledger: to be reported */
} counting_result;

/* A success whose call began under that word, as a client counts it. */
counting_result counting_succeed(const counting_handle *handle, uint64_t begun);
/* So many whole calls. */
void counting_successes(const counting_handle *handle, uint32_t count);
/* A report by message, as of a call begun on the board. Returns the state. */
cbm_core_state counting_report(const counting_handle *handle, cbm_core_outcome outcome);
cbm_core_status counting_status(const counting_handle *handle);

#endif

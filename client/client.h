/* What stands behind cbm_client and cbm_breaker. Not installed. */
#ifndef CBM_CLIENT_CLIENT_H
#define CBM_CLIENT_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "attach.h"
#include "cbm.h"
#include "cbm_core.h"
#include "handover.h"
#include "known.h"
#include "link.h"
#include "local.h"
#include "memory.h"
#include "message.h"
#include "place.h"
#include "registry.h"

/* One operation on its way, and how it was answered. */
typedef struct cbm_exchange {
    cbm_request *request;
    cbm_breaker *breaker; /* whose handle it concerns; NULL: none */
    cbm_permit *permit; /* of a begin that the board may answer, once the breaker has a place there; NULL: it may not */
    int64_t deadline_ns;
    bool maybe_executed; /* out, with an error: it was sent, and nobody knows */
    bool by_local;       /* out: answered by the in-process manager */
    bool by_board;       /* out: the permit is filled in, and there is no reply */
    int board_answer;    /* out: of that begin */
    uint64_t life;       /* out: of the broker that answered */
} cbm_exchange;

/* A manager that can be asked: the broker, the one in this process, or none. */
typedef struct cbm_backend {
    /* 0: `reply` has the answer, also when that is an error; to be given to cbm_reply_deinit. Else a cbm_error, and no reply. */
    int (*execute)(cbm_client *client, cbm_exchange *exchange, cbm_reply *reply);
    int (*command)(cbm_client *client, const char *command, int64_t deadline_ns, char **json);
    bool (*connected)(cbm_client *client);
} cbm_backend;

extern const cbm_backend cbm_broker_backend;
extern const cbm_backend cbm_local_backend;
extern const cbm_backend cbm_failed_backend; /* answers client->failure to everything */

struct cbm_client {
    /* What every call reads: one line of cache, hardly ever written. The two ranges stay where they are for ever. */
    _Alignas(64) const cbm_board *board; /* zeros while there is none; NULL: no memory was ever shared */
    cbm_ledger *ledger;
    atomic_bool answered; /* the broker did, when it was last asked */
    atomic_bool attached; /* the board is that of the broker that was last asked */
    atomic_bool closed;   /* nobody may enter any more */

    _Alignas(64) atomic_int calls; /* that are entered, just now */
    const cbm_backend *backend;
    int failure;
    cbm_when_away when_away;
    int64_t call_timeout_ns;
    int64_t timeout_ns;
    uint32_t flags;
    bool shares_memory;
    cbm_client *next, *previous; /* among all clients of the process, or all that are closed */

    uint8_t id[CBM_ID_SIZE]; /* with `sequence` it makes a report applied at most once */
    uint64_t sequence;       /* of the last report; of the thread that is in the link */

    pthread_mutex_t lock; /* held for moments only, never while a message is waited for: guards the four below */
    cbm_registry registry;
    cbm_local local;
    uint64_t absence; /* counts the times that the broker was away and the local manager stood in */
    bool stood_in;    /* the local manager has answered since the broker last did */
    atomic_bool owes; /* some handle, or an unconfirmed batch, has counts to be handed over */

    cbm_link link;
    /* The rest is for the thread that is in the link. */
    cbm_handover handover;
    cbm_memory memory;
    cbm_attachment attachment;
};

struct cbm_breaker {
    cbm_client *client;
    _Atomic uint64_t place;         /* on the board and in the ledger; CBM_PLACE_NONE: not known */
    _Atomic int64_t slow_ns;        /* a call that takes longer is slow, as the policy was when it was last got */
    _Atomic(cbm_breaker *) chained; /* in its bucket */
    cbm_breaker *following;         /* among all of the client's */
    char name[CBM_CORE_NAME_MAX + 1];

    /* For the thread that is in the link. */
    uint32_t entry; /* in the ledger, from the first time that it was given one; CBM_NO_ENTRY: none */
    int64_t
        place_retry_ns; /* the broker gave a place where the breaker is not found: until then it is not asked again */

    /* Guarded by the client's lock. */
    bool has_policy; /* it was asked for with a policy, which is to hold wherever the breaker is created again */
    cbm_core_policy_request policy;
    uint64_t attached; /* the link's life whose broker has it by us; 0: none */
    uint64_t adopted;  /* the absence for which the local manager was told of it; 0: none */
    cbm_known known;
    uint64_t owed[CBM_OUTCOMES]; /* outcomes taken by the local manager that the broker has not heard of */
};

/*
 * Around every call that may need more than the board and the ledger. CBM_E_INVALID: the client is closed, or being closed, and
 * there is nothing to leave.
 */
int cbm_enter(cbm_client *client);
void cbm_leave(cbm_client *client);

/* Executes, by the local manager when that is to stand in. As cbm_backend.execute. */
int cbm_client_execute(cbm_client *client, cbm_exchange *exchange, cbm_reply *reply);
/* Executes an operation that needs no handle, and turns an answer that is an error into a failure of this thread. 0: reply is there. */
int cbm_client_ask(cbm_client *client, cbm_request *request, cbm_reply *reply);
/* The answer's error as a failure of this thread. */
int cbm_client_refused(const cbm_reply *reply);
/*
 * Whether the error, of a backend and not of a reply, means that the broker could not be asked, so that when_away decides.
 * CBM_E_DENIED is then the system's, about the socket.
 */
bool cbm_is_absence(int error);
/* A backend's error as a failure of this thread: CBM_E_DENIED tells which socket it is about. */
int cbm_client_unanswered(const cbm_client *client, int error);

/* The handle of that name, made when there is none. NULL: no memory. */
cbm_breaker *cbm_client_handle(cbm_client *client, const char *name);
/* What a get of that breaker (NULL: no handle as yet) says of the memory that is shared; for the thread that is in the link. */
void cbm_client_prepare_get(cbm_client *client, const cbm_breaker *breaker, cbm_request *request);
/* Takes the place that the answer to it tells; for the thread that is in the link. */
void cbm_breaker_settle(cbm_breaker *breaker, const cbm_get_reply *reply);

void cbm_client_renew(cbm_client *client);

/* Fields of a request from arguments. 0 or CBM_E_INVALID with a message. */
int cbm_request_name(cbm_request *request, const char *name);
int cbm_request_pattern(cbm_request *request, const char *pattern);
void cbm_request_correlate(cbm_request *request, const char *correlation_id);

#endif

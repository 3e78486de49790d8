/*
 * The manager behind its one lock. Everybody who wants something of a breaker calls here; the clock (CLOCK_MONOTONIC) is read
 * under the lock, so that the core sees times in order. Functions return 0 or a negative cbm_proto_error, and
 * hold the lock for one operation or one page.
 */
#ifndef CBM_SERVER_ENGINE_H
#define CBM_SERVER_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "caller.h"
#include "cbm_core.h"
#include "config.h"
#include "message.h"
#include "quota.h"
#include "reload.h"

typedef struct cbm_engine cbm_engine;

typedef struct cbm_engine_options {
    uint32_t max_breakers;
    uint32_t rate_limit; /* 0: off */
    uint32_t rate_window_ms;
    bool rate_limit_calls;
    const char *address;   /* for `info` */
    uint32_t first_number; /* beyond all epochs and slot generations of before; 0: nothing is known of a before */
    cbm_quota *quota;      /* to which what users make it hold is charged; NULL: to nobody */
    cbm_reload *reload;    /* for the operation and for `info`; NULL: there is no file to read again */
} cbm_engine_options;

int cbm_engine_new(cbm_engine **engine, const cbm_engine_options *options);
void cbm_engine_free(cbm_engine *engine); /* nobody may be in a call */

const uint8_t *cbm_engine_incarnation(const cbm_engine *engine);
void cbm_engine_info(cbm_engine *engine, cbm_info_reply *info);
/*
 * Takes over a configuration (its policies: the settings are the caller's to see to) and puts it in force, states and counts
 * kept. Breakers that are there follow a few at a time, so that nobody waits for all of them. By one thread at a time.
 */
void cbm_engine_reload(cbm_engine *engine, cbm_config *config);
/* The connection is gone: its permits are dealt with. */
void cbm_engine_caller_gone(cbm_engine *engine, const cbm_caller *caller);

/* The ledger that a client names with a get, and the entry of it that the breaker gets. */
typedef struct cbm_ledger_claim {
    const uint8_t *ledger; /* its id */
    int64_t wanted;        /* the entry that the breaker had in it before; -1: none */
    int64_t entry;         /* set by a get that succeeds; -1: none, the breaker goes by message */
} cbm_ledger_claim;

/* `claim` NULL: no ledger. From then on the caller's permits belong to the process whose ledger that is. */
int cbm_engine_get(cbm_engine *engine, cbm_caller *caller, const char *name, const cbm_core_policy_request *policy,
                   cbm_ledger_claim *claim, cbm_core_get_result *result);
/* lease_ms NULL: the policy's. `policy`: of a breaker that is created by this. */
int cbm_engine_call_begin(cbm_engine *engine, cbm_caller *caller, const char *name, const uint32_t *lease_ms,
                          const cbm_core_policy_request *policy, cbm_core_decision *decision);
/* A report that was applied before is answered as it would have been, and not applied. */
int cbm_engine_call_report(cbm_engine *engine, const cbm_caller *caller, const cbm_report_message *message,
                           cbm_core_state *state);
/* A page of states into page->statuses, which holds `limit`. */
void cbm_engine_states(cbm_engine *engine, const char *pattern, const char *after, size_t limit, cbm_page_reply *page);
void cbm_engine_stats(cbm_engine *engine, cbm_core_stats *stats);
int cbm_engine_state_of(cbm_engine *engine, const char *name, cbm_core_status *status);
int cbm_engine_reset(cbm_engine *engine, const cbm_caller *caller, const char *name, cbm_core_status *status);
/* In parts (see caller.h): one for as long as the others may wait. */
void cbm_engine_reset_all(cbm_engine *engine, cbm_caller *caller);
/* All at once: the others wait some 0.7 us for each breaker that there is, 40 ms for 65,000. */
int cbm_engine_reset_manager(cbm_engine *engine, const cbm_caller *caller);
int cbm_engine_control(cbm_engine *engine, const cbm_caller *caller, const char *name, cbm_core_control control,
                       const char *reason, uint32_t for_ms, cbm_core_status *status);
int cbm_engine_configure(cbm_engine *engine, const cbm_caller *caller, const char *name,
                         const cbm_core_policy_request *policy, int *bad_field, cbm_core_status *status);
/* In parts as well; *removed counts for all of them. */
int cbm_engine_remove(cbm_engine *engine, cbm_caller *caller, const char *pattern, uint64_t *removed);

/* `users` of stats: all for administrators, else the caller alone. page->users stays NULL without memory. */
void cbm_engine_users(cbm_engine *engine, const cbm_caller *caller, cbm_page_reply *page);
/* Has the config file read again. False: there is none. */
bool cbm_engine_reload_ask(cbm_engine *engine, uint64_t *number);
void cbm_engine_reload_info(cbm_engine *engine, cbm_info_reply *info); /* its `reload` */

/* ---- Shared memory ---- */

struct cbm_publisher;
struct cbm_tokens;
struct cbm_publisher *cbm_engine_publisher(cbm_engine *engine); /* NULL: this system has none */
struct cbm_tokens *cbm_engine_tokens(cbm_engine *engine);

/* Whose ledger it is. */
typedef struct cbm_ledger_owner {
    uint64_t uid;
    int64_t pid;         /* 0: not known; then the ledger ends with the connection */
    uint64_t connection; /* the holder of the SP connection that asked for the token */
} cbm_ledger_owner;

/*
 * A ledger, mapped read-only, with its size and seals checked. With 0 the mapping is the engine's, and *holder names the ledger
 * from now on. The same ledger id of the same uid and pid takes the place of the earlier mapping, and has its holder; of
 * anybody else it is CBM_PROTO_E_DENIED. Also CBM_PROTO_E_INVALID, _NOMEM, _FULL.
 */
struct cbm_ledger;
int cbm_engine_ledger_attach(cbm_engine *engine, const struct cbm_ledger *ledger, const cbm_ledger_owner *owner,
                             uint64_t *holder);
/* Its process is gone: what it still says is taken, and its permits are dealt with. No such ledger: nothing. */
void cbm_engine_ledger_end(cbm_engine *engine, uint64_t holder);
/*
 * For who hands ledgers over: from now on the operation attach gives tokens for it. Told under the engine's lock, when a ledger
 * ended otherwise: its process need not be watched any more. May not call the engine.
 */
void cbm_engine_on_ledger_ended(cbm_engine *engine, void (*ended)(void *context, uint64_t holder), void *context);

/* The operations. */
int cbm_engine_attach(cbm_engine *engine, cbm_caller *caller, uint8_t token[CBM_ID_SIZE], int64_t *now_ns);
int cbm_engine_detach(cbm_engine *engine, const cbm_caller *caller, const uint8_t ledger[CBM_ID_SIZE]);
int cbm_engine_pull(cbm_engine *engine, const cbm_caller *caller, const char *name);

bool cbm_engine_shares_memory(cbm_engine *engine);
/* Takes what all ledgers say now, so that it is in the statistics. */
void cbm_engine_pull_ledgers(cbm_engine *engine);

int64_t cbm_clock_ns(void); /* CLOCK_MONOTONIC */

#endif

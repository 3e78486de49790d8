/*
 * The manager behind its one lock. Everybody who wants something of a breaker calls here; the clock (CLOCK_MONOTONIC) is read
 * under the lock, so that the core sees times in order. Functions return 0 or a negative cbm_proto_error, and
 * hold the lock for one operation or one page.
 */
#ifndef CBM_SERVER_ENGINE_H
#define CBM_SERVER_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "cbm_core.h"
#include "config.h"
#include "message.h"

typedef struct cbm_engine cbm_engine;

typedef struct cbm_engine_options {
    uint32_t max_breakers;
    uint32_t rate_limit; /* 0: off */
    uint32_t rate_window_ms;
    bool rate_limit_calls;
    const char *address; /* for `info` */
} cbm_engine_options;

/* On whose behalf. */
typedef struct cbm_caller {
    uint64_t holder; /* of permits: its connection; 0: nobody's, as of a text command */
    uint64_t uid;
    int64_t pid;                /* 0: not known */
    bool admin;                 /* may do what others depend on */
    bool holds;                 /* was given a permit that is to be given back when it goes */
    const char *correlation_id; /* of the request under way; "": none */
} cbm_caller;

int cbm_engine_new(cbm_engine **engine, const cbm_engine_options *options);
void cbm_engine_free(cbm_engine *engine); /* nobody may be in a call */

const uint8_t *cbm_engine_incarnation(const cbm_engine *engine);
void cbm_engine_info(const cbm_engine *engine, cbm_info_reply *info);
/*
 * Takes over a configuration (its policies: the settings are the caller's to see to) and puts it in force, states and counts
 * kept. Breakers that are there follow a few at a time, so that nobody waits for all of them. By one thread at a time.
 */
void cbm_engine_reload(cbm_engine *engine, cbm_config *config);
/* The connection is gone: its permits are dealt with. */
void cbm_engine_caller_gone(cbm_engine *engine, const cbm_caller *caller);

int cbm_engine_get(cbm_engine *engine, const cbm_caller *caller, const char *name,
                   const cbm_core_policy_request *policy, cbm_core_get_result *result);
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
void cbm_engine_reset_all(cbm_engine *engine, const cbm_caller *caller);
int cbm_engine_reset_manager(cbm_engine *engine, const cbm_caller *caller);
int cbm_engine_control(cbm_engine *engine, const cbm_caller *caller, const char *name, cbm_core_control control,
                       const char *reason, uint32_t for_ms, cbm_core_status *status);
int cbm_engine_configure(cbm_engine *engine, const cbm_caller *caller, const char *name,
                         const cbm_core_policy_request *policy, int *bad_field, cbm_core_status *status);
int cbm_engine_remove(cbm_engine *engine, const cbm_caller *caller, const char *pattern, uint64_t *removed);

int64_t cbm_clock_ns(void); /* CLOCK_MONOTONIC */

#endif

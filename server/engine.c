#include "engine.h"

#include <nng/nng.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "event_log.h"
#include "log.h"
#include "replay.h"

#define REPLAY_CLIENTS 16384
#define TICK_SLICE 64
#define RELOAD_SLICE 8
#define RELOAD_AT_ONCE_NS CBM_CORE_NS_PER_MS /* then the others have their turn */
#define RELOAD_PAUSE_NS 50000
#define TIMER_MAX_MS 3600000 /* NNG's durations are 32 bits of milliseconds: far deadlines are looked at again */

struct cbm_engine {
    pthread_mutex_t lock;
    cbm_core_manager *manager;
    cbm_replay replay;
    cbm_event_log events;
    const cbm_caller *caller;                /* on whose behalf the lock is held; NULL: time's */
    cbm_config *config;                      /* NULL: none */
    cbm_core_policy_request policy_defaults; /* its own */

    nng_aio *timer;
    int64_t timer_ns; /* when it fires; CBM_CORE_NEVER_NS: it does not run */
    bool stopping;

    cbm_engine_options options;
    int64_t started_ns;
    uint8_t incarnation[CBM_ID_SIZE];
};

int64_t cbm_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * CBM_CORE_NS_PER_S + now.tv_nsec;
}

static void on_event(void *context, const cbm_core_event *event)
{
    cbm_engine *engine = context;

    cbm_event_log_add(&engine->events, event, engine->caller ? engine->caller->correlation_id : NULL);
}

static bool configured(void *context, const char *name, cbm_core_policy_request *request)
{
    const cbm_engine *engine = context;

    return engine->config && cbm_config_policy(engine->config, name, request);
}

/* ---- The lock and the timer ----------------------------------------------------------------------------------- */

static int64_t enter(cbm_engine *engine, const cbm_caller *caller)
{
    pthread_mutex_lock(&engine->lock);
    engine->caller = caller;
    return cbm_clock_ns();
}

static void arm_timer(cbm_engine *engine, int64_t deadline_ns)
{
    int64_t ms = (deadline_ns - cbm_clock_ns() + CBM_CORE_NS_PER_MS - 1) / CBM_CORE_NS_PER_MS;

    engine->timer_ns = deadline_ns;
    nng_sleep_aio((nng_duration)(ms < 0 ? 0 : ms > TIMER_MAX_MS ? TIMER_MAX_MS : ms), engine->timer);
}

/* The timer's own callback arms it anew, so one that runs needs only to be cut short. */
static void leave(cbm_engine *engine)
{
    int64_t deadline_ns = cbm_core_next_deadline(engine->manager);

    engine->caller = NULL;
    if (deadline_ns < engine->timer_ns && !engine->stopping) {
        if (engine->timer_ns == CBM_CORE_NEVER_NS) {
            arm_timer(engine, deadline_ns);
        } else {
            engine->timer_ns = deadline_ns;
            nng_aio_abort(engine->timer, NNG_ECANCELED);
        }
    }
    pthread_mutex_unlock(&engine->lock);
    cbm_log_flush();
}

static void on_timer(void *argument)
{
    cbm_engine *engine = argument;
    int64_t deadline_ns;
    bool more;

    do {
        pthread_mutex_lock(&engine->lock);
        more = !engine->stopping && cbm_core_tick(engine->manager, cbm_clock_ns(), TICK_SLICE);
        if (!more) {
            deadline_ns = engine->stopping ? CBM_CORE_NEVER_NS : cbm_core_next_deadline(engine->manager);
            engine->timer_ns = CBM_CORE_NEVER_NS;
            if (deadline_ns != CBM_CORE_NEVER_NS)
                arm_timer(engine, deadline_ns);
        }
        pthread_mutex_unlock(&engine->lock);
        cbm_log_flush();
    } while (more);
}

/* ---- Life ------------------------------------------------------------------------------------------------------- */

typedef struct random_start {
    uint8_t incarnation[CBM_ID_SIZE];
    uint64_t replay_key[2];
    uint64_t seed;
    uint32_t first_epoch;
} random_start;

static int engine_init(cbm_engine *engine, const cbm_engine_options *options, const random_start *start)
{
    cbm_core_options core = {
        .max_breakers = options->max_breakers,
        .no_rate_limit = options->rate_limit == 0,
        .max_rate_limit = options->rate_limit,
        .rate_limit_window_ms = options->rate_window_ms,
        .seed = start->seed,
        .first_epoch = start->first_epoch,
        .on_event = on_event,
        .event_context = engine,
        .policy_defaults = &engine->policy_defaults,
        .configured = configured,
        .configured_context = engine,
    };
    int error;

    memcpy(engine->incarnation, start->incarnation, CBM_ID_SIZE);
    if ((error = cbm_event_log_init(&engine->events, options->max_breakers)) != 0 ||
        (error = cbm_replay_init(&engine->replay, REPLAY_CLIENTS, start->replay_key)) != 0 ||
        (error = cbm_core_manager_new(&engine->manager, &core)) != 0)
        return error;
    return nng_aio_alloc(&engine->timer, on_timer, engine) == 0 ? 0 : CBM_PROTO_E_NOMEM;
}

int cbm_engine_new(cbm_engine **engine_out, const cbm_engine_options *options)
{
    cbm_engine *engine;
    random_start start;
    int error;

    *engine_out = NULL;
    if (getrandom(&start, sizeof start, 0) != sizeof start)
        return CBM_PROTO_E_INTERNAL;
    engine = calloc(1, sizeof *engine);
    if (!engine)
        return CBM_PROTO_E_NOMEM;
    pthread_mutex_init(&engine->lock, NULL);
    engine->options = *options;
    engine->started_ns = cbm_clock_ns();
    engine->timer_ns = CBM_CORE_NEVER_NS;
    error = engine_init(engine, options, &start);
    if (error) {
        cbm_engine_free(engine);
        return error;
    }
    *engine_out = engine;
    return 0;
}

void cbm_engine_free(cbm_engine *engine)
{
    if (!engine)
        return;
    pthread_mutex_lock(&engine->lock);
    engine->stopping = true;
    pthread_mutex_unlock(&engine->lock);
    nng_aio_stop(engine->timer);
    nng_aio_free(engine->timer);
    cbm_core_manager_free(engine->manager);
    cbm_config_free(engine->config);
    cbm_replay_deinit(&engine->replay);
    cbm_event_log_deinit(&engine->events);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

const uint8_t *cbm_engine_incarnation(const cbm_engine *engine)
{
    return engine->incarnation;
}

static void copy_text(char *to, size_t size, const char *from)
{
    size_t length = strlen(from);

    if (length >= size)
        length = size - 1;
    memcpy(to, from, length);
    to[length] = '\0';
}

void cbm_engine_info(const cbm_engine *engine, cbm_info_reply *info)
{
    *info = (cbm_info_reply){
        .pid = (uint32_t)getpid(),
        .uptime_ms = (uint64_t)((cbm_clock_ns() - engine->started_ns) / CBM_CORE_NS_PER_MS),
        .max_breakers = engine->options.max_breakers,
        .max_rate_limit = engine->options.rate_limit,
        .rate_limit_window_ms = engine->options.rate_window_ms,
        .rate_limit_calls = engine->options.rate_limit_calls,
    };
    copy_text(info->version, sizeof info->version, CBM_VERSION);
    copy_text(info->address, sizeof info->address, engine->options.address);
    memcpy(info->incarnation, engine->incarnation, CBM_ID_SIZE);
}

void cbm_engine_caller_gone(cbm_engine *engine, const cbm_caller *caller)
{
    int64_t now_ns = enter(engine, NULL);

    cbm_core_holder_gone(engine->manager, caller->holder, now_ns);
    leave(engine);
}

void cbm_engine_reload(cbm_engine *engine, cbm_config *config)
{
    cbm_config *old;
    uint32_t next = 0;
    bool more;

    enter(engine, NULL);
    old = engine->config;
    engine->config = config;
    engine->policy_defaults = *cbm_config_defaults(config);
    leave(engine);
    cbm_config_free(old);
    do {
        int64_t now_ns = enter(engine, NULL), end_ns = now_ns + RELOAD_AT_ONCE_NS;

        do {
            more = cbm_core_reload_part(engine->manager, &next, RELOAD_SLICE, now_ns);
            now_ns = cbm_clock_ns();
        } while (more && now_ns < end_ns);
        leave(engine);
        if (more) /* or the lock would be taken again before those who wait for it have woken up */
            nanosleep(&(struct timespec){.tv_nsec = RELOAD_PAUSE_NS}, NULL);
    } while (more);
}

/* ---- Calls ------------------------------------------------------------------------------------------------------ */

int cbm_engine_get(cbm_engine *engine, const cbm_caller *caller, const char *name,
                   const cbm_core_policy_request *policy, cbm_core_get_result *result)
{
    int64_t now_ns = enter(engine, caller);
    int error = cbm_core_get(engine->manager, name, policy, now_ns, result);

    leave(engine);
    return error;
}

int cbm_engine_call_begin(cbm_engine *engine, cbm_caller *caller, const char *name, const uint32_t *lease_ms,
                          const cbm_core_policy_request *policy, cbm_core_decision *decision)
{
    cbm_core_begin begin = {
        .holder = caller->holder,
        .lease_given = lease_ms != NULL,
        .lease_ms = lease_ms ? *lease_ms : 0,
        .policy = policy,
    };
    int64_t now_ns = enter(engine, caller);
    int error = cbm_core_call_begin(engine->manager, name, &begin, now_ns, decision);

    leave(engine);
    if (error == 0 && decision->probe && caller->holder)
        caller->holds = true;
    return error;
}

/* The permit of another incarnation names a slot that means something else here, so the core never sees it. */
typedef struct received_permit {
    cbm_core_permit permit;
    bool given;
    bool ours;
} received_permit;

static bool is_foreign(const cbm_engine *engine, const cbm_report_message *message, const received_permit *permit)
{
    if (permit->given && !permit->ours)
        return true;
    return message->has_incarnation && memcmp(message->incarnation, engine->incarnation, CBM_ID_SIZE) != 0;
}

static int state_of(cbm_engine *engine, const char *name, int64_t now_ns, cbm_core_state *state)
{
    cbm_core_status status;
    int error = cbm_core_state_of(engine->manager, name, now_ns, &status);

    *state = error ? CBM_CORE_CLOSED : status.state;
    return error;
}

static int apply_report(cbm_engine *engine, const cbm_report_message *message, const received_permit *permit,
                        int64_t now_ns, cbm_core_state *state)
{
    bool foreign = is_foreign(engine, message, permit);
    cbm_core_report report = {
        .outcome = message->outcome,
        .duration_ns = message->duration_ns,
        .text = message->error_text[0] ? message->error_text : NULL,
        .open_for_ms = foreign ? 0 : message->open_for_ms,
        .late = foreign || message->late,
        .count = message->count,
    };
    int error;

    if (!foreign || !permit->given)
        return cbm_core_call_report(engine->manager, message->name, permit->given ? &permit->permit : NULL, &report,
                                    now_ns, state);
    /* Without its permit the report would create an unknown name; with one of ours it would not. */
    error = state_of(engine, message->name, now_ns, state);
    return error ? error : cbm_core_call_report(engine->manager, message->name, NULL, &report, now_ns, state);
}

int cbm_engine_call_report(cbm_engine *engine, const cbm_caller *caller, const cbm_report_message *message,
                           cbm_core_state *state)
{
    received_permit permit = {.given = message->permit_size > 0};
    int64_t now_ns;
    int error = 0;

    if (permit.given &&
        !cbm_permit_read(message->permit, message->permit_size, engine->incarnation, &permit.permit, &permit.ours))
        return CBM_PROTO_E_INVALID;
    now_ns = enter(engine, caller);
    if (message->has_client && cbm_replay_seen(&engine->replay, message->client, message->sequence)) {
        (void)state_of(engine, message->name, now_ns, state); /* removed meanwhile: it was applied all the same */
    } else {
        error = apply_report(engine, message, &permit, now_ns, state);
        if (error == 0 && message->has_client)
            cbm_replay_mark(&engine->replay, message->client, message->sequence);
    }
    leave(engine);
    return error;
}

/* ---- Looking ---------------------------------------------------------------------------------------------------- */

void cbm_engine_states(cbm_engine *engine, const char *pattern, const char *after, size_t limit, cbm_page_reply *page)
{
    int64_t now_ns = enter(engine, NULL);

    page->count =
        cbm_core_states(engine->manager, pattern, after, limit, now_ns, page->statuses, page->next, &page->more);
    leave(engine);
}

void cbm_engine_stats(cbm_engine *engine, cbm_core_stats *stats)
{
    int64_t now_ns = enter(engine, NULL);

    cbm_core_stats_get(engine->manager, now_ns, stats);
    leave(engine);
}

int cbm_engine_state_of(cbm_engine *engine, const char *name, cbm_core_status *status)
{
    int64_t now_ns = enter(engine, NULL);
    int error = cbm_core_state_of(engine->manager, name, now_ns, status);

    leave(engine);
    return error;
}

/* ---- Resetting and steering: answered with the state dict, read under the same lock --------------------------------- */

static int leave_with_status(cbm_engine *engine, const char *name, int64_t now_ns, int error, cbm_core_status *status)
{
    if (error == 0)
        error = cbm_core_state_of(engine->manager, name, now_ns, status);
    leave(engine);
    return error;
}

int cbm_engine_reset(cbm_engine *engine, const cbm_caller *caller, const char *name, cbm_core_status *status)
{
    int64_t now_ns = enter(engine, caller);
    int error = cbm_core_reset(engine->manager, name, now_ns);

    return leave_with_status(engine, name, now_ns, error, status);
}

void cbm_engine_reset_all(cbm_engine *engine, const cbm_caller *caller)
{
    int64_t now_ns = enter(engine, caller);

    cbm_core_reset_all(engine->manager, now_ns);
    leave(engine);
}

int cbm_engine_reset_manager(cbm_engine *engine, const cbm_caller *caller)
{
    int64_t now_ns = enter(engine, caller);
    int error = cbm_core_reset_manager(engine->manager, now_ns);

    leave(engine);
    return error;
}

int cbm_engine_control(cbm_engine *engine, const cbm_caller *caller, const char *name, cbm_core_control control,
                       const char *reason, uint32_t for_ms, cbm_core_status *status)
{
    int64_t now_ns = enter(engine, caller);
    int error = cbm_core_control_set(engine->manager, name, control, reason, for_ms, now_ns);

    return leave_with_status(engine, name, now_ns, error, status);
}

int cbm_engine_configure(cbm_engine *engine, const cbm_caller *caller, const char *name,
                         const cbm_core_policy_request *policy, int *bad_field, cbm_core_status *status)
{
    int64_t now_ns = enter(engine, caller);
    int error = cbm_core_configure(engine->manager, name, policy, now_ns, bad_field);

    return leave_with_status(engine, name, now_ns, error, status);
}

int cbm_engine_remove(cbm_engine *engine, const cbm_caller *caller, const char *pattern, uint64_t *removed)
{
    int64_t now_ns = enter(engine, caller);
    int error = cbm_core_remove(engine->manager, pattern, now_ns, removed);

    leave(engine);
    return error;
}

#include "engine_inner.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "engine_store.h"
#include "error.h"
#include "log.h"

#define REPLAY_CLIENTS 16384
#define RUNNING_NS INT64_MIN /* the timer's callback runs, and arms it when it is done */
#define GIVE_WAY_NS 50000
#define TIMER_MAX_MS 3600000 /* NNG's durations are 32 bits of milliseconds: far deadlines are looked at again */

int64_t cbm_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * CBM_CORE_NS_PER_S + now.tv_nsec;
}

static void on_event(void *context, const cbm_core_event *event)
{
    cbm_engine *engine = context;

    cbm_shared_event(&engine->shared, event);
    cbm_accounts_note(&engine->accounts, engine->caller, event);
    if (engine->restoring)
        return;
    cbm_event_log_add(&engine->events, event, engine->caller);
    cbm_engine_store_event(engine, event);
}

static bool charge(void *context, uint64_t account, cbm_core_charge_kind kind, int change)
{
    cbm_engine *engine = context;

    return cbm_accounts_charge(&engine->accounts, engine->caller, account, kind, change);
}

static bool configured(void *context, const char *name, cbm_core_policy_request *request)
{
    const cbm_engine *engine = context;

    return engine->config && cbm_config_policy(engine->config, name, request);
}

/* ---- The lock and the timer ----------------------------------------------------------------------------------- */

int64_t cbm_engine_enter(cbm_engine *engine, const cbm_caller *caller)
{
    pthread_mutex_lock(&engine->lock);
    engine->caller = caller;
    cbm_core_on_behalf(engine->manager, caller ? caller->uid : CBM_NOBODY, caller ? caller->connection : 0);
    engine->now_ns = cbm_clock_ns();
    return engine->now_ns;
}

static void arm_timer(cbm_engine *engine, int64_t deadline_ns)
{
    int64_t ms = (deadline_ns - cbm_clock_ns() + CBM_CORE_NS_PER_MS - 1) / CBM_CORE_NS_PER_MS;

    engine->timer_ns = deadline_ns;
    nng_sleep_aio((nng_duration)(ms < 0 ? 0 : ms > TIMER_MAX_MS ? TIMER_MAX_MS : ms), engine->timer);
}

/* The timer's own callback arms it anew, so one that runs needs only to be cut short. */
void cbm_engine_leave(cbm_engine *engine)
{
    const cbm_ledger **unmapped;
    uint32_t unmapped_count;
    int64_t deadline_ns;

    cbm_engine_publish(engine);
    cbm_shared_take_unmapped(&engine->shared, &unmapped, &unmapped_count);
    deadline_ns = cbm_engine_next_deadline(engine);
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
    cbm_engine_unmap(unmapped, unmapped_count);
    cbm_log_flush();
}

void cbm_engine_give_way(void)
{
    nanosleep(&(struct timespec){.tv_nsec = GIVE_WAY_NS}, NULL);
}

static void on_timer(void *argument)
{
    cbm_engine *engine = argument;
    bool more;

    do {
        int64_t now_ns = cbm_engine_enter(engine, NULL);

        more = !engine->stopping && cbm_engine_tick(engine, now_ns);
        engine->timer_ns = more ? RUNNING_NS : CBM_CORE_NEVER_NS;
        cbm_engine_leave(engine);
        if (more)
            cbm_engine_give_way();
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
        .first_epoch = options->first_number ? options->first_number : start->first_epoch,
        .on_event = on_event,
        .event_context = engine,
        .policy_defaults = &engine->policy_defaults,
        .configured = configured,
        .configured_context = engine,
        .charge = charge,
        .charge_context = engine,
    };
    int error;

    memcpy(engine->incarnation, start->incarnation, CBM_ID_SIZE);
    if ((error = cbm_event_log_init(&engine->events, options->max_breakers)) != 0 ||
        (error = cbm_accounts_init(&engine->accounts, options->quota, options->max_breakers)) != 0 ||
        (error = cbm_replay_init(&engine->replay, REPLAY_CLIENTS, start->replay_key)) != 0 ||
        (error = cbm_shared_init(&engine->shared, options, engine->incarnation)) != 0 ||
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
    cbm_shared_deinit(&engine->shared);
    cbm_config_free(engine->config);
    cbm_replay_deinit(&engine->replay);
    cbm_event_log_deinit(&engine->events);
    cbm_accounts_deinit(&engine->accounts);
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

void cbm_engine_info(cbm_engine *engine, cbm_info_reply *info)
{
    *info = (cbm_info_reply){
        .pid = (uint32_t)getpid(),
        .uptime_ms = (uint64_t)((cbm_clock_ns() - engine->started_ns) / CBM_CORE_NS_PER_MS),
        .max_breakers = engine->options.max_breakers,
        .max_rate_limit = engine->options.rate_limit,
        .rate_limit_window_ms = engine->options.rate_window_ms,
        .rate_limit_calls = engine->options.rate_limit_calls,
        .shared_memory = cbm_engine_shares_memory(engine),
    };
    copy_text(info->version, sizeof info->version, CBM_VERSION);
    copy_text(info->address, sizeof info->address, engine->options.address);
    memcpy(info->incarnation, engine->incarnation, CBM_ID_SIZE);
}

void cbm_engine_caller_gone(cbm_engine *engine, const cbm_caller *caller)
{
    int64_t now_ns = cbm_engine_enter(engine, NULL);

    cbm_engine_end_nameless(engine, caller->connection);
    if (caller->connection)
        cbm_core_holder_gone(engine->manager, caller->connection, now_ns);
    cbm_engine_leave(engine);
}

#include "counting_engine.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>

#include "engine_inner.h"
#include "log.h"

cbm_engine *engine;
counting_client *client;
int ended;

cbm_engine *new_engine(cbm_engine_options options)
{
    cbm_engine *made;

    options.max_breakers = 1000;
    options.rate_window_ms = 1000;
    options.address = "ipc:///tmp/s";
    cr_assert_eq(cbm_engine_new(&made, &options), 0);
    counting_listen(made, &ended);
    return made;
}

void counting_set_up(void)
{
    cbm_log_set_level(CBM_LOG_ERROR);
    ended = 0;
    engine = new_engine((cbm_engine_options){0});
    client = counting_client_new(engine, 1);
}

void counting_tear_down(void)
{
    counting_client_free(client);
    cbm_engine_free(engine);
}

cbm_core_state begin(counting_client *who, const char *name, int *error)
{
    cbm_core_decision decision;

    *error = cbm_engine_call_begin(engine, &who->caller, name, NULL, NULL, &decision);
    return decision.state;
}

uint64_t flag(const counting_handle *handle, uint64_t flags)
{
    return counting_word(handle, NULL) & flags;
}

cbm_core_state board_state(const counting_handle *handle)
{
    return cbm_word_state(counting_word(handle, NULL));
}

void control(const counting_handle *handle, cbm_core_control what, uint32_t for_ms)
{
    cbm_core_status status;

    cr_assert_eq(cbm_engine_control(engine, &client->caller, handle->name, what, NULL, for_ms, &status), 0);
}

void wait_until(int64_t at_ns)
{
    struct timespec time = {at_ns / CBM_CORE_NS_PER_S, at_ns % CBM_CORE_NS_PER_S};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

void have_time_in_this_second(int64_t needed_ns)
{
    int64_t now_ns = cbm_clock_ns(), next_ns = (now_ns / CBM_CORE_NS_PER_S + 1) * CBM_CORE_NS_PER_S;

    if (next_ns - now_ns < needed_ns)
        wait_until(next_ns);
}

cbm_core_statistics recorded_statistics(const counting_handle *handle)
{
    cbm_core_snapshot made;

    pthread_mutex_lock(&engine->lock);
    cr_assert_eq(cbm_core_snapshot_at(engine->manager, handle->slot, cbm_clock_ns(), &made), 0);
    pthread_mutex_unlock(&engine->lock);
    return made.statistics;
}

uint64_t recorded(const counting_handle *handle)
{
    return recorded_statistics(handle).successful_calls;
}

cbm_core_statistics statistics(const counting_handle *handle)
{
    return counting_status(handle).statistics;
}

void open_and_wait(const counting_handle *handle)
{
    cbm_core_status status;

    counting_report(handle, CBM_CORE_FAILURE);
    for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; !(status = counting_status(handle)).due;)
        cr_assert_lt(cbm_clock_ns(), end_ns);
}

#include <criterion/criterion.h>
#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "task_threads.h"

#define CALLBACKS 200
#define PATIENCE_S 20

static nng_aio *aios[CALLBACKS];
static pthread_t seen[CALLBACKS];
static _Atomic int ran;
static pthread_barrier_t meeting;

static void note_thread(void *argument)
{
    seen[(nng_aio **)argument - aios] = pthread_self();
    atomic_fetch_add(&ran, 1);
}

static void meet(void *argument)
{
    (void)argument;
    pthread_barrier_wait(&meeting);
}

static void start(int index, void (*callback)(void *argument))
{
    cr_assert_eq(nng_aio_alloc(&aios[index], callback, &aios[index]), 0);
    cr_assert(nng_aio_begin(aios[index]));
    nng_aio_finish(aios[index], 0);
}

static void await_all(int count)
{
    for (int i = 0; i < count; i++)
        nng_aio_wait(aios[i]);
    for (int i = 0; i < count; i++)
        nng_aio_free(aios[i]);
}

static void begin_nng(void)
{
    nng_aio *aio;

    cr_assert_eq(nng_aio_alloc(&aio, NULL, NULL), 0);
    nng_aio_free(aio);
}

Test(task_threads, one_thread_runs_all_callbacks_while_the_others_are_held)
{
    cbm_task_threads *threads;

    begin_nng();
    threads = cbm_task_threads_hold();
    cr_assert_not_null(threads, "NNG starts more than one thread, and they have its names");
    for (int i = 0; i < CALLBACKS; i++)
        start(i, note_thread);
    await_all(CALLBACKS);
    cr_assert_eq(ran, CALLBACKS);
    for (int i = 1; i < CALLBACKS; i++)
        cr_assert(pthread_equal(seen[i], seen[0]));
    cbm_task_threads_release(threads);
}

Test(task_threads, released_threads_work_again, .timeout = PATIENCE_S)
{
    begin_nng();
    cbm_task_threads_release(cbm_task_threads_hold());
    pthread_barrier_init(&meeting, NULL, 2);
    /* Each waits for the other. */
    start(0, meet);
    start(1, meet);
    await_all(2);
    pthread_barrier_destroy(&meeting);
}

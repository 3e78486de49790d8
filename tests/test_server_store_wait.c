/* Waiting for the store: an aio wakes up when its ticket is committed, or when its time is over. */
#include <criterion/criterion.h>
#include <nng/nng.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "engine.h"
#include "store_wait.h"

#define LONG_MS 20000

typedef struct sleeper {
    cbm_store_waits *waits;
    cbm_store_waiter waiter;
    nng_aio *aio;
    sem_t woken;
    int result;
} sleeper;

static cbm_store_waits waits;

static void on_wake(void *context)
{
    sleeper *s = context;
    cbm_store_wait_over(s->waits, &s->waiter);
    s->result = nng_aio_result(s->aio);
    sem_post(&s->woken);
}

static void sleeper_init(sleeper *s)
{
    *s = (sleeper){.waits = &waits};
    sem_init(&s->woken, 0, 0);
    cr_assert_eq(nng_aio_alloc(&s->aio, on_wake, s), 0);
}

static bool sleep_until(sleeper *s, uint64_t ticket, int ms)
{
    return cbm_store_wait(&waits, &s->waiter, s->aio, ticket, ms);
}

static bool is_awake(sleeper *s)
{
    return sem_trywait(&s->woken) == 0;
}

static void await(sleeper *s)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 10;
    cr_assert_eq(sem_timedwait(&s->woken, &end), 0, "it did not wake up");
}

static void begin(void)
{
    cbm_store_waits_init(&waits);
}

TestSuite(store_wait, .init = begin, .timeout = 60);

Test(store_wait, ends_when_the_ticket_is_committed)
{
    sleeper early, late;
    sleeper_init(&early);
    sleeper_init(&late);
    cr_assert(sleep_until(&late, 7, LONG_MS));
    cr_assert(sleep_until(&early, 5, LONG_MS));
    cbm_store_commit(&waits, 4);
    cr_assert_not(is_awake(&early));
    cbm_store_commit(&waits, 6);
    await(&early);
    cr_assert_eq(early.result, NNG_ECANCELED);
    cr_assert_not(is_awake(&late));
    cr_assert(cbm_store_is_committed(&waits, 5));
    cr_assert_not(cbm_store_is_committed(&waits, 7));
    cbm_store_commit(&waits, 7);
    await(&late);
    cr_assert_null(waits.first);
    nng_aio_free(early.aio);
    nng_aio_free(late.aio);
}

Test(store_wait, ends_when_its_time_is_over)
{
    sleeper s;
    sleeper_init(&s);
    int64_t begun_ns = cbm_clock_ns();
    cr_assert(sleep_until(&s, 1, 50));
    await(&s);
    cr_assert_eq(s.result, 0);
    cr_assert_geq(cbm_clock_ns() - begun_ns, 45 * CBM_CORE_NS_PER_MS);
    cr_assert_not(cbm_store_is_committed(&waits, 1));
    cr_assert_null(waits.first, "nobody who is gone is woken up");
    nng_aio_free(s.aio);
}

Test(store_wait, does_not_begin_for_what_is_committed_already)
{
    sleeper s;
    sleeper_init(&s);
    cbm_store_commit(&waits, 9);
    cr_assert_not(sleep_until(&s, 9, LONG_MS));
    cr_assert(sleep_until(&s, 10, LONG_MS));
    cbm_store_commit(&waits, 10);
    await(&s);
    nng_aio_free(s.aio);
}

Test(store_wait, is_in_vain_while_nothing_can_be_written)
{
    sleeper s;
    sleeper_init(&s);
    cr_assert(sleep_until(&s, 1, LONG_MS));
    cbm_store_waits_fail(&waits);
    await(&s);
    cr_assert_not(cbm_store_is_committed(&waits, 1));
    cr_assert_not(sleep_until(&s, 2, LONG_MS));
    cbm_store_commit(&waits, 1);
    cr_assert(sleep_until(&s, 2, LONG_MS), "it can be again");
    cbm_store_commit(&waits, 2);
    await(&s);
    nng_aio_free(s.aio);
}

static void *commit_all(void *context)
{
    (void)context;
    for (uint64_t ticket = 1; ticket <= 20000; ticket++)
        cbm_store_commit(&waits, ticket);
    return NULL;
}

Test(store_wait, misses_no_commit_however_close)
{
    sleeper s;
    pthread_t committer;
    int slept = 0;
    sleeper_init(&s);
    cr_assert_eq(pthread_create(&committer, NULL, commit_all, NULL), 0);
    int64_t begun_ns = cbm_clock_ns();
    while (atomic_load(&waits.committed) < 20000) {
        uint64_t ticket = atomic_load(&waits.committed) + 1;
        if (ticket > 20000 || !sleep_until(&s, ticket, LONG_MS))
            continue;
        slept++;
        await(&s);
        cr_assert(cbm_store_is_committed(&waits, ticket));
    }
    pthread_join(committer, NULL);
    cr_assert_lt(cbm_clock_ns() - begun_ns, (int64_t)LONG_MS * CBM_CORE_NS_PER_MS, "nobody slept to the end (%d)",
                 slept);
    nng_aio_free(s.aio);
}

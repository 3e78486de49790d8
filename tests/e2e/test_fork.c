/* Processes that fork while they hold a client, and processes that die while they hold the probe. */
#include "clients.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

TestSuite(fork, .timeout = 60);

/* ---- fork after open -------------------------------------------------------------------------------------------------- */

typedef struct inherited {
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit permit;
} inherited;

static int use_what_was_inherited(int index, void *context)
{
    (void)index;
    inherited *i = context;
    MUST(cbm_call_report(&i->permit, CBM_FAILURE) == CBM_E_INHERITED);
    for (int calls = 0; calls < 50; calls++)
        MUST(call_once(i->breaker, CBM_SUCCESS) == 0);
    MUST(call_once(breaker_get(i->client, "of_the_child", NULL), CBM_SUCCESS) == 0);
    MUST(state_of(i->client, "ha_api").statistics.successful_calls >= 50);
    cbm_close(i->client);
    return 0;
}

Test(fork, a_child_works_with_the_client_and_the_parents_permit_stays_the_parents)
{
    broker *b = broker_start_unlimited();
    inherited i = {.client = client_open(b->address, CBM_FAIL_CLOSED)};
    i.breaker = breaker_get(i.client, "ha_api", NULL);
    cr_assert_eq(call_once(i.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_call_begin(i.breaker, &i.permit), 0);
    cr_assert_eq(processes_run(4, use_what_was_inherited, &i, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(cbm_call_report(&i.permit, CBM_SUCCESS), 0, "the children did not spend it");
    cbm_breaker_state state = state_of(i.client, "ha_api");
    cr_assert_eq(state.statistics.successful_calls, 202);
    cr_assert_eq(state.statistics.failed_calls, 0);
    cbm_close(i.client);
    broker_free(b);
}

static int do_nothing(int index, void *context)
{
    (void)index;
    (void)context;
    return 0;
}

Test(fork, a_child_that_ends_does_not_take_the_parents_probe_with_it)
{
    broker *b = broker_start_unlimited();
    inherited i = {.client = client_open(b->address, CBM_FAIL_CLOSED)};
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1;
    policy.timeout_ms = 20;
    policy.permit_lease_ms = 60000;
    i.breaker = breaker_get(i.client, "ha_api", &policy);
    fail_calls(i.breaker, 1);
    cr_assert(begin_until_permitted(i.breaker, &i.permit, HARNESS_DEADLINE_MS));
    cr_assert_eq(cbm_permit_probe(&i.permit), 1);
    cr_assert_eq(processes_run(4, do_nothing, NULL, HARNESS_DEADLINE_MS), 0);
    cr_assert(state_is(b->address, "ha_api", "HALF_OPEN"));
    cr_assert_eq(cbm_call_report(&i.permit, CBM_SUCCESS), 0);
    cr_assert(state_is(b->address, "ha_api", "CLOSED"));
    cbm_close(i.client);
    broker_free(b);
}

typedef struct busy {
    cbm_breaker *breaker;
    atomic_bool stop;
    _Atomic uint64_t calls;
} busy;

static void *call_without_pause(void *context)
{
    busy *t = context;
    while (!atomic_load(&t->stop)) {
        MUST(call_once(t->breaker, CBM_SUCCESS) == 0);
        atomic_fetch_add(&t->calls, 1);
    }
    return NULL;
}

static int call_a_few_times(int index, void *context)
{
    (void)index;
    for (int i = 0; i < 5; i++)
        MUST(call_once(context, CBM_SUCCESS) == 0);
    return 0;
}

static bool has_made_a_call(void *context)
{
    return atomic_load((_Atomic uint64_t *)context) > 0;
}

Test(fork, a_child_is_free_of_the_locks_that_other_threads_held_at_the_fork)
{
    enum { THREADS = 3, CHILDREN = 40 };
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    busy t = {.breaker = breaker_get(client, "ha_api", NULL)};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, call_without_pause, &t), 0);
    cr_assert(wait_until(has_made_a_call, &t.calls, HARNESS_DEADLINE_MS));
    for (int i = 0; i < CHILDREN; i++)
        cr_assert_eq(processes_run(1, call_a_few_times, t.breaker, HARNESS_DEADLINE_MS), 0);
    atomic_store(&t.stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(state_of(client, "ha_api").statistics.successful_calls, t.calls + 5 * CHILDREN);
    cbm_close(client);
    broker_free(b);
}

/* ---- The holder of the probe dies ------------------------------------------------------------------------------------ */

typedef struct probing {
    const char *address;
    cbm_on_abandon on_abandon;
    atomic_int holds;
} probing;

static cbm_breaker *probed_breaker(cbm_client *client, cbm_on_abandon on_abandon)
{
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1;
    policy.timeout_ms = 30;
    policy.permit_lease_ms = 600000; /* not what ends it */
    policy.on_abandon = on_abandon;
    return breaker_get(client, "ha_api", &policy);
}

static _Noreturn void hold_the_probe(probing *p)
{
    cbm_client *client = client_open(p->address, CBM_FAIL_CLOSED);
    cbm_permit permit;
    MUST(begin_until_permitted(probed_breaker(client, p->on_abandon), &permit, HARNESS_DEADLINE_MS));
    MUST(cbm_permit_probe(&permit) == 1);
    atomic_store(&p->holds, 1);
    for (;;)
        sigsuspend(&(sigset_t){0});
}

static bool probe_is_held(void *context)
{
    probing *p = context;
    return atomic_load(&p->holds) == 1;
}

static int by_size(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

#define DEATHS 5

/* The median of a few deaths, so that one moment in which the machine was busy with something else decides nothing. */
static int64_t median_ms_from_death_to(cbm_on_abandon on_abandon,
                                       bool (*happened)(cbm_breaker *breaker, const broker *b))
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = probed_breaker(client, on_abandon);
    probing *shared = shared_new(sizeof *shared);
    int64_t took_ms[DEATHS];
    for (int i = 0; i < DEATHS; i++) {
        *shared = (probing){.address = b->address, .on_abandon = on_abandon};
        MUST(cbm_reset(client, "ha_api") == 0);
        fail_calls(breaker, 1);
        pid_t holder = process_fork();
        if (holder == 0)
            hold_the_probe(shared);
        MUST(wait_until(probe_is_held, shared, HARNESS_DEADLINE_MS));
        cbm_permit refused;
        MUST(cbm_call_begin(breaker, &refused) == CBM_E_HALF_OPEN_FULL);
        int64_t death_ns = clock_ns(), end_ms = clock_ms() + HARNESS_DEADLINE_MS;
        kill(holder, SIGKILL);
        while (!happened(breaker, b))
            MUST(clock_ms() < end_ms);
        took_ms[i] = (clock_ns() - death_ns) / 1000000;
        MUST(process_wait(holder, HARNESS_DEADLINE_MS) == 128 + SIGKILL);
    }
    MUST(statistic(b->address, "ha_api", "abandoned") == DEATHS);
    cbm_close(client);
    broker_free(b);
    qsort(took_ms, DEATHS, sizeof *took_ms, by_size);
    return took_ms[DEATHS / 2];
}

static bool is_open_again(cbm_breaker *breaker, const broker *b)
{
    (void)breaker;
    return state_is(b->address, "ha_api", "OPEN");
}

static bool another_gets_the_permit(cbm_breaker *breaker, const broker *b)
{
    (void)b;
    cbm_permit permit;
    if (cbm_call_begin(breaker, &permit) != 0)
        return false;
    MUST(cbm_permit_probe(&permit) == 1);
    MUST(cbm_call_report(&permit, CBM_FAILURE) == 0);
    return true;
}

Test(fork, the_breaker_is_open_again_within_100_ms_when_the_holder_of_the_probe_is_killed)
{
    int64_t took_ms = median_ms_from_death_to(CBM_ABANDON_FAILURE, is_open_again);
    cr_assert_leq(took_ms, 100, "%ld ms", (long)took_ms);
}

Test(fork, another_gets_the_permit_within_100_ms_where_a_killed_holders_is_released)
{
    int64_t took_ms = median_ms_from_death_to(CBM_ABANDON_RELEASE, another_gets_the_permit);
    cr_assert_leq(took_ms, 100, "%ld ms", (long)took_ms);
}

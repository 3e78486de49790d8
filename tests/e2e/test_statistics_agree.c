/*
 * What the broker has counted is what the processes did: all of it, whatever went through shared memory and whatever by message;
 * and when processes are killed in the midst of it, all but what was under way in them.
 */
#include "clients.h"
#include "random.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#ifdef CBM_SANITIZED
enum { RUN_MS = 600, KILLS = 12 };
#else
enum { RUN_MS = 1000, KILLS = 40 };
#endif

enum { WORKERS = 6, THREADS = 2, BREAKERS = 5, PATIENCE_MS = 20000 };

/* What a process did to one breaker: begun is raised before a report, done after it. */
typedef struct tally {
    _Atomic uint64_t begun[4], done[4];     /* by outcome */
    _Atomic uint64_t slow_begun, slow_done; /* of them */
    _Atomic uint64_t refused_begun, refused_done;
} tally;

typedef struct shared {
    const char *address;
    bool no_shm[WORKERS];
    _Atomic bool stop;
    /* Of a thread alone, until its process is gone and another one goes on in its place. */
    tally tallies[WORKERS][THREADS][BREAKERS];
} shared;

static shared *all;

static const char *const breaker_names[BREAKERS] = {"consecutive", "failures", "count", "time", "metrics"};

static cbm_policy policy_of_breaker(int number)
{
    cbm_policy policy = CBM_POLICY_INIT;

    policy.rule = number == 4 ? CBM_RULE_COUNT_WINDOW : (cbm_rule)(CBM_RULE_CONSECUTIVE + number);
    policy.failure_threshold = 3;
    policy.window_s = number == 1 ? 60 : 2;
    policy.minimum_calls = 20;
    policy.failure_rate = 20;
    policy.timeout_ms = 3;
    policy.half_open_calls = 2;
    policy.slow_call_duration_ms = 1000;
    policy.slow_call_rate = 40;
    return policy;
}

static void add(_Atomic uint64_t *counter)
{
    atomic_store(counter, atomic_load(counter) + 1);
}

static void report(cbm_permit *permit, tally *t, uint32_t drawn)
{
    cbm_report_options options = {.size = sizeof(options), .duration_ns = INT64_C(1500000000)};
    cbm_outcome outcome = drawn % 256 < 3 ? (cbm_outcome)(CBM_FAILURE + drawn % 256) : CBM_SUCCESS;
    bool slow = outcome != CBM_IGNORED && drawn / 256 % 128 == 0;
    int error;

    if (slow) {
        add(&t->slow_begun);
    }
    add(&t->begun[outcome]);
    error = slow ? cbm_call_report_with(permit, outcome, &options) : cbm_call_report(permit, outcome);
    MUST(error == 0);
    add(&t->done[outcome]);
    if (slow) {
        add(&t->slow_done);
    }
}

typedef struct thread {
    int process, number;
    cbm_breaker **breakers;
} thread;

static void *call(void *context)
{
    const thread *me = context;
    uint64_t state = (uint64_t)getpid() * 2 + (uint64_t)me->number;

    while (!atomic_load_explicit(&all->stop, memory_order_relaxed)) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t drawn = (uint32_t)(state >> 33);
        int number = (int)(drawn % BREAKERS);
        tally *t = &all->tallies[me->process][me->number][number];
        cbm_permit permit;
        int error;

        add(&t->refused_begun); /* it may be */
        error = cbm_call_begin(me->breakers[number], &permit);
        if (error != 0) {
            MUST(error == CBM_E_OPEN || error == CBM_E_HALF_OPEN_FULL);
            add(&t->refused_done);
            continue;
        }
        atomic_store(&t->refused_begun, atomic_load(&t->refused_begun) - 1);
        report(&permit, t, drawn / BREAKERS);
    }
    return NULL;
}

static int call_until_stopped(int index, void *context)
{
    (void)context;
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_breaker *breakers[BREAKERS];
    pthread_t threads[THREADS];
    thread contexts[THREADS];
    cbm_client *client;

    options.when_away = CBM_FAIL_CLOSED;
    options.call_timeout_ms = options.timeout_ms = PATIENCE_MS;
    options.flags = all->no_shm[index] ? CBM_OPEN_NO_SHM : 0;
    MUST(cbm_open(&client, all->address, &options) == 0);
    for (int i = 0; i < BREAKERS; i++) {
        cbm_policy policy = policy_of_breaker(i);
        MUST(cbm_get(client, breaker_names[i], &policy, &breakers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        contexts[i] = (thread){index, i, breakers};
        MUST(pthread_create(&threads[i], NULL, call, &contexts[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    cbm_close(client);
    return 0;
}

static cbm_client *given(broker *b)
{
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);

    all = shared_new(sizeof(*all));
    all->address = b->address;
    all->no_shm[WORKERS - 1] = true;
    for (int i = 0; i < BREAKERS; i++) {
        cbm_policy policy = policy_of_breaker(i);
        (void)breaker_get(client, breaker_names[i], &policy);
    }
    cr_assert_eq(cbm_metrics_only(client, breaker_names[4], NULL, 0), 0);
    return client;
}

typedef struct range {
    uint64_t least, most;
} range;

#define RANGE(range_of, lower, upper)                                                                                  \
    (range_of).least += atomic_load(&(lower)), (range_of).most += atomic_load(&(upper))

static void assert_within(const char *breaker, const char *what, uint64_t counted, range did, uint64_t lost_at_most)
{
    cr_assert_geq(counted, did.least, "%s: %s: %" PRIu64 " counted, %" PRIu64 " done", breaker, what, counted,
                  did.least);
    cr_assert_leq(counted, did.most, "%s: %s: %" PRIu64 " counted, %" PRIu64 " done or begun", breaker, what, counted,
                  did.most);
    cr_assert_leq(did.most - did.least, lost_at_most, "%s: %s: more under way than there can be", breaker, what);
}

/* Not more than `unsure` calls may have been under way when their processes were killed. */
static void assert_agree(cbm_client *client, int number, uint64_t unsure)
{
    const char *name = breaker_names[number];
    cbm_statistics s = state_of(client, name).statistics;
    range outcomes[4] = {{0, 0}};
    range slow = {0};
    range refused = {0};
    range failed;

    for (int process = 0; process < WORKERS; process++) {
        for (int i = 0; i < THREADS; i++) {
            const tally *t = &all->tallies[process][i][number];

            for (int outcome = 0; outcome < 4; outcome++) {
                RANGE(outcomes[outcome], t->done[outcome], t->begun[outcome]);
            }
            RANGE(slow, t->slow_done, t->slow_begun);
            RANGE(refused, t->refused_done, t->refused_begun);
        }
    }
    fprintf(stderr, "%-12s %9" PRIu64 " calls, %6" PRIu64 " late, %9" PRIu64 " rejected, %4" PRIu64 " transitions\n",
            name, s.total_calls, s.late_reports, s.rejected_calls, s.state_transitions);
    /* A probe of a process that was killed is a failure besides. */
    failed = (range){outcomes[CBM_FAILURE].least + outcomes[CBM_TIMEOUT].least,
                     outcomes[CBM_FAILURE].most + outcomes[CBM_TIMEOUT].most};
    assert_within(name, "successful_calls", s.successful_calls, outcomes[CBM_SUCCESS], unsure);
    assert_within(name, "failed_calls", s.failed_calls - s.abandoned - s.leases_expired, failed, unsure);
    assert_within(name, "timeout_calls", s.timeout_calls, outcomes[CBM_TIMEOUT], unsure);
    assert_within(name, "ignored_calls", s.ignored_calls, outcomes[CBM_IGNORED], unsure);
    assert_within(name, "slow_calls", s.slow_calls, number < 2 ? (range){0, 0} : slow, unsure);
    assert_within(name, "rejected_calls", s.rejected_calls, refused, unsure);
    cr_assert_eq(s.total_calls, s.successful_calls + s.failed_calls + s.ignored_calls);
}

Test(statistics_agree, after_fast_and_slow_calls_of_many_processes)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = given(b);
    processes p;

    processes_start(&p, WORKERS, call_until_stopped, NULL);
    for (int64_t end_ms = clock_ms() + RUN_MS; clock_ms() < end_ms;) {
        (void)state_of(client, breaker_names[clock_ms() % BREAKERS]); /* looking changes nothing */
        usleep(10000);
    }
    atomic_store(&all->stop, true);
    cr_assert_eq(processes_wait(&p, PATIENCE_MS), 0);
    for (int i = 0; i < BREAKERS; i++) {
        assert_agree(client, i, 0);
    }
    cbm_close(client);
    broker_free(b);
}

static pid_t start_one(int index)
{
    pid_t pid = process_fork();

    if (pid == 0) {
        _exit(call_until_stopped(index, NULL));
    }
    return pid;
}

static uint64_t calls_of(int index)
{
    uint64_t calls = 0;

    for (int i = 0; i < THREADS; i++) {
        for (int number = 0; number < BREAKERS; number++) {
            calls += atomic_load(&all->tallies[index][i][number].done[CBM_SUCCESS]);
        }
    }
    return calls;
}

typedef struct progress {
    int index;
    uint64_t calls;
} progress;

static bool has_made_calls(void *context)
{
    const progress *wanted = context;

    return calls_of(wanted->index) >= wanted->calls;
}

Test(statistics_agree, after_kills_but_for_the_calls_under_way)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = given(b);
    pid_t pids[WORKERS];

    random_seed_from_environment();
    for (int i = 0; i < WORKERS; i++) {
        pids[i] = start_one(i);
    }
    for (int kills = 0; kills < KILLS; kills++) {
        progress wanted = {.index = (int)random_below(WORKERS)};

        wanted.calls = calls_of(wanted.index) + 1 + random_below(2000);
        cr_assert(wait_until(has_made_calls, &wanted, PATIENCE_MS));
        kill(pids[wanted.index], SIGKILL);
        cr_assert_eq(process_wait(pids[wanted.index], PATIENCE_MS), 128 + SIGKILL);
        pids[wanted.index] = start_one(wanted.index);
    }
    atomic_store(&all->stop, true);
    for (int i = 0; i < WORKERS; i++) {
        cr_assert_eq(process_wait(pids[i], PATIENCE_MS), 0);
    }
    for (int i = 0; i < BREAKERS; i++) {
        assert_agree(client, i, KILLS * THREADS);
    }
    fprintf(stderr, "%d kills of processes with %d threads: nothing lost but what was under way\n", KILLS, THREADS);
    cbm_close(client);
    broker_free(b);
}

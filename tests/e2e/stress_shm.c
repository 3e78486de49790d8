/*
 * Clients at full speed on shared memory, while their broker resets, removes and makes again the breakers that they call, is killed
 * and comes back, again and again. They check what they see: under fail-closed no permit is taken once a broker is known to be
 * dead, and no refusal, time or answer that makes no sense ever turns up. No test runner: the thread sanitizer works here.
 *
 *     stress_shm [ROUNDS]        100, 20 under a sanitizer, 1000 with CBM_SOAK=1
 */
#include "clients.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PROCESSES = 2,
    THREADS = 3,
    BREAKERS = 4,
    ROUNDS = 100,
    ROUNDS_SANITIZED = 20,
    ROUNDS_SOAK = 1000,
    ROUND_MS = 15, /* at most, between two kills */
    CALL_TIMEOUT_MS = 200,
    RETRY_LONGEST_MS = 60000,
    HUNG_S = 120,
};

/* What all processes see. `life` is even while there is a broker, odd from the moment that its death is certain. */
typedef struct stage {
    const char *address;
    atomic_int life;
    atomic_bool stop;
    atomic_ullong permits, refused, away, on_dead_boards;
    atomic_ullong protected[PROCESSES]; /* permits of a broker */
} stage;

typedef struct actor {
    stage *stage;
    cbm_client *client;
    cbm_breaker *breakers[BREAKERS];
    int process;
    bool closed_when_away;
    unsigned seed;
} actor;

static void expect(int error)
{
    switch (error) {
    case 0:
    case CBM_E_OPEN:
    case CBM_E_HALF_OPEN_FULL:
    case CBM_E_FORCED_OPEN:
    case CBM_E_RATE_LIMITED:
    case CBM_E_NOT_FOUND:
    case CBM_E_AWAY: return;
    default: harness_fail("unexpected: %s: %s", cbm_strerror(error), cbm_last_message());
    }
}

/* A time that no policy here can give would have been put together from two. */
static void check_refusal(const cbm_permit *permit, int error)
{
    int64_t retry_after_ms = cbm_permit_retry_after_ms(permit);

    if (error == CBM_E_FORCED_OPEN && retry_after_ms == -1)
        return;
    if (retry_after_ms < (error == CBM_E_HALF_OPEN_FULL ? -1 : 0) || retry_after_ms > RETRY_LONGEST_MS)
        harness_fail("%s for %ld ms", cbm_strerror(error), (long)retry_after_ms);
}

/* Begun and answered while one and the same broker was certainly dead: under fail-closed that is no permit. */
static void check_life(actor *a, const cbm_permit *permit, int before)
{
    stage *s = a->stage;

    if (!a->closed_when_away || before % 2 == 0 || atomic_load(&s->life) != before)
        return;
    if (!cbm_permit_unprotected(permit))
        atomic_fetch_add(&s->on_dead_boards, 1);
}

static void call(actor *a)
{
    stage *s = a->stage;
    cbm_breaker *breaker = a->breakers[(unsigned)rand_r(&a->seed) % BREAKERS];
    cbm_outcome outcome = (unsigned)rand_r(&a->seed) % 500 == 0 ? CBM_FAILURE : CBM_SUCCESS;
    int before = atomic_load(&s->life);
    cbm_permit permit;
    int error = cbm_call_begin(breaker, &permit);

    expect(error);
    if (error) {
        atomic_fetch_add(error == CBM_E_AWAY ? &s->away : &s->refused, 1);
        check_refusal(&permit, error);
        return;
    }
    atomic_fetch_add(&s->permits, 1);
    if (!cbm_permit_unprotected(&permit))
        atomic_fetch_add(&s->protected[a->process], 1);
    check_life(a, &permit, before);
    expect(cbm_call_report(&permit, outcome));
}

static void *act(void *context)
{
    actor *a = context;

    while (!atomic_load(&a->stage->stop))
        for (int i = 0; i < 100; i++)
            call(a);
    return NULL;
}

static void get_breakers(actor *a)
{
    for (int i = 0; i < BREAKERS; i++) {
        cbm_policy policy = CBM_POLICY_INIT;
        char name[16];
        int error;

        snprintf(name, sizeof name, "b%d", i);
        policy.failure_threshold = i == 3 ? 1 : 3; /* one that opens at every failure */
        policy.timeout_ms = 5;
        policy.permit_lease_ms = 50;
        if (i == 2) {
            policy.rule = CBM_RULE_COUNT_WINDOW;
            policy.minimum_calls = policy.window_size = 20;
        }
        /* Under fail-closed it needs a broker. */
        while ((error = cbm_get(a->client, name, &policy, &a->breakers[i])) == CBM_E_AWAY)
            usleep(1000);
        expect(error);
    }
}

static cbm_client *open_when_there(stage *s, cbm_when_away when_away)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;
    int error;

    options.when_away = when_away;
    options.call_timeout_ms = CALL_TIMEOUT_MS;
    while ((error = cbm_open(&client, s->address, &options)) == CBM_E_AWAY)
        usleep(1000);
    if (error)
        harness_fail("cbm_open: %s", cbm_last_message());
    return client;
}

static int run_process(int index, void *context)
{
    stage *s = context;
    static const cbm_when_away modes[] = {CBM_FAIL_CLOSED, CBM_FAIL_OPEN, CBM_LOCAL};
    cbm_client *client = open_when_there(s, index == 0 ? CBM_FAIL_CLOSED : modes[index % 3]);
    actor actors[THREADS];
    pthread_t threads[THREADS];

    alarm(HUNG_S * 10);
    for (int i = 0; i < THREADS; i++) {
        actors[i] = (actor){.stage = s,
                            .client = client,
                            .process = index,
                            .closed_when_away = index % 3 == 0,
                            .seed = (unsigned)(index * 100 + i)};
        get_breakers(&actors[i]);
        MUST(pthread_create(&threads[i], NULL, act, &actors[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cbm_close(client);
    return 0;
}

/* What an operator might do, for a while. */
static void steer(cbm_client *client, unsigned *seed, int64_t end_ms)
{
    while (clock_ms() < end_ms) {
        unsigned choice = (unsigned)rand_r(seed);
        char name[16];

        snprintf(name, sizeof name, "b%u", choice / 16 % BREAKERS);
        switch (choice % 8) {
        case 0: expect(cbm_reset(client, name)); break;
        case 1: expect(cbm_remove(client, name, NULL)); break;
        case 2: expect(cbm_reset_manager(client)); break;
        case 3: expect(cbm_force_open(client, name, NULL, 3)); break;
        case 4: expect(cbm_disable(client, name, NULL, 2)); break;
        case 5: expect(cbm_metrics_only(client, name, NULL, 2)); break;
        default: usleep(500);
        }
    }
}

/* Both leave a broker that was not there alone for a while: every third life is long enough for them to come back. */
static void await_all(stage *s)
{
    for (int i = 0; i < PROCESSES; i++) {
        unsigned long long wanted = atomic_load(&s->protected[i]) + 1000;

        for (int64_t end_ms = clock_ms() + HARNESS_DEADLINE_MS; atomic_load(&s->protected[i]) < wanted; usleep(1000))
            if (clock_ms() > end_ms)
                harness_fail("process %d does not come back", i);
    }
}

static void run_round(stage *s, broker *b, int round, unsigned *seed)
{
    cbm_client *steering = open_when_there(s, CBM_FAIL_CLOSED);

    if (round % 3 == 0)
        await_all(s);
    steer(steering, seed, clock_ms() + rand_r(seed) % ROUND_MS);
    broker_kill(b); /* and waited for */
    atomic_fetch_add(&s->life, 1);
    usleep((unsigned)rand_r(seed) % 3000);
    atomic_fetch_add(&s->life, 1);
    broker_restart(b);
    cbm_close(steering);
}

static int rounds_wanted(void)
{
    if (getenv("CBM_SOAK"))
        return ROUNDS_SOAK;
    return broker_is_sanitized() ? ROUNDS_SANITIZED : ROUNDS;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : rounds_wanted();
    unsigned seed = (unsigned)clock_ns();
    broker *b = broker_start_unlimited();
    stage *s = shared_new(sizeof *s);
    unsigned long long before = 0;
    processes p;
    int failed;

    printf("seed %u\n", seed);
    s->address = b->address;
    processes_start(&p, PROCESSES, run_process, s);
    for (int round = 0; round < rounds; round++) {
        run_round(s, b, round, &seed);
        for (int i = 0; i < PROCESSES; i++)
            if (!process_running(p.pids[i]))
                harness_fail("process %d has ended in round %d", i, round);
    }
    before = atomic_load(&s->permits);
    for (int64_t end_ms = clock_ms() + HARNESS_DEADLINE_MS; atomic_load(&s->permits) < before + 10000;)
        if (clock_ms() > end_ms)
            harness_fail("no more calls after the last restart");
    atomic_store(&s->stop, true);
    failed = processes_wait(&p, HARNESS_DEADLINE_MS);
    printf("%d kills, %llu permits, %llu refused, %llu away, %llu permits on dead boards\n", rounds, s->permits,
           s->refused, s->away, s->on_dead_boards);
    MUST(s->permits > 0 && s->refused > 0 && s->on_dead_boards == 0);
    broker_free(b);
    return failed == 0 ? 0 : 1;
}

#include "fault_load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    CALLS_AT_ONCE = 32,
    PAUSE_US = 3000,        /* so that eight of them leave some time to a broker on two processors */
    STORED_WITHIN_MS = 40,  /* an answer that came sooner is none that the broker gave up waiting for */
    CALL_TIMEOUT_MS = 2000, /* a busy machine is no broker that hangs */
};

/* ---- Breakers ----------------------------------------------------------------------------------------------------- */

static const char *const counted_names[LOAD_COUNTED] = {"counted_consecutive", "counted_failures", "counted_window",
                                                        "counted_seconds"};
static const char *const probed_names[LOAD_PROBED] = {"probed_consecutive", "probed_window", "probed_released"};

const char *load_counted_name(int number)
{
    return counted_names[number];
}

const char *load_probed_name(int number)
{
    return probed_names[number];
}

void load_trip_name(int process, int number, char name[32])
{
    snprintf(name, 32, "trip_%d_%d", process, number);
}

/* Mostly such that only a reset ends it; some end by themselves. */
uint32_t load_trip_timeout_ms(int number)
{
    static const uint32_t timeouts_ms[4] = {3600000, 60000, 3600000, 1500};

    return timeouts_ms[number % 4];
}

static cbm_policy counted_policy(int number)
{
    cbm_policy policy = CBM_POLICY_INIT;

    policy.rule = (cbm_rule)(CBM_RULE_CONSECUTIVE + number);
    policy.failure_threshold = number == 0 ? 1000000 : 10000;
    policy.window_s = number == 1 ? 1 : 60;
    policy.failure_rate = 100; /* which no success makes impossible */
    return policy;
}

static cbm_policy trip_policy(int number)
{
    cbm_policy policy = CBM_POLICY_INIT;

    policy.failure_threshold = number % 2 ? 2 : 1;
    policy.timeout_ms = load_trip_timeout_ms(number);
    return policy;
}

static cbm_policy probed_policy(int number)
{
    cbm_policy policy = CBM_POLICY_INIT;

    policy.failure_threshold = 1;
    policy.timeout_ms = 3;
    policy.permit_lease_ms = LOAD_LEASE_MS;
    if (number == 1) {
        policy.rule = CBM_RULE_COUNT_WINDOW;
        policy.window_size = policy.minimum_calls = 3;
        policy.half_open_calls = 3;
    }
    policy.on_abandon = number == 2 ? CBM_ABANDON_RELEASE : CBM_ABANDON_FAILURE;
    return policy;
}

/* ---- A process ------------------------------------------------------------------------------------------------------ */

typedef struct actor {
    load *load;
    load_process *mine;
    int index;
    cbm_client *client;
    cbm_when_away when_away;
    cbm_breaker *counted[LOAD_COUNTED], *probed[LOAD_PROBED], *trips[LOAD_TRIPS];
    unsigned seed; /* of the calling thread */
} actor;

static void add(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_release);
}

/*
 * What a begin may come back with while there is no broker. Whoever goes on without one is refused nothing, but what the manager in
 * its own process refuses to so many calls.
 */
static bool is_away(actor *a, int error)
{
    if (error == 0)
        return false;
    if (error != (a->when_away == CBM_LOCAL ? CBM_E_RATE_LIMITED : CBM_E_AWAY) || a->when_away == CBM_FAIL_OPEN)
        harness_fail("process %d: %s: %s", a->index, cbm_error_name(error), cbm_last_message());
    add(&a->mine->away);
    usleep(PAUSE_US);
    return true;
}

/* A report may not reach anybody, in whatever mode. */
static bool is_taken(actor *a, int error)
{
    if (error != 0 && error != CBM_E_AWAY)
        harness_fail("process %d: %s: %s", a->index, cbm_error_name(error), cbm_last_message());
    return error == 0;
}

/* Whether it needed no message. */
static bool succeed(actor *a, int number)
{
    load_tally *t = &a->mine->counted[number];
    cbm_permit permit;
    int error = cbm_call_try_begin(a->counted[number], &permit);
    bool fast = error == 0;

    if (error == CBM_WOULD_WAIT)
        error = cbm_call_begin(a->counted[number], &permit);
    if (is_away(a, error))
        return false;
    add(&t->begun);
    error = cbm_call_try_report(&permit, CBM_SUCCESS, NULL);
    if (error == 0) {
        add(&t->fast);
        return fast;
    }
    if (is_taken(a, cbm_call_report(&permit, CBM_SUCCESS)))
        add(&t->told);
    return false;
}

static void fail(actor *a, int number)
{
    load_tally *t = &a->mine->counted[number];
    cbm_permit permit;

    if (is_away(a, cbm_call_begin(a->counted[number], &permit)))
        return;
    add(&t->failing);
    if (is_taken(a, cbm_call_report(&permit, CBM_FAILURE)))
        add(&t->failed);
}

static void count_calls(actor *a)
{
    int life = atomic_load(&a->load->life);
    bool fast = true;

    for (int number = 0; number < LOAD_COUNTED; number++) {
        bool last = false;

        for (int i = 0; i < CALLS_AT_ONCE; i++)
            last = succeed(a, number);
        fast = fast && last;
    }
    if (fast)
        atomic_store(&a->mine->attached_life, life);
    fail(a, (int)((unsigned)rand_r(&a->seed) % LOAD_COUNTED));
}

/* Opens, probes and closes, and now and then walks away with the permit. */
static void probe(actor *a, int number)
{
    unsigned drawn = (unsigned)rand_r(&a->seed) % 100;
    cbm_permit permit;
    int error = cbm_call_begin(a->probed[number], &permit);

    if (error == CBM_E_OPEN || error == CBM_E_HALF_OPEN_FULL)
        return;
    if (is_away(a, error))
        return;
    if (!cbm_permit_unprotected(&permit))
        atomic_store(&a->load->permitted_ns[number], clock_ns());
    if (cbm_permit_probe(&permit)) {
        atomic_fetch_add(&a->load->probes, 1);
        if (drawn >= 97) {
            atomic_fetch_add(&a->load->abandoned, 1);
            return;
        }
    }
    is_taken(a, cbm_call_report(&permit, drawn < 30 ? CBM_FAILURE : CBM_SUCCESS));
}

/* ---- Trips ------------------------------------------------------------------------------------------------------------ */

/* As a program does it. How long the answer took says whether it may be one that is not stored. */
static bool trip_by_call(actor *a, int number)
{
    int64_t asked_ms = clock_ms();
    cbm_permit permit;
    int error = cbm_call_begin(a->trips[number], &permit);

    if (error == CBM_E_OPEN) {
        add(&a->mine->resets_undone);
        return false;
    }
    if (is_away(a, error) || !is_taken(a, cbm_call_report(&permit, CBM_FAILURE)))
        return false;
    if (clock_ms() - asked_ms <= STORED_WITHIN_MS)
        return true;
    add(&a->mine->trips_stored_late);
    return false;
}

/* By an answer that says all of it. */
static bool trip_by_command(actor *a, int process, int number)
{
    char name[32], command[80], *text = NULL;
    bool opened, unstored;

    load_trip_name(process, number, name);
    snprintf(command, sizeof command, "call_report %s outcome=failure", name);
    if (cbm_command(a->client, command, &text) != 0) {
        cbm_free(text);
        return false;
    }
    opened = strstr(text, "\"OPEN\"") != NULL;
    unstored = strstr(text, "\"stored\"") != NULL;
    cbm_free(text);
    if (opened && unstored)
        add(&a->mine->trips_stored_late);
    return opened && !unstored;
}

static void trip(actor *a, int number, bool by_command)
{
    load_trip *t = &a->mine->trips[number];
    int life = atomic_load(&a->load->life);
    int failures = (int)trip_policy(number).failure_threshold;
    bool told = true;

    atomic_store(&t->phase, LOAD_UNSURE);
    for (int i = 0; i < failures && told; i++) {
        if (i == failures - 1)
            atomic_store(&t->asked_ns, clock_ns());
        if (by_command && i == failures - 1)
            told = trip_by_command(a, a->index, number);
        else
            told = trip_by_call(a, number);
    }
    /* A report that went to a second broker decides nothing. */
    if (!told || atomic_load(&a->load->life) != life)
        return;
    atomic_store(&t->told_ns, clock_ns());
    atomic_store(&t->phase, LOAD_TOLD);
    add(&a->mine->trips_told);
}

static void close_again(actor *a, int number)
{
    load_trip *t = &a->mine->trips[number];
    char name[32];
    int error;

    load_trip_name(a->index, number, name);
    atomic_store(&t->phase, LOAD_UNSURE);
    error = cbm_reset(a->client, name);
    if (error != 0 && error != CBM_E_AWAY)
        harness_fail("process %d: reset of %s: %s", a->index, name, cbm_last_message());
    if (error == 0)
        atomic_store(&t->phase, LOAD_CLOSED);
}

/* Open ones stay for a while, so that there are always some. */
static void *trip_and_reset(void *context)
{
    actor *a = context;
    unsigned seed = (unsigned)getpid();

    while (!atomic_load(&a->load->stop)) {
        int number = (int)((unsigned)rand_r(&seed) % LOAD_TRIPS);

        switch (atomic_load(&a->mine->trips[number].phase)) {
        case LOAD_CLOSED: trip(a, number, rand_r(&seed) % 2 == 0); break;
        case LOAD_TOLD:
            if (rand_r(&seed) % 4 == 0)
                close_again(a, number);
            break;
        default: close_again(a, number);
        }
        usleep(PAUSE_US);
    }
    return NULL;
}

/* ---- Its life --------------------------------------------------------------------------------------------------------- */

/* Needs no broker: the breakers are there, or will be. */
static cbm_breaker *handle(actor *a, const char *name, const cbm_policy *policy)
{
    cbm_breaker *breaker;

    MUST(cbm_handle(a->client, name, policy, &breaker) == 0);
    return breaker;
}

static void take_handles(actor *a)
{
    for (int i = 0; i < LOAD_COUNTED; i++) {
        cbm_policy policy = counted_policy(i);

        a->counted[i] = handle(a, counted_names[i], &policy);
    }
    for (int i = 0; i < LOAD_PROBED; i++) {
        cbm_policy policy = probed_policy(i);

        a->probed[i] = handle(a, probed_names[i], &policy);
    }
    for (int i = 0; i < LOAD_TRIPS; i++) {
        cbm_policy policy = trip_policy(i);
        char name[32];

        load_trip_name(a->index, i, name);
        a->trips[i] = handle(a, name, &policy);
    }
}

/* Two go on without a broker, in a way each; the others wait for it. */
static cbm_when_away mode_of(int index)
{
    return index == 6 ? CBM_LOCAL : index == 7 ? CBM_FAIL_OPEN : CBM_FAIL_CLOSED;
}

static void open_client(actor *a)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    int error;

    options.when_away = a->when_away;
    options.call_timeout_ms = options.timeout_ms = CALL_TIMEOUT_MS;
    while ((error = cbm_open(&a->client, a->load->address, &options)) == CBM_E_AWAY)
        usleep(PAUSE_US);
    if (error != 0)
        harness_fail("process %d: cbm_open: %s", a->index, cbm_last_message());
}

static int run(load *l, int index)
{
    actor a = {.load = l, .mine = &l->processes[index], .index = index, .seed = (unsigned)getpid()};
    bool trips = index < 6; /* what passes without a broker is no trip that was told */
    pthread_t tripping;

    a.when_away = mode_of(index);
    open_client(&a);
    take_handles(&a);
    if (trips)
        MUST(pthread_create(&tripping, NULL, trip_and_reset, &a) == 0);
    while (!atomic_load(&l->stop)) {
        count_calls(&a);
        for (int i = 0; i < LOAD_PROBED; i++)
            probe(&a, i);
        usleep(PAUSE_US);
    }
    if (trips)
        pthread_join(tripping, NULL);
    cbm_close(a.client);
    return 0;
}

/* ---- The parent's ------------------------------------------------------------------------------------------------------ */

load *load_new(const broker *b)
{
    load *l = shared_new(sizeof *l);
    actor a = {.load = l, .when_away = CBM_FAIL_CLOSED};

    snprintf(l->address, sizeof l->address, "%s", b->address);
    atomic_store(&l->life, 1);
    a.client = client_open(b->address, CBM_FAIL_CLOSED);
    for (a.index = 0; a.index < LOAD_PROCESSES; a.index++)
        take_handles(&a);
    for (int i = 0; i < LOAD_COUNTED; i++)
        MUST(call_once(a.counted[i], CBM_IGNORED) == 0);
    for (int i = 0; i < LOAD_PROBED; i++)
        MUST(call_once(a.probed[i], CBM_IGNORED) == 0);
    for (int process = 0; process < LOAD_PROCESSES; process++)
        for (int i = 0; i < LOAD_TRIPS; i++) {
            cbm_policy policy = trip_policy(i);
            char name[32];

            load_trip_name(process, i, name);
            breaker_get(a.client, name, &policy);
        }
    cbm_close(a.client);
    return l;
}

void load_start(load *l, int index)
{
    pid_t pid;

    atomic_store(&l->processes[index].attached_life, 0);
    pid = process_fork();
    if (pid == 0) {
        int status = run(l, index);

        fflush(NULL);
        _exit(status);
    }
    l->pids[index] = pid;
}

void load_stop(load *l)
{
    atomic_store(&l->stop, true);
    for (int i = 0; i < LOAD_PROCESSES; i++)
        if (l->pids[i] != 0) {
            int status = process_wait(l->pids[i], HARNESS_DEADLINE_MS);

            l->pids[i] = 0;
            if (status != 0)
                harness_fail("process %d ended with status %d", i, status);
        }
}

void load_free(load *l)
{
    munmap(l, sizeof *l);
}

bool load_is_attached(void *context)
{
    const load *l = context;
    int life = atomic_load(&l->life);

    for (int i = 0; i < LOAD_PROCESSES; i++) {
        if (l->pids[i] != 0 && !process_running(l->pids[i]))
            harness_fail("process %d has ended", i);
        if (l->pids[i] != 0 && atomic_load(&l->processes[i].attached_life) != life)
            return false;
    }
    return true;
}

load_tally load_sum(const load *l, int number)
{
    load_tally sum = {0};

    for (int i = 0; i < LOAD_PROCESSES; i++) {
        const load_tally *t = &l->processes[i].counted[number];

        sum.begun += t->begun;
        sum.fast += t->fast;
        sum.told += t->told;
        sum.failing += t->failing;
        sum.failed += t->failed;
    }
    return sum;
}

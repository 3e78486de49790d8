/*
 * Real processes at work on one breaker of a real broker, all at once: what each of them was answered must be what one breaker
 * in one process could have answered, in an order that agrees with the times (linearize.h). Through shared memory, by message,
 * and with processes of both kinds. CBM_TEST_SEED repeats what was drawn, though not who came first; CBM_TEST_HISTORIES says how
 * many.
 */
#include "clients.h"
#include "linearize.h"
#include "random.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    WORKERS_MAX = 4,
    EVENTS_MAX = 20, /* of a history, with the read that ends it */
    STEPS_MAX = EVENTS_MAX / 2,
    HELD_MAX = 3,          /* permits of a process at a time */
    HISTORIES_A_POOL = 50, /* then new processes */
    PATIENCE_S = 20,
    DATED_BACK_MS = 200,
};

#ifdef CBM_SANITIZED
enum { HISTORIES = 240 };
#else
enum { HISTORIES = 3000 };
#endif

/* What the workers are to do next, and what came of it. In memory that all share. */
typedef struct round {
    _Atomic int prepare, start; /* numbers of the round that is asked for; -1: the end */
    _Atomic int prepared, done; /* workers */
    sem_t ready, finished;
    int workers, steps;
    uint64_t seed;
    char name[64];
    cbm_policy policy;
    bool no_shm[WORKERS_MAX];
    const char *address;
    int counts[WORKERS_MAX];
    event events[WORKERS_MAX][STEPS_MAX];
    const char *fault[WORKERS_MAX];
    int error[WORKERS_MAX];
} round;

static round *r;

/* ---- A worker ---- */

typedef struct held {
    cbm_permit permits[HELD_MAX];
    int numbers[HELD_MAX];
    int count, given;
} held;

static cbm_client *open_client(const char *address, bool no_shm)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;

    options.when_away = CBM_FAIL_CLOSED;
    options.call_timeout_ms = options.timeout_ms = PATIENCE_S * 1000;
    options.flags = no_shm ? CBM_OPEN_NO_SHM : 0;
    MUST(cbm_open(&client, address, &options) == 0);
    return client;
}

static void spin_us(uint32_t us)
{
    int64_t end_ns = clock_ns() + us * 1000;

    while (clock_ns() < end_ns) {
    }
}

static void nap_us(uint32_t us)
{
    nanosleep(&(struct timespec){.tv_nsec = us * 1000L}, NULL);
}

static void begin(cbm_breaker *breaker, held *h, int index, event *e)
{
    cbm_permit *permit = &h->permits[h->count];

    e->kind = EVENT_BEGIN;
    e->start_ns = clock_ns();
    e->error = cbm_call_begin(breaker, permit);
    e->end_ns = clock_ns();
    if (e->error == 0) {
        e->probe = cbm_permit_probe(permit) == 1;
        e->permit = index * STEPS_MAX + h->given++;
        h->numbers[h->count++] = e->permit;
    } else if (e->error != CBM_E_OPEN && e->error != CBM_E_HALF_OPEN_FULL) {
        r->fault[index] = "begin";
        r->error[index] = e->error;
    }
}

static void report(held *h, int index, event *e)
{
    cbm_report_options options = {.size = sizeof(options)};
    int at = (int)random_below((uint32_t)h->count);
    int error;

    e->kind = EVENT_REPORT;
    e->permit = h->numbers[at];
    e->outcome = (cbm_core_outcome)(random_below(10) ? random_below(2) : 2 + random_below(2));
    e->slow = random_below(8) == 0;
    e->open_for_ms = random_below(25) ? 0 : 2;
    options.duration_ns = e->slow ? 61 * CBM_CORE_NS_PER_S : 0;
    options.open_for_ms = (uint32_t)e->open_for_ms;
    e->start_ns = clock_ns();
    error = e->slow || e->open_for_ms > 0 ? cbm_call_report_with(&h->permits[at], (cbm_outcome)e->outcome, &options)
                                          : cbm_call_report(&h->permits[at], (cbm_outcome)e->outcome);
    e->end_ns = clock_ns();
    if (error != 0) {
        r->fault[index] = "report";
        r->error[index] = error;
    }
    h->count--;
    h->permits[at] = h->permits[h->count];
    h->numbers[at] = h->numbers[h->count];
}

static bool read_state(cbm_client *client, const char *name, event *e)
{
    cbm_states_result *states = NULL;
    const cbm_breaker_state *state;

    e->kind = EVENT_READ;
    e->start_ns = clock_ns();
    if (cbm_states(client, name, &states) != 0 || (state = cbm_states_find(states, name)) == NULL) {
        return false;
    }
    e->end_ns = clock_ns();
    e->reading = (event_reading){
        .state = (cbm_core_state)state->state,
        .failures = (int)state->failures,
        .successful_calls = (int)state->statistics.successful_calls,
        .failed_calls = (int)state->statistics.failed_calls,
        .ignored_calls = (int)state->statistics.ignored_calls,
        .late_reports = (int)state->statistics.late_reports,
        .rejected_calls = (int)state->statistics.rejected_calls,
        .state_transitions = (int)state->statistics.state_transitions,
    };
    cbm_states_free(states);
    return true;
}

static void reset(cbm_client *client, int index, event *e)
{
    e->kind = EVENT_RESET;
    e->start_ns = clock_ns();
    if (cbm_reset(client, r->name) != 0) {
        r->fault[index] = "reset";
    }
    e->end_ns = clock_ns();
}

static void take_step(cbm_client *client, cbm_breaker *breaker, held *h, int index, event *e)
{
    uint32_t drawn = random_below(100);

    e->process = index;
    if (drawn < 5) {
        if (!read_state(client, r->name, e)) {
            r->fault[index] = "read";
        }
    } else if (drawn < 7) {
        reset(client, index, e);
    } else if (h->count == HELD_MAX || (h->count > 0 && drawn < 55)) {
        report(h, index, e);
    } else {
        begin(breaker, h, index, e);
    }
}

static void work(cbm_client *client, cbm_breaker *breaker, held *h, int index)
{
    r->counts[index] = 0;
    for (int i = 0; i < r->steps && r->fault[index] == NULL; i++) {
        event *e = &r->events[index][r->counts[index]++];
        if (i > 0 && e[-1].kind == EVENT_BEGIN && e[-1].error == CBM_E_OPEN && random_below(2)) {
            nap_us(random_below(2000)); /* until OPEN may be over */
        } else if (random_below(3) == 0) {
            spin_us(random_below(30));
        }
        memset(e, 0, sizeof(*e));
        take_step(client, breaker, h, index, e);
    }
}

static void wait_for(_Atomic int *number, int wanted)
{
    while (atomic_load(number) != wanted && atomic_load(number) != -1) {
        sched_yield();
    }
}

static int worker_main(int index, void *context)
{
    (void)context;
    cbm_client *client = open_client(r->address, r->no_shm[index]);
    held h = {.count = 0};

    for (int number = 1;; number++) {
        cbm_breaker *breaker = NULL;

        while (atomic_load(&r->prepare) != number && atomic_load(&r->prepare) != -1) {
            nap_us(50);
        }
        if (atomic_load(&r->prepare) == -1) {
            break;
        }
        while (h.count > 0) { /* of the last history */
            (void)cbm_call_report(&h.permits[--h.count], CBM_IGNORED);
        }
        h.given = 0;
        random_seed(r->seed + (uint64_t)index * 7919);
        r->fault[index] = NULL;
        MUST(cbm_get(client, r->name, &r->policy, &breaker) == 0);
        if (atomic_fetch_add(&r->prepared, 1) + 1 == number * r->workers) {
            sem_post(&r->ready);
        }
        wait_for(&r->start, number);
        work(client, breaker, &h, index);
        if (atomic_fetch_add(&r->done, 1) + 1 == number * r->workers) {
            sem_post(&r->finished);
        }
    }
    cbm_close(client);
    return 0;
}

/* ---- Who has them work ---- */

static const char *const transports[] = {"shared memory", "messages", "both"};
enum { BY_MEMORY, BY_MESSAGE, BY_BOTH };

static uint64_t refusals, probes, late, openings, successes;

static cbm_policy draw_policy(cbm_rule rule)
{
    static const double rates[] = {10, 25, 33.3, 50, 66.7, 100};
    cbm_policy policy = CBM_POLICY_INIT;

    policy.rule = rule;
    policy.failure_threshold = 1 + random_below(3);
    policy.window_size = 1 + random_below(6);
    policy.window_s = rule == CBM_RULE_TIME_WINDOW ? 1 + random_below(2) : 60;
    policy.minimum_calls = 1 + random_below(5);
    policy.failure_rate = rates[random_below(6)];
    policy.slow_call_rate = rates[random_below(6)];
    policy.slow_call_duration_ms = 60000;
    policy.timeout_ms = random_below(4) ? 1 + random_below(3) : 20;
    policy.success_threshold = 1 + random_below(2);
    policy.half_open_calls = 1 + random_below(3);
    policy.permit_lease_ms = 60000;
    return policy;
}

static cbm_core_policy core_policy(const cbm_policy *p)
{
    cbm_core_policy policy = {
        .rule = (uint32_t)p->rule - 1,
        .failure_threshold = p->failure_threshold,
        .window_size = p->window_size,
        .window_s = p->window_s,
        .minimum_calls = p->minimum_calls,
        .failure_rate_tenths = (uint32_t)(p->failure_rate * 10 + 0.5),
        .slow_call_rate_tenths = (uint32_t)(p->slow_call_rate * 10 + 0.5),
        .slow_call_duration_ms = p->slow_call_duration_ms,
        .timeout_ms = p->timeout_ms,
        .success_threshold = p->success_threshold,
        .half_open_calls = p->half_open_calls,
        .permit_lease_ms = p->permit_lease_ms,
    };

    if (p->rule == CBM_RULE_COUNT_WINDOW && policy.minimum_calls > policy.window_size) {
        policy.minimum_calls = policy.window_size;
    }
    return policy;
}

static void wait_semaphore(sem_t *semaphore)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    cr_assert_eq(sem_timedwait(semaphore, &until), 0, "the workers are not done");
}

/* Permits are numbered within a index; in the history they are numbered throughout. */
static void gather(history *h)
{
    int numbers[WORKERS_MAX * STEPS_MAX];
    int count = 0;

    for (int index = 0; index < r->workers; index++) {
        cr_assert_null(r->fault[index], "%s: %s", r->fault[index], cbm_strerror(r->error[index]));
        for (int i = 0; i < r->counts[index]; i++) {
            event *e = &h->events[h->count++];
            *e = r->events[index][i];
            if (e->kind == EVENT_BEGIN && e->error == 0) {
                numbers[e->permit] = count;
                e->permit = count++;
            } else if (e->kind == EVENT_REPORT) {
                e->permit = numbers[e->permit];
            }
        }
    }
}

static void tally(const history *h)
{
    const event_reading *end = &h->events[h->count - 1].reading;

    refusals += end->rejected_calls > 0;
    late += end->late_reports > 0;
    openings += end->state_transitions > 0;
    successes += (uint64_t)end->successful_calls;
    for (int i = 0; i < h->count; i++) {
        probes += h->events[i].kind == EVENT_BEGIN && h->events[i].probe;
    }
}

/* Whether a second is about to end: time for a time window. */
static bool near_a_second(void)
{
    return clock_ns() % CBM_CORE_NS_PER_S > 990 * CBM_CORE_NS_PER_MS;
}

static void wait_for_the_second(void)
{
    while (near_a_second() && clock_ns() % CBM_CORE_NS_PER_S < CBM_CORE_NS_PER_S - random_below(500) * 1000) {
        sched_yield();
    }
}

static void one_history(cbm_client *client, int number, int in_pool, int transport)
{
    bool at_the_second = near_a_second();
    cbm_rule rule = at_the_second ? CBM_RULE_TIME_WINDOW : (cbm_rule)(CBM_RULE_CONSECUTIVE + number % 4);
    cbm_breaker *breaker;
    linearize_result result;
    history h = {.count = 0, .dated_back_ns = transport == BY_MESSAGE ? 0 : DATED_BACK_MS * CBM_CORE_NS_PER_MS};

    snprintf(r->name, sizeof(r->name), "%s %d", transports[transport], number);
    r->policy = draw_policy(rule);
    r->seed = random_next();
    r->steps = (EVENTS_MAX - 1) / r->workers;
    h.policy = core_policy(&r->policy);
    cr_assert_eq(cbm_get(client, r->name, &r->policy, &breaker), 0);
    atomic_store(&r->prepare, in_pool);
    wait_semaphore(&r->ready);
    if (at_the_second) {
        wait_for_the_second();
    }
    atomic_store(&r->start, in_pool);
    wait_semaphore(&r->finished);
    gather(&h);
    cr_assert(read_state(client, r->name, &h.events[h.count++]));
    h.events[h.count - 1].process = r->workers;
    linearize(&h, &result);
    if (!result.linearizable) {
        history_print(&h, &result, stderr);
        cr_assert_fail("history %d, by %s: no order gives these answers", number, transports[transport]);
    }
    tally(&h);
}

static void one_pool(const broker *b, int first, int count, int transport)
{
    processes p;
    cbm_client *client;

    r->workers = 2 + (int)random_below(WORKERS_MAX - 1);
    for (int i = 0; i < WORKERS_MAX; i++) {
        r->no_shm[i] = transport == BY_MESSAGE || (transport == BY_BOTH && i % 2 == 1);
    }
    r->address = b->address;
    atomic_store(&r->prepare, 0);
    atomic_store(&r->start, 0);
    atomic_store(&r->prepared, 0);
    atomic_store(&r->done, 0);
    processes_start(&p, r->workers, worker_main, NULL);
    client = open_client(b->address, transport == BY_MESSAGE);
    for (int i = 0; i < count; i++) {
        one_history(client, first + i, i + 1, transport);
    }
    atomic_store(&r->start, -1);
    atomic_store(&r->prepare, -1);
    cbm_close(client);
    cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
}

static void histories_by(int transport)
{
    int histories = (int)random_test_number("HISTORIES", HISTORIES) / 3;
    broker *b;

    random_seed_from_environment();
    r = shared_new(sizeof(*r));
    MUST(sem_init(&r->ready, 1, 0) == 0 && sem_init(&r->finished, 1, 0) == 0);
    b = broker_start_unlimited();
    for (int done = 0; done < histories; done += HISTORIES_A_POOL) {
        one_pool(b, done, histories - done < HISTORIES_A_POOL ? histories - done : HISTORIES_A_POOL, transport);
    }
    broker_free(b);
    fprintf(stderr,
            "by %s: %d histories, of which %" PRIu64 " opened, %" PRIu64 " refused, %" PRIu64
            " had late reports; %" PRIu64 " probes, %" PRIu64 " successes\n",
            transports[transport], histories, openings, refusals, late, probes, successes);
    cr_assert_gt(openings, (uint64_t)histories / 4, "hardly any breaker opened");
    cr_assert_gt(probes, (uint64_t)histories / 10, "hardly any probe");
    cr_assert_gt(late, (uint64_t)histories / 20, "hardly any late report");
}

Test(linearizable, through_shared_memory)
{
    histories_by(BY_MEMORY);
}

Test(linearizable, by_message)
{
    histories_by(BY_MESSAGE);
}

Test(linearizable, by_processes_of_both_kinds)
{
    histories_by(BY_BOTH);
}

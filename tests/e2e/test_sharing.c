/* Several processes, one breaker: it opens for all, one of them probes for all, and the numbers add up. */
#include "clients.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS 8
#define THRESHOLD 5

TestSuite(sharing, .timeout = 60);

static void shared_barrier_init(pthread_barrier_t *barrier, unsigned count)
{
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    MUST(pthread_barrier_init(barrier, &attributes, count) == 0);
}

/* ---- Opening, probing, closing ---------------------------------------------------------------------------------- */

typedef struct outage {
    const char *address;
    pthread_barrier_t barrier;
    atomic_int turn; /* whose call it is */
    atomic_int let_through;
    atomic_int refused;
    atomic_int probes;
    atomic_int turned_away; /* by the probe's permit being out */
} outage;

typedef struct turn {
    atomic_int *current;
    int mine;
} turn;

static bool is_my_turn(void *context)
{
    const turn *t = context;
    return atomic_load(t->current) == t->mine;
}

/* The clients call one after the other, each once. */
static void fail_in_turn(outage *o, int index, cbm_breaker *breaker)
{
    turn t = {&o->turn, index};
    MUST(wait_until(is_my_turn, &t, HARNESS_DEADLINE_MS));
    int error = call_once(breaker, CBM_FAILURE);
    MUST(error == 0 || error == CBM_E_OPEN);
    atomic_fetch_add(error == 0 ? &o->let_through : &o->refused, 1);
    atomic_fetch_add(&o->turn, 1);
}

static bool all_others_were_turned_away(void *context)
{
    outage *o = context;
    return atomic_load(&o->turned_away) == CLIENTS - 1;
}

/* All of them ask until OPEN is over; who gets the permit keeps it until all others have been refused because of it. */
static void probe_once(outage *o, cbm_breaker *breaker)
{
    cbm_permit permit;
    int error;
    int64_t end = clock_ms() + HARNESS_DEADLINE_MS;
    do
        error = cbm_call_begin(breaker, &permit);
    while (error == CBM_E_OPEN && clock_ms() < end);
    if (error == 0) {
        MUST(cbm_permit_probe(&permit) == 1);
        atomic_fetch_add(&o->probes, 1);
        MUST(wait_until(all_others_were_turned_away, o, HARNESS_DEADLINE_MS));
        MUST(cbm_call_report(&permit, CBM_SUCCESS) == 0);
    } else {
        MUST(error == CBM_E_HALF_OPEN_FULL);
        MUST(cbm_permit_retry_after_ms(&permit) > 0);
        atomic_fetch_add(&o->turned_away, 1);
    }
}

static int live_through_an_outage(int index, void *context)
{
    outage *o = context;
    cbm_client *client = client_open(o->address, CBM_FAIL_CLOSED);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = THRESHOLD;
    policy.timeout_ms = 400;
    policy.permit_lease_ms = HARNESS_DEADLINE_MS;
    cbm_breaker *breaker = breaker_get(client, "upstream", &policy);
    pthread_barrier_wait(&o->barrier);
    fail_in_turn(o, index, breaker);
    pthread_barrier_wait(&o->barrier);
    probe_once(o, breaker);
    pthread_barrier_wait(&o->barrier);
    MUST(call_once(breaker, CBM_SUCCESS) == 0);
    cbm_close(client);
    return 0;
}

Test(sharing, eight_processes_open_one_breaker_together_and_one_probe_closes_it_for_all)
{
    broker *b = broker_start_unlimited();
    outage *o = shared_new(sizeof *o);
    o->address = b->address;
    shared_barrier_init(&o->barrier, CLIENTS);
    cr_assert_eq(processes_run(CLIENTS, live_through_an_outage, o, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(o->let_through, THRESHOLD, "%d failures opened it", o->let_through);
    cr_assert_eq(o->refused, CLIENTS - THRESHOLD, "%d were refused", o->refused);
    cr_assert_eq(o->probes, 1, "%d probes were let through", o->probes);
    cr_assert(state_is(b->address, "upstream", "CLOSED"));
    broker_free(b);
}

Test(sharing, a_process_that_comes_later_finds_the_breaker_open)
{
    broker *b = broker_start_unlimited();
    cbm_client *early = client_open(b->address, CBM_FAIL_CLOSED);
    fail_calls(breaker_get(early, "upstream", NULL), THRESHOLD);
    cbm_close(early);
    cbm_client *late = client_open(b->address, CBM_FAIL_CLOSED);
    cr_assert_eq(call_once(breaker_get(late, "upstream", NULL), CBM_SUCCESS), CBM_E_OPEN);
    cbm_close(late);
    broker_free(b);
}

static bool is_open(void *context)
{
    return state_is(context, "upstream", "OPEN");
}

/* Nobody asks it meanwhile: it is the broker's own clock that ends the lease. */
Test(sharing, a_probe_that_is_never_reported_is_missed_until_its_lease_ends)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1;
    policy.timeout_ms = 100;
    policy.permit_lease_ms = 300;
    cbm_breaker *breaker = breaker_get(client, "upstream", &policy);
    fail_calls(breaker, 1);
    cbm_permit probe;
    cr_assert(begin_until_permitted(breaker, &probe, HARNESS_DEADLINE_MS));
    char *line = broker_wait_log1(b, "event=lease_expired", HARNESS_DEADLINE_MS);
    cr_assert_not_null(line);
    free(line);
    cr_assert(wait_until(is_open, b->address, HARNESS_DEADLINE_MS));
    cr_assert_eq(cbm_call_report(&probe, CBM_SUCCESS), 0);
    cr_assert_eq(statistic(b->address, "upstream", "leases_expired"), 1);
    cr_assert_eq(statistic(b->address, "upstream", "late_reports"), 1, "it came too late to decide");
    cr_assert(begin_until_permitted(breaker, &probe, HARNESS_DEADLINE_MS));
    cr_assert_eq(cbm_call_report(&probe, CBM_SUCCESS), 0);
    cr_assert(state_is(b->address, "upstream", "CLOSED"));
    cbm_close(client);
    broker_free(b);
}

/* ---- The guarantee ------------------------------------------------------------------------------------------------ */

#define ROUNDS 300
#define BEGINS_AFTER_DECISION 10

typedef struct guarantee {
    const char *address;
    pthread_barrier_t barrier;
    _Atomic int64_t decided_ns;        /* when the deciding report had returned; 0: not yet */
    _Atomic int64_t last_permitted_ns; /* start of the last begin that got a permit, over all processes */
    _Atomic uint64_t permitted, permitted_late;
} guarantee;

static void raise_to(_Atomic int64_t *maximum, int64_t value)
{
    int64_t seen = atomic_load(maximum);
    while (seen < value && !atomic_compare_exchange_weak(maximum, &seen, value))
        continue;
}

/* Outcomes that decide nothing, until the breaker was found open a few times after the decision. */
static void hammer(guarantee *g, cbm_breaker *breaker)
{
    int64_t end = clock_ms() + HARNESS_DEADLINE_MS;
    for (int after = 0; after < BEGINS_AFTER_DECISION;) {
        MUST(clock_ms() < end);
        bool decided = atomic_load(&g->decided_ns) != 0;
        cbm_permit permit;
        int64_t start = clock_ns();
        int error = cbm_call_begin(breaker, &permit);
        MUST(error == 0 || error == CBM_E_OPEN);
        if (error == 0) {
            raise_to(&g->last_permitted_ns, start);
            atomic_fetch_add(&g->permitted, 1);
            MUST(cbm_call_report(&permit, CBM_IGNORED) == 0);
        }
        after += decided;
    }
}

/* By turns: the failure that the rule waits for, or one that asks to open at once. */
static void decide(guarantee *g, cbm_breaker *breaker, int round)
{
    for (int i = 0; i < THRESHOLD - 1; i++)
        MUST(call_once(breaker, CBM_FAILURE) == 0);
    cbm_permit permit;
    MUST(cbm_call_begin(breaker, &permit) == 0);
    cbm_report_options options = {.size = sizeof options, .open_for_ms = round % 2 == 0 ? 0 : 60000};
    MUST(cbm_call_report_with(&permit, CBM_FAILURE, &options) == 0);
    atomic_store(&g->decided_ns, clock_ns());
}

static void begin_round(guarantee *g, cbm_client *client)
{
    MUST(cbm_reset(client, "guarded") == 0);
    atomic_store(&g->decided_ns, 0);
    atomic_store(&g->last_permitted_ns, 0);
}

static int hammer_for_rounds(int index, void *context)
{
    guarantee *g = context;
    cbm_client *client = client_open(g->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "guarded", NULL);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&g->barrier);
        if (index == 0)
            begin_round(g, client);
        pthread_barrier_wait(&g->barrier);
        if (round % CLIENTS == index)
            decide(g, breaker, round);
        hammer(g, breaker);
        pthread_barrier_wait(&g->barrier);
        if (index == 0 && atomic_load(&g->last_permitted_ns) > atomic_load(&g->decided_ns))
            atomic_fetch_add(&g->permitted_late, 1);
    }
    cbm_close(client);
    return 0;
}

Test(sharing, no_begin_that_starts_after_the_deciding_report_returned_gets_a_permit)
{
    broker *b = broker_start_unlimited();
    guarantee *g = shared_new(sizeof *g);
    g->address = b->address;
    shared_barrier_init(&g->barrier, CLIENTS);
    cr_assert_eq(processes_run(CLIENTS, hammer_for_rounds, g, 50000), 0);
    cr_assert_eq(g->permitted_late, 0, "in %lu rounds of %d", (unsigned long)g->permitted_late, ROUNDS);
    cr_assert_gt(g->permitted, ROUNDS, "the others had hardly a call let through: nothing was tested");
    broker_free(b);
}

/* ---- Statistics ----------------------------------------------------------------------------------------------------- */

#define CALLS_EACH 600

typedef struct tally {
    const char *address;
    unsigned seed;
    _Atomic uint64_t outcomes[4];
    _Atomic uint64_t rejected, half_open_rejected, begins;
} tally;

static void tally_one(tally *t, cbm_breaker *breaker, unsigned *seed)
{
    cbm_outcome outcome = (cbm_outcome)(rand_r(seed) % 4);
    if (rand_r(seed) % 8 == 0) {
        MUST(cbm_report(breaker, outcome, NULL) == 0);
        atomic_fetch_add(&t->outcomes[outcome], 1);
        return;
    }
    cbm_permit permit;
    int error = cbm_call_begin(breaker, &permit);
    atomic_fetch_add(&t->begins, 1);
    if (error == 0) {
        MUST(cbm_call_report(&permit, outcome) == 0);
        atomic_fetch_add(&t->outcomes[outcome], 1);
        return;
    }
    MUST(error == CBM_E_OPEN || error == CBM_E_HALF_OPEN_FULL);
    atomic_fetch_add(&t->rejected, 1);
    if (error == CBM_E_HALF_OPEN_FULL)
        atomic_fetch_add(&t->half_open_rejected, 1);
}

static int call_at_random(int index, void *context)
{
    tally *t = context;
    unsigned seed = t->seed + (unsigned)index;
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    options.when_away = CBM_FAIL_CLOSED;
    options.call_timeout_ms = options.timeout_ms = 10000;
    options.flags = CBM_OPEN_NO_SHM; /* so that every begin reaches the manager and counts as an operation */
    cbm_client *client;
    MUST(cbm_open(&client, t->address, &options) == 0);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 3;
    policy.timeout_ms = 2; /* so that it opens, probes and closes all the time */
    policy.permit_lease_ms = 60000;
    cbm_breaker *breaker = breaker_get(client, "counted", &policy);
    for (int i = 0; i < CALLS_EACH; i++)
        tally_one(t, breaker, &seed);
    cbm_close(client);
    return 0;
}

Test(sharing, statistics_are_the_sum_of_what_the_processes_did)
{
    broker *b = broker_start_unlimited();
    tally *t = shared_new(sizeof *t);
    t->address = b->address;
    t->seed = (unsigned)clock_ns();
    cr_log_info("seed %u", t->seed);
    cr_assert_eq(processes_run(CLIENTS, call_at_random, t, 50000), 0, "seed %u", t->seed);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_stats_result *stats;
    cr_assert_eq(cbm_stats(client, &stats), 0);
    const cbm_breaker_state *state = cbm_states_find(cbm_stats_breakers(stats), "counted");
    cr_assert_not_null(state);
    const cbm_statistics *s = &state->statistics;
    cr_assert_eq(s->successful_calls, t->outcomes[CBM_SUCCESS]);
    cr_assert_eq(s->failed_calls, t->outcomes[CBM_FAILURE] + t->outcomes[CBM_TIMEOUT]);
    cr_assert_eq(s->timeout_calls, t->outcomes[CBM_TIMEOUT]);
    cr_assert_eq(s->ignored_calls, t->outcomes[CBM_IGNORED]);
    cr_assert_eq(s->total_calls, s->successful_calls + s->failed_calls + s->ignored_calls);
    cr_assert_eq(s->rejected_calls, t->rejected);
    cr_assert_eq(s->half_open_rejected_calls, t->half_open_rejected);
    cr_assert_eq(s->leases_expired + s->abandoned, 0);
    cr_assert_gt(s->state_transitions, 2);
    cr_assert_eq(cbm_stats_manager(stats)->total_operations, CLIENTS + t->begins);
    cbm_stats_free(stats);
    cbm_close(client);
    broker_free(b);
}

/*
 * What many processes at full speed decide together: one call in a hundred that fails opens nothing that ought to stay closed and
 * costs a message each, and a dependency that dies opens the breaker at its threshold.
 */
#include "clients.h"
#include "random.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef CBM_SANITIZED
enum { STEADY_MS = 600 };
#else
enum { STEADY_MS = 1200 };
#endif

enum { WORKERS = 8, ONE_IN = 100, PATIENCE_MS = 20000 };

static cbm_policy policy_with(cbm_rule rule)
{
    cbm_policy policy = CBM_POLICY_INIT;

    policy.rule = rule;
    policy.window_s = rule == CBM_RULE_FAILURES ? 60 : 0;
    policy.timeout_ms = 600000;
    return policy;
}

/* How many requests of all users the broker has got so far. */
static uint64_t requests_received(const broker *b)
{
    char *text = nngcat_request(b->address, "stats limit=1");
    json_t *json = json_loads(text, 0, NULL);
    json_t *users = json_object_get(json_object_get(json, "data"), "users");
    const char *uid;
    json_t *user;
    uint64_t requests = 0;

    cr_assert_gt(json_object_size(users), 0, "no users in %s", text);
    json_object_foreach(users, uid, user)
    {
        requests += (uint64_t)json_integer_value(json_object_get(user, "requests"));
    }
    json_decref(json);
    free(text);
    return requests;
}

/* ---- Workers that call without a pause, each one failing as often as it is told ---- */

enum phase { READY, STEADY, PAUSE, DYING, END };

typedef struct worker_counts {
    _Alignas(64) _Atomic uint64_t calls, failures, refused;
    _Atomic int seen; /* the phase that it has come to */
} worker_counts;

typedef struct steady {
    const char *address;
    cbm_policy policy;
    uint64_t calls_at_most; /* of a worker, in STEADY; 0: any number */
    _Atomic int phase;
    worker_counts workers[WORKERS];
} steady;

static steady *s;

static void count_one(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void one_call(cbm_breaker *breaker, worker_counts *counts, bool fails)
{
    cbm_permit permit;
    int error = cbm_call_begin(breaker, &permit);

    if (error != 0) {
        MUST(error == CBM_E_OPEN);
        count_one(&counts->refused);
        sched_yield();
        return;
    }
    MUST(cbm_call_report(&permit, fails ? CBM_FAILURE : CBM_SUCCESS) == 0);
    count_one(&counts->calls);
    if (fails) {
        count_one(&counts->failures);
    }
}

static void steady_calls(cbm_breaker *breaker, worker_counts *counts)
{
    /* Each hundredth fails, but nobody knows which of them: so failures of different processes keep no step. */
    uint32_t failing = random_below(ONE_IN);
    uint32_t number = 0;

    while (atomic_load_explicit(&s->phase, memory_order_relaxed) == STEADY &&
           (s->calls_at_most == 0 || atomic_load(&counts->calls) < s->calls_at_most)) {
        one_call(breaker, counts, number == failing);
        if (++number == ONE_IN) {
            number = 0;
            failing = random_below(ONE_IN);
        }
    }
}

static void dying_calls(cbm_breaker *breaker, worker_counts *counts)
{
    while (atomic_load(&s->phase) == DYING && atomic_load(&counts->refused) == 0) {
        one_call(breaker, counts, true);
    }
}

static int steady_worker(int index, void *context)
{
    (void)context;
    worker_counts *counts = &s->workers[index];
    cbm_client *client = client_open(s->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "steady", &s->policy);

    random_seed((uint64_t)getpid());
    for (int phase = READY; phase != END; phase = atomic_load(&s->phase)) {
        if (phase == STEADY && atomic_load(&counts->seen) != STEADY) {
            steady_calls(breaker, counts);
            atomic_store(&counts->seen, STEADY);
        } else if (phase == DYING && atomic_load(&counts->seen) != DYING) {
            dying_calls(breaker, counts);
            atomic_store(&counts->seen, DYING);
        } else {
            int unseen = phase;
            if (atomic_load(&counts->seen) < phase && phase != STEADY && phase != DYING) {
                atomic_store(&counts->seen, unseen);
            }
            usleep(200);
        }
    }
    cbm_close(client);
    return 0;
}

static bool all_have_seen(void *context)
{
    int phase = *(int *)context;

    for (int i = 0; i < WORKERS; i++) {
        if (atomic_load(&s->workers[i].seen) < phase) {
            return false;
        }
    }
    return true;
}

/* What all have done in that phase is over. */
static void phase_is_over(int phase)
{
    cr_assert(wait_until(all_have_seen, &phase, PATIENCE_MS), "the workers hang in phase %d", phase);
}

typedef struct totals {
    uint64_t calls, failures, refused;
} totals;

static totals total(void)
{
    totals t = {0};

    for (int i = 0; i < WORKERS; i++) {
        t.calls += s->workers[i].calls;
        t.failures += s->workers[i].failures;
        t.refused += s->workers[i].refused;
    }
    return t;
}

static void start_workers(processes *p, broker *b, cbm_policy policy)
{
    s = shared_new(sizeof(*s));
    s->address = b->address;
    s->policy = policy;
    processes_start(p, WORKERS, steady_worker, NULL);
}

static void stop_workers(processes *p)
{
    atomic_store(&s->phase, END);
    cr_assert_eq(processes_wait(p, PATIENCE_MS), 0);
}

static void steady_for(int milliseconds)
{
    atomic_store(&s->phase, STEADY);
    usleep((useconds_t)milliseconds * 1000);
    atomic_store(&s->phase, PAUSE);
    phase_is_over(STEADY);
}

/* ---- A steady percent of failures ---- */

static void assert_a_percent_opens_nothing(cbm_policy policy, const char *what)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    processes p;
    cbm_breaker_state state;
    uint64_t requests;
    totals t;

    (void)breaker_get(client, "steady", &policy);
    start_workers(&p, b, policy);
    usleep(100 * 1000); /* most of them have opened their clients: what that takes is not asked here */
    requests = requests_received(b);
    steady_for(STEADY_MS);
    requests = requests_received(b) - requests;
    stop_workers(&p);
    t = total();
    state = state_of(client, "steady");
    fprintf(stderr,
            "%s: %" PRIu64 " calls, %" PRIu64 " failures, %" PRIu64 " requests: %.3f in a hundred calls; %" PRIu64
            " changes of state\n",
            what, t.calls, t.failures, requests, 100.0 * (double)requests / (double)t.calls,
            state.statistics.state_transitions);
    cr_assert_eq(state.state, CBM_CLOSED);
    cr_assert_eq(state.statistics.state_transitions, 0, "%s: a false trip", what);
    cr_assert_eq(t.refused, 0);
    cr_assert_eq(state.statistics.total_calls, t.calls);
    cr_assert_eq(state.statistics.failed_calls, t.failures);
    cr_assert_gt(t.calls, UINT64_C(100) * WORKERS);
    /* What was asked besides: two times by each for its handle, some pulls; and at most one each that ends unfinished */
    cr_assert_leq((double)requests, 0.011 * (double)t.calls + 5 * WORKERS, "%s: too many messages", what);
    cbm_close(client);
    broker_free(b);
}

Test(decisions, a_steady_percent_of_failures_opens_no_count_window)
{
    assert_a_percent_opens_nothing(policy_with(CBM_RULE_COUNT_WINDOW), "count_window");
}

Test(decisions, a_steady_percent_of_failures_opens_no_time_window)
{
    assert_a_percent_opens_nothing(policy_with(CBM_RULE_TIME_WINDOW), "time_window");
}

Test(decisions, a_steady_percent_of_failures_costs_as_few_messages_under_consecutive)
{
    cbm_policy policy = policy_with(CBM_RULE_CONSECUTIVE);

    policy.failure_threshold = 100000; /* that five in a row may well happen here is what test_in_a_row.c is about */
    assert_a_percent_opens_nothing(policy, "consecutive");
}

/* ---- A dependency that dies ---- */

static void assert_it_opens_at_its_threshold(cbm_policy policy, uint64_t healthy_calls, const char *what)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker_state state;
    totals before;
    totals dying;
    processes p;

    (void)breaker_get(client, "steady", &policy);
    start_workers(&p, b, policy);
    s->calls_at_most = healthy_calls / WORKERS;
    atomic_store(&s->phase, STEADY);
    phase_is_over(STEADY);
    before = total();
    cr_assert_eq(before.refused, 0, "%s: opened while the dependency was well", what);
    atomic_store(&s->phase, DYING);
    phase_is_over(DYING);
    stop_workers(&p);
    dying = total();
    state = state_of(client, "steady");
    fprintf(stderr, "%s: opened by %u failures, at %u; %" PRIu64 " calls were let through\n", what, state.failures,
            state.threshold, dying.calls - before.calls);
    cr_assert_eq(state.state, CBM_OPEN);
    cr_assert_eq(state.failures, state.threshold);
    cr_assert_leq(dying.calls - before.calls, (uint64_t)state.failures + WORKERS - 1, "more than were under way");
    cr_assert_geq(dying.refused, WORKERS);
    cbm_close(client);
    broker_free(b);
}

Test(decisions, five_failures_in_a_row_open)
{
    cbm_policy policy = policy_with(CBM_RULE_CONSECUTIVE);
    assert_it_opens_at_its_threshold(policy, 80, "consecutive");
}

Test(decisions, five_failures_within_a_minute_open)
{
    cbm_policy policy = policy_with(CBM_RULE_FAILURES);
    /* Those of the healthy time count too: one in a hundred, and nobody makes a hundred. */
    policy.failure_threshold = 5 + WORKERS;
    assert_it_opens_at_its_threshold(policy, 80, "failures");
}

Test(decisions, half_of_the_last_hundred_calls_open)
{
    assert_it_opens_at_its_threshold(policy_with(CBM_RULE_COUNT_WINDOW), 40000, "count_window");
}

Test(decisions, half_of_the_calls_of_the_last_minute_open)
{
    assert_it_opens_at_its_threshold(policy_with(CBM_RULE_TIME_WINDOW), 1600, "time_window");
}

/* The client on a real broker's shared memory: what costs no message, deaths of either side, forks, and counts that agree. */
#include "clients.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(shm_client, .timeout = 60);

enum { CALLS = 5000 };

static cbm_policy policy_with(cbm_rule rule)
{
    cbm_policy policy = CBM_POLICY_INIT;

    policy.rule = rule;
    if (rule == CBM_RULE_FAILURES)
        policy.window_s = 60;
    return policy;
}

static int begin_error(cbm_breaker *breaker)
{
    cbm_permit permit;
    int error = cbm_call_begin(breaker, &permit);

    if (error == 0)
        MUST(cbm_call_report(&permit, CBM_SUCCESS) == 0);
    return error;
}

/* Whether calls go on while the broker cannot answer anything. */
static bool needs_no_message(broker *b, cbm_breaker *breaker)
{
    siginfo_t stopped;
    int error = 0;

    kill(b->pid, SIGSTOP);
    MUST(waitid(P_PID, (id_t)b->pid, &stopped, WSTOPPED | WNOWAIT) == 0);
    for (int i = 0; i < CALLS && !error; i++)
        error = begin_error(breaker);
    kill(b->pid, SIGCONT);
    return error == 0;
}

Test(shm_client, successes_need_no_broker_under_any_rule)
{
    static const cbm_rule rules[] = {CBM_RULE_CONSECUTIVE, CBM_RULE_FAILURES, CBM_RULE_COUNT_WINDOW,
                                     CBM_RULE_TIME_WINDOW};
    static const char *const names[] = {"consecutive", "failures", "count", "time"};
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        cbm_policy policy = policy_with(rules[i]);
        cbm_breaker *breaker = breaker_get(client, names[i], &policy);

        cr_assert(needs_no_message(b, breaker), "%s", names[i]);
        cbm_breaker_state state = state_of(client, names[i]);
        cr_assert_eq(state.statistics.successful_calls, CALLS, "%s: %lu", names[i],
                     (unsigned long)state.statistics.successful_calls);
        cr_assert_eq(state.statistics.late_reports, 0);
        cr_assert(i < 2 || state.calls > 0, "%s", names[i]);
    }
    cbm_close(client);
    broker_free(b);
}

Test(shm_client, refusals_need_no_broker_and_are_counted)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);

    fail_calls(breaker, 5);
    kill(b->pid, SIGSTOP);
    for (int i = 0; i < CALLS; i++)
        cr_assert_eq(begin_error(breaker), CBM_E_OPEN);
    kill(b->pid, SIGCONT);
    cr_assert_eq(state_of(client, "ha_api").statistics.rejected_calls, CALLS);
    cbm_close(client);
    broker_free(b);
}

Test(shm_client, a_failure_comes_after_the_successes_before_it)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_policy policy = CBM_POLICY_INIT;

    policy.failure_threshold = 2;
    cbm_breaker *breaker = breaker_get(client, "ha_api", &policy);
    for (int i = 0; i < 100; i++) {
        fail_calls(breaker, 1);
        cr_assert_eq(begin_error(breaker), 0, "two failures in a row there never are");
    }
    fail_calls(breaker, 2);
    cr_assert_eq(begin_error(breaker), CBM_E_OPEN);
    cbm_close(client);
    broker_free(b);
}

/* ---- Deaths --------------------------------------------------------------------------------------------------------- */

Test(shm_client, the_brokers_death_is_seen_by_the_very_next_begin_in_every_mode)
{
    broker *b = broker_start_unlimited();
    cbm_client *open = client_open(b->address, CBM_FAIL_OPEN), *closed = client_open(b->address, CBM_FAIL_CLOSED),
               *local = client_open(b->address, CBM_LOCAL);
    cbm_breaker *of_open = breaker_get(open, "a", NULL), *of_closed = breaker_get(closed, "a", NULL),
                *of_local = breaker_get(local, "a", NULL);
    cbm_permit permit;

    for (int i = 0; i < 30; i++) {
        cr_assert(begin_until_permitted(of_closed, &permit, HARNESS_DEADLINE_MS));
        cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
        broker_kill(b);
        cr_assert_eq(cbm_call_begin(of_closed, &permit), CBM_E_AWAY, "%d", i);
        cr_assert_eq(cbm_call_begin(of_open, &permit), 0);
        cr_assert_eq(cbm_permit_unprotected(&permit), 1);
        cr_assert_eq(cbm_call_begin(of_local, &permit), 0);
        cr_assert_eq(cbm_permit_unprotected(&permit), 0);
        cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
        cr_assert_eq(cbm_connected(closed) + cbm_connected(open) + cbm_connected(local), 0);
        broker_restart(b);
    }
    cbm_close(open);
    cbm_close(closed);
    cbm_close(local);
    broker_free(b);
}

Test(shm_client, open_is_honoured_to_its_end_although_the_broker_is_dead)
{
    static const cbm_when_away modes[] = {CBM_FAIL_OPEN, CBM_FAIL_CLOSED, CBM_LOCAL};
    broker *b = broker_start_unlimited();
    cbm_client *clients[3];
    cbm_breaker *breakers[3];
    cbm_policy policy = CBM_POLICY_INIT;
    int64_t opened_ms;

    policy.failure_threshold = 1;
    policy.timeout_ms = 700;
    for (int i = 0; i < 3; i++) {
        clients[i] = client_open(b->address, modes[i]);
        breakers[i] = breaker_get(clients[i], "ha_api", &policy);
    }
    opened_ms = clock_ms();
    fail_calls(breakers[0], 1);
    broker_kill(b);
    while (clock_ms() - opened_ms < 600)
        for (int i = 0; i < 3; i++) {
            cbm_permit permit;

            cr_assert_eq(cbm_call_begin(breakers[i], &permit), CBM_E_OPEN, "mode %d", i);
            cr_assert_gt(cbm_permit_retry_after_ms(&permit), 0);
        }
    while (clock_ms() - opened_ms < 800)
        usleep(10000);
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(breakers[0], &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    cr_assert_eq(begin_error(breakers[1]), CBM_E_AWAY);
    cr_assert_eq(begin_error(breakers[2]), 0, "its own manager lets a probe through");
    for (int i = 0; i < 3; i++)
        cbm_close(clients[i]);
    broker_free(b);
}

static bool is_protected(void *context)
{
    cbm_permit permit;

    if (cbm_call_begin(context, &permit) != 0)
        return false;
    bool with_broker = cbm_permit_unprotected(&permit) == 0;
    return cbm_call_report(&permit, CBM_FAILURE) == 0 && with_broker;
}

Test(shm_client, a_hung_broker_costs_one_deadline_and_its_board_serves_again_when_it_answers)
{
    broker *b = broker_start_unlimited();
    cbm_client *client;
    cbm_policy policy = CBM_POLICY_INIT;
    siginfo_t stopped;
    int64_t start_ms;

    policy.failure_threshold = 1000000;
    cr_assert_eq(cbm_open(&client, b->address, NULL), 0); /* 100 ms a call */
    cbm_breaker *breaker = breaker_get(client, "ha_api", &policy);
    cr_assert(wait_until(is_protected, breaker, HARNESS_DEADLINE_MS));
    kill(b->pid, SIGSTOP);
    cr_assert_eq(waitid(P_PID, (id_t)b->pid, &stopped, WSTOPPED | WNOWAIT), 0);
    start_ms = clock_ms();
    cr_assert_eq(is_protected(breaker), false, "the failure finds out");
    cr_assert_geq(clock_ms() - start_ms, 95);
    for (int i = 0; i < 100; i++) {
        cbm_permit permit;

        cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
        cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    }
    cr_assert_lt(clock_ms() - start_ms, 3000);
    kill(b->pid, SIGCONT);
    cr_assert(wait_until(is_protected, breaker, HARNESS_DEADLINE_MS));
    cr_assert(needs_no_message(b, breaker));
    cbm_close(client);
    broker_free(b);
}

/* ---- Counts that agree ------------------------------------------------------------------------------------------------ */

typedef struct tally {
    const char *address;
    atomic_ullong successes, failures, ignored, refused;
} tally;

typedef struct caller {
    tally *tally;
    cbm_breaker *breaker;
    unsigned seed;
} caller;

static void *call_at_random(void *context)
{
    caller *c = context;

    for (int i = 0; i < CALLS; i++) {
        unsigned choice = (unsigned)rand_r(&c->seed) % 1000;
        cbm_outcome outcome = choice < 5 ? CBM_FAILURE : choice < 8 ? CBM_IGNORED : CBM_SUCCESS;
        cbm_permit permit;

        if (cbm_call_begin(c->breaker, &permit)) {
            atomic_fetch_add(&c->tally->refused, 1);
            continue;
        }
        MUST(cbm_call_report(&permit, outcome) == 0);
        atomic_fetch_add(outcome == CBM_SUCCESS   ? &c->tally->successes
                         : outcome == CBM_FAILURE ? &c->tally->failures
                                                  : &c->tally->ignored,
                         1);
    }
    return NULL;
}

static int run_callers(int index, void *context)
{
    tally *t = context;
    cbm_client *client = client_open(t->address, CBM_FAIL_CLOSED);
    cbm_policy policy = policy_with(CBM_RULE_CONSECUTIVE);
    caller callers[3];
    pthread_t threads[3];

    policy.failure_threshold = 2;
    policy.timeout_ms = 3;
    policy.permit_lease_ms = 60000; /* a lease that ran out would be another failure */
    for (int i = 0; i < 3; i++) {
        callers[i] = (caller){t, breaker_get(client, "ha_api", &policy), (unsigned)(index * 10 + i)};
        MUST(pthread_create(&threads[i], NULL, call_at_random, &callers[i]) == 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    if (index % 2 == 0)
        cbm_close(client); /* the others just end */
    return 0;
}

static bool all_is_counted(void *context)
{
    tally *t = ((void **)context)[0];
    cbm_breaker_state state = state_of(((void **)context)[1], "ha_api");

    return state.statistics.successful_calls == t->successes && state.statistics.rejected_calls == t->refused;
}

Test(shm_client, what_processes_and_threads_did_is_what_the_broker_has_counted)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    tally *t = shared_new(sizeof *t);
    void *context[] = {t, client};

    t->address = b->address;
    cr_assert_eq(processes_run(4, run_callers, t, HARNESS_DEADLINE_MS), 0);
    cr_assert(wait_until(all_is_counted, context, HARNESS_DEADLINE_MS), "%lu successes of %llu, %lu refused of %llu",
              (unsigned long)state_of(client, "ha_api").statistics.successful_calls, t->successes,
              (unsigned long)state_of(client, "ha_api").statistics.rejected_calls, t->refused);
    cbm_breaker_state state = state_of(client, "ha_api");
    cr_assert_eq(state.statistics.failed_calls, t->failures);
    cr_assert_eq(state.statistics.ignored_calls, t->ignored);
    cr_assert_eq(state.statistics.total_calls, t->successes + t->failures + t->ignored);
    cr_assert_gt(t->failures, 0);
    cbm_close(client);
    broker_free(b);
}

Test(shm_client, an_operation_is_counted_once_whichever_way_it_went)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_stats_result *stats;

    cbm_breaker *breaker = breaker_get(client, "got", NULL); /* one */
    for (int i = 0; i < 100; i++)
        cr_assert_eq(call_once(breaker, i % 10 ? CBM_SUCCESS : CBM_FAILURE), 0);
    cr_assert_eq(cbm_remove(client, "got", NULL), 0);
    for (int i = 0; i < 50; i++) /* made again by the first of them */
        cr_assert_eq(call_once(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_stats(client, &stats), 0);
    cr_assert_eq(cbm_stats_manager(stats)->total_operations, 151, "%lu",
                 (unsigned long)cbm_stats_manager(stats)->total_operations);
    cbm_stats_free(stats);
    cbm_close(client);
    broker_free(b);
}

/* ---- Forks ------------------------------------------------------------------------------------------------------------ */

static int call_as_a_child(int index, void *context)
{
    (void)index;
    for (int i = 0; i < CALLS; i++)
        MUST(call_once(context, CBM_SUCCESS) == 0);
    return 0;
}

Test(shm_client, children_of_a_client_share_memory_for_themselves)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    processes p;

    fail_calls(breaker, 1);
    processes_start(&p, 8, call_as_a_child, breaker);
    for (int i = 0; i < CALLS; i++)
        cr_assert_eq(call_once(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
    for (int64_t end_ms = clock_ms() + HARNESS_DEADLINE_MS;
         state_of(client, "ha_api").statistics.successful_calls < 9 * CALLS && clock_ms() < end_ms;)
        usleep(1000);
    cr_assert_eq(state_of(client, "ha_api").statistics.successful_calls, 9 * CALLS);
    cbm_close(client);
    broker_free(b);
}

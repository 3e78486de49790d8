/* The broker dies, hangs or comes back while clients are at work. */
#include "clients.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>

TestSuite(away, .timeout = 60);

static bool is_protected(void *context)
{
    cbm_permit permit;
    if (cbm_call_begin(context, &permit) != 0)
        return false;
    bool with_broker = cbm_permit_unprotected(&permit) == 0;
    int error = cbm_call_report(&permit, CBM_SUCCESS);
    return with_broker && error == 0;
}

/* ---- What each mode does -------------------------------------------------------------------------------------------- */

Test(away, fail_open_goes_on_without_protection_and_is_protected_again_after_a_restart)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_OPEN);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 2;
    cbm_breaker *breaker = breaker_get(client, "ha_api", &policy);
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
    cr_assert_eq(cbm_connected(client), 1);
    broker_kill(b);
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), CBM_E_AWAY, "in the middle of the call");
    cr_assert_eq(cbm_connected(client), 0);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
        cr_assert_eq(cbm_permit_unprotected(&permit), 1);
        int error = cbm_call_report(&permit, CBM_FAILURE);
        cr_assert(error == CBM_E_AWAY || error == 0, "%d", error);
    }
    broker_restart(b);
    cr_assert(wait_until(is_protected, breaker, HARNESS_DEADLINE_MS));
    cr_assert_eq(cbm_connected(client), 1);
    cr_assert_eq(state_of(client, "ha_api").threshold, 2, "the handle brought its policy");
    fail_calls(breaker, 2);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_OPEN);
    cbm_close(client);
    broker_free(b);
}

Test(away, fail_closed_refuses_until_the_broker_is_back)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    broker_kill(b);
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), CBM_E_AWAY);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_AWAY);
    cr_assert_eq(cbm_ping(client), CBM_E_AWAY);
    broker_restart(b);
    cr_assert(wait_until(is_protected, breaker, HARNESS_DEADLINE_MS));
    cbm_close(client);
    broker_free(b);
}

Test(away, local_goes_on_from_the_last_known_states_and_the_broker_wins_when_it_is_back)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_LOCAL);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 3;
    cbm_breaker *opened = breaker_get(client, "opened", &policy), *closed = breaker_get(client, "closed", &policy);
    fail_calls(opened, 3);
    cr_assert_eq(call_once(opened, CBM_SUCCESS), CBM_E_OPEN);
    cr_assert_eq(call_once(closed, CBM_SUCCESS), 0);
    broker_kill(b);
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(opened, &permit), CBM_E_OPEN, "it was open when last seen");
    /* From the board, by the clock that is cheap to read: it lags behind by a tick of the kernel. */
    cr_assert(cbm_permit_retry_after_ms(&permit) > 30000 && cbm_permit_retry_after_ms(&permit) <= 60000 + 10);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(call_once(closed, CBM_FAILURE), 0, "it was closed when last seen");
    cr_assert_eq(call_once(closed, CBM_SUCCESS), CBM_E_OPEN, "the manager in the process opens it");
    broker_restart(b);
    cr_assert(wait_until(is_protected, closed, HARNESS_DEADLINE_MS));
    cr_assert_eq(call_once(opened, CBM_SUCCESS), 0, "the new broker knows of no failure");
    cbm_close(client);
    broker_free(b);
}

Test(away, open_succeeds_without_a_broker_and_attaches_when_one_appears)
{
    broker *b = broker_start(NULL);
    broker_stop(b, SIGTERM);
    cbm_client *open = client_open(b->address, CBM_FAIL_OPEN), *local = client_open(b->address, CBM_LOCAL), *closed;
    cbm_breaker *first = breaker_get(open, "first", NULL), *second = breaker_get(local, "second", NULL);
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    options.when_away = CBM_FAIL_CLOSED;
    cr_assert_eq(cbm_open(&closed, b->address, &options), CBM_E_AWAY);
    cr_assert_null(closed);
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(first, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    fail_calls(second, 5);
    cr_assert_eq(call_once(second, CBM_SUCCESS), CBM_E_OPEN);
    broker_restart(b);
    cr_assert(wait_until(is_protected, first, HARNESS_DEADLINE_MS));
    cr_assert(wait_until(is_protected, second, HARNESS_DEADLINE_MS));
    cr_assert(state_is(b->address, "first", "CLOSED"));
    cr_assert(state_is(b->address, "second", "CLOSED"));
    cbm_close(open);
    cbm_close(local);
    broker_free(b);
}

static int succeed(void *argument)
{
    ++*(int *)argument;
    return 0;
}

Test(away, call_runs_the_function_under_fail_open_and_local_and_not_under_fail_closed)
{
    broker *b = broker_start(NULL);
    const int runs[] = {[CBM_FAIL_OPEN] = 1, [CBM_FAIL_CLOSED] = 0, [CBM_LOCAL] = 1};
    cbm_client *clients[3];
    for (int mode = CBM_FAIL_OPEN; mode <= CBM_LOCAL; mode++)
        clients[mode] = client_open(b->address, (cbm_when_away)mode);
    broker_kill(b);
    for (int mode = CBM_FAIL_OPEN; mode <= CBM_LOCAL; mode++) {
        int ran = 0, result = -1;
        int error = cbm_call(clients[mode], "ha_api", succeed, &ran, &result);
        cr_assert_eq(error, runs[mode] == 1 ? 0 : CBM_E_AWAY, "mode %d: %s", mode, cbm_strerror(error));
        cr_assert_eq(ran, runs[mode]);
        cbm_close(clients[mode]);
    }
    broker_free(b);
}

Test(away, a_permit_of_a_broker_that_died_decides_nothing_at_its_successor)
{
    broker *b = broker_start(NULL);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED), *other = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1;
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(breaker_get(client, "ha_api", &policy), &permit), 0);
    broker_kill(b);
    broker_restart(b);
    cbm_breaker *breaker = breaker_get(other, "ha_api", &policy);
    cr_assert(wait_until(is_protected, breaker, HARNESS_DEADLINE_MS));
    int error = cbm_call_report(&permit, CBM_FAILURE);
    cr_assert(error == 0 || error == CBM_E_AWAY, "%s", cbm_strerror(error));
    cr_assert(state_is(b->address, "ha_api", "CLOSED"));
    cr_assert_eq(statistic(b->address, "ha_api", "late_reports"), error == 0 ? 1 : 0);
    cr_assert_eq(call_once(breaker, CBM_SUCCESS), 0);
    cbm_close(client);
    cbm_close(other);
    broker_free(b);
}

/* ---- Killed while many are at work ---------------------------------------------------------------------------------- */

#define CLIENTS 8

typedef struct interruption {
    const char *address;
    atomic_int at_work, interrupted, recovered;
} interruption;

/* Whether somebody, the broker or the manager in the process, decided on it and took its report. */
static bool try_call(cbm_breaker *breaker, bool *unprotected)
{
    cbm_permit permit;
    int error = cbm_call_begin(breaker, &permit);
    if (error == CBM_E_RATE_LIMITED)
        return true; /* by the manager in the process, which is that fast */
    if (error != 0) {
        MUST(error == CBM_E_AWAY);
        return false;
    }
    *unprotected = cbm_permit_unprotected(&permit) == 1;
    error = cbm_call_report(&permit, CBM_SUCCESS);
    MUST(error == 0 || error == CBM_E_AWAY);
    return error == 0;
}

/* One client of each mode by turns: protected, then not, then again with the same handle. */
static int work_through_an_interruption(int index, void *context)
{
    interruption *i = context;
    cbm_when_away mode = (cbm_when_away)(index % 3);
    cbm_client *client = client_open(i->address, mode);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    bool unprotected = false, with_broker = false;
    int64_t end = clock_ms() + HARNESS_DEADLINE_MS;
    while (!(try_call(breaker, &unprotected) && !unprotected && cbm_connected(client)))
        MUST(clock_ms() < end);
    atomic_fetch_add(&i->at_work, 1);
    while (cbm_connected(client)) {
        MUST(clock_ms() < end);
        bool done = try_call(breaker, &unprotected);
        MUST(done || mode != CBM_LOCAL);
    }
    atomic_fetch_add(&i->interrupted, 1);
    while (!with_broker) {
        MUST(clock_ms() < end);
        bool done = try_call(breaker, &unprotected);
        with_broker = done && !unprotected && cbm_connected(client);
    }
    atomic_fetch_add(&i->recovered, 1);
    cbm_close(client);
    return 0;
}

static bool all_have(void *context)
{
    return atomic_load((atomic_int *)context) == CLIENTS;
}

Test(away, clients_of_every_mode_survive_a_kill_in_the_middle_of_their_calls)
{
    broker *b = broker_start_unlimited();
    interruption *i = shared_new(sizeof *i);
    i->address = b->address;
    processes p;
    processes_start(&p, CLIENTS, work_through_an_interruption, i);
    cr_assert(wait_until(all_have, &i->at_work, HARNESS_DEADLINE_MS));
    broker_kill(b);
    cr_assert(wait_until(all_have, &i->interrupted, HARNESS_DEADLINE_MS));
    broker_restart(b);
    cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(i->recovered, CLIENTS);
    broker_free(b);
}

/* ---- Hung ----------------------------------------------------------------------------------------------------------- */

Test(away, a_hung_broker_costs_its_clients_one_deadline_and_not_one_a_call)
{
    broker *b = broker_start(NULL);
    cbm_client *client;
    cr_assert_eq(cbm_open(&client, b->address, NULL), 0); /* with the default deadline of 100 ms a call */
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    cr_assert(wait_until(is_protected, breaker, HARNESS_DEADLINE_MS));
    siginfo_t stopped;
    kill(b->pid, SIGSTOP);
    cr_assert_eq(waitid(P_PID, (id_t)b->pid, &stopped, WSTOPPED | WNOWAIT), 0);
    cr_assert(is_protected(breaker), "what succeeds needs no message");
    int64_t start_ms = clock_ms();
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), CBM_E_AWAY);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
        cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    }
    int64_t took_ms = clock_ms() - start_ms;
    cr_assert(took_ms >= 95 && took_ms < 3000, "%ld ms", (long)took_ms);
    kill(b->pid, SIGCONT);
    cr_assert(wait_until(is_protected, breaker, HARNESS_DEADLINE_MS));
    cbm_close(client);
    broker_free(b);
}

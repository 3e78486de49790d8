/* Threads that share a client, and signals that interrupt it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/time.h>

#include "client_fixture.h"
#include "fake_broker.h"

TestSuite(client_threads, .timeout = 60);

#define THREADS 8

static void run_threads(int count, void *(*function)(void *), void *context)
{
    pthread_t threads[64];

    for (int i = 0; i < count; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, function, context), 0);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* ---- One connection for all ------------------------------------------------------------------------------------------------ */

typedef struct shared_client {
    cbm_client *client;
    cbm_breaker *breaker;
    atomic_int failures;
    atomic_int unprotected;
} shared_client;

static void *call_many_times(void *context)
{
    shared_client *s = context;

    for (int i = 0; i < 200; i++)
        s->failures += call_with(s->breaker, CBM_SUCCESS) != 0;
    return NULL;
}

Test(client_threads, threads_share_one_connection_and_each_gets_its_own_answers)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    shared_client s = {.client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED)};

    s.breaker = get_breaker(s.client, "ha_api", NULL);
    run_threads(THREADS, call_many_times, &s);
    cr_assert_eq(s.failures, 0);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_BEGIN), THREADS * 200);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_CALL_REPORT), THREADS * 200);
    cr_assert_eq(fake_broker_last(broker, CBM_OP_CALL_REPORT).report.sequence <= THREADS * 200, 1);
    cr_assert_eq(fake_broker_connections(broker), 1);
    cbm_close(s.client);
    fake_broker_stop(broker);
}

/* Each thread's reports wait for their turn while others' go: what comes must be numbered by the order of coming all the same. */
static void watch_sequences(fake_peer *peer)
{
    uint64_t last = 0;

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        if (peer->request.op == CBM_OP_CALL_REPORT) {
            if (peer->request.report.sequence != last + 1)
                ++*(atomic_int *)fake_broker_context(peer->broker);
            last = peer->request.report.sequence;
        }
        fake_answer(peer);
    }
}

Test(client_threads, reports_are_numbered_in_the_order_in_which_they_are_sent)
{
    atomic_int out_of_order = 0;
    fake_broker *broker = fake_broker_start(watch_sequences, &out_of_order);
    shared_client s = {.client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED)};

    s.breaker = get_breaker(s.client, "ha_api", NULL);
    run_threads(THREADS, call_many_times, &s);
    cr_assert_eq(s.failures, 0);
    cr_assert_eq(fake_broker_last(broker, CBM_OP_CALL_REPORT).report.sequence, THREADS * 200);
    cr_assert_eq(out_of_order, 0, "%d reports", out_of_order);
    cbm_close(s.client);
    fake_broker_stop(broker);
}

static void *get_and_look(void *context)
{
    shared_client *s = context;

    for (int i = 0; i < 100; i++) {
        cbm_breaker *breaker;
        cbm_states_result *states;
        char name[16];

        snprintf(name, sizeof(name), "b%d", i);
        s->failures += cbm_get(s->client, name, NULL, &breaker) != 0;
        s->failures += cbm_states(s->client, NULL, &states) != 0;
        cbm_states_free(states);
    }
    return NULL;
}

Test(client_threads, a_name_has_one_handle_whichever_thread_asks)
{
    cbm_client *client = open_client("local:", CBM_FAIL_OPEN);
    shared_client s = {.client = client};
    cbm_states_result *states;

    run_threads(THREADS, get_and_look, &s);
    cr_assert_eq(s.failures, 0);
    cr_assert_eq(cbm_states(client, NULL, &states), 0);
    cr_assert_eq(cbm_states_count(states), 100);
    cbm_states_free(states);
    cbm_close(client);
}

/* ---- Deadlines ---------------------------------------------------------------------------------------------------------------- */

static void hang_in_states(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer))
        if (peer->request.op != CBM_OP_STATES)
            fake_answer(peer);
}

static void *look(void *client)
{
    cbm_states_result *states;

    cbm_states(client, NULL, &states);
    return NULL;
}

Test(client_threads, nobody_waits_for_anothers_call_beyond_the_own_deadline)
{
    fake_broker *broker = fake_broker_start(hang_in_states, NULL);
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit permit;
    pthread_t thread;
    int64_t begun_ms, took_ms;

    options.call_timeout_ms = CALL_TIMEOUT_MS;
    options.timeout_ms = 3000;
    cr_assert_eq(cbm_open(&client, fake_broker_address(broker), &options), 0);
    breaker = get_breaker(client, "ha_api", NULL);
    cr_assert_eq(pthread_create(&thread, NULL, look, client), 0);
    while (fake_broker_count(broker, CBM_OP_STATES) == 0)
        sleep_ms(1);
    begun_ms = test_clock_ms();
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    took_ms = test_clock_ms() - begun_ms;
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    cr_assert(took_ms >= CALL_TIMEOUT_MS && took_ms < 2000, "%ld ms", (long)took_ms);
    pthread_join(thread, NULL);
    cr_assert(await_broker(client));
    cr_assert_eq(fake_broker_connections(broker), 1);
    cbm_close(client);
    fake_broker_stop(broker);
}

static void hang_in_begin(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer))
        if (peer->request.op != CBM_OP_CALL_BEGIN)
            fake_answer(peer);
}

static void *begin_once(void *context)
{
    shared_client *s = context;
    cbm_permit permit;

    s->failures += cbm_call_begin(s->breaker, &permit) != 0;
    s->unprotected += cbm_permit_unprotected(&permit);
    return NULL;
}

Test(client_threads, threads_that_wait_together_for_a_hung_broker_wait_one_deadline_together)
{
    enum { WAITING = 40 };
    fake_broker *broker = fake_broker_start(hang_in_begin, NULL);
    shared_client s = {.client = open_hurried(fake_broker_address(broker), CBM_FAIL_OPEN)};
    int64_t begun_ms, took_ms;

    s.breaker = get_breaker(s.client, "ha_api", NULL);
    begun_ms = test_clock_ms();
    run_threads(WAITING, begin_once, &s);
    took_ms = test_clock_ms() - begun_ms;
    cr_assert_eq(s.failures, 0);
    cr_assert_eq(s.unprotected, WAITING);
    cr_assert_lt(took_ms, CALL_TIMEOUT_MS + SLACK_MS, "%ld ms", (long)took_ms);
    cr_assert_lt(fake_broker_count(broker, CBM_OP_CALL_BEGIN), 4, "the others did not ask");
    cbm_close(s.client);
    fake_broker_stop(broker);
}

/* Answers everything but begins. */
static void swallow_begins(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer))
        if (peer->request.op != CBM_OP_CALL_BEGIN)
            fake_answer(peer);
}

typedef struct cancelled_calls {
    cbm_breaker *breaker;
    atomic_bool stop;
} cancelled_calls;

/* It returns before it comes to a place where it would be cancelled: AddressSanitizer cannot bear that. */
static void *begin_until_stopped(void *context)
{
    cancelled_calls *c = context;
    cbm_permit permit;

    while (!c->stop)
        cbm_call_begin(c->breaker, &permit);
    return NULL;
}

Test(client_threads, a_thread_that_is_cancelled_in_a_call_shuts_nobody_out)
{
    fake_broker *broker = fake_broker_start(swallow_begins, NULL);
    cbm_client *client = open_hurried(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cancelled_calls c = {.breaker = get_breaker(client, "ha_api", NULL)};
    int64_t end_ms = test_clock_ms() + PATIENCE_MS;
    pthread_t threads[2]; /* one waits for the broker, the other for the first */

    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, begin_until_stopped, &c), 0);
    while (fake_broker_count(broker, CBM_OP_CALL_BEGIN) == 0 && test_clock_ms() < end_ms)
        sleep_ms(1);
    sleep_ms(CALL_TIMEOUT_MS / 5);
    for (int i = 0; i < 2; i++)
        pthread_cancel(threads[i]);
    c.stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert(await_broker(client));
    cbm_close(client);
    fake_broker_stop(broker);
}

/* ---- Signals ------------------------------------------------------------------------------------------------------------------ */

static atomic_int interruptions;

static void count_interruption(int signal_number)
{
    (void)signal_number;
    interruptions++;
}

static void answer_slowly(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        sleep_ms(3);
        fake_answer(peer);
    }
}

Test(client_threads, signals_that_interrupt_system_calls_are_not_noticed)
{
    fake_broker *broker = fake_broker_start(answer_slowly, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    struct sigaction action = {.sa_handler = count_interruption}; /* without SA_RESTART */
    struct itimerval every = {.it_interval = {.tv_usec = 500}, .it_value = {.tv_usec = 500}};
    struct itimerval never = {0};
    int64_t end_ms = test_clock_ms() + PATIENCE_MS;

    cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
    cr_assert_eq(setitimer(ITIMER_REAL, &every, NULL), 0);
    while (interruptions < 200 && test_clock_ms() < end_ms) {
        cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0, "%s", cbm_last_message());
        fake_broker_hang_up(broker);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    cr_assert_geq(interruptions, 200);
    cbm_close(client);
    fake_broker_stop(broker);
}

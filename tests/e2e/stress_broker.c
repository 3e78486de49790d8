/*
 * Everything at once, for builds with a sanitizer: processes with several threads use every call of cbm.h and raw peers come,
 * say something or half of it, and go, while a broker serves them; then SIGTERM. What the sanitizers of the broker find makes
 * its status non-zero, what those of a client find that of its process. No test runner: the thread sanitizer works here.
 *
 *     stress_broker [SECONDS [SEED]]
 */
#include "clients.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS 3
#define THREADS 4
#define RAW_PEERS 2
#define BREAKERS 6
#define SECONDS_DEFAULT 4

typedef struct stress {
    const char *address;
    int64_t end_ms;
    unsigned seed;
} stress;

typedef struct stress_thread {
    const stress *stress;
    cbm_client *client;
    cbm_breaker *breakers[BREAKERS];
    unsigned seed;
    uint64_t calls;
} stress_thread;

/* Refusals are as good an answer as any other here; what is not, ends the test. */
static void expect(int error)
{
    switch (error) {
    case 0:
    case CBM_E_OPEN:
    case CBM_E_HALF_OPEN_FULL:
    case CBM_E_FORCED_OPEN:
    case CBM_E_RATE_LIMITED:
    case CBM_E_NOT_FOUND:
    case CBM_E_AWAY: /* a sanitized broker on a busy machine may miss a deadline */ return;
    default: harness_fail("unexpected: %s: %s", cbm_strerror(error), cbm_last_message());
    }
}

static int fail_by_argument(void *argument)
{
    return *(int *)argument;
}

static void look(stress_thread *t, unsigned choice)
{
    cbm_states_result *states;
    cbm_stats_result *stats;
    char *json = NULL;
    int error;
    switch (choice % 4) {
    case 0:
        expect(error = cbm_states(t->client, "breaker_[0-3]", &states));
        if (error == 0)
            cbm_states_free(states);
        break;
    case 1:
        expect(error = cbm_stats(t->client, &stats));
        if (error == 0)
            cbm_stats_free(stats);
        break;
    case 2: expect(cbm_ping(t->client)); break;
    default: expect(cbm_command(t->client, "states breaker_1", &json)); cbm_free(json);
    }
}

static void steer(stress_thread *t, unsigned choice, const char *name)
{
    cbm_policy policy = CBM_POLICY_INIT;
    switch (choice % 8) {
    case 0: expect(cbm_reset(t->client, name)); break;
    case 1: expect(cbm_reset_all(t->client)); break;
    case 2: expect(cbm_reset_manager(t->client)); break;
    case 3: expect(cbm_remove(t->client, name, NULL)); break;
    case 4: expect(cbm_force_open(t->client, name, "stress", 20)); break;
    case 5: expect(cbm_disable(t->client, name, NULL, 20)); break;
    case 6: expect(cbm_metrics_only(t->client, name, NULL, 20)); break;
    default: policy.failure_threshold = 1 + choice % 7; expect(cbm_configure(t->client, name, &policy));
    }
}

static void call(stress_thread *t, cbm_breaker *breaker)
{
    cbm_permit permit;
    int error = cbm_call_begin(breaker, &permit);
    expect(error);
    if (error == 0 && rand_r(&t->seed) % 50 != 0) { /* some never report */
        cbm_report_options options = {.size = sizeof options};
        options.error_text = "stress";
        options.open_for_ms = rand_r(&t->seed) % 40 == 0 ? 5 : 0;
        expect(cbm_call_report_with(&permit, (cbm_outcome)(rand_r(&t->seed) % 4), &options));
    }
}

static void get_again(stress_thread *t, cbm_breaker *breaker)
{
    cbm_breaker *same;
    int error = cbm_get(t->client, cbm_breaker_name(breaker), NULL, &same);
    expect(error);
    if (error == 0 && same != breaker)
        harness_fail("a second handle of one name");
}

static void *run_thread(void *context)
{
    stress_thread *t = context;
    while (clock_ms() < t->stress->end_ms) {
        unsigned choice = (unsigned)rand_r(&t->seed), which = choice % BREAKERS;
        int result = (int)(choice % 2);
        choice /= 64;
        switch (choice % 64) {
        case 0: look(t, choice / 64); break;
        case 1: steer(t, choice / 64, cbm_breaker_name(t->breakers[which])); break;
        case 2: expect(cbm_report(t->breakers[which], CBM_FAILURE, NULL)); break;
        case 3: expect(cbm_call(t->client, "by_call", fail_by_argument, &result, NULL)); break;
        case 4: get_again(t, t->breakers[which]); break;
        default: call(t, t->breakers[which]);
        }
        t->calls++;
    }
    return NULL;
}

static cbm_breaker *stress_breaker(cbm_client *client, int number)
{
    char name[32];
    snprintf(name, sizeof name, "breaker_%d", number);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 3;
    policy.timeout_ms = 1 + (uint32_t)number * 3;
    policy.permit_lease_ms = 10;
    policy.half_open_calls = 1 + (uint32_t)number;
    policy.success_threshold = 1 + (uint32_t)number;
    policy.on_abandon = number % 2 == 0 ? CBM_ABANDON_FAILURE : CBM_ABANDON_RELEASE;
    if (number % 3 == 2) {
        policy.rule = CBM_RULE_FAILURES;
        policy.window_s = 5;
    }
    cbm_breaker *breaker;
    int error;
    while ((error = cbm_get(client, name, &policy, &breaker)) == CBM_E_RATE_LIMITED)
        continue;
    if (error != 0)
        harness_fail("cbm_get: %s", cbm_strerror(error));
    return breaker;
}

/* A child that dies as it stands, with a permit of its own. */
static void die_in_a_child(cbm_breaker *breaker)
{
    pid_t pid = process_fork();
    if (pid == 0) {
        cbm_permit permit;
        expect(cbm_call_begin(breaker, &permit));
        raise(SIGKILL);
    }
    process_wait(pid, HARNESS_DEADLINE_MS);
}

static int run_client(int index, void *context)
{
    const stress *s = context;
    pthread_t threads[THREADS];
    stress_thread states[THREADS];
    unsigned seed = s->seed + (unsigned)index * 1000;
    uint64_t calls = 0;
    while (clock_ms() < s->end_ms) {
        cbm_client *client = client_open(s->address, (cbm_when_away)(rand_r(&seed) % 3));
        stress session = *s;
        int64_t until_ms = clock_ms() + 300 + rand_r(&seed) % 700;
        session.end_ms = until_ms < s->end_ms ? until_ms : s->end_ms;
        for (int i = 0; i < THREADS; i++) {
            states[i] = (stress_thread){.stress = &session, .client = client, .seed = seed + (unsigned)i};
            for (int j = 0; j < BREAKERS; j++)
                states[i].breakers[j] = stress_breaker(client, j);
            MUST(pthread_create(&threads[i], NULL, run_thread, &states[i]) == 0);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            calls += states[i].calls;
        }
        die_in_a_child(states[0].breakers[(size_t)rand_r(&seed) % BREAKERS]);
        cbm_close(client);
    }
    printf("client %d: %lu calls\n", index, (unsigned long)calls);
    return calls > 0 ? 0 : 1;
}

/* Comes, says a whole request, a part of one or rubbish, perhaps hears the answer, and goes. */
static int run_raw_peer(int index, void *context)
{
    const stress *s = context;
    unsigned seed = s->seed + 7777 + (unsigned)index;
    /* Few of them ask for pages, which would leave little of the broker for the clients. */
    static const char *const commands[] = {"call_begin breaker_1",
                                           "call_report raw outcome=failure",
                                           "ping",
                                           "what is this",
                                           "get raw failure_threshold=2",
                                           "states breaker_2",
                                           "info",
                                           "stats limit=3"};
    while (clock_ms() < s->end_ms) {
        int fd = raw_connect(s->address);
        size_t cut = (size_t)rand_r(&seed) % 16;
        raw_send(fd, RAW_GREETING_REQ, cut < 8 ? cut : 8);
        for (int i = rand_r(&seed) % 5; cut >= 8 && i > 0; i--) {
            const char *command = commands[(size_t)rand_r(&seed) % (sizeof commands / sizeof *commands)];
            uint8_t frame[128];
            size_t size = raw_frame(frame, (uint32_t)i, command, strlen(command));
            if (rand_r(&seed) % 10 == 0)
                frame[(size_t)rand_r(&seed) % size] = (uint8_t)rand_r(&seed);
            if (!raw_send(fd, frame, rand_r(&seed) % 10 == 0 ? size / 2 : size))
                break;
        }
        if (rand_r(&seed) % 2 == 0)
            raw_closed_within(fd, rand_r(&seed) % 10);
        close(fd);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int seconds = argc > 1 ? atoi(argv[1]) : SECONDS_DEFAULT;
    unsigned seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : (unsigned)clock_ns();
    printf("seed %u\n", seed);
    broker *b = broker_start(&(broker_options){.arguments = {"--rate-limit", "100000", "--log-level", "debug"}});
    stress s = {.address = b->address, .end_ms = clock_ms() + seconds * 1000, .seed = seed};
    processes clients, peers;
    processes_start(&clients, CLIENTS, run_client, &s);
    processes_start(&peers, RAW_PEERS, run_raw_peer, &s);
    int deadline_ms = seconds * 1000 + 60000;
    int failed = processes_wait(&clients, deadline_ms) + processes_wait(&peers, deadline_ms);
    json_decref(ask(b->address, "stats")); /* it answers still */
    broker_free(b);                        /* its status must be 0 */
    printf("%d processes failed\n", failed);
    return failed == 0 ? 0 : 1;
}

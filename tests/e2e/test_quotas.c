/* What one user may use, and that others do not feel it. Needs root for what takes two users. */
#include "clients.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOMEBODY 54321 /* a user that owns nothing */

TestSuite(quotas, .timeout = 90);

static void skip_without_root(void)
{
    if (geteuid() != 0)
        cr_skip_test("only root can become another user");
}

static void become(uid_t uid)
{
    MUST(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
}

/* For everybody who can find it. */
static broker *start(const char *const *arguments)
{
    broker_options options = {.arguments = {"--socket-mode", "0666"}};

    for (size_t i = 0; arguments[i] != NULL; i++)
        options.arguments[i + 2] = arguments[i];
    broker *b = broker_start(&options);
    cr_assert_eq(chmod(b->directory, 0755), 0);
    return b;
}

static const char *const no_limit[] = {"--rate-limit", "0", NULL};

/* ---- Limits ---------------------------------------------------------------------------------------------------------- */

static int64_t used(const char *address, uid_t uid, const char *what)
{
    char key[16];
    json_t *answer = ask(address, "stats");
    snprintf(key, sizeof key, "%u", (unsigned)uid);
    json_t *user = json_object_get(json_object_get(json_object_get(answer, "data"), "users"), key);
    int64_t value = user != NULL ? json_integer_value(json_object_get(user, what)) : -1;
    json_decref(answer);
    return value;
}

static bool is_greeted(int fd)
{
    char greeting[8];
    return raw_send(fd, RAW_GREETING_REQ, 8) && raw_receive(fd, greeting, 8, HARNESS_DEADLINE_MS);
}

Test(quotas, a_user_has_so_many_connections_and_those_that_say_nothing_do_not_count)
{
    static const char *const few[] = {"--max-clients", "5", NULL};
    broker *b = start(few);
    int silent[10], greeted[5];
    for (int i = 0; i < 10; i++)
        silent[i] = raw_connect(b->address);
    for (int i = 0; i < 5; i++) {
        greeted[i] = raw_connect(b->address);
        cr_assert(is_greeted(greeted[i]), "%d", i);
    }
    int more = raw_connect(b->address);
    cr_assert_not(is_greeted(more));
    cr_assert(raw_closed_within(more, HARNESS_DEADLINE_MS));
    close(more);
    json_decref(ask_on(greeted[0], "ping"));
    close(greeted[1]);
    int64_t end = clock_ms() + HARNESS_DEADLINE_MS;
    for (bool done = false; !done;) {
        int again = raw_connect(b->address);
        done = is_greeted(again);
        close(again);
        cr_assert_lt(clock_ms(), end, "a place that is free again can be had");
    }
    for (int i = 0; i < 5; i++)
        if (i != 1)
            close(greeted[i]);
    for (int i = 0; i < 10; i++)
        close(silent[i]);
    broker_free(b);
}

static int creates_breakers_until_it_may_not(int index, void *context)
{
    (void)index;
    become(SOMEBODY);
    int fd = raw_greeted(context);
    for (int i = 0; i < 12; i++) {
        char command[64];
        snprintf(command, sizeof command, i % 2 ? "get mine_%d" : "call_report mine_%d outcome=success", i);
        json_t *answer = ask_on(fd, command);
        const char *error = json_string_value(json_object_get(answer, "error"));
        MUST(i < 10 ? error == NULL : error != NULL && strcmp(error, "full") == 0);
        json_decref(answer);
    }
    json_t *answer = ask_on(fd, "get mine_3"); /* those that are there serve on */
    MUST(json_is_true(json_object_get(answer, "success")));
    json_decref(answer);
    close(fd);
    return 0;
}

Test(quotas, a_user_creates_so_many_breakers_and_others_go_on_creating)
{
    static const char *const few[] = {"--rate-limit", "0", "--max-breakers-per-user", "10", NULL};
    skip_without_root();
    broker *b = start(few);
    cr_assert_eq(processes_run(1, creates_breakers_until_it_may_not, b->address, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(used(b->address, SOMEBODY, "breakers"), 10);
    cr_assert_eq(used(b->address, SOMEBODY, "refused"), 2);
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "root_%d", i);
        breaker_get(client, name, NULL);
    }
    json_decref(ask(b->address, "remove mine_*"));
    cr_assert_eq(used(b->address, SOMEBODY, "breakers"), 0, "what is removed is theirs no more");
    cr_assert_eq(processes_run(1, creates_breakers_until_it_may_not, b->address, HARNESS_DEADLINE_MS), 0);
    json_decref(ask(b->address, "reset_manager"));
    cr_assert_eq(used(b->address, SOMEBODY, "breakers"), 0);
    cbm_close(client);
    broker_free(b);
}

static int takes_permits_until_it_may_not(int index, void *context)
{
    (void)index;
    become(SOMEBODY);
    int fd = raw_greeted(context);
    json_decref(ask_on(fd, "get half failure_threshold=1 timeout_ms=1 half_open_calls=100 success_threshold=100"));
    json_decref(ask_on(fd, "call_report half outcome=failure"));
    poll(NULL, 0, 5);
    for (int i = 0; i < 8; i++) {
        json_t *answer = ask_on(fd, "call_begin half lease_ms=60000");
        const char *error = json_string_value(json_object_get(answer, "error"));
        MUST(i < 5 ? error == NULL : error != NULL && strcmp(error, "full") == 0);
        json_decref(answer);
    }
    close(fd);
    return 0;
}

Test(quotas, a_user_has_so_many_permits_out_and_gets_more_when_they_are_back)
{
    static const char *const few[] = {"--max-permits-per-user", "5", NULL};
    skip_without_root();
    broker *b = start(few);
    cr_assert_eq(processes_run(1, takes_permits_until_it_may_not, b->address, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(used(b->address, SOMEBODY, "permits"), 5);
    json_decref(ask(b->address, "reset half"));
    cr_assert_eq(used(b->address, SOMEBODY, "permits"), 0);
    broker_free(b);
}

Test(quotas, what_others_use_is_shown_to_administrators_alone)
{
    skip_without_root();
    broker *b = start(no_limit);
    json_decref(ask(b->address, "ping"));
    pid_t child = process_fork();
    if (child == 0) {
        become(SOMEBODY);
        json_t *answer = ask(b->address, "stats");
        json_t *users = json_object_get(json_object_get(answer, "data"), "users");
        MUST(json_object_size(users) == 1 && json_object_get(users, "54321") != NULL);
        _exit(0);
    }
    cr_assert_eq(process_wait(child, HARNESS_DEADLINE_MS), 0);
    json_t *answer = ask(b->address, "stats");
    cr_assert_geq(json_object_size(json_object_get(json_object_get(answer, "data"), "users")), 2);
    json_decref(answer);
    broker_free(b);
}

Test(quotas, requests_a_second_are_paced_and_not_refused)
{
    enum { REQUESTS = 1500 }; /* a connection has half of the rate, and a quarter of a second's at once */
    static const char *const slow[] = {"--rate-limit", "0", "--max-requests", "2000", NULL};
    broker *b = start(slow);
    static uint8_t frames[REQUESTS * 32];
    size_t size = 0;
    for (int i = 0; i < REQUESTS; i++)
        size += raw_frame(frames + size, (uint32_t)i, "ping", 4);
    int fd = raw_greeted(b->address);
    int64_t begun = clock_ms();
    pid_t child = process_fork();
    if (child == 0)
        _exit(raw_send(fd, frames, size) ? 0 : 1);
    for (int i = 0; i < REQUESTS; i++) {
        uint32_t id;
        char *reply = raw_reply(fd, &id, NULL, HARNESS_DEADLINE_MS);
        cr_assert_not_null(reply, "%d", i);
        cr_assert_eq(id & 0x7fffffff, (uint32_t)i);
        free(reply);
    }
    int64_t took = clock_ms() - begun;
    cr_assert_eq(process_wait(child, HARNESS_DEADLINE_MS), 0);
    cr_assert_geq(took, 1000, "%d ms", (int)took);
    cr_assert_gt(used(b->address, geteuid(), "paced"), 0);
    close(fd);
    broker_free(b);
}

/* ---- While one floods ------------------------------------------------------------------------------------------------ */

#define SAMPLES 300
#define FLOODERS 50
#define STATES 256
#define MANY 800
#define MANY_PROCESSES 4

typedef struct flood {
    const char *address;
    const char *request;
    uid_t uid;
    int connections;
    volatile int64_t *replies;
    volatile int *stop;
} flood;

/* Writes requests as long as they are taken, and reads away what comes. */
static int floods(int index, void *context)
{
    const flood *f = context;
    (void)index;
    int fds[FLOODERS];
    static uint8_t frame[128], away[1 << 16];
    size_t size = raw_frame(frame, 1, f->request, strlen(f->request)), sent[FLOODERS] = {0};
    if (f->uid != 0)
        become(f->uid);
    for (int i = 0; i < f->connections; i++)
        fds[i] = raw_greeted(f->address);
    while (!*f->stop) {
        for (int i = 0; i < f->connections; i++) {
            for (int n = 0; n < 64; n++) {
                size_t from = sent[i] % size;
                ssize_t done = send(fds[i], frame + from, size - from, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (done <= 0)
                    break;
                sent[i] += (size_t)done;
            }
            for (ssize_t got; (got = recv(fds[i], away, sizeof away, MSG_DONTWAIT)) > 0;)
                *f->replies += got;
        }
        poll(NULL, 0, 1);
    }
    return 0;
}

/* Asks over each connection as soon as it has the answer to its last request. */
static int asks_over_many(int index, void *context)
{
    const flood *f = context;
    static struct pollfd fds[MANY];
    static uint8_t frame[128], away[1 << 12];
    size_t size = raw_frame(frame, 1, f->request, strlen(f->request));
    become(f->uid);
    for (int i = 0; i < f->connections; i++) {
        fds[i] = (struct pollfd){.fd = raw_greeted(f->address), .events = POLLIN};
        MUST(raw_send(fds[i].fd, frame, size));
    }
    while (!*f->stop) {
        MUST(poll(fds, (nfds_t)f->connections, 10) >= 0);
        for (int i = 0; i < f->connections; i++) {
            if (fds[i].revents == 0)
                continue;
            MUST(recv(fds[i].fd, away, sizeof away, 0) > 0 && raw_send(fds[i].fd, frame, size));
            ++f->replies[index];
        }
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    int64_t first = *(const int64_t *)a, second = *(const int64_t *)b;
    return first < second ? -1 : first > second;
}

static int64_t samples[SAMPLES];

/* The median time of a begin and its report, in nanoseconds. All of them, in order, are in `samples`. */
static int64_t median_call_ns(cbm_breaker *breaker)
{
    for (int i = 0; i < SAMPLES; i++) {
        cbm_permit permit;
        int64_t begun = clock_ns();
        cr_assert_eq(cbm_call_begin(breaker, &permit), 0, "%s", cbm_last_message());
        cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), 0);
        samples[i] = clock_ns() - begun;
        poll(NULL, 0, 1);
    }
    qsort(samples, SAMPLES, sizeof *samples, by_value);
    return samples[SAMPLES / 2];
}

/* By messages: what is answered from shared memory feels no flood at all. */
static cbm_client *open_without_shm(const char *address)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    options.when_away = CBM_FAIL_CLOSED;
    options.call_timeout_ms = 10000;
    options.flags = CBM_OPEN_NO_SHM;
    cbm_client *client;
    cr_assert_eq(cbm_open(&client, address, &options), 0);
    return client;
}

static bool replies_came(void *context)
{
    return *(volatile int64_t *)context > 0;
}

static void assert_others_do_not_feel(const char *what, const char *request, uid_t uid, int connections)
{
    broker *b = start(no_limit);
    flood *f = shared_new(sizeof *f);
    if (broker_is_sanitized() && connections > 10) /* everything takes many times as long there */
        connections = 10;
    *f = (flood){b->address, request, uid, connections, shared_new(8), shared_new(8)};
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1000000;
    cbm_client *client = open_without_shm(b->address);
    for (int i = 0; i < STATES; i++) {
        char name[32];
        snprintf(name, sizeof name, "breaker_%03d", i);
        breaker_get(client, name, NULL);
    }
    cbm_breaker *breaker = breaker_get(client, "honest", &policy);
    int64_t calm_ns = median_call_ns(breaker), flooded_ns, again_ns;
    processes p;
    processes_start(&p, 1, floods, f);
    cr_assert(wait_until(replies_came, (void *)f->replies, HARNESS_DEADLINE_MS));
    flooded_ns = median_call_ns(breaker);
    int64_t replies = *f->replies;
    *f->stop = 1;
    cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
    again_ns = median_call_ns(breaker);
    fprintf(stderr,
            "%s: begin and report %.0f us calm, %.0f us flooded (%.1f times), %.0f us after it; %.1f MB replied\n",
            what, (double)calm_ns / 1e3, (double)flooded_ns / 1e3, (double)flooded_ns / (double)calm_ns,
            (double)again_ns / 1e3, (double)replies / 1e6);
    cr_assert_gt(replies, 0, "the flood is served too");
    if (!broker_is_sanitized())
        cr_assert_leq(flooded_ns, 20 * (calm_ns > again_ns ? calm_ns : again_ns) + 1000000);
    cbm_close(client);
    broker_free(b);
}

Test(quotas, others_do_not_feel_one_who_pipelines_small_requests)
{
    assert_others_do_not_feel("1 connection, ping", "ping", 0, 1);
}

Test(quotas, others_do_not_feel_many_who_pipeline_small_requests)
{
    assert_others_do_not_feel("50 connections, ping", "ping", 0, FLOODERS);
}

Test(quotas, others_do_not_feel_many_who_pipeline_large_requests)
{
    assert_others_do_not_feel("50 connections, states", "states limit=256", 0, FLOODERS);
}

Test(quotas, another_users_flood_is_not_felt_either)
{
    skip_without_root();
    assert_others_do_not_feel("50 connections of another user, states", "states limit=256", SOMEBODY, FLOODERS);
}

static int64_t replies_of(const flood *f)
{
    int64_t sum = 0;
    for (int i = 0; i < MANY_PROCESSES; i++)
        sum += f->replies[i];
    return sum;
}

/*
 * Times how long a call takes while another user has many connections that ask one by one. If all requests stood in one queue,
 * it would take as long as two requests of theirs do. Returns how many times less even the slowest hundredth took.
 */
static double times_faster_than_the_many(const char *address, cbm_breaker *breaker, int connections)
{
    flood *f = shared_new(sizeof *f);
    *f = (flood){
        address,      "call_begin flooded", SOMEBODY, connections / MANY_PROCESSES, shared_new(8 * MANY_PROCESSES),
        shared_new(8)};
    int64_t calm_ns = median_call_ns(breaker);
    processes p;
    processes_start(&p, MANY_PROCESSES, asks_over_many, f);
    cr_assert(wait_until(replies_came, (void *)f->replies, HARNESS_DEADLINE_MS));
    int64_t begun_ns = clock_ns(), replies = replies_of(f);
    int64_t median_ns = median_call_ns(breaker), slow_ns = samples[SAMPLES * 99 / 100];
    replies = replies_of(f) - replies;
    double theirs_ns = 2.0 * connections * (double)(clock_ns() - begun_ns) / (double)(replies > 0 ? replies : 1);
    *f->stop = 1;
    cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
    cr_assert_gt(replies, 0, "the many are served too");
    fprintf(stderr,
            "%d connections of another user: begin and report %.0f us calm, %.0f us beside them, p99 %.0f us; "
            "two of their requests %.0f us\n",
            connections, (double)calm_ns / 1e3, (double)median_ns / 1e3, (double)slow_ns / 1e3, theirs_ns / 1e3);
    return theirs_ns / (double)slow_ns;
}

Test(quotas, the_many_connections_of_one_user_do_not_keep_others_waiting)
{
    skip_without_root();
    broker *b = start(no_limit);
    cbm_client *client = open_without_shm(b->address);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1000000;
    cbm_breaker *breaker = breaker_get(client, "honest", &policy);
    int connections = broker_is_sanitized() ? MANY / 8 : MANY;
    double times = 0;
    for (int i = 0; i < 4 && times < 3; i++) /* again, if the machine was busy with something else */
        times = times_faster_than_the_many(b->address, breaker, connections);
    if (!broker_is_sanitized())
        cr_assert_geq(times, 3, "%.1f", times);
    cbm_close(client);
    broker_free(b);
}

/* ---- The limiter's shares --------------------------------------------------------------------------------------------- */

Test(quotas, while_one_floods_the_limiter_others_get_what_they_ask_for)
{
    enum { CALLS = 100 };
    skip_without_root();
    static const char *const defaults[] = {NULL};
    broker *b = start(defaults);
    flood *f = shared_new(sizeof *f);
    *f = (flood){b->address, "call_begin flooded", SOMEBODY, 4, shared_new(8), shared_new(8)};
    processes p;
    processes_start(&p, 1, floods, f);
    cr_assert(wait_until(replies_came, (void *)f->replies, HARNESS_DEADLINE_MS));
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker;
    int64_t end = clock_ms() + HARNESS_DEADLINE_MS;
    while (cbm_get(client, "honest", NULL, &breaker) != 0)
        cr_assert_lt(clock_ms(), end, "a new user gets its share within a window");
    int refused_first = 0, refused_later = 0;
    for (int i = 0; i < 2 * CALLS; i++) {
        json_t *answer = ask(b->address, "call_begin honest");
        const char *error = json_string_value(json_object_get(answer, "error"));
        int refused = error != NULL && strcmp(error, "rate_limited") == 0;
        *(i < CALLS ? &refused_first : &refused_later) += refused;
        json_decref(answer);
        poll(NULL, 0, 10);
    }
    json_t *stats = ask(b->address, "stats");
    int64_t limited = json_integer_value(json_object_get(json_object_get(stats, "data"), "rate_limited_count"));
    json_decref(stats);
    *f->stop = 1;
    cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
    fprintf(stderr,
            "100 calls a second beside a flood: %d refused in the first window, %d in the next; %lld refused in all\n",
            refused_first, refused_later, (long long)limited);
    cr_assert_gt(limited, 1000, "the flood is refused");
    /* Asking is not as even as a clock when the machine is busy. */
    cr_assert_leq(refused_later, broker_is_sanitized() ? CALLS / 4 : CALLS / 10);
    cbm_close(client);
    broker_free(b);
}

/* What the broker and its clients do when the system around them fails: no descriptors, a broker that stands still, a flood. */
#include "clients.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(faults, .timeout = 90);

/* ---- No descriptors --------------------------------------------------------------------------------------------------- */

static void set_descriptors(const broker *b, rlim_t count)
{
    struct rlimit limit;
    cr_assert_eq(prlimit(b->pid, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = count < limit.rlim_max ? count : limit.rlim_max;
    cr_assert_eq(prlimit(b->pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

static bool is_refused_for_want_of_descriptors(void *context)
{
    char *line = broker_wait_log1(context, "cannot_accept", 0);
    bool said = line != NULL;
    free(line);
    return said;
}

/* The limit falls below what is open already, while it serves: nothing can be accepted, and nobody who is in is let down. */
Test(faults, without_descriptors_it_serves_whom_it_has_and_comes_back_by_itself)
{
    broker *b = broker_start_unlimited();
    worker *w = worker_start(b->address);
    for (int round = 0; round < 3; round++) {
        set_descriptors(b, 3);
        int waiting = raw_connect(b->address);
        char greeting[8];
        cr_assert(raw_send(waiting, RAW_GREETING_REQ, 8));
        cr_assert(wait_until(is_refused_for_want_of_descriptors, b, HARNESS_DEADLINE_MS));
        cr_assert_not(raw_receive(waiting, greeting, 1, 200), "there is no descriptor for it");
        cr_assert(worker_progresses(w));
        set_descriptors(b, 4096);
        cr_assert(raw_receive(waiting, greeting, 8, HARNESS_DEADLINE_MS), "round %d", round);
        json_decref(ask_on(waiting, "ping"));
        close(waiting);
    }
    cr_assert_eq(worker_stop(w), 0);
    json_decref(ask(b->address, "ping"));
    broker_free(b);
}

/* ---- A broker that stands still ----------------------------------------------------------------------------------------- */

#define CALLS 20
#define DEADLINE_MS 100

typedef struct still {
    const char *address;
    cbm_when_away when_away;
    int *ready; /* counted up */
    int *go;
    int64_t *longest_ns; /* of each */
} still;

/* Opens while all is well, and calls when nobody answers: each call returns, most of them at once. */
static int calls_a_broker_that_stands_still(int index, void *context)
{
    const still *s = context;
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;
    options.when_away = s->when_away;
    options.call_timeout_ms = DEADLINE_MS;
    options.flags = index % 2 ? CBM_OPEN_NO_SHM : 0;
    MUST(cbm_open(&client, s->address, &options) == 0);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1000000;
    cbm_breaker *breaker = breaker_get(client, "ha_api", &policy);
    fail_calls(breaker, 1);
    __atomic_fetch_add(s->ready, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(s->go, __ATOMIC_SEQ_CST))
        poll(NULL, 0, 1);
    for (int i = 0; i < CALLS; i++) {
        cbm_permit permit;
        int64_t begun = clock_ns();
        int error = cbm_call_begin(breaker, &permit);
        if (error == 0)
            (void)cbm_call_report(&permit, CBM_FAILURE);
        else
            MUST(error == CBM_E_AWAY);
        MUST(error == 0 || s->when_away == CBM_FAIL_CLOSED);
        int64_t took = clock_ns() - begun;
        if (took > s->longest_ns[index])
            s->longest_ns[index] = took;
    }
    cbm_close(client);
    return 0;
}

typedef struct reached {
    const int *counter;
    int goal;
} reached;

static bool has_reached(void *context)
{
    const reached *r = context;
    return __atomic_load_n(r->counter, __ATOMIC_SEQ_CST) >= r->goal;
}

/* All of its threads: the signal takes its time. */
static bool stands_still(void *context)
{
    const broker *b = context;
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/task", (int)b->pid);
    DIR *tasks = opendir(path);
    bool stopped = tasks != NULL;
    for (struct dirent *task; stopped && (task = readdir(tasks)) != NULL;) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/stat", (int)b->pid, task->d_name);
        FILE *file = fopen(path, "r");
        text[file != NULL ? fread(text, 1, sizeof text - 1, file) : 0] = '\0';
        const char *state = strrchr(text, ')');
        stopped = state != NULL && state[2] == 'T';
        if (file != NULL)
            fclose(file);
    }
    if (tasks != NULL)
        closedir(tasks);
    return stopped;
}

static void stop(broker *b)
{
    cr_assert_eq(kill(b->pid, SIGSTOP), 0);
    cr_assert(wait_until(stands_still, b, HARNESS_DEADLINE_MS));
}

static void assert_nobody_hangs(cbm_when_away when_away, const char *name)
{
    enum { CLIENTS = 8 };
    broker *b = broker_start_unlimited();
    still *s = shared_new(sizeof *s);
    *s = (still){b->address, when_away, shared_new(sizeof(int)), shared_new(sizeof(int)),
                 shared_new(CLIENTS * sizeof(int64_t))};
    processes p;
    processes_start(&p, CLIENTS, calls_a_broker_that_stands_still, s);
    reached all = {s->ready, CLIENTS};
    cr_assert(wait_until(has_reached, &all, HARNESS_DEADLINE_MS));
    stop(b);
    int64_t begun = clock_ms();
    __atomic_store_n(s->go, 1, __ATOMIC_SEQ_CST);
    cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
    int64_t took = clock_ms() - begun, longest = 0;
    for (int i = 0; i < CLIENTS; i++)
        longest = s->longest_ns[i] > longest ? s->longest_ns[i] : longest;
    fprintf(stderr, "%s: %d clients made %d calls each to a stopped broker in %lld ms, the longest in %lld ms\n", name,
            CLIENTS, CALLS, (long long)took, (long long)(longest / 1000000));
    /* A begin and its report have a deadline each, and a machine that is busy. */
    cr_assert_leq(longest, (int64_t)(4 * DEADLINE_MS + 1000) * 1000000);
    cr_assert_eq(kill(b->pid, SIGCONT), 0);
    json_decref(ask(b->address, "ping"));
    broker_free(b);
}

Test(faults, no_client_hangs_at_a_broker_that_stands_still_fail_open)
{
    assert_nobody_hangs(CBM_FAIL_OPEN, "fail-open");
}

Test(faults, no_client_hangs_at_a_broker_that_stands_still_fail_closed)
{
    assert_nobody_hangs(CBM_FAIL_CLOSED, "fail-closed");
}

Test(faults, no_client_hangs_at_a_broker_that_stands_still_local)
{
    assert_nobody_hangs(CBM_LOCAL, "local");
}

/* The backlog is full as well: not even connecting comes to anything. */
Test(faults, opening_a_client_does_not_hang_at_a_broker_that_stands_still)
{
    broker *b = broker_start_unlimited();
    stop(b);
    int held[400], count = 0;
    while (count < 400 && (held[count] = raw_try_connect(b->address, true)) >= 0)
        count++;
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;
    cbm_permit permit;
    options.call_timeout_ms = DEADLINE_MS;
    int64_t begun = clock_ms();
    cr_assert_eq(cbm_open(&client, b->address, &options), 0);
    cr_assert_eq(cbm_call_begin(breaker_get(client, "ha_api", NULL), &permit), 0);
    cr_assert(cbm_permit_unprotected(&permit));
    cbm_call_report(&permit, CBM_SUCCESS);
    cbm_close(client);
    cr_assert_lt(clock_ms() - begun, 8000);
    for (int i = 0; i < count; i++)
        close(held[i]);
    cr_assert_eq(kill(b->pid, SIGCONT), 0);
    json_decref(ask(b->address, "ping"));
    broker_free(b);
}

/* ---- A flood of connections --------------------------------------------------------------------------------------------- */

/* They come, greet, ask, and go without waiting, as fast as they can. */
static int comes_and_goes(int index, void *context)
{
    (void)index;
    uint8_t bytes[64];
    memcpy(bytes, RAW_GREETING_REQ, 8);
    size_t size = 8 + raw_frame(bytes + 8, 1, "ping", 4);
    for (int i = 0; i < 2000; i++) {
        int fd = raw_try_connect(context, true);
        if (fd < 0) {
            poll(NULL, 0, 1);
            continue;
        }
        if (i % 3)
            (void)!send(fd, bytes, i % 3 == 1 ? size : 5, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
    }
    return 0;
}

static bool descriptors_are_back(void *context)
{
    const reached *r = context;
    return broker_descriptors((const broker *)r->counter) <= r->goal;
}

Test(faults, a_flood_of_connections_leaves_nothing_behind)
{
    enum { FLOODERS = 4 };
    broker *b = broker_start_unlimited();
    json_decref(ask(b->address, "ping"));
    reached before = {(const int *)b, broker_descriptors(b)};
    worker *w = worker_start(b->address);
    processes p;
    processes_start(&p, FLOODERS, comes_and_goes, b->address);
    for (int i = 0; i < 20; i++)
        cr_assert(worker_progresses(w));
    cr_assert_eq(processes_wait(&p, 2 * HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(worker_stop(w), 0);
    cr_assert(wait_until(descriptors_are_back, &before, HARNESS_DEADLINE_MS), "%d, %d before", broker_descriptors(b),
              before.goal);
    broker_free(b);
}

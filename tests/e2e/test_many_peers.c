/* More peers than descriptors, and peers that take without giving. */
#include "clients.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DESCRIPTORS 256
#define HELD 300 /* connections that the test itself holds at a time; its own limit is not far above */
#define CONNECTIONS 10000
#define MEMORY_GROWTH_MAX_KIB (8 * 1024)

TestSuite(many_peers, .timeout = 90);

static broker *start_with_few_descriptors(void)
{
    struct rlimit own = {HELD + 100, HELD + 100};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &own), 0);
    return broker_start(
        &(broker_options){.arguments = {"--rate-limit", "0", "--max-clients", "4096"}, .descriptors = DESCRIPTORS});
}

static void assert_memory_is_bounded(const broker *b, size_t before_kib)
{
    size_t now_kib = broker_rss_kib(b);
    if (!broker_is_sanitized())
        cr_assert_leq(now_kib, before_kib + MEMORY_GROWTH_MAX_KIB, "%zu KiB, %zu before", now_kib, before_kib);
}

typedef struct count_goal {
    const broker *b;
    int descriptors;
} count_goal;

static bool descriptors_are_back(void *context)
{
    const count_goal *goal = context;
    return broker_descriptors(goal->b) <= goal->descriptors;
}

static bool descriptors_are_used_up(void *context)
{
    return broker_descriptors(context) >= DESCRIPTORS - 8;
}

Test(many_peers, ten_thousand_connections_that_say_nothing)
{
    broker *b = start_with_few_descriptors();
    worker *w = worker_start(b->address);
    count_goal before = {b, broker_descriptors(b)};
    size_t rss_kib = broker_rss_kib(b);
    int held[HELD];
    memset(held, -1, sizeof held);
    for (int made = 0, at = 0; made < CONNECTIONS; at = (at + 1) % HELD) {
        if (held[at] >= 0)
            close(held[at]);
        held[at] = raw_try_connect(b->address, true);
        if (held[at] >= 0)
            made++;
        else
            cr_assert(errno == EAGAIN, "%s", strerror(errno)); /* the backlog is full: the oldest ones make room */
        if (made % 1000 == 999)
            cr_assert(worker_progresses(w));
    }
    for (int i = 0; i < HELD; i++)
        close(held[i]);
    cr_assert_eq(worker_stop(w), 0, "the one that it served was disturbed");
    before.descriptors--; /* the worker's */
    cr_assert(wait_until(descriptors_are_back, &before, HARNESS_DEADLINE_MS), "%d", broker_descriptors(b));
    assert_memory_is_bounded(b, rss_kib);
    json_decref(ask(b->address, "ping"));
    broker_free(b);
}

/* Peers that have greeted are not dropped: while they stay, nobody else gets in; those who are in go on. */
Test(many_peers, out_of_descriptors_it_serves_whom_it_has_and_accepts_again_when_it_can)
{
    broker *b = start_with_few_descriptors();
    worker *w = worker_start(b->address);
    int held[DESCRIPTORS + 20];
    int count = DESCRIPTORS + 20;
    for (int i = 0; i < count; i++) {
        held[i] = raw_connect(b->address);
        cr_assert(raw_send(held[i], RAW_GREETING_REQ, 8));
    }
    cr_assert(wait_until(descriptors_are_used_up, b, HARNESS_DEADLINE_MS), "%d", broker_descriptors(b));
    cr_assert(worker_progresses(w));
    char greeting[8];
    cr_assert(raw_receive(held[0], greeting, 8, HARNESS_DEADLINE_MS));
    json_decref(ask_on(held[0], "ping"));
    int waiting = held[count - 1];
    cr_assert_not(raw_receive(waiting, greeting, 1, 300), "there is no descriptor for it");
    for (int i = 0; i < 60; i++)
        close(held[i]);
    cr_assert(raw_receive(waiting, greeting, 8, HARNESS_DEADLINE_MS), "now there is");
    json_decref(ask_on(waiting, "ping"));
    for (int i = 60; i < count; i++)
        close(held[i]);
    cr_assert_eq(worker_stop(w), 0);
    json_decref(ask(b->address, "ping"));
    broker_free(b);
}

/* Processor time of the broker, to see that it waits and does not spin. */
static double processor_seconds(const broker *b)
{
    char path[64], text[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)b->pid);
    FILE *file = fopen(path, "r");
    MUST(file != NULL);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    unsigned long user, system;
    MUST(sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

Test(many_peers, out_of_descriptors_it_does_not_spin)
{
    broker *b = start_with_few_descriptors();
    int held[DESCRIPTORS + 20];
    for (int i = 0; i < DESCRIPTORS + 20; i++) {
        held[i] = raw_connect(b->address);
        cr_assert(raw_send(held[i], RAW_GREETING_REQ, 8));
    }
    cr_assert(wait_until(descriptors_are_used_up, b, HARNESS_DEADLINE_MS), "%d", broker_descriptors(b));
    double before = processor_seconds(b);
    poll(NULL, 0, 1000); /* what is measured is how much it does in a second in which there is nothing to do */
    double used = processor_seconds(b) - before;
    cr_assert_lt(used, 0.3, "%.2f s of processor time in a second", used);
    for (int i = 0; i < DESCRIPTORS + 20; i++)
        close(held[i]);
    broker_free(b);
}

/* ---- Peers that never read ------------------------------------------------------------------------------------------- */

Test(many_peers, a_peer_that_never_reads_its_answers_is_not_read_from_and_costs_no_memory)
{
    enum { GREEDY = 4, MOST = 256 << 20 };
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "breaker_%d", i);
        breaker_get(client, name, NULL);
    }
    worker *w = worker_start(b->address);
    json_decref(ask(b->address, "states"));
    size_t rss_kib = broker_rss_kib(b);
    uint8_t frame[64];
    size_t size = raw_frame(frame, 1, "states", 6);
    int greedy[GREEDY];
    for (int i = 0; i < GREEDY; i++) {
        greedy[i] = raw_greeted(b->address);
        cr_assert_lt(raw_send_until_blocked(greedy[i], frame, size, MOST), MOST, "it is read from without end");
        cr_assert(worker_progresses(w));
    }
    size_t now_kib = broker_rss_kib(b);
    if (!broker_is_sanitized())
        cr_assert_leq(now_kib, rss_kib + GREEDY * 2 * 1024 + MEMORY_GROWTH_MAX_KIB, "%zu KiB, %zu before", now_kib,
                      rss_kib);
    /* One of them begins to read at last: all that was asked is answered in order. */
    for (int i = 0; i < 50; i++) {
        char *answer = raw_reply(greedy[0], NULL, NULL, HARNESS_DEADLINE_MS);
        cr_assert_not_null(answer);
        free(answer);
    }
    for (int i = 0; i < GREEDY; i++)
        close(greedy[i]);
    cr_assert(worker_progresses(w));
    cr_assert_eq(worker_stop(w), 0);
    cbm_close(client);
    broker_free(b);
}

/* Breakers whose states are as long in JSON as they can be: 256 of them are nearly the largest reply. */
static void make_long_states(const char *address)
{
    char name[2 * 124 + 1], text[2 * 256 + 1], command[2 * sizeof text + sizeof name + 64];
    int fd = raw_greeted(address);
    for (size_t at = 0; at + 1 < sizeof text; at += 2)
        memcpy(text + at, "\\\"", 3);
    memcpy(name, text, sizeof name);
    name[sizeof name - 1] = '\0';
    for (int i = 0; i < 256; i++) {
        snprintf(command, sizeof command, "call_report \"%s%03d\" outcome=failure error_text=\"%s\"", name, i, text);
        json_decref(ask_on(fd, command));
        snprintf(command, sizeof command, "force_open \"%s%03d\" reason=\"%s\"", name, i, text);
        json_decref(ask_on(fd, command));
    }
    close(fd);
}

Test(many_peers, that_take_no_replies_cost_no_more_memory_than_all_together_may)
{
    enum { GREEDY = 420, TOGETHER_MAX_KIB = 128 * 1024, OVERHEAD_MAX_KIB = 40 * 1024 };
    broker *b = broker_start_unlimited();
    /* A sanitized broker is slow: that many would keep it busy for minutes. */
    int count = broker_is_sanitized() ? GREEDY / 10 : GREEDY;
    count_goal before = {b, broker_descriptors(b)};
    make_long_states(b->address);
    worker *w = worker_start(b->address);
    size_t rss_kib = broker_rss_kib(b);
    uint8_t frame[64];
    size_t size = raw_frame(frame, 1, "states limit=256", 16);
    int greedy[GREEDY];
    for (int i = 0; i < count; i++) {
        greedy[i] = raw_greeted(b->address);
        cr_assert(raw_send(greedy[i], frame, size));
    }
    cr_assert(worker_progresses(w));
    /* Who asks now, and takes what comes, is served. */
    json_t *answer = ask(b->address, "ping");
    cr_assert(json_is_true(json_object_get(answer, "success")));
    json_decref(answer);
    if (!broker_is_sanitized())
        cr_assert_leq(broker_rss_kib(b), rss_kib + TOGETHER_MAX_KIB + OVERHEAD_MAX_KIB, "%zu KiB, %zu before",
                      broker_rss_kib(b), rss_kib);
    for (int i = 0; i < count; i++)
        close(greedy[i]);
    cr_assert_eq(worker_stop(w), 0);
    cr_assert(wait_until(descriptors_are_back, &before, HARNESS_DEADLINE_MS), "%d", broker_descriptors(b));
    broker_free(b);
}

Test(many_peers, requests_that_never_end_cost_their_memory_only_while_their_peers_stay)
{
    enum { PEERS = 100, ROUNDS = 6, BODY = 64 * 1024 };
    broker *b = broker_start_unlimited();
    worker *w = worker_start(b->address);
    static uint8_t body[BODY], frame[BODY + 13];
    size_t size = raw_frame(frame, 1, body, BODY), after_first_kib = 0;
    count_goal before = {b, broker_descriptors(b)};
    for (int round = 0; round < ROUNDS; round++) {
        int held[PEERS];
        for (int i = 0; i < PEERS; i++) {
            held[i] = raw_greeted(b->address);
            cr_assert(raw_send(held[i], frame, size - 1));
        }
        cr_assert(worker_progresses(w));
        for (int i = 0; i < PEERS; i++)
            close(held[i]);
        cr_assert(wait_until(descriptors_are_back, &before, HARNESS_DEADLINE_MS), "%d", broker_descriptors(b));
        if (round == 0)
            after_first_kib = broker_rss_kib(b);
    }
    if (!broker_is_sanitized())
        cr_assert_leq(broker_rss_kib(b), after_first_kib + MEMORY_GROWTH_MAX_KIB, "%zu KiB, %zu after the first round",
                      broker_rss_kib(b), after_first_kib);
    cr_assert_eq(worker_stop(w), 0);
    broker_free(b);
}

/*
 * What a permit and its success cost on a healthy breaker: cbm_call_begin + cbm_call_report(CBM_SUCCESS) by one thread, two threads
 * of one client and two processes; untimed, and timed as a window wants it; with few breakers in the broker and with many. Beside
 * them, in the same arrangements, the floor (floor.h), and the two readings of the clock that every timed call needs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "broker.h"
#include "crew.h"
#include "figures.h"
#include "floor.h"
#include "placement.h"
#include "rounds.h"

#define FEW 10
#define MANY 65000
#define MANY_QUICK 1000

typedef struct arrangement {
    const char *name;
    bench_crew_kind kind;
    int workers;
} arrangement;

static const arrangement arrangements[] = {
    {"one_thread", BENCH_THREADS, 1}, {"two_threads", BENCH_THREADS, 2}, {"two_processes", BENCH_PROCESSES, 2}};
#define ARRANGEMENTS (sizeof(arrangements) / sizeof(arrangements[0]))

typedef struct host {
    const char *name;
    bench_broker broker;
    cbm_client *client; /* shared by the threads of this process */
} host;

static host hosts[] = {{.name = "few"}, {.name = "many"}};
#define HOSTS (sizeof(hosts) / sizeof(hosts[0]))

static bench_floor *floors;

/* What one measurement is about. */
typedef struct subject {
    const host *at; /* NULL: no breaker, what there is at the least: the floor, or the clock if `timed` */
    bool timed;
    bool quick;
} subject;

typedef struct caller {
    const subject *about;
    cbm_client *client; /* its own; NULL: that of the host */
    cbm_breaker *breaker;
    int index;
    long calls;
    uint64_t refused;
} caller;

static void call_floor(void *own, long calls)
{
    const caller *c = own;
    uint64_t seen = 0;

    for (long i = 0; i < calls; i++) {
        seen += bench_floor_begin(floors);
        bench_floor_report(floors, c->index);
    }
    /* Nobody stores there, and the compiler cannot know it. */
    if (seen)
        abort();
}

static void read_clock(void *own, long calls)
{
    struct timespec now;

    (void)own;
    for (long i = 0; i < 2 * calls; i++)
        if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
            abort();
}

static void call_breaker(void *own, long calls)
{
    caller *c = own;
    cbm_permit permit;

    for (long i = 0; i < calls; i++) {
        if (cbm_call_begin(c->breaker, &permit) != 0 || cbm_call_report(&permit, CBM_SUCCESS) != 0)
            c->refused++;
    }
}

static bench_batch *calls_of(const subject *about)
{
    if (about->at)
        return call_breaker;
    return about->timed ? read_clock : call_floor;
}

static void finish(void *own)
{
    caller *c = own;

    cbm_close(c->client);
    free(c);
}

static void *prepare(void *context, int index, bench_crew_kind kind)
{
    const subject *about = context;
    caller *c = calloc(1, sizeof(*c));
    cbm_policy policy = CBM_POLICY_INIT;
    cbm_client *client;

    if (!c)
        return NULL;
    bench_place_worker(index);
    c->about = about;
    c->index = index;
    if (!about->at) {
        c->calls = bench_calls_a_batch(calls_of(about), c, about->quick);
        return c;
    }
    if (kind == BENCH_PROCESSES)
        c->client = bench_open(about->at->broker.address, 0);
    client = kind == BENCH_PROCESSES ? c->client : about->at->client;
    policy.rule = about->timed ? CBM_RULE_COUNT_WINDOW : CBM_RULE_CONSECUTIVE;
    c->breaker = client ? bench_get(client, about->timed ? "timed" : "untimed", &policy) : NULL;
    if (!c->breaker) {
        finish(c);
        return NULL;
    }
    c->calls = bench_calls_a_batch(calls_of(about), c, about->quick);
    return c;
}

static bool work(void *own, double figures[BENCH_CREW_FIGURES])
{
    caller *c = own;

    figures[0] = bench_call_ns(calls_of(c->about), c, c->calls, c->about->quick);
    if (c->refused)
        return bench_complain("calls on a healthy breaker were refused");
    return true;
}

static bool measure(const arrangement *in, const subject *about, const char *what, const char *where)
{
    static const bench_crew_task task = {prepare, work, finish};
    double figures[BENCH_CREW_MAX][BENCH_CREW_FIGURES];
    double sum_ns = 0;

    if (!bench_crew_run(in->kind, in->workers, &task, (void *)about, figures))
        return false;
    for (int i = 0; i < in->workers; i++)
        sum_ns += figures[i][0];
    bench_figure(sum_ns / in->workers, "ns", "call.%s.%s%s", in->name, what, where);
    return true;
}

static bool measure_all(const bench_options *options)
{
    char where[16];

    for (size_t i = 0; i < ARRANGEMENTS; i++) {
        subject floor = {.quick = options->quick}, clock = {.timed = true, .quick = options->quick};
        if (!measure(&arrangements[i], &floor, "floor", "") || !measure(&arrangements[i], &clock, "clock", ""))
            return false;
        for (size_t j = 0; j < HOSTS; j++) {
            subject untimed = {&hosts[j], false, options->quick}, timed = {&hosts[j], true, options->quick};
            snprintf(where, sizeof(where), ".%s", hosts[j].name);
            if (!measure(&arrangements[i], &untimed, "untimed", where) ||
                !measure(&arrangements[i], &timed, "timed", where))
                return false;
        }
    }
    return true;
}

static bool set_up(const bench_options *options)
{
    const int counts[HOSTS] = {FEW, options->quick ? MANY_QUICK : MANY};

    floors = mmap(NULL, sizeof(*floors), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (floors == MAP_FAILED)
        return false;
    for (size_t i = 0; i < HOSTS; i++) {
        /* Two of them are the ones that are called, the last to come. */
        if (!bench_broker_start(&hosts[i].broker, options->cbmd) ||
            !bench_fill(hosts[i].broker.address, counts[i] - 2) ||
            !(hosts[i].client = bench_open(hosts[i].broker.address, 0)))
            return false;
    }
    return true;
}

static void tear_down(void)
{
    for (size_t i = 0; i < HOSTS; i++) {
        cbm_close(hosts[i].client);
        bench_broker_stop(&hosts[i].broker);
    }
}

int main(int argc, char **argv)
{
    static const bench_question question = {set_up, measure_all, tear_down};

    return bench_run(argc, argv, &question);
}

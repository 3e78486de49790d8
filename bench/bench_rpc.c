/*
 * What a synchronous request costs: cbm_call_begin and cbm_call_report by message against cbmd, and the very same client against
 * peers that only answer with cbmd's recorded bytes (libnng's REP with contexts, a one-thread epoll loop); and a breaker in Redis,
 * a script a step. Latency is that of a report, throughput that of begins and reports together, over all clients.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "crew.h"
#include "figures.h"
#include "peers.h"
#include "placement.h"
#include "process.h"
#include "rounds.h"

#define WARM_UP 100
#define MEASURE_NS INT64_C(120000000)
#define QUICK_NS INT64_C(2000000)
#define REPORTS_MAX 65536

static bench_peer peers[BENCH_PEERS];

typedef struct subject {
    bench_peer_kind kind;
    bench_placement placement;
    bool quick;
} subject;

typedef struct caller {
    const subject *about;
    cbm_client *client;
    cbm_breaker *breaker;
    bench_redis *redis;
    double *latencies;
} caller;

/* A permit and its report; the report's time. Negative: failed. */
static double call_once(caller *c)
{
    cbm_permit permit;
    int64_t before;

#ifdef CBM_BENCH_REDIS
    if (c->redis) {
        if (!bench_redis_begin(c->redis))
            return -1;
        before = bench_now_ns();
        return bench_redis_report(c->redis, true) ? (double)(bench_now_ns() - before) : -1;
    }
#endif
    if (cbm_call_begin(c->breaker, &permit) != 0)
        return -1;
    before = bench_now_ns();
    return cbm_call_report(&permit, CBM_SUCCESS) == 0 ? (double)(bench_now_ns() - before) : -1;
}

static void finish(void *own)
{
    caller *c = own;

    cbm_close(c->client);
#ifdef CBM_BENCH_REDIS
    bench_redis_close(c->redis);
#endif
    free(c->latencies);
    free(c);
}

static bool connect_to(caller *c)
{
    const bench_peer *peer = &peers[c->about->kind];
    char address[160];

#ifdef CBM_BENCH_REDIS
    if (c->about->kind == BENCH_REDIS)
        return (c->redis = bench_redis_connect(peer->path)) != NULL;
#endif
    snprintf(address, sizeof(address), "ipc://%s", peer->path);
    c->client = bench_open(address, CBM_OPEN_NO_SHM);
    c->breaker = c->client ? bench_get(c->client, "bench", NULL) : NULL;
    return c->breaker != NULL;
}

static void *prepare(void *context, int index, bench_crew_kind kind)
{
    caller *c = calloc(1, sizeof(*c));
    bool good;

    (void)index;
    (void)kind;
    if (!c)
        return NULL;
    c->about = context;
    bench_place_client(c->about->placement);
    c->latencies = malloc(REPORTS_MAX * sizeof(*c->latencies));
    good = c->latencies && connect_to(c);
    for (int i = 0; good && i < WARM_UP; i++)
        good = call_once(c) >= 0;
    if (good)
        return c;
    finish(c);
    return NULL;
}

/* figures: when it began and ended, how many calls it made, the median of its reports. */
static bool work(void *own, double figures[BENCH_CREW_FIGURES])
{
    caller *c = own;
    int64_t begun = bench_now_ns(), enough_ns = c->about->quick ? QUICK_NS : MEASURE_NS;
    size_t count = 0;

    do {
        double took_ns = call_once(c);
        if (took_ns < 0)
            return bench_complain("a request");
        c->latencies[count++] = took_ns;
    } while (count < REPORTS_MAX && bench_now_ns() - begun < enough_ns);
    figures[0] = (double)begun;
    figures[1] = (double)bench_now_ns();
    figures[2] = (double)count;
    figures[3] = bench_median(c->latencies, count);
    return true;
}

static bool measure(const subject *about, int clients, const char *where)
{
    static const bench_crew_task task = {prepare, work, finish};
    static double figures[BENCH_CREW_MAX][BENCH_CREW_FIGURES];
    double begun, ended, calls = 0, medians[BENCH_CREW_MAX];
    const bench_peer *peer = &peers[about->kind];
    int64_t used_ns = bench_processor_ns(peer->pid);

    if (!bench_crew_run(BENCH_PROCESSES, clients, &task, (void *)about, figures)) {
        fprintf(stderr, "bench: a client of %s failed\n", peer->name);
        return false;
    }
    used_ns = bench_processor_ns(peer->pid) - used_ns;
    begun = figures[0][0];
    ended = figures[0][1];
    for (int i = 0; i < clients; i++) {
        begun = figures[i][0] < begun ? figures[i][0] : begun;
        ended = figures[i][1] > ended ? figures[i][1] : ended;
        calls += figures[i][2];
        medians[i] = figures[i][3];
    }
    bench_figure(bench_median(medians, (size_t)clients) / 1000, "us", "rpc.%d.%s.%s.latency", clients, where,
                 peer->name);
    bench_figure(2 * calls / (ended - begun) * 1e6, "k/s", "rpc.%d.%s.%s.rate", clients, where, peer->name);
    bench_figure((double)used_ns / (2 * (calls + clients * WARM_UP)) / 1000, "us", "rpc.%d.%s.%s.processor", clients,
                 where, peer->name);
    return true;
}

static bool measure_peers(const bench_options *options, int clients, bench_placement placement, const char *where)
{
    static int first; /* nobody is always the first */
    int begin = first++;

    if (!bench_placement_possible(placement))
        return true;
    for (int i = 0; i < BENCH_PEERS; i++)
        if (peers[i].pid > 0)
            bench_place_server(peers[i].pid, placement);
    for (int i = 0; i < BENCH_PEERS; i++) {
        subject about = {(bench_peer_kind)((begin + i) % BENCH_PEERS), placement, options->quick};
        if (peers[about.kind].pid > 0 && !measure(&about, clients, where))
            return false;
    }
    return true;
}

/* --only 8,64: those numbers of clients. */
static bool wanted(const bench_options *options, int clients)
{
    for (const char *at = options->only; at && *at; at += *at == ',') {
        char *end;
        long number = strtol(at, &end, 10);
        if (end == at)
            return false;
        if (number == clients)
            return true;
        at = end;
    }
    return !options->only;
}

/* One client in every placement: which one a host gives is chance there. Several fill the processors anyway. */
static bool measure_all(const bench_options *options)
{
    static const int clients[] = {1, 2, 8, 64};

    if (wanted(options, 1) &&
        (!measure_peers(options, 1, BENCH_APART, "apart") || !measure_peers(options, 1, BENCH_TOGETHER, "together")))
        return false;
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
        if (wanted(options, clients[i]) && !measure_peers(options, clients[i], BENCH_ANYWHERE, "anywhere"))
            return false;
    return true;
}

static bool set_up(const bench_options *options)
{
    return bench_peers_start(peers, options->cbmd);
}

static void tear_down(void)
{
    bench_peers_stop(peers);
}

int main(int argc, char **argv)
{
    static const bench_question question = {set_up, measure_all, tear_down};

    return bench_run(argc, argv, &question);
}

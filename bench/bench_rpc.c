/*
 * What a synchronous report costs: cbm_call_report against cbmd, and the very same client against peers that only answer
 * with cbmd's recorded bytes (libnng's REP, a one-thread epoll loop), and a Redis GET. Rounds are interleaved, so that a
 * machine that gets slower gets slower for all; what is printed are medians over the rounds of the ratios within a round.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cbm.h"
#include "figures.h"
#include "peers.h"
#include "placement.h"

#define CLIENTS_MAX 64
#define ROUNDS_MAX 100
#define WARM_UP 200

/* Shared by the benchmark and its client processes. */
typedef struct stage {
    pthread_barrier_t start;
    int failed;
    int64_t begun_ns[CLIENTS_MAX];
    int64_t ended_ns[CLIENTS_MAX];
    double latency_ns[CLIENTS_MAX]; /* median of a client's reports */
} stage;

typedef struct bench_options {
    int rounds;
    int operations;
    const char *cbmd;
    const char *json;
    const char *clients;
} bench_options;

static double *latencies;

static int client_failed(const bench_peer *peer)
{
    fprintf(stderr, "bench: %s: %s\n", peer->title, cbm_last_message());
    return -1;
}

static int client_sp(stage *shared, int index, const bench_peer *peer, int operations)
{
    cbm_open_options open_options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit permit;
    char address[160];
    int count = 0;

    snprintf(address, sizeof(address), "ipc://%s", peer->path);
    open_options.when_away = CBM_FAIL_CLOSED;
    open_options.call_timeout_ms = 5000;
    open_options.flags = CBM_OPEN_NO_SHM;
    if (cbm_open(&client, address, &open_options) != 0 || cbm_get(client, "bench", NULL, &breaker) != 0)
        return client_failed(peer);
    for (int i = -WARM_UP; i < operations; i++) {
        int64_t before, after;
        if (i == 0) {
            pthread_barrier_wait(&shared->start);
            shared->begun_ns[index] = bench_now_ns();
        }
        if (cbm_call_begin(breaker, &permit) != 0)
            return client_failed(peer);
        before = bench_now_ns();
        if (cbm_call_report(&permit, CBM_SUCCESS) != 0)
            return client_failed(peer);
        after = bench_now_ns();
        if (i >= 0)
            latencies[count++] = (double)(after - before);
    }
    shared->ended_ns[index] = bench_now_ns();
    shared->latency_ns[index] = bench_median(latencies, (size_t)count);
    cbm_close(client);
    return 0;
}

#ifdef CBM_BENCH_REDIS
/* Two requests a turn as above, so that the totals compare. */
static int client_redis(stage *shared, int index, const bench_peer *peer, int operations)
{
    bench_redis *redis = bench_redis_connect(peer->path);
    int count = 0;

    if (!redis)
        return -1;
    for (int i = -WARM_UP; i < operations; i++) {
        int64_t before;
        if (i == 0) {
            pthread_barrier_wait(&shared->start);
            shared->begun_ns[index] = bench_now_ns();
        }
        if (!bench_redis_get(redis))
            return -1;
        before = bench_now_ns();
        if (!bench_redis_get(redis))
            return -1;
        if (i >= 0)
            latencies[count++] = (double)(bench_now_ns() - before);
    }
    shared->ended_ns[index] = bench_now_ns();
    shared->latency_ns[index] = bench_median(latencies, (size_t)count);
    bench_redis_close(redis);
    return 0;
}
#endif

static int client_run(stage *shared, int index, bench_peer_kind kind, const bench_peer *peer, int operations)
{
#ifdef CBM_BENCH_REDIS
    if (kind == BENCH_REDIS)
        return client_redis(shared, index, peer, operations);
#endif
    (void)kind;
    return client_sp(shared, index, peer, operations);
}

/* One round with one peer: nanoseconds of a report (one client), nanoseconds a request over all clients (more). -1: failed. */
static double round_of(stage *shared, bench_peer_kind kind, const bench_peer *peer, int clients, int operations,
                       bench_placement placement)
{
    pthread_barrierattr_t attributes;
    pid_t children[CLIENTS_MAX];
    int64_t begun = INT64_MAX, ended = 0;

    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->start, &attributes, (unsigned)clients);
    shared->failed = 0;
    for (int i = 0; i < clients; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            bench_place_client(placement);
            _exit(client_run(shared, i, kind, peer, operations) == 0 ? 0 : 1);
        }
    }
    for (int i = 0; i < clients; i++) {
        int status = 1;
        if (children[i] < 0 || waitpid(children[i], &status, 0) < 0 || status != 0)
            shared->failed = 1;
        begun = shared->begun_ns[i] < begun ? shared->begun_ns[i] : begun;
        ended = shared->ended_ns[i] > ended ? shared->ended_ns[i] : ended;
    }
    pthread_barrier_destroy(&shared->start);
    if (shared->failed)
        return -1;
    return clients == 1 ? shared->latency_ns[0] : (double)(ended - begun) / ((double)clients * operations * 2);
}

static const char *placement_text(int clients, bench_placement placement)
{
    if (clients > 1)
        return "";
    switch (placement) {
    case BENCH_APART: return ", client and server on different processors";
    case BENCH_TOGETHER: return ", client and server on one processor";
    default: return ", on whatever processor";
    }
}

static int measure(stage *shared, bench_peer peers[BENCH_PEERS], int clients, bench_placement placement,
                   const bench_options *options, FILE *json)
{
    static double figures[BENCH_PEERS][ROUNDS_MAX], ratios[ROUNDS_MAX];
    int operations = options->operations / clients > 100 ? options->operations / clients : 100;
    char name[160];

    for (int i = 0; i < BENCH_PEERS; i++)
        if (peers[i].pid > 0)
            bench_place_server(peers[i].pid, placement);
    for (int round = 0; round < options->rounds; round++) {
        for (int i = 0; i < BENCH_PEERS; i++) {
            int kind = (i + round) % BENCH_PEERS; /* nobody is always first */
            if (peers[kind].pid <= 0)
                continue;
            figures[kind][round] =
                round_of(shared, (bench_peer_kind)kind, &peers[kind], clients, operations, placement);
            if (figures[kind][round] < 0) {
                fprintf(stderr, "bench: a client of %s failed\n", peers[kind].title);
                return -1;
            }
        }
    }
    printf("\n%d client%s, %s%s\n", clients, clients == 1 ? "" : "s",
           clients == 1 ? "cbm_call_report, us a round trip" : "us a request over all clients",
           placement_text(clients, placement));
    printf("  %-12s %10s   %s\n", "peer", "us", "cbmd takes so many times as long (low to high over the rounds)");
    for (int kind = 0; kind < BENCH_PEERS; kind++) {
        double copy[ROUNDS_MAX], median, ratio;
        if (peers[kind].pid <= 0)
            continue;
        for (int round = 0; round < options->rounds; round++) {
            copy[round] = figures[kind][round];
            ratios[round] = figures[BENCH_CBMD][round] / figures[kind][round];
        }
        median = bench_median(copy, (size_t)options->rounds);
        ratio = bench_median(ratios, (size_t)options->rounds);
        printf("  %-12s %10.2f   %.2f (%.2f to %.2f)\n", peers[kind].title, median / 1000, ratio, ratios[0],
               ratios[options->rounds - 1]);
        snprintf(name, sizeof(name), "%d clients%s: %s", clients, placement_text(clients, placement),
                 peers[kind].title);
        bench_json_figure(json, name, median, "ns", copy[0], copy[options->rounds - 1]);
        snprintf(name, sizeof(name), "%d clients%s: cbmd / %s", clients, placement_text(clients, placement),
                 peers[kind].title);
        bench_json_figure(json, name, ratio, "ratio", ratios[0], ratios[options->rounds - 1]);
    }
    return 0;
}

/* One client in every placement: which one a host gives is chance there. Several fill the processors anyway. */
static int measure_all(stage *shared, bench_peer peers[BENCH_PEERS], int clients, const bench_options *options,
                       FILE *json)
{
    static const bench_placement placements[] = {BENCH_APART, BENCH_TOGETHER};

    for (size_t i = 0; clients == 1 && i < sizeof(placements) / sizeof(placements[0]); i++)
        if (bench_placement_possible(placements[i]) &&
            measure(shared, peers, clients, placements[i], options, json) != 0)
            return -1;
    return measure(shared, peers, clients, BENCH_ANYWHERE, options, json);
}

static int parse(int argc, char **argv, bench_options *options)
{
    static const struct option known[] = {
        {"rounds", required_argument, NULL, 'r'},  {"operations", required_argument, NULL, 'n'},
        {"clients", required_argument, NULL, 'c'}, {"json", required_argument, NULL, 'j'},
        {"cbmd", required_argument, NULL, 'b'},    {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'r': options->rounds = atoi(optarg); break;
        case 'n': options->operations = atoi(optarg); break;
        case 'c': options->clients = optarg; break;
        case 'j': options->json = optarg; break;
        case 'b': options->cbmd = optarg; break;
        default:
            fprintf(
                stderr,
                "usage: bench_rpc [--rounds N] [--operations N] [--clients 1,2,8,64] [--json FILE] [--cbmd PATH]\n");
            return -1;
        }
    }
    return options->rounds < 1 || options->rounds > ROUNDS_MAX || options->operations < 100 ? -1 : 0;
}

int main(int argc, char **argv)
{
    bench_options options = {.rounds = 20, .operations = 4000, .clients = "1,2,8,64", .cbmd = CBM_BENCH_CBMD};
    bench_peer peers[BENCH_PEERS] = {0};
    stage *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FILE *json = NULL;
    int status = 1;

    if (parse(argc, argv, &options) != 0)
        return 2;
    latencies = calloc((size_t)options.operations, sizeof(*latencies));
    if (shared == MAP_FAILED || !latencies || (options.json && !(json = fopen(options.json, "w")))) {
        perror("bench");
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    bench_json_open(json, "rpc");
    if (bench_peers_start(peers, options.cbmd) != 0)
        goto out;
    for (const char *at = options.clients; *at;) {
        char *end;
        long clients = strtol(at, &end, 10);
        if (end == at || clients < 1 || clients > CLIENTS_MAX ||
            measure_all(shared, peers, (int)clients, &options, json) != 0)
            goto out;
        at = *end == ',' ? end + 1 : end;
    }
    status = 0;
out:
    bench_json_close(json);
    if (json)
        fclose(json);
    bench_peers_stop(peers);
    free(latencies);
    return status;
}

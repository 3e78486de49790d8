#include "peers.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "canned.h"
#include "figures.h"
#include "process.h"
#include "unix_socket.h"

#define START_TIMEOUT_NS INT64_C(5000000000)

static bench_broker broker; /* its directory holds the sockets of all */

/* A peer that speaks SP is greeted in full: a libnng 1.5 listener may never accept again after a greeting broken off. */
static bool answers(const char *path, bool sp)
{
    int fd = sp ? bench_sp_connect(path) : bench_unix_connect(path);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool wait_for(bench_peer *peer, bool sp)
{
    int64_t end = bench_now_ns() + START_TIMEOUT_NS;

    while (!answers(peer->path, sp)) {
        if (waitpid(peer->pid, NULL, WNOHANG) == peer->pid || bench_now_ns() > end) {
            peer->pid = 0;
            return false;
        }
        poll(NULL, 0, 5);
    }
    return true;
}

static bool start_cbmd(bench_peer *peer, const char *cbmd)
{
    if (!bench_broker_start(&broker, cbmd))
        return false;
    strcpy(peer->path, broker.path);
    peer->pid = broker.pid;
    return bench_canned_record(peer->path) == 0;
}

static bool start_function(bench_peer *peer, int (*serve)(const char *))
{
    snprintf(peer->path, sizeof(peer->path), "%s/%s", broker.directory, peer->name);
    if ((peer->pid = bench_fork()) == 0) {
        serve(peer->path);
        _exit(1);
    }
    return peer->pid > 0 && wait_for(peer, true);
}

#ifdef CBM_BENCH_REDIS
static bool start_redis(bench_peer *peer)
{
    static const char *const servers[] = {"redis-server", "valkey-server"};

    snprintf(peer->path, sizeof(peer->path), "%s/%s", broker.directory, peer->name);
    if ((peer->pid = bench_fork()) == 0) {
        for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++)
            execlp(servers[i], servers[i], "--port", "0", "--unixsocket", peer->path, "--save", "", "--appendonly",
                   "no", "--loglevel", "warning", "--dir", broker.directory, "--logfile", "/dev/null", (char *)NULL);
        _exit(127);
    }
    return peer->pid > 0 && wait_for(peer, false);
}
#endif

bool bench_peers_start(bench_peer peers[BENCH_PEERS], const char *cbmd)
{
    static const char *const names[BENCH_PEERS] = {"cbmd", "rep", "echo", "redis"};

    for (int i = 0; i < BENCH_PEERS; i++)
        peers[i] = (bench_peer){.name = names[i]};
    if (!start_cbmd(&peers[BENCH_CBMD], cbmd) || !start_function(&peers[BENCH_REP], bench_rep_serve) ||
        !start_function(&peers[BENCH_ECHO], bench_echo_serve)) {
        fprintf(stderr, "bench: the peers did not start\n");
        return false;
    }
#ifdef CBM_BENCH_REDIS
    if (!start_redis(&peers[BENCH_REDIS]))
        printf("skipped Redis: neither redis-server nor valkey-server starts here\n");
#else
    printf("skipped Redis: built without hiredis\n");
#endif
    return true;
}

void bench_peers_stop(bench_peer peers[BENCH_PEERS])
{
    for (int i = 0; i < BENCH_PEERS; i++) {
        if (i != BENCH_CBMD && peers[i].pid > 0)
            bench_end(peers[i].pid, SIGKILL);
        peers[i].pid = 0;
    }
    bench_broker_stop(&broker);
}

#include "peers.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "canned.h"
#include "figures.h"
#include "unix_socket.h"

#define START_TIMEOUT_NS INT64_C(5000000000)

static char directory[64];

/* The child dies with the benchmark, whatever ends it. */
static pid_t fork_peer(void)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

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
    char url[160];

    snprintf(url, sizeof(url), "ipc://%s", peer->path);
    if ((peer->pid = fork_peer()) == 0) {
        execl(cbmd, cbmd, "--listen", url, "--rate-limit", "0", "--log-level", "error", "--no-store",
              (char *)NULL);
        _exit(127);
    }
    return peer->pid > 0 && wait_for(peer, true);
}

static bool start_function(bench_peer *peer, int (*serve)(const char *))
{
    if ((peer->pid = fork_peer()) == 0) {
        serve(peer->path);
        _exit(1);
    }
    return peer->pid > 0 && wait_for(peer, true);
}

static bool start_redis(bench_peer *peer)
{
    static const char *const servers[] = {"redis-server", "valkey-server"};

    if ((peer->pid = fork_peer()) == 0) {
        for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++)
            execlp(servers[i], servers[i], "--port", "0", "--unixsocket", peer->path, "--save", "", "--appendonly",
                   "no", "--loglevel", "warning", "--dir", directory, "--logfile", "/dev/null", (char *)NULL);
        _exit(127);
    }
    return peer->pid > 0 && wait_for(peer, false);
}

int bench_peers_start(bench_peer peers[BENCH_PEERS], const char *cbmd)
{
    static const char *const titles[BENCH_PEERS] = {"cbmd", "libnng REP", "epoll echo", "Redis GET"};

    strcpy(directory, "/tmp/cbm-bench-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    for (int i = 0; i < BENCH_PEERS; i++) {
        peers[i] = (bench_peer){.title = titles[i]};
        snprintf(peers[i].path, sizeof(peers[i].path), "%s/%d.sock", directory, i);
    }
    if (!start_cbmd(&peers[BENCH_CBMD], cbmd) || bench_canned_record(peers[BENCH_CBMD].path) != 0) {
        fprintf(stderr, "bench: %s does not answer\n", cbmd);
        return -1;
    }
    if (!start_function(&peers[BENCH_REP], bench_rep_serve) || !start_function(&peers[BENCH_ECHO], bench_echo_serve)) {
        fprintf(stderr, "bench: the peers did not start\n");
        return -1;
    }
#ifdef CBM_BENCH_REDIS
    if (!start_redis(&peers[BENCH_REDIS]))
        fprintf(stderr, "bench: no redis-server or valkey-server here: skipped\n");
#else
    (void)start_redis;
    fprintf(stderr, "bench: built without hiredis: Redis skipped\n");
#endif
    return 0;
}

void bench_peers_stop(bench_peer peers[BENCH_PEERS])
{
    char command[128];

    for (int i = 0; i < BENCH_PEERS; i++) {
        if (peers[i].pid <= 0)
            continue;
        kill(peers[i].pid, i == BENCH_CBMD ? SIGTERM : SIGKILL);
        waitpid(peers[i].pid, NULL, 0);
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    if (directory[0] && system(command) != 0)
        fprintf(stderr, "bench: %s remains\n", directory);
}

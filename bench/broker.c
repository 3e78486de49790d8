#include "broker.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "figures.h"
#include "process.h"

#define START_TIMEOUT_NS INT64_C(10000000000)
#define FILLERS 4

bool bench_complain(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, cbm_last_message());
    return false;
}

/* Its socket is there before it serves. */
static bool wait_for(bench_broker *broker)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    int64_t end = bench_now_ns() + START_TIMEOUT_NS;
    cbm_client *client;

    options.when_away = CBM_FAIL_CLOSED;
    options.flags = CBM_OPEN_NO_SHM;
    while (cbm_open(&client, broker->address, &options) != 0) {
        if (waitpid(broker->pid, NULL, WNOHANG) == broker->pid) {
            broker->pid = 0;
            return false;
        }
        if (bench_now_ns() > end)
            return false;
        poll(NULL, 0, 5);
    }
    cbm_close(client);
    return true;
}

bool bench_broker_start(bench_broker *broker, const char *cbmd)
{
    *broker = (bench_broker){.directory = "/tmp/cbm-bench-XXXXXX"};
    if (!mkdtemp(broker->directory)) {
        perror("bench: mkdtemp");
        broker->directory[0] = '\0';
        return false;
    }
    snprintf(broker->path, sizeof(broker->path), "%s/cbm.sock", broker->directory);
    snprintf(broker->address, sizeof(broker->address), "ipc://%s", broker->path);
    if ((broker->pid = bench_fork()) == 0) {
        execl(cbmd, cbmd, "--listen", broker->address, "--rate-limit", "0", "--max-requests", "0",
              "--max-breakers-per-user", "65536", "--max-clients", "16384", "--no-store", "--log-level", "error",
              (char *)NULL);
        _exit(127);
    }
    if (broker->pid > 0 && wait_for(broker))
        return true;
    fprintf(stderr, "bench: %s does not answer\n", cbmd);
    return false;
}

void bench_broker_stop(bench_broker *broker)
{
    char command[128];

    if (broker->pid > 0)
        bench_end(broker->pid, SIGTERM);
    broker->pid = 0;
    if (!broker->directory[0])
        return;
    snprintf(command, sizeof(command), "rm -rf '%s'", broker->directory);
    if (system(command) != 0)
        fprintf(stderr, "bench: %s remains\n", broker->directory);
}

cbm_client *bench_open(const char *address, unsigned flags)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;

    options.when_away = CBM_FAIL_CLOSED;
    options.call_timeout_ms = 10000;
    options.timeout_ms = 10000;
    options.flags = flags;
    if (cbm_open(&client, address, &options) != 0)
        bench_complain(address);
    return client;
}

cbm_breaker *bench_get(cbm_client *client, const char *name, const cbm_policy *policy)
{
    cbm_breaker *breaker;

    if (cbm_get(client, name, policy, &breaker) != 0)
        bench_complain(name);
    return breaker;
}

static bool fill_part(const char *address, int first, int count)
{
    cbm_client *client = bench_open(address, CBM_OPEN_NO_SHM);
    cbm_breaker *breaker;
    char name[32];

    for (int i = first; client && i < count; i += FILLERS) {
        snprintf(name, sizeof(name), "dependency-%05d", i);
        if (cbm_get(client, name, NULL, &breaker) != 0)
            return bench_complain(name);
    }
    cbm_close(client);
    return client != NULL;
}

bool bench_fill(const char *address, int count)
{
    pid_t children[FILLERS];
    bool good = true;

    for (int i = 0; i < FILLERS; i++) {
        children[i] = bench_fork();
        if (children[i] == 0)
            _exit(fill_part(address, i, count) ? 0 : 1);
    }
    for (int i = 0; i < FILLERS; i++)
        good = bench_end(children[i], 0) && good;
    return good;
}

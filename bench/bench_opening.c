/*
 * How soon all know that a breaker is open: from the deciding failure's cbm_call_report to the first refusal in another process, which
 * begins calls without a pause on a processor of its own; beside that report's own round trip.
 */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broker.h"
#include "figures.h"
#include "placement.h"
#include "process.h"
#include "rounds.h"

#define OPENINGS 200
#define OPENINGS_QUICK 5
#define NAME "opening"
#define PATIENCE_NS INT64_C(10000000000)

typedef struct stage {
    _Atomic int permitted; /* the last opening before which the watcher was let through */
    _Atomic int wanted;    /* the opening that it is to watch */
    _Atomic int refused;   /* the last one that it has seen */
    _Atomic int64_t refused_ns;
} stage;

static bench_broker broker;
static cbm_client *client;
static cbm_breaker *breaker;
static stage *shared;
static pid_t watcher;

/* Where there is one processor they have to share it. */
static void pause_if_alone(bool alone)
{
    if (alone)
        sched_yield();
}

static void await(const _Atomic int *number, int value, bool alone)
{
    while (atomic_load(number) < value)
        pause_if_alone(alone);
}

static int watch(bool alone)
{
    cbm_client *own;
    cbm_breaker *watched;
    cbm_permit permit;

    if (!alone)
        bench_place_worker(1);
    own = bench_open(broker.address, 0);
    watched = own ? bench_get(own, NAME, NULL) : NULL;
    if (!watched)
        return 1;
    for (int opening = 1;; opening++) {
        await(&shared->wanted, opening, alone);
        while (cbm_call_begin(watched, &permit) != 0)
            pause_if_alone(alone);
        atomic_store(&shared->permitted, opening);
        while (cbm_call_begin(watched, &permit) == 0)
            pause_if_alone(alone);
        atomic_store(&shared->refused_ns, bench_now_ns());
        atomic_store(&shared->refused, opening);
    }
}

/* False: nothing came of it in time. */
static bool await_watcher(const _Atomic int *number, int value)
{
    int64_t end = bench_now_ns() + PATIENCE_NS;

    while (atomic_load(number) < value) {
        if (bench_now_ns() > end)
            return false;
        sched_yield();
    }
    return true;
}

static bool open_once(double *seen_ns, double *report_ns)
{
    static int opening;
    cbm_permit permit;
    int64_t begun, ended;

    if (cbm_reset(client, NAME) != 0)
        return bench_complain("reset");
    atomic_store(&shared->wanted, ++opening);
    if (!await_watcher(&shared->permitted, opening) || cbm_call_begin(breaker, &permit) != 0)
        return bench_complain("a call on the closed breaker");
    begun = bench_now_ns();
    if (cbm_call_report(&permit, CBM_FAILURE) != 0)
        return bench_complain("the failure");
    ended = bench_now_ns();
    if (!await_watcher(&shared->refused, opening))
        return bench_complain("the refusal");
    *seen_ns = (double)(atomic_load(&shared->refused_ns) - begun);
    *report_ns = (double)(ended - begun);
    return true;
}

static bool measure(const bench_options *options)
{
    double seen_ns[OPENINGS], report_ns[OPENINGS];
    int count = options->quick ? OPENINGS_QUICK : OPENINGS, before = 0;

    for (int i = 0; i < count; i++) {
        if (!open_once(&seen_ns[i], &report_ns[i]))
            return false;
        before += seen_ns[i] <= report_ns[i];
    }
    bench_figure(bench_median(seen_ns, (size_t)count) / 1000, "us", "opening.seen");
    bench_figure(bench_median(report_ns, (size_t)count) / 1000, "us", "opening.report");
    bench_figure(100.0 * before / count, "%", "opening.before_return");
    return true;
}

static bool set_up(const bench_options *options)
{
    bool alone = !bench_placement_possible(BENCH_APART);
    cbm_policy policy = CBM_POLICY_INIT;

    policy.failure_threshold = 1;
    policy.timeout_ms = 3600000;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !bench_broker_start(&broker, options->cbmd))
        return false;
    /* A watcher leaves no time to others on its processor, so the broker is where the reporter is. */
    if (!alone) {
        bench_place_server(broker.pid, BENCH_TOGETHER);
        bench_place_worker(0);
    }
    client = bench_open(broker.address, 0);
    breaker = client ? bench_get(client, NAME, &policy) : NULL;
    if (!breaker)
        return false;
    watcher = bench_fork();
    if (watcher == 0)
        _exit(watch(alone));
    return watcher > 0;
}

static void tear_down(void)
{
    bench_end(watcher, SIGKILL);
    cbm_close(client);
    bench_broker_stop(&broker);
}

int main(int argc, char **argv)
{
    static const bench_question question = {set_up, measure, tear_down};

    return bench_run(argc, argv, &question);
}

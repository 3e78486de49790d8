/*
 * What a broker takes when nothing happens: its memory (RssAnon + RssShmem) idle and with 1,000 attached clients that hold ten breakers
 * each, and how often it wakes up.
 */
#include <poll.h>
#include <stdio.h>

#include "broker.h"
#include "figures.h"
#include "holders.h"
#include "process.h"
#include "rounds.h"

#define CLIENTS 1000
#define CLIENTS_QUICK 20
#define SETTLE_MS 2500 /* a connection is looked at again after two seconds */
#define SETTLE_MAX_MS 10000
#define WATCH_MS 5000
#define QUICK_MS 50

/* What is left of starting, or of the last client, is not what an idle broker does: its threads come to rest first. */
static int64_t await_rest(const bench_options *options, pid_t pid)
{
    int pause_ms = options->quick ? QUICK_MS : SETTLE_MS;
    int64_t before = -1, now = bench_switches(pid);

    for (int waited_ms = 0; before != now && waited_ms < SETTLE_MAX_MS; waited_ms += pause_ms) {
        poll(NULL, 0, pause_ms);
        before = now;
        now = bench_switches(pid);
    }
    return now;
}

static bool watch(const bench_options *options, pid_t pid, const char *when)
{
    int watch_ms = options->quick ? QUICK_MS : WATCH_MS;
    int64_t before = await_rest(options, pid), after;

    poll(NULL, 0, watch_ms);
    after = bench_switches(pid);
    bench_figure((double)(after - before) * 1000 / watch_ms, "/s", "broker.wakeups.%s", when);
    return before >= 0 && after >= 0;
}

static bool measure_clients(const bench_options *options, const bench_broker *broker, double idle_kib)
{
    bench_holders_plan plan = {.address = broker->address,
                               .clients = options->quick ? CLIENTS_QUICK : CLIENTS,
                               .lanes = 1,
                               .breakers = BENCH_HOLDER_BREAKERS};
    static char names[BENCH_HOLDER_BREAKERS][16];
    bench_holders holders;
    double kib;
    bool good;

    for (int i = 0; i < BENCH_HOLDER_BREAKERS; i++) {
        snprintf(names[i], sizeof(names[i]), "breaker-%d", i);
        plan.held[i] = (bench_held){names[i], plan.clients};
    }
    good =
        bench_holders_start(&holders, &plan) && bench_holders_call(&holders) && watch(options, broker->pid, "attached");
    kib = bench_memory_kib(broker->pid);
    bench_figure(kib, "KiB", "broker.memory.attached");
    bench_figure((kib - idle_kib) / plan.clients, "KiB", "broker.memory.client");
    bench_holders_stop(&holders);
    return good && kib > 0;
}

static bool measure(const bench_options *options)
{
    bench_broker broker;
    double idle_kib = -1;
    bool good = bench_broker_start(&broker, options->cbmd) && watch(options, broker.pid, "idle");

    if (good) {
        idle_kib = bench_memory_kib(broker.pid);
        bench_figure(idle_kib, "KiB", "broker.memory.idle");
        good = idle_kib > 0 && measure_clients(options, &broker, idle_kib);
    }
    bench_broker_stop(&broker);
    return good;
}

static bool set_up(const bench_options *options)
{
    (void)options;
    bench_raise_descriptor_limit();
    return true;
}

static void tear_down(void)
{
}

int main(int argc, char **argv)
{
    static const bench_question question = {set_up, measure, tear_down};

    return bench_run(argc, argv, &question);
}

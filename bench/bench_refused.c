/* What it costs to be refused: cbm_call_begin on an OPEN breaker, by one thread, two threads and two processes. */
#include <stdlib.h>

#include "broker.h"
#include "crew.h"
#include "figures.h"
#include "placement.h"
#include "rounds.h"

static bench_broker broker;
static cbm_client *shared;

typedef struct caller {
    cbm_client *client; /* its own; NULL: the shared one */
    cbm_breaker *breaker;
    long calls;
    bool quick;
    uint64_t permitted;
} caller;

static void begin(void *own, long calls)
{
    caller *c = own;
    cbm_permit permit;

    for (long i = 0; i < calls; i++)
        c->permitted += cbm_call_begin(c->breaker, &permit) != CBM_E_OPEN;
}

static void finish(void *own)
{
    caller *c = own;

    cbm_close(c->client);
    free(c);
}

static void *prepare(void *context, int index, bench_crew_kind kind)
{
    const bench_options *options = context;
    caller *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    bench_place_worker(index);
    if (kind == BENCH_PROCESSES)
        c->client = bench_open(broker.address, 0);
    if (kind == BENCH_THREADS || c->client)
        c->breaker = bench_get(kind == BENCH_THREADS ? shared : c->client, "open", NULL);
    if (!c->breaker) {
        finish(c);
        return NULL;
    }
    c->quick = options->quick;
    c->calls = bench_calls_a_batch(begin, c, c->quick);
    return c;
}

static bool work(void *own, double figures[BENCH_CREW_FIGURES])
{
    caller *c = own;

    figures[0] = bench_call_ns(begin, c, c->calls, c->quick);
    return c->permitted ? bench_complain("calls on an open breaker were not refused") : true;
}

static bool measure(const bench_options *options, const char *name, bench_crew_kind kind, int workers)
{
    static const bench_crew_task task = {prepare, work, finish};
    double figures[BENCH_CREW_MAX][BENCH_CREW_FIGURES];
    double sum_ns = 0;

    if (!bench_crew_run(kind, workers, &task, (void *)options, figures))
        return false;
    for (int i = 0; i < workers; i++)
        sum_ns += figures[i][0];
    bench_figure(sum_ns / workers, "ns", "refused.%s", name);
    return true;
}

static bool measure_all(const bench_options *options)
{
    return measure(options, "one_thread", BENCH_THREADS, 1) && measure(options, "two_threads", BENCH_THREADS, 2) &&
           measure(options, "two_processes", BENCH_PROCESSES, 2);
}

static bool set_up(const bench_options *options)
{
    cbm_policy policy = CBM_POLICY_INIT;
    cbm_breaker *breaker;

    policy.failure_threshold = 1;
    policy.timeout_ms = 3600000;
    if (!bench_broker_start(&broker, options->cbmd) || !(shared = bench_open(broker.address, 0)) ||
        !(breaker = bench_get(shared, "open", &policy)))
        return false;
    return cbm_report(breaker, CBM_FAILURE, NULL) == 0 || bench_complain("the failure that opens");
}

static void tear_down(void)
{
    cbm_close(shared);
    bench_broker_stop(&broker);
}

int main(int argc, char **argv)
{
    static const bench_question question = {set_up, measure_all, tear_down};

    return bench_run(argc, argv, &question);
}

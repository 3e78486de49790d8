/*
 * What a failure costs when many processes hold its breaker: the broker first looks at what each of them has counted since. The round
 * trip of cbm_call_report(CBM_FAILURE) with no holder, 1, 32 and 1,000, of one lane (thread) each, and 1,000 of 8 lanes each; all
 * of them have called between two failures.
 */
#include "broker.h"
#include "figures.h"
#include "holders.h"
#include "process.h"
#include "rounds.h"

#define FAILURES 15
#define FAILURES_QUICK 2
#define HOLDERS 1000
#define HOLDERS_QUICK 40
#define NOBODY "nobody"
#define LANES 8
#define MANY_LANES "lanes"

static const bench_held held[] = {{"one", 1}, {"some", 32}, {"all", HOLDERS}};
#define HELD ((int)(sizeof(held) / sizeof(held[0])))

static bench_broker broker;
static cbm_client *client;
static bench_holders one_lane, many_lanes;
static cbm_policy policy = CBM_POLICY_INIT;

static bool measure(const bench_options *options, const char *name, const char *figure, bench_holders *holders)
{
    double took_ns[FAILURES];
    int count = options->quick ? FAILURES_QUICK : FAILURES;
    cbm_breaker *breaker = bench_get(client, name, &policy);
    cbm_permit permit;

    if (!breaker)
        return false;
    for (int i = 0; i < count; i++) {
        int64_t begun;
        if (holders && !bench_holders_call(holders))
            return false;
        if (cbm_call_begin(breaker, &permit) != 0)
            return bench_complain(name);
        begun = bench_now_ns();
        if (cbm_call_report(&permit, CBM_FAILURE) != 0)
            return bench_complain(name);
        took_ns[i] = (double)(bench_now_ns() - begun);
    }
    bench_figure(bench_median(took_ns, (size_t)count) / 1000, "us", "failure.%s", figure);
    return true;
}

static bool measure_all(const bench_options *options)
{
    return measure(options, NOBODY, "holders_0", &one_lane) && measure(options, "one", "holders_1", &one_lane) &&
           measure(options, "some", "holders_32", &one_lane) && measure(options, "all", "holders_1000", &one_lane) &&
           measure(options, MANY_LANES, "holders_1000_lanes_8", &many_lanes);
}

static bool set_up(const bench_options *options)
{
    bench_holders_plan plan = {.clients = options->quick ? HOLDERS_QUICK : HOLDERS, .policy = &policy};

    policy.failure_threshold = 1000000;
    bench_raise_descriptor_limit();
    if (!bench_broker_start(&broker, options->cbmd))
        return false;
    plan.address = broker.address;
    plan.lanes = 1;
    plan.breakers = HELD;
    for (int i = 0; i < HELD; i++)
        plan.held[i] = held[i];
    if (!bench_holders_start(&one_lane, &plan))
        return false;
    plan.lanes = LANES;
    plan.breakers = 1;
    plan.held[0] = (bench_held){MANY_LANES, HOLDERS};
    if (!bench_holders_start(&many_lanes, &plan))
        return false;
    /* The reporter itself holds nothing, so that the numbers are those of the others. */
    client = bench_open(broker.address, CBM_OPEN_NO_SHM);
    return client != NULL;
}

static void tear_down(void)
{
    cbm_close(client);
    bench_holders_stop(&one_lane);
    bench_holders_stop(&many_lanes);
    bench_broker_stop(&broker);
}

int main(int argc, char **argv)
{
    static const bench_question question = {set_up, measure_all, tear_down};

    return bench_run(argc, argv, &question);
}

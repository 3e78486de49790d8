/*
 * The pure manager in one process: what begin + report of a success costs by slot, with few breakers and with as many as fit, and
 * what a breaker and its window weigh.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbm_core.h"
#include "figures.h"
#include "rounds.h"

#define MANY 65000
#define FEW 10
#define CALLS 300000
#define CALLS_QUICK 1000

typedef struct place {
    uint32_t slot, slot_generation;
} place;

/* A manager that lives as long as the benchmark, and where time stands for it. */
typedef struct subject {
    cbm_core_manager *manager;
    int count; /* of its breakers */
    place places[MANY];
    uint32_t order[CALLS]; /* in which they are called */
    int64_t now_ns;
} subject;

static subject few = {.count = FEW, .now_ns = 1}, many = {.count = MANY, .now_ns = 1};
static double bytes_of_many; /* a breaker */

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void set_policy(cbm_core_policy_request *request, const char *name, const char *value)
{
    int field = cbm_core_policy_find(name, strlen(name));

    if (field < 0 || cbm_core_policy_parse(request, field, value, strlen(value)) != 0)
        exit(1);
}

static cbm_core_manager *fill(int count, const cbm_core_policy_request *policy, place *places, double *bytes)
{
    cbm_core_options options = {.no_rate_limit = true};
    cbm_core_manager *manager;
    cbm_core_get_result *result = malloc(sizeof(*result));
    size_t before;

    if (!result || cbm_core_manager_new(&manager, &options) != 0)
        exit(1);
    before = heap_bytes();
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "dependency-%05d", i);
        if (cbm_core_get(manager, name, policy, 1, result) != 0)
            exit(1);
        if (places)
            places[i] = (place){result->status.slot, result->status.slot_generation};
    }
    *bytes = (double)(heap_bytes() - before) / count;
    free(result);
    return manager;
}

static double call_ns(subject *about, int calls)
{
    static const cbm_core_report success = {.outcome = CBM_CORE_SUCCESS, .duration_ns = -1};
    cbm_core_decision decision;
    int64_t begun = bench_now_ns();

    for (int i = 0; i < calls; i++) {
        const place *at = &about->places[about->order[i]];
        about->now_ns += 100;
        if (cbm_core_call_begin_at(about->manager, at->slot, at->slot_generation, NULL, about->now_ns, &decision) !=
                0 ||
            cbm_core_call_report_at(about->manager, &decision.permit, &success, about->now_ns, NULL) != 0)
            exit(1);
    }
    return (double)(bench_now_ns() - begun) / calls;
}

static void pick_at_random(subject *about)
{
    uint64_t x = 88172645463325252u;

    for (int i = 0; i < CALLS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        about->order[i] = (uint32_t)(x % (uint64_t)about->count);
    }
}

/* A breaker under `failures` with the default threshold: the ring of its failures' times is taken with it, so that none is ever lost. */
static double bytes_under_failures(void)
{
    cbm_core_policy_request policy = {0};
    double bytes;

    set_policy(&policy, "rule", "failures");
    set_policy(&policy, "window_s", "3600");
    cbm_core_manager_free(fill(1000, &policy, NULL, &bytes));
    return bytes;
}

/* What a window adds to a breaker once it is full, a unit (outcome or second) of it. */
static double window_bytes(const char *rule, const char *size_field, int size)
{
    static const cbm_core_report failure = {.outcome = CBM_CORE_FAILURE, .duration_ns = -1};
    enum { BREAKERS = 200 };
    cbm_core_options options = {.no_rate_limit = true};
    double bytes[2];

    /* Two sizes of window, filled alike: what failures themselves allocate falls out of the difference. */
    for (int large = 0; large < 2; large++) {
        cbm_core_policy_request policy = {0};
        cbm_core_get_result *result = malloc(sizeof(*result));
        cbm_core_manager *manager;
        char number[16];
        size_t before;
        snprintf(number, sizeof(number), "%d", large ? size : size / 2);
        set_policy(&policy, "rule", rule);
        set_policy(&policy, size_field, number);
        set_policy(&policy, "minimum_calls", "1000000");
        set_policy(&policy, "slow_call_rate", "100");
        if (!result || cbm_core_manager_new(&manager, &options) != 0)
            exit(1);
        before = heap_bytes();
        for (int i = 0; i < BREAKERS; i++) {
            char name[32];
            snprintf(name, sizeof(name), "dependency-%05d", i);
            if (cbm_core_get(manager, name, &policy, 1, result) != 0)
                exit(1);
            for (int j = 0; j < 8; j++) {
                cbm_core_permit permit = {.slot = result->status.slot,
                                          .slot_generation = result->status.slot_generation,
                                          .epoch = result->status.epoch};
                cbm_core_call_report_at(manager, &permit, &failure, 1 + j * CBM_CORE_NS_PER_S, NULL);
            }
        }
        bytes[large] = (double)(heap_bytes() - before) / BREAKERS;
        cbm_core_manager_free(manager);
        free(result);
    }
    return (bytes[1] - bytes[0]) / (size - size / 2);
}

static bool measure(const bench_options *options)
{
    int calls = options->quick ? CALLS_QUICK : CALLS;

    bench_figure(call_ns(&few, calls), "ns", "core.call.few");
    bench_figure(call_ns(&many, calls), "ns", "core.call.many");
    bench_figure(bytes_of_many, "bytes", "core.breaker");
    bench_figure(bytes_under_failures(), "bytes", "core.breaker_failures");
    bench_figure(window_bytes("count_window", "window_size", 20000) * 8, "bits", "core.count_window_outcome");
    bench_figure(window_bytes("time_window", "window_s", 3600), "bytes", "core.time_window_second");
    return true;
}

static bool set_up(const bench_options *options)
{
    double unused;

    (void)options;
    few.manager = fill(few.count, NULL, few.places, &unused);
    many.manager = fill(many.count, NULL, many.places, &bytes_of_many);
    pick_at_random(&few);
    pick_at_random(&many);
    return true;
}

static void tear_down(void)
{
    cbm_core_manager_free(few.manager);
    cbm_core_manager_free(many.manager);
}

int main(int argc, char **argv)
{
    static const bench_question question = {set_up, measure, tear_down};

    return bench_run(argc, argv, &question);
}

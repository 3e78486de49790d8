/*
 * The pure manager in one process: what begin + report of a success costs by slot and by name, with few breakers and with as
 * many as fit, and what a breaker and its window weigh.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbm_core.h"
#include "figures.h"

#define MANY 65000
#define FEW 10
#define CALLS 1000000
#define ROUNDS 11

typedef struct place {
    uint32_t slot, slot_generation;
} place;

static place places[MANY];
static uint32_t order[CALLS];

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

static cbm_core_manager *fill(int count, const cbm_core_policy_request *policy, double *bytes_each)
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
        places[i] = (place){result->status.slot, result->status.slot_generation};
    }
    *bytes_each = (double)(heap_bytes() - before) / count;
    free(result);
    return manager;
}

static double calls_by_slot(cbm_core_manager *manager, int64_t *now)
{
    static const cbm_core_report success = {.outcome = CBM_CORE_SUCCESS, .duration_ns = -1};
    cbm_core_decision decision;
    int64_t begun = bench_now_ns();

    for (int i = 0; i < CALLS; i++) {
        const place *at = &places[order[i]];
        *now += 100;
        if (cbm_core_call_begin_at(manager, at->slot, at->slot_generation, NULL, *now, &decision) != 0 ||
            cbm_core_call_report_at(manager, &decision.permit, &success, *now, NULL) != 0)
            exit(1);
    }
    return (double)(bench_now_ns() - begun) / CALLS;
}

static void pick_at_random(int count)
{
    uint64_t x = 88172645463325252u;

    for (int i = 0; i < CALLS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        order[i] = (uint32_t)(x % (uint64_t)count);
    }
}

static double measure(int count, double *bytes_each)
{
    double figures[ROUNDS];
    int64_t now = 1;
    cbm_core_manager *manager = fill(count, NULL, bytes_each);

    pick_at_random(count);
    calls_by_slot(manager, &now);
    for (int i = 0; i < ROUNDS; i++)
        figures[i] = calls_by_slot(manager, &now);
    cbm_core_manager_free(manager);
    return bench_median(figures, ROUNDS);
}

/* A breaker under `failures` with the default threshold: the ring of its failures' times is taken with it, so that none is ever lost. */
static double bytes_under_failures(void)
{
    cbm_core_policy_request policy = {0};
    double bytes;

    set_policy(&policy, "rule", "failures");
    set_policy(&policy, "window_s", "3600");
    cbm_core_manager_free(fill(1000, &policy, &bytes));
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

int main(int argc, char **argv)
{
    FILE *json = argc == 3 && strcmp(argv[1], "--json") == 0 ? fopen(argv[2], "w") : NULL;
    double bytes_few, bytes_many, few, many, bits, second, failures;

    few = measure(FEW, &bytes_few);
    many = measure(MANY, &bytes_many);
    bits = window_bytes("count_window", "window_size", 20000) * 8;
    second = window_bytes("time_window", "window_s", 3600);
    failures = bytes_under_failures();
    printf("\nlibcbm-core, begin + report of a success by slot, one thread\n");
    printf("  %6d breakers  %6.1f ns\n  %6d breakers  %6.1f ns at random (%.2f times)\n", FEW, few, MANY, many,
           many / few);
    printf("  a breaker before its first failure: %.0f bytes of heap, name and table included\n", bytes_many);
    printf("  the same under `failures`, with room for the times of 5: %.0f bytes\n", failures);
    printf("  more under count_window: %.2f bits an outcome; under time_window: %.1f bytes a second\n", bits, second);
    bench_json_open(json, "core");
    bench_json_figure(json, "begin+report, 10 breakers", few, "ns", few, few);
    bench_json_figure(json, "begin+report, 65000 breakers at random", many, "ns", many, many);
    bench_json_figure(json, "bytes a breaker", bytes_many, "bytes", bytes_many, bytes_many);
    bench_json_figure(json, "bytes a breaker, failures", failures, "bytes", failures, failures);
    bench_json_figure(json, "bits an outcome, count_window", bits, "bits", bits, bits);
    bench_json_figure(json, "bytes a second, time_window", second, "bytes", second, second);
    bench_json_close(json);
    if (json)
        fclose(json);
    return 0;
}

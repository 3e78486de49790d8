/*
 * Every sequence of events up to a depth, from CLOSED, OPEN and HALF_OPEN, under small policies: libcbm-core and the
 * model of it must agree after each event. CBM_TEST_DEPTH makes it shallower or deeper.
 */
#include "pair.h"
#include "random.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const step alphabet[] = {
    {.kind = STEP_BEGIN, .ms = -1, .holder = 1},
    {.kind = STEP_REPORT, .which = OLDEST, .outcome = CBM_CORE_SUCCESS, .duration_ms = -1},
    {.kind = STEP_REPORT, .which = OLDEST, .outcome = CBM_CORE_FAILURE, .duration_ms = -1},
    {.kind = STEP_REPORT, .which = NEWEST, .outcome = CBM_CORE_SUCCESS, .duration_ms = -1},
    {.kind = STEP_REPORT, .which = NEWEST, .outcome = CBM_CORE_TIMEOUT, .duration_ms = -1},
    {.kind = STEP_REPORT, .which = NEWEST, .outcome = CBM_CORE_IGNORED, .duration_ms = -1},
    {.kind = STEP_REPORT, .which = OLDEST, .outcome = CBM_CORE_FAILURE, .duration_ms = -1, .open_for_ms = 30},
    {.kind = STEP_OBSERVE, .outcome = CBM_CORE_FAILURE, .duration_ms = -1},
    {.kind = STEP_ADVANCE_TO, .offset_ns = -1},
    {.kind = STEP_ADVANCE_TO, .offset_ns = 0},
    {.kind = STEP_ADVANCE_TO, .offset_ns = 1},
    {.kind = STEP_RESET},
    {.kind = STEP_CONTROL, .control = CBM_CORE_CONTROL_FORCE_OPEN, .ms = 15},
    {.kind = STEP_CONTROL, .control = CBM_CORE_CONTROL_ENABLE},
    {.kind = STEP_HOLDER_GONE, .holder = 1},
};
enum { LETTERS = sizeof(alphabet) / sizeof(alphabet[0]), DEEPEST = 12 };

static cbm_core_policy_request policy_of(const char *words)
{
    cbm_core_policy_request request = {0};
    for (const char *at = words; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " "), name = strcspn(at, "=");
        int row = cbm_core_policy_find(at, name);
        cr_assert_eq(cbm_core_policy_parse(&request, row, at + name + 1, length - name - 1), 0, "%s", at);
        at += length;
    }
    return request;
}

static void go_to(const step *steps, int count)
{
    for (int i = 0; i < count; i++) {
        cr_assert(pair_do(&steps[i]));
    }
}

/* An odometer over the alphabet. A letter that does nothing here ends all sequences that begin with it. */
static void walk_all(const char *policy, const step *prefix, int prefix_count)
{
    int depth = (int)random_test_number("DEPTH", 5);
    cr_assert(depth >= 1 && depth <= DEEPEST);
    cbm_core_policy_request request = policy_of(policy);
    int letters[DEEPEST] = {0};
    pair_init();
    uint64_t sequences = 0;
    for (int changed = 0; changed >= 0; sequences++) {
        pair_start(&request, 500 * CBM_CORE_NS_PER_MS, policy);
        go_to(prefix, prefix_count);
        int at = 0;
        while (at < depth && pair_do(&alphabet[letters[at]])) {
            at++;
        }
        changed = at < depth ? at : depth - 1;
        while (changed >= 0 && ++letters[changed] == LETTERS) {
            changed--;
        }
        if (changed >= 0) {
            memset(&letters[changed + 1], 0, sizeof(letters[0]) * (size_t)(depth - 1 - changed));
        }
    }
    pair_deinit();
    fprintf(stderr, "%s: %llu sequences of %d events\n", policy, (unsigned long long)sequences, depth);
}

static const step to_open[] = {{.kind = STEP_OBSERVE, .outcome = CBM_CORE_FAILURE, .duration_ms = -1},
                               {.kind = STEP_OBSERVE, .outcome = CBM_CORE_FAILURE, .duration_ms = -1}};
static const step to_metrics_only[] = {{.kind = STEP_CONTROL, .control = CBM_CORE_CONTROL_METRICS_ONLY, .ms = 40},
                                       {.kind = STEP_BEGIN, .ms = -1, .holder = 1}};
static const step to_half_open[] = {{.kind = STEP_OBSERVE, .outcome = CBM_CORE_FAILURE, .duration_ms = -1},
                                    {.kind = STEP_OBSERVE, .outcome = CBM_CORE_FAILURE, .duration_ms = -1},
                                    {.kind = STEP_ADVANCE_TO, .offset_ns = 0},
                                    {.kind = STEP_BEGIN, .ms = -1, .holder = 1}};

#define PROBES "timeout_ms=20 success_threshold=2 half_open_calls=2 permit_lease_ms=8 expire_after_s=0 "

Test(every_sequence, from_closed_under_consecutive)
{
    walk_all("failure_threshold=2 " PROBES, NULL, 0);
}

Test(every_sequence, from_closed_with_failures_spaced)
{
    walk_all("failure_threshold=2 failure_spacing_ms=5 " PROBES, NULL, 0);
}

Test(every_sequence, from_closed_under_failures)
{
    walk_all("rule=failures failure_threshold=2 window_s=1 " PROBES, NULL, 0);
}

Test(every_sequence, from_open_with_backoff)
{
    walk_all("failure_threshold=2 backoff_multiplier=2 timeout_max_ms=60 " PROBES, to_open, 2);
}

Test(every_sequence, from_half_open_with_leases)
{
    walk_all("failure_threshold=2 backoff_multiplier=2 timeout_max_ms=60 " PROBES, to_half_open, 4);
}

Test(every_sequence, from_half_open_with_a_maximum_wait)
{
    walk_all("failure_threshold=2 half_open_max_wait_ms=12 " PROBES, to_half_open, 4);
}

Test(every_sequence, from_half_open_where_abandoned_permits_are_released)
{
    walk_all("rule=failures failure_threshold=2 window_s=1 on_abandon=release half_open_max_wait_ms=8 " PROBES,
             to_half_open, 4);
}

Test(every_sequence, from_closed_under_a_time_window)
{
    walk_all("rule=time_window window_s=2 minimum_calls=2 failure_rate=60 timeout_ms=700 half_open_calls=2 "
             "permit_lease_ms=300 expire_after_s=0",
             NULL, 0);
}

Test(every_sequence, from_metrics_only)
{
    walk_all("failure_threshold=2 failure_spacing_ms=5 " PROBES, to_metrics_only, 2);
}

Test(every_sequence, from_half_open_under_a_count_window)
{
    walk_all("rule=count_window window_size=3 minimum_calls=2 failure_rate=60 timeout_ms=20 half_open_calls=3 "
             "permit_lease_ms=8 expire_after_s=0",
             to_half_open, 4);
}

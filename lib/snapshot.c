/* A breaker taken out of its manager whole, and put into another one. */
#include "manager.h"

#include "failure_times.h"
#include "policy.h"
#include "times.h"
#include "transition.h"

#include <stdlib.h>
#include <string.h>

#define COUNTER_MAX (UINT64_C(1) << 62) /* counters and times that are read back add up without overflow */
#define TIME_MAX (INT64_C(1) << 60)     /* some 36 years: what is longer than that is as good as it */
#define EPOCHS_ON 2

_Static_assert(CBM_CORE_DURATION_BUCKETS == CORE_HISTOGRAM_BUCKETS, "as many as are counted");

/* ---- Taking it out -------------------------------------------------------------------------------------------------- */

static void take_rule(const core_breaker *breaker, int64_t now_ns, cbm_core_snapshot *snapshot)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);

    if (policy->rule == CBM_CORE_RULE_CONSECUTIVE) {
        snapshot->in_a_row = breaker->rule.memory.in_a_row;
    } else if (policy->rule == CBM_CORE_RULE_FAILURES) {
        const core_failure_times *times = breaker->rule.memory.times;
        uint32_t skipped = times->count > CBM_CORE_KEPT_FAILURES ? times->count - CBM_CORE_KEPT_FAILURES : 0;

        for (uint32_t i = skipped; i < times->count; i++) {
            int64_t at_ns = times->times[(times->oldest + i) % times->capacity];

            snapshot->failure_ns_ago[snapshot->failure_count++] = now_ns - at_ns;
        }
    }
}

static void take_durations(const core_histogram *durations, cbm_core_snapshot *snapshot)
{
    snapshot->least_duration_ns = -1;
    snapshot->most_duration_ns = -1;
    if (durations != NULL) {
        snapshot->least_duration_ns = durations->least_ns;
        snapshot->most_duration_ns = durations->most_ns;
        memcpy(snapshot->durations, durations->counts, sizeof(durations->counts));
    }
}

static void take_statistics(const core_breaker *breaker, int64_t now_ns, cbm_core_snapshot *snapshot)
{
    core_statistics_fill(&snapshot->statistics, &breaker->rest->counters, breaker->rest->history, NULL);
    snapshot->statistics.successful_calls = breaker->successful_calls;
    snapshot->statistics.total_calls += breaker->successful_calls;
    snapshot->statistics.time_in_state_ns[breaker->state] += core_time_left(now_ns, breaker->rest->state_since_ns);
}

int cbm_core_snapshot_at(const cbm_core_manager *manager, uint32_t slot, int64_t now_ns, cbm_core_snapshot *snapshot)
{
    const core_breaker *breaker =
        slot < manager->registry.slots_made ? core_registry_in_slot(&manager->registry, slot) : NULL;
    const core_breaker_rest *rest;

    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    rest = breaker->rest;
    now_ns = core_time_max(now_ns, manager->now_ns);
    memset(snapshot, 0, sizeof(*snapshot));
    strcpy(snapshot->name, core_breaker_name(breaker));
    snapshot->policy = core_policy_layers_of(breaker->policy)->asked;
    snapshot->state = (cbm_core_state)breaker->state;
    snapshot->remaining_ns =
        rest->state_ends_ns == CBM_CORE_NEVER_NS ? -1 : core_time_left(rest->state_ends_ns, now_ns);
    snapshot->reopenings = rest->reopenings;
    snapshot->opened_failures = rest->opened_failures;
    take_rule(breaker, now_ns, snapshot);
    snapshot->would_open = breaker->would_open;
    snapshot->epoch = breaker->epoch;
    snapshot->slot_generation = breaker->slot_generation;
    if (rest->reason != NULL) {
        strcpy(snapshot->reason, rest->reason);
    }
    snapshot->unused_ns = core_time_left(now_ns, breaker->last_used_ns);
    snapshot->last_failure_ns_ago =
        rest->last_failure_ns == CORE_NEVER_HAPPENED_NS ? -1 : core_time_left(now_ns, rest->last_failure_ns);
    if (rest->history != NULL && rest->history->error_text != NULL) {
        strcpy(snapshot->last_error_text, rest->history->error_text);
    }
    take_statistics(breaker, now_ns, snapshot);
    take_durations(rest->durations, snapshot);
    return CBM_CORE_OK;
}

/* ---- Putting it back ------------------------------------------------------------------------------------------------ */

static int64_t time_within(int64_t time_ns)
{
    return core_time_min(core_time_max(time_ns, 0), TIME_MAX);
}

/* The time at which something happened, before this clock began perhaps. */
static int64_t ago(int64_t now_ns, int64_t ago_ns, int64_t elapsed_ns)
{
    return now_ns - (time_within(ago_ns) + elapsed_ns);
}

static uint64_t counter(uint64_t value)
{
    return value < COUNTER_MAX ? value : COUNTER_MAX;
}

static void put_rule(core_breaker *breaker, const cbm_core_snapshot *snapshot, int64_t elapsed_ns, int64_t now_ns)
{
    const cbm_core_policy *policy = core_breaker_policy(breaker);
    int64_t before_ns = INT64_MIN;

    if (policy->rule == CBM_CORE_RULE_CONSECUTIVE) {
        breaker->rule.memory.in_a_row = snapshot->in_a_row;
        return;
    }
    for (uint32_t i = 0;
         policy->rule == CBM_CORE_RULE_FAILURES && i < snapshot->failure_count && i < CBM_CORE_KEPT_FAILURES; i++) {
        before_ns = core_time_max(before_ns, ago(now_ns, snapshot->failure_ns_ago[i], elapsed_ns));
        core_failure_times_add(breaker->rule.memory.times, before_ns);
    }
}

static void put_counters(core_breaker *breaker, const cbm_core_statistics *statistics)
{
    breaker->successful_calls = counter(statistics->successful_calls);
    breaker->rest->counters = (core_counters){
        .failed = counter(statistics->failed_calls),
        .timeout = counter(statistics->timeout_calls),
        .ignored = counter(statistics->ignored_calls),
        .slow = counter(statistics->slow_calls),
        .rejected = counter(statistics->rejected_calls),
        .half_open_rejected = counter(statistics->half_open_rejected_calls),
        .late = counter(statistics->late_reports),
        .lumped = counter(statistics->lumped_failures),
        .leases_expired = counter(statistics->leases_expired),
        .abandoned = counter(statistics->abandoned),
    };
}

static void put_history(core_history *history, const cbm_core_snapshot *snapshot)
{
    for (int from = 0; from < CBM_CORE_STATES; from++) {
        history->time_in_state_ns[from] = time_within(snapshot->statistics.time_in_state_ns[from]);
        for (int to = 0; to < CBM_CORE_STATES; to++) {
            history->transitions[from][to] = counter(snapshot->statistics.transitions[from][to]);
        }
    }
}

static void put_durations(core_histogram *durations, const cbm_core_snapshot *snapshot)
{
    durations->least_ns = time_within(snapshot->least_duration_ns);
    durations->most_ns = core_time_max(time_within(snapshot->most_duration_ns), durations->least_ns);
    memcpy(durations->counts, snapshot->durations, sizeof(durations->counts));
}

/* What has to be allocated for a breaker besides itself, so that all of it is there or nothing has happened. */
typedef struct core_kept {
    char *reason;
    char *error_text;
    core_history *history;
    core_histogram *durations;
} core_kept;

static void free_kept(core_kept *kept)
{
    free(kept->reason);
    free(kept->error_text);
    free(kept->history);
    free(kept->durations);
}

static char *copy_text(const char *text)
{
    char *copy = malloc(CBM_CORE_TEXT_MAX + 1);

    if (copy != NULL) {
        cbm_core_text_copy(copy, CBM_CORE_TEXT_MAX + 1, text, strnlen(text, CBM_CORE_TEXT_MAX));
    }
    return copy;
}

static int allocate_kept(const cbm_core_snapshot *snapshot, core_kept *kept)
{
    bool has_reason = snapshot->reason[0] != '\0' && core_state_is_manual(snapshot->state);
    bool has_text = snapshot->last_error_text[0] != '\0';
    bool has_durations = snapshot->least_duration_ns >= 0;

    *kept = (core_kept){
        .reason = has_reason ? copy_text(snapshot->reason) : NULL,
        .error_text = has_text ? copy_text(snapshot->last_error_text) : NULL,
        .history = calloc(1, sizeof(core_history)),
        .durations = has_durations ? calloc(1, sizeof(core_histogram)) : NULL,
    };
    if (kept->history != NULL && (kept->reason != NULL) == has_reason && (kept->error_text != NULL) == has_text &&
        (kept->durations != NULL) == has_durations) {
        return CBM_CORE_OK;
    }
    free_kept(kept);
    return CBM_CORE_E_NOMEM;
}

static void put_kept(core_breaker_rest *rest, core_kept *kept, const cbm_core_snapshot *snapshot)
{
    core_set_reason(rest->breaker, kept->reason);
    rest->history = kept->history;
    put_history(rest->history, snapshot);
    rest->history->error_text = kept->error_text;
    rest->history->error_capacity = kept->error_text != NULL ? CBM_CORE_TEXT_MAX + 1 : 0;
    rest->durations = kept->durations;
    if (rest->durations != NULL) {
        put_durations(rest->durations, snapshot);
    }
}

static int64_t end_of_state(const cbm_core_snapshot *snapshot, int64_t elapsed_ns, int64_t now_ns)
{
    bool manual = core_state_is_manual(snapshot->state);

    if ((!manual && snapshot->state != CBM_CORE_OPEN) || (manual && snapshot->remaining_ns < 0)) {
        return CBM_CORE_NEVER_NS;
    }
    return core_time_add(now_ns, core_time_left(time_within(snapshot->remaining_ns), elapsed_ns));
}

static void put_state(core_breaker *breaker, const cbm_core_snapshot *snapshot, int64_t elapsed_ns, int64_t now_ns)
{
    core_breaker_rest *rest = breaker->rest;

    breaker->state = (uint8_t)snapshot->state;
    breaker->epoch = (snapshot->epoch + EPOCHS_ON) & (uint32_t)CBM_CORE_EPOCH_MASK;
    breaker->would_open = snapshot->would_open && snapshot->state == CBM_CORE_METRICS_ONLY;
    rest->state_since_ns = now_ns;
    rest->state_ends_ns = end_of_state(snapshot, elapsed_ns, now_ns);
    rest->frozen_ns = now_ns;
    if (snapshot->state == CBM_CORE_OPEN || snapshot->state == CBM_CORE_HALF_OPEN) {
        rest->reopenings = snapshot->reopenings;
        rest->opened_failures = snapshot->opened_failures;
    }
    breaker->last_used_ns = ago(now_ns, snapshot->unused_ns, elapsed_ns);
    if (snapshot->last_failure_ns_ago >= 0) {
        rest->last_failure_ns = ago(now_ns, snapshot->last_failure_ns_ago, elapsed_ns);
    }
}

/* The policy may make sense with the config file only, or with what that said before: its contradictions are left out as ever. */
static bool is_sensible(const cbm_core_snapshot *snapshot)
{
    return memchr(snapshot->name, '\0', sizeof(snapshot->name)) != NULL && core_manager_is_name(snapshot->name) &&
           (unsigned)snapshot->state < CBM_CORE_STATES && core_policy_is_in_range(&snapshot->policy);
}

int cbm_core_restore(cbm_core_manager *manager, const cbm_core_snapshot *snapshot, int64_t elapsed_ns, int64_t now_ns,
                     uint32_t *slot)
{
    core_breaker *breaker;
    core_kept kept;
    int error;

    if (!is_sensible(snapshot) || core_registry_find(&manager->registry, snapshot->name) != NULL) {
        return CBM_CORE_E_INVALID;
    }
    elapsed_ns = time_within(elapsed_ns);
    now_ns = core_manager_now(manager, now_ns);
    error = allocate_kept(snapshot, &kept);
    if (error != CBM_CORE_OK) {
        return error;
    }
    error = core_manager_create(manager, snapshot->name, &snapshot->policy, now_ns, &breaker);
    if (error != CBM_CORE_OK) {
        free_kept(&kept);
        return error;
    }
    put_state(breaker, snapshot, elapsed_ns, now_ns);
    put_rule(breaker, snapshot, elapsed_ns, now_ns);
    put_counters(breaker, &snapshot->statistics);
    put_kept(breaker->rest, &kept, snapshot);
    core_breaker_schedule(&manager->shared, breaker, now_ns);
    *slot = breaker->slot;
    return CBM_CORE_OK;
}

/* ---- The manager's own counters ------------------------------------------------------------------------------------- */

void cbm_core_totals_get(const cbm_core_manager *manager, cbm_core_totals *totals)
{
    *totals = (cbm_core_totals){
        .operations = manager->total_operations,
        .rate_limited = manager->rate_limited_count,
        .created = manager->created,
        .removed = manager->removed,
    };
}

void cbm_core_totals_set(cbm_core_manager *manager, const cbm_core_totals *totals)
{
    manager->total_operations = counter(totals->operations);
    manager->rate_limited_count = counter(totals->rate_limited);
    manager->created = counter(totals->created);
    manager->removed = counter(totals->removed);
}

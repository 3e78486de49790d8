#include "held_back.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PERMITS_MAX = 16, EPOCHS = 8 };

/* What clients count, as a ledger of one lane. */
typedef struct ledger {
    uint64_t successes[EPOCHS], late, rejected, half_open_rejected;
} ledger;

typedef struct permits {
    cbm_core_permit at_once, held;
} permits;

typedef struct world {
    cbm_core_manager *at_once, *held;
    int64_t now_ns;
    cbm_core_glance board; /* as published last */
    ledger written, taken;
    uint64_t refused_from_board;
    permits out[PERMITS_MAX];
    int permits_count;
    const char *fault; /* what they disagree on; NULL: nothing so far */
} world;

static const char name[] = "a";
uint64_t held_back_pulled, held_back_refused;

static void must(world *w, bool holds, const char *fault)
{
    if (!holds && w->fault == NULL) {
        w->fault = fault;
    }
}

/* ---- The broker's part of the one that holds back ---- */

static void publish(world *w)
{
    must(w, cbm_core_glance_at(w->held, 0, w->now_ns, &w->board) == 0, "glance");
}

static void record_pulled(world *w, uint32_t counter, int64_t at_ns)
{
    uint64_t count = w->written.successes[counter] - w->taken.successes[counter];
    uint32_t behind = (w->board.epoch - counter) % EPOCHS;
    uint32_t epoch = (w->board.epoch - behind) & (uint32_t)CBM_CORE_EPOCH_MASK;
    bool is_due = cbm_core_next_deadline(w->held) <= w->now_ns;
    cbm_core_counts counts = {.operations = count};
    cbm_core_state state;

    if (count == 0) {
        return;
    }
    must(w, cbm_core_successes_record(w->held, 0, w->board.slot_generation, epoch, count, at_ns, &state) == 0,
         "record");
    must(w, state == w->board.state || is_due, "a success that was held back decided something");
    must(w, cbm_core_counts_add(w->held, 0, w->board.slot_generation, &counts) == 0, "operations");
    held_back_pulled += count;
}

static void pull_at(world *w, int64_t at_ns)
{
    cbm_core_counts counts = {
        .late_successes = w->written.late - w->taken.late,
        .rejected = w->written.rejected - w->taken.rejected,
        .half_open_rejected = w->written.half_open_rejected - w->taken.half_open_rejected,
        .operations = w->written.late - w->taken.late,
    };

    cbm_core_glance glance;

    (void)cbm_core_glance_at(w->held, 0, w->now_ns, &glance); /* as a broker looks which epoch it is */
    for (uint32_t counter = 0; counter < EPOCHS; counter++) {
        record_pulled(w, counter, at_ns);
    }
    must(w, cbm_core_counts_add(w->held, 0, w->board.slot_generation, &counts) == 0, "counts");
    w->taken = w->written;
}

static void pull(world *w)
{
    pull_at(w, w->now_ns);
}

static int64_t next_second(int64_t time_ns)
{
    return time_ns - time_ns % CBM_CORE_NS_PER_S + CBM_CORE_NS_PER_S;
}

/* Up to the next moment at which the broker has something to do, but not past `until_ns`. */
static void advance_some(world *w, int64_t until_ns)
{
    int64_t second_ns = next_second(w->now_ns);
    int64_t deadline_ns = cbm_core_next_deadline(w->held);
    int64_t pull_ns = until_ns;
    uint32_t slot;

    w->now_ns = until_ns < second_ns ? until_ns : second_ns;
    w->now_ns = deadline_ns < w->now_ns ? deadline_ns : w->now_ns;
    if (w->now_ns == second_ns) {
        pull_ns = second_ns - 1; /* what stood in the ledger belongs to the second that ended */
        if (w->board.by_seconds) {
            pull_at(w, pull_ns);
        }
    }
    if (cbm_core_next_due(w->held, w->now_ns, &slot)) {
        pull_at(w, pull_ns < w->now_ns ? pull_ns : w->now_ns);
        must(w, !cbm_core_tick(w->held, w->now_ns, 10), "tick");
    }
    publish(w);
}

/* ---- The clients' part ---- */

/* What a begin gets from the board: true with a permit or an error; false: it goes by message. */
static bool begin_from_board(world *w, int *error, cbm_core_permit *permit)
{
    bool refuses = w->now_ns < w->board.retry_at_ns;

    switch (w->board.state) {
    case CBM_CORE_CLOSED:
    case CBM_CORE_DISABLED:
    case CBM_CORE_METRICS_ONLY:
        *permit = (cbm_core_permit){
            .slot_generation = w->board.slot_generation, .epoch = w->board.epoch, .flags = CBM_CORE_PERMIT_UNCOUNTED};
        *error = 0;
        return true;
    case CBM_CORE_OPEN: *error = CBM_CORE_E_OPEN; break;
    case CBM_CORE_FORCED_OPEN: *error = CBM_CORE_E_FORCED_OPEN; break;
    case CBM_CORE_HALF_OPEN:
        refuses = refuses && w->board.full;
        *error = CBM_CORE_E_HALF_OPEN_FULL;
        w->written.half_open_rejected += refuses;
        w->refused_from_board += refuses;
        return refuses;
    }
    w->written.rejected += refuses;
    w->refused_from_board += refuses;
    return refuses;
}

static void begin(world *w, const step *s)
{
    cbm_core_begin how = {.holder = 1 + s->a % 2};
    cbm_core_decision at_once, held;
    int error_at_once = cbm_core_call_begin(w->at_once, name, &how, w->now_ns, &at_once);
    bool by_message = s->b % 8 == 0; /* a client without shared memory */
    int error = 0;

    if (by_message || !begin_from_board(w, &error, &held.permit)) {
        pull(w);
        error = cbm_core_call_begin(w->held, name, &how, w->now_ns, &held);
        publish(w);
    }
    must(w, error == error_at_once, "begin");
    if (error == 0 && w->fault == NULL) {
        must(w, at_once.permit.id == held.permit.id && at_once.permit.epoch == held.permit.epoch, "permit");
        w->out[w->permits_count % PERMITS_MAX] = (permits){at_once.permit, held.permit}; /* some are never reported */
        w->permits_count++;
    }
}

static void report_by_message(world *w, const cbm_core_permit *permit, const cbm_core_report *how)
{
    cbm_core_state state;

    must(w, cbm_core_call_report(w->held, name, permit, how, w->now_ns, &state) == 0, "report");
    publish(w);
    must(w, state == w->board.state, "published");
}

static bool is_slow(const world *w, int64_t duration_ns)
{
    return w->board.slow_call_ns >= 0 && duration_ns > w->board.slow_call_ns;
}

/* A success stays in the ledger where it can. */
static void succeed_held(world *w, const cbm_core_permit *permit, const cbm_core_report *success, bool by_message)
{
    bool current = permit->slot_generation == w->board.slot_generation && permit->epoch == w->board.epoch;

    if (is_slow(w, success->duration_ns)) {
        pull(w);
        by_message = true;
    }
    if (by_message || permit->id != 0 || permit->flags == 0 || (current && !w->board.fast)) {
        report_by_message(w, permit, success);
        return;
    }
    if (current) {
        w->written.successes[permit->epoch % EPOCHS]++;
    } else {
        w->written.late++;
    }
    must(w, cbm_core_durations_add(w->held, 0, w->board.slot_generation, success->duration_ns, 1) == 0, "durations");
}

static int64_t some_duration(uint32_t drawn)
{
    static const int64_t durations_ms[] = {-1, -1, 3, 10, 11, 500};
    int64_t ms = durations_ms[drawn % 6];

    return ms < 0 ? -1 : ms * CBM_CORE_NS_PER_MS;
}

/* Takes one out, the youngest most of the time. */
static bool take_permit(world *w, uint32_t drawn, permits *taken)
{
    int count = w->permits_count < PERMITS_MAX ? w->permits_count : PERMITS_MAX;
    int index = (int)(drawn % (uint32_t)(count > 0 ? count : 1));

    if (count == 0) {
        return false;
    }
    *taken = w->out[index];
    w->out[index] = w->out[count - 1];
    w->permits_count = count - 1;
    return true;
}

static void succeed(world *w, const step *s)
{
    permits taken;
    cbm_core_report success = {.outcome = CBM_CORE_SUCCESS, .duration_ns = some_duration(s->b)};

    if (!take_permit(w, s->a, &taken)) {
        return;
    }
    must(w, cbm_core_call_report(w->at_once, name, &taken.at_once, &success, w->now_ns, NULL) == 0, "report");
    succeed_held(w, &taken.held, &success, s->b / 8 % 8 == 0);
}

static void end_otherwise(world *w, const step *s, bool observed)
{
    permits taken;
    cbm_core_report how = {
        .outcome = (cbm_core_outcome)(observed ? s->a % 4 : 1 + s->b / 16 % 3),
        .duration_ns = some_duration(s->b / 64),
        .open_for_ms = s->b / 1024 % 16 == 0 ? 1 + s->b / 16384 % 8 : 0,
    };
    cbm_core_state state;
    cbm_core_glance before;
    bool decides;

    if (!observed && !take_permit(w, s->a, &taken)) {
        return;
    }
    must(w, cbm_core_call_report(w->at_once, name, observed ? NULL : &taken.at_once, &how, w->now_ns, &state) == 0,
         "report");
    if (how.outcome == CBM_CORE_FAILURE || how.outcome == CBM_CORE_TIMEOUT || is_slow(w, how.duration_ns) ||
        how.open_for_ms > 0) {
        pull(w);
    }
    before = w->board;
    decides = how.open_for_ms > 0 || cbm_core_failure_decides(w->held, 0, before.slot_generation, w->now_ns);
    report_by_message(w, observed ? NULL : &taken.held, &how);
    must(w, state == w->board.state, "the state told to a report");
    must(w, decides || (w->board.epoch == before.epoch && w->board.fast == before.fast),
         "a failure that does not decide");
}

/* ---- Both ---- */

/* All that can be read of the two, after a pull. */
static void compare(world *w)
{
    static cbm_core_status at_once, held;
    cbm_core_stats stats_at_once, stats_held;

    pull(w);
    must(w, cbm_core_state_of(w->at_once, name, w->now_ns, &at_once) == 0, "status");
    must(w, cbm_core_state_of(w->held, name, w->now_ns, &held) == 0, "status");
    publish(w);
    must(w, at_once.failures == held.failures, "failures");
    must(w, at_once.calls == held.calls, "calls in the window");
    must(w, memcmp(&at_once.statistics, &held.statistics, sizeof(held.statistics)) == 0, "statistics");
    must(w, memcmp(&at_once, &held, sizeof(held)) == 0, "status");
    cbm_core_stats_get(w->at_once, w->now_ns, &stats_at_once);
    cbm_core_stats_get(w->held, w->now_ns, &stats_held);
    must(w, stats_at_once.total_operations >= stats_held.total_operations + w->refused_from_board, "operations twice");
}

static void advance(world *w, const step *s)
{
    static const int64_t times_ms[] = {0, 1, 3, 4, 10, 16, 100, 400, 999, 1000, 2500, 5000};
    int64_t to_ns = w->now_ns + times_ms[s->a % 12] * CBM_CORE_NS_PER_MS;

    if (s->b % 4 == 0) {
        to_ns = next_second(w->now_ns) - s->b / 4 % 2;
    }
    do {
        advance_some(w, to_ns);
    } while (w->now_ns < to_ns);
    if (s->b / 8 % 2 == 0) {
        (void)cbm_core_tick(w->at_once, w->now_ns, 10);
    }
}

static void control(world *w, const step *s)
{
    cbm_core_control wanted = (cbm_core_control)(s->a % 4);
    uint32_t for_ms = s->b % 2 ? s->b % 1500 : 0;

    pull(w);
    must(w, cbm_core_control_set(w->at_once, name, wanted, NULL, for_ms, w->now_ns) == 0, "control");
    must(w, cbm_core_control_set(w->held, name, wanted, NULL, for_ms, w->now_ns) == 0, "control");
}

static void configure(world *w, const sequence *q, const step *s)
{
    static const char *const fields[] = {"failure_threshold", "window_size",  "window_s",
                                         "minimum_calls",     "failure_rate", "slow_call_duration_ms"};
    const char *field = fields[s->a % 6];
    cbm_core_policy_request request = {0};

    if (s->kind == OTHER_RULE) {
        request = *q->other_rule;
    } else {
        cbm_core_policy_set_number(&request, cbm_core_policy_find(field, strlen(field)), 1 + s->b % 12);
    }
    pull(w);
    must(w, cbm_core_configure(w->at_once, name, &request, w->now_ns, NULL) == 0, "configure");
    must(w, cbm_core_configure(w->held, name, &request, w->now_ns, NULL) == 0, "configure");
}

static void replace(world *w, const sequence *q)
{
    uint64_t removed;

    pull(w);
    (void)cbm_core_tick(w->at_once, w->now_ns, 10); /* what time has done shows in the epoch of the next one */
    (void)cbm_core_remove(w->at_once, name, w->now_ns, &removed);
    (void)cbm_core_remove(w->held, name, w->now_ns, &removed);
    (void)cbm_core_get(w->at_once, name, q->policy, w->now_ns, NULL);
    (void)cbm_core_get(w->held, name, q->policy, w->now_ns, NULL);
}

static void hand_over(world *w, const step *s)
{
    cbm_core_report late = {
        .outcome = (cbm_core_outcome)(s->a % 4), .duration_ns = -1, .late = true, .count = 1 + s->b % 5};

    must(w, cbm_core_call_report(w->at_once, name, NULL, &late, w->now_ns, NULL) == 0, "late");
    report_by_message(w, NULL, &late);
}

static void take_step(world *w, const sequence *q, const step *s)
{
    switch (s->kind) {
    case BEGIN: begin(w, s); break;
    case SUCCEED: succeed(w, s); break;
    case FAIL: end_otherwise(w, s, false); break;
    case OBSERVE: end_otherwise(w, s, true); break;
    case ADVANCE: advance(w, s); break;
    case READ: compare(w); break;
    case HOLDER_GONE:
        pull(w);
        cbm_core_holder_gone(w->at_once, 1 + s->a % 2, w->now_ns);
        cbm_core_holder_gone(w->held, 1 + s->a % 2, w->now_ns);
        break;
    case CONTROL: control(w, s); break;
    case RESET:
        pull(w);
        must(w, cbm_core_reset(w->at_once, name, w->now_ns) == 0, "reset");
        must(w, cbm_core_reset(w->held, name, w->now_ns) == 0, "reset");
        break;
    case CONFIGURE:
    case OTHER_RULE: configure(w, q, s); break;
    case REPLACE: replace(w, q); break;
    case HAND_OVER: hand_over(w, s); break;
    case KINDS: break;
    }
    publish(w);
}

/* Cheap, after each step: what everybody sees at once. */
static void compare_boards(world *w)
{
    cbm_core_glance at_once;

    must(w, cbm_core_glance_at(w->at_once, 0, w->now_ns, &at_once) == 0, "glance");
    if (!at_once.due) { /* what time has done shows there when somebody asks */
        must(w, at_once.state == w->board.state, "state");
        must(w, at_once.epoch == w->board.epoch, "epoch");
        must(w, at_once.retry_at_ns == w->board.retry_at_ns, "retry_at_ns");
        must(w, at_once.full == w->board.full, "full");
    }
}

const char *held_back_run(const sequence *q)
{
    cbm_core_options options = {
        .no_rate_limit = true, .max_breakers = 1, .first_epoch = q->first_epoch, .seed = q->jitter_seed};
    static world w;

    memset(&w, 0, sizeof(w));
    w.now_ns = 1000 * CBM_CORE_NS_PER_S + 1;
    cr_assert_eq(cbm_core_manager_new(&w.at_once, &options), 0);
    cr_assert_eq(cbm_core_manager_new(&w.held, &options), 0);
    cr_assert_eq(cbm_core_get(w.at_once, name, q->policy, w.now_ns, NULL), 0);
    cr_assert_eq(cbm_core_get(w.held, name, q->policy, w.now_ns, NULL), 0);
    publish(&w);
    for (int i = 0; i < q->count && w.fault == NULL; i++) {
        take_step(&w, q, &q->steps[i]);
        compare_boards(&w);
    }
    if (w.fault == NULL) {
        compare(&w);
    }
    held_back_refused += w.refused_from_board;
    cbm_core_manager_free(w.at_once);
    cbm_core_manager_free(w.held);
    return w.fault;
}

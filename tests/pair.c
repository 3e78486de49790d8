#include "pair.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cbm_core_manager *manager;
static model expected;
static int64_t now_ns = 1000 * CBM_CORE_NS_PER_S;
static uint32_t first_epoch;
static const char *how_to_repeat;

static cbm_core_permit permits[MODEL_MAX];
static bool reported[MODEL_MAX];
static int permits_count;
static step done[MODEL_MAX];
static int done_count;
static cbm_core_event told[MODEL_MAX]; /* transitions */
static int told_count;

static void on_event(void *context, const cbm_core_event *event)
{
    (void)context;
    if (event->type == CBM_CORE_EVENT_TRANSITION && told_count < MODEL_MAX) {
        told[told_count++] = *event;
    }
}

void pair_init(void)
{
    cbm_core_options options = {.no_rate_limit = true, .max_breakers = 4, .seed = 99, .on_event = on_event};
    cr_assert_eq(cbm_core_manager_new(&manager, &options), 0);
}

void pair_deinit(void)
{
    cbm_core_manager_free(manager);
    manager = NULL;
}

int pair_permits(void)
{
    return permits_count;
}

/* ---- telling of a difference ---- */

static void print_step(const step *s)
{
    static const char *const controls[] = {"force_open", "disable", "metrics_only", "enable"};
    const char *outcome = cbm_core_outcome_name(s->outcome);
    switch (s->kind) {
    case STEP_BEGIN: fprintf(stderr, "begin holder=%" PRIu64 " lease_ms=%" PRId64, s->holder, s->ms); break;
    case STEP_REPORT: fprintf(stderr, "report permit=%d %s", s->which, outcome); break;
    case STEP_OBSERVE: fprintf(stderr, "report without a permit %s", outcome); break;
    case STEP_HAND_OVER: fprintf(stderr, "hand over %" PRIu64 " x %s", s->count, outcome); break;
    case STEP_ADVANCE: fprintf(stderr, "advance %" PRId64 " ms", s->ms); break;
    case STEP_ADVANCE_TO: fprintf(stderr, "advance to moment %d %+" PRId64 " ns", s->which, s->offset_ns); break;
    case STEP_RESET: fprintf(stderr, "reset"); break;
    case STEP_CONTROL: fprintf(stderr, "%s for %" PRId64 " ms", controls[s->control], s->ms); break;
    case STEP_HOLDER_GONE: fprintf(stderr, "holder %" PRIu64 " gone", s->holder); break;
    case STEP_TICK: fprintf(stderr, "tick"); break;
    case STEP_CONFIGURE:
        fprintf(stderr, "configure %s=%" PRId64 " steps", cbm_core_policy_table()[s->which].name, s->ms);
        break;
    }
    if (s->kind == STEP_REPORT || s->kind == STEP_OBSERVE) {
        fprintf(stderr, " duration_ms=%" PRId64 " open_for_ms=%" PRIu32, s->duration_ms, s->open_for_ms);
    }
    fputc('\n', stderr);
}

static void differ(const char *what, int64_t model_says, int64_t core_says)
{
    fprintf(stderr, "\n%s\n", how_to_repeat);
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        const cbm_core_policy_field *field = &cbm_core_policy_table()[i];
        fprintf(stderr, "%s=%" PRIu32 " ", field->name, cbm_core_policy_value(&expected.policy, i));
    }
    fputc('\n', stderr);
    for (int i = 0; i < done_count; i++) {
        print_step(&done[i]);
    }
    cr_assert_fail("%s: the model says %" PRId64 ", libcbm-core says %" PRId64, what, model_says, core_says);
}

static void same(const char *what, int64_t model_says, int64_t core_says)
{
    if (model_says != core_says) {
        differ(what, model_says, core_says);
    }
}

/* ---- comparing ---- */

typedef struct counter {
    const char *name;
    size_t offset;
} counter;

static const counter counters[] = {
    {"total_calls", offsetof(cbm_core_statistics, total_calls)},
    {"successful_calls", offsetof(cbm_core_statistics, successful_calls)},
    {"failed_calls", offsetof(cbm_core_statistics, failed_calls)},
    {"timeout_calls", offsetof(cbm_core_statistics, timeout_calls)},
    {"ignored_calls", offsetof(cbm_core_statistics, ignored_calls)},
    {"slow_calls", offsetof(cbm_core_statistics, slow_calls)},
    {"rejected_calls", offsetof(cbm_core_statistics, rejected_calls)},
    {"half_open_rejected_calls", offsetof(cbm_core_statistics, half_open_rejected_calls)},
    {"late_reports", offsetof(cbm_core_statistics, late_reports)},
    {"lumped_failures", offsetof(cbm_core_statistics, lumped_failures)},
    {"leases_expired", offsetof(cbm_core_statistics, leases_expired)},
    {"abandoned", offsetof(cbm_core_statistics, abandoned)},
    {"state_transitions", offsetof(cbm_core_statistics, state_transitions)},
};

static int64_t counter_of(const cbm_core_statistics *statistics, const counter *which)
{
    uint64_t value;
    memcpy(&value, (const char *)statistics + which->offset, sizeof(value));
    return (int64_t)value;
}

static void compare_statistics(const cbm_core_statistics *model_says, const cbm_core_statistics *core_says)
{
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        same(counters[i].name, counter_of(model_says, &counters[i]), counter_of(core_says, &counters[i]));
    }
    for (int from = 0; from < CBM_CORE_STATES; from++) {
        same("time_in_state_ns", model_says->time_in_state_ns[from], core_says->time_in_state_ns[from]);
        for (int to = 0; to < CBM_CORE_STATES; to++) {
            same("transitions", (int64_t)model_says->transitions[from][to], (int64_t)core_says->transitions[from][to]);
        }
    }
}

static void compare_events(void)
{
    int at = 0;
    for (int i = 1; i < expected.epochs_count; i++) {
        if (expected.epochs[i].state == CBM_CORE_CLOSED && expected.epochs[i - 1].state == CBM_CORE_CLOSED) {
            continue; /* told as a reset */
        }
        same("transitions told", at + 1, at < told_count ? at + 1 : at);
        same("state of the transition told", expected.epochs[i].state, told[at].to);
        same("cause of the transition told", expected.epochs[i].cause, told[at].cause);
        at++;
    }
    same("transitions told", at, told_count);
}

static int64_t millionths(double value)
{
    return (int64_t)llround(value * 1e6);
}

static void compare(void)
{
    cbm_core_status model_says, core_says;
    same("state_of", 0, cbm_core_state_of(manager, "a", now_ns, &core_says));
    model_settle(&expected, now_ns);
    if (expected.open_time_unknown) {
        int64_t least_ns, most_ns, lasts_ns = now_ns - model_now(&expected)->began_ns + core_says.retry_after_ns;
        model_open_range(&expected, &least_ns, &most_ns);
        if (lasts_ns < least_ns || lasts_ns > most_ns) {
            differ("how long OPEN lasts under jitter", most_ns, lasts_ns);
        }
        model_learn_open(&expected, now_ns + core_says.retry_after_ns);
    }
    model_status(&expected, now_ns, &model_says);
    same("state", model_says.state, core_says.state);
    same("epoch", model_says.epoch, core_says.epoch - first_epoch);
    same("failures", model_says.failures, core_says.failures);
    same("retry_after_ns", model_says.retry_after_ns, core_says.retry_after_ns);
    same("due", model_says.due, core_says.due);
    same("calls", (int64_t)model_says.calls, (int64_t)core_says.calls);
    same("failure_rate", millionths(model_says.failure_rate), millionths(core_says.failure_rate));
    same("slow_call_rate", millionths(model_says.slow_call_rate), millionths(core_says.slow_call_rate));
    same("would_open", model_says.would_open, core_says.would_open);
    same("permits_out", model_says.permits_out, core_says.permits_out);
    same("control_ends_ns", model_says.control_ends_ns, core_says.control_ends_ns);
    same("last_failure_ns_ago", model_says.last_failure_ns_ago, core_says.last_failure_ns_ago);
    compare_statistics(&model_says.statistics, &core_says.statistics);
    compare_events();
    same("next_deadline", model_next_deadline(&expected), cbm_core_next_deadline(manager));
}

/* ---- steps ---- */

void pair_start(const cbm_core_policy_request *request, int64_t into_second_ns, const char *text)
{
    uint64_t removed;
    cbm_core_get_result result;
    how_to_repeat = text;
    now_ns += 2 * CBM_CORE_NS_PER_S - now_ns % CBM_CORE_NS_PER_S + into_second_ns;
    cr_assert_eq(cbm_core_remove(manager, "*", now_ns, &removed), 0);
    cr_assert_eq(cbm_core_get(manager, "a", request, now_ns, &result), 0);
    model_init(&expected, &result.status.policy, now_ns);
    first_epoch = result.status.epoch;
    permits_count = done_count = told_count = 0;
    compare();
}

static bool do_begin(const step *s)
{
    cbm_core_begin how = {.holder = s->holder, .lease_given = s->ms >= 0, .lease_ms = s->ms >= 0 ? (uint32_t)s->ms : 0};
    cbm_core_decision decision = {0};
    int number = -1;
    int64_t retry_after_ns = 0;
    int error = cbm_core_call_begin(manager, "a", &how, now_ns, &decision);
    same("begin", model_begin(&expected, s->holder, s->ms, now_ns, &number, &retry_after_ns), error);
    same("state after begin", model_now(&expected)->state, decision.state);
    if (error) {
        same("retry_after_ns of begin", retry_after_ns, decision.retry_after_ns);
        return true;
    }
    same("probe", expected.permits[number].probe, decision.probe);
    same("a permit that is remembered", expected.permits[number].probe, decision.permit.id != 0);
    permits[number] = decision.permit;
    reported[number] = false;
    permits_count = number + 1;
    return true;
}

static int find_permit(int which)
{
    if (which >= 0) {
        return which < permits_count ? which : -1;
    }
    for (int i = 0; i < permits_count; i++) {
        int number = which == OLDEST ? i : permits_count - 1 - i;
        if (!reported[number]) {
            return number;
        }
    }
    return -1;
}

static bool do_report(const step *s)
{
    int number = s->kind == STEP_REPORT ? find_permit(s->which) : -1;
    if (s->kind == STEP_REPORT && number < 0) {
        return false;
    }
    cbm_core_report report = {
        .outcome = s->outcome,
        .duration_ns = s->kind == STEP_HAND_OVER || s->duration_ms < 0 ? -1 : s->duration_ms * CBM_CORE_NS_PER_MS,
        .open_for_ms = s->open_for_ms,
        .late = s->kind == STEP_HAND_OVER,
        .count = s->kind == STEP_HAND_OVER ? s->count : 0,
    };
    cbm_core_state state;
    same("report", 0,
         cbm_core_call_report(manager, "a", number < 0 ? NULL : &permits[number], &report, now_ns, &state));
    model_report(&expected, number, &report, now_ns);
    same("state after report", model_now(&expected)->state, state);
    if (number >= 0) {
        reported[number] = true;
    }
    return true;
}

static bool do_advance_to(const step *s)
{
    int64_t moments[MODEL_MAX];
    int count = model_moments(&expected, moments, MODEL_MAX);
    if (count == 0) {
        return false;
    }
    for (int i = 0; i <= s->which % count; i++) { /* as many as needed of them in order */
        for (int k = i + 1; k < count; k++) {
            if (moments[k] < moments[i]) {
                int64_t earlier = moments[k];
                moments[k] = moments[i];
                moments[i] = earlier;
            }
        }
    }
    int64_t at_ns = moments[s->which % count] + s->offset_ns;
    if (at_ns <= now_ns) {
        return false;
    }
    now_ns = at_ns;
    return true;
}

/* Under jitter the model must be told of each opening when it happens, so time does not skip what is due. */
static void advance(int64_t to_ns)
{
    while (expected.policy.jitter_thousandths > 0 && model_next_deadline(&expected) < to_ns) {
        now_ns = model_next_deadline(&expected);
        model_settle(&expected, now_ns);
        compare();
    }
    now_ns = to_ns;
}

static bool is_size(int field)
{
    static const char *const sizes[] = {"failure_threshold", "window_size", "window_s"};
    bool found = false;
    for (int i = 0; i < 3; i++) {
        found = found || strcmp(cbm_core_policy_table()[field].name, sizes[i]) == 0;
    }
    return found;
}

/* Resolving a policy has tests of its own: here the model takes what libcbm-core made of it. */
static bool do_configure(const step *s)
{
    const cbm_core_policy_field *field = &cbm_core_policy_table()[s->which];
    cbm_core_state state = model_now(&expected)->state;
    if (is_size(s->which) && state != CBM_CORE_CLOSED && state != CBM_CORE_METRICS_ONLY) {
        return false;
    }
    cbm_core_policy_request request = {0};
    cbm_core_status status;
    int bad_field;
    same("value", 0, cbm_core_policy_set_number(&request, s->which, (double)s->ms / field->scale));
    if (cbm_core_configure(manager, "a", &request, now_ns, &bad_field) != 0) {
        return false; /* a contradiction with the policy in force */
    }
    same("state_of", 0, cbm_core_state_of(manager, "a", now_ns, &status));
    model_configure(&expected, &status.policy, now_ns);
    return true;
}

static bool try_step(const step *s)
{
    int64_t before_ns = now_ns, after_ns;
    switch (s->kind) {
    case STEP_BEGIN: return do_begin(s);
    case STEP_REPORT:
    case STEP_OBSERVE:
    case STEP_HAND_OVER: return do_report(s);
    case STEP_ADVANCE: advance(now_ns + s->ms * CBM_CORE_NS_PER_MS); return true;
    case STEP_ADVANCE_TO:
        if (!do_advance_to(s)) {
            return false;
        }
        after_ns = now_ns;
        now_ns = before_ns;
        advance(after_ns);
        return true;
    case STEP_RESET:
        same("reset", 0, cbm_core_reset(manager, "a", now_ns));
        model_reset(&expected, now_ns);
        return true;
    case STEP_CONTROL:
        same("control", 0, cbm_core_control_set(manager, "a", s->control, NULL, (uint32_t)s->ms, now_ns));
        model_control(&expected, s->control, (uint32_t)s->ms, now_ns);
        return true;
    case STEP_HOLDER_GONE:
        cbm_core_holder_gone(manager, s->holder, now_ns);
        model_holder_gone(&expected, s->holder, now_ns);
        return true;
    case STEP_TICK: same("more due after a tick", 0, cbm_core_tick(manager, now_ns, 100)); return true;
    case STEP_CONFIGURE: return do_configure(s);
    }
    return false;
}

bool pair_do(const step *s)
{
    cr_assert_lt(done_count, MODEL_MAX);
    done[done_count++] = *s;
    if (!try_step(s)) {
        done_count--;
        return false;
    }
    compare();
    return true;
}

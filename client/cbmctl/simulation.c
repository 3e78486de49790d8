#include "simulation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "expects.h"
#include "trace_policy.h"

#define BREAKER "breaker"
#define HOLDER 1                      /* the trace, which lives as long as its calls */
#define MS_MAX INT64_C(4000000000000) /* 126 years, as nanoseconds less than half of what the clock can tell */

typedef enum step_kind { STEP_ACQUIRE, STEP_REPORT, STEP_ADVANCE, STEP_CONTROL, STEP_RESET } step_kind;

typedef struct step_op {
    const char *name;
    step_kind kind;
    int what; /* cbm_core_outcome or cbm_core_control */
} step_op;

static const step_op ops[] = {
    {"acquire", STEP_ACQUIRE, 0},
    {"success", STEP_REPORT, CBM_CORE_SUCCESS},
    {"failure", STEP_REPORT, CBM_CORE_FAILURE},
    {"timeout", STEP_REPORT, CBM_CORE_TIMEOUT},
    {"ignore", STEP_REPORT, CBM_CORE_IGNORED},
    {"ignored", STEP_REPORT, CBM_CORE_IGNORED},
    {"advance", STEP_ADVANCE, 0},
    {"force_open", STEP_CONTROL, CBM_CORE_CONTROL_FORCE_OPEN},
    {"disable", STEP_CONTROL, CBM_CORE_CONTROL_DISABLE},
    {"metrics_only", STEP_CONTROL, CBM_CORE_CONTROL_METRICS_ONLY},
    {"enable", STEP_CONTROL, CBM_CORE_CONTROL_ENABLE},
    {"close", STEP_CONTROL, CBM_CORE_CONTROL_ENABLE},
    {"reset", STEP_RESET, 0},
};

typedef struct trace_step {
    const step_op *op;
    int64_t id;
    int64_t ms_ns; /* -1: not given */
    uint32_t for_ms, open_for_ms;
} trace_step;

/* ---- one step as it is written ------------------------------------------------------------------------------------- */

static simulation_result invalid(char why[TRACE_WHY_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static simulation_result invalid(char why[TRACE_WHY_MAX], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, TRACE_WHY_MAX, format, arguments);
    va_end(arguments);
    return SIMULATION_INVALID;
}

static bool read_op(const trace_member *member, trace_step *step, char why[TRACE_WHY_MAX])
{
    if (member->kind != TRACE_TEXT) {
        invalid(why, "op: is not a text");
        return false;
    }
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (strlen(ops[i].name) == member->text_length && memcmp(ops[i].name, member->text, member->text_length) == 0) {
            step->op = &ops[i];
            return true;
        }
    }
    invalid(why, "op: there is no step '%.*s'", (int)(member->text_length < 40 ? member->text_length : 40),
            member->text);
    return false;
}

static bool read_id(const trace_line *line, trace_step *step, char why[TRACE_WHY_MAX])
{
    const trace_member *member = trace_line_find(line, "id");
    if (member == NULL || member->kind != TRACE_INTEGER) {
        invalid(why, member == NULL ? "%s: id is missing" : "%s: id is not an integer", step->op->name);
        return false;
    }
    step->id = member->integer;
    return true;
}

static bool read_ns(const trace_member *member, int64_t *ns, char why[TRACE_WHY_MAX])
{
    bool whole = member->kind == TRACE_INTEGER;
    if (!(whole || member->kind == TRACE_NUMBER) || !(member->number >= 0 && member->number <= (double)MS_MAX)) {
        invalid(why, "%.*s: is not a number of milliseconds from 0 to %" PRId64, (int)member->key_length, member->key,
                MS_MAX);
        return false;
    }
    *ns = whole ? member->integer * CBM_CORE_NS_PER_MS : (int64_t)(member->number * (double)CBM_CORE_NS_PER_MS + 0.5);
    return true;
}

static bool read_span(const trace_line *line, const char *key, uint32_t *ms, char why[TRACE_WHY_MAX])
{
    const trace_member *member = trace_line_find(line, key);
    *ms = 0;
    if (member == NULL)
        return true;
    if (member->kind != TRACE_INTEGER || member->integer < 0 || member->integer > UINT32_MAX) {
        invalid(why, "%s: is not a whole number of milliseconds from 0 to %" PRIu32, key, UINT32_MAX);
        return false;
    }
    *ms = (uint32_t)member->integer;
    return true;
}

static bool read_step(const trace_line *line, const trace_member *op, trace_step *step, char why[TRACE_WHY_MAX])
{
    const trace_member *ms;
    if (!read_op(op, step, why))
        return false;
    step->ms_ns = -1;
    switch (step->op->kind) {
    case STEP_ACQUIRE: return read_id(line, step, why);
    case STEP_REPORT:
        ms = trace_line_find(line, "ms");
        if (ms == NULL)
            ms = trace_line_find(line, "duration_ms");
        return read_id(line, step, why) && (ms == NULL || read_ns(ms, &step->ms_ns, why)) &&
               read_span(line, "open_for_ms", &step->open_for_ms, why);
    case STEP_ADVANCE:
        ms = trace_line_find(line, "ms");
        if (ms == NULL)
            invalid(why, "advance: ms is missing");
        return ms != NULL && read_ns(ms, &step->ms_ns, why);
    case STEP_CONTROL: return read_span(line, "for_ms", &step->for_ms, why);
    default: return true;
    }
}

/* ---- a breaker and what happens to it ------------------------------------------------------------------------------ */

void simulation_init(simulation *s, const cbm_core_policy_request *instead)
{
    *s = (simulation){.instead = instead};
}

/* Does what time has brought, too. */
static void look(simulation *s)
{
    (void)cbm_core_state_of(s->manager, BREAKER, s->now_ns, &s->status);
}

/* A look costs more than the step itself, so it is left out when the step has changed nothing that is written. */
static void look_if_changed(simulation *s, cbm_core_state state, bool recorded)
{
    if (state != s->status.state || (recorded && simulation_shows_rule(&s->status)))
        look(s);
}

void simulation_end(simulation *s)
{
    if (s->manager == NULL)
        return;
    look(s);
    const cbm_core_statistics *statistics = &s->status.statistics;
    for (int from = 0; from < CBM_CORE_STATES; from++) {
        s->totals.time_in_state_ns[from] += statistics->time_in_state_ns[from];
        for (int to = 0; to < CBM_CORE_STATES; to++)
            s->totals.transitions[from][to] += statistics->transitions[from][to];
    }
    cbm_core_manager_free(s->manager);
    s->manager = NULL;
    call_table_deinit(&s->calls);
}

void simulation_deinit(simulation *s)
{
    simulation_end(s);
}

static simulation_result begin_trace(simulation *s, const trace_line *line, char why[TRACE_WHY_MAX])
{
    cbm_core_policy_request request;
    cbm_core_policy policy;
    cbm_core_get_result got;
    int bad_field = -1;
    if (!trace_policy_read(line, &request, why))
        return SIMULATION_INVALID;
    trace_policy_override(&request, s->instead);
    if (cbm_core_policy_resolve(&request, &policy, &bad_field) != 0)
        return invalid(why, "%s %s", cbm_core_policy_table()[bad_field].name, cbm_policy_field_beside(bad_field));
    simulation_end(s);
    const cbm_core_options options = {.max_breakers = 1, .no_rate_limit = true};
    s->now_ns = 0;
    if (cbm_core_manager_new(&s->manager, &options) != 0 || cbm_core_get(s->manager, BREAKER, &request, 0, &got) != 0)
        return SIMULATION_NO_MEMORY;
    s->status = got.status;
    s->totals.traces++;
    return SIMULATION_CONFIG;
}

static simulation_result acquire(simulation *s, const trace_step *step, char why[TRACE_WHY_MAX])
{
    const cbm_core_begin begin = {.holder = HOLDER};
    cbm_core_decision decision;
    call_entry *call = call_table_find(&s->calls, step->id);
    if (call != NULL && call->permitted)
        return invalid(why, "acquire: call %" PRId64 " is under way already", step->id);
    if (call == NULL)
        call = call_table_add(&s->calls, step->id);
    if (call == NULL)
        return SIMULATION_NO_MEMORY;
    int error =
        cbm_core_call_begin_at(s->manager, s->status.slot, s->status.slot_generation, &begin, s->now_ns, &decision);
    if (error == CBM_CORE_E_NOMEM)
        return SIMULATION_NO_MEMORY;
    s->is_acquire = true;
    s->permitted = call->permitted = error == 0;
    if (s->permitted) {
        call->permit_id = decision.permit.id;
        call->epoch = decision.permit.epoch;
    }
    s->totals.permitted += s->permitted;
    s->totals.refused += !s->permitted;
    look_if_changed(s, decision.state, false);
    return SIMULATION_STEP;
}

/* A call that was refused here was not made, whatever the trace knows of its end. */
static simulation_result report_call(simulation *s, const trace_step *step, char why[TRACE_WHY_MAX])
{
    call_entry *call = call_table_find(&s->calls, step->id);
    if (call == NULL)
        return invalid(why, "%s: call %" PRId64 " is not under way", step->op->name, step->id);
    if (call->permitted) {
        const cbm_core_permit permit = {.slot = s->status.slot,
                                        .slot_generation = s->status.slot_generation,
                                        .epoch = call->epoch,
                                        .id = call->permit_id};
        const cbm_core_report report = {
            .outcome = (cbm_core_outcome)step->op->what, .duration_ns = step->ms_ns, .open_for_ms = step->open_for_ms};
        cbm_core_state state;
        if (cbm_core_call_report_at(s->manager, &permit, &report, s->now_ns, &state) != 0)
            return SIMULATION_NO_MEMORY;
        look_if_changed(s, state, true);
    } else {
        s->totals.refused_reports[step->op->what]++;
    }
    call_table_remove(&s->calls, call);
    return SIMULATION_STEP;
}

static simulation_result advance(simulation *s, const trace_step *step, char why[TRACE_WHY_MAX])
{
    if (step->ms_ns > MS_MAX * CBM_CORE_NS_PER_MS - s->now_ns)
        return invalid(why, "advance: the clock ends after %" PRId64 " ms", MS_MAX);
    s->now_ns += step->ms_ns;
    look(s);
    return SIMULATION_STEP;
}

static simulation_result do_step(simulation *s, const trace_step *step, char why[TRACE_WHY_MAX])
{
    int error = 0;
    switch (step->op->kind) {
    case STEP_ACQUIRE: return acquire(s, step, why);
    case STEP_REPORT: return report_call(s, step, why);
    case STEP_ADVANCE: return advance(s, step, why);
    case STEP_CONTROL:
        error =
            cbm_core_control_set(s->manager, BREAKER, (cbm_core_control)step->op->what, NULL, step->for_ms, s->now_ns);
        break;
    case STEP_RESET: error = cbm_core_reset(s->manager, BREAKER, s->now_ns); break;
    }
    if (error != 0)
        return SIMULATION_NO_MEMORY;
    look(s);
    return SIMULATION_STEP;
}

simulation_result simulation_take(simulation *s, const trace_line *line, char why[TRACE_WHY_MAX])
{
    const trace_member *op = trace_line_find(line, "op");
    trace_step step;
    if (op == NULL)
        return begin_trace(s, line, why);
    if (s->manager == NULL)
        return invalid(why, "a step before the first config");
    if (!read_step(line, op, &step, why))
        return SIMULATION_INVALID;
    s->is_acquire = false;
    simulation_result result = do_step(s, &step, why);
    s->totals.steps += result == SIMULATION_STEP;
    return result;
}

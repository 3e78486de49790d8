/* What resilience4j and gobreaker did, step by step, libcbm-core does too (traces/README.md). */
#include "core_fixture.h"
#include "trace_files.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { IDS_MAX = 1024 };

static bool permitted[IDS_MAX];
static cbm_core_permit permits[IDS_MAX];
static const char *where; /* file, line and step, for whoever reads a failure */

static long integer(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_integer(value), "%s: no %s", where, key);
    return (long)json_integer_value(value);
}

static const char *string(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    cr_assert_not_null(value, "%s: no %s", where, key);
    return value;
}

static void set(cbm_core_policy_request *request, const char *name, const json_t *config, const char *key)
{
    int error = cbm_core_policy_set_number(request, field(name), json_number_value(json_object_get(config, key)));
    cr_assert_eq(error, 0, "%s: %s", where, key);
}

static cbm_core_policy_request policy_from(const json_t *config)
{
    const char *type = string(config, "type");
    cbm_core_policy_request request = policy_of("permit_lease_ms=0");
    cr_assert_eq(cbm_core_policy_set_word(&request, field("rule"), type, strlen(type)), 0);
    set(&request, "timeout_ms", config, "open_ms");
    set(&request, "half_open_calls", config, "half_open_permits");
    if (strcmp(type, "consecutive") == 0) {
        set(&request, "failure_threshold", config, "failure_threshold");
        set(&request, "success_threshold", config, "half_open_successes");
        return request;
    }
    set(&request, "minimum_calls", config, "min_calls");
    set(&request, "failure_rate", config, "failure_rate");
    set(&request, "slow_call_rate", config, "slow_rate");
    set(&request, "slow_call_duration_ms", config, "slow_ms");
    if (strcmp(type, "count_window") == 0) {
        set(&request, "window_size", config, "window");
    } else {
        set(&request, "window_s", config, "window_s");
    }
    return request;
}

static bool acquire(long id)
{
    cbm_core_begin held = {.holder = 1};
    cbm_core_decision decision;
    cr_assert(id >= 0 && id < IDS_MAX);
    permitted[id] = cbm_core_call_begin(manager, "a", &held, now_ns, &decision) == 0;
    permits[id] = decision.permit;
    return permitted[id];
}

static void report_step(const json_t *step, cbm_core_outcome outcome)
{
    long id = integer(step, "id");
    cr_assert(id >= 0 && id < IDS_MAX && permitted[id], "%s", where);
    const json_t *duration = json_object_get(step, "ms");
    cbm_core_report how = {.outcome = outcome, .duration_ns = duration ? json_integer_value(duration) * MS : -1};
    cr_assert_eq(cbm_core_call_report(manager, "a", &permits[id], &how, now_ns, NULL), 0, "%s", where);
}

/* Whether the step was a permitted acquire. */
static bool do_step(const json_t *step)
{
    const char *op = string(step, "op");
    if (strcmp(op, "acquire") == 0) {
        return acquire(integer(step, "id"));
    }
    if (strcmp(op, "success") == 0) {
        report_step(step, CBM_CORE_SUCCESS);
    } else if (strcmp(op, "failure") == 0) {
        report_step(step, CBM_CORE_FAILURE);
    } else if (strcmp(op, "ignore") == 0) {
        report_step(step, CBM_CORE_IGNORED);
    } else if (strcmp(op, "advance") == 0) {
        advance_ms(integer(step, "ms"));
    } else if (strcmp(op, "force_open") == 0) {
        control(CBM_CORE_CONTROL_FORCE_OPEN, 0);
    } else if (strcmp(op, "disable") == 0) {
        control(CBM_CORE_CONTROL_DISABLE, 0);
    } else if (strcmp(op, "close") == 0) {
        control(CBM_CORE_CONTROL_ENABLE, 0);
    } else {
        cr_assert_fail("%s: an unknown step %s", where, op);
    }
    return false;
}

static void compare(const json_t *expect, bool was_permitted)
{
    cbm_core_status now = status();
    cr_assert_str_eq(cbm_core_state_name(now.state), string(expect, "state"), "%s: %s instead of %s", where,
                     cbm_core_state_name(now.state), string(expect, "state"));
    const json_t *value = json_object_get(expect, "permitted");
    if (value) {
        cr_assert_eq(json_is_true(value), was_permitted, "%s: permitted", where);
    }
    value = json_object_get(expect, "failure_rate");
    if (value) {
        cr_assert_float_eq(json_number_value(value), now.failure_rate, 1e-4, "%s: failure_rate %f instead of %f", where,
                           now.failure_rate, json_number_value(value));
    }
    value = json_object_get(expect, "calls");
    if (value) {
        cr_assert_eq((uint64_t)json_integer_value(value), now.calls, "%s: calls", where);
    }
}

static void replay(const char *trace_name, json_t *trace, void *context)
{
    char place[160];
    (void)context;
    where = trace_name;
    const json_t *steps = json_object_get(trace, "steps"), *expect = json_object_get(trace, "expect");

    memset(permitted, 0, sizeof(permitted));
    now_ns = 0;
    cbm_core_policy_request request = policy_from(json_object_get(trace, "config"));
    cbm_core_get_result result;
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    cr_assert_eq(cbm_core_get(manager, "a", &request, now_ns, &result), 0);
    where = place;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        snprintf(place, sizeof(place), "%s, step %zu", trace_name, i + 1);
        bool was_permitted = do_step(json_array_get(steps, i));
        compare(json_array_get(expect, i), was_permitted);
    }
    end_of_test();
}

Test(traces, of_gobreaker_with_consecutive_failures)
{
    trace_file_each("gobreaker-consecutive", replay, NULL);
}

Test(traces, of_resilience4j_with_a_count_window)
{
    trace_file_each("r4j-count", replay, NULL);
}

Test(traces, of_resilience4j_with_a_time_window)
{
    trace_file_each("r4j-time", replay, NULL);
}

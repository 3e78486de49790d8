/* cbmctl simulate: traces of other breakers, what-if, rules, manual control, mistakes, speed. No broker is asked. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cbmctl_program.h"
#include "trace_files.h"

TestSuite(cbmctl_simulate, .timeout = 60);

/* cbmctl simulate - arguments..., fed with `input`. */
static void simulate(program_result *result, const char *input, const char *const *arguments)
{
    const char *argv[16] = {cbmctl_program(), "simulate", "-"};
    for (size_t i = 0; arguments[i] != NULL; i++) {
        cr_assert_lt(i + 4, 16);
        argv[i + 3] = arguments[i];
    }
    program_run(result, argv, input, CBMCTL_DEADLINE_MS);
}

static void gives_with(const char *input, const char *const *arguments, const char *expected)
{
    program_result result;
    simulate(&result, input, arguments);
    cr_assert_eq(result.status, 0, "%d: %s", result.status, result.err);
    cr_assert_str_eq(result.out, expected, "\n%s", result.out);
    cr_assert_str_eq(result.err, "");
    program_result_deinit(&result);
}

static void gives(const char *input, const char *expected)
{
    gives_with(input, ARGS(NULL), expected);
}

static bool has(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        return true;
    fprintf(stderr, "`%s' is not in:\n%s\n", part, text);
    return false;
}

#define ACQUIRE(id) "{\"op\":\"acquire\",\"id\":" #id "}\n"
#define END(outcome, id) "{\"op\":\"" outcome "\",\"id\":" #id ",\"ms\":10}\n"
#define ADVANCE(ms) "{\"op\":\"advance\",\"ms\":" #ms "}\n"
#define OP(name) "{\"op\":\"" name "\"}\n"
#define STATE(state) "{\"state\":\"" state "\"}\n"
#define PERMITTED(state) "{\"state\":\"" state "\",\"permitted\":true}\n"
#define REFUSED(state) "{\"state\":\"" state "\",\"permitted\":false}\n"
#define RATE(state, rate, calls) "{\"state\":\"" state "\",\"failure_rate\":" #rate ",\"calls\":" #calls "}\n"
#define PERMITTED_RATE(state, rate, calls)                                                                             \
    "{\"state\":\"" state "\",\"permitted\":true,\"failure_rate\":" #rate ",\"calls\":" #calls "}\n"

/* ---- traces of other breakers ---------------------------------------------------------------------------------------- */

typedef struct recorded {
    bool own_names;
    FILE *input;
    json_t *expect; /* of all steps */
} recorded;

static json_t *in_own_names(const json_t *config)
{
    static const char *const names[][2] = {
        {"type", "rule"},
        {"window", "window_size"},
        {"min_calls", "minimum_calls"},
        {"open_ms", "timeout_ms"},
        {"half_open_permits", "half_open_calls"},
        {"half_open_successes", "success_threshold"},
        {"slow_rate", "slow_call_rate"},
        {"slow_ms", "slow_call_duration_ms"},
    };
    json_t *renamed = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        const char *name = key;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (strcmp(names[i][0], key) == 0)
                name = names[i][1];
        }
        json_object_set(renamed, name, value);
    }
    return renamed;
}

static void write_line(FILE *file, const json_t *line)
{
    cr_assert_eq(json_dumpf(line, file, JSON_COMPACT), 0);
    fputc('\n', file);
}

static void add_trace(const char *where, json_t *trace, void *context)
{
    recorded *all = context;
    json_t *config = json_object_get(trace, "config"), *step;
    size_t index;
    (void)where;
    json_t *written = all->own_names ? in_own_names(config) : json_incref(config);
    write_line(all->input, written);
    json_decref(written);
    json_array_foreach(json_object_get(trace, "steps"), index, step) write_line(all->input, step);
    json_array_extend(all->expect, json_object_get(trace, "expect"));
}

/* Traces were recorded in single precision. */
static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return (float)json_number_value(a) == (float)json_number_value(b);
    return json_equal(a, b);
}

static void same_state(const char *line, const json_t *expect)
{
    const char *key;
    json_t *state = json_loads(line, JSON_REJECT_DUPLICATES, NULL), *value;
    cr_assert_not_null(state, "%s", line);
    cr_assert_eq(json_object_size(state), json_object_size(expect), "%s", line);
    json_object_foreach((json_t *)(uintptr_t)expect, key, value)
        cr_assert(same_value(value, json_object_get(state, key)), "%s in %s", key, line);
    json_decref(state);
}

/* All traces of the file in one go, each from its own config on. */
static void reproduces(const char *file, bool own_names)
{
    char *input = NULL, *rest, *line;
    size_t size = 0, index = 0;
    recorded all = {.own_names = own_names, .input = open_memstream(&input, &size), .expect = json_array()};
    program_result result;
    trace_file_each(file, add_trace, &all);
    cr_assert_eq(fclose(all.input), 0);
    simulate(&result, input, ARGS(NULL));
    cr_assert_eq(result.status, 0, "%s", result.err);
    rest = result.out;
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        cr_assert_lt(index, json_array_size(all.expect));
        same_state(line, json_array_get(all.expect, index++));
    }
    cr_assert_eq(index, json_array_size(all.expect));
    program_result_deinit(&result);
    json_decref(all.expect);
    free(input);
}

Test(cbmctl_simulate, does_what_gobreaker_did)
{
    reproduces("gobreaker-consecutive", false);
    reproduces("gobreaker-consecutive", true);
}

Test(cbmctl_simulate, does_what_resilience4j_did_with_a_count_window)
{
    reproduces("r4j-count", false);
    reproduces("r4j-count", true);
}

Test(cbmctl_simulate, does_what_resilience4j_did_with_a_time_window)
{
    reproduces("r4j-time", false);
    reproduces("r4j-time", true);
}

/* ---- rules and steps --------------------------------------------------------------------------------------------------- */

Test(cbmctl_simulate, failures_in_a_row_open_and_a_probe_closes)
{
    gives("{\"type\":\"consecutive\",\"failure_threshold\":2,\"open_ms\":1000}\n" ACQUIRE(1) ACQUIRE(2)
              END("failure", 1) END("timeout", 2) ADVANCE(999) ACQUIRE(3) ADVANCE(1) ACQUIRE(4) ACQUIRE(5)
                  END("success", 4),
          PERMITTED("CLOSED") PERMITTED("CLOSED") STATE("CLOSED") STATE("OPEN") STATE("OPEN") REFUSED("OPEN")
              STATE("OPEN") PERMITTED("HALF_OPEN") REFUSED("HALF_OPEN") STATE("CLOSED"));
}

Test(cbmctl_simulate, failures_within_some_seconds_open)
{
    gives("{\"rule\":\"failures\",\"failure_threshold\":2,\"window_s\":10}\n" ACQUIRE(1) ACQUIRE(2) ACQUIRE(3)
              END("failure", 1) ADVANCE(10000) END("failure", 2) ADVANCE(9999) END("failure", 3),
          PERMITTED("CLOSED") PERMITTED("CLOSED") PERMITTED("CLOSED") STATE("CLOSED") STATE("CLOSED") STATE("CLOSED")
              STATE("CLOSED") STATE("OPEN"));
}

Test(cbmctl_simulate, a_count_window_shows_its_rate_from_minimum_calls_on)
{
    gives("{\"type\":\"count_window\",\"window\":3,\"min_calls\":3,\"failure_rate\":70}\n" ACQUIRE(1) ACQUIRE(2)
              ACQUIRE(3) ACQUIRE(4) END("failure", 1) END("ignore", 2) ACQUIRE(2) END("success", 2) END("failure", 3)
                  END("success", 4),
          PERMITTED_RATE("CLOSED", -1, 0) PERMITTED_RATE("CLOSED", -1, 0) PERMITTED_RATE("CLOSED", -1, 0)
              PERMITTED_RATE("CLOSED", -1, 0) RATE("CLOSED", -1, 1) RATE("CLOSED", -1, 1)
                  PERMITTED_RATE("CLOSED", -1, 1) RATE("CLOSED", -1, 2) RATE("CLOSED", 66.666664, 3)
                      RATE("CLOSED", 33.333332, 3));
}

Test(cbmctl_simulate, a_time_window_is_made_of_whole_seconds_of_a_clock_that_starts_at_0)
{
    gives("{\"type\":\"time_window\",\"window_s\":2,\"min_calls\":1,\"failure_rate\":100}\n" ACQUIRE(1) ACQUIRE(2)
              ADVANCE(999) END("success", 1) ADVANCE(1) END("success", 2) ADVANCE(999) ADVANCE(1) ADVANCE(1000),
          PERMITTED_RATE("CLOSED", -1, 0) PERMITTED_RATE("CLOSED", -1, 0) RATE("CLOSED", -1, 0) RATE("CLOSED", 0, 1)
              RATE("CLOSED", 0, 1) RATE("CLOSED", 0, 2) RATE("CLOSED", 0, 2) RATE("CLOSED", 0, 1)
                  RATE("CLOSED", -1, 0));
}

Test(cbmctl_simulate, slow_calls_open_too)
{
    gives("{\"type\":\"count_window\",\"window\":2,\"min_calls\":1,\"slow_rate\":100,\"slow_ms\":9}\n" ACQUIRE(1)
              END("success", 1),
          PERMITTED_RATE("CLOSED", -1, 0) STATE("OPEN"));
}

Test(cbmctl_simulate, steps_by_hand)
{
    gives("{\"failure_threshold\":1}\n" ACQUIRE(1) OP("force_open") ACQUIRE(2) END("failure", 1) OP("close")
              OP("disable") ACQUIRE(3) END("failure", 3) OP("enable") ACQUIRE(4) END("failure", 4)
                  OP("reset") "{\"op\":\"force_open\",\"for_ms\":5}\n" ADVANCE(4) ADVANCE(1),
          PERMITTED("CLOSED") STATE("FORCED_OPEN") REFUSED("FORCED_OPEN") STATE("FORCED_OPEN") STATE("CLOSED")
              STATE("DISABLED") PERMITTED("DISABLED") STATE("DISABLED") STATE("CLOSED") PERMITTED("CLOSED")
                  STATE("OPEN") STATE("CLOSED") STATE("FORCED_OPEN") STATE("FORCED_OPEN") STATE("CLOSED"));
}

Test(cbmctl_simulate, metrics_only_shows_what_the_rule_would_do)
{
    gives("{\"failure_threshold\":1}\n" OP("metrics_only") ACQUIRE(1) END("failure", 1),
          "{\"state\":\"METRICS_ONLY\",\"would_open\":false}\n"
          "{\"state\":\"METRICS_ONLY\",\"permitted\":true,\"would_open\":false}\n"
          "{\"state\":\"METRICS_ONLY\",\"would_open\":true}\n");
}

Test(cbmctl_simulate, a_probe_is_lost_when_its_lease_is_over)
{
    static const char input[] = "{\"failure_threshold\":1,\"timeout_ms\":100}\n" ACQUIRE(1) END("failure", 1)
        ADVANCE(100) ACQUIRE(2) ADVANCE(500) END("success", 2);
    gives(input,
          PERMITTED("CLOSED") STATE("OPEN") STATE("OPEN") PERMITTED("HALF_OPEN") STATE("HALF_OPEN") STATE("CLOSED"));
    gives_with(input, ARGS("permit_lease_ms=500"),
               PERMITTED("CLOSED") STATE("OPEN") STATE("OPEN") PERMITTED("HALF_OPEN") STATE("OPEN") STATE("OPEN"));
}

Test(cbmctl_simulate, a_report_may_say_how_long_to_stay_open)
{
    gives("{}\n" ACQUIRE(1) "{\"op\":\"failure\",\"id\":1,\"open_for_ms\":50}\n" ADVANCE(49) ACQUIRE(2) ADVANCE(1)
              ACQUIRE(3),
          PERMITTED("CLOSED") STATE("OPEN") STATE("OPEN") REFUSED("OPEN") STATE("OPEN") PERMITTED("HALF_OPEN"));
}

Test(cbmctl_simulate, a_config_line_starts_a_new_breaker_at_time_0)
{
    gives("{\"failure_threshold\":1}\n" ADVANCE(700) ACQUIRE(1)
              END("failure", 1) "{\"type\":\"time_window\",\"window_s\":1,\"min_calls\":1}\n" ADVANCE(999) ACQUIRE(1)
                  END("success", 1) ADVANCE(1),
          STATE("CLOSED") PERMITTED("CLOSED") STATE("OPEN") RATE("CLOSED", -1, 0) PERMITTED_RATE("CLOSED", -1, 0)
              RATE("CLOSED", 0, 1) RATE("CLOSED", -1, 0));
}

Test(cbmctl_simulate, empty_lines_and_unknown_members_of_steps_are_passed_over)
{
    gives("\n{}\r\n \t\n{\"op\":\"acquire\",\"id\":1,\"name\":\"h\xc3\xbcgel\",\"tags\":[1,{}]}\r\n\n"
          "{ \"id\": 1, \"op\": \"f\\u0061ilure\", \"ms\": 1.5e1 }",
          PERMITTED("CLOSED") STATE("CLOSED"));
    gives("", "");
}

/* ---- what if ------------------------------------------------------------------------------------------------------------ */

static const char incident[] = "{\"type\":\"consecutive\",\"failure_threshold\":3,\"open_ms\":60000}\n" ACQUIRE(1)
    END("failure", 1) ACQUIRE(2) END("failure", 2) ACQUIRE(3) END("failure", 3);

Test(cbmctl_simulate, another_policy_is_tried_on_the_same_trace)
{
    static const char opens_at_once[] =
        PERMITTED("CLOSED") STATE("OPEN") REFUSED("OPEN") STATE("OPEN") REFUSED("OPEN") STATE("OPEN");
    gives(incident,
          PERMITTED("CLOSED") STATE("CLOSED") PERMITTED("CLOSED") STATE("CLOSED") PERMITTED("CLOSED") STATE("OPEN"));
    gives_with(incident, ARGS("--policy", "failure_threshold=1,timeout_ms=5"), opens_at_once);
    gives_with(incident, ARGS("--policy=open_ms=5", "--policy=failure_threshold=1"), opens_at_once);
    gives_with(incident, ARGS("failure_threshold=1", "timeout=5ms"), opens_at_once);
}

Test(cbmctl_simulate, the_summary_counts_what_was_permitted_refused_and_spared)
{
    program_result result;
    simulate(&result, incident, ARGS("--summary", "--policy", "failure_threshold=2"));
    cr_assert_eq(result.status, 0);
    cr_assert_str_eq(result.err, "traces: 1, steps: 6\n"
                                 "calls: permitted 2, refused 1\n"
                                 "refused here, ended in the trace: successes 0, failures 1, ignored 0\n"
                                 "transitions: CLOSED to OPEN 1\n"
                                 "time: none\n");
    program_result_deinit(&result);
    simulate(&result, "{}\n" ADVANCE(61500) OP("force_open") ADVANCE(250) "{}\n" ADVANCE(1500), ARGS("--summary"));
    cr_assert(has(result.err, "traces: 2, steps: 4\n"));
    cr_assert(has(result.err, "transitions: CLOSED to FORCED_OPEN 1\n"));
    cr_assert(has(result.err, "time: CLOSED 1 min 3 s, FORCED_OPEN 250 ms\n"));
    program_result_deinit(&result);
}

/* ---- mistakes ------------------------------------------------------------------------------------------------------------ */

Test(cbmctl_simulate, a_mistake_ends_it_and_is_told_with_line_and_cause)
{
    static const struct {
        const char *line, *cause;
    } cases[] = {
        {"x", "no JSON: column 1"},
        {"[]", "no JSON object"},
        {"{\"op\":\"acquire\",\"id\":1", "no JSON: column 22"},
        {"{\"op\":\"jump\"}", "op: there is no step 'jump'"},
        {"{\"op\":1}", "op: is not a text"},
        {"{\"op\":\"acquire\"}", "acquire: id is missing"},
        {"{\"op\":\"failure\",\"id\":\"a\"}", "failure: id is not an integer"},
        {"{\"op\":\"acquire\",\"id\":7}", "acquire: call 7 is under way already"},
        {"{\"op\":\"success\",\"id\":8}", "success: call 8 is not under way"},
        {"{\"op\":\"success\",\"id\":7,\"ms\":-1}", "ms: is not a number of milliseconds"},
        {"{\"op\":\"success\",\"id\":7,\"open_for_ms\":0.5}", "open_for_ms: is not a whole number"},
        {"{\"op\":\"advance\"}", "advance: ms is missing"},
        {"{\"op\":\"advance\",\"ms\":-1}", "ms: is not a number of milliseconds"},
        {"{\"op\":\"advance\",\"ms\":4000000000001}", "ms: is not a number of milliseconds"},
        {"{\"op\":\"advance\",\"ms\":4000000000000}", "advance: the clock ends"},
        {"{\"rule\":\"none\"}", "rule must be consecutive, failures, count_window or time_window, not 'none'"},
        {"{\"failure_threshold\":0}", "failure_threshold must be an integer from 1 to 1000000, not 0"},
        {"{\"failure_rate\":33.33}", "failure_rate must be a number from 0.1 to 100 in steps of 0.1, not 33.33"},
        {"{\"timeout\":1.0005}",
         "timeout must be a number of seconds from 0.001 to 2592000, in whole milliseconds, not 1.0005"},
        {"{\"open_ms\":1,\"timeout_ms\":1}", "timeout_ms: timeout_ms is given already"},
        {"{\"no_such\":1}", "there is no policy field 'no_such'"},
        {"{\"rule\":\"failures\"}", "window_s must be given with the rule failures"},
        {"{\"type\":\"time_window\",\"window\":5}", "window: "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char input[512];
        program_result result;
        snprintf(input, sizeof(input), "{}\n\n" ACQUIRE(7) ADVANCE(1) "%s\n" ACQUIRE(9), cases[i].line);
        simulate(&result, input, ARGS("--summary"));
        cr_assert_eq(result.status, 65, "%s", cases[i].line);
        cr_assert_str_eq(result.out, PERMITTED("CLOSED") STATE("CLOSED"), "what came before was written");
        cr_assert(has(result.err, "cbmctl: standard input: line 5: "));
        cr_assert(has(result.err, cases[i].cause));
        program_result_deinit(&result);
    }
}

Test(cbmctl_simulate, a_step_needs_a_config)
{
    program_result result;
    simulate(&result, ACQUIRE(1), ARGS(NULL));
    cr_assert_eq(result.status, 65);
    cr_assert(has(result.err, "line 1: a step before the first config"));
    program_result_deinit(&result);
}

static int status_of(const char *const *arguments)
{
    program_result result;
    simulate(&result, "{}\n", arguments);
    int status = result.status;
    program_result_deinit(&result);
    return status;
}

Test(cbmctl_simulate, wrong_usage_is_64)
{
    cr_assert_eq(status_of(ARGS("--policy", "no_such_field=1")), 64);
    cr_assert_eq(status_of(ARGS("--policy", "failure_threshold=0")), 64);
    cr_assert_eq(status_of(ARGS("--policy", "failure_threshold")), 64);
    cr_assert_eq(status_of(ARGS("--policy", "failure_threshold=1,")), 64);
    cr_assert_eq(status_of(ARGS("--policy", "timeout=1,open_ms=1")), 64);
    cr_assert_eq(status_of(ARGS("another_file")), 64);
    cr_assert_eq(status_of(ARGS("--policy", "rule=failures")), 65, "it contradicts the trace's config");
    program_result result;
    program_run(&result, ARGS(cbmctl_program(), "simulate"), NULL, CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 64);
    program_result_deinit(&result);
}

Test(cbmctl_simulate, a_trace_that_cannot_be_read_is_66_and_output_that_cannot_be_written_74)
{
    program_result result;
    program_run(&result, ARGS(cbmctl_program(), "simulate", "/nonexistent/trace"), NULL, CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 66);
    cr_assert(has(result.err, "/nonexistent/trace: No such file"));
    program_result_deinit(&result);
    program_run(&result, ARGS(cbmctl_program(), "simulate", "/"), NULL, CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 66);
    program_result_deinit(&result);
    program_run(&result, ARGS("sh", "-c", "exec \"$0\" simulate - >/dev/full", cbmctl_program()), incident,
                CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 74);
    program_result_deinit(&result);
}

/* ---- streams and speed ---------------------------------------------------------------------------------------------------- */

Test(cbmctl_simulate, a_step_is_answered_before_the_next_one_comes)
{
    background b;
    background_start(&b, BACKGROUND_NO_TERMINAL, ARGS(cbmctl_program(), "simulate", "-"));
    background_type(&b, "{\"failure_threshold\":1}\n" ACQUIRE(1));
    cr_assert(background_says(&b, PERMITTED("CLOSED")));
    background_type(&b, END("failure", 1));
    cr_assert(background_says(&b, STATE("OPEN")));
    close(b.in);
    b.in = -1;
    cr_assert_eq(background_end(&b), 0);
}

static void write_steps(FILE *file, long steps)
{
    fputs("{\"type\":\"count_window\",\"window\":100,\"min_calls\":50,\"failure_rate\":90}\n", file);
    for (long i = 0; i < steps; i += 4) {
        fprintf(file, "{\"op\":\"acquire\",\"id\":%ld}\n{\"op\":\"acquire\",\"id\":%ld}\n", i, i + 1);
        fprintf(file, "{\"op\":\"%s\",\"id\":%ld,\"ms\":%ld}\n", i % 3 == 0 ? "failure" : "success", i, i % 5000);
        if (i % 5 == 0)
            fprintf(file, "{\"op\":\"advance\",\"ms\":%ld}\n", i % 100);
        else
            fprintf(file, "{\"op\":\"success\",\"id\":%ld,\"ms\":%ld}\n", i + 1, i % 700);
    }
}

static double cpu_seconds_of_children(void)
{
    struct rusage usage;
    cr_assert_eq(getrusage(RUSAGE_CHILDREN, &usage), 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Of processor time, which the neighbours of a busy machine do not change much. */
Test(cbmctl_simulate, a_million_steps_take_less_than_two_seconds)
{
    const long steps = broker_is_sanitized() ? 100000 : 1000000;
    char path[] = "/tmp/cbm-simulate-XXXXXX", expected[64];
    program_result result;
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    cr_assert_not_null(file);
    write_steps(file, steps);
    cr_assert_eq(fclose(file), 0);
    double before = cpu_seconds_of_children();
    program_run(&result, ARGS("sh", "-c", "exec \"$0\" simulate --summary \"$1\" >/dev/null", cbmctl_program(), path),
                NULL, 60000);
    double seconds = cpu_seconds_of_children() - before;
    unlink(path);
    cr_assert_eq(result.status, 0, "%s", result.err);
    snprintf(expected, sizeof(expected), "steps: %ld\n", steps);
    cr_assert(has(result.err, expected));
    program_result_deinit(&result);
    cr_assert_lt(seconds, 2.0);
}

Test(cbmctl_simulate, help_explains_lines_steps_and_fields)
{
    program_result result;
    program_run(&result, ARGS(cbmctl_program(), "simulate", "--help"), NULL, CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 0);
    static const char *const parts[] = {
        "Usage: cbmctl simulate ", "--policy=", "--summary", "\"op\":\"acquire\"", "half_open_permits",
        "\n  failure_threshold (", "\n   65  "};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        cr_assert(has(result.out, parts[i]));
    program_result_deinit(&result);
}

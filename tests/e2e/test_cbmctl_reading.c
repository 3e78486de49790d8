/* cbmctl's reading commands: JSON, tables, colours, check; and report, reset and the manual controls. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cbm.h"
#include "cbmctl_program.h"

TestSuite(cbmctl_reading, .timeout = 60);

#define NOWHERE "ipc:///nonexistent/cbm.sock"

static bool has(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        return true;
    fprintf(stderr, "`%s' is not in:\n%s\n", part, text);
    return false;
}

static const char *state_word(const char *address, const char *name, char word[32])
{
    json_t *state = cbmctl_state(address, name);
    const char *value = json_string_value(json_object_get(state, "state"));
    snprintf(word, 32, "%s", value != NULL ? value : "none");
    json_decref(state);
    return word;
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------- */

Test(cbmctl_reading, each_reading_command_prints_json)
{
    broker *b = broker_start_unlimited();
    const char *const commands[][3] = {{"get", "api"}, {"states"}, {"states", "a*"}, {"stats"},
                                       {"info"},       {"ping"},   {"check", "api"}};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        json_t *reply = cbmctl_json(b->address, commands[i]);
        cr_assert(json_is_true(json_object_get(reply, "success")), "%s", commands[i][0]);
        cr_assert(json_is_string(json_object_get(reply, "message")), "%s", commands[i][0]);
        cr_assert(json_is_object(json_object_get(reply, "data")), "%s", commands[i][0]);
        json_decref(reply);
    }
    json_t *stats = cbmctl_json(b->address, ARGS("stats")), *data = json_object_get(stats, "data");
    static const char *const fields[] = {"total_operations",     "breakers_count",          "rate_limited_count",
                                         "rate_limit_window_ms", "current_rate_limit_size", "max_rate_limit"};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        cr_assert(json_is_integer(json_object_get(data, fields[i])), "%s", fields[i]);
    cr_assert_not_null(json_object_get(json_object_get(data, "breakers"), "api"));
    json_decref(stats);
    broker_free(b);
}

Test(cbmctl_reading, what_fails_prints_json_too)
{
    program_result result;
    json_error_t error;
    cbmctl_run(&result, NOWHERE, ARGS("states", "--json"));
    cr_assert_eq(result.status, 69);
    json_t *reply = json_loads(result.out, 0, &error);
    cr_assert_not_null(reply, "%s", result.out);
    cr_assert(json_is_false(json_object_get(reply, "success")));
    cr_assert_str_eq(json_string_value(json_object_get(reply, "error")), "away");
    cr_assert(has(result.err, NOWHERE));
    json_decref(reply);
    program_result_deinit(&result);
}

Test(cbmctl_reading, pages_are_put_together)
{
    enum { BREAKERS = 700 };
    broker *b = broker_start_unlimited();
    cbm_client *client = NULL;
    cr_assert_eq(cbm_open(&client, b->address, NULL), 0);
    for (int i = 0; i < BREAKERS; i++) {
        char name[32];
        cbm_breaker *breaker;
        snprintf(name, sizeof(name), "b%03d", i);
        cr_assert_eq(cbm_get(client, name, NULL, &breaker), 0);
    }
    cbm_close(client);
    json_t *states = cbmctl_json(b->address, ARGS("states")), *stats = cbmctl_json(b->address, ARGS("stats"));
    cr_assert_eq(json_object_size(json_object_get(states, "data")), BREAKERS);
    cr_assert_null(json_object_get(states, "next"));
    cr_assert_eq(json_object_size(json_object_get(json_object_get(stats, "data"), "breakers")), BREAKERS);
    cr_assert_null(json_object_get(stats, "next"));
    int expected = 0;
    const char *name;
    json_t *state;
    json_object_foreach(json_object_get(states, "data"), name, state)
    {
        char in_order[32];
        snprintf(in_order, sizeof(in_order), "b%03d", expected++);
        cr_assert_str_eq(name, in_order);
        cr_assert_str_eq(json_string_value(json_object_get(state, "name")), name);
    }
    json_decref(states);
    json_decref(stats);
    json_t *some = cbmctl_json(b->address, ARGS("states", "b?0[1-3]"));
    cr_assert_eq(json_object_size(json_object_get(some, "data")), 21);
    json_decref(some);
    broker_free(b);
}

Test(cbmctl_reading, any_name_is_sent_as_it_stands)
{
    static const char *const names[] = {"a b",          "a=b",   "\"quoted\"", "back\\slash",
                                        "h\xc3\xbcgel", "star*", "-dash",      "[a-z]?"};
    broker *b = broker_start_unlimited();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *reply = cbmctl_json(b->address, ARGS("get", "--", names[i]));
        const char *name = json_string_value(json_object_get(json_object_get(reply, "data"), "name"));
        cr_assert_str_eq(name, names[i]);
        json_decref(reply);
        cr_assert_eq(cbmctl_status(b->address, ARGS("force-open", "--", names[i])), 0);
        cr_assert_eq(cbmctl_status(b->address, ARGS("check", "-q", "--", names[i])), 75, "%s", names[i]);
    }
    cr_assert_eq(cbmctl_status(b->address, ARGS("check", "-q", "starling")), 0, "a name is no pattern");
    broker_free(b);
}

/* ---- tables ------------------------------------------------------------------------------------------------------------- */

static size_t column_of(const char *line, const char *word)
{
    const char *at = strstr(line, word);
    cr_assert_not_null(at, "`%s' is in `%s'", word, line);
    size_t column = 0;
    for (; line < at; line++)
        column += ((unsigned char)*line & 0xc0) != 0x80;
    return column;
}

Test(cbmctl_reading, tables_are_aligned)
{
    broker *b = broker_start_unlimited();
    program_result result;
    char *lines[8];
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "a")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "a_name_that_is_rather_long")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "h\xc3\xbcgel")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("report", "a", "failure", "--error-text", "it broke")), 0);
    cbmctl_run(&result, b->address, ARGS("states"));
    cr_assert_eq(result.status, 0);
    cr_assert_eq(lines_of(result.out, lines, 8), 4);
    for (size_t i = 1; i < 4; i++) {
        cr_assert_eq(column_of(lines[i], "CLOSED"), column_of(lines[0], "STATE"));
        cr_assert(lines[i][strlen(lines[i]) - 1] != ' ');
    }
    cr_assert_eq(column_of(lines[1], "1/5") + 3, column_of(lines[0], "FAILURES") + 8, "numbers stand at the right");
    cr_assert_eq(column_of(lines[1], "it broke"), column_of(lines[0], "REASON"));
    program_result_deinit(&result);
    cbmctl_run(&result, b->address, ARGS("stats"));
    cr_assert(has(result.out, "breakers_count"));
    cr_assert(has(result.out, "a_name_that_is_rather_long"));
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_reading, colours_are_for_terminals_alone)
{
    broker *b = broker_start_unlimited();
    program_result result;
    background terminal;
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "api")), 0);
    cbmctl_run(&result, b->address, ARGS("states"));
    cr_assert_null(strchr(result.out, '\033'));
    program_result_deinit(&result);
    cbmctl_run(&result, b->address, ARGS("states", "--color=always"));
    cr_assert(has(result.out, "\033[32mCLOSED\033[0m"));
    program_result_deinit(&result);

    unsetenv("NO_COLOR");
    setenv("TERM", "xterm", 1);
    background_cbmctl(&terminal, BACKGROUND_TERMINAL, b->address, ARGS("states"));
    cr_assert_eq(background_end(&terminal), 0);
    cr_assert(has(terminal.text, "\033[32mCLOSED\033[0m"));
    background_cbmctl(&terminal, BACKGROUND_TERMINAL, b->address, ARGS("states", "--color=never"));
    cr_assert_eq(background_end(&terminal), 0);
    cr_assert_null(strchr(terminal.text, '\033'));
    setenv("NO_COLOR", "1", 1);
    background_cbmctl(&terminal, BACKGROUND_TERMINAL, b->address, ARGS("states"));
    cr_assert_eq(background_end(&terminal), 0);
    cr_assert_null(strchr(terminal.text, '\033'));
    broker_free(b);
}

Test(cbmctl_reading, output_that_cannot_be_written_is_an_error)
{
    broker *b = broker_start_unlimited();
    program_result result;
    program_run(&result, ARGS("sh", "-c", "exec \"$0\" -a \"$1\" stats >/dev/full", cbmctl_program(), b->address), NULL,
                CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 74);
    program_result_deinit(&result);
    broker_free(b);
}

/* ---- help and usage ------------------------------------------------------------------------------------------------------ */

Test(cbmctl_reading, help_explains_each_policy_field_and_the_exit_statuses)
{
    static const char *const fields[] = {
        "rule",          "failure_threshold", "window_size",        "window_s",        "minimum_calls",
        "failure_rate",  "slow_call_rate",    "timeout_ms",         "timeout_max_ms",  "slow_call_duration_ms",
        "jitter",        "success_threshold", "backoff_multiplier", "half_open_calls", "half_open_max_wait_ms",
        "on_abandon",    "permit_lease_ms",   "failure_spacing_ms", "open_for_max_ms", "expire_after_s",
        "policy_version"};
    static const char *const commands[] = {"get", "run", "configure"};
    for (size_t c = 0; c < 3; c++) {
        program_result result;
        cbmctl_run(&result, NOWHERE, ARGS(commands[c], "--help"));
        cr_assert_eq(result.status, 0);
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
            char start[64];
            snprintf(start, sizeof(start), "\n  %s (", fields[i]);
            cr_assert(has(result.out, start));
        }
        cr_assert(has(result.out, "\n   75  "));
        program_result_deinit(&result);
    }
}

Test(cbmctl_reading, help_lists_the_commands_and_each_has_its_own)
{
    static const char *const commands[] = {"run",    "check",  "report",     "get",     "states",        "stats",
                                           "reset",  "ping",   "reset-all",  "info",    "reset-manager", "configure",
                                           "remove", "enable", "force-open", "disable", "metrics-only",  "command"};
    program_result all, one;
    cbmctl_run(&all, NOWHERE, ARGS("--help"));
    cr_assert_eq(all.status, 0);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char start[64];
        snprintf(start, sizeof(start), "\n  %s ", commands[i]);
        cr_assert(has(all.out, start));
        cbmctl_run(&one, NOWHERE, ARGS(commands[i], "--help"));
        cr_assert_eq(one.status, 0);
        snprintf(start, sizeof(start), "Usage: cbmctl %s ", commands[i]);
        cr_assert_eq(strncmp(one.out, start, strlen(start)), 0, "%s", one.out);
        program_result_deinit(&one);
    }
    program_result_deinit(&all);
    cbmctl_run(&one, NOWHERE, ARGS("--version"));
    cr_assert_eq(one.status, 0);
    cr_assert_eq(strncmp(one.out, "cbmctl ", 7), 0);
    program_result_deinit(&one);
}

Test(cbmctl_reading, wrong_usage_is_64_and_asks_nobody)
{
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("sates")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("states", "a", "b")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("get")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("get", "api", "failure_threshold=0")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("get", "api", "no_such_field=1")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("configure", "api")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("report", "api", "maybe")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("report", "api", "failure", "--open-for", "soon")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("ping", "--color=pink")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("ping", "--deadline=0")), 64);
    cr_assert_eq(cbmctl_status("tcp://127.0.0.1:1", ARGS("ping")), 64);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("get", "not utf-8: \xff")), 64);
}

/* ---- check --------------------------------------------------------------------------------------------------------------- */

Test(cbmctl_reading, check_takes_no_permit)
{
    broker *b = broker_start_unlimited();
    char word[32];
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "api", "failure_threshold=1", "timeout_ms=50")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "false")), 1);
    cbmctl_wait_check(b->address, "api", 0);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(cbmctl_status(b->address, ARGS("check", "api")), 0);
    cr_assert_str_eq(state_word(b->address, "api", word), "OPEN", "it is still to be probed");
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "true")), 0);
    cr_assert_str_eq(state_word(b->address, "api", word), "CLOSED");
    broker_free(b);
}

Test(cbmctl_reading, check_tells_why_a_call_would_not_pass)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cr_assert_eq(cbmctl_status(b->address, ARGS("report", "api", "failure", "--open-for", "10m")), 0);
    cbmctl_run(&result, b->address, ARGS("check", "api"));
    cr_assert_eq(result.status, 75);
    cr_assert(has(result.err, "cbmctl: api: OPEN, try again in "));
    program_result_deinit(&result);
    cbmctl_run(&result, b->address, ARGS("check", "--json", "-q", "api"));
    cr_assert_eq(result.status, 75);
    cr_assert_str_eq(result.err, "");
    json_t *reply = json_loads(result.out, 0, NULL), *data = json_object_get(reply, "data");
    cr_assert(json_is_false(json_object_get(data, "passes")));
    cr_assert_gt(json_integer_value(json_object_get(data, "retry_after_ms")), 500000);
    json_decref(reply);
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_reading, check_passes_what_is_unknown_and_creates_nothing)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("check", "unknown")), 0);
    cr_assert_null(cbmctl_state(b->address, "unknown"));
    broker_free(b);
}

Test(cbmctl_reading, check_refuses_what_can_be_no_name)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("check", "")), 64, "an empty variable is no breaker that is well");
    cr_assert_eq(cbmctl_status(b->address, ARGS("check", "a\nb")), 64);
    broker_free(b);
}

Test(cbmctl_reading, check_without_a_broker_passes_with_a_warning_unless_told_otherwise)
{
    program_result result;
    cbmctl_run(&result, NOWHERE, ARGS("check", "api"));
    cr_assert_eq(result.status, 0);
    cr_assert(has(result.err, NOWHERE));
    program_result_deinit(&result);
    cbmctl_run(&result, NOWHERE, ARGS("check", "api", "--quiet"));
    cr_assert_eq(result.status, 0);
    cr_assert_str_eq(result.err, "");
    program_result_deinit(&result);
    cr_assert_eq(cbmctl_status(NOWHERE, ARGS("check", "api", "--fail-closed")), 69);
}

Test(cbmctl_reading, all_other_commands_need_the_broker)
{
    const char *const commands[][3] = {{"get", "api"},
                                       {"states"},
                                       {"stats"},
                                       {"info"},
                                       {"ping"},
                                       {"reset", "api"},
                                       {"reset-all"},
                                       {"reset-manager"},
                                       {"disable", "api"},
                                       {"enable", "api"},
                                       {"remove", "api"},
                                       {"force-open", "api"},
                                       {"metrics-only", "api"},
                                       {"command", "ping"}};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        cr_assert_eq(cbmctl_status(NOWHERE, commands[i]), 69, "%s", commands[i][0]);
    cr_assert_eq(cbmctl_status("local:", ARGS("stats")), 1);
}

/* ---- what changes something ------------------------------------------------------------------------------------------------ */

Test(cbmctl_reading, get_tells_what_differs_from_what_was_asked)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cbmctl_run(&result, b->address, ARGS("get", "api", "failure_threshold=3", "timeout=30s"));
    cr_assert_eq(result.status, 0);
    cr_assert(has(result.out, "CLOSED"));
    cr_assert_str_eq(result.err, "");
    program_result_deinit(&result);
    cbmctl_run(&result, b->address, ARGS("get", "api", "--failure-threshold=4"));
    cr_assert_eq(result.status, 0);
    cr_assert(has(result.err, "failure_threshold stays 3"));
    program_result_deinit(&result);
    cr_assert_eq(cbmctl_status(b->address, ARGS("configure", "api", "failure_threshold=4")), 0);
    json_t *state = cbmctl_state(b->address, "api");
    cr_assert_eq(json_integer_value(json_object_get(state, "threshold")), 4);
    cr_assert_eq(json_integer_value(json_object_get(state, "timeout_ms")), 30000);
    json_decref(state);
    broker_free(b);
}

Test(cbmctl_reading, reports_count_and_open)
{
    broker *b = broker_start_unlimited();
    char word[32];
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "api", "failure_threshold=2")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("report", "api", "success", "--duration-ms", "12")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("report", "api", "ignored")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("report", "api", "timeout")), 0);
    cr_assert_str_eq(state_word(b->address, "api", word), "CLOSED");
    cr_assert_eq(cbmctl_status(b->address, ARGS("report", "api", "failure", "--error-text", "503 busy")), 0);
    cr_assert_str_eq(state_word(b->address, "api", word), "OPEN");
    cr_assert_eq(cbmctl_statistic(b->address, "api", "timeout_calls"), 1);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "ignored_calls"), 1);
    json_t *state = cbmctl_state(b->address, "api");
    cr_assert_str_eq(json_string_value(json_object_get(state, "last_error_text")), "503 busy");
    json_decref(state);
    broker_free(b);
}

Test(cbmctl_reading, reset_closes_one_reset_all_every_and_reset_manager_forgets)
{
    broker *b = broker_start_unlimited();
    char word[32];
    cr_assert_eq(cbmctl_status(b->address, ARGS("report", "a", "failure", "--open-for=60")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("report", "b", "failure", "--open-for=60")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("reset", "a")), 0);
    cr_assert_str_eq(state_word(b->address, "a", word), "CLOSED");
    cr_assert_str_eq(state_word(b->address, "b", word), "OPEN");
    cr_assert_eq(cbmctl_status(b->address, ARGS("reset-all")), 0);
    cr_assert_str_eq(state_word(b->address, "b", word), "CLOSED");
    cr_assert_eq(cbmctl_statistic(b->address, "b", "failed_calls"), 1);
    cr_assert_eq(cbmctl_status(b->address, ARGS("reset-manager")), 0);
    cr_assert_str_eq(state_word(b->address, "a", word), "none");
    cr_assert_eq(cbmctl_status(b->address, ARGS("reset", "a")), 1, "not_found");
    broker_free(b);
}

Test(cbmctl_reading, a_breaker_can_be_steered_by_hand)
{
    broker *b = broker_start_unlimited();
    char word[32];
    program_result result;
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "api")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("force-open", "api", "--reason=moving house", "--for=10m")), 0);
    cr_assert_str_eq(state_word(b->address, "api", word), "FORCED_OPEN");
    cbmctl_run(&result, b->address, ARGS("states"));
    cr_assert(has(result.out, "moving house"));
    program_result_deinit(&result);
    cr_assert_eq(cbmctl_status(b->address, ARGS("check", "-q", "api")), 75);
    cr_assert_eq(cbmctl_status(b->address, ARGS("disable", "api")), 0);
    cr_assert_str_eq(state_word(b->address, "api", word), "DISABLED");
    cr_assert_eq(cbmctl_status(b->address, ARGS("check", "-q", "api")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("metrics-only", "api")), 0);
    cr_assert_str_eq(state_word(b->address, "api", word), "METRICS_ONLY");
    cr_assert_eq(cbmctl_status(b->address, ARGS("enable", "api", "--reason", "moved")), 0);
    cr_assert_str_eq(state_word(b->address, "api", word), "CLOSED");
    cr_assert_eq(cbmctl_status(b->address, ARGS("force-open", "api", "--for=50ms")), 0);
    cr_assert(cbmctl_becomes(b->address, "api", "CLOSED"));
    cr_assert_eq(cbmctl_status(b->address, ARGS("disable", "unknown")), 1);
    broker_free(b);
}

Test(cbmctl_reading, remove_takes_away_what_matches)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "a1")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "a2")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "b1")), 0);
    cbmctl_run(&result, b->address, ARGS("remove", "a*"));
    cr_assert_eq(result.status, 0);
    cr_assert_str_eq(result.out, "2 removed\n");
    program_result_deinit(&result);
    json_t *states = cbmctl_json(b->address, ARGS("states"));
    cr_assert_eq(json_object_size(json_object_get(states, "data")), 1);
    json_decref(states);
    broker_free(b);
}

Test(cbmctl_reading, a_text_command_prints_the_reply)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cbmctl_run(&result, b->address, ARGS("command", "get", "api", "timeout=30"));
    cr_assert_eq(result.status, 0);
    json_t *reply = json_loads(result.out, 0, NULL);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(reply, "data"), "timeout_ms")), 30000);
    json_decref(reply);
    program_result_deinit(&result);
    cbmctl_run(&result, b->address, ARGS("command", "dance"));
    cr_assert_eq(result.status, 1);
    reply = json_loads(result.out, 0, NULL);
    cr_assert_str_eq(json_string_value(json_object_get(reply, "error")), "unknown_op");
    json_decref(reply);
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_reading, the_environment_names_the_broker_too)
{
    broker *b = broker_start_unlimited();
    program_result result;
    setenv("CBM_ADDRESS", b->address, 1);
    program_run(&result, ARGS(cbmctl_program(), "ping"), NULL, CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 0);
    cr_assert(has(result.out, b->address), "ping tells whom it asked");
    program_result_deinit(&result);
    broker_free(b);
}

/* cbmctl run: a command under a breaker. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbmctl_program.h"

TestSuite(cbmctl_run, .timeout = 60);

static bool has(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        return true;
    fprintf(stderr, "`%s' is not in:\n%s\n", part, text);
    return false;
}

/* An open circuit by the name of "api". */
static broker *broker_with_open_circuit(const char *timeout)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "api", "failure_threshold=1", timeout)), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "false")), 1);
    return b;
}

/* ---- exit statuses -------------------------------------------------------------------------------------------------- */

Test(cbmctl_run, the_exit_status_is_the_commands)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "true")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "sh", "-c", "exit 7")), 7);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "sh", "-c", "exit 255")), 255);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "sh", "-c", "kill -KILL $$")), 137);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "successful_calls"), 1);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "failed_calls"), 3);
    broker_free(b);
}

Test(cbmctl_run, the_two_dashes_may_be_left_out)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "failure_threshold=9", "sh", "-c", "exit 3")), 3);
    json_t *state = cbmctl_state(b->address, "api");
    cr_assert_eq(json_integer_value(json_object_get(state, "threshold")), 9);
    json_decref(state);
    broker_free(b);
}

Test(cbmctl_run, what_failed_is_kept_as_the_last_error)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "sh", "-c", "exit 22")), 22);
    json_t *state = cbmctl_state(b->address, "api");
    cr_assert_str_eq(json_string_value(json_object_get(state, "last_error_text")), "exit status 22");
    json_decref(state);
    broker_free(b);
}

Test(cbmctl_run, a_command_that_cannot_be_executed_is_no_failure_of_the_dependency)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cbmctl_run(&result, b->address, ARGS("run", "api", "failure_threshold=1", "--", "/no/such/program"));
    cr_assert_eq(result.status, 127);
    cr_assert(has(result.err, "/no/such/program"));
    program_result_deinit(&result);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "/etc/passwd")), 126);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "ignored_calls"), 2);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "failed_calls"), 0);
    broker_free(b);
}

Test(cbmctl_run, lists_of_statuses_say_what_is_a_success_and_what_is_nothing)
{
    broker *b = broker_start_unlimited();
    const char *address = b->address;
    cr_assert_eq(cbmctl_status(address, ARGS("run", "api", "--ignore-status=64-78,3", "--", "sh", "-c", "exit 70")),
                 70);
    cr_assert_eq(cbmctl_status(address, ARGS("run", "api", "--success-status", "4", "--", "sh", "-c", "exit 4")), 4);
    cr_assert_eq(cbmctl_status(address, ARGS("run", "api", "--success-status", "4", "--", "true")), 0);
    cr_assert_eq(cbmctl_statistic(address, "api", "ignored_calls"), 1);
    cr_assert_eq(cbmctl_statistic(address, "api", "successful_calls"), 2);
    cr_assert_eq(cbmctl_statistic(address, "api", "failed_calls"), 0);
    cr_assert_eq(cbmctl_status(address, ARGS("run", "api", "--ignore-status", "1-300", "--", "true")), 64);
    cr_assert_eq(cbmctl_status(address, ARGS("run", "api", "--ignore-status=5", "--success-status=5", "--", "true")),
                 64);
    cr_assert_eq(cbmctl_statistic(address, "api", "total_calls"), 3);
    broker_free(b);
}

Test(cbmctl_run, wrong_usage_runs_nothing)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cbmctl_run(&result, b->address, ARGS("run", "api", "failure_treshold=3", "--", "echo", "ran"));
    cr_assert_eq(result.status, 64);
    cr_assert_str_eq(result.out, "");
    cr_assert(has(result.err, "failure_treshold"));
    program_result_deinit(&result);
    cbmctl_run(&result, b->address, ARGS("run", "api", "timeout_ms=5000", "timeout_max_ms=5", "--", "echo", "ran"));
    cr_assert_eq(result.status, 64);
    cr_assert_str_eq(result.out, "");
    cr_assert(has(result.err, "timeout_max_ms"));
    program_result_deinit(&result);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "bad\nname", "--", "true")), 64);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--")), 64);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run")), 64);
    broker_free(b);
}

/* ---- refusals --------------------------------------------------------------------------------------------------------- */

Test(cbmctl_run, an_open_circuit_runs_nothing_and_tells_when_to_try_again)
{
    broker *b = broker_with_open_circuit("timeout=60");
    program_result result;
    cbmctl_run(&result, b->address, ARGS("run", "api", "--", "echo", "ran"));
    cr_assert_eq(result.status, 75);
    cr_assert_str_eq(result.out, "");
    cr_assert(has(result.err, "cbmctl: api: not run, "));
    cr_assert(has(result.err, "open"));
    cr_assert(has(result.err, "try again in 5") || has(result.err, "try again in 1 min"));
    cr_assert_eq(strchr(result.err, '\n'), result.err + strlen(result.err) - 1, "it is one line");
    program_result_deinit(&result);
    cbmctl_run(&result, b->address, ARGS("run", "api", "--quiet", "--", "echo", "ran"));
    cr_assert_eq(result.status, 75);
    cr_assert_str_eq(result.err, "");
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_run, the_probe_closes_the_circuit_for_everybody)
{
    broker *b = broker_with_open_circuit("timeout_ms=50");
    cbmctl_wait_check(b->address, "api", 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "true")), 0);
    cr_assert(cbmctl_becomes(b->address, "api", "CLOSED"));
    broker_free(b);
}

Test(cbmctl_run, while_the_probe_is_out_nothing_else_runs)
{
    broker *b = broker_with_open_circuit("timeout_ms=50");
    cbmctl_wait_check(b->address, "api", 0);
    background probe;
    background_cbmctl(&probe, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "--", "sh", "-c", "echo out; cat"));
    cr_assert(background_says(&probe, "out"));
    program_result result;
    cbmctl_run(&result, b->address, ARGS("run", "api", "--", "echo", "ran"));
    cr_assert_eq(result.status, 75);
    cr_assert_str_eq(result.out, "");
    cr_assert(has(result.err, "try again when its probe is over"), "a probe without --timeout has no end to name");
    program_result_deinit(&result);
    cr_assert_eq(background_end(&probe), 0);
    cr_assert(cbmctl_becomes(b->address, "api", "CLOSED"));
    broker_free(b);
}

Test(cbmctl_run, a_probe_with_a_timeout_has_a_lease_that_ends)
{
    broker *b = broker_with_open_circuit("timeout_ms=50");
    cbmctl_wait_check(b->address, "api", 0);
    background probe;
    background_cbmctl(&probe, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "--timeout=100", "--kill-after=20", "--", "sh", "-c", "echo out; cat"));
    cr_assert(background_says(&probe, "out"));
    program_result result;
    cbmctl_run(&result, b->address, ARGS("run", "api", "--", "echo", "ran"));
    cr_assert_eq(result.status, 75);
    cr_assert(has(result.err, "try again in 2 min") || has(result.err, "try again in 1 min"),
              "100 s and 20 s and one more");
    program_result_deinit(&result);
    cr_assert_eq(background_end(&probe), 0);
    broker_free(b);
}

Test(cbmctl_run, when_cbmctl_is_killed_its_probe_is_given_up)
{
    broker *b = broker_with_open_circuit("timeout_ms=50");
    cbmctl_wait_check(b->address, "api", 0);
    background probe;
    background_cbmctl(&probe, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "--", "sh", "-c", "echo out; cat"));
    cr_assert(background_says(&probe, "out"));
    cr_assert(cbmctl_becomes(b->address, "api", "HALF_OPEN"));
    kill(probe.pid, SIGKILL);
    cr_assert_eq(background_end(&probe), 137);
    cr_assert(cbmctl_becomes(b->address, "api", "OPEN"));
    cr_assert_eq(cbmctl_statistic(b->address, "api", "abandoned"), 1);
    broker_free(b);
}

Test(cbmctl_run, a_circuit_opened_by_hand_tells_so)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "api")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("force-open", "api", "--reason", "moving house")), 0);
    cbmctl_run(&result, b->address, ARGS("run", "api", "--", "echo", "ran"));
    cr_assert_eq(result.status, 75);
    cr_assert_str_eq(result.out, "");
    cr_assert(has(result.err, "by hand (moving house)"));
    cr_assert(has(result.err, "until somebody enables it"));
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_run, the_rate_limit_refuses_too)
{
    broker *b = broker_start(&(broker_options){.arguments = {"--rate-limit", "1", "--rate-window-ms", "600000"}});
    program_result result;
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "api")), 0);
    cbmctl_run(&result, b->address, ARGS("run", "api", "--", "echo", "ran"));
    cr_assert_eq(result.status, 75);
    cr_assert_str_eq(result.out, "");
    cr_assert(has(result.err, "rate limit"));
    program_result_deinit(&result);
    broker_free(b);
}

/* ---- what the command finds ------------------------------------------------------------------------------------------- */

Test(cbmctl_run, input_and_output_pass_through_untouched)
{
    enum { SIZE = 300000 };
    broker *b = broker_start_unlimited();
    char *input = malloc(SIZE + 1);
    cr_assert_not_null(input);
    for (int i = 0; i < SIZE; i++)
        input[i] = (char)(i % 251 + 1);
    input[SIZE] = '\0';
    program_result result;
    program_run(&result,
                ARGS(cbmctl_program(), "-a", b->address, "run", "api", "--", "sh", "-c", "cat; echo heard >&2"), input,
                CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 0);
    cr_assert_eq(result.out_size, SIZE);
    cr_assert_eq(memcmp(result.out, input, SIZE), 0);
    cr_assert_str_eq(result.err, "heard\n");
    program_result_deinit(&result);
    free(input);
    broker_free(b);
}

Test(cbmctl_run, the_command_inherits_no_descriptor_of_ours)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cbmctl_run(&result, b->address, ARGS("run", "api", "--", "ls", "/proc/self/fd"));
    cr_assert_eq(result.status, 0);
    cr_assert_str_eq(result.out, "0\n1\n2\n3\n", "3 is the directory that ls reads");
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_run, a_standard_descriptor_that_was_closed_is_closed_for_the_command)
{
    broker *b = broker_start_unlimited();
    program_result result;
    const char *script = "\"$0\" -a \"$1\" run api -- sh -c 'test ! -e /proc/self/fd/0 && test -e /proc/self/fd/1' <&-";
    program_run(&result, ARGS("sh", "-c", script, cbmctl_program(), b->address), NULL, CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 0, "%s", result.err);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "successful_calls"), 1);
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_run, the_command_finds_signals_as_they_were_before_us)
{
    broker *b = broker_start_unlimited();
    program_result result;
    program_result without_us;
    program_run(&without_us, ARGS("grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"), NULL, CBMCTL_DEADLINE_MS);
    cbmctl_run(&result, b->address, ARGS("run", "api", "--", "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"));
    cr_assert(has(result.out, "SigBlk:\t0000000000000000"));
    cr_assert_str_eq(result.out, without_us.out);
    program_result_deinit(&without_us);
    program_result_deinit(&result);
    const char *script = "trap '' HUP; exec \"$0\" -a \"$1\" run api -- grep -c '^SigIgn:.*1$' /proc/self/status";
    program_run(&result, ARGS("sh", "-c", script, cbmctl_program(), b->address), NULL, CBMCTL_DEADLINE_MS);
    cr_assert_str_eq(result.out, "1\n", "nohup goes through");
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_run, an_ignored_sigchld_does_not_lose_the_status)
{
    broker *b = broker_start_unlimited();
    program_result result;
    const char *script = "trap '' CHLD; exec \"$0\" -a \"$1\" run api -- sh -c 'exit 6'";
    program_run(&result, ARGS("sh", "-c", script, cbmctl_program(), b->address), NULL, CBMCTL_DEADLINE_MS);
    cr_assert_eq(result.status, 6, "%s", result.err);
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_run, the_duration_is_reported)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--", "sleep", "0.2")), 0);
    json_t *state = cbmctl_state(b->address, "api");
    double p50_ms = json_number_value(json_object_get(json_object_get(state, "statistics"), "p50_ms"));
    cr_assert(p50_ms > 100 && p50_ms < 20000, "%g", p50_ms);
    json_decref(state);
    broker_free(b);
}

Test(cbmctl_run, the_correlation_id_stands_in_the_brokers_log)
{
    broker *b = broker_with_open_circuit("timeout=60");
    cr_assert_eq(cbmctl_status(b->address, ARGS("--correlation-id=job-17", "run", "api", "--", "true")), 75);
    char *line = broker_wait_log(b, ARGS("job-17", "api"), CBMCTL_DEADLINE_MS);
    cr_assert_not_null(line);
    free(line);
    broker_free(b);
}

Test(cbmctl_run, policy_options_make_the_breaker)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--failure-threshold=2", "timeout_ms=1234",
                                                "expire_after_s=0", "--on_abandon", "release", "--", "true")),
                 0);
    json_t *state = cbmctl_state(b->address, "api"), *policy = json_object_get(state, "policy");
    cr_assert_eq(json_integer_value(json_object_get(policy, "failure_threshold")), 2);
    cr_assert_eq(json_integer_value(json_object_get(policy, "timeout_ms")), 1234);
    cr_assert_eq(json_integer_value(json_object_get(policy, "expire_after_s")), 0);
    cr_assert_str_eq(json_string_value(json_object_get(policy, "on_abandon")), "release");
    json_decref(state);
    broker_free(b);
}

/* ---- --timeout ----------------------------------------------------------------------------------------------------------- */

Test(cbmctl_run, a_command_that_takes_too_long_is_ended_and_counts_as_a_timeout)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--timeout", "100ms", "--", "sleep", "1000")), 124);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "timeout_calls"), 1);
    json_t *state = cbmctl_state(b->address, "api");
    cr_assert(has(json_string_value(json_object_get(state, "last_error_text")), "timed out after"));
    json_decref(state);
    broker_free(b);
}

Test(cbmctl_run, one_that_does_not_heed_sigterm_is_killed)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--timeout=100ms", "--kill-after=100ms", "--", "sh", "-c",
                                                "trap '' TERM; while :; do sleep 0.1; done")),
                 124);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "timeout_calls"), 1);
    broker_free(b);
}

Test(cbmctl_run, one_that_ends_well_after_sigterm_timed_out_all_the_same)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--timeout=300ms", "--", "sh", "-c",
                                                "trap 'exit 0' TERM; while :; do sleep 0.02; done")),
                 124);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "timeout_calls"), 1);
    broker_free(b);
}

Test(cbmctl_run, a_stopped_command_is_ended_too)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--timeout=300ms", "--kill-after=1h", "--", "sh", "-c",
                                                "kill -STOP $$")),
                 124);
    broker_free(b);
}

Test(cbmctl_run, a_timeout_that_is_not_reached_changes_nothing)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--timeout=1h", "--", "sh", "-c", "exit 5")), 5);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "api", "--timeout=0", "--", "true")), 0);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "timeout_calls"), 0);
    broker_free(b);
}

/* Gone, or dead and waiting for somebody to ask for its status. */
static bool is_dead(void *context)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof(path), "/proc/%d/stat", *(pid_t *)context);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return true;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    fclose(file);
    return state == 'Z';
}

Test(cbmctl_run, without_a_terminal_a_timeout_ends_what_the_command_started_too)
{
    broker *b = broker_start_unlimited();
    background command;
    background_cbmctl(&command, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "--timeout=500ms", "--", "sh", "-c", "sleep 1000 & echo pid $!.; wait"));
    cr_assert(background_says(&command, "."));
    pid_t grandchild = (pid_t)strtol(strstr(command.text, "pid ") + 4, NULL, 10);
    cr_assert_gt(grandchild, 1);
    cr_assert_eq(background_end(&command), 124);
    cr_assert(wait_until(is_dead, &grandchild, CBMCTL_DEADLINE_MS));
    broker_free(b);
}

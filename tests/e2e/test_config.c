/* cbmd --config: what the file says wins, SIGHUP reads it again, and a bad one changes nothing. */
#include "clients.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(config, .timeout = 60);

/* ---- A broker with a config file --------------------------------------------------------------------------------------- */

typedef struct configured {
    char directory[64];
    char path[80];
    broker *broker;
} configured;

static void write_config(const configured *c, const char *text)
{
    FILE *file = fopen(c->path, "we");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
}

static configured config_of(const char *text)
{
    configured c = {.directory = "/tmp/cbm-e2e-config-XXXXXX"};
    cr_assert_not_null(mkdtemp(c.directory));
    snprintf(c.path, sizeof c.path, "%s/cbm.conf", c.directory);
    write_config(&c, text);
    return c;
}

/* With an option and its value (NULL: none) on the command line. */
static configured start_with(const char *text, const char *option, const char *value)
{
    configured c = config_of(text);
    c.broker = broker_start(&(broker_options){.arguments = {"--config", c.path, option, value}});
    return c;
}

static configured start(const char *text)
{
    return start_with(text, NULL, NULL);
}

static void end(configured *c)
{
    if (c->broker != NULL)
        broker_free(c->broker);
    unlink(c->path);
    rmdir(c->directory);
}

static void wait_line(const configured *c, const char *first, const char *second)
{
    char *line = broker_wait_log(c->broker, (const char *const[]){first, second, NULL}, HARNESS_DEADLINE_MS);
    if (line == NULL)
        harness_fail("no line of the log has %s; it is:\n%s", first, broker_log(c->broker));
    free(line);
}

/* `sections`, as the log tells when it was read: "sections=2". */
static void reload(const configured *c, const char *text, const char *sections)
{
    write_config(c, text);
    cr_assert_eq(kill(c->broker->pid, SIGHUP), 0);
    wait_line(c, "event=reloaded", sections);
}

static void reload_refused(const configured *c, const char *text, const char *cause)
{
    write_config(c, text);
    cr_assert_eq(kill(c->broker->pid, SIGHUP), 0);
    wait_line(c, "level=error event=reload_refused", cause);
}

/* data of the answer, which must be one of success. */
static json_t *data_of(const configured *c, const char *command)
{
    json_t *answer = ask(c->broker->address, command);
    json_t *data = json_incref(json_object_get(answer, "data"));
    if (data == NULL)
        harness_fail("%s: %s", command, json_dumps(answer, 0));
    json_decref(answer);
    return data;
}

static uint32_t timeout_of(const configured *c, const char *name)
{
    cbm_client *client = client_open(c->broker->address, CBM_FAIL_CLOSED);
    uint32_t timeout_ms = state_of(client, name).timeout_ms;
    cbm_close(client);
    return timeout_ms;
}

/* ---- At the start -------------------------------------------------------------------------------------------------------- */

Test(config, a_section_wins_over_the_client_and_the_answer_says_so)
{
    configured c = start("[breaker \"ha_*\"]\ntimeout_ms = 5000\n[breaker \"ha_x\"]\ntimeout_ms = 6000\n");
    json_t *got = data_of(&c, "get ha_api timeout_ms=1000 failure_threshold=2");
    json_t *differs = json_object_get(got, "differs");
    cr_assert_str_eq(json_string_value(json_object_get(got, "policy_source")), "config");
    cr_assert_eq(json_array_size(differs), 1);
    cr_assert_str_eq(json_string_value(json_array_get(differs, 0)), "timeout_ms");
    json_decref(got);

    cbm_client *client = client_open(c.broker->address, CBM_FAIL_CLOSED);
    cbm_breaker_state state = state_of(client, "ha_api");
    cr_assert_eq(state.timeout_ms, 5000);
    cr_assert_eq(policy_of(client, "ha_api").failure_threshold, 2, "what the section leaves open is the client's");
    cbm_policy policy = CBM_POLICY_INIT;
    policy.timeout_ms = 1000;
    policy.policy_version = 7;
    breaker_get(client, "ha_api", &policy);
    cr_assert_eq(state_of(client, "ha_api").timeout_ms, 5000, "a higher version changes nothing");
    cr_assert_neq(cbm_configure(client, "ha_api", &policy), 0);
    cr_assert_eq(state_of(client, "ha_api").timeout_ms, 5000);
    cbm_close(client);

    json_decref(data_of(&c, "get ha_x timeout_ms=1000"));
    cr_assert_eq(timeout_of(&c, "ha_x"), 6000, "the more specific section speaks");
    got = data_of(&c, "get other timeout_ms=1000");
    cr_assert_str_eq(json_string_value(json_object_get(got, "policy_source")), "created");
    json_decref(got);
    end(&c);
}

Test(config, defaults_stand_where_the_client_says_nothing)
{
    configured c = start("[defaults]\ntimeout_ms = 5000\nfailure_threshold = 3\n");
    cbm_client *client = client_open(c.broker->address, CBM_FAIL_CLOSED);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.timeout_ms = 1000;
    breaker_get(client, "asked", &policy);
    breaker_get(client, "unasked", NULL);
    cr_assert_eq(state_of(client, "asked").timeout_ms, 1000, "the client's own word wins");
    cr_assert_eq(state_of(client, "asked").threshold, 3);
    cr_assert_eq(state_of(client, "unasked").timeout_ms, 5000);
    json_decref(data_of(&c, "call_begin begun"));
    cr_assert_eq(timeout_of(&c, "begun"), 5000, "also of a breaker that a call makes");
    cbm_close(client);
    end(&c);
}

Test(config, the_command_line_wins_over_the_limiter_section)
{
    configured c = start_with("[limiter]\nrate_limit = 7\nrate_window_ms = 5000\n", "--rate-limit", "9");
    json_t *stats = data_of(&c, "stats");
    cr_assert_eq(json_integer_value(json_object_get(stats, "max_rate_limit")), 9);
    cr_assert_eq(json_integer_value(json_object_get(stats, "rate_limit_window_ms")), 5000);
    json_decref(stats);
    end(&c);
}

Test(config, the_file_may_say_where_to_listen)
{
    configured c = config_of("");
    char text[256], address[128], socket_path[96];
    snprintf(socket_path, sizeof socket_path, "%s/cbm.sock", c.directory);
    snprintf(address, sizeof address, "ipc://%s", socket_path);
    snprintf(text, sizeof text, "[broker]\nlisten = %s\nlog_level = error\n", address);
    write_config(&c, text);
    pid_t pid = process_fork();
    if (pid == 0) {
        execl(broker_program(), "cbmd", "--no-store", "--config", c.path, (char *)NULL);
        _exit(127);
    }
    cr_assert(wait_until(raw_accepts, address, HARNESS_DEADLINE_MS));
    kill(pid, SIGTERM);
    cr_assert_eq(process_wait(pid, HARNESS_DEADLINE_MS), 0);
    char lock_path[130];
    snprintf(lock_path, sizeof lock_path, "%s.lock", socket_path);
    unlink(lock_path);
    end(&c);
}

Test(config, a_bad_file_keeps_cbmd_from_starting_and_is_told_with_line_and_cause)
{
    configured c = config_of("[defaults]\n\ntimeout_ms = soon\n");
    char address[96];
    snprintf(address, sizeof address, "ipc://%s/cbm.sock", c.directory);
    program_result result;
    const char *argv[] = {broker_program(), "--listen", address, "--config", c.path, NULL};
    program_run(&result, argv, NULL, HARNESS_DEADLINE_MS);
    cr_assert_eq(result.status, 78);
    cr_assert_not_null(strstr(result.err, "cbm.conf:3: timeout_ms must be"), "%s", result.err);
    program_result_deinit(&result);
    unlink(c.path);
    program_run(&result, argv, NULL, HARNESS_DEADLINE_MS);
    cr_assert_eq(result.status, 78);
    cr_assert_not_null(strstr(result.err, "cbm.conf: No such file"), "%s", result.err);
    program_result_deinit(&result);
    end(&c);
}

/* ---- SIGHUP -------------------------------------------------------------------------------------------------------------- */

Test(config, a_reload_changes_the_timeout_of_an_open_breaker_and_keeps_its_state_and_counts)
{
    configured c = start("[breaker \"ha_*\"]\ntimeout_ms = 500000\nfailure_threshold = 2\n");
    cbm_client *client = client_open(c.broker->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    fail_calls(breaker, 2);
    cbm_breaker_state before = state_of(client, "ha_api");
    cr_assert_eq(before.state, CBM_OPEN);

    reload(&c, "[breaker \"ha_*\"]\ntimeout_ms = 700000\nfailure_threshold = 4\n[breaker \"b\"]\n", "sections=2");
    cbm_breaker_state after = state_of(client, "ha_api");
    cr_assert_eq(after.state, CBM_OPEN);
    cr_assert_eq(after.timeout_ms, 700000);
    cr_assert_eq(policy_of(client, "ha_api").failure_threshold, 4);
    cr_assert_eq(after.failures, before.failures);
    cr_assert_eq(after.epoch, before.epoch);
    cr_assert_leq(after.retry_after_ms, before.retry_after_ms, "the time that it opened for goes on");
    cr_assert_eq(after.statistics.total_calls, before.statistics.total_calls);
    cr_assert_eq(after.statistics.failed_calls, 2);
    cr_assert_eq(call_once(breaker, CBM_SUCCESS), CBM_E_OPEN);

    cr_assert_eq(cbm_reset(client, "ha_api"), 0);
    fail_calls(breaker, 4);
    after = state_of(client, "ha_api");
    cr_assert_eq(after.state, CBM_OPEN);
    cr_assert_gt(after.retry_after_ms, 600000, "the next time it opens for the new one");
    cbm_close(client);
    end(&c);
}

Test(config, a_reload_lets_a_breaker_go_back_to_its_client_and_brings_new_defaults)
{
    configured c = start("[breaker \"ha_*\"]\ntimeout_ms = 5000\n[breaker \"x\"]\n");
    json_decref(data_of(&c, "get ha_api timeout_ms=1000"));
    json_decref(data_of(&c, "get other"));
    cr_assert_eq(timeout_of(&c, "ha_api"), 5000);
    reload(&c, "[defaults]\ntimeout_ms = 9000\n", "sections=0");
    cr_assert_eq(timeout_of(&c, "ha_api"), 1000);
    cr_assert_eq(timeout_of(&c, "other"), 9000);
    json_t *got = data_of(&c, "get ha_api timeout_ms=1000");
    cr_assert_str_eq(json_string_value(json_object_get(got, "policy_source")), "existing");
    cr_assert_eq(json_array_size(json_object_get(got, "differs")), 0);
    json_decref(got);
    end(&c);
}

Test(config, a_bad_file_leaves_all_of_the_old_one_in_force)
{
    configured c = start("[defaults]\ntimeout_ms = 5000\n[breaker \"ha_*\"]\ntimeout_ms = 6000\n");
    json_decref(data_of(&c, "get ha_api"));
    reload_refused(&c, "[defaults]\ntimeout_ms = 7000\n[breaker \"ha_*\"]\ntimeout_ms = 0\n",
                   "cbm.conf:4: timeout_ms must be");
    json_decref(data_of(&c, "get ha_other"));
    json_decref(data_of(&c, "get other"));
    cr_assert_eq(timeout_of(&c, "ha_api"), 6000);
    cr_assert_eq(timeout_of(&c, "ha_other"), 6000);
    cr_assert_eq(timeout_of(&c, "other"), 5000);
    unlink(c.path);
    cr_assert_eq(kill(c.broker->pid, SIGHUP), 0);
    wait_line(&c, "event=reload_refused", "No such file");
    cr_assert_eq(timeout_of(&c, "ha_api"), 6000);
    reload(&c, "[breaker \"ha_*\"]\ntimeout_ms = 8000\n", "sections=1");
    cr_assert_eq(timeout_of(&c, "ha_api"), 8000, "and a good one is taken again");
    end(&c);
}

Test(config, a_reload_changes_the_log_level_and_tells_what_needs_a_restart)
{
    configured c = start("[broker]\nmax_breakers = 100\n[limiter]\nrate_limit = 500\n");
    reload(&c, "[broker]\nlog_level = debug\nmax_breakers = 200\n[limiter]\nrate_limit = 600\n[breaker \"a\"]\n",
           "sections=1");
    wait_line(&c, "event=needs_restart", "max_breakers");
    wait_line(&c, "event=needs_restart", "rate_limit");
    json_t *stats = data_of(&c, "stats");
    cr_assert_eq(json_integer_value(json_object_get(stats, "max_breakers")), 100);
    cr_assert_eq(json_integer_value(json_object_get(stats, "max_rate_limit")), 500);
    json_decref(stats);
    wait_line(&c, "level=debug", "op=stats");
    char *log = broker_log(c.broker);
    cr_assert_null(strstr(log, "message=\"listen has changed"), "the command line says where: %s", log);
    cr_assert_null(strstr(log, "rate_window_ms"), "it has not changed: %s", log);
    free(log);
    end(&c);
}

Test(config, a_sighup_without_a_config_file_stops_nothing)
{
    broker *b = broker_start_unlimited();
    cr_assert_eq(kill(b->pid, SIGHUP), 0);
    char *line = broker_wait_log1(b, "event=reload", HARNESS_DEADLINE_MS);
    cr_assert_not_null(line);
    free(line);
    json_decref(ask(b->address, "ping"));
    broker_free(b);
}

#define MANY 3000

Test(config, a_reload_reaches_every_breaker_while_others_work)
{
    configured c = start_with("[broker]\nlog_level = warn\n", "--rate-limit", "0");
    int fd = raw_greeted(c.broker->address);
    for (int i = 0; i < MANY; i++) {
        char command[64];
        snprintf(command, sizeof command, "get many_%d failure_threshold=%d", i, 2 + i % 7);
        json_decref(ask_on(fd, command));
    }
    close(fd);
    worker *w = worker_start(c.broker->address);
    cr_assert(worker_progresses(w));
    reload(&c, "[broker]\nlog_level = info\n[breaker \"many_*\"]\nfailure_threshold = 50\n", "sections=1");
    cr_assert(worker_progresses(w));
    cr_assert_eq(worker_stop(w), 0);

    cbm_client *client = client_open(c.broker->address, CBM_FAIL_CLOSED);
    cbm_states_result *states;
    cr_assert_eq(cbm_states(client, "many_*", &states), 0);
    cr_assert_eq(cbm_states_count(states), MANY);
    for (size_t i = 0; i < MANY; i++) {
        const cbm_breaker_state *state = cbm_states_at(states, i);
        cr_assert_eq(state->policy->failure_threshold, 50, "%s", state->name);
        cr_assert_str_eq(state->policy_source, "config");
    }
    cbm_states_free(states);
    cbm_close(client);
    end(&c);
}

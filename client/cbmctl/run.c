/* cbmctl run: a command under a breaker. */
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>

#include "broker.h"
#include "child.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "say.h"
#include "verdict.h"

enum { KEY_IGNORE_STATUS = 0x2000, KEY_SUCCESS_STATUS, KEY_TIMEOUT, KEY_KILL_AFTER, KEY_FAIL_CLOSED };

#define RUN_TIMEOUT_MAX_MS UINT64_C(2592000000) /* 30 days */
#define KILL_AFTER_DEFAULT_MS 5000
#define KILL_AFTER_MAX_MS UINT64_C(3600000)
#define LEASE_MARGIN_MS 1000 /* from SIGKILL to the report */

typedef struct run_options {
    const cli_options *common;
    const char *name;
    policy_options policy;
    status_list ignore, success;
    uint64_t timeout_ms, kill_after_ms;
    bool fail_closed, quiet;
    char **command;
} run_options;

static const struct argp_option run_argp_options[] = {
    {.name = "timeout",
     .key = KEY_TIMEOUT,
     .arg = "DURATION",
     .doc = "End the command after that long (SIGTERM), count a timeout and exit with 124; 0: never"},
    {.name = "kill-after",
     .key = KEY_KILL_AFTER,
     .arg = "DURATION",
     .doc = "SIGKILL when it has not ended that long after the SIGTERM of --timeout (default 5s)"},
    {.name = "ignore-status",
     .key = KEY_IGNORE_STATUS,
     .arg = "LIST",
     .doc = "Exit statuses that say nothing about the dependency, such as 1,64-78; 128+N for signal N"},
    {.name = "success-status",
     .key = KEY_SUCCESS_STATUS,
     .arg = "LIST",
     .doc = "Exit statuses besides 0 that count as successes"},
    {.name = "fail-closed",
     .key = KEY_FAIL_CLOSED,
     .doc = "Without a broker do not run the command: exit with 69, or 77 when its socket is not for this user"},
    {.name = "quiet", .key = 'q', .doc = "Write no warning and no refusal on stderr"},
    {0},
};

static void add_statuses(status_list *list, const char *text, struct argp_state *state, const char *option)
{
    if (!status_list_add(list, text))
        argp_error(state, "%s takes a list of exit statuses from 0 to 255, such as 1,22,64-78, not '%s'", option, text);
}

static error_t parse(int key, char *value, struct argp_state *state, void *own)
{
    run_options *run = own;
    switch (key) {
    case KEY_TIMEOUT: run->timeout_ms = option_duration(state, "--timeout", value, RUN_TIMEOUT_MAX_MS); return 0;
    case KEY_KILL_AFTER:
        run->kill_after_ms = option_duration(state, "--kill-after", value, KILL_AFTER_MAX_MS);
        return 0;
    case KEY_IGNORE_STATUS: add_statuses(&run->ignore, value, state, "--ignore-status"); return 0;
    case KEY_SUCCESS_STATUS: add_statuses(&run->success, value, state, "--success-status"); return 0;
    case KEY_FAIL_CLOSED: run->fail_closed = true; return 0;
    case 'q': run->quiet = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* How long a probe may be out. Without a timeout nobody knows, and our life is the lease. */
static uint32_t lease_ms(const run_options *run)
{
    uint64_t lease = run->timeout_ms + run->kill_after_ms + LEASE_MARGIN_MS;
    return run->timeout_ms == 0 || lease > RUN_TIMEOUT_MAX_MS ? CBM_NEVER : (uint32_t)lease;
}

/* ---- the permit ---------------------------------------------------------------------------------------------------- */

typedef enum run_permission { PERMITTED, UNPROTECTED, REFUSED } run_permission;

static run_permission unprotected(const run_options *run, const char *why)
{
    if (!run->quiet)
        say("%s: %s; running without protection", run->name, why);
    return UNPROTECTED;
}

/* With why the circuit stands so, if the broker has something to say about that. */
static void say_refusal(const run_options *run, cbm_client *client, int error, int64_t retry_after_ms)
{
    char when[64], what[256];
    json_t *state = NULL;
    snprintf(what, sizeof(what), "%s", cbm_last_message());
    retry_text(retry_after_ms, error == CBM_E_HALF_OPEN_FULL ? "HALF_OPEN" : "", when, sizeof(when));
    if (error != CBM_E_RATE_LIMITED)
        broker_state(client, run->common, run->name, &state);
    const char *note = state_note(state);
    say("%s: not run, %s%s%s%s; %s", run->name, what, *note != '\0' ? " (" : "", note, *note != '\0' ? ")" : "", when);
    json_decref(state);
}

static run_permission refused(const run_options *run, cbm_client *client, int error, const cbm_permit *permit,
                              int *exit_code)
{
    *exit_code = exit_code_of(error);
    if (run->quiet)
        return REFUSED;
    if (error == CBM_E_AWAY) {
        say("%s: not run, the broker cannot be reached: %s", run->name, client != NULL ? cbm_address(client) : "");
    } else if (*exit_code == CBMCTL_REFUSED && permit != NULL) {
        say_refusal(run, client, error, cbm_permit_retry_after_ms(permit));
    } else {
        say("%s: not run, %s", run->name, cbm_last_message());
    }
    return REFUSED;
}

/*
 * What the manager refuses is refused. What keeps it from answering at all (it is full, out of memory, of another version) is no
 * word about the dependency, and is dealt with as if it were away.
 */
static run_permission after_error(const run_options *run, cbm_client *client, int error, const cbm_permit *permit,
                                  int *exit_code)
{
    int code = exit_code_of(error);
    bool no_word = code == CBMCTL_FAILED || code == CBMCTL_OS || code == CBMCTL_AWAY;
    if (no_word && !run->fail_closed)
        return unprotected(run, cbm_last_message());
    run_permission permission = refused(run, client, error, permit, exit_code);
    if (no_word)
        *exit_code = CBMCTL_AWAY;
    return permission;
}

/* A manager that ends with us protects nothing. */
static run_permission without_broker(const run_options *run, int *exit_code)
{
    if (!run->fail_closed)
        return unprotected(run, BROKER_IS_LOCAL);
    *exit_code = CBMCTL_AWAY;
    if (!run->quiet)
        say("%s: not run, %s", run->name, BROKER_IS_LOCAL);
    return REFUSED;
}

static run_permission take_permit(const run_options *run, cbm_client *client, cbm_permit *permit, int *exit_code)
{
    cbm_policy policy;
    cbm_breaker *breaker = NULL;
    cbm_get_options get = {.size = sizeof(get), .correlation_id = run->common->correlation_id};
    cbm_begin_options begin = {
        .size = sizeof(begin), .correlation_id = run->common->correlation_id, .lease_ms = lease_ms(run)};
    if (broker_is_local(client))
        return without_broker(run, exit_code);
    policy_options_to_client(&run->policy, &policy);
    int error = cbm_get_with(client, run->name, &policy, &get, &breaker);
    if (error != 0)
        return after_error(run, client, error, NULL, exit_code);
    error = cbm_call_begin_with(breaker, &begin, permit);
    if (error != 0)
        return after_error(run, client, error, permit, exit_code);
    if (cbm_permit_unprotected(permit)) {
        char why[768];
        const char *address = cbm_address(client);
        bool told = strstr(cbm_last_message(), address) != NULL;
        snprintf(why, sizeof(why), "%s%s%s", cbm_last_message(), told ? "" : ": ", told ? "" : address);
        unprotected(run, why);
    }
    return PERMITTED; /* reported also when it is unprotected: the broker may be back by then */
}

/* ---- the command ----------------------------------------------------------------------------------------------------- */

static void report(const run_options *run, cbm_permit *permit, const run_verdict *verdict, int64_t duration_ns)
{
    cbm_report_options options = {
        .size = sizeof(options),
        .correlation_id = run->common->correlation_id,
        .error_text = verdict->error_text[0] != '\0' ? verdict->error_text : NULL,
        .duration_ns = duration_ns > 0 ? duration_ns : -1,
    };
    bool known = cbm_permit_unprotected(permit); /* that it is away was said already */
    int error = cbm_call_report_with(permit, verdict->outcome, &options);
    if (error != 0 && !known && !run->quiet)
        say("%s: the outcome could not be reported: %s", run->name, cbm_last_message());
}

/* The signal that was sent to us, and that ended the command; 0: none. */
static int ended_with_us(const child_result *result, const held_signals *signals)
{
    if (result->fork_error != 0 || result->exec_error != 0 || result->timed_out || !WIFSIGNALED(result->status))
        return 0;
    int number = WTERMSIG(result->status);
    return sigismember(&signals->seen, number) == 1 ? number : 0;
}

static int run_command(const run_options *run, held_signals *signals, cbm_permit *permit, int *ended_by)
{
    run_verdict verdict = {.outcome = CBM_IGNORED};
    child_result result = {0};
    int early = signals_drain(signals);
    if (early != 0) {
        verdict.exit_code = CBMCTL_SIGNALLED + early; /* asked to end before it began */
        *ended_by = early;
    } else {
        child_options child = {
            .argv = run->command, .timeout_ms = run->timeout_ms, .kill_after_ms = run->kill_after_ms};
        child_run(&child, signals, &result);
        verdict = verdict_of(&result, &signals->seen, &run->success, &run->ignore);
        *ended_by = ended_with_us(&result, signals);
        int error = result.fork_error != 0 ? result.fork_error : result.exec_error;
        if (error != 0)
            say("%s: %s", run->command[0], strerror(error));
    }
    if (permit != NULL)
        report(run, permit, &verdict, result.duration_ns);
    return verdict.exit_code;
}

int command_run(const cli_command *command, cli_options *options, int argc, char **argv)
{
    run_options run = {.common = options, .policy = {.no_timeout_alias = true}, .kill_after_ms = KILL_AFTER_DEFAULT_MS};
    cli_spec spec = {
        .options = run_argp_options,
        .parse = parse,
        .own = &run,
        .minimum = 1,
        .maximum = 1,
        .named = true,
        .policy = &run.policy,
        .takes_command = true,
        .more = "Exits with the command's status. A command that could not be executed, or was ended by a signal that "
                "came through "
                "cbmctl, says nothing about the dependency and is reported as ignored; any other status than 0 is a "
                "failure. "
                "Signals reach the command. On a terminal it stays in the shell's job and --timeout signals the "
                "command alone; "
                "without one (cron, systemd) --timeout signals all the processes it started.",
    };
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);
    run.name = arguments.words[0];
    run.command = arguments.command;
    int both = status_list_common(&run.ignore, &run.success);
    if (both >= 0) {
        say("run: status %d cannot be both ignored and a success", both);
        return CBMCTL_USAGE;
    }

    cbm_client *client = NULL;
    cbm_permit permit;
    held_signals signals;
    int exit_code = CBMCTL_OK, ended_by = 0;
    int error = broker_open(options, run.fail_closed ? CBM_FAIL_CLOSED : CBM_FAIL_OPEN, &client);
    if (error != 0)
        return exit_code_of(error);
    if (!signals_hold(&signals)) {
        say("signals: %s", "cannot be held");
        cbm_close(client);
        return CBMCTL_OS;
    }
    run_permission permission = take_permit(&run, client, &permit, &exit_code);
    if (permission != REFUSED)
        exit_code = run_command(&run, &signals, permission == PERMITTED ? &permit : NULL, &ended_by);
    cbm_close(client); /* the permit's holder: open until here */
    if (ended_by != 0)
        signals_end_self(ended_by);
    return exit_code;
}

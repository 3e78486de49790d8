/* cbmctl run and signals: from others, and from a terminal. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cbmctl_program.h"

TestSuite(cbmctl_signals, .timeout = 60);

/* Says each signal that it gets, until it is told to end. */
#define LISTENER                                                                                                       \
    "for s in HUP INT QUIT USR1 USR2 ALRM WINCH TERM; do trap \"echo got $s.\" $s; done; echo ready.; "                \
    "while ! test -e \"$1\"; do sleep 0.02; done"

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void start_listener(background *command, const broker *b, char *end_file, size_t size)
{
    snprintf(end_file, size, "%s/end", b->directory);
    background_cbmctl(command, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "--", "sh", "-c", LISTENER, "sh", end_file));
    cr_assert(background_says(command, "ready."));
}

static void end_listener(background *command, const char *end_file)
{
    FILE *file = fopen(end_file, "w");
    cr_assert_not_null(file);
    fclose(file);
    cr_assert_eq(background_end(command), 0);
    unlink(end_file);
}

Test(cbmctl_signals, each_signal_reaches_the_command_once)
{
    static const struct {
        int number;
        const char *said;
    } signals[] = {{SIGHUP, "got HUP."},   {SIGINT, "got INT."},   {SIGQUIT, "got QUIT."},   {SIGUSR1, "got USR1."},
                   {SIGUSR2, "got USR2."}, {SIGALRM, "got ALRM."}, {SIGWINCH, "got WINCH."}, {SIGTERM, "got TERM."}};
    broker *b = broker_start_unlimited();
    background command;
    char end_file[128];
    start_listener(&command, b, end_file, sizeof(end_file));
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        kill(command.pid, signals[i].number);
        cr_assert(background_says(&command, signals[i].said));
    }
    end_listener(&command, end_file);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        cr_assert_eq(count_of(command.text, signals[i].said), 1, "%s", signals[i].said);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "successful_calls"), 1, "it went on, and ended well");
    broker_free(b);
}

static void ended_by(int number)
{
    broker *b = broker_start_unlimited();
    background command;
    siginfo_t end;
    background_cbmctl(&command, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "failure_threshold=1", "--", "sh", "-c", "echo ready.; exec sleep 1000"));
    cr_assert(background_says(&command, "ready."));
    kill(command.pid, number);
    cr_assert_eq(waitid(P_PID, (id_t)command.pid, &end, WEXITED | WNOWAIT), 0);
    cr_assert_eq(end.si_code, CLD_KILLED, "a shell's loop stops, systemd sees a clean end");
    cr_assert_eq(end.si_status, number);
    cr_assert_eq(background_end(&command), 128 + number);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "ignored_calls"), 1);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "failed_calls"), 0);
    broker_free(b);
}

Test(cbmctl_signals, a_command_that_somebody_ended_through_us_says_nothing)
{
    ended_by(SIGTERM);
    ended_by(SIGHUP);
    ended_by(SIGINT);
}

Test(cbmctl_signals, a_command_killed_directly_has_failed)
{
    broker *b = broker_start_unlimited();
    background command;
    background_cbmctl(&command, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "--", "sh", "-c", "echo pid $$.; exec sleep 1000"));
    cr_assert(background_says(&command, "."));
    kill((pid_t)strtol(strstr(command.text, "pid ") + 4, NULL, 10), SIGTERM);
    cr_assert_eq(background_end(&command), 143);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "failed_calls"), 1);
    broker_free(b);
}

Test(cbmctl_signals, with_a_timeout_and_no_terminal_they_reach_all_that_the_command_started)
{
    broker *b = broker_start_unlimited();
    background command;
    background_cbmctl(
        &command, BACKGROUND_NO_TERMINAL, b->address,
        ARGS("run", "api", "--timeout=1h", "--", "sh", "-c",
             "sh -c 'trap \"echo inner.; exit\" TERM; echo ready.; while :; do sleep 0.02; done'; echo outer."));
    cr_assert(background_says(&command, "ready."));
    kill(command.pid, SIGTERM);
    cr_assert_eq(background_end(&command), 143);
    cr_assert(strstr(command.text, "inner.") != NULL, "%s", command.text);
    broker_free(b);
}

Test(cbmctl_signals, a_hangup_that_was_ignored_before_us_is_ignored)
{
    broker *b = broker_start_unlimited();
    background command;
    const char *script = "trap '' HUP; exec \"$0\" -a \"$1\" run api -- sh -c 'echo ready.; cat; exit 3'";
    background_start(&command, BACKGROUND_NO_TERMINAL, ARGS("sh", "-c", script, cbmctl_program(), b->address));
    cr_assert(background_says(&command, "ready."));
    kill(command.pid, SIGHUP);
    cr_assert_eq(background_end(&command), 3);
    broker_free(b);
}

/* ---- on a terminal ------------------------------------------------------------------------------------------------------ */

static const char *address_argument(const broker *b)
{
    MUST(setenv("CBMCTL_UNDER_TEST", cbmctl_program(), 1) == 0 && setenv("CBM_ADDRESS", b->address, 1) == 0);
    return b->address;
}

Test(cbmctl_signals, ctrl_c_reaches_the_command_once)
{
    broker *b = broker_start_unlimited();
    background command;
    background_cbmctl(&command, BACKGROUND_TERMINAL, b->address,
                      ARGS("run", "api", "--timeout=1h", "--", "sh", "-c",
                           "trap 'echo got INT.' INT; echo ready.; read line; read line; echo read $line.; exit 0"));
    cr_assert(background_says(&command, "ready."));
    background_type(&command, "\003");
    cr_assert(background_says(&command, "got INT."));
    background_type(&command, "one\ntwo\n");
    cr_assert(background_says(&command, "read "));
    cr_assert_eq(background_end(&command), 0);
    cr_assert_eq(count_of(command.text, "got INT."), 1, "%s", command.text);
    broker_free(b);
}

Test(cbmctl_signals, a_command_ended_by_ctrl_c_says_nothing)
{
    broker *b = broker_start_unlimited();
    background command;
    background_cbmctl(&command, BACKGROUND_TERMINAL, b->address,
                      ARGS("run", "api", "--", "sh", "-c", "echo ready.; exec sleep 1000"));
    cr_assert(background_says(&command, "ready."));
    background_type(&command, "\003");
    cr_assert_eq(background_end(&command), 130);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "ignored_calls"), 1);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "failed_calls"), 0);
    broker_free(b);
}

Test(cbmctl_signals, ctrl_z_and_fg_work_as_without_us)
{
    broker *b = broker_start_unlimited();
    background shell;
    address_argument(b);
    background_start(&shell, BACKGROUND_TERMINAL,
                     ARGS("bash", "--norc", "-c",
                          "set -m; $CBMCTL_UNDER_TEST run api --timeout=1h -- "
                          "sh -c 'echo ready.; while read line; do echo heard $line.; done'; "
                          "echo stopped $?.; fg >/dev/null; echo ended $?."));
    cr_assert(background_says(&shell, "ready."));
    background_type(&shell, "one\n");
    cr_assert(background_says(&shell, "heard one."));
    background_type(&shell, "\032");
    cr_assert(background_says(&shell, "stopped 148."));
    background_type(&shell, "two\n");
    cr_assert(background_says(&shell, "heard two."), "the command reads the terminal again");
    background_type(&shell, "\004");
    cr_assert(background_says(&shell, "ended 0."));
    background_end(&shell);
    cr_assert_eq(cbmctl_statistic(b->address, "api", "successful_calls"), 1);
    broker_free(b);
}

Test(cbmctl_signals, a_stop_sent_to_us_stops_the_command_too_and_a_continue_continues_it)
{
    broker *b = broker_start_unlimited();
    background shell;
    address_argument(b);
    /* jobs -p gives the process of cbmctl; a job of its own, with a shell that could continue it */
    background_start(
        &shell, BACKGROUND_TERMINAL,
        ARGS("bash", "--norc", "-c",
             "set -m; $CBMCTL_UNDER_TEST run api -- sh -c 'trap \"echo continued.\" CONT; echo pid $$.; "
             "while ! test -e \"$0\"; do sleep 0.02; done' \"$0\" & "
             "read line; kill -TSTP $(jobs -p %1); read line; kill -CONT $(jobs -p %1); read line; touch \"$0\"; "
             "wait %1; echo ended $?.",
             strcat(strcpy((char[256]){0}, b->directory), "/end")));
    cr_assert(background_says(&shell, "pid "));
    cr_assert(background_says(&shell, "."));
    background_type(&shell, "\n");
    char path[64], state = '?';
    snprintf(path, sizeof(path), "/proc/%ld/stat", strtol(strstr(shell.text, "pid ") + 4, NULL, 10));
    for (int64_t end_ms = clock_ms() + CBMCTL_DEADLINE_MS; state != 'T' && clock_ms() < end_ms;) {
        FILE *file = fopen(path, "r");
        cr_assert_not_null(file);
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
            state = '?';
        fclose(file);
    }
    cr_assert_eq(state, 'T');
    background_type(&shell, "\n");
    cr_assert(background_says(&shell, "continued."));
    background_type(&shell, "\n");
    cr_assert(background_says(&shell, "ended 0."));
    background_end(&shell);
    char end_file[256];
    snprintf(end_file, sizeof(end_file), "%s/end", b->directory);
    unlink(end_file);
    broker_free(b);
}

Test(cbmctl_signals, on_a_terminal_a_timeout_ends_the_command)
{
    broker *b = broker_start_unlimited();
    background command;
    background_cbmctl(&command, BACKGROUND_TERMINAL, b->address,
                      ARGS("run", "api", "--timeout=200ms", "--", "sleep", "1000"));
    cr_assert_eq(background_end(&command), 124);
    broker_free(b);
}

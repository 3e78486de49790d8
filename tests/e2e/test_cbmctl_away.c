/* cbmctl run when the broker is away, hangs, is restarted, has no room, or is a stranger's. */
#include <criterion/criterion.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cbmctl_program.h"

TestSuite(cbmctl_away, .timeout = 60);

static bool has(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        return true;
    fprintf(stderr, "`%s' is not in:\n%s\n", part, text);
    return false;
}

Test(cbmctl_away, without_a_broker_the_command_runs_with_one_line_of_warning)
{
    const char *nowhere = "ipc:///nonexistent/cbm.sock";
    program_result result;
    cbmctl_run(&result, nowhere, ARGS("run", "api", "--", "sh", "-c", "echo ran; exit 3"));
    cr_assert_eq(result.status, 3);
    cr_assert_str_eq(result.out, "ran\n");
    cr_assert(has(result.err, "cbmctl: api: "));
    cr_assert(has(result.err, "without protection"));
    cr_assert(has(result.err, nowhere), "it tells where it looked");
    cr_assert_eq(strchr(result.err, '\n'), result.err + strlen(result.err) - 1);
    program_result_deinit(&result);
    cbmctl_run(&result, nowhere, ARGS("run", "api", "--quiet", "--", "echo", "ran"));
    cr_assert_eq(result.status, 0);
    cr_assert_str_eq(result.err, "");
    program_result_deinit(&result);
}

Test(cbmctl_away, fail_closed_runs_nothing_without_a_broker)
{
    program_result result;
    cbmctl_run(&result, "ipc:///nonexistent/cbm.sock", ARGS("run", "api", "--fail-closed", "--", "echo", "ran"));
    cr_assert_eq(result.status, 69);
    cr_assert_str_eq(result.out, "");
    cr_assert(*result.err != '\0');
    program_result_deinit(&result);
}

Test(cbmctl_away, the_manager_of_this_process_alone_is_no_broker)
{
    program_result result;
    cbmctl_run(&result, "local:", ARGS("run", "api", "--", "sh", "-c", "echo ran; exit 3"));
    cr_assert_eq(result.status, 3);
    cr_assert_str_eq(result.out, "ran\n");
    cr_assert(has(result.err, "without protection"));
    program_result_deinit(&result);
    cbmctl_run(&result, "local:", ARGS("run", "api", "--fail-closed", "--", "echo", "ran"));
    cr_assert_eq(result.status, 69);
    cr_assert_str_eq(result.out, "");
    cr_assert(has(result.err, "local:"));
    program_result_deinit(&result);
}

Test(cbmctl_away, a_report_that_cannot_be_delivered_is_warned_of_and_changes_no_status)
{
    broker *b = broker_start_unlimited();
    background command;
    background_cbmctl(&command, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "--", "sh", "-c", "echo out; cat; exit 4"));
    cr_assert(background_says(&command, "out"));
    broker_kill(b);
    cr_assert_eq(background_end(&command), 4);
    cr_assert(has(command.text, "could not be reported"));
    broker_free(b);
}

Test(cbmctl_away, a_broker_that_hangs_holds_a_command_up_for_no_longer_than_the_deadline)
{
    broker *b = broker_start_unlimited();
    program_result result;
    kill(b->pid, SIGSTOP);
    int64_t begun_ms = clock_ms();
    cbmctl_run(&result, b->address, ARGS("run", "api", "--", "echo", "ran"));
    int64_t took_ms = clock_ms() - begun_ms;
    kill(b->pid, SIGCONT);
    cr_assert_eq(result.status, 0);
    cr_assert_str_eq(result.out, "ran\n");
    cr_assert(has(result.err, "without protection"));
    cr_assert_lt(took_ms, 8000);
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_away, the_deadline_of_the_brokers_answers_can_be_chosen)
{
    broker *b = broker_start_unlimited();
    kill(b->pid, SIGSTOP);
    int64_t begun_ms = clock_ms();
    cr_assert_eq(cbmctl_status(b->address, ARGS("--deadline=2500ms", "states")), 69);
    int64_t took_ms = clock_ms() - begun_ms;
    kill(b->pid, SIGCONT);
    cr_assert_geq(took_ms, 2000, "%lld", (long long)took_ms);
    broker_free(b);
}

Test(cbmctl_away, a_broker_that_was_restarted_meanwhile_takes_the_report)
{
    broker *b = broker_start_unlimited();
    background command;
    background_cbmctl(&command, BACKGROUND_NO_TERMINAL, b->address,
                      ARGS("run", "api", "failure_threshold=1", "--", "sh", "-c", "echo out; cat; exit 4"));
    cr_assert(background_says(&command, "out"));
    broker_kill(b);
    broker_restart(b);
    cr_assert_eq(background_end(&command), 4);
    cr_assert_str_eq(command.text, "out\n", "there is nothing to warn of");
    broker_free(b);
}

Test(cbmctl_away, a_manager_without_room_is_no_word_about_the_dependency)
{
    broker *b = broker_start(&(broker_options){.arguments = {"--rate-limit", "0", "--max-breakers", "1"}});
    program_result result;
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "first")), 0);
    cbmctl_run(&result, b->address, ARGS("run", "second", "--", "sh", "-c", "echo ran; exit 3"));
    cr_assert_eq(result.status, 3);
    cr_assert_str_eq(result.out, "ran\n");
    cr_assert(has(result.err, "without protection"));
    program_result_deinit(&result);
    cr_assert_eq(cbmctl_status(b->address, ARGS("run", "second", "--fail-closed", "--", "true")), 69);
    broker_free(b);
}

/* Listens in a directory where anybody may write, as a user that is neither we nor root. */
static pid_t stranger_start(const char *path)
{
    int ready[2];
    char byte;
    MUST(pipe(ready) == 0);
    pid_t pid = process_fork();
    if (pid == 0) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        MUST(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
        MUST(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 8) == 0);
        MUST(write(ready[1], "r", 1) == 1);
        for (;;)
            pause();
    }
    MUST(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

Test(cbmctl_away, a_strangers_socket_is_no_absent_broker)
{
    if (geteuid() != 0)
        cr_skip_test("only root can become a stranger");
    char directory[] = "/tmp/cbmctl-stranger-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(chmod(directory, 0777), 0);
    snprintf(path, sizeof(path), "%s/sock", directory);
    pid_t stranger = stranger_start(path);
    program_result result;
    cbmctl_run(&result, path, ARGS("run", "api", "--", "echo", "ran"));
    kill(stranger, SIGKILL);
    process_wait(stranger, CBMCTL_DEADLINE_MS);
    unlink(path);
    rmdir(directory);
    cr_assert_eq(result.status, 77);
    cr_assert_str_eq(result.out, "");
    program_result_deinit(&result);
}

/*
 * From here on programs run as a root that other users' files are shut to, as they are to any user. Another user might not be let
 * to the programs under test either.
 */
static void become_powerless(void)
{
    MUST(prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0);
}

static void denied_run(const char *address, const char *const *arguments, int status, const char *out)
{
    program_result result;
    cbmctl_run(&result, address, arguments);
    MUST(result.status == status);
    MUST(strcmp(result.out, out) == 0);
    MUST(has(result.err, "permission denied: ") && has(result.err, address) && has(result.err, "group cbm"));
    MUST(strstr(result.err, "cannot be reached") == NULL);
    MUST(strchr(result.err, '\n') == result.err + strlen(result.err) - 1);
    program_result_deinit(&result);
}

static int is_told_of_the_permission(int index, void *context)
{
    (void)index;
    const char *address = context;
    become_powerless();
    denied_run(address, ARGS("states"), 77, "");
    denied_run(address, ARGS("ping"), 77, "");
    denied_run(address, ARGS("report", "api", "failure"), 77, "");
    denied_run(address, ARGS("run", "api", "--", "sh", "-c", "echo ran; exit 3"), 3, "ran\n");
    denied_run(address, ARGS("run", "api", "--fail-closed", "--", "echo", "ran"), 77, "");
    denied_run(address, ARGS("check", "api"), 0, "");
    denied_run(address, ARGS("check", "api", "--fail-closed"), 77, "");
    return 0;
}

Test(cbmctl_away, a_socket_that_is_not_for_this_user_is_told_from_an_absent_broker)
{
    if (geteuid() != 0)
        cr_skip_test("only root can give a socket away");
    broker *b = broker_start_unlimited();
    cr_assert_eq(chown(b->socket_path, 65534, 65534), 0);
    cr_assert_eq(chmod(b->socket_path, 0600), 0);
    cr_assert_eq(processes_run(1, is_told_of_the_permission, b->address, 2 * CBMCTL_DEADLINE_MS), 0);
    broker_free(b);
}

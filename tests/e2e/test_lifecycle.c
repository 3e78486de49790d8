/* Brokers that start, stop and die, and the socket they leave or do not leave. */
#include "clients.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(lifecycle, .timeout = 60);

static bool socket_exists(const broker *b)
{
    struct stat status;
    return lstat(b->socket_path, &status) == 0 && S_ISSOCK(status.st_mode);
}

static void run_second(program_result *result, const char *address)
{
    program_run(result, (const char *const[]){broker_program(), "--listen", address, "--no-store", NULL}, NULL,
                HARNESS_DEADLINE_MS);
}

/* ---- Starting ------------------------------------------------------------------------------------------------------- */

static void assert_a_second_is_refused(broker *b)
{
    worker *w = worker_start(b->address);
    for (int i = 0; i < 5; i++) {
        program_result result;
        run_second(&result, b->address);
        cr_assert(result.status > 0 && result.status < 128, "status %d", result.status);
        cr_assert_not_null(strstr(result.err, b->address), "the message names the address: %s", result.err);
        cr_assert_not_null(strstr(result.err, "another"), "the message says why: %s", result.err);
        program_result_deinit(&result);
        json_t *answer = ask(b->address, "ping");
        cr_assert(json_is_true(json_object_get(answer, "success")));
        json_decref(answer);
    }
    cr_assert(worker_progresses(w));
    cr_assert_eq(worker_stop(w), 0, "nobody was disturbed");
}

Test(lifecycle, a_second_broker_on_the_same_socket_refuses_to_start_and_disturbs_nothing)
{
    broker *b = broker_start_unlimited();
    assert_a_second_is_refused(b);
    cr_assert(socket_exists(b));
    broker_free(b);
}

static const char *abstract_address(void)
{
    static char address[64];
    snprintf(address, sizeof address, "abstract://cbm-e2e-%d", (int)getpid());
    return address;
}

Test(lifecycle, a_second_broker_on_the_same_abstract_socket_refuses_to_start)
{
    broker *b = broker_start(&(broker_options){.address = abstract_address(), .arguments = {"--rate-limit", "0"}});
    assert_a_second_is_refused(b);
    broker_free(b);
}

Test(lifecycle, the_socket_file_of_a_killed_broker_is_taken_over)
{
    broker *b = broker_start(NULL);
    for (int i = 0; i < 3; i++) {
        broker_kill(b);
        cr_assert(socket_exists(b), "it had no chance to remove it");
        broker_restart(b);
        json_decref(ask(b->address, "ping"));
    }
    broker_free(b);
}

Test(lifecycle, a_file_that_is_no_socket_is_not_taken_over)
{
    broker *b = broker_start(NULL);
    cr_assert_eq(broker_stop(b, SIGTERM), 0);
    FILE *file = fopen(b->socket_path, "w");
    cr_assert_not_null(file);
    cr_assert_gt(fputs("precious", file), 0);
    fclose(file);
    program_result result;
    run_second(&result, b->address);
    cr_assert(result.status > 0 && result.status < 128, "status %d", result.status);
    cr_assert_gt(strlen(result.err), 0);
    program_result_deinit(&result);
    struct stat status;
    cr_assert_eq(stat(b->socket_path, &status), 0);
    cr_assert_eq(status.st_size, 8, "the file is as it was");
    broker_free(b);
}

Test(lifecycle, an_address_that_cannot_be_listened_on_is_refused_with_a_message)
{
    const char *addresses[] = {"ipc:///no/such/directory/cbm.sock", "tcp://127.0.0.1:1", "nonsense", "ipc://",
                               "abstract://"};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        program_result result;
        run_second(&result, addresses[i]);
        cr_assert(result.status > 0 && result.status < 128, "%s: status %d", addresses[i], result.status);
        cr_assert_gt(strlen(result.err), 0, "%s", addresses[i]);
        program_result_deinit(&result);
    }
}

Test(lifecycle, an_abstract_socket_serves_clients_and_nngcat)
{
    broker *b = broker_start(&(broker_options){.address = abstract_address()});
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cr_assert_eq(call_once(breaker_get(client, "ha_api", NULL), CBM_SUCCESS), 0);
    char *answer = nngcat_request(b->address, "states");
    cr_assert_not_null(strstr(answer, "ha_api"));
    free(answer);
    cbm_close(client);
    broker_free(b);
}

/* A shell starts it with what `redirection` says. Returns its process. */
static pid_t start_redirected(const char *address, const char *redirection)
{
    char script[128];
    snprintf(script, sizeof script, "exec \"$0\" --no-store --listen \"$1\" --log-level debug %s", redirection);
    pid_t pid = process_fork();
    if (pid == 0) {
        execlp("sh", "sh", "-c", script, broker_program(), address, (char *)NULL);
        _exit(127);
    }
    return pid;
}

Test(lifecycle, with_standard_descriptors_closed_neither_files_nor_peers_get_the_log)
{
    static const char *const redirections[] = {"2>&-", "<&- >&- 2>&-", "--ready-fd 2 2>/dev/null"};
    broker *b = broker_start_unlimited(); /* for its directory */
    char path[160], address[sizeof path + 8], lock_path[sizeof path + 8];
    snprintf(path, sizeof path, "%s/quiet.sock", b->directory);
    snprintf(address, sizeof address, "ipc://%s", path);
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    for (size_t i = 0; i < sizeof redirections / sizeof *redirections; i++) {
        pid_t pid = start_redirected(address, redirections[i]);
        struct stat status;
        cr_assert(wait_until(raw_accepts, address, HARNESS_DEADLINE_MS));
        int first = raw_greeted(address), second = raw_greeted(address);
        for (int k = 0; k < 10; k++) {
            json_decref(ask_on(first, "ping"));
            json_decref(ask_on(second, "ping"));
        }
        close(first);
        close(second);
        cr_assert_eq(stat(lock_path, &status), 0);
        cr_assert_eq(status.st_size, 0, "%s", redirections[i]);
        kill(pid, SIGTERM);
        cr_assert_eq(process_wait(pid, HARNESS_DEADLINE_MS), 0, "%s", redirections[i]);
    }
    broker_free(b);
}

Test(lifecycle, help_and_version_are_printed)
{
    static const struct {
        const char *option, *text;
    } options[] = {
        {"--version", "cbmd"}, {"--help", "--listen"}, {"--help", "--rate-limit"}, {"--help", "--log-level"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        program_result result;
        program_run(&result, (const char *const[]){broker_program(), options[i].option, NULL}, NULL,
                    HARNESS_DEADLINE_MS);
        cr_assert_eq(result.status, 0);
        cr_assert_not_null(strstr(result.out, options[i].text), "%s: %s", options[i].option, result.out);
        program_result_deinit(&result);
    }
}

Test(lifecycle, options_that_make_no_sense_are_refused)
{
    const char *const options[][3] = {{"--rate-limit", "many"},      {"--rate-limit", "-1"},
                                      {"--rate-window-ms", "0"},     {"--log-level", "loud"},
                                      {"--rate-limit-scope", "all"}, {"--no-such-option"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        program_result result;
        const char *argv[] = {broker_program(), "--listen", abstract_address(), options[i][0], options[i][1], NULL};
        program_run(&result, argv, NULL, HARNESS_DEADLINE_MS);
        cr_assert(result.status > 0 && result.status < 128, "%s: status %d", options[i][0], result.status);
        cr_assert_gt(strlen(result.err), 0);
        program_result_deinit(&result);
    }
}

/* ---- Stopping ------------------------------------------------------------------------------------------------------- */

static void assert_stops_cleanly(broker *b, int signal_number)
{
    cr_assert_eq(broker_stop(b, signal_number), 0);
    cr_assert_not(socket_exists(b), "the socket file is removed");
    broker_restart(b);
    json_decref(ask(b->address, "ping"));
}

Test(lifecycle, sigterm_and_sigint_stop_it_with_status_0_and_remove_the_socket)
{
    broker *b = broker_start(NULL);
    assert_stops_cleanly(b, SIGTERM);
    assert_stops_cleanly(b, SIGINT);
    broker_free(b);
}

Test(lifecycle, sighup_while_it_stops_does_not_end_it_sooner)
{
    for (int i = 0; i < 5; i++) {
        broker *b = broker_start(NULL);
        cr_assert_eq(kill(b->pid, SIGTERM), 0);
        for (int hangup = 0; hangup < 300; hangup++)
            kill(b->pid, SIGHUP);
        cr_assert_eq(broker_stop(b, SIGHUP), 0);
        broker_free(b);
    }
}

#define CLIENTS 4

typedef struct load {
    const char *address;
    atomic_int at_work;
    atomic_int back; /* the broker is */
} load;

/* Calls until the broker is away. */
static int call_until_away(int index, void *context)
{
    (void)index;
    load *l = context;
    cbm_client *client = client_open(l->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "ha_api", NULL);
    MUST(call_once(breaker, CBM_SUCCESS) == 0);
    atomic_fetch_add(&l->at_work, 1);
    cbm_permit permit;
    int error;
    /* Who was not given a processor while it was away has not noticed. */
    do
        error = cbm_call_begin(breaker, &permit);
    while (error == 0 && (error = cbm_call_report(&permit, CBM_SUCCESS)) == 0 && !atomic_load(&l->back));
    MUST(error == 0 || error == CBM_E_AWAY);
    cbm_close(client);
    return 0;
}

static bool all_are_at_work(void *context)
{
    load *l = context;
    return atomic_load(&l->at_work) == CLIENTS;
}

Test(lifecycle, it_stops_cleanly_under_load_and_with_peers_in_every_stage)
{
    broker *b = broker_start_unlimited();
    load *l = shared_new(sizeof *l);
    l->address = b->address;
    for (int i = 0; i < 4; i++) {
        atomic_store(&l->at_work, 0);
        atomic_store(&l->back, 0);
        processes p;
        processes_start(&p, CLIENTS, call_until_away, l);
        cr_assert(wait_until(all_are_at_work, l, HARNESS_DEADLINE_MS));
        int silent = raw_connect(b->address), half_greeted = raw_connect(b->address),
            half_asked = raw_greeted(b->address);
        cr_assert(raw_send(half_greeted, RAW_GREETING_REQ, 4));
        cr_assert(raw_send(half_asked, "\1\0\0\0\0", 5));
        assert_stops_cleanly(b, i % 2 == 0 ? SIGTERM : SIGINT);
        atomic_store(&l->back, 1);
        cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
        close(silent);
        close(half_greeted);
        close(half_asked);
    }
    broker_free(b);
}

Test(lifecycle, a_peer_that_reads_nothing_does_not_keep_it_from_stopping)
{
    broker *b = broker_start(NULL);
    int fd = raw_greeted(b->address);
    /* Requests whose answers nobody reads, until the broker takes no more of them either. */
    uint8_t frame[64];
    size_t size = raw_frame(frame, 1, "info", 4);
    cr_assert_lt(raw_send_until_blocked(fd, frame, size, 64 << 20), 64 << 20);
    cr_assert_eq(broker_stop(b, SIGTERM), 0);
    close(fd);
    broker_free(b);
}

/* What peers of other users may and may not. Needs root, to become somebody else. */
#include "clients.h"

#include <criterion/criterion.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

TestSuite(users, .timeout = 60);

static void skip_without_root(void)
{
    if (geteuid() != 0)
        cr_skip_test("only root can become another user");
}

static void become_nobody(void)
{
    MUST(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

static int nobody_finds_the_door_shut(int index, void *context)
{
    (void)index;
    become_nobody();
    int fd = raw_try_connect(context, false);
    if (fd < 0)
        return 0;
    char greeting[8];
    raw_send(fd, RAW_GREETING_REQ, 8);
    MUST(!raw_receive(fd, greeting, 1, HARNESS_DEADLINE_MS));
    MUST(raw_closed_within(fd, HARNESS_DEADLINE_MS));
    return 0;
}

Test(users, an_abstract_socket_serves_root_and_the_brokers_own_user_alone)
{
    skip_without_root();
    char address[64];
    snprintf(address, sizeof address, "abstract://cbm-e2e-users-%d", (int)getpid());
    broker *b = broker_start(&(broker_options){.address = address});
    cr_assert_eq(processes_run(1, nobody_finds_the_door_shut, b->address, HARNESS_DEADLINE_MS), 0);
    json_decref(ask(b->address, "ping"));
    broker_free(b);
}

Test(users, the_socket_file_is_for_its_owner_and_group)
{
    broker *b = broker_start(NULL);
    struct stat status;
    cr_assert_eq(stat(b->socket_path, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0660, "%o", status.st_mode & 07777);
    if (geteuid() == 0) {
        cr_assert_eq(chmod(b->directory, 0755), 0);
        cr_assert_eq(processes_run(1, nobody_finds_the_door_shut, b->address, HARNESS_DEADLINE_MS), 0);
    }
    broker_free(b);
}

/* Whether nobody's command is denied, and if not so, whether it succeeded. */
static bool is_denied(int fd, const char *command)
{
    json_t *answer = ask_on(fd, command);
    const char *error = json_string_value(json_object_get(answer, "error"));
    bool denied = error != NULL && strcmp(error, "denied") == 0;
    MUST(denied || json_is_true(json_object_get(answer, "success")));
    json_decref(answer);
    return denied;
}

static int nobody_may_call_but_not_steer(int index, void *context)
{
    (void)index;
    become_nobody();
    int fd = raw_greeted(context);
    MUST(!is_denied(fd, "get ha_api"));
    MUST(!is_denied(fd, "call_begin ha_api"));
    MUST(!is_denied(fd, "call_report ha_api outcome=failure"));
    MUST(!is_denied(fd, "states"));
    MUST(!is_denied(fd, "stats"));
    MUST(is_denied(fd, "remove *"));
    MUST(is_denied(fd, "force_open ha_api"));
    MUST(is_denied(fd, "disable ha_api"));
    MUST(is_denied(fd, "configure ha_api failure_threshold=1"));
    MUST(is_denied(fd, "enable ha_api"));
    close(fd);
    return 0;
}

Test(users, who_is_let_to_the_socket_may_call_but_not_steer)
{
    skip_without_root();
    broker *b = broker_start(NULL);
    cr_assert_eq(chmod(b->directory, 0755), 0);
    cr_assert_eq(chmod(b->socket_path, 0666), 0);
    cr_assert_eq(processes_run(1, nobody_may_call_but_not_steer, b->address, HARNESS_DEADLINE_MS), 0);
    cr_assert(state_is(b->address, "ha_api", "CLOSED"));
    cr_assert_eq(statistic(b->address, "ha_api", "failed_calls"), 1);
    broker_free(b);
}

/* What libcbm-client makes of a socket that it may not connect to. */
static int nobody_goes_on_without_the_broker(int index, void *context)
{
    (void)index;
    broker *b = context;
    cbm_client *client;
    cbm_permit permit;
    cbm_open_options closed = CBM_OPEN_OPTIONS_INIT;
    closed.when_away = CBM_FAIL_CLOSED;
    become_nobody();
    MUST(cbm_open(&client, b->address, &closed) == CBM_E_DENIED && client == NULL);
    MUST(strstr(cbm_last_message(), "permission denied") != NULL && strstr(cbm_last_message(), b->socket_path) != NULL);
    client = client_open(b->address, CBM_FAIL_OPEN);
    MUST(cbm_call_begin(breaker_get(client, "ha_api", NULL), &permit) == 0 && cbm_permit_unprotected(&permit));
    MUST(cbm_call_report(&permit, CBM_FAILURE) == CBM_E_DENIED);
    cbm_close(client);
    return 0;
}

static int nobody_has_a_singleton(int index, void *context)
{
    (void)index;
    broker *b = context;
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 2;
    become_nobody();
    MUST(setenv("CBM_ADDRESS", b->address, 1) == 0);
    cbm_breaker *breaker = breaker_get(cbm_manager(), "ha_api", &policy);
    fail_calls(breaker, 2);
    MUST(call_once(breaker, CBM_SUCCESS) == CBM_E_OPEN);
    MUST(cbm_ping(cbm_manager()) == CBM_E_DENIED);
    return 0;
}

Test(users, who_is_not_let_to_the_socket_goes_on_without_the_broker_and_is_told_why)
{
    skip_without_root();
    broker *b = broker_start(NULL);
    cr_assert_eq(chmod(b->directory, 0755), 0);
    cr_assert_eq(processes_run(1, nobody_goes_on_without_the_broker, b, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(processes_run(1, nobody_has_a_singleton, b, HARNESS_DEADLINE_MS), 0);
    broker_free(b);
}

/* Over the library, where `denied` is the broker's word and not the system's. */
static int nobody_is_denied_by_the_broker(int index, void *context)
{
    (void)index;
    char *json = NULL;
    become_nobody();
    cbm_client *client = client_open(context, CBM_LOCAL);
    MUST(cbm_command(client, "remove *", &json) == CBM_E_DENIED && json != NULL);
    MUST(strstr(cbm_last_message(), "permission denied:") == NULL);
    cbm_free(json);
    MUST(cbm_remove(client, "*", NULL) == CBM_E_DENIED); /* the manager in this process does not stand in */
    MUST(cbm_connected(client) == 1);
    cbm_close(client);
    return 0;
}

Test(users, what_the_broker_denies_is_no_absence)
{
    skip_without_root();
    broker *b = broker_start(NULL);
    cr_assert_eq(chmod(b->directory, 0755), 0);
    cr_assert_eq(chmod(b->socket_path, 0666), 0);
    cr_assert_eq(processes_run(1, nobody_is_denied_by_the_broker, b->address, HARNESS_DEADLINE_MS), 0);
    broker_free(b);
}

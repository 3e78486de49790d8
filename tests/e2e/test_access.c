/* Who may do what, with real users. Needs root, to become somebody else. */
#include "clients.h"

#include <criterion/criterion.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALICE 54321
#define BOB 54322
#define OPS 54323 /* a group without a name */

TestSuite(access, .timeout = 60);

static void skip_without_root(void)
{
    if (geteuid() != 0)
        cr_skip_test("only root can become another user");
}

typedef struct question {
    const char *address;
    uid_t uid;
    gid_t gid;
    const char *command;
    const char *error;   /* NULL: it succeeds */
    const char *message; /* what the message says; NULL: anything */
} question;

static int asks(int index, void *context)
{
    const question *q = context;
    (void)index;
    MUST(setgroups(0, NULL) == 0 && setresgid(q->gid, q->gid, q->gid) == 0 && setresuid(q->uid, q->uid, q->uid) == 0);
    json_t *answer = ask(q->address, q->command);
    const char *error = json_string_value(json_object_get(answer, "error"));
    const char *message = json_string_value(json_object_get(answer, "message"));
    if (q->error == NULL ? error != NULL : error == NULL || strcmp(error, q->error) != 0)
        harness_fail("%s by %u: %s: %s", q->command, (unsigned)q->uid, error ? error : "success", message);
    if (q->message != NULL && strstr(message, q->message) == NULL)
        harness_fail("%s: %s", q->command, message);
    json_decref(answer);
    return 0;
}

static void assert_answer(const broker *b, uid_t uid, gid_t gid, const char *command, const char *error,
                          const char *message)
{
    question q = {b->address, uid, gid, command, error, message};
    cr_assert_eq(processes_run(1, asks, &q, HARNESS_DEADLINE_MS), 0, "%s by %u of %u", command, (unsigned)uid,
                 (unsigned)gid);
}

static void write_config(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    cr_assert(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static broker *start_with(const char *config_path, const char *config)
{
    write_config(config_path, config);
    broker *b = broker_start(&(broker_options){.arguments = {"--socket-mode", "0666", "--config", config_path, NULL}});
    cr_assert_eq(chmod(b->directory, 0755), 0);
    return b;
}

static char config_path[64];

static void set_up(void)
{
    snprintf(config_path, sizeof config_path, "/tmp/cbm-e2e-access-%d.conf", (int)getpid());
}

static void tear_down(void)
{
    unlink(config_path);
}

Test(access, members_of_the_admin_group_steer_and_others_are_told_who_may, .init = set_up, .fini = tear_down)
{
    skip_without_root();
    broker *b = start_with(config_path, "[broker]\nadmin_group = 54323\n");
    json_decref(ask(b->address, "get ha_api"));
    assert_answer(b, ALICE, ALICE, "force_open ha_api", "denied", "--admin-group");
    assert_answer(b, ALICE, OPS, "force_open ha_api", NULL, NULL);
    assert_answer(b, ALICE, OPS, "enable ha_api", NULL, NULL);
    assert_answer(b, ALICE, OPS, "reload", NULL, NULL);
    assert_answer(b, ALICE, ALICE, "reload", "denied", "reload is for");
    assert_answer(b, ALICE, ALICE, "reset ha_api", NULL, NULL);
    broker_free(b);
}

static void reload(broker *b, bool success)
{
    json_t *answer = ask(b->address, "reload");
    json_int_t number = json_integer_value(json_object_get(json_object_get(answer, "data"), "reload"));
    json_decref(answer);
    cr_assert_gt(number, 0);
    for (int64_t end = clock_ms() + HARNESS_DEADLINE_MS;;) {
        answer = ask(b->address, "info");
        json_t *told = json_object_get(json_object_get(answer, "data"), "reload");
        bool done = json_integer_value(json_object_get(told, "done")) >= number;
        if (done)
            cr_assert_eq(json_is_true(json_object_get(told, "success")), success, "%s",
                         json_string_value(json_object_get(told, "message")));
        json_decref(answer);
        if (done)
            return;
        cr_assert_lt(clock_ms(), end);
    }
}

Test(access, what_the_file_says_of_access_changes_without_a_restart, .init = set_up, .fini = tear_down)
{
    skip_without_root();
    broker *b = start_with(config_path, "[access \"billing_*\"]\nuid = 54321\n");
    assert_answer(b, ALICE, ALICE, "get billing_api", NULL, NULL);
    assert_answer(b, BOB, BOB, "get billing_api", "denied", "billing_*");
    assert_answer(b, BOB, BOB, "call_begin billing_api", "denied", NULL);
    assert_answer(b, BOB, BOB, "call_report billing_api outcome=failure", "denied", NULL);
    assert_answer(b, BOB, BOB, "call_report billing_unheard_of outcome=failure", "denied", NULL);
    assert_answer(b, BOB, BOB, "states billing_api", "denied", "billing_*");
    assert_answer(b, BOB, BOB, "states billing_*", NULL, NULL); /* which leaves it out */
    assert_answer(b, BOB, BOB, "reset billing_api", "denied", NULL);
    assert_answer(b, BOB, BOB, "reset_all", "denied", NULL);
    assert_answer(b, BOB, BOB, "get shop_api", NULL, NULL);
    write_config(config_path, "[broker]\nrestrict_resets = yes\nadmin_group = 54323\n"
                              "[access \"billing_*\"]\nuid = 54322\n");
    reload(b, true);
    assert_answer(b, ALICE, ALICE, "get billing_api", "denied", NULL);
    assert_answer(b, BOB, BOB, "get billing_api", NULL, NULL);
    assert_answer(b, BOB, BOB, "reset billing_api", "denied", "--restrict-resets");
    write_config(config_path, "[access\n");
    reload(b, false);
    assert_answer(b, ALICE, ALICE, "get billing_api", "denied", "billing_*"); /* what was in force stays in force */
    broker_free(b);
}

#define NOBODY 65534 /* the one user with a name that there is everywhere, beside root */

Test(access, users_may_be_given_by_name, .init = set_up, .fini = tear_down)
{
    skip_without_root();
    const struct passwd *nobody = getpwnam("nobody");
    if (nobody == NULL || nobody->pw_uid != NOBODY)
        cr_skip_test("there is no user nobody");
    broker *b = start_with(config_path, "[access \"billing_*\"]\nuid = nobody, 54321\n"
                                        "[access \"shop_*\"]\nuid = cbm-no-such-user\n");
    assert_answer(b, NOBODY, NOBODY, "get billing_api", NULL, NULL);
    assert_answer(b, ALICE, ALICE, "get billing_api", NULL, NULL);
    assert_answer(b, BOB, BOB, "get billing_api", "denied", "billing_*");
    assert_answer(b, NOBODY, NOBODY, "get shop_api", "denied", "shop_*");
    char *line = broker_wait_log1(b, "the user cbm-no-such-user of an [access] section", HARNESS_DEADLINE_MS);
    cr_assert_not_null(line);
    free(line);
    write_config(config_path, "[access \"billing_*\"]\nuid = 54322\n[access \"shop_*\"]\nuid = nobody\n");
    reload(b, true);
    assert_answer(b, NOBODY, NOBODY, "get billing_api", "denied", NULL);
    assert_answer(b, NOBODY, NOBODY, "get shop_api", NULL, NULL);
    broker_free(b);
}

static int bob_sees_what_is_his(int index, void *context)
{
    (void)index;
    MUST(setgroups(0, NULL) == 0 && setresgid(BOB, BOB, BOB) == 0 && setresuid(BOB, BOB, BOB) == 0);
    cbm_client *client = client_open(context, CBM_FAIL_CLOSED);
    cbm_states_result *states;
    MUST(cbm_states(client, NULL, &states) == 0);
    MUST(cbm_states_count(states) == 300);
    for (size_t i = 0; i < 300; i++)
        MUST(strncmp(cbm_states_at(states, i)->name, "shop_", 5) == 0);
    cbm_states_free(states);
    cbm_breaker *breaker;
    MUST(cbm_get(client, "billing_000", NULL, &breaker) == CBM_E_DENIED);
    cbm_close(client);
    return 0;
}

/* More of them than a page holds, in front of his. */
Test(access, states_leave_out_what_is_not_for_the_user, .init = set_up, .fini = tear_down)
{
    skip_without_root();
    broker *b = start_with(config_path, "[limiter]\nrate_limit = 0\n[access \"billing_*\"]\nuid = 54321\n");
    int fd = raw_greeted(b->address);
    for (int i = 0; i < 300; i++) {
        char command[64];
        snprintf(command, sizeof command, "get billing_%03d", i);
        json_decref(ask_on(fd, command));
        snprintf(command, sizeof command, "get shop_%03d", i);
        json_decref(ask_on(fd, command));
    }
    close(fd);
    cr_assert_eq(processes_run(1, bob_sees_what_is_his, b->address, HARNESS_DEADLINE_MS), 0);
    broker_free(b);
}

Test(access, the_socket_has_the_mode_and_group_that_were_asked_for)
{
    skip_without_root();
    broker *b =
        broker_start(&(broker_options){.arguments = {"--socket-mode", "0620", "--socket-group", "54323", NULL}});
    struct stat status;
    cr_assert_eq(stat(b->socket_path, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0620, "%o", status.st_mode & 07777);
    cr_assert_eq(status.st_gid, OPS);
    broker_free(b);
}

Test(access, without_a_config_file_there_is_nothing_to_reload)
{
    broker *b = broker_start(NULL);
    json_t *answer = ask(b->address, "reload");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "error")), "unsupported");
    json_decref(answer);
    broker_free(b);
}

Test(access, a_group_that_there_is_not_makes_nobody_an_administrator)
{
    skip_without_root();
    broker *b = broker_start(
        &(broker_options){.arguments = {"--socket-mode", "0666", "--admin-group", "cbm-no-such-group", NULL}});
    cr_assert_eq(chmod(b->directory, 0755), 0);
    char *line = broker_wait_log1(b, "there is no group cbm-no-such-group", HARNESS_DEADLINE_MS);
    cr_assert_not_null(line);
    free(line);
    assert_answer(b, ALICE, ALICE, "remove *", "denied", NULL);
    broker_free(b);
}

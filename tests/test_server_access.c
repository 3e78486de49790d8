/* Who may do what: administrators, resets, rules by name. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "config.h"
#include "error.h"

TestSuite(server_access);

static cbm_access *people;
static char message[256];

static void set_up(void)
{
    cr_assert_eq(cbm_access_new(&people), 0);
}

static void tear_down(void)
{
    cbm_access_free(people);
}

static cbm_caller user(uint64_t uid)
{
    return (cbm_caller){.uid = uid, .gid = uid, .admin = uid == 0, .access = people, .correlation_id = ""};
}

static int ask_for(uint64_t uid, cbm_operation op, const char *name)
{
    cbm_caller caller = user(uid);
    cbm_request request = {.op = op};

    message[0] = '\0';
    strcpy(op == CBM_OP_CALL_REPORT ? request.report.name : request.name, name);
    return cbm_access_check(&caller, &request, message, sizeof message);
}

static void set_admins(uint64_t gid, uint64_t first, uint64_t second)
{
    uint64_t *uids = malloc(2 * sizeof *uids);

    uids[0] = first;
    uids[1] = second;
    cbm_access_set_admins(people, gid, uids, 2);
}

static void set_rules(const char *text)
{
    char why[256] = "";
    cbm_config *config = cbm_config_parse("cbm.conf", text, strlen(text), why, sizeof why);

    cr_assert_not_null(config, "%s", why);
    cbm_access_set_rules(people, cbm_config_take_access(config));
    cr_assert_null(cbm_config_take_access(config), "they are taken once");
    cbm_config_free(config);
}

static const cbm_operation admins_own[] = {CBM_OP_CONFIGURE,    CBM_OP_REMOVE, CBM_OP_FORCE_OPEN, CBM_OP_DISABLE,
                                           CBM_OP_METRICS_ONLY, CBM_OP_ENABLE, CBM_OP_RELOAD};
#define ADMINS_OWN (sizeof admins_own / sizeof *admins_own)

Test(server_access, administrative_operations_are_for_root_alone_at_first, .init = set_up, .fini = tear_down)
{
    for (size_t i = 0; i < ADMINS_OWN; i++) {
        cr_assert_eq(ask_for(0, admins_own[i], "a"), 0);
        cr_assert_eq(ask_for(1000, admins_own[i], "a"), CBM_PROTO_E_DENIED);
        cr_assert_not_null(strstr(message, cbm_operations[admins_own[i]].name), "%s", message);
        cr_assert_not_null(strstr(message, "--admin-group"), "it says how: %s", message);
    }
}

Test(server_access, all_others_are_for_everybody, .init = set_up, .fini = tear_down)
{
    for (int op = 0; op < CBM_OP_COUNT; op++)
        if (!(cbm_operations[op].flags & CBM_OPERATION_ADMIN))
            cr_assert_eq(ask_for(1000, op, ""), 0, "%s", cbm_operations[op].name);
}

Test(server_access, members_of_the_group_are_administrators, .init = set_up, .fini = tear_down)
{
    cbm_caller by_gid = {.uid = 77, .gid = 5000, .access = people};

    set_admins(5000, 1001, 1000);
    cr_assert_eq(ask_for(1000, CBM_OP_REMOVE, ""), 0);
    cr_assert_eq(ask_for(1001, CBM_OP_REMOVE, ""), 0);
    cr_assert_eq(ask_for(1002, CBM_OP_REMOVE, ""), CBM_PROTO_E_DENIED);
    cr_assert(cbm_access_is_admin(&by_gid), "it is that user's own group");
    cbm_access_set_admins(people, UINT64_MAX, NULL, 0);
    cr_assert_eq(ask_for(1000, CBM_OP_REMOVE, ""), CBM_PROTO_E_DENIED, "not any more");
    cr_assert_not(cbm_access_is_admin(&by_gid));
    by_gid.gid = UINT64_MAX;
    cr_assert_not(cbm_access_is_admin(&by_gid), "an unknown group is no group");
}

Test(server_access, resets_can_be_restricted, .init = set_up, .fini = tear_down)
{
    static const cbm_operation resets[] = {CBM_OP_RESET, CBM_OP_RESET_ALL, CBM_OP_RESET_MANAGER};

    for (size_t i = 0; i < 3; i++) {
        cbm_access_restrict_resets(people, false);
        cr_assert_eq(ask_for(1000, resets[i], "a"), 0);
        cbm_access_restrict_resets(people, true);
        cr_assert_eq(ask_for(1000, resets[i], "a"), CBM_PROTO_E_DENIED);
        cr_assert_not_null(strstr(message, "--restrict-resets"), "%s", message);
        cr_assert_eq(ask_for(0, resets[i], "a"), 0);
    }
}

Test(server_access, a_rule_keeps_breakers_for_its_users, .init = set_up, .fini = tear_down)
{
    static const cbm_operation naming[] = {CBM_OP_GET, CBM_OP_CALL_BEGIN, CBM_OP_CALL_REPORT, CBM_OP_RESET,
                                           CBM_OP_PULL};

    set_rules("[access \"billing_*\"]\nuid = 1000, 1001\nuid=1002\n");
    for (size_t i = 0; i < sizeof naming / sizeof *naming; i++) {
        for (uint64_t uid = 1000; uid <= 1002; uid++)
            cr_assert_eq(ask_for(uid, naming[i], "billing_api"), 0);
        cr_assert_eq(ask_for(0, naming[i], "billing_api"), 0);
        cr_assert_eq(ask_for(1003, naming[i], "billing_api"), CBM_PROTO_E_DENIED);
        cr_assert_not_null(strstr(message, "\"billing_*\""), "%s", message);
        cr_assert_eq(ask_for(1003, naming[i], "shop_api"), 0);
    }
    set_admins(9, 1003, 1003);
    cr_assert_eq(ask_for(1003, CBM_OP_GET, "billing_api"), 0, "administrators may name all");
}

static void set_users(const char *name, uint64_t uid)
{
    cbm_access_user user = {.uid = uid};

    snprintf(user.name, sizeof user.name, "%s", name);
    cbm_access_set_users(people, &user, 1);
}

Test(server_access, a_rule_lists_users_by_name_too, .init = set_up, .fini = tear_down)
{
    static const char rules[] = "[access \"billing_*\"]\nuid = alice,1001 , bob.smith@example.org\nuid = 7zip$\n";
    cbm_caller unknown = {.uid = UINT64_MAX, .access = people};

    set_rules(rules);
    cr_assert_eq(ask_for(1000, CBM_OP_GET, "billing_api"), CBM_PROTO_E_DENIED, "nobody knows who alice is");
    cr_assert_not(cbm_access_may_name(&unknown, "billing_api"));
    cr_assert_eq(ask_for(1001, CBM_OP_GET, "billing_api"), 0);
    set_users("alice", 1000);
    set_users("7zip$", 1002);
    set_users("carol", 1003);
    cr_assert_eq(ask_for(1000, CBM_OP_GET, "billing_api"), 0);
    cr_assert_eq(ask_for(1002, CBM_OP_GET, "billing_api"), 0);
    cr_assert_eq(ask_for(1003, CBM_OP_GET, "billing_api"), CBM_PROTO_E_DENIED);
    set_rules(rules);
    cr_assert_eq(ask_for(1000, CBM_OP_GET, "billing_api"), 0, "she stays who she is until she is looked up again");
    set_users("alice", CBM_ACCESS_UNKNOWN);
    cr_assert_eq(ask_for(1000, CBM_OP_GET, "billing_api"), CBM_PROTO_E_DENIED, "she is gone");
    cr_assert_eq(ask_for(1002, CBM_OP_GET, "billing_api"), 0);
}

Test(server_access, users_by_name_are_listed_once_and_in_order)
{
    static const char text[] = "[access \"a*\"]\nuid = carol, 7, alice\n[access \"b*\"]\nuid = bob, alice\n";
    static const char *const names[] = {"alice", "bob", "carol"};
    char why[512];
    cbm_config *config = cbm_config_parse("cbm.conf", text, strlen(text), why, sizeof why);
    cbm_access_rules *rules = cbm_config_take_access(config);
    size_t count;
    cbm_access_user *users = cbm_access_rules_users(rules, &count);

    cr_assert_eq(count, 3);
    for (size_t i = 0; i < 3; i++)
        cr_assert_str_eq(users[i].name, names[i]);
    free(users);
    cr_assert_null(cbm_access_rules_users(NULL, &count));
    cr_assert_eq(count, 0);
    cbm_access_rules_free(rules);
    cbm_config_free(config);
}

Test(server_access, the_most_specific_rule_speaks_for_a_breaker, .init = set_up, .fini = tear_down)
{
    set_rules(
        "[access \"*\"]\nuid = 1000\n[access \"public_*\"]\nuid = 1000, 1001\n[access \"public_key\"]\nuid = 1002\n");
    cr_assert_eq(ask_for(1000, CBM_OP_GET, "any"), 0);
    cr_assert_eq(ask_for(1001, CBM_OP_GET, "any"), CBM_PROTO_E_DENIED);
    cr_assert_eq(ask_for(1001, CBM_OP_GET, "public_api"), 0);
    cr_assert_eq(ask_for(1001, CBM_OP_GET, "public_key"), CBM_PROTO_E_DENIED);
    cr_assert_eq(ask_for(1000, CBM_OP_GET, "public_key"), CBM_PROTO_E_DENIED);
    cr_assert_eq(ask_for(1002, CBM_OP_GET, "public_key"), 0);
}

Test(server_access, what_reaches_all_breakers_is_not_for_who_may_not_name_all, .init = set_up, .fini = tear_down)
{
    cbm_caller inside = user(1000), outside = user(1003);

    set_rules("[access \"billing_*\"]\nuid = 1000\n");
    cr_assert_eq(ask_for(1000, CBM_OP_RESET_ALL, ""), 0);
    cr_assert_eq(ask_for(1003, CBM_OP_RESET_ALL, ""), CBM_PROTO_E_DENIED);
    cr_assert_eq(ask_for(1003, CBM_OP_RESET_MANAGER, ""), CBM_PROTO_E_DENIED);
    cr_assert_eq(ask_for(0, CBM_OP_RESET_MANAGER, ""), 0);
    cr_assert(cbm_access_is_restricted(&outside));
    cr_assert_not(cbm_access_is_restricted(&inside));
    cbm_access_set_rules(people, NULL);
    cr_assert_not(cbm_access_is_restricted(&outside));
    cr_assert_eq(ask_for(1003, CBM_OP_RESET_ALL, ""), 0);
}

Test(server_access, a_rule_without_users_is_for_administrators, .init = set_up, .fini = tear_down)
{
    set_rules("[access \"ops_*\"]\n");
    cr_assert_eq(ask_for(1000, CBM_OP_GET, "ops_a"), CBM_PROTO_E_DENIED);
    cr_assert_eq(ask_for(0, CBM_OP_GET, "ops_a"), 0);
}

static void refused(const char *text, const char *because)
{
    char why[512] = "";
    cbm_config *config = cbm_config_parse("cbm.conf", text, strlen(text), why, sizeof why);

    cr_assert_null(config, "%s", text);
    cr_assert_not_null(strstr(why, because), "%s", why);
}

Test(server_access, mistakes_in_rules_are_named)
{
    static const char *const wrong[] = {"alice bob", "1,",     "1 2",       "-1",          "4294967295", "",
                                        ",alice",    "@staff", "alice;bob", "12345678901", "%wheel"};
    char text[256];

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(text, sizeof text, "[access \"a*\"]\nuid = %s\n", wrong[i]);
        refused(text, "cbm.conf:2: uid must be users, by name or by number");
    }
    snprintf(text, sizeof text, "[access \"a*\"]\nuid = %065d\n", 1);
    refused(text, "uid must be users");
    snprintf(text, sizeof text, "[access \"a*\"]\nuid = x%064d\n", 1);
    refused(text, "uid must be users");
    refused("[access \"a*\"]\ngid = 1\n", "there is no key 'gid'");
    refused("[access \"a*\"]\nuid = 1\n[access \"a*\"]\nuid = 2\n", "cbm.conf:3: a section [access \"a*\"]");
    refused("[access a]\n", "headed like [access \"ha_*\"]");
    refused("[access \"a[\"]\n", "is not closed");
}

Test(server_access, settings_of_access_and_quotas_are_read_from_the_file)
{
    static const char text[] = "[broker]\nsocket_mode = 0666\nsocket_group = www-data\nadmin_group = 27\n"
                               "restrict_resets = yes\n[quotas]\nmax_clients = 5\nmax_requests = 0\n"
                               "max_breakers_per_user = 7\nmax_permits_per_user = 8\nmax_pending_mib = 9\n";
    char why[512] = "";
    cbm_config *config = cbm_config_parse("cbm.conf", text, strlen(text), why, sizeof why);
    cbm_options options;

    cr_assert_not_null(config, "%s", why);
    cbm_options_init(&options);
    cbm_config_apply(config, &options);
    cr_assert_eq(options.socket_mode, 0666);
    cr_assert_str_eq(options.socket_group, "www-data");
    cr_assert_str_eq(options.admin_group, "27");
    cr_assert_eq(options.restrict_resets, 1);
    cr_assert_eq(options.max_clients, 5);
    cr_assert_eq(options.max_requests, 0);
    cr_assert_eq(options.max_breakers_per_user, 7);
    cr_assert_eq(options.max_permits_per_user, 8);
    cr_assert_eq(options.max_pending_mib, 9);
    cbm_config_free(config);
    refused("[broker]\nsocket_mode = 0999\n", "an octal mode");
    refused("[broker]\nsocket_mode = 66\n", "an octal mode");
    refused("[broker]\nsocket_mode = 1777\n", "an octal mode");
    refused("[broker]\nrestrict_resets = maybe\n", "yes or no");
}

/* A socket that this user may not connect to: as good as no broker, and the cause is told. Needs root, to become somebody else. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client_fixture.h"
#include "clock.h"
#include "endpoint.h"
#include "fake_broker.h"
#include "link.h"

#define NOBODY 65534

TestSuite(client_denied, .timeout = 60);

static void let_in(const fake_broker *broker, mode_t directory_mode, mode_t socket_mode)
{
    const char *path = fake_broker_address(broker) + strlen("ipc://");
    char directory[128];

    strcpy(directory, path);
    *strrchr(directory, '/') = '\0';
    cr_assert_eq(chmod(path, socket_mode), 0);
    cr_assert_eq(chmod(directory, directory_mode), 0);
}

/* A broker that nobody but root may connect to. */
static fake_broker *start_denying(void)
{
    fake_broker *broker;

    if (geteuid() != 0)
        cr_skip_test("only root can become another user");
    broker = fake_broker_start(fake_serve_well, NULL);
    let_in(broker, 0755, 0600);
    return broker;
}

static void become(uid_t uid)
{
    cr_assert_eq(seteuid(uid), 0);
}

static int open_closed(cbm_client **client, const char *address)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;

    options.when_away = CBM_FAIL_CLOSED;
    return cbm_open(client, address, &options);
}

static bool names(const fake_broker *broker)
{
    return strstr(cbm_last_message(), "permission denied: ") &&
           strstr(cbm_last_message(), fake_broker_address(broker)) && strstr(cbm_last_message(), "group");
}

static void end(cbm_client *client, fake_broker *broker)
{
    cbm_close(client);
    become(0);
    fake_broker_stop(broker);
}

Test(client_denied, under_fail_closed_open_tells_of_it)
{
    fake_broker *broker = start_denying();
    cbm_client *client;

    become(NOBODY);
    cr_assert_eq(open_closed(&client, fake_broker_address(broker)), CBM_E_DENIED);
    cr_assert_null(client);
    cr_assert(names(broker), "%s", cbm_last_message());
    become(0);
    let_in(broker, 0700, 0666);
    become(NOBODY);
    cr_assert_eq(open_closed(&client, fake_broker_address(broker)), CBM_E_DENIED, "a directory may be shut as well");
    cr_assert(names(broker), "%s", cbm_last_message());
    end(NULL, broker);
}

Test(client_denied, under_fail_closed_calls_are_refused_with_it)
{
    fake_broker *broker = start_denying();
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL), *other;
    cbm_permit permit;

    become(NOBODY);
    fake_broker_hang_up(broker);
    for (int i = 0; i < 2; i++) { /* asked, and in the time that it counts as away */
        cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_DENIED);
        cr_assert(names(broker), "%s", cbm_last_message());
    }
    cr_assert_eq(cbm_get(client, "other", NULL, &other), CBM_E_DENIED);
    cr_assert(names(broker), "%s", cbm_last_message());
    become(0);
    cr_assert(await_broker(client));
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    end(client, broker);
}

Test(client_denied, under_fail_open_calls_pass_and_the_cause_is_told)
{
    fake_broker *broker = start_denying();
    cbm_states_result *states;
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit permit;
    char *json;

    become(NOBODY);
    client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    cr_assert_eq(cbm_connected(client), 0);
    breaker = get_breaker(client, "ha_api", NULL);
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    cr_assert(names(broker), "%s", cbm_last_message());
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_DENIED);
    cr_assert(names(broker), "%s", cbm_last_message());
    cr_assert_eq(cbm_states(client, NULL, &states), CBM_E_DENIED);
    cr_assert(names(broker), "%s", cbm_last_message());
    cr_assert_eq(cbm_command(client, "stats", &json), CBM_E_DENIED);
    cr_assert_null(json);
    cr_assert(names(broker), "%s", cbm_last_message());
    become(0);
    cr_assert(await_broker(client));
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
    end(client, broker);
}

Test(client_denied, under_local_the_manager_of_this_process_stands_in)
{
    fake_broker *broker = start_denying();
    cbm_policy policy = CBM_POLICY_INIT;
    cbm_client *client;
    cbm_breaker *breaker;

    policy.failure_threshold = 2;
    become(NOBODY);
    client = open_client(fake_broker_address(broker), CBM_LOCAL);
    breaker = get_breaker(client, "ha_api", &policy);
    cr_assert_eq(call_with(breaker, CBM_FAILURE), 0);
    cr_assert_eq(call_with(breaker, CBM_FAILURE), 0);
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), CBM_E_OPEN);
    cr_assert_eq(cbm_ping(client), CBM_E_DENIED, "of the broker it tells the truth");
    end(client, broker);
}

Test(client_denied, the_singleton_works_for_a_user_outside_the_group)
{
    fake_broker *broker = start_denying();

    setenv("CBM_ADDRESS", fake_broker_address(broker), 1);
    become(NOBODY);
    cr_assert_eq(call_with(get_breaker(cbm_manager(), "ha_api", NULL), CBM_SUCCESS), 0);
    cr_assert_eq(state_of(cbm_manager(), "ha_api").statistics.successful_calls, 1);
    end(NULL, broker);
}

/* ---- More addresses than one ---------------------------------------------------------------------------------------------- */

/* What connecting to these in turn gives; *used is the address that is then in use. */
static int connect_to(const char *first, const char *second, const char **used)
{
    static cbm_link link;
    static atomic_bool answered;
    int64_t deadline_ns = cbm_clock_ns() + PATIENCE_MS * CBM_NS_PER_MS;
    int error;

    memset(&link, 0, sizeof(link));
    cr_assert_eq(cbm_endpoint_parse(&link.endpoints[0], first), 0);
    cr_assert_eq(cbm_endpoint_parse(&link.endpoints[1], second), 0);
    link.endpoint_count = 2;
    cr_assert_eq(cbm_link_init(&link, &answered), 0);
    cr_assert_eq(cbm_link_enter(&link, deadline_ns), 0);
    error = cbm_link_connect(&link, deadline_ns);
    cbm_link_leave(&link);
    cbm_link_deinit(&link);
    *used = link.endpoints[link.endpoint].text;
    return error;
}

Test(client_denied, at_one_address_leaves_the_next_to_be_tried)
{
    fake_broker *denying = start_denying(), *open = fake_broker_start(fake_serve_well, NULL);
    const char *denied = fake_broker_address(denying), *nowhere = "/nonexistent/cbm.sock", *used;

    let_in(open, 0755, 0666);
    become(NOBODY);
    cr_assert_eq(connect_to(denied, fake_broker_address(open), &used), 0);
    cr_assert_str_eq(used, fake_broker_address(open));
    cr_assert_eq(connect_to(denied, nowhere, &used), CBM_E_DENIED);
    cr_assert_str_eq(used, denied, "the one that the error is about");
    cr_assert_eq(connect_to(nowhere, denied, &used), CBM_E_DENIED);
    cr_assert_str_eq(used, denied);
    cr_assert_eq(connect_to(nowhere, nowhere, &used), CBM_E_AWAY);
    become(0);
    fake_broker_stop(open);
    fake_broker_stop(denying);
}

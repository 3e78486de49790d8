/*
 * Every allocation of libcbm-client fails once: a script of its calls runs again and again, and each time the next allocation
 * is the one that fails. The call that hit it gives CBM_E_NOMEM and works when it is tried again, or did its work without.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocation.h"
#include "cbm.h"
#include "fake_broker.h"

TestSuite(allocation_client, .timeout = 60);

static const char *address;
static bool is_local;
static cbm_client *client;
static cbm_breaker *breaker, *other;
static cbm_permit permit;

static int open_it(void)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;

    options.when_away = CBM_FAIL_CLOSED;
    options.call_timeout_ms = options.timeout_ms = 10000;
    options.flags = CBM_OPEN_NO_SHM;
    return cbm_open(&client, address, &options);
}

static int get_it(void)
{
    cbm_policy policy = CBM_POLICY_INIT;

    policy.failure_threshold = 7;
    return cbm_get(client, "ha_api", &policy, &breaker);
}

static int get_other(void)
{
    return cbm_get(client, "shop_api", NULL, &other);
}
static int begin(void)
{
    return cbm_call_begin(breaker, &permit);
}
static int report(void)
{
    return cbm_call_report(&permit, CBM_FAILURE);
}
static int observe(void)
{
    return cbm_report(other, CBM_SUCCESS, NULL);
}

static int states(void)
{
    cbm_states_result *result = NULL;
    int error = cbm_states(client, NULL, &result);

    cr_assert(error == 0 || result == NULL);
    cbm_states_free(result);
    return error;
}

static int stats(void)
{
    cbm_stats_result *result = NULL;
    int error = cbm_stats(client, &result);

    cr_assert(error == 0 || result == NULL);
    cbm_stats_free(result);
    return error;
}

static int command(void)
{
    char *json = NULL;
    int error = is_local ? cbm_command(client, "states", &json) : 0; /* the broker here speaks no text */

    cbm_free(json);
    return error;
}

static int reset(void)
{
    return cbm_reset(client, "ha_api");
}
static int reset_all(void)
{
    return cbm_reset_all(client);
}

static int call_function(void *argument)
{
    (void)argument;
    return 0;
}

static int call(void)
{
    int result;

    return cbm_call(client, "third_api", call_function, NULL, &result);
}

typedef int step(void);
static step *const script[] = {open_it, get_it, get_other, begin, report, observe,
                               states,  stats,  command,   call,  reset,  reset_all};
#define STEPS (sizeof script / sizeof *script)

static bool play(long n, int not_there)
{
    long live = allocation_live();
    bool failed_once = false, hit;

    client = NULL;
    allocation_fail_at(n);
    for (size_t i = 0; i < STEPS; i++) {
        int error = script[i]();

        if (error == 0 || error == not_there)
            continue;
        cr_assert_eq(error, CBM_E_NOMEM, "step %zu, allocation %ld: %s", i, n, cbm_strerror(error));
        cr_assert(allocation_has_failed() && !failed_once, "step %zu fails though there is memory", i);
        cr_assert(i > 0 || client == NULL);
        failed_once = true;
        i--;
    }
    hit = allocation_has_failed();
    allocation_fail_at(0);
    cbm_close(client);
    if (n > 0)
        cr_assert_eq(allocation_live(), live, "allocation %ld: %ld left behind", n, allocation_live() - live);
    return hit;
}

static void fail_each(const char *what, int not_there)
{
    long n = 1;

    cr_assert_not(play(0, not_there)); /* what is made once for the process is made now */
    while (play(n, not_there))
        n++;
    fprintf(stderr, "libcbm-client, %s: each of %ld allocations failed once\n", what, n - 1);
    cr_assert_gt(n, 4); /* few as they are: begin, report and get need none */
}

Test(allocation_client, every_allocation_fails_once_with_a_manager_in_the_process)
{
    address = "local:";
    is_local = true;
    fail_each("local:", CBM_E_UNSUPPORTED);
}

Test(allocation_client, every_allocation_fails_once_with_a_broker)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);

    address = fake_broker_address(broker);
    fail_each("a broker", 0);
    fake_broker_stop(broker);
}

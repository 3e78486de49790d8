/* What cbmctl says of names, values and addresses that are none: which it was, and what is allowed. */
#include <string.h>

#include <criterion/criterion.h>

#include "cbmctl_program.h"

TestSuite(cbmctl_refusals, .timeout = 60);

static void refused(const char *address, const char *const *arguments, const char *said)
{
    program_result result;
    cbmctl_run(&result, address, arguments);
    cr_assert_eq(result.status, 64, "%s: %d", arguments[0], result.status);
    cr_assert_not_null(strstr(result.err, said), "`%s' is not in: %s", said, result.err);
    program_result_deinit(&result);
}

Test(cbmctl_refusals, each_command_says_the_same_of_a_name_that_is_none)
{
    const char *nobody = "/nowhere/cbm.sock"; /* nobody needs to be asked */
    const char *empty = "name must be 1 to 128 bytes of UTF-8 without control characters, not ''";
    const char *torn = "name must be 1 to 128 bytes of UTF-8 without control characters, not 'a b'";
    const char *const commands[] = {"get", "check", "reset", "force-open", "disable", "metrics-only", "enable"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        refused(nobody, ARGS(commands[i], ""), empty);
        refused(nobody, ARGS(commands[i], "a\nb"), torn);
    }
    refused(nobody, ARGS("report", "", "success"), empty);
    refused(nobody, ARGS("run", "", "--", "true"), empty);
    refused(nobody, ARGS("configure", "", "jitter=1"), empty);
}

Test(cbmctl_refusals, cbmctl_and_the_broker_say_the_same_of_a_value)
{
    broker *b = broker_start_unlimited();
    const char *rule = "rule must be consecutive, failures, count_window or time_window, not 'x'";
    const char *rate = "failure_rate must be a number from 0.1 to 100 in steps of 0.1, not ";
    const char *beside = "timeout_max_ms must not be less than timeout_ms";
    refused(b->address, ARGS("get", "a", "rule=x"), rule);
    refused(b->address, ARGS("command", "get a rule=x"), rule);
    refused(b->address, ARGS("get", "a", "failure_rate=33.33"), rate);
    refused(b->address, ARGS("command", "get a failure_rate=33.33"), rate);
    refused(b->address, ARGS("get", "a", "timeout_max_ms=1"), beside);
    refused(b->address, ARGS("run", "a", "timeout_max_ms=1", "--", "true"), beside);
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "a", "timeout=1000")), 0);
    refused(b->address, ARGS("configure", "a", "timeout_max_ms=600000"),
            "timeout_ms (together with the policy in force)");
    refused(b->address, ARGS("remove", ""), "pattern must be 1 to 128 bytes");
    refused(b->address, ARGS("report", "a", "failure", "--open-for=0"), "--open-for takes more than 0");
    broker_free(b);
}

Test(cbmctl_refusals, a_minimum_that_the_window_never_holds_is_told_as_what_it_counts_as)
{
    broker *b = broker_start_unlimited();
    program_result result;
    cbmctl_run(&result, b->address, ARGS("get", "a", "rule=count_window", "window_size=20", "minimum_calls=50"));
    cr_assert_eq(result.status, 0);
    cr_assert_not_null(strstr(result.err, "a: minimum_calls counts as 20"), "%s", result.err);
    program_result_deinit(&result);
    cbmctl_run(&result, b->address, ARGS("get", "b", "rule=count_window", "window_size=20", "minimum_calls=20"));
    cr_assert_str_eq(result.err, "");
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_refusals, an_address_that_is_none_is_told_once_with_what_is_allowed)
{
    static const char *const cases[][2] = {
        {"foo", "cbmctl: 'foo' is not an address: it is not of the form ipc:///path, unix:///path, /path, "
                "abstract://name or local:\n"},
        {"tcp://h:1", "'tcp://h:1' is not an address: it is not of the form ipc:///path"},
        {"ipc://run/x", "'ipc://run/x' is not an address: the path is not absolute"},
        {"run/x", "'run/x' is not an address: the path is not absolute"},
        {"abstract://", "an abstract socket needs a name"},
        {"abstract://a%x", "% stands only before two hexadecimal digits"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        refused(cases[i][0], ARGS("ping"), cases[i][1]);
        refused(cases[i][0], ARGS("check", "a"), cases[i][1]);
    }
}

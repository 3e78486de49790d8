/* The command line: what each option takes, and what it says to what it does not take. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "options.h"

TestSuite(server_options);

static cbm_options options;
static char message[512];

static bool set(cbm_option_key key, const char *value)
{
    message[0] = '\0';
    return cbm_options_set(&options, key, value, message, sizeof message);
}

static void refused(cbm_option_key key, const char *value)
{
    cbm_options before = options;

    cr_assert_not(set(key, value), "'%s'", value);
    cr_assert_not_null(strstr(message, "--"), "the message names the option: %s", message);
    cr_assert_eq(memcmp(&before, &options, sizeof options), 0, "nothing is set");
}

static void set_defaults(void)
{
    cbm_options_init(&options);
}

Test(server_options, defaults_are_the_specs, .init = set_defaults)
{
    cr_assert_eq(options.rate_limit, 1000);
    cr_assert_eq(options.rate_window_ms, 1000);
    cr_assert_not(options.rate_limit_calls);
    cr_assert_eq(options.max_breakers, 65536);
    cr_assert_eq(options.log_level, CBM_LOG_INFO);
    cr_assert_eq(options.ready_fd, -1);
    cr_assert_not(options.address_given);
}

Test(server_options, a_rate_limit_of_0_is_off_and_a_million_the_most, .init = set_defaults)
{
    cr_assert(set(CBM_OPTION_RATE_LIMIT, "0"));
    cr_assert_eq(options.rate_limit, 0);
    cr_assert(set(CBM_OPTION_RATE_LIMIT, "1000000"));
    cr_assert_eq(options.rate_limit, 1000000);
    refused(CBM_OPTION_RATE_LIMIT, "1000001");
}

Test(server_options, a_config_file_is_given_once, .init = set_defaults)
{
    refused(CBM_OPTION_CONFIG, "");
    cr_assert(set(CBM_OPTION_CONFIG, "/etc/cbm.conf"));
    cr_assert_str_eq(options.config_path, "/etc/cbm.conf");
    refused(CBM_OPTION_CONFIG, "/etc/other.conf");
}

Test(server_options, what_lies_beneath_fills_what_is_not_given, .init = set_defaults)
{
    cbm_options beneath = options;

    cr_assert(set(CBM_OPTION_RATE_LIMIT, "1000"));
    cr_assert_not(cbm_options_given(&options, CBM_OPTION_LOG_LEVEL));
    cr_assert(cbm_options_set_as(&beneath, CBM_OPTION_RATE_LIMIT, "rate_limit", "5", message, sizeof message));
    cr_assert(cbm_options_set_as(&beneath, CBM_OPTION_LOG_LEVEL, "log_level", "debug", message, sizeof message));
    cbm_options_fill(&options, &beneath);
    cr_assert_eq(options.rate_limit, 1000);
    cr_assert_eq(options.log_level, CBM_LOG_DEBUG);
    cr_assert(cbm_options_given(&options, CBM_OPTION_LOG_LEVEL));
}

Test(server_options, numbers_are_digits, .init = set_defaults)
{
    static const char *const wrong[] = {
        "", "-1", "+1", " 1", "1 ", "0x10", "1e3", "1k", "1.5", "99999999999999999999", "all"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        refused(CBM_OPTION_RATE_LIMIT, wrong[i]);
        refused(CBM_OPTION_RATE_WINDOW, wrong[i]);
        refused(CBM_OPTION_MAX_BREAKERS, wrong[i]);
        refused(CBM_OPTION_READY_FD, wrong[i]);
    }
}

Test(server_options, ranges_are_told, .init = set_defaults)
{
    refused(CBM_OPTION_RATE_WINDOW, "0");
    cr_assert_not_null(strstr(message, "from 1 to 3600000"), "%s", message);
    refused(CBM_OPTION_RATE_WINDOW, "3600001");
    refused(CBM_OPTION_MAX_BREAKERS, "0");
    refused(CBM_OPTION_MAX_BREAKERS, "1000001");
    refused(CBM_OPTION_READY_FD, "0");
}

Test(server_options, the_scope_is_requests_or_calls, .init = set_defaults)
{
    cr_assert(set(CBM_OPTION_RATE_SCOPE, "calls"));
    cr_assert(options.rate_limit_calls);
    cr_assert(set(CBM_OPTION_RATE_SCOPE, "requests"));
    cr_assert_not(options.rate_limit_calls);
    refused(CBM_OPTION_RATE_SCOPE, "call");
    refused(CBM_OPTION_RATE_SCOPE, "");
}

Test(server_options, log_levels_have_four_names, .init = set_defaults)
{
    cr_assert(set(CBM_OPTION_LOG_LEVEL, "debug"));
    cr_assert_eq(options.log_level, CBM_LOG_DEBUG);
    refused(CBM_OPTION_LOG_LEVEL, "DEBUG");
    refused(CBM_OPTION_LOG_LEVEL, "trace");
}

Test(server_options, there_is_one_address, .init = set_defaults)
{
    refused(CBM_OPTION_LISTEN, "tcp://0.0.0.0:1");
    cr_assert(set(CBM_OPTION_LISTEN, "ipc:///tmp/s"));
    cr_assert_str_eq(options.address.path, "/tmp/s");
    refused(CBM_OPTION_LISTEN, "ipc:///tmp/other");
}

Test(server_options, the_command_line_is_read, .init = set_defaults)
{
    char *argv[] = {"cbmd",
                    "--listen",
                    "abstract://x",
                    "--rate-limit=7",
                    "--rate-window-ms",
                    "9",
                    "--max-breakers",
                    "11",
                    "--log-level",
                    "warn",
                    "--ready-fd",
                    "3",
                    "--rate-limit-scope",
                    "calls",
                    NULL};

    cbm_options_parse(&options, sizeof argv / sizeof *argv - 1, argv);
    cr_assert_str_eq(options.address.url, "abstract://x");
    cr_assert_eq(options.rate_limit, 7);
    cr_assert_eq(options.rate_window_ms, 9);
    cr_assert_eq(options.max_breakers, 11);
    cr_assert_eq(options.log_level, CBM_LOG_WARN);
    cr_assert_eq(options.ready_fd, 3);
    cr_assert(options.rate_limit_calls);
}

Test(server_options, a_place_for_the_state_is_a_directory_or_none, .init = set_defaults)
{
    char path[CBM_STATE_DIR_MAX + 2];

    cr_assert(cbm_options_set(&options, CBM_OPTION_STATE_DIR, "/a/state", message, sizeof message));
    cr_assert_str_eq(options.state_dir, "/a/state");
    cr_assert_not(cbm_options_set(&options, CBM_OPTION_STATE_DIR, "", message, sizeof message));
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    cr_assert_not(cbm_options_set(&options, CBM_OPTION_STATE_DIR, path, message, sizeof message));
    cr_assert(cbm_options_set(&options, CBM_OPTION_NO_STORE, "yes", message, sizeof message));
    cr_assert_eq(options.no_store, 1);
    cr_assert_not(cbm_options_set(&options, CBM_OPTION_NO_STORE, "perhaps", message, sizeof message));
}

Test(server_options, a_place_for_the_state_on_the_command_line_wins_over_none_in_the_file, .init = set_defaults)
{
    cbm_options beneath;

    cbm_options_init(&beneath);
    cr_assert(cbm_options_set(&beneath, CBM_OPTION_NO_STORE, "yes", message, sizeof message));
    cr_assert(cbm_options_set(&options, CBM_OPTION_STATE_DIR, "/a/state", message, sizeof message));
    cbm_options_fill(&options, &beneath);
    cr_assert_eq(options.no_store, 0);
    cbm_options_init(&options);
    cbm_options_fill(&options, &beneath);
    cr_assert_eq(options.no_store, 1);
}

Test(server_options, a_wrong_option_ends_with_status_64, .init = set_defaults, .exit_code = 64)
{
    char *argv[] = {"cbmd", "--rate-limit", "many", NULL};

    cbm_options_parse(&options, 3, argv);
}

Test(server_options, an_argument_ends_with_status_64, .init = set_defaults, .exit_code = 64)
{
    char *argv[] = {"cbmd", "start", NULL};

    cbm_options_parse(&options, 2, argv);
}

Test(server_options, help_ends_with_status_0, .init = set_defaults, .exit_code = 0)
{
    char *argv[] = {"cbmd", "--help", NULL};

    cbm_options_parse(&options, 2, argv);
    _exit(1);
}

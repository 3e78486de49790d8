/* The config file: what it says, which section speaks for a breaker, and what is refused with line and cause. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "config_lines.h"

TestSuite(server_config, .timeout = 60);

static char message[512];

static cbm_config *parse_bytes(const char *text, size_t size)
{
    message[0] = '\0';
    return cbm_config_parse("cbm.conf", text, size, message, sizeof message);
}

static cbm_config *parsed(const char *text)
{
    cbm_config *config = parse_bytes(text, strlen(text));

    cr_assert_not_null(config, "%s", message);
    return config;
}

/* Refused in that line, for a cause in which `why` stands. */
static void refused(const char *text, unsigned line, const char *why)
{
    char start[32];

    snprintf(start, sizeof start, "cbm.conf:%u: ", line);
    cr_assert_null(parse_bytes(text, strlen(text)), "taken: %s", text);
    cr_assert_eq(strncmp(message, start, strlen(start)), 0, "not line %u: %s", line, message);
    cr_assert_not_null(strstr(message, why), "not because of \"%s\": %s", why, message);
}

static uint32_t bit(const char *field)
{
    int row = cbm_core_policy_find(field, strlen(field));

    cr_assert_geq(row, 0);
    return UINT32_C(1) << row;
}

/* The timeout_ms that the section for `name` gives; 0: no section, or none that gives one. */
static uint32_t timeout_for(const cbm_config *config, const char *name)
{
    cbm_core_policy_request request = {0};

    if (!cbm_config_policy(config, name, &request) || !(request.given & bit("timeout_ms")))
        return 0;
    return request.values.timeout_ms;
}

/* ---- What it says ------------------------------------------------------------------------------------------------------ */

Test(server_config, an_empty_file_says_nothing)
{
    cbm_config *config = parsed("");
    cbm_core_policy_request request = {0};
    cbm_options options, before;

    cbm_options_init(&options);
    before = options;
    cbm_config_apply(config, &options);
    cr_assert_eq(memcmp(&options, &before, sizeof options), 0);
    cr_assert_eq(cbm_config_defaults(config)->given, 0);
    cr_assert_not(cbm_config_policy(config, "a", &request));
    cbm_config_free(config);
}

Test(server_config, defaults_take_every_kind_of_policy_field)
{
    cbm_config *config = parsed("[defaults]\nrule = count_window\nfailure_rate = 33.3\njitter=0.25\ntimeout_ms=5000\n"
                                "permit_lease_ms=0\n");
    const cbm_core_policy_request *defaults = cbm_config_defaults(config);

    cr_assert_eq(defaults->given,
                 bit("rule") | bit("failure_rate") | bit("jitter") | bit("timeout_ms") | bit("permit_lease_ms"));
    cr_assert_eq(defaults->values.rule, CBM_CORE_RULE_COUNT_WINDOW);
    cr_assert_eq(defaults->values.failure_rate_tenths, 333);
    cr_assert_eq(defaults->values.jitter_thousandths, 250);
    cr_assert_eq(defaults->values.timeout_ms, 5000);
    cr_assert_eq(defaults->values.permit_lease_ms, 0);
    cbm_config_free(config);
}

Test(server_config, settings_are_those_of_the_command_line)
{
    cbm_config *config = parsed("[broker]\nlisten = ipc:///run/x.sock\nlog_level = debug\nmax_breakers = 10\n"
                                "[limiter]\nrate_limit = 0\nrate_window_ms = 250\nrate_limit_scope = calls\n");
    cbm_options options;

    cbm_options_init(&options);
    cbm_config_apply(config, &options);
    cr_assert_str_eq(options.address.path, "/run/x.sock");
    cr_assert(options.address_given);
    cr_assert_eq(options.log_level, CBM_LOG_DEBUG);
    cr_assert_eq(options.max_breakers, 10);
    cr_assert_eq(options.rate_limit, 0);
    cr_assert_eq(options.rate_window_ms, 250);
    cr_assert(options.rate_limit_calls);
    cbm_config_free(config);
}

Test(server_config, the_command_line_wins_over_the_file)
{
    cbm_config *config = parsed("[broker]\nlisten = ipc:///run/x.sock\nlog_level = debug\n"
                                "[limiter]\nrate_limit = 7\nrate_window_ms = 250\nrate_limit_scope = calls\n");
    cbm_options options;

    cbm_options_init(&options);
    cr_assert(cbm_options_set(&options, CBM_OPTION_LISTEN, "ipc:///run/y.sock", message, sizeof message));
    cr_assert(cbm_options_set(&options, CBM_OPTION_RATE_LIMIT, "1000", message, sizeof message)); /* as by default */
    cr_assert(cbm_options_set(&options, CBM_OPTION_RATE_SCOPE, "requests", message, sizeof message));
    cbm_config_apply(config, &options);
    cr_assert_str_eq(options.address.path, "/run/y.sock");
    cr_assert_eq(options.rate_limit, 1000);
    cr_assert_not(options.rate_limit_calls);
    cr_assert_eq(options.rate_window_ms, 250);
    cr_assert_eq(options.log_level, CBM_LOG_DEBUG);
    cbm_config_free(config);
}

Test(server_config, comments_blanks_and_line_ends_of_all_kinds_do_not_count)
{
    cbm_config *config = parsed("\xef\xbb\xbf# a comment [defaults\r\n\r\n  [defaults] ; the rest\r\n"
                                "\t timeout_ms\t=  7 ; not 8\r\n    half_open_calls = 3\n; timeout_ms = 9\n"
                                " [breaker  \"a\" ]\ntimeout_ms=6");

    cr_assert_eq(cbm_config_defaults(config)->values.timeout_ms, 7);
    cr_assert_eq(cbm_config_defaults(config)->values.half_open_calls, 3, "an indented line is a line of its own");
    cr_assert_eq(timeout_for(config, "a"), 6);
    cbm_config_free(config);
}

Test(server_config, a_comment_may_be_long_and_in_any_encoding)
{
    char text[4096];

    snprintf(text, sizeof text, "# caf\xe9 %03000d\n[defaults]\ntimeout_ms = 5\n", 0);
    cbm_config_free(parsed(text));
}

/* ---- Which section speaks ------------------------------------------------------------------------------------------------ */

Test(server_config, the_most_specific_section_speaks_wherever_it_stands)
{
    static const char *const orders[] = {
        "[breaker \"*\"]\ntimeout_ms=1\n[breaker \"ha_*\"]\ntimeout_ms=2\n[breaker \"ha_api_*\"]\ntimeout_ms=3\n"
        "[breaker \"ha_?\"]\ntimeout_ms=4\n[breaker \"ha_api_eu\"]\ntimeout_ms=5\n",
        "[breaker \"ha_api_eu\"]\ntimeout_ms=5\n[breaker \"ha_?\"]\ntimeout_ms=4\n[breaker \"ha_api_*\"]\n"
        "timeout_ms=3\n[breaker \"ha_*\"]\ntimeout_ms=2\n[breaker \"*\"]\ntimeout_ms=1\n",
    };

    for (size_t i = 0; i < 2; i++) {
        cbm_config *config = parsed(orders[i]);

        cr_assert_eq(timeout_for(config, "other"), 1);
        cr_assert_eq(timeout_for(config, "ha_other"), 2);
        cr_assert_eq(timeout_for(config, "ha_api_us"), 3);
        cr_assert_eq(timeout_for(config, "ha_x"), 4, "? is more specific than *");
        cr_assert_eq(timeout_for(config, "ha_api_eu"), 5);
        cr_assert_eq(cbm_config_sections(config), 5);
        cbm_config_free(config);
    }
}

Test(server_config, of_equally_specific_sections_the_first_speaks)
{
    cbm_config *config = parsed("[breaker \"a*\"]\ntimeout_ms=1\n[breaker \"*b\"]\ntimeout_ms=2\n");

    cr_assert_eq(timeout_for(config, "ab"), 1);
    cbm_config_free(config);
    config = parsed("[breaker \"*b\"]\ntimeout_ms=2\n[breaker \"a*\"]\ntimeout_ms=1\n");
    cr_assert_eq(timeout_for(config, "ab"), 2);
    cbm_config_free(config);
}

Test(server_config, sections_do_not_add_up)
{
    cbm_config *config = parsed("[breaker \"ha_*\"]\ntimeout_ms=2\n[breaker \"ha_x\"]\njitter=1\n[breaker \"ha_y\"]\n");
    cbm_core_policy_request request = {0};

    cr_assert(cbm_config_policy(config, "ha_x", &request));
    cr_assert_eq(request.given, bit("jitter"));
    cr_assert(cbm_config_policy(config, "ha_y", &request));
    cr_assert_eq(request.given, 0, "a section without fields speaks too");
    cbm_config_free(config);
}

Test(server_config, a_pattern_is_for_the_whole_name_and_characters_are_not_bytes)
{
    cbm_config *config = parsed("[breaker \"ha_*\"]\ntimeout_ms=1\n[breaker \"na\xc3\xaf?e\"]\ntimeout_ms=2\n"
                                "[breaker \"x[a-c]\"]\ntimeout_ms=3\n[breaker \"x[!a-c]\"]\ntimeout_ms=4\n");

    cr_assert_eq(timeout_for(config, "aha_x"), 0);
    cr_assert_eq(timeout_for(config, "ha_"), 1);
    cr_assert_eq(timeout_for(config, "na\xc3\xaf\xc3\xaf"
                                     "e"),
                 2);
    cr_assert_eq(timeout_for(config, "xb"), 3);
    cr_assert_eq(timeout_for(config, "xd"), 4);
    cbm_config_free(config);
}

Test(server_config, a_backslash_takes_away_the_meaning_of_what_follows)
{
    cbm_config *config = parsed("[breaker \"a\\*\"]\ntimeout_ms=1\n[breaker \"a*\"]\ntimeout_ms=2\n"
                                "[breaker \"q\\\"]\"]\ntimeout_ms=3\n[breaker \"b;] # \\\\\"]\ntimeout_ms=4\n"
                                "[breaker \"c\\[*\"]\ntimeout_ms=5\n");

    cr_assert_eq(timeout_for(config, "a*"), 1);
    cr_assert_eq(timeout_for(config, "ab"), 2);
    cr_assert_eq(timeout_for(config, "q\"]"), 3);
    cr_assert_eq(timeout_for(config, "b;] # \\"), 4);
    cr_assert_eq(timeout_for(config, "c[x"), 5);
    cbm_config_free(config);
}

Test(server_config, a_name_may_be_as_long_as_names_are)
{
    char name[CBM_CORE_NAME_MAX + 2], text[400];

    memset(name, 'n', sizeof name);
    name[CBM_CORE_NAME_MAX] = '\0';
    snprintf(text, sizeof text, "[breaker \"%s\"]\ntimeout_ms = 5\n[breaker \"%.60s*\"]\ntimeout_ms = 6\n", name, name);
    cbm_config *config = parsed(text);
    cr_assert_eq(timeout_for(config, name), 5);
    name[CBM_CORE_NAME_MAX - 1] = 'm';
    cr_assert_eq(timeout_for(config, name), 6, "to the last byte");
    cbm_config_free(config);
    snprintf(text, sizeof text, "[breaker \"%0129d\"]\n", 0);
    refused(text, 1, "1 to 128 bytes");
}

Test(server_config, many_names_are_all_found)
{
    char *text = malloc(CBM_CONFIG_SIZE_MAX + 1), name[16];
    size_t size = 0;

    for (unsigned i = 0; i < 20000; i++)
        size += (size_t)sprintf(text + size, "[breaker \"n%u\"]\ntimeout_ms = %u\n", i * 7919 % 20000,
                                i * 7919 % 20000 + 1);
    cbm_config *config = parsed(text);
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "n%u", i);
        cr_assert_eq(timeout_for(config, name), i + 1);
    }
    cr_assert_eq(timeout_for(config, "n20000"), 0);
    cbm_config_free(config);
    free(text);
}

/* ---- What is refused ------------------------------------------------------------------------------------------------------- */

Test(server_config, sections_and_keys_that_there_are_not_are_refused)
{
    refused("[broker]\nlog_level = info\n\n[brokers]\n", 4, "no section [brokers]");
    refused("[]\n", 1, "no section []");
    refused("[broker x]\n", 1, "no section [broker x]");
    refused("[breakers \"x\"]\n", 1, "no section");
    refused("[broker]\nrate_limit = 5\n", 2, "there are listen, log_level, max_breakers");
    refused("[limiter]\nlisten = /x/y\n", 2, "there are rate_limit, rate_window_ms, rate_limit_scope");
    refused("[defaults]\nfailure_treshold = 5\n", 2, "no policy field 'failure_treshold'");
    refused("[defaults]\ntimeout = 5\n", 2, "timeout_ms");
    refused("[breaker \"a\"]\nlog_level = info\n", 2, "no policy field 'log_level'");
    refused("timeout_ms = 5\n[defaults]\n", 1, "below no section");
    refused("[defaults]\npolicy_version = 5\n", 2, "policy_version");
}

Test(server_config, what_stands_twice_is_refused_with_both_lines)
{
    refused("[defaults]\ntimeout_ms = 5\n\ntimeout_ms = 5\n", 4, "line 2");
    refused("[limiter]\nrate_limit = 5\nrate_limit = 6\n", 3, "line 2");
    refused("[broker]\nlisten = /a/b\nlisten = /a/b\n", 3, "line 2");
    refused("[defaults]\n[broker]\n[defaults]\n", 3, "line 1");
    refused("[limiter]\n[limiter]\n", 2, "line 1");
    refused("[breaker \"ha_*\"]\n[breaker \"b\"]\n[breaker \"ha_*\"]\n", 3, "line 1");
    refused("[breaker \"b\"]\n[breaker \"ha_*\"]\n[breaker \"\\b\"]\n", 3, "line 1");
}

Test(server_config, values_out_of_range_are_refused_with_the_range)
{
    refused("[defaults]\ntimeout_ms = 0\n", 2, "from 1 to 2592000000");
    refused("[defaults]\ntimeout_ms = -1\n", 2, "not '-1'");
    refused("[defaults]\ntimeout_ms =\n", 2, "not ''");
    refused("[defaults]\ntimeout_ms = 5s\n", 2, "not '5s'");
    refused("[defaults]\ntimeout_ms = 5 # five\n", 2, "not '5 # five'");
    refused("[defaults]\ntimeout_ms = \"5\"\n", 2, "timeout_ms");
    refused("[breaker \"a\"]\nfailure_rate = 33.33\n", 2, "failure_rate");
    refused("[breaker \"a\"]\nrule = sometimes\n", 2, "consecutive");
    refused("[limiter]\nrate_limit = 1000001\n", 2, "rate_limit takes a whole number from 0 to 1000000");
    refused("[limiter]\nrate_limit_scope = all\n", 2, "requests or calls");
    refused("[broker]\nlog_level = loud\n", 2, "error, warn, info or debug");
    refused("[broker]\nlisten = tcp://127.0.0.1:5\n", 2, "listen");
    refused("[broker]\nmax_breakers = 0\n", 2, "max_breakers");
}

Test(server_config, contradictions_are_refused_where_they_stand)
{
    refused("[defaults]\nrule = failures\n", 1, "window_s must be given with the rule failures");
    refused("\n[breaker \"a\"]\nrule = failures\nfailure_threshold = 10001\nwindow_s = 60\n", 4,
            "failure_threshold must be at most 10000");
    refused("[breaker \"a\"]\ntimeout_max_ms = 5\ntimeout_ms = 6\n[breaker \"b\"]\n", 2,
            "timeout_max_ms must not be less than timeout_ms");
    refused("[breaker \"a\"]\nwindow_s = 3601\n", 2, "be at most 3600 with the others");
}

Test(server_config, contradictions_between_a_section_and_the_defaults_are_refused)
{
    refused("[breaker \"a\"]\ntimeout_ms = 60000\n[defaults]\ntimeout_ms = 1\ntimeout_max_ms = 10000\n", 1,
            "together with [defaults], timeout_max_ms");
    refused("[defaults]\nrule = failures\nwindow_s = 86400\n[breaker \"a\"]\nrule = consecutive\n", 4, "window_s");
    cbm_config_free(parsed("[defaults]\nrule = failures\nwindow_s = 86400\n[breaker \"a\"]\nrule = time_window\n"
                           "window_s = 60\n"));
}

Test(server_config, lines_that_are_none_are_refused)
{
    refused("[defaults]\ntimeout_ms\n", 2, "neither a [heading] nor key = value");
    refused("[defaults\ntimeout_ms = 5\n", 1, "not closed");
    refused("[defaults] timeout_ms = 5\n", 1, "behind the heading");
    refused("[breaker ha_*]\n", 1, "[breaker \"ha_*\"]");
    refused("[breaker]\n", 1, "[breaker \"ha_*\"]");
    refused("[breaker \"a\" b]\n", 1, "[breaker \"ha_*\"]");
    refused("[breaker \"a]\n", 1, "not closed");
    refused("[breaker \"\"]\n", 1, "1 to 128 bytes");
    refused("[breaker \"[a\"]\n", 1, "its [ is not closed");
    refused("[defaults]\n= 5\n", 2, "no policy field ''");
    refused("[defaults]\ntimeout\x01_ms = 5\n", 2, "control character");
    refused("[breaker \"caf\xe9\"]\n", 1, "not UTF-8");
    refused("first\nsecond\n[third\n", 1, "neither");
    cr_assert_null(parse_bytes("[defaults]\ntimeout_ms = 5\0 6\n", 28));
    cr_assert_not_null(strstr(message, "cbm.conf:2: there is a control character"), "%s", message);
}

Test(server_config, a_line_is_never_cut)
{
    char text[512];
    int pad = CBM_CONFIG_LINE_MAX - (int)strlen("timeout_ms = 5");

    snprintf(text, sizeof text, "[defaults]\ntimeout_ms =%*s 5\n", pad, "");
    cbm_config *config = parsed(text);
    cr_assert_eq(cbm_config_defaults(config)->values.timeout_ms, 5);
    cbm_config_free(config);
    snprintf(text, sizeof text, "[defaults]\r\n\ttimeout_ms =%*s 5\r\n", pad, "");
    cbm_config_free(parsed(text));
    snprintf(text, sizeof text, "[defaults]\ntimeout_ms =%*s 5\n", pad + 1, "");
    refused(text, 2, "longer than 190 bytes");
    snprintf(text, sizeof text, "\n[breaker \"%0190d\"]\n", 0);
    refused(text, 2, "longer than 190 bytes");
}

Test(server_config, wildcards_are_limited_and_names_are_not)
{
    char *text = malloc(CBM_CONFIG_SIZE_MAX);
    size_t size = 0;

    for (unsigned i = 0; i < CBM_CONFIG_GLOBS_MAX; i++)
        size += (size_t)sprintf(text + size, "[breaker \"n%u*\"]\n[breaker \"n%u\"]\n", i, i);
    cbm_config_free(parsed(text));
    sprintf(text + size, "[breaker \"one_more*\"]\n");
    refused(text, 2 * CBM_CONFIG_GLOBS_MAX + 1, "too many");
    free(text);
}

/* ---- The file ---------------------------------------------------------------------------------------------------------------- */

typedef struct conf_file {
    char directory[64];
    char path[80];
} conf_file;

static conf_file file_with(const char *text, size_t size)
{
    conf_file file = {.directory = "/tmp/cbm-config-XXXXXX"};
    FILE *stream;

    cr_assert_not_null(mkdtemp(file.directory));
    snprintf(file.path, sizeof file.path, "%s/cbm.conf", file.directory);
    stream = fopen(file.path, "w");
    cr_assert_eq(fwrite(text, 1, size, stream), size);
    fclose(stream);
    return file;
}

static void remove_file(const conf_file *file)
{
    unlink(file->path);
    rmdir(file->directory);
}

static void unreadable(const char *path, const char *why)
{
    message[0] = '\0';
    cr_assert_null(cbm_config_read(path, message, sizeof message));
    cr_assert_not_null(strstr(message, path), "%s", message);
    cr_assert_not_null(strstr(message, why), "%s", message);
}

Test(server_config, a_file_is_read_to_its_last_allowed_byte)
{
    char *text = malloc(CBM_CONFIG_SIZE_MAX + 1);

    memset(text, '\n', CBM_CONFIG_SIZE_MAX + 1);
    memcpy(text + CBM_CONFIG_SIZE_MAX - 25, "[defaults]\ntimeout_ms = 5", 25);
    conf_file full = file_with(text, CBM_CONFIG_SIZE_MAX), larger = file_with(text, CBM_CONFIG_SIZE_MAX + 1);
    cbm_config *config = cbm_config_read(full.path, message, sizeof message);
    cr_assert_not_null(config, "%s", message);
    cr_assert_eq(cbm_config_defaults(config)->values.timeout_ms, 5);
    cbm_config_free(config);
    unreadable(larger.path, "larger than 1048576 bytes");
    remove_file(&full);
    remove_file(&larger);
    free(text);
}

Test(server_config, what_is_no_file_is_refused_without_waiting_for_it)
{
    conf_file file = file_with("", 0);
    char fifo[96];

    snprintf(fifo, sizeof fifo, "%s/fifo", file.directory);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    unreadable(fifo, "no regular file");
    unlink(fifo);
    unreadable(file.directory, "no regular file");
    remove_file(&file);
    unreadable(file.path, "No such file");
}

/* ---- The example --------------------------------------------------------------------------------------------------------------- */

/* Lines that begin with # and no space are settings that are commented out. */
static char *example(bool commented_in)
{
    static char text[65536];
    char line[512];
    FILE *stream = fopen(CBM_EXAMPLE_CONF, "r");

    cr_assert_not_null(stream);
    text[0] = '\0';
    while (fgets(line, sizeof line, stream))
        strcat(text, line + (commented_in && line[0] == '#' && line[1] != ' ' && line[1] != '\n'));
    fclose(stream);
    return text;
}

Test(server_config, the_example_changes_nothing_as_it_stands)
{
    cbm_config *config = parsed(example(false));
    cbm_options options;

    cbm_options_init(&options);
    cbm_config_apply(config, &options);
    cr_assert_eq(options.given, 0);
    cr_assert_eq(cbm_config_defaults(config)->given, 0);
    cr_assert_eq(cbm_config_sections(config), 0);
    cbm_config_free(config);
}

Test(server_config, the_example_names_all_settings_and_their_defaults)
{
    cbm_config *config = parsed(example(true));
    const cbm_core_policy_request *defaults = cbm_config_defaults(config);
    cbm_options options, usual;

    cbm_options_init(&options);
    usual = options;
    cbm_config_apply(config, &options);
    for (cbm_option_key key = CBM_OPTION_RATE_LIMIT; key <= CBM_OPTION_LOG_LEVEL; key++)
        cr_assert(cbm_options_given(&options, key));
    cr_assert(options.address_given);
    cr_assert_eq(options.rate_limit, usual.rate_limit);
    cr_assert_eq(options.rate_window_ms, usual.rate_window_ms);
    cr_assert_eq(options.rate_limit_calls, usual.rate_limit_calls);
    cr_assert_eq(options.max_breakers, usual.max_breakers);
    cr_assert_eq(options.log_level, usual.log_level);
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        const cbm_core_policy_field *row = &cbm_core_policy_table()[field];

        if (strcmp(row->name, "policy_version") == 0)
            continue;
        cr_assert(defaults->given >> field & 1, "%s", row->name);
        cr_assert_eq(cbm_core_policy_value(&defaults->values, field), row->default_value, "%s", row->name);
    }
    cr_assert_gt(cbm_config_sections(config), 2);
    cbm_config_free(config);
}

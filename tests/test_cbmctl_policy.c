#include <criterion/criterion.h>
#include <string.h>

#include "command_text.h"
#include "policy_member.h"
#include "policy_options.h"

static const cbm_core_policy_field *row_of(const char *name)
{
    return &cbm_core_policy_table()[cbm_core_policy_find(name, strlen(name))];
}

static void take(policy_options *policy, const char *word)
{
    const char *why = "";
    cr_assert(policy_options_word(policy, word, &why), "%s: %s", word, why);
}

/* Why a word is refused. */
static const char *refusal(policy_options *policy, const char *word)
{
    const char *why = "";
    uint32_t given = policy->request.given;
    cr_assert(!policy_options_word(policy, word, &why), "%s is refused", word);
    cr_assert_eq(policy->request.given, given);
    return why;
}

static void as_text(const policy_options *policy, const char *expected)
{
    command_text text;
    command_text_init(&text, "get");
    command_text_policy(&text, policy);
    cr_assert_str_eq(command_text_finish(&text), expected);
    command_text_deinit(&text);
}

Test(cbmctl_policy, each_field_of_the_table_is_a_member_of_the_clients_policy)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        cbm_policy policy = CBM_POLICY_INIT, untouched = CBM_POLICY_INIT;
        cr_assert(policy_member_set(&policy, &table[field], table[field].maximum), "%s", table[field].name);
        cr_assert(memcmp(&policy, &untouched, sizeof(policy)) != 0, "%s", table[field].name);
    }
    cr_assert_eq(CBM_CORE_POLICY_FIELDS, 21, "a new field needs its member in policy_member.c");
}

Test(cbmctl_policy, words_set_fields_and_dashes_are_as_good_as_underscores)
{
    policy_options policy = {0};
    cbm_policy client_policy;
    take(&policy, "failure_threshold=3");
    take(&policy, "timeout-ms=250");
    take(&policy, "failure_rate=33.3");
    take(&policy, "rule=failures");
    take(&policy, "window_s=600");
    take(&policy, "on_abandon=release");
    take(&policy, "jitter=0.25");
    policy_options_to_client(&policy, &client_policy);
    cr_assert_eq(client_policy.size, sizeof(client_policy));
    cr_assert_eq(client_policy.failure_threshold, 3);
    cr_assert_eq(client_policy.timeout_ms, 250);
    cr_assert_float_eq(client_policy.failure_rate, 33.3, 1e-9);
    cr_assert_eq(client_policy.rule, CBM_RULE_FAILURES);
    cr_assert_eq(client_policy.window_s, 600);
    cr_assert_eq(client_policy.on_abandon, CBM_ABANDON_RELEASE);
    cr_assert_float_eq(client_policy.jitter, 0.25, 1e-9);
    cr_assert_eq(client_policy.success_threshold, 0, "what is not given stays at its default");
    as_text(&policy, "get rule=failures failure_threshold=3 window_s=600 failure_rate=33.3 timeout_ms=250 jitter=0.25 "
                     "on_abandon=release");
}

Test(cbmctl_policy, a_zero_that_is_not_the_default_is_never)
{
    policy_options policy = {0};
    cbm_policy client_policy;
    take(&policy, "expire_after_s=0");
    take(&policy, "permit_lease_ms=0");
    take(&policy, "failure_spacing_ms=0");
    policy_options_to_client(&policy, &client_policy);
    cr_assert_eq(client_policy.expire_after_s, CBM_NEVER);
    cr_assert_eq(client_policy.permit_lease_ms, CBM_NEVER);
    cr_assert_eq(client_policy.failure_spacing_ms, 0);
    as_text(&policy, "get permit_lease_ms=0 failure_spacing_ms=0 expire_after_s=0");
}

Test(cbmctl_policy, timeout_is_timeout_ms_in_seconds_or_with_a_unit)
{
    policy_options policy = {0};
    take(&policy, "timeout=30");
    as_text(&policy, "get timeout_ms=30000");
    take(&policy, "timeout=500ms");
    as_text(&policy, "get timeout_ms=500");
    cr_assert(strstr(refusal(&policy, "timeout_ms=500"), "give one of them") != NULL);

    policy_options other_order = {0};
    take(&other_order, "timeout_ms=500");
    cr_assert(strstr(refusal(&other_order, "timeout=1"), "give one of them") != NULL);
    policy_options empty = {0};
    refusal(&empty, "timeout=0");
    refusal(&empty, "timeout=31d");
    refusal(&empty, "timeout=soon");
}

Test(cbmctl_policy, run_has_a_timeout_of_its_own_and_says_so)
{
    policy_options policy = {.no_timeout_alias = true};
    cr_assert(strstr(refusal(&policy, "timeout=30"), "timeout_ms=") != NULL);
    take(&policy, "timeout_ms=30");
}

Test(cbmctl_policy, the_last_of_two_equal_fields_counts)
{
    policy_options policy = {0};
    take(&policy, "failure_threshold=3");
    take(&policy, "failure_threshold=4");
    as_text(&policy, "get failure_threshold=4");
}

Test(cbmctl_policy, what_is_refused_is_named_with_its_range)
{
    policy_options policy = {0};
    cr_assert(strstr(refusal(&policy, "failure_threshold=0"), "must be an integer from 1 to 1000000, not '0'") != NULL);
    cr_assert(strstr(refusal(&policy, "rule=sometimes"), "consecutive, failures, count_window or time_window") != NULL);
    cr_assert(strstr(refusal(&policy, "failure_rate=33.33"), "0.1 to 100 in steps of 0.1") != NULL);
    cr_assert(strstr(refusal(&policy, "backoff_multiplier=0.5"), "1 to 10") != NULL);
    cr_assert(strstr(refusal(&policy, "failure_treshold=3"), "no policy field 'failure_treshold'") != NULL);
    refusal(&policy, "failure_threshold=");
    refusal(&policy, "failure_threshold=3 ");
    refusal(&policy, "failure_threshold=-3");
    refusal(&policy, "failure_threshold");
    refusal(&policy, "=3");
    cr_assert(strstr(refusal(&policy, "timeout=0"), "timeout must be") != NULL, "it is named as it was given");
    refusal(&policy, "");
}

Test(cbmctl_policy, a_word_that_looks_like_a_field_is_told_from_a_command)
{
    cr_assert(policy_word("failure_threshold=3"));
    cr_assert(policy_word("failure-treshold=3"));
    cr_assert(policy_word("x="));
    cr_assert(!policy_word("curl"));
    cr_assert(!policy_word("./a=b"));
    cr_assert(!policy_word("=b"));
    cr_assert(!policy_word(""));
}

Test(cbmctl_policy, values_are_written_as_short_as_they_are)
{
    char text[POLICY_TEXT_MAX];
    policy_value_text(row_of("failure_rate"), 500, text);
    cr_assert_str_eq(text, "50");
    policy_value_text(row_of("failure_rate"), 333, text);
    cr_assert_str_eq(text, "33.3");
    policy_value_text(row_of("jitter"), 5, text);
    cr_assert_str_eq(text, "0.005");
    policy_value_text(row_of("timeout_ms"), 2592000000, text);
    cr_assert_str_eq(text, "2592000000");
    policy_value_text(row_of("rule"), 3, text);
    cr_assert_str_eq(text, "time_window");
}

Test(cbmctl_policy, the_help_explains_each_field_with_range_and_default)
{
    char *help = NULL;
    size_t size = 0;
    policy_options policy = {0};
    FILE *out = open_memstream(&help, &size);
    cr_assert(out != NULL);
    policy_options_help(out, &policy);
    fclose(out);
    const cbm_core_policy_field *table = cbm_core_policy_table();
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        char range[160], start[64], first_word[64];
        policy_range_text(&table[field], range, sizeof(range));
        snprintf(start, sizeof(start), "\n  %s (", table[field].name);
        const char *at = strstr(help, start);
        cr_assert(at != NULL, "%s is explained", table[field].name);
        if (strchr(range, ' ') != NULL && strlen(range) < 40)
            cr_assert(strncmp(at + strlen(start), range, strlen(range)) == 0, "%s: its range", table[field].name);
        cr_assert(strstr(at, "default ") != NULL);
        snprintf(first_word, sizeof(first_word), "\n      %.*s", (int)strcspn(table[field].help, " "),
                 table[field].help);
        cr_assert(strstr(at, first_word) != NULL, "%s: its sentence", table[field].name);
    }
    for (const char *line = help; *line != '\0'; line += strcspn(line, "\n") + 1)
        cr_assert(strcspn(line, "\n") < 80, "%.*s", (int)strcspn(line, "\n"), line);
    free(help);
}

Test(cbmctl_command_text, texts_are_quoted_so_that_nothing_in_them_is_taken_for_a_word)
{
    command_text text;
    command_text_init(&text, "force_open");
    command_text_string(&text, "name", "a=b \"c\"\\");
    command_text_string(&text, "reason", "line\nbreak h\xc3\xbc");
    command_text_string(&text, "correlation_id", NULL);
    command_text_number(&text, "for_ms", 500);
    cr_assert_str_eq(command_text_finish(&text),
                     "force_open name=\"a=b \\\"c\\\"\\\\\" reason=\"line\\nbreak h\xc3\xbc\" for_ms=500");
    command_text_deinit(&text);
}

Test(cbmctl_command_text, a_text_that_is_not_utf8_is_named_and_not_sent)
{
    command_text text;
    command_text_init(&text, "reset");
    command_text_string(&text, "name", "a\xff");
    cr_assert(command_text_finish(&text) == NULL);
    cr_assert_str_eq(text.bad_field, "name");
    command_text_deinit(&text);
}

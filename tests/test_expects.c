/* What error messages say of what was given and what is allowed. */
#include <criterion/criterion.h>
#include <string.h>

#include "cbm_core.h"
#include "expects.h"

static const char *shown(const char *text)
{
    static char room[CBM_SHOWN_MAX];
    return cbm_text_shown(text, strlen(text), room);
}

Test(expects, a_text_is_shown_in_quotes_and_on_one_line)
{
    cr_assert_str_eq(shown("api"), "'api'");
    cr_assert_str_eq(shown(""), "''");
    cr_assert_str_eq(shown("a\nb\x1b["), "'a b ['");
    cr_assert_str_eq(shown("\xff"), "'?'");
}

Test(expects, of_a_long_text_the_beginning_and_the_length_are_shown)
{
    char text[130] = "", wide[91] = "";
    memset(text, 'x', 129);
    cr_assert_str_eq(shown(text), "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' (129 bytes)");
    for (int i = 0; i < 30; i++)
        strcat(wide, "\xe2\x82\xac");
    cr_assert(cbm_core_text_valid(shown(wide), strlen(shown(wide))), "it is cut between two characters");
}

static void set(cbm_core_policy_request *request, const char *name, const char *value)
{
    int field = cbm_core_policy_find(name, strlen(name));
    cr_assert_eq(cbm_core_policy_parse(request, field, value, strlen(value)), 0);
}

static void contradiction(const char *rule, const char *name, const char *value, const char *must)
{
    cbm_core_policy_request request = {0};
    cbm_core_policy policy;
    int bad_field = -1;
    set(&request, "rule", rule);
    if (strcmp(name, "failure_threshold") == 0)
        set(&request, "window_s", "60");
    if (value)
        set(&request, name, value);
    cr_assert_neq(cbm_core_policy_resolve(&request, &policy, &bad_field), 0);
    cr_assert_eq(bad_field, cbm_core_policy_find(name, strlen(name)));
    cr_assert_str_eq(cbm_policy_field_beside(bad_field), must);
}

Test(expects, each_contradiction_has_its_sentence)
{
    const char *window_s = "must be given with the rule failures, and be at most 3600 with the others";
    contradiction("failures", "window_s", NULL, window_s);
    contradiction("time_window", "window_s", "3601", window_s);
    contradiction("failures", "failure_threshold", "10001", "must be at most 10000 with the rule failures");
    contradiction("consecutive", "timeout_max_ms", "59999", "must not be less than timeout_ms");
}

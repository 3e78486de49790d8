/* The table of policy fields, what a field takes, and what a policy becomes of it. */
#include "core_fixture.h"

#include <math.h>
#include <string.h>

/* As the description of the policy gives it: name, least, most, whether 0 stands for "none", default; in steps of 1/scale. */
typedef struct row {
    const char *name;
    uint32_t scale, least, most;
    bool zero;
    uint32_t standard;
} row;

static const row rows[] = {
    {"failure_threshold", 1, 1, 1000000, false, 5},
    {"window_size", 1, 1, 100000, false, 100},
    {"window_s", 1, 1, 604800, false, 60},
    {"minimum_calls", 1, 1, 1000000, false, 100},
    {"failure_rate", 10, 1, 1000, false, 500},
    {"slow_call_rate", 10, 1, 1000, false, 1000},
    {"slow_call_duration_ms", 1, 1, 86400000, false, 60000},
    {"timeout_ms", 1, 1, 2592000000, false, 60000},
    {"timeout_max_ms", 1, 1, 2592000000, false, 3600000},
    {"backoff_multiplier", 1000, 1000, 10000, false, 1000},
    {"jitter", 1000, 0, 1000, false, 0},
    {"success_threshold", 1, 1, 1000, false, 1},
    {"half_open_calls", 1, 1, 1000, false, 1},
    {"half_open_max_wait_ms", 1, 0, 0, true, 0},
    {"permit_lease_ms", 1, 0, 0, true, 60000},
    {"failure_spacing_ms", 1, 0, 0, true, 0},
    {"open_for_max_ms", 1, 1, 86400000, false, 3600000},
    {"expire_after_s", 1, 0, 0, true, 86400},
    {"policy_version", 1, 0, 0, true, 0},
};
#define ROWS (sizeof(rows) / sizeof(rows[0])) /* a most of 0: not laid down, the table's own stands */

static int set(const char *name, double value, cbm_core_policy_request *request)
{
    *request = (cbm_core_policy_request){0};
    return cbm_core_policy_set_number(request, field(name), value);
}

static int parse(const char *name, const char *text, cbm_core_policy_request *request)
{
    *request = (cbm_core_policy_request){0};
    return cbm_core_policy_parse(request, field(name), text, strlen(text));
}

static bool nothing_given(const cbm_core_policy_request *request)
{
    static const cbm_core_policy_request nothing;
    return memcmp(request, &nothing, sizeof(nothing)) == 0;
}

static cbm_core_policy resolved(const char *words)
{
    cbm_core_policy_request request = policy_of(words);
    cbm_core_policy policy;
    int bad_field = -1;
    cr_assert_eq(cbm_core_policy_resolve(&request, &policy, &bad_field), 0, "%s is refused", words);
    return policy;
}

static const char *blamed(const char *words)
{
    cbm_core_policy_request request = policy_of(words);
    cbm_core_policy policy;
    int bad_field = -1;
    cr_assert_eq(cbm_core_policy_resolve(&request, &policy, &bad_field), CBM_CORE_E_INVALID, "%s is taken", words);
    cr_assert(bad_field >= 0 && bad_field < CBM_CORE_POLICY_FIELDS);
    return cbm_core_policy_table()[bad_field].name;
}

/* ---- the table ---- */

Test(policy_table, has_a_row_for_every_field_and_each_is_found_by_its_name)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        cr_assert_eq(cbm_core_policy_find(table[i].name, strlen(table[i].name)), i);
        cr_assert_gt(strlen(table[i].help), 10, "%s is not explained", table[i].name);
        cr_assert_gt(strlen(table[i].default_text), 0);
    }
    cr_assert_eq(ROWS + 2, CBM_CORE_POLICY_FIELDS); /* rule and on_abandon are words */
    for (size_t i = 0; i < ROWS; i++) {
        cr_assert_geq(cbm_core_policy_find(rows[i].name, strlen(rows[i].name)), 0, "%s is missing", rows[i].name);
    }
}

Test(policy_table, finds_a_whole_name_only)
{
    cr_assert_eq(cbm_core_policy_find("timeout_m", 9), -1);
    cr_assert_eq(cbm_core_policy_find("timeout_ms_", 11), -1);
    cr_assert_eq(cbm_core_policy_find("timeout_ms=5", 10), field("timeout_ms"));
    cr_assert_eq(cbm_core_policy_find("", 0), -1);
    cr_assert_eq(cbm_core_policy_find("Timeout_ms", 10), -1);
}

Test(policy_table, carries_the_ranges_and_defaults_of_the_description)
{
    for (size_t i = 0; i < ROWS; i++) {
        const cbm_core_policy_field *f = &cbm_core_policy_table()[field(rows[i].name)];
        cr_assert_eq(f->scale, rows[i].scale, "%s", f->name);
        cr_assert_eq(f->default_value, rows[i].standard, "%s", f->name);
        if (rows[i].most > 0) {
            cr_assert_eq(f->minimum, rows[i].least, "%s", f->name);
            cr_assert_eq(f->maximum, rows[i].most, "%s", f->name);
        }
        cr_assert_eq(f->zero_allowed || f->minimum == 0, rows[i].zero || rows[i].least == 0, "%s", f->name);
        cr_assert_eq(f->kind, rows[i].scale == 1 ? CBM_CORE_FIELD_UINT : CBM_CORE_FIELD_NUMBER, "%s", f->name);
    }
}

Test(policy_table, names_the_four_rules_and_both_ways_to_abandon)
{
    const char *const expected_rules[] = {"consecutive", "failures", "count_window", "time_window", NULL};
    const char *const expected_ways[] = {"failure", "release", NULL};
    const cbm_core_policy_field *rule = &cbm_core_policy_table()[field("rule")];
    const cbm_core_policy_field *way = &cbm_core_policy_table()[field("on_abandon")];
    cr_assert_eq(rule->kind, CBM_CORE_FIELD_WORD);
    cr_assert_eq(way->kind, CBM_CORE_FIELD_WORD);
    for (int i = 0; i < 5; i++) {
        cr_assert(expected_rules[i] ? strcmp(rule->words[i], expected_rules[i]) == 0 : rule->words[i] == NULL);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert(expected_ways[i] ? strcmp(way->words[i], expected_ways[i]) == 0 : way->words[i] == NULL);
    }
}

Test(policy_table, value_reads_the_member_of_each_row)
{
    cbm_core_policy policy;
    uint32_t member = 1000;
    for (size_t i = 0; i < sizeof(policy) / sizeof(uint32_t); i++, member++) {
        memcpy((char *)&policy + i * sizeof(uint32_t), &member, sizeof(member));
    }
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        cr_assert_eq(cbm_core_policy_value(&policy, i), 1000u + (uint32_t)i);
    }
    cr_assert_eq(cbm_core_policy_value(&policy, field("timeout_ms")), policy.timeout_ms);
    cr_assert_eq(cbm_core_policy_value(&policy, field("jitter")), policy.jitter_thousandths);
}

/* ---- one field ---- */

Test(policy_field, takes_its_minimum_and_maximum_and_nothing_beyond_them)
{
    cbm_core_policy_request request;
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        const cbm_core_policy_field *f = &cbm_core_policy_table()[i];
        if (f->kind == CBM_CORE_FIELD_WORD) {
            continue;
        }
        double step = 1.0 / f->scale;
        double below = ((double)f->minimum - 1) * step;
        double above = ((double)f->maximum + 1) * step;
        cr_assert_eq(set(f->name, f->minimum * step, &request), 0, "%s refuses its minimum", f->name);
        cr_assert_eq(request.given, UINT32_C(1) << i);
        cr_assert_eq(cbm_core_policy_value(&request.values, i), f->minimum);
        cr_assert_eq(set(f->name, f->maximum * step, &request), 0, "%s refuses its maximum", f->name);
        cr_assert_eq(cbm_core_policy_value(&request.values, i), f->maximum);
        cr_assert_eq(set(f->name, above, &request), CBM_CORE_E_INVALID, "%s takes more than its maximum", f->name);
        cr_assert(nothing_given(&request));
        if (!(below == 0 && f->zero_allowed)) {
            cr_assert_eq(set(f->name, below, &request), CBM_CORE_E_INVALID, "%s takes less than its minimum", f->name);
            cr_assert(nothing_given(&request));
        }
        cr_assert_eq(set(f->name, -step, &request), CBM_CORE_E_INVALID, "%s takes a negative number", f->name);
    }
}

Test(policy_field, takes_the_same_as_text)
{
    cbm_core_policy_request request;
    char text[32];
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        const cbm_core_policy_field *f = &cbm_core_policy_table()[i];
        if (f->kind == CBM_CORE_FIELD_WORD) {
            continue;
        }
        snprintf(text, sizeof(text), "%.*f", f->scale == 1 ? 0 : f->scale == 10 ? 1 : 3, (double)f->maximum / f->scale);
        cr_assert_eq(parse(f->name, text, &request), 0, "%s refuses \"%s\"", f->name, text);
        cr_assert_eq(cbm_core_policy_value(&request.values, i), f->maximum);
        cr_assert_eq(request.given, UINT32_C(1) << i);
        snprintf(text, sizeof(text), "%.*f",
                 f->scale == 1    ? 0
                 : f->scale == 10 ? 1
                                  : 3,
                 ((double)f->maximum + 1) / f->scale);
        cr_assert_eq(parse(f->name, text, &request), CBM_CORE_E_INVALID, "%s takes \"%s\"", f->name, text);
        cr_assert(nothing_given(&request));
    }
}

Test(policy_field, takes_zero_only_where_zero_means_none)
{
    cbm_core_policy_request request;
    for (size_t i = 0; i < ROWS; i++) {
        bool taken = rows[i].zero || rows[i].least == 0;
        cr_assert_eq(set(rows[i].name, 0, &request), taken ? 0 : CBM_CORE_E_INVALID, "%s", rows[i].name);
        cr_assert_eq(request.given != 0, taken);
        cr_assert_eq(parse(rows[i].name, "0", &request), taken ? 0 : CBM_CORE_E_INVALID, "%s", rows[i].name);
    }
}

Test(policy_field, takes_percentages_in_tenths_and_refuses_what_lies_between)
{
    cbm_core_policy_request request;
    for (uint32_t tenths = 1; tenths <= 1000; tenths++) {
        char text[16];
        cr_assert_eq(set("failure_rate", tenths / 10.0, &request), 0);
        cr_assert_eq(request.values.failure_rate_tenths, tenths);
        snprintf(text, sizeof(text), "%" PRIu32 ".%" PRIu32, tenths / 10, tenths % 10);
        cr_assert_eq(parse("failure_rate", text, &request), 0);
        cr_assert_eq(request.values.failure_rate_tenths, tenths);
    }
    cr_assert_eq(set("failure_rate", 33.33, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("failure_rate", 0.05, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("failure_rate", 99.99, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(parse("failure_rate", "33.33", &request), CBM_CORE_E_INVALID);
    cr_assert_eq(parse("slow_call_rate", "0.05", &request), CBM_CORE_E_INVALID);
    cr_assert(nothing_given(&request));
}

Test(policy_field, takes_factors_in_thousandths_and_refuses_what_lies_between)
{
    cbm_core_policy_request request;
    for (uint32_t thousandths = 1000; thousandths <= 10000; thousandths++) {
        cr_assert_eq(set("backoff_multiplier", thousandths / 1000.0, &request), 0);
        cr_assert_eq(request.values.backoff_multiplier_thousandths, thousandths);
    }
    cr_assert_eq(set("backoff_multiplier", 1.0005, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("jitter", 0.0001, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(parse("jitter", "0.25", &request), 0);
    cr_assert_eq(request.values.jitter_thousandths, 250);
}

Test(policy_field, takes_whole_numbers_where_whole_numbers_are_meant)
{
    cbm_core_policy_request request;
    cr_assert_eq(set("failure_threshold", 3.0, &request), 0);
    cr_assert_eq(request.values.failure_threshold, 3);
    cr_assert_eq(set("failure_threshold", 3.5, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("failure_threshold", NAN, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("failure_threshold", INFINITY, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("failure_threshold", -INFINITY, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("policy_version", 4294967296.0, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("policy_version", 1e300, &request), CBM_CORE_E_INVALID);
    cr_assert_eq(set("failure_rate", NAN, &request), CBM_CORE_E_INVALID);
}

Test(policy_field, refuses_text_that_is_no_number)
{
    static const char *const texts[] = {
        "",    " ",   "x",           "5x", "x5",  "0x10", "-1",    "5 ",
        " 5",  "5,0", "--5",         ".",  "nan", "inf",  "1e999", "99999999999999999999999999",
        "5.5", "5 5", "consecutive", "+",  "\n5"};
    cbm_core_policy_request request;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        cr_assert_eq(parse("failure_threshold", texts[i], &request), CBM_CORE_E_INVALID, "\"%s\" is taken", texts[i]);
        cr_assert(nothing_given(&request));
    }
    cr_assert_eq(cbm_core_policy_parse(&request, field("failure_threshold"), "5\0", 2), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_policy_parse(&request, field("failure_threshold"), "57", 1), 0);
    cr_assert_eq(request.values.failure_threshold, 5, "the length bounds the text");
}

Test(policy_field, takes_a_word_only_where_words_are_meant_and_only_a_known_one)
{
    cbm_core_policy_request request = {0};
    cr_assert_eq(cbm_core_policy_set_word(&request, field("rule"), "time_window", 11), 0);
    cr_assert_eq(request.values.rule, CBM_CORE_RULE_TIME_WINDOW);
    cr_assert_eq(request.given, UINT32_C(1) << field("rule"));
    cr_assert_eq(parse("on_abandon", "release", &request), 0);
    cr_assert_eq(request.values.on_abandon, CBM_CORE_ABANDON_RELEASE);

    request = (cbm_core_policy_request){0};
    cr_assert_eq(cbm_core_policy_set_word(&request, field("rule"), "time", 4), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_policy_set_word(&request, field("rule"), "time_window_", 12), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_policy_set_word(&request, field("rule"), "", 0), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_policy_set_word(&request, field("timeout_ms"), "consecutive", 11), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_policy_set_number(&request, field("rule"), 1), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_policy_parse(&request, field("rule"), "1", 1), CBM_CORE_E_INVALID);
    cr_assert(nothing_given(&request));
}

Test(policy_field, refuses_a_row_that_does_not_exist)
{
    cbm_core_policy_request request = {0};
    cr_assert_eq(cbm_core_policy_set_number(&request, -1, 1), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_policy_set_number(&request, CBM_CORE_POLICY_FIELDS, 1), CBM_CORE_E_INVALID);
    cr_assert_eq(cbm_core_policy_parse(&request, -1, "1", 1), CBM_CORE_E_INVALID);
    cr_assert(nothing_given(&request));
}

/* ---- a whole policy ---- */

Test(policy, that_asks_for_nothing_is_the_default_of_every_field)
{
    cbm_core_policy policy = resolved("");
    cr_assert_eq(policy.rule, CBM_CORE_RULE_CONSECUTIVE);
    cr_assert_eq(policy.on_abandon, CBM_CORE_ABANDON_FAILURE);
    for (size_t i = 0; i < ROWS; i++) {
        cr_assert_eq(cbm_core_policy_value(&policy, field(rows[i].name)), rows[i].standard, "%s", rows[i].name);
    }
}

Test(policy, keeps_every_value_that_was_given)
{
    cbm_core_policy policy =
        resolved("rule=time_window failure_threshold=7 window_size=9 window_s=11 minimum_calls=13 "
                 "failure_rate=33.3 slow_call_rate=80.5 slow_call_duration_ms=17 timeout_ms=19 "
                 "timeout_max_ms=23 backoff_multiplier=1.5 jitter=0.25 success_threshold=29 "
                 "half_open_calls=31 half_open_max_wait_ms=37 permit_lease_ms=41 on_abandon=release "
                 "failure_spacing_ms=43 open_for_max_ms=47 expire_after_s=53 policy_version=59");
    const uint32_t expected[CBM_CORE_POLICY_FIELDS] = {3,   7,  9,  11, 13, 333, 805, 17, 19, 23, 1500,
                                                       250, 29, 31, 37, 41, 1,   43,  47, 53, 59};
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        cr_assert_eq(cbm_core_policy_value(&policy, i), expected[i], "%s", cbm_core_policy_table()[i].name);
    }
}

Test(policy, under_a_window_lets_ten_calls_probe)
{
    cr_assert_eq(resolved("rule=count_window").half_open_calls, 10);
    cr_assert_eq(resolved("rule=time_window").half_open_calls, 10);
    cr_assert_eq(resolved("rule=failures window_s=10").half_open_calls, 1);
    cr_assert_eq(resolved("rule=count_window half_open_calls=2").half_open_calls, 2);
}

Test(policy, has_leases_as_long_as_its_timeout_unless_told_otherwise)
{
    cr_assert_eq(resolved("timeout_ms=1234").permit_lease_ms, 1234);
    cr_assert_eq(resolved("timeout_ms=1234 permit_lease_ms=0").permit_lease_ms, 0);
    cr_assert_eq(resolved("timeout_ms=1234 permit_lease_ms=99").permit_lease_ms, 99);
}

Test(policy, has_the_larger_of_timeout_and_an_hour_as_its_longest_timeout)
{
    cr_assert_eq(resolved("timeout_ms=3600000").timeout_max_ms, 3600000);
    cr_assert_eq(resolved("timeout_ms=3600001").timeout_max_ms, 3600001);
    cr_assert_eq(resolved("timeout_ms=2592000000").timeout_max_ms, 2592000000);
    cr_assert_eq(resolved("timeout_ms=500 timeout_max_ms=500").timeout_max_ms, 500);
}

Test(policy, in_a_count_window_never_waits_for_more_calls_than_the_window_holds)
{
    cr_assert_eq(resolved("rule=count_window window_size=20").minimum_calls, 20);
    cr_assert_eq(resolved("rule=count_window window_size=20 minimum_calls=21").minimum_calls, 20);
    cr_assert_eq(resolved("rule=count_window window_size=20 minimum_calls=19").minimum_calls, 19);
    cr_assert_eq(resolved("rule=time_window minimum_calls=500").minimum_calls, 500);
}

Test(policy, that_contradicts_itself_is_refused_with_the_field_to_blame)
{
    cr_assert_str_eq(blamed("timeout_ms=2000 timeout_max_ms=1999"), "timeout_max_ms");
    cr_assert_str_eq(blamed("timeout_max_ms=59999"), "timeout_max_ms");
    cr_assert_str_eq(blamed("rule=failures"), "window_s");
    cr_assert_str_eq(blamed("rule=failures window_s=1 timeout_ms=5 timeout_max_ms=4"), "timeout_max_ms");
    cr_assert_str_eq(blamed("rule=failures failure_threshold=3"), "window_s");
    cr_assert_str_eq(blamed("rule=failures window_s=60 failure_threshold=10001"), "failure_threshold");
    cr_assert_str_eq(blamed("rule=time_window window_s=3601"), "window_s");
    cr_assert_str_eq(blamed("window_s=3601"), "window_s");
}

Test(policy, may_go_right_up_to_a_contradiction)
{
    cr_assert_eq(resolved("rule=failures window_s=604800 failure_threshold=10000").window_s, 604800);
    cr_assert_eq(resolved("rule=time_window window_s=3600").window_s, 3600);
    cr_assert_eq(resolved("failure_threshold=1000000").failure_threshold, 1000000);
    cr_assert_eq(resolved("rule=failures window_s=1").window_s, 1);
}

Test(policy, resolve_does_without_somewhere_to_put_the_blame)
{
    cbm_core_policy_request request = policy_of("rule=failures");
    cbm_core_policy policy;
    cr_assert_eq(cbm_core_policy_resolve(&request, &policy, NULL), CBM_CORE_E_INVALID);
}

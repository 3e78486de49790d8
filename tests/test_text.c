/* Names that may name a breaker, texts as they are kept, and the words for states, outcomes and causes. */
#include "core_fixture.h"

#include <string.h>

static bool valid(const char *name)
{
    return cbm_core_name_valid(name, strlen(name));
}

Test(name, may_be_of_1_to_128_bytes)
{
    char name[130];
    memset(name, 'n', sizeof(name));
    cr_assert_not(cbm_core_name_valid(name, 0));
    cr_assert(cbm_core_name_valid(name, 1));
    cr_assert(cbm_core_name_valid(name, 128));
    cr_assert_not(cbm_core_name_valid(name, 129));
}

Test(name, may_hold_any_character_of_utf8)
{
    cr_assert(valid("ha_api"));
    cr_assert(valid("with spaces / and : signs \"'"));
    cr_assert(valid("\xc3\xa4"));         /* U+00E4 */
    cr_assert(valid("\xe2\x82\xac"));     /* U+20AC */
    cr_assert(valid("\xf0\x9f\x98\x80")); /* U+1F600 */
    cr_assert(valid("\xf4\x8f\xbf\xbf")); /* U+10FFFF, the last */
    cr_assert(valid("\xed\x9f\xbf"));     /* U+D7FF, before the surrogates */
    cr_assert(valid("\xee\x80\x80"));     /* U+E000, after them */
    cr_assert(valid("\xc2\xa0"));         /* U+00A0, after the C1 control characters */
}

Test(name, may_not_hold_control_characters)
{
    char name[2] = {0};
    for (int c = 1; c < 0x20; c++) {
        name[0] = (char)c;
        cr_assert_not(valid(name), "%d", c);
    }
    cr_assert_not(valid("\x7f"));
    cr_assert_not(cbm_core_name_valid("a\0b", 3));
    for (int c = 0x80; c < 0xa0; c++) {
        char c1[3] = {(char)0xc2, (char)c, 0};
        cr_assert_not(valid(c1), "U+%04X", c);
    }
}

Test(name, may_not_be_broken_utf8)
{
    static const char *const broken[] = {
        "\x80",
        "\xbf",
        "a\xc3",
        "\xc3(",
        "\xe2\x82",
        "\xe2(\xac",
        "\xf0\x9f\x98",
        "\xff",
        "\xfe",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe0\x80\xaf",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\xaf",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf8\x88\x80\x80\x80",
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        cr_assert_not(valid(broken[i]), "number %zu", i);
    }
}

Test(name, that_is_invalid_is_refused_everywhere_and_changes_nothing)
{
    given("");
    char too_long[130];
    memset(too_long, 'n', 129);
    too_long[129] = '\0';
    const char *const names[] = {"", "\n", "\xff", too_long};
    for (int i = 0; i < 4; i++) {
        cbm_core_get_result result;
        cbm_core_decision decision;
        cbm_core_begin by_nobody = {0};
        cbm_core_report success = {.outcome = CBM_CORE_SUCCESS, .duration_ns = -1};
        cr_assert_eq(cbm_core_get(manager, names[i], NULL, now_ns, &result), CBM_CORE_E_INVALID);
        cr_assert_eq(result.bad_field, -1);
        cr_assert_eq(cbm_core_call_begin(manager, names[i], &by_nobody, now_ns, &decision), CBM_CORE_E_INVALID);
        cr_assert_eq(cbm_core_call_report(manager, names[i], NULL, &success, now_ns, NULL), CBM_CORE_E_INVALID);
        cr_assert_eq(cbm_core_adopt(manager, names[i], NULL, CBM_CORE_CLOSED, 0, now_ns), CBM_CORE_E_INVALID);
    }
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cr_assert_eq(stats.breakers_count, 1);
    cr_assert_eq(stats.total_operations, 1);
    end_of_test();
}

/* ---- texts ---- */

static const char *copied(size_t size, const char *text)
{
    static char to[64];
    memset(to, '#', sizeof(to));
    cbm_core_text_copy(to, size, text, strlen(text));
    cr_assert_eq(to[size], '#', "wrote beyond the end");
    return to;
}

Test(text, that_fits_is_copied_whole)
{
    cr_assert_str_eq(copied(6, "hello"), "hello");
    cr_assert_str_eq(copied(20, "hello"), "hello");
    cr_assert_str_eq(copied(20, ""), "");
    cr_assert_str_eq(copied(1, "hello"), "");
}

Test(text, is_cut_at_a_character)
{
    cr_assert_str_eq(copied(4, "a\xc3\xa4\xc3\xa4"), "a\xc3\xa4");
    cr_assert_str_eq(copied(5, "a\xc3\xa4\xc3\xa4"), "a\xc3\xa4");
    cr_assert_str_eq(copied(6, "a\xc3\xa4\xc3\xa4"), "a\xc3\xa4\xc3\xa4");
    for (size_t size = 1; size <= 4; size++) {
        cr_assert_str_eq(copied(size, "\xf0\x9f\x98\x80"), "");
    }
    cr_assert_str_eq(copied(5, "\xf0\x9f\x98\x80!"), "\xf0\x9f\x98\x80");
}

Test(text, has_spaces_for_control_characters)
{
    cr_assert_str_eq(copied(20, "a\nb\tc\x7f"
                                "d\x01"),
                     "a b c d ");
}

Test(text, that_is_copied_is_utf8_whatever_came)
{
    char to[40];
    uint64_t random = 1;
    for (int i = 0; i < 20000; i++) {
        char from[48];
        for (size_t k = 0; k < sizeof(from); k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            from[k] = (char)((random >> 33) % 3 ? 0x80 | (random >> 40) : random >> 40);
        }
        cbm_core_text_copy(to, sizeof(to), from, (random >> 50) % (sizeof(from) + 1));
        cr_assert_lt(strnlen(to, sizeof(to)), sizeof(to));
        cr_assert(to[0] == '\0' || cbm_core_name_valid(to, strlen(to)));
    }
}

/* ---- words ---- */

Test(words, name_the_states_outcomes_and_causes)
{
    cr_assert_str_eq(cbm_core_state_name(CBM_CORE_CLOSED), "CLOSED");
    cr_assert_str_eq(cbm_core_state_name(CBM_CORE_OPEN), "OPEN");
    cr_assert_str_eq(cbm_core_state_name(CBM_CORE_HALF_OPEN), "HALF_OPEN");
    cr_assert_str_eq(cbm_core_state_name(CBM_CORE_FORCED_OPEN), "FORCED_OPEN");
    cr_assert_str_eq(cbm_core_state_name(CBM_CORE_DISABLED), "DISABLED");
    cr_assert_str_eq(cbm_core_state_name(CBM_CORE_METRICS_ONLY), "METRICS_ONLY");
    cr_assert_str_eq(cbm_core_state_name((cbm_core_state)6), "?");
    cr_assert_str_eq(cbm_core_state_name((cbm_core_state)-1), "?");
    cr_assert_str_eq(cbm_core_outcome_name(CBM_CORE_SUCCESS), "success");
    cr_assert_str_eq(cbm_core_outcome_name(CBM_CORE_FAILURE), "failure");
    cr_assert_str_eq(cbm_core_outcome_name(CBM_CORE_TIMEOUT), "timeout");
    cr_assert_str_eq(cbm_core_outcome_name(CBM_CORE_IGNORED), "ignored");
    cr_assert_str_eq(cbm_core_cause_name(CBM_CORE_CAUSE_RULE), "rule");
    cr_assert_str_eq(cbm_core_cause_name(CBM_CORE_CAUSE_OPEN_FOR), "open_for");
    for (int i = CBM_CORE_CAUSE_RULE; i <= CBM_CORE_CAUSE_ADOPTED; i++) {
        cr_assert_neq(cbm_core_cause_name((cbm_core_cause)i)[0], '?');
        for (int k = CBM_CORE_CAUSE_RULE; k < i; k++) {
            cr_assert_str_neq(cbm_core_cause_name((cbm_core_cause)i), cbm_core_cause_name((cbm_core_cause)k));
        }
    }
}

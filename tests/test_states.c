/* Reading all states: the order, the pages, the pattern. */
#include "core_fixture.h"
#include "random.h"

#include <fnmatch.h>
#include <string.h>
#include <time.h>

TestSuite(states, .fini = end_of_test);

static void given_names(const char *const names[])
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    for (int i = 0; names[i]; i++) {
        cbm_core_get_result result;
        cr_assert_eq(cbm_core_get(manager, names[i], NULL, now_ns, &result), 0);
    }
}

/* The names that match, joined by spaces. */
static const char *listed(const char *pattern)
{
    static char joined[1024];
    cbm_core_status page[16];
    char next[CBM_CORE_NAME_MAX + 1];
    bool more = false;
    joined[0] = '\0';
    size_t count = cbm_core_states(manager, pattern, NULL, 16, now_ns, page, next, &more);
    for (size_t i = 0; i < count; i++) {
        strcat(strcat(joined, i > 0 ? " " : ""), page[i].name);
    }
    cr_assert_not(more);
    return joined;
}

Test(states, come_in_the_order_of_names_byte_by_byte)
{
    given_names((const char *const[]){"b", "a", "Z", "a1", "\xc3\xa4", "aa", NULL});
    cr_assert_str_eq(listed(NULL), "Z a a1 aa b \xc3\xa4");
    cr_assert_str_eq(listed(""), "Z a a1 aa b \xc3\xa4");
}

Test(states, of_nobody_are_none)
{
    given_names((const char *const[]){NULL});
    cr_assert_str_eq(listed(NULL), "");
}

Test(states, at_most_none_are_none)
{
    given_names((const char *const[]){"a", NULL});
    char next[CBM_CORE_NAME_MAX + 1];
    bool more;
    cr_assert_eq(cbm_core_states(manager, NULL, NULL, 0, now_ns, NULL, next, &more), 0);
}

Test(states, are_those_that_match_the_glob)
{
    given_names((const char *const[]){"ha_api", "ha_db", "ha_db2", "mail", "x[1]", NULL});
    cr_assert_str_eq(listed("ha_*"), "ha_api ha_db ha_db2");
    cr_assert_str_eq(listed("ha_??"), "ha_db");
    cr_assert_str_eq(listed("*"), "ha_api ha_db ha_db2 mail x[1]");
    cr_assert_str_eq(listed("[hm]a*"), "ha_api ha_db ha_db2 mail");
    cr_assert_str_eq(listed("[!h]*"), "mail x[1]");
    cr_assert_str_eq(listed("[a-m]*"), "ha_api ha_db ha_db2 mail");
    cr_assert_str_eq(listed("mail"), "mail");
    cr_assert_str_eq(listed("mai"), "");
    cr_assert_str_eq(listed("*2"), "ha_db2");
    cr_assert_str_eq(listed("*a*i*"), "ha_api mail");
    cr_assert_str_eq(listed("x\\[1\\]"), "x[1]");
    cr_assert_str_eq(listed("nothing*"), "");
}

Test(states, match_characters_and_not_bytes)
{
    given_names((const char *const[]){"x\xc3\xa4y", "x\xe2\x82\xacy", "xy", NULL});
    cr_assert_str_eq(listed("x?y"), "x\xc3\xa4y x\xe2\x82\xacy");
    cr_assert_str_eq(listed("x[\xc3\xa4]y"), "x\xc3\xa4y");
    cr_assert_str_eq(listed("x[!\xc3\xa4]y"), "x\xe2\x82\xacy");
    cr_assert_str_eq(listed("x[\xc3\xa0-\xc3\xbf]y"), "x\xc3\xa4y");
    cr_assert_str_eq(listed("x\xff*"), "", "a pattern that is no UTF-8 matches nothing, and does no harm");
    cr_assert_str_eq(listed("x[\xff]y"), "");
}

Test(states, match_as_fnmatch_does)
{
    enum { NAMES = 40, PATTERNS = 20000 };
    static const char in_names[] = "ab-]!", in_patterns[] = "aabb**??[[]]!^-\\";
    static char names[NAMES][8];
    static cbm_core_status page[NAMES];
    random_seed_from_environment();
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    for (int i = 0; i < NAMES; i++) {
        cbm_core_get_result result;
        for (uint32_t k = 0, length = 1 + random_below(6); k < length; k++) {
            names[i][k] = in_names[random_below(sizeof(in_names) - 1)];
        }
        cr_assert_eq(cbm_core_get(manager, names[i], NULL, now_ns, &result), 0);
    }
    for (int i = 0; i < PATTERNS; i++) {
        char pattern[12] = "", next[CBM_CORE_NAME_MAX + 1];
        bool more;
        for (uint32_t k = 0, length = 1 + random_below(9); k < length; k++) {
            pattern[k] = in_patterns[random_below(sizeof(in_patterns) - 1)];
        }
        size_t count = cbm_core_states(manager, pattern, NULL, NAMES, now_ns, page, next, &more);
        for (int k = 0; k < NAMES; k++) {
            bool found = false;
            for (size_t at = 0; at < count; at++) {
                found = found || strcmp(page[at].name, names[k]) == 0;
            }
            cr_assert_eq(found, fnmatch(pattern, names[k], 0) == 0, "\"%s\" and \"%s\"", pattern, names[k]);
        }
    }
}

Test(states, match_a_hostile_pattern_in_reasonable_time)
{
    char name[CBM_CORE_NAME_MAX + 1];
    memset(name, 'a', sizeof(name));
    name[CBM_CORE_NAME_MAX] = '\0';
    given_names((const char *const[]){name, NULL});
    cr_assert_str_eq(listed("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"), "");
}

Test(states, come_in_pages_that_together_are_all_and_none_twice)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    char name[16];
    for (int i = 0; i < 1000; i++) {
        cbm_core_get_result result;
        snprintf(name, sizeof(name), "b%03d", (i * 377) % 1000);
        cr_assert_eq(cbm_core_get(manager, name, NULL, now_ns, &result), 0);
    }
    for (size_t limit = 1; limit <= 64; limit = limit * 3 + 1) {
        cbm_core_status page[64];
        char after[CBM_CORE_NAME_MAX + 1] = "";
        bool more = true;
        int seen = 0;
        while (more) {
            size_t count = cbm_core_states(manager, NULL, after, limit, now_ns, page, after, &more);
            cr_assert_leq(count, limit);
            for (size_t i = 0; i < count; i++) {
                snprintf(name, sizeof(name), "b%03d", seen++);
                cr_assert_str_eq(page[i].name, name);
            }
        }
        cr_assert_eq(seen, 1000);
    }
}

Test(states, after_a_name_that_is_gone_go_on_where_it_would_be)
{
    given_names((const char *const[]){"a", "c", "e", NULL});
    cbm_core_status page[4];
    char next[CBM_CORE_NAME_MAX + 1];
    bool more;
    cr_assert_eq(cbm_core_states(manager, NULL, "b", 4, now_ns, page, next, &more), 2);
    cr_assert_str_eq(page[0].name, "c");
    cr_assert_eq(cbm_core_states(manager, NULL, "c", 4, now_ns, page, next, &more), 1);
    cr_assert_str_eq(page[0].name, "e");
    cr_assert_eq(cbm_core_states(manager, NULL, "e", 4, now_ns, page, next, &more), 0);
    cr_assert_not(more);
}

Test(states, for_which_nobody_matches_hold_nobody_up_and_end_all_the_same)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    char name[16];
    for (int i = 0; i < 10000; i++) {
        cbm_core_get_result result;
        snprintf(name, sizeof(name), "b%05d", i);
        cr_assert_eq(cbm_core_get(manager, name, NULL, now_ns, &result), 0);
    }
    cbm_core_status page[4];
    char after[CBM_CORE_NAME_MAX + 1] = "";
    bool more = true;
    size_t found = 0;
    int pages = 0;
    for (; more && pages < 100; pages++) {
        found += cbm_core_states(manager, "*9999", after, 4, now_ns, page, after, &more);
    }
    cr_assert_eq(found, 1);
    cr_assert_geq(pages, 3);
    cr_assert_leq(pages, 5);
}

/* Names of 127 times `letter` and their number behind it; returns the pages in which `pattern` is looked for among them. */
static int pages_of_a_pattern_that_matches_nobody(char letter, int names, const char *pattern)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    for (int i = 0; i < names; i++) {
        cbm_core_get_result result;
        char name[CBM_CORE_NAME_MAX + 1];
        memset(name, letter, sizeof(name));
        snprintf(name + CBM_CORE_NAME_MAX - 4, 5, "%04d", i);
        cr_assert_eq(cbm_core_get(manager, name, NULL, now_ns, &result), 0);
    }
    cbm_core_status page[4];
    char after[CBM_CORE_NAME_MAX + 1] = "";
    bool more = true;
    int pages = 0;
    for (; more; pages++) {
        cr_assert_eq(cbm_core_states(manager, pattern, after, 4, now_ns, page, after, &more), 0);
    }
    return pages;
}

Test(states, of_a_pattern_that_is_hard_to_match_come_in_small_pages)
{
    char pattern[CBM_CORE_NAME_MAX + 1] = "*";
    memset(pattern + 1, 'a', 60);
    pattern[61] = 'b';
    cr_assert_geq(pages_of_a_pattern_that_matches_nobody('a', 2000, pattern), 30);
}

Test(states, of_a_pattern_of_open_brackets_cost_no_more_than_others)
{
    char pattern[CBM_CORE_NAME_MAX + 1] = "*";
    clock_t begun = clock();
    memset(pattern + 1, '[', 60);
    strcpy(pattern + 61, "\\]aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    pages_of_a_pattern_that_matches_nobody('[', 4000, pattern);
    cr_assert_lt(clock() - begun, 4 * CLOCKS_PER_SEC);
}

Test(states, settle_what_has_fallen_due)
{
    given("timeout_ms=1000 permit_lease_ms=400");
    make_due();
    begin();
    advance_ms(400);
    cbm_core_status page[1];
    char next[CBM_CORE_NAME_MAX + 1];
    bool more;
    cr_assert_eq(cbm_core_states(manager, NULL, NULL, 1, now_ns, page, next, &more), 1);
    cr_assert_eq(page[0].state, CBM_CORE_OPEN);
}

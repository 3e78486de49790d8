#include <criterion/criterion.h>

#include "duration.h"
#include "status_list.h"

static uint64_t parsed(const char *text)
{
    uint64_t ms = 0;
    cr_assert(duration_parse(text, UINT64_C(2592000000), &ms), "%s is a duration", text);
    return ms;
}

static bool refused(const char *text)
{
    uint64_t ms = 4711;
    bool taken = duration_parse(text, UINT64_C(2592000000), &ms);
    return !taken && ms == 4711;
}

Test(cbmctl_duration, a_plain_number_is_seconds)
{
    cr_assert_eq(parsed("0"), 0);
    cr_assert_eq(parsed("30"), 30000);
    cr_assert_eq(parsed("1.5"), 1500);
    cr_assert_eq(parsed(".25"), 250);
}

Test(cbmctl_duration, a_unit_says_what_it_is)
{
    cr_assert_eq(parsed("500ms"), 500);
    cr_assert_eq(parsed("30s"), 30000);
    cr_assert_eq(parsed("5m"), 300000);
    cr_assert_eq(parsed("1.5m"), 90000);
    cr_assert_eq(parsed("2h"), 7200000);
    cr_assert_eq(parsed("30d"), UINT64_C(2592000000));
}

Test(cbmctl_duration, what_is_shorter_than_a_millisecond_is_one_and_not_none)
{
    cr_assert_eq(parsed("0.0001s"), 1);
    cr_assert_eq(parsed("0.5ms"), 1);
    cr_assert_eq(parsed("0.000000000000001"), 1);
    cr_assert_eq(parsed("0.000"), 0);
}

Test(cbmctl_duration, anything_else_is_refused)
{
    static const char *const wrong[] = {"",
                                        "s",
                                        "-1",
                                        "+1",
                                        "1 s",
                                        "1x",
                                        "0x10",
                                        "inf",
                                        "1e3",
                                        "1.2.3",
                                        ".",
                                        "1sec",
                                        "nan",
                                        "1s2",
                                        " 1",
                                        "31d",
                                        "99999999999999999999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_assert(refused(wrong[i]), "`%s' is refused", wrong[i]);
}

static void reads_as(int64_t ms, const char *expected)
{
    char text[DURATION_TEXT_MAX];
    duration_format(ms, text);
    cr_assert_str_eq(text, expected);
}

Test(cbmctl_duration, is_shown_in_the_unit_that_fits)
{
    reads_as(-5, "0 ms");
    reads_as(850, "850 ms");
    reads_as(1000, "1 s");
    reads_as(12345, "12.3 s");
    reads_as(60000, "1 min");
    reads_as(303000, "5 min 3 s");
    reads_as(7500000, "2 h 5 min");
    reads_as(INT64_C(273600000), "3 d 4 h");
    reads_as(INT64_MAX, "106751991167 d 7 h");
}

Test(cbmctl_status_list, holds_single_statuses_and_ranges)
{
    status_list list = {0};
    cr_assert(status_list_add(&list, "1,22,64-66"));
    cr_assert(status_list_add(&list, "255"));
    for (int status = 0; status < STATUS_COUNT; status++) {
        bool expected = status == 1 || status == 22 || (status >= 64 && status <= 66) || status == 255;
        cr_assert_eq(list.holds[status], expected, "status %d", status);
    }
}

Test(cbmctl_status_list, a_list_with_a_mistake_adds_nothing)
{
    static const char *const wrong[] = {"",   ",",   "1,",    ",1",  "1,,2", "256", "1-",
                                        "-1", "5-3", "1-256", "1 2", "a",    "1;2", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        status_list list = {0};
        cr_assert(!status_list_add(&list, wrong[i]), "`%s' is refused", wrong[i]);
        for (int status = 0; status < STATUS_COUNT; status++)
            cr_assert(!list.holds[status]);
    }
}

Test(cbmctl_status_list, tells_what_two_lists_have_in_common)
{
    status_list a = {0}, b = {0};
    cr_assert(status_list_add(&a, "1-10"));
    cr_assert(status_list_add(&b, "11-20"));
    cr_assert_eq(status_list_common(&a, &b), -1);
    cr_assert(status_list_add(&b, "7"));
    cr_assert_eq(status_list_common(&a, &b), 7);
}

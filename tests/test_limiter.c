/* The manager's rate limiter: exact, over a window that slides, and at the edges of it. */
#include "core_fixture.h"
#include "random.h"

TestSuite(limiter, .fini = end_of_test);

static void given_limit(uint32_t most, uint32_t window_ms)
{
    given_manager(&(cbm_core_options){.max_rate_limit = most, .rate_limit_window_ms = window_ms});
}

static int get(const char *name)
{
    cbm_core_get_result result;
    return cbm_core_get(manager, name, NULL, now_ns, &result);
}

static cbm_core_stats stats(void)
{
    cbm_core_stats now;
    cbm_core_stats_get(manager, now_ns, &now);
    return now;
}

static void pass(int times)
{
    for (int i = 0; i < times; i++) {
        cr_assert_eq(get("a"), 0, "operation %d of %d is limited", i + 1, times);
    }
}

Test(limiter, lets_a_thousand_operations_pass_in_a_second_unless_told_otherwise)
{
    given_manager(&(cbm_core_options){0});
    cr_assert_eq(stats().max_rate_limit, 1000);
    cr_assert_eq(stats().rate_limit_window_ms, 1000);
    pass(1000);
    cr_assert_eq(get("a"), CBM_CORE_E_RATE_LIMITED);
}

Test(limiter, refuses_one_nanosecond_before_the_oldest_is_a_window_old_and_no_longer_at_it)
{
    given_limit(3, 1000);
    pass(1);
    advance_ms(400);
    pass(2);
    advance_ns(600 * MS - 1);
    cr_assert_eq(get("a"), CBM_CORE_E_RATE_LIMITED);
    advance_ns(1);
    cr_assert_eq(stats().current_rate_limit_size, 2, "a timestamp exactly one window old no longer counts");
    cr_assert_eq(get("a"), 0);
    cr_assert_eq(get("a"), CBM_CORE_E_RATE_LIMITED);
}

Test(limiter, takes_nothing_from_the_window_for_a_refused_operation)
{
    given_limit(2, 1000);
    pass(2);
    for (int i = 0; i < 50; i++) {
        advance_ms(10);
        cr_assert_eq(get("a"), CBM_CORE_E_RATE_LIMITED);
    }
    advance_ms(500);
    pass(2);
}

Test(limiter, counts_what_it_refused_and_what_passed)
{
    given_limit(2, 1000);
    pass(2);
    get("a");
    get("b");
    cr_assert_eq(stats().total_operations, 2);
    cr_assert_eq(stats().rate_limited_count, 2);
    cr_assert_eq(stats().current_rate_limit_size, 2);
    cr_assert_eq(stats().max_rate_limit, 2);
    cr_assert_eq(stats().breakers_count, 1, "a limited get creates nothing");
    cr_assert_eq(count_events(CBM_CORE_EVENT_RATE_LIMITED), 2);
    cr_assert_eq(last_event(CBM_CORE_EVENT_RATE_LIMITED)->error, CBM_CORE_E_RATE_LIMITED);
    cr_assert_str_eq(last_event(CBM_CORE_EVENT_RATE_LIMITED)->name, "b");
}

Test(limiter, limits_call_begin_as_well_and_one_call_is_one_operation)
{
    given_limit(3, 1000);
    cbm_core_decision decision;
    cbm_core_permit permit = begin();
    report(permit, CBM_CORE_SUCCESS);
    cr_assert_eq(stats().total_operations, 1);
    cr_assert_eq(stats().current_rate_limit_size, 1);
    begin();
    begin();
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_RATE_LIMITED);
    cr_assert_eq(stats().total_operations, 3);
    cr_assert_eq(statistics().rejected_calls, 0, "the breaker refused nothing");
}

Test(limiter, tells_a_limited_call_when_there_is_room_again)
{
    given_limit(2, 1000);
    cbm_core_decision decision;
    begin();
    advance_ms(300);
    begin();
    advance_ms(100);
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_RATE_LIMITED);
    cr_assert_eq(decision.retry_after_ns, 600 * MS);
    advance_ns(decision.retry_after_ns - 1);
    cr_assert_eq(try_begin(&decision), CBM_CORE_E_RATE_LIMITED);
    advance_ns(1);
    cr_assert_eq(try_begin(&decision), 0);
}

Test(limiter, counts_a_call_that_the_breaker_refused)
{
    given_limit(10, 1000);
    pass(1);
    control(CBM_CORE_CONTROL_FORCE_OPEN, 0);
    assert_refused(CBM_CORE_E_FORCED_OPEN);
    cr_assert_eq(stats().total_operations, 2);
    cr_assert_eq(stats().current_rate_limit_size, 2);
}

Test(limiter, never_limits_reports_and_readings_and_control)
{
    given_limit(1, 1000);
    cbm_core_permit permit = begin();
    cr_assert_eq(get("a"), CBM_CORE_E_RATE_LIMITED);
    for (int i = 0; i < 100; i++) {
        report(permit, CBM_CORE_SUCCESS);
        observe(CBM_CORE_SUCCESS);
        status();
        stats();
        control(CBM_CORE_CONTROL_ENABLE, 0);
        reset();
    }
    cbm_core_reset_all(manager, now_ns);
    cr_assert_eq(stats().total_operations, 1);
    cr_assert_eq(stats().current_rate_limit_size, 1);
    cr_assert_eq(stats().rate_limited_count, 1);
}

Test(limiter, is_not_there_when_switched_off)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true, .max_rate_limit = 1});
    pass(5000);
    cr_assert_eq(stats().max_rate_limit, 0);
    cr_assert_eq(stats().rate_limited_count, 0);
    cr_assert_eq(stats().total_operations, 5000);
}

Test(limiter, takes_an_earlier_clock_for_the_latest_seen)
{
    given_limit(1, 1000);
    pass(1);
    advance_ms(-5000);
    cr_assert_eq(stats().current_rate_limit_size, 1);
    cr_assert_eq(get("a"), CBM_CORE_E_RATE_LIMITED);
    advance_ms(5999);
    cr_assert_eq(get("a"), CBM_CORE_E_RATE_LIMITED);
    advance_ms(1);
    cr_assert_eq(get("a"), 0);
}

Test(limiter, refuses_a_limit_of_more_than_a_million)
{
    cbm_core_manager *none = NULL;
    cr_assert_eq(cbm_core_manager_new(&none, &(cbm_core_options){.max_rate_limit = 1000001}), CBM_CORE_E_INVALID);
    cr_assert_null(none);
    given_limit(1000000, 1000);
    cr_assert_eq(stats().max_rate_limit, 1000000);
}

/* ---- reset of the manager ---- */

Test(limiter, limits_the_reset_of_the_manager_and_a_limited_one_changes_nothing)
{
    given_limit(2, 1000);
    pass(2);
    cr_assert_eq(cbm_core_reset_manager(manager, now_ns), CBM_CORE_E_RATE_LIMITED);
    cr_assert_eq(stats().breakers_count, 1);
    cr_assert_eq(stats().total_operations, 2);
    cr_assert_str_eq(last_event(CBM_CORE_EVENT_RATE_LIMITED)->name, "");
    advance_ms(1000);
    cr_assert_eq(cbm_core_reset_manager(manager, now_ns), 0);
}

Test(limiter, is_empty_after_a_reset_of_the_manager)
{
    given_limit(3, 1000);
    pass(2);
    cr_assert_eq(cbm_core_reset_manager(manager, now_ns), 0);
    cr_assert_eq(stats().current_rate_limit_size, 0);
    cr_assert_eq(stats().rate_limited_count, 0);
    cr_assert_eq(stats().total_operations, 0);
    pass(3);
    cr_assert_eq(get("a"), CBM_CORE_E_RATE_LIMITED);
}

/* ---- against a list of every time ---- */

static uint32_t in_window(const int64_t *passed, int count, int64_t window_ns)
{
    uint32_t found = 0;
    while ((int)found < count && now_ns - passed[count - 1 - (int)found] < window_ns) {
        found++;
    }
    return found;
}

/* To when the oldest in the window leaves it, or just before or after; or a little further. */
static void advance_at_random(const int64_t *oldest, int64_t window_ns, int64_t most)
{
    int64_t leaves_ns = oldest ? *oldest + window_ns - 1 + (int64_t)random_below(3) : 0;
    if (random_below(4) == 0 && leaves_ns > now_ns) {
        now_ns = leaves_ns;
    } else if (random_below(3) > 0) {
        advance_ns((int64_t)random_below((uint32_t)(window_ns / most)));
    }
}

Test(limiter, agrees_with_a_list_of_all_operations_over_random_times)
{
    enum { OPERATIONS = 20000 };
    static int64_t passed[OPERATIONS];
    const int64_t window_ns = 7 * MS;
    random_seed_from_environment();
    for (int most = 1; most <= 40; most += 13) {
        given_limit((uint32_t)most, 7);
        int count = 0;
        uint64_t refused = 0;
        for (int i = 0; i < OPERATIONS; i++) {
            uint32_t inside = in_window(passed, count, window_ns);
            advance_at_random(inside > 0 ? &passed[count - (int)inside] : NULL, window_ns, most);
            inside = in_window(passed, count, window_ns);
            cr_assert_eq(stats().current_rate_limit_size, inside);
            cr_assert_eq(get("a"), inside < (uint32_t)most ? 0 : CBM_CORE_E_RATE_LIMITED);
            if (inside < (uint32_t)most) {
                passed[count++] = now_ns;
            } else {
                refused++;
            }
        }
        cr_assert_eq(stats().rate_limited_count, refused);
        cr_assert(refused > OPERATIONS / 20 && count > OPERATIONS / 20, "%d passed", count);
        end_of_test();
    }
}

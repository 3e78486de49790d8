/* Time's own work: idle breakers that expire, and ticks that find what is due. */
#include "core_fixture.h"
#include "random.h"

#include <string.h>

TestSuite(expiry, .fini = end_of_test);
TestSuite(tick, .fini = end_of_test);

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

static bool exists(const char *name)
{
    cbm_core_status found;
    int error = cbm_core_state_of(manager, name, now_ns, &found);
    cr_assert(error == 0 || error == CBM_CORE_E_NOT_FOUND);
    return error == 0;
}

static void tick_all(void)
{
    for (int i = 0; i < 100000 && cbm_core_tick(manager, now_ns, 10); i++) {
    }
}

/* ---- expiry ---- */

static bool expired_after(int64_t nanoseconds)
{
    advance_ns(nanoseconds);
    tick_all();
    return !exists("a");
}

Test(expiry, takes_an_idle_breaker_exactly_after_its_time)
{
    given("expire_after_s=10");
    cr_assert_not(expired_after(10 * SECOND - 1));
    cr_assert(expired_after(1));
    cr_assert_eq(stats().breakers_count, 0);
    cr_assert_eq(stats().breakers_removed, 1);
    cr_assert_eq(count_events(CBM_CORE_EVENT_REMOVED), 1);
}

Test(expiry, comes_after_a_day_when_nothing_is_said)
{
    given("");
    cr_assert_not(expired_after(86400 * SECOND - 1));
    cr_assert(expired_after(1));
}

Test(expiry, never_comes_with_zero)
{
    given("expire_after_s=0");
    cr_assert_not(expired_after(1000 * 86400 * SECOND));
}

Test(expiry, starts_again_with_each_outcome_and_get_and_call)
{
    given("expire_after_s=10");
    cr_assert_not(expired_after(9 * SECOND));
    succeed(1);
    cr_assert_not(expired_after(9 * SECOND));
    get("a");
    cr_assert_not(expired_after(9 * SECOND));
    observe(CBM_CORE_IGNORED);
    cr_assert_not(expired_after(10 * SECOND - 1));
    cr_assert(expired_after(1));
}

Test(expiry, is_not_put_off_by_those_who_only_look)
{
    given("expire_after_s=10");
    cr_assert_not(expired_after(9 * SECOND));
    status();
    cr_assert(expired_after(1 * SECOND));
}

Test(expiry, spares_a_breaker_with_a_failure_in_its_rule)
{
    given("expire_after_s=10");
    fail(1);
    cr_assert_not(expired_after(1000 * SECOND));
    succeed(1);
    cr_assert_not(expired_after(9 * SECOND));
    cr_assert(expired_after(1 * SECOND));
}

Test(expiry, comes_when_the_last_failure_has_aged_out_of_the_rule)
{
    given("rule=failures window_s=100 expire_after_s=10");
    fail(1);
    cr_assert_not(expired_after(99 * SECOND));
    cr_assert(expired_after(20 * SECOND));
}

Test(expiry, comes_when_the_last_failure_has_left_the_time_window)
{
    given("rule=time_window window_s=100 expire_after_s=10");
    fail(1);
    cr_assert_not(expired_after(98 * SECOND));
    cr_assert(expired_after(20 * SECOND));
}

Test(expiry, does_not_mind_successes_in_a_window)
{
    given("rule=time_window window_s=100 expire_after_s=10");
    succeed(50);
    cr_assert_not(expired_after(10 * SECOND - 1));
    cr_assert(expired_after(1));
}

Test(expiry, spares_a_breaker_with_a_failure_in_its_count_window)
{
    given("rule=count_window window_size=10 expire_after_s=10");
    fail(1);
    cr_assert_not(expired_after(1000 * SECOND));
    succeed(10);
    cr_assert_not(expired_after(9 * SECOND));
    cr_assert(expired_after(1 * SECOND));
}

Test(expiry, spares_what_is_not_closed)
{
    given("expire_after_s=10 timeout_ms=1000 permit_lease_ms=0");
    make_open();
    cr_assert_not(expired_after(1000 * SECOND));
    begin_held(7, 0);
    cr_assert_not(expired_after(1000 * SECOND));
    assert_state(CBM_CORE_HALF_OPEN);
}

Test(expiry, spares_what_is_controlled_by_hand)
{
    for (int i = CBM_CORE_CONTROL_FORCE_OPEN; i <= CBM_CORE_CONTROL_METRICS_ONLY; i++) {
        given("expire_after_s=10");
        control((cbm_core_control)i, 0);
        cr_assert_not(expired_after(1000 * SECOND));
        end_of_test();
    }
}

/* ---- ticks ---- */

Test(tick, does_what_is_due_and_the_next_deadline_says_when)
{
    given("timeout_ms=1000 permit_lease_ms=400 expire_after_s=0");
    cr_assert_eq(cbm_core_next_deadline(manager), CBM_CORE_NEVER_NS);
    make_due();
    begin();
    cr_assert_eq(cbm_core_next_deadline(manager), now_ns + 400 * MS);
    advance_ms(400);
    cr_assert_not(cbm_core_tick(manager, now_ns, 100));
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->to, CBM_CORE_OPEN);
    cr_assert_eq(cbm_core_next_deadline(manager), CBM_CORE_NEVER_NS);
}

Test(tick, works_off_no_more_than_it_may_and_tells_that_more_is_due)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    char name[16];
    for (int i = 0; i < 25; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        get(name);
        cr_assert_eq(cbm_core_control_set(manager, name, CBM_CORE_CONTROL_DISABLE, NULL, 1000, now_ns), 0);
    }
    events_count = 0;
    cr_assert_not(cbm_core_tick(manager, now_ns + SECOND - 1, 10));
    cr_assert_eq(count_events(CBM_CORE_EVENT_TRANSITION), 0);
    now_ns += SECOND;
    cr_assert(cbm_core_tick(manager, now_ns, 10));
    cr_assert_eq(count_events(CBM_CORE_EVENT_TRANSITION), 10);
    cr_assert(cbm_core_tick(manager, now_ns, 10));
    cr_assert_not(cbm_core_tick(manager, now_ns, 10));
    cr_assert_eq(count_events(CBM_CORE_EVENT_TRANSITION), 25);
}

Test(tick, takes_an_earlier_clock_for_the_latest_seen)
{
    given("timeout_ms=1000 permit_lease_ms=400 expire_after_s=0");
    make_due();
    begin();
    advance_ms(400);
    cbm_core_stats_get(manager, now_ns, &(cbm_core_stats){0});
    cbm_core_tick(manager, 0, 100);
    cr_assert_eq(last_event(CBM_CORE_EVENT_TRANSITION)->to, CBM_CORE_OPEN);
}

enum { MANY = 300 };
static int64_t ends_ns[MANY]; /* of the control of breaker i; CBM_CORE_NEVER_NS: none */

static int64_t earliest_end(void)
{
    int64_t earliest = CBM_CORE_NEVER_NS;
    for (int i = 0; i < MANY; i++) {
        earliest = ends_ns[i] < earliest ? ends_ns[i] : earliest;
    }
    return earliest;
}

static void control_one(int i)
{
    char name[16];
    uint32_t for_ms = random_below(4) == 0 ? 0 : 1 + random_below(1000);
    cbm_core_control what = random_below(8) == 0 ? CBM_CORE_CONTROL_ENABLE : CBM_CORE_CONTROL_DISABLE;
    snprintf(name, sizeof(name), "b%d", i);
    cr_assert_eq(cbm_core_control_set(manager, name, what, NULL, for_ms, now_ns), 0);
    ends_ns[i] = what == CBM_CORE_CONTROL_DISABLE && for_ms > 0 ? now_ns + for_ms * MS : CBM_CORE_NEVER_NS;
}

Test(tick, finds_what_is_due_among_many_in_the_order_of_time)
{
    cbm_core_policy_request never_expires = policy_of("expire_after_s=0");
    random_seed_from_environment();
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    for (int i = 0; i < MANY; i++) {
        char name[16];
        cbm_core_get_result result;
        snprintf(name, sizeof(name), "b%d", i);
        cr_assert_eq(cbm_core_get(manager, name, &never_expires, now_ns, &result), 0);
        ends_ns[i] = CBM_CORE_NEVER_NS;
    }
    for (int round = 0; round < 20000; round++) {
        control_one((int)random_below(MANY));
        cr_assert_eq(cbm_core_next_deadline(manager), earliest_end());
        if (random_below(3) > 0) {
            continue;
        }
        advance_ms((int64_t)random_below(20));
        while (earliest_end() <= now_ns) {
            int64_t end_ns = earliest_end();
            int at = 0;
            events_count = 0;
            cbm_core_tick(manager, now_ns, 1);
            cr_assert_eq(count_events(CBM_CORE_EVENT_TRANSITION), 1);
            cr_assert_eq(sscanf(events[0].name, "b%d", &at), 1);
            cr_assert_eq(ends_ns[at], end_ns);
            ends_ns[at] = CBM_CORE_NEVER_NS;
        }
        cr_assert_not(cbm_core_tick(manager, now_ns, 1));
    }
}

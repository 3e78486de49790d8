/*
 * Time windows of breakers that ledgers hold: what was counted belongs to the second in which it was.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "counting_engine.h"
#include "engine_inner.h"

TestSuite(server_seconds, .init = counting_set_up, .fini = counting_tear_down, .timeout = 60);

/* ---- Seconds ------------------------------------------------------------------------------------------------------------ */

#define ONE_SECOND "rule=time_window window_s=1 minimum_calls=1000"

Test(server_seconds, what_was_counted_belongs_to_the_second_in_which_it_was_when_a_request_comes_after_it)
{
    counting_handle handle;

    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    handle = counting_get(client, "a", ONE_SECOND);
    counting_successes(&handle, 10);
    cr_assert_eq(counting_status(&handle).calls, 10);
    counting_successes(&handle, 10);
    wait_until((cbm_clock_ns() / CBM_CORE_NS_PER_S + 1) * CBM_CORE_NS_PER_S);
    cr_assert_eq(counting_status(&handle).calls, 0);
    cr_assert_eq(statistics(&handle).successful_calls, 20);
    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    counting_successes(&handle, 4);
    cr_assert_eq(counting_status(&handle).calls, 4);
}

Test(server_seconds, nobody_needs_to_ask_for_that)
{
    counting_handle handle;

    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    handle = counting_get(client, "a", ONE_SECOND);
    counting_successes(&handle, 10);
    for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; recorded(&handle) < 10;)
        cr_assert_lt(cbm_clock_ns(), end_ns);
    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    cr_assert_eq(counting_status(&handle).calls, 0);
    cr_assert_gt(engine->shared.ticks.lateness_last_ns, 0);
    cr_assert_leq(engine->shared.ticks.lateness_last_ns, engine->shared.ticks.lateness_max_ns);
}

Test(server_seconds, fast_follows_the_window_as_it_moves)
{
    counting_handle handle;
    uint64_t fast = CBM_WORD_FAST;

    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    handle = counting_get(client, "a", "rule=time_window window_s=1 minimum_calls=10 failure_rate=50");
    for (int i = 0; i < 6; i++)
        counting_report(&handle, CBM_CORE_FAILURE);
    cr_assert_not(flag(&handle, CBM_WORD_FAST), "with four successes it would open");
    for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; flag(&handle, CBM_WORD_FAST) != fast;)
        cr_assert_lt(cbm_clock_ns(), end_ns);
}

Test(server_seconds, there_are_ticks_only_while_a_time_window_has_holders)
{
    counting_handle other = counting_get(client, "b", "rule=count_window");
    counting_handle handle;

    cr_assert_eq(engine->shared.ticks.next_ns, CBM_CORE_NEVER_NS);
    handle = counting_get(client, "a", ONE_SECOND);
    cr_assert_eq(engine->shared.ticks.count, 1);
    cr_assert_lt(engine->shared.ticks.next_ns, CBM_CORE_NEVER_NS);
    control(&handle, CBM_CORE_CONTROL_FORCE_OPEN, 0);
    cr_assert_eq(engine->shared.ticks.next_ns, CBM_CORE_NEVER_NS);
    control(&handle, CBM_CORE_CONTROL_ENABLE, 0);
    cr_assert_eq(engine->shared.ticks.count, 1);
    control(&other, CBM_CORE_CONTROL_METRICS_ONLY, 0);
    cr_assert_eq(engine->shared.ticks.count, 1);
    cbm_engine_ledger_end(engine, client->holder);
    cr_assert_eq(engine->shared.ticks.next_ns, CBM_CORE_NEVER_NS);
}

Test(server_seconds, many_ticks_leave_none_out)
{
    counting_handle handles[200];
    uint64_t removed;
    char name[16];

    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "b%d", i);
        handles[i] = counting_get(client, name, ONE_SECOND);
    }
    cr_assert_eq(cbm_engine_remove(engine, &client->caller, "b1?", &removed), 0);
    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    for (int i = 0; i < 200; i++)
        if (i < 10 || i > 19)
            counting_successes(&handles[i], 1);
    for (int i = 0; i < 200; i++)
        for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; (i < 10 || i > 19) && !recorded(&handles[i]);)
            cr_assert_lt(cbm_clock_ns(), end_ns, "%d", i);
    cr_assert_eq(engine->shared.ticks.count, 190);
}

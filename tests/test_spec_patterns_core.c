/* The specification's class and its three usage patterns, in C on libcbm-core. */
#include "core_fixture.h"

#include <string.h>

TestSuite(specification, .fini = end_of_test);
TestSuite(usage_pattern, .fini = end_of_test);

static int64_t tell_now(void *context)
{
    (void)context;
    return now_ns;
}

static int my_function(void *argument)
{
    return *(int *)argument; /* what the protected call returned: 0 is a success */
}

static int call(cbm_core_manager *of, const char *name, int outcome)
{
    return cbm_core_call(of, name, my_function, &outcome, tell_now, NULL, NULL);
}

/* ---- Pattern 1: the singleton ---- */

Test(usage_pattern, one_get_the_singleton_and_use_it_for_all_operations)
{
    manager = cbm_core_singleton();
    cr_assert_not_null(manager);
    cbm_core_get_result breaker;
    cr_assert_eq(cbm_core_get(manager, "ha_api", NULL, now_ns, &breaker), 0);
    cr_assert_str_eq(cbm_core_state_name(breaker.status.state), "CLOSED");
    cr_assert_eq(call(manager, "ha_api", 0), 0);
    cr_assert_eq(cbm_core_singleton(), manager, "every caller gets the same manager");
    cbm_core_stats stats;
    cbm_core_stats_get(cbm_core_singleton(), now_ns, &stats);
    cr_assert_eq(stats.total_operations, 2);
    cr_assert_eq(stats.max_rate_limit, 1000);
    cr_assert_eq(stats.rate_limit_window_ms, 1000);
    manager = NULL; /* it lives as long as the process */
}

/* ---- Pattern 2: monitor rate limiting ---- */

Test(usage_pattern, two_monitor_rate_limiting)
{
    given_manager(&(cbm_core_options){0});
    cbm_core_stats stats;
    for (int i = 0; i < 800; i++) {
        cr_assert_eq(call(manager, "ha_api", 0), 0);
    }
    cbm_core_stats_get(manager, now_ns, &stats);
    double utilization = (double)stats.current_rate_limit_size / (double)stats.max_rate_limit;
    cr_assert_not(utilization > 0.8);

    cr_assert_eq(call(manager, "ha_api", 0), 0);
    cbm_core_stats_get(manager, now_ns, &stats);
    utilization = (double)stats.current_rate_limit_size / (double)stats.max_rate_limit;
    cr_assert(utilization > 0.8, "now a monitor would warn");
    cr_assert_eq(stats.rate_limited_count, 0);
}

/* ---- Pattern 3: the health dashboard ---- */

static const char *health(const cbm_core_status *of)
{
    return of->failures == 0 ? "healthy" : "degraded";
}

Test(usage_pattern, three_build_a_health_dashboard)
{
    given_manager(&(cbm_core_options){0});
    call(manager, "alexa_api", 0);
    call(manager, "db", 1);
    for (int i = 0; i < 5; i++) {
        call(manager, "ha_api", 1);
    }
    cr_assert_eq(call(manager, "ha_api", 0), CBM_CORE_E_OPEN);

    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cbm_core_status breakers[8];
    char next[CBM_CORE_NAME_MAX + 1];
    bool more;
    size_t count = cbm_core_states(manager, NULL, NULL, 8, now_ns, breakers, next, &more);

    cr_assert_eq(stats.total_operations, 8);
    cr_assert_eq(stats.breakers_count, 3);
    cr_assert_eq(stats.current_rate_limit_size, 8);
    cr_assert_eq(count, 3);
    const char *const expected[3][3] = {
        {"alexa_api", "CLOSED", "healthy"}, {"db", "CLOSED", "degraded"}, {"ha_api", "OPEN", "degraded"}};
    for (size_t i = 0; i < count; i++) {
        cr_assert_str_eq(breakers[i].name, expected[i][0]);
        cr_assert_str_eq(cbm_core_state_name(breakers[i].state), expected[i][1]);
        cr_assert_str_eq(health(&breakers[i]), expected[i][2]);
    }
}

/* ---- The class itself, method by method ---- */

Test(specification, a_new_manager_has_no_breakers_and_counters_of_zero)
{
    given_manager(&(cbm_core_options){0});
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cr_assert_eq(stats.total_operations, 0);
    cr_assert_eq(stats.breakers_count, 0);
    cr_assert_eq(stats.rate_limited_count, 0);
    cr_assert_eq(stats.rate_limit_window_ms, 1000);
    cr_assert_eq(stats.current_rate_limit_size, 0);
    cr_assert_eq(stats.max_rate_limit, 1000);
}

Test(specification, get_has_a_threshold_of_5_and_a_timeout_of_60_seconds)
{
    given_manager(&(cbm_core_options){0});
    cbm_core_get_result breaker;
    cr_assert_eq(cbm_core_get(manager, "ha_api", NULL, now_ns, &breaker), 0);
    cr_assert_eq(breaker.status.policy.failure_threshold, 5);
    cr_assert_eq(breaker.status.policy.timeout_ms, 60000);
}

Test(specification, call_gets_or_creates_runs_and_passes_the_result_on)
{
    given_manager(&(cbm_core_options){0});
    int argument = 42, result = 0;
    cr_assert_eq(cbm_core_call(manager, "ha_api", my_function, &argument, tell_now, NULL, &result), 0);
    cr_assert_eq(result, 42);
    cbm_core_status breaker;
    cr_assert_eq(cbm_core_state_of(manager, "ha_api", now_ns, &breaker), 0);
    cr_assert_eq(breaker.failures, 1);
}

Test(specification, call_is_refused_when_the_rate_limit_is_exceeded)
{
    given_manager(&(cbm_core_options){0});
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(call(manager, "ha_api", 0), 0);
    }
    cr_assert_eq(call(manager, "ha_api", 0), CBM_CORE_E_RATE_LIMITED);
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cr_assert_eq(stats.rate_limited_count, 1);
    cr_assert_eq(stats.total_operations, 1000, "one call is one operation");
    advance_ms(1000);
    cr_assert_eq(call(manager, "ha_api", 0), 0);
}

Test(specification, the_breaker_recovers_after_its_timeout)
{
    given_manager(&(cbm_core_options){0});
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(call(manager, "ha_api", 1), 0);
    }
    cr_assert_eq(call(manager, "ha_api", 0), CBM_CORE_E_OPEN);
    advance_ms(60000);
    cr_assert_eq(call(manager, "ha_api", 0), 0);
    cbm_core_status breaker;
    cr_assert_eq(cbm_core_state_of(manager, "ha_api", now_ns, &breaker), 0);
    cr_assert_eq(breaker.state, CBM_CORE_CLOSED);
    cr_assert_eq(breaker.statistics.total_calls, 6);
}

Test(specification, reset_all_closes_and_clears_failures_but_neither_statistics_nor_breakers)
{
    given_manager(&(cbm_core_options){0});
    for (int i = 0; i < 5; i++) {
        call(manager, "ha_api", 1);
    }
    cbm_core_reset_all(manager, now_ns);
    cbm_core_status breaker;
    cr_assert_eq(cbm_core_state_of(manager, "ha_api", now_ns, &breaker), 0);
    cr_assert_eq(breaker.state, CBM_CORE_CLOSED);
    cr_assert_eq(breaker.failures, 0);
    cr_assert_eq(breaker.statistics.total_calls, 5);
}

Test(specification, reset_clears_everything_and_says_false_when_rate_limited)
{
    given_manager(&(cbm_core_options){0});
    for (int i = 0; i < 1000; i++) {
        call(manager, "ha_api", 0);
    }
    cr_assert_eq(cbm_core_reset_manager(manager, now_ns), CBM_CORE_E_RATE_LIMITED);
    advance_ms(1000);
    cr_assert_eq(cbm_core_reset_manager(manager, now_ns), 0);
    cbm_core_stats stats;
    cbm_core_stats_get(manager, now_ns, &stats);
    cr_assert_eq(stats.breakers_count, 0);
    cr_assert_eq(stats.total_operations, 0);
    cr_assert_eq(stats.rate_limited_count, 0);
    cr_assert_eq(stats.current_rate_limit_size, 0);
}

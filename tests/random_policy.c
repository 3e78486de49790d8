#include "random_policy.h"

#include "random.h"

#include <criterion/criterion.h>
#include <string.h>

static uint32_t one_of(const uint32_t *values, size_t count)
{
    return values[random_below((uint32_t)count)];
}

static void set(cbm_core_policy_request *request, const char *name, double value)
{
    int error = cbm_core_policy_set_number(request, cbm_core_policy_find(name, strlen(name)), value);
    cr_assert_eq(error, 0, "%s=%g", name, value);
}

static const char *const rules[] = {"consecutive", "failures", "count_window", "time_window"};

const char *random_rule_name(cbm_core_rule rule)
{
    return rules[rule];
}

cbm_core_policy_request random_policy(cbm_core_rule rule)
{
    static const uint32_t rates[] = {1, 100, 250, 333, 500, 667, 750, 1000};
    static const uint32_t timeouts[] = {10, 16, 1000};
    static const uint32_t leases[] = {0, 4, 10, 16, 5000};
    static const uint32_t waits[] = {0, 0, 4, 25, 3000};
    static const uint32_t spacings[] = {0, 1, 3, 20};
    static const uint32_t factors[] = {1000, 1000, 1500, 2000, 10000};
    cbm_core_policy_request request = {0};
    cbm_core_policy_set_word(&request, cbm_core_policy_find("rule", 4), rules[rule], strlen(rules[rule]));
    uint32_t timeout = one_of(timeouts, 3);
    set(&request, "failure_threshold", 1 + random_below(4));
    set(&request, "window_size", 1 + random_below(7));
    set(&request, "window_s", 1 + random_below(4));
    set(&request, "minimum_calls", 1 + random_below(7));
    set(&request, "failure_rate", one_of(rates, 8) / 10.0);
    set(&request, "slow_call_rate", one_of(rates, 8) / 10.0);
    set(&request, "slow_call_duration_ms", 10);
    set(&request, "timeout_ms", timeout);
    set(&request, "timeout_max_ms", timeout * (1 + random_below(9)));
    set(&request, "backoff_multiplier", one_of(factors, 5) / 1000.0);
    set(&request, "success_threshold", 1 + random_below(3));
    set(&request, "half_open_calls", 1 + random_below(4));
    set(&request, "half_open_max_wait_ms", one_of(waits, 5));
    set(&request, "failure_spacing_ms", one_of(spacings, 4));
    set(&request, "open_for_max_ms", random_below(2) ? 12 : 4000);
    set(&request, "expire_after_s", 0);
    if (random_below(3) > 0) {
        set(&request, "permit_lease_ms", one_of(leases, 5));
    }
    if (random_below(8) == 0) {
        set(&request, "jitter", (1 + random_below(1000)) / 1000.0);
    }
    const char *on_abandon = random_below(2) ? "release" : "failure";
    cbm_core_policy_set_word(&request, cbm_core_policy_find("on_abandon", 10), on_abandon, strlen(on_abandon));
    return request;
}

/* cbm_policy as callers fill it in, and what becomes of it. */
#include <criterion/criterion.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "cbm.h"
#include "policy.h"
#include "structs.h"

TestSuite(client_policy, .timeout = 20);

static uint32_t value_of(const cbm_core_policy_request *request, const char *field)
{
    int row = cbm_core_policy_find(field, strlen(field));

    cr_assert_geq(row, 0, "%s", field);
    cr_assert(request->given & UINT32_C(1) << row, "%s is not given", field);
    return cbm_core_policy_value(&request->values, row);
}

static bool gives(const cbm_core_policy_request *request, const char *field)
{
    return request->given & UINT32_C(1) << cbm_core_policy_find(field, strlen(field));
}

static int read_policy(const cbm_policy *policy, cbm_core_policy_request *request)
{
    return cbm_policy_read(policy, true, request);
}

Test(client_policy, no_policy_asks_for_nothing)
{
    cbm_core_policy_request request;
    cbm_policy empty = CBM_POLICY_INIT;

    cr_assert_eq(read_policy(NULL, &request), 0);
    cr_assert_eq(request.given, 0);
    cr_assert_eq(read_policy(&empty, &request), 0);
    cr_assert_eq(request.given, 0);
}

Test(client_policy, every_field_reaches_the_field_of_its_name)
{
    cbm_core_policy_request request;
    cbm_policy policy = {
        .size = sizeof(policy),
        .rule = CBM_RULE_TIME_WINDOW,
        .failure_threshold = 11,
        .window_size = 12,
        .window_s = 13,
        .minimum_calls = 14,
        .slow_call_duration_ms = 15,
        .failure_rate = 33.3,
        .slow_call_rate = 66.6,
        .timeout_ms = 16,
        .timeout_max_ms = 17,
        .backoff_multiplier = 1.5,
        .jitter = 0.25,
        .success_threshold = 18,
        .half_open_calls = 19,
        .half_open_max_wait_ms = 20,
        .permit_lease_ms = 21,
        .on_abandon = CBM_ABANDON_RELEASE,
        .failure_spacing_ms = 22,
        .open_for_max_ms = 23,
        .expire_after_s = 24,
        .policy_version = 25,
    };

    cr_assert_eq(read_policy(&policy, &request), 0, "%s", cbm_last_message());
    cr_assert_eq(request.given, (UINT32_C(1) << CBM_CORE_POLICY_FIELDS) - 1);
    cr_assert_eq(value_of(&request, "rule"), CBM_CORE_RULE_TIME_WINDOW);
    cr_assert_eq(value_of(&request, "failure_threshold"), 11);
    cr_assert_eq(value_of(&request, "window_size"), 12);
    cr_assert_eq(value_of(&request, "window_s"), 13);
    cr_assert_eq(value_of(&request, "minimum_calls"), 14);
    cr_assert_eq(value_of(&request, "slow_call_duration_ms"), 15);
    cr_assert_eq(value_of(&request, "failure_rate"), 333);
    cr_assert_eq(value_of(&request, "slow_call_rate"), 666);
    cr_assert_eq(value_of(&request, "timeout_ms"), 16);
    cr_assert_eq(value_of(&request, "timeout_max_ms"), 17);
    cr_assert_eq(value_of(&request, "backoff_multiplier"), 1500);
    cr_assert_eq(value_of(&request, "jitter"), 250);
    cr_assert_eq(value_of(&request, "success_threshold"), 18);
    cr_assert_eq(value_of(&request, "half_open_calls"), 19);
    cr_assert_eq(value_of(&request, "half_open_max_wait_ms"), 20);
    cr_assert_eq(value_of(&request, "permit_lease_ms"), 21);
    cr_assert_eq(value_of(&request, "on_abandon"), CBM_CORE_ABANDON_RELEASE);
    cr_assert_eq(value_of(&request, "failure_spacing_ms"), 22);
    cr_assert_eq(value_of(&request, "open_for_max_ms"), 23);
    cr_assert_eq(value_of(&request, "expire_after_s"), 24);
    cr_assert_eq(value_of(&request, "policy_version"), 25);
}

Test(client_policy, what_is_read_back_is_what_was_asked_for)
{
    cbm_core_policy_request request;
    cbm_core_policy in_force;
    cbm_policy back;
    cbm_policy policy = {
        .size = sizeof(policy),
        .rule = CBM_RULE_COUNT_WINDOW,
        .window_size = 50,
        .failure_rate = 12.5,
        .backoff_multiplier = 2.125,
        .permit_lease_ms = CBM_NEVER,
        .expire_after_s = CBM_NEVER,
        .on_abandon = CBM_ABANDON_RELEASE,
    };
    int field;

    cr_assert_eq(read_policy(&policy, &request), 0, "%s", cbm_last_message());
    cr_assert_eq(cbm_core_policy_resolve(&request, &in_force, &field), 0);
    cbm_policy_write(&in_force, &back);
    cr_assert_eq(back.size, sizeof(back));
    cr_assert_eq(back.rule, CBM_RULE_COUNT_WINDOW);
    cr_assert_eq(back.window_size, 50);
    cr_assert_eq(back.failure_rate, 12.5);
    cr_assert_eq(back.backoff_multiplier, 2.125);
    cr_assert_eq(back.permit_lease_ms, CBM_NEVER);
    cr_assert_eq(back.expire_after_s, CBM_NEVER);
    cr_assert_eq(back.half_open_max_wait_ms, CBM_NEVER, "none is 0 on the wire");
    cr_assert_eq(back.on_abandon, CBM_ABANDON_RELEASE);
    cr_assert_eq(back.timeout_ms, 60000, "the default");
    cr_assert_eq(read_policy(&back, &request), 0, "%s", cbm_last_message());
}

Test(client_policy, never_stands_for_0_where_0_has_a_meaning)
{
    cbm_core_policy_request request;
    cbm_policy policy = CBM_POLICY_INIT;

    policy.permit_lease_ms = CBM_NEVER;
    policy.half_open_max_wait_ms = CBM_NEVER;
    policy.failure_spacing_ms = CBM_NEVER;
    policy.expire_after_s = CBM_NEVER;
    policy.policy_version = CBM_NEVER;
    cr_assert_eq(read_policy(&policy, &request), 0, "%s", cbm_last_message());
    cr_assert_eq(value_of(&request, "permit_lease_ms"), 0);
    cr_assert_eq(value_of(&request, "half_open_max_wait_ms"), 0);
    cr_assert_eq(value_of(&request, "failure_spacing_ms"), 0);
    cr_assert_eq(value_of(&request, "expire_after_s"), 0);
    cr_assert_eq(value_of(&request, "policy_version"), 0);
    cr_assert_not(gives(&request, "timeout_ms"));
}

static void is_refused_for(cbm_policy policy, const char *field)
{
    cbm_core_policy_request request;

    cr_assert_eq(read_policy(&policy, &request), CBM_E_INVALID, "%s", field);
    cr_assert_eq(strncmp(cbm_last_message(), field, strlen(field)), 0, "it says: %s", cbm_last_message());
}

#define POLICY(...) ((cbm_policy){.size = sizeof(cbm_policy), __VA_ARGS__})

Test(client_policy, what_is_out_of_range_is_refused_by_its_name)
{
    is_refused_for(POLICY(.timeout_ms = CBM_NEVER), "timeout_ms");
    is_refused_for(POLICY(.failure_threshold = 1000001), "failure_threshold");
    is_refused_for(POLICY(.failure_rate = -1), "failure_rate");
    is_refused_for(POLICY(.failure_rate = NAN), "failure_rate");
    is_refused_for(POLICY(.failure_rate = INFINITY), "failure_rate");
    is_refused_for(POLICY(.slow_call_rate = 100.5), "slow_call_rate");
    is_refused_for(POLICY(.failure_rate = 33.33), "failure_rate");
    is_refused_for(POLICY(.jitter = 1.5), "jitter");
    is_refused_for(POLICY(.backoff_multiplier = 0.5), "backoff_multiplier");
    is_refused_for(POLICY(.rule = (cbm_rule)5), "rule");
    is_refused_for(POLICY(.rule = (cbm_rule)-1), "rule");
    is_refused_for(POLICY(.on_abandon = (cbm_on_abandon)3), "on_abandon");
    is_refused_for(POLICY(.success_threshold = 1001), "success_threshold");
}

Test(client_policy, what_contradicts_itself_is_refused_before_anybody_is_asked)
{
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_policy policy = POLICY(.rule = CBM_RULE_FAILURES);

    is_refused_for(policy, "window_s");
    is_refused_for(POLICY(.timeout_ms = 5000, .timeout_max_ms = 4000), "timeout_max_ms");
    cr_assert_eq(cbm_open(&client, "/nowhere/cbm.sock", NULL), 0);
    cr_assert_eq(cbm_get(client, "cron", &policy, &breaker), CBM_E_INVALID);
    cr_assert_null(breaker);
    cbm_close(client);
}

/* ---- Sizes of other versions ------------------------------------------------------------------------------------------ */

Test(client_policy, the_smaller_struct_of_an_older_caller_is_understood)
{
    cbm_core_policy_request request;
    cbm_policy policy = POLICY(.failure_threshold = 3, .policy_version = 7);

    policy.size = offsetof(cbm_policy, window_size);
    cr_assert_eq(read_policy(&policy, &request), 0);
    cr_assert_eq(value_of(&request, "failure_threshold"), 3);
    cr_assert_not(gives(&request, "policy_version"), "it is behind the end");
}

struct newer {
    cbm_policy policy;
    uint64_t unknown[2];
};

Test(client_policy, the_larger_struct_of_a_newer_caller_is_understood_unless_it_asks_for_what_is_not_known)
{
    cbm_core_policy_request request;
    struct newer newer = {.policy = {.size = sizeof(newer), .failure_threshold = 3}};

    cr_assert_eq(read_policy(&newer.policy, &request), 0);
    cr_assert_eq(value_of(&request, "failure_threshold"), 3);
    newer.unknown[1] = 1;
    cr_assert_eq(read_policy(&newer.policy, &request), CBM_E_INVALID);
}

Test(client_policy, a_size_that_was_not_set_is_refused)
{
    cbm_core_policy_request request;
    cbm_policy policy = {.failure_threshold = 3};

    cr_assert_eq(read_policy(&policy, &request), CBM_E_INVALID);
    policy.size = SIZE_MAX;
    cr_assert_eq(read_policy(&policy, &request), CBM_E_INVALID);
    policy.size = sizeof(size_t) - 1;
    cr_assert_eq(read_policy(&policy, &request), CBM_E_INVALID);
}

Test(client_policy, every_function_that_takes_options_looks_at_their_size)
{
    cbm_open_options bad_open = {.size = 1};
    cbm_get_options bad_get = {.size = 1};
    cbm_begin_options bad_begin = {.size = 1};
    cbm_report_options bad_report = {.size = 1};
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit permit;

    cr_assert_eq(cbm_open(&client, "local:", &bad_open), CBM_E_INVALID);
    cr_assert_null(client);
    cr_assert_eq(cbm_open(&client, "local:", NULL), 0);
    cr_assert_eq(cbm_get_with(client, "a", NULL, &bad_get, &breaker), CBM_E_INVALID);
    cr_assert_eq(cbm_get(client, "a", NULL, &breaker), 0);
    cr_assert_eq(cbm_call_begin_with(breaker, &bad_begin, &permit), CBM_E_INVALID);
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_SUCCESS, &bad_report), CBM_E_INVALID);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0, "what was refused has not spent the permit");
    cbm_close(client);
}

/* What outlives the broker: kill -9, clean stops. */
#include "kept.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

TestSuite(restart, .timeout = 100);

#define STATISTICS_WINDOW_MS 5000 /* what is not urgent is stored within it */

/* ---- Kill -9 --------------------------------------------------------------------------------------------------------- */

Test(restart, an_open_circuit_is_open_after_kill_9_for_the_time_that_was_left)
{
    kept k = kept_new();
    TELL(&k, "get a failure_threshold=2 timeout_ms=60000");
    TELL(&k, "call_report a outcome=failure");
    TELL(&k, "call_report a outcome=failure error_text=\"no answer\"");
    int64_t before = state_number(&k, "a", "retry_after_ms");
    int64_t begun = clock_ms();
    killed_and_started(&k);
    int64_t after = state_number(&k, "a", "retry_after_ms"), passed = clock_ms() - begun;
    cr_assert(state_is(k.broker->address, "a", "OPEN"));
    cr_assert_leq(after, before);
    cr_assert_geq(after, before - passed - 100);
    cr_assert_eq(state_number(&k, "a", "failures"), 2);
    cr_assert_eq(statistic(k.broker->address, "a", "failed_calls"), 2);
    json_t *state = ask_state(k.broker->address, "a");
    cr_assert_str_eq(json_string_value(json_object_get(state, "last_error_text")), "no answer");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(state, "policy"), "failure_threshold")), 2);
    json_decref(state);
    kept_end(&k);
}

Test(restart, control_by_hand_is_kept_with_its_reason)
{
    kept k = kept_new();
    TELL(&k, "get a");
    TELL(&k, "force_open a reason=\"moving house\"");
    killed_and_started(&k);
    json_t *state = ask_state(k.broker->address, "a");
    cr_assert_str_eq(json_string_value(json_object_get(state, "state")), "FORCED_OPEN");
    cr_assert_str_eq(json_string_value(json_object_get(state, "reason")), "moving house");
    json_decref(state);
    TELL(&k, "enable a");
    killed_and_started(&k);
    cr_assert(state_is(k.broker->address, "a", "CLOSED"));
    kept_end(&k);
}

Test(restart, what_was_configured_and_removed_by_hand_is_so_after_kill_9)
{
    kept k = kept_new();
    TELL(&k, "get a");
    TELL(&k, "get b");
    TELL(&k, "configure a timeout_ms=4321");
    TELL(&k, "force_open b");
    TELL(&k, "remove b");
    killed_and_started(&k);
    json_t *state = ask_state(k.broker->address, "a");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(state, "policy"), "timeout_ms")), 4321);
    json_decref(state);
    cr_assert_null(ask_state(k.broker->address, "b"));
    kept_end(&k);
}

Test(restart, statistics_are_lost_for_five_seconds_at_most)
{
    kept k = kept_new();
    int reported = 0;
    for (; reported < 100; reported++)
        TELL(&k, "call_report a outcome=success duration_ms=%d", reported + 1);
    double p50 = 0;
    json_t *state = ask_state(k.broker->address, "a");
    p50 = json_number_value(json_object_get(json_object_get(state, "statistics"), "p50_ms"));
    json_decref(state);
    /* The window itself is what is promised: there is nothing else to wait for. */
    nanosleep(&(struct timespec){.tv_sec = STATISTICS_WINDOW_MS / 1000}, NULL);
    TELL(&k, "call_report a outcome=success"); /* after it: this one may be lost */
    killed_and_started(&k);
    cr_assert_geq(statistic(k.broker->address, "a", "successful_calls"), reported);
    cr_assert_leq(statistic(k.broker->address, "a", "successful_calls"), reported + 1);
    state = ask_state(k.broker->address, "a");
    cr_assert_float_eq(json_number_value(json_object_get(json_object_get(state, "statistics"), "p50_ms")), p50, 1);
    json_decref(state);
    kept_end(&k);
}

Test(restart, nothing_is_lost_by_a_clean_stop)
{
    kept k = kept_new();
    for (int i = 0; i < 700; i++)
        TELL(&k, "call_report breaker_%d outcome=success", i);
    json_t *stats = told(&k, "stats limit=1");
    json_int_t created = json_integer_value(json_object_get(json_object_get(stats, "data"), "breakers_created"));
    json_decref(stats);
    cr_assert_eq(created, 700);
    cr_assert_eq(broker_stop(k.broker, SIGTERM), 0);
    broker_restart(k.broker);
    stats = told(&k, "stats limit=1");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(stats, "data"), "breakers_count")), 700);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(stats, "data"), "breakers_created")), 700);
    json_decref(stats);
    cr_assert_eq(statistic(k.broker->address, "breaker_699", "successful_calls"), 1);
    kept_end(&k);
}

static bool nothing_pends(void *context)
{
    char uid[16];
    snprintf(uid, sizeof uid, "%u", (unsigned)geteuid());
    json_t *stats = told(context, "stats limit=1");
    json_t *users = json_object_get(json_object_get(stats, "data"), "users");
    json_t *pending = json_object_get(json_object_get(users, uid), "pending_bytes");
    bool none = pending != NULL && json_integer_value(pending) == 0;
    json_decref(stats);
    return none;
}

Test(restart, replies_that_waited_for_the_store_are_charged_to_nobody_any_more)
{
    kept k = kept_new();
    for (int i = 0; i < 20; i++) {
        TELL(&k, "get a_%d failure_threshold=1", i);
        (void)fail_stored(&k, "a_0");
        TELL(&k, "reset a_0");
    }
    cr_assert(wait_until(nothing_pends, &k, HARNESS_DEADLINE_MS));
    kept_end(&k);
}

/* Each report that is answered without `stored: false` is a promise, kept by whatever is left the moment after. */
Test(restart, a_trip_that_was_told_is_never_lost)
{
    kept k = kept_new();
    int count = rounds(20, 200), promised = 0;
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "trip_%d", i);
        TELL(&k, "get %s failure_threshold=1 timeout_ms=3600000", name);
        bool stored = fail_stored(&k, name);
        killed_and_started(&k);
        if (!stored)
            continue;
        promised++;
        cr_assert(state_is(k.broker->address, name, "OPEN"), "%s was told, and is lost", name);
    }
    fprintf(stderr, "kills %d, trips told and checked %d, lost 0\n", count, promised);
    cr_assert_gt(promised, count / 2, "the disk is hardly ever as slow as that");
    kept_end(&k);
}

Test(restart, permits_of_before_are_late)
{
    kept k = kept_new();
    cbm_client *client = client_open(k.broker->address, CBM_FAIL_OPEN);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1;
    cbm_breaker *breaker = breaker_get(client, "a", &policy);
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    TELL(&k, "configure a timeout_ms=5000");
    killed_and_started(&k);
    cr_assert(begin_until_permitted(breaker, &(cbm_permit){0}, HARNESS_DEADLINE_MS));
    (void)cbm_call_report(&permit, CBM_FAILURE);
    cr_assert(state_is(k.broker->address, "a", "CLOSED"), "it decided nothing");
    cbm_close(client);
    kept_end(&k);
}

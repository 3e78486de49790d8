/*
 * No memory: every allocation of libcbm-core fails in its turn. Each function then says so and has changed nothing, or has done
 * its work without; and it works when there is memory again. The linker puts the functions here before the real ones (--wrap).
 */
#include "core_fixture.h"

#include <stdlib.h>
#include <string.h>

TestSuite(no_memory, .fini = end_of_test);

static int allowed = -1; /* allocations until all fail; -1: none fails */
static int refusals;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);

static bool refused(void)
{
    if (allowed > 0) {
        allowed--;
    } else if (allowed == 0) {
        refusals++;
        return true;
    }
    return false;
}

void *__wrap_malloc(size_t size)
{
    return refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return refused() ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return refused() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
    return refused() ? NULL : __real_strdup(text);
}

/* What can be seen of the manager. The memory is filled first, so that two of them can be compared as bytes. */
typedef struct sight {
    cbm_core_stats stats;
    cbm_core_status a;
    int found;
} sight;

static sight look(void)
{
    sight now;
    memset(&now, 0, sizeof(now));
    cbm_core_stats_get(manager, now_ns, &now.stats);
    now.found = cbm_core_state_of(manager, "a", now_ns, &now.a);
    if (now.found != 0) {
        memset(&now.a, 0, sizeof(now.a));
    }
    return now;
}

/* Does `work` with no memory at all, then with one allocation, and so on, until it does not ask for more. */
static void with_less_and_less_of_a_lack(int (*work)(void))
{
    for (int given_out = 0;; given_out++) {
        sight before = look(), after;
        refusals = 0;
        allowed = given_out;
        int error = work();
        allowed = -1;
        if (error == 0) {
            cr_assert_gt(given_out, 0, "it asks for no memory");
            return;
        }
        cr_assert_gt(refusals, 0, "failed with %d, though there was memory", error);
        cr_assert_eq(error, CBM_CORE_E_NOMEM);
        after = look();
        cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0, "without memory something changed all the same");
    }
}

static const char *policy_wanted = "";

static int get(void)
{
    cbm_core_policy_request request = policy_of(policy_wanted);
    cbm_core_get_result result;
    return cbm_core_get(manager, "a", &request, now_ns, &result);
}

static int begin_anew(void)
{
    cbm_core_policy_request request = policy_of(policy_wanted);
    cbm_core_begin how = {.holder = 7, .policy = &request};
    cbm_core_decision decision;
    return cbm_core_call_begin(manager, "a", &how, now_ns, &decision);
}

static int report_anew(void)
{
    cbm_core_report failure = {.outcome = CBM_CORE_FAILURE, .duration_ns = 5 * MS, .text = "refused"};
    return cbm_core_call_report(manager, "a", NULL, &failure, now_ns, NULL);
}

static int configure(void)
{
    cbm_core_policy_request request = policy_of(policy_wanted);
    int bad_field;
    return cbm_core_configure(manager, "a", &request, now_ns, &bad_field);
}

static int force_open(void)
{
    return cbm_core_control_set(manager, "a", CBM_CORE_CONTROL_FORCE_OPEN, "maintenance", 0, now_ns);
}

static int adopt(void)
{
    cbm_core_policy_request request = policy_of(policy_wanted);
    return cbm_core_adopt(manager, "a", &request, CBM_CORE_OPEN, SECOND, now_ns);
}

static const char *const policies[] = {
    "timeout_ms=1000",
    "timeout_ms=1000 rule=failures window_s=60 failure_threshold=100",
    "timeout_ms=1000 rule=count_window window_size=1000",
    "timeout_ms=1000 rule=time_window window_s=600",
};
enum { POLICIES = sizeof(policies) / sizeof(policies[0]) };

static void for_each_policy(void (*test)(void))
{
    for (int i = 0; i < POLICIES; i++) {
        given_manager(&(cbm_core_options){.no_rate_limit = true});
        policy_wanted = policies[i];
        test();
        end_of_test();
    }
}

Test(no_memory, for_a_manager_is_an_error)
{
    for (int given_out = 0;; given_out++) {
        cbm_core_manager *made = NULL;
        allowed = given_out;
        int error = cbm_core_manager_new(&made, NULL);
        allowed = -1;
        if (error == 0) {
            cbm_core_manager_free(made);
            cr_assert_gt(given_out, 0);
            return;
        }
        cr_assert_eq(error, CBM_CORE_E_NOMEM);
        cr_assert_null(made);
    }
}

static void get_without(void)
{
    with_less_and_less_of_a_lack(get);
    cr_assert_eq(look().found, 0);
}

Test(no_memory, for_a_breaker_creates_none)
{
    for_each_policy(get_without);
}

static void begin_without(void)
{
    with_less_and_less_of_a_lack(begin_anew);
    cr_assert_eq(look().found, 0);
}

Test(no_memory, for_a_breaker_that_a_call_would_create_refuses_the_call)
{
    for_each_policy(begin_without);
}

Test(no_memory, for_a_breaker_that_a_report_would_create_refuses_the_report)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    with_less_and_less_of_a_lack(report_anew);
    cr_assert_eq(statistics().failed_calls, 1);
}

static void adopt_without(void)
{
    with_less_and_less_of_a_lack(adopt);
    assert_state(CBM_CORE_OPEN);
}

Test(no_memory, for_an_adopted_breaker_adopts_none)
{
    for_each_policy(adopt_without);
}

Test(no_memory, for_a_probe_refuses_it)
{
    given("timeout_ms=1000");
    make_due();
    with_less_and_less_of_a_lack(begin_anew);
    cr_assert_eq(status().permits_out, 1);
}

Test(no_memory, for_a_larger_window_leaves_the_policy_and_what_is_recorded)
{
    static const char *const before[] = {"rule=count_window window_size=10", "rule=time_window window_s=10",
                                         "rule=failures window_s=60 failure_threshold=10"};
    static const char *const larger[] = {"window_size=100000", "window_s=3600", "failure_threshold=10000"};
    for (int i = 0; i < 3; i++) {
        given(before[i]);
        fail(3);
        policy_wanted = larger[i];
        with_less_and_less_of_a_lack(configure);
        cr_assert_eq(status().failures, 3);
        end_of_test();
    }
}

Test(no_memory, for_a_reason_leaves_the_state)
{
    given("");
    with_less_and_less_of_a_lack(force_open);
    assert_state(CBM_CORE_FORCED_OPEN);
    cr_assert_str_eq(status().reason, "maintenance");
}

/* An outcome is never lost for want of memory: what opens a breaker opens it; only texts and durations may be missing. */
Test(no_memory, for_texts_and_durations_loses_no_outcome)
{
    for (int i = 0; i < POLICIES; i++) {
        given(policies[i]);
        allowed = 0;
        for (int k = 0; k < 1000 && state() == CBM_CORE_CLOSED; k++) {
            cr_assert_eq(report_anew(), 0);
        }
        allowed = -1;
        assert_state(CBM_CORE_OPEN);
        make_due();
        succeed(i < 2 ? 1 : 10);
        assert_state(CBM_CORE_CLOSED);
        end_of_test();
    }
}

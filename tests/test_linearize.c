/*
 * The checker of histories is checked itself: histories made by hand, good and bad; histories made of what one manager answers,
 * which are good however much their operations are made to overlap, and bad as soon as one answer is another one.
 */
#include "linearize.h"
#include "random.h"
#include "random_policy.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

/* ---- By hand: times in microseconds ---- */

static history h;

static cbm_core_policy policy_of(const char *words)
{
    cbm_core_policy_request request = {0};
    cbm_core_policy policy;

    for (const char *at = words; *at != '\0';) {
        size_t length = strcspn(at, " ");
        size_t name = strcspn(at, "=");
        cr_assert_eq(cbm_core_policy_parse(&request, cbm_core_policy_find(at, name), at + name + 1, length - name - 1),
                     0, "%s", at);
        at += length + strspn(at + length, " ");
    }
    cr_assert_eq(cbm_core_policy_resolve(&request, &policy, NULL), 0);
    return policy;
}

static void given(const char *policy)
{
    memset(&h, 0, sizeof(h));
    h.policy = policy_of(policy);
}

static event *add(int process, event_kind kind, int64_t start_us, int64_t end_us)
{
    event *e = &h.events[h.count++];
    *e = (event){.kind = kind, .process = process, .start_ns = start_us * 1000, .end_ns = end_us * 1000};
    return e;
}

static void permitted(int process, int permit, int64_t start_us, int64_t end_us)
{
    add(process, EVENT_BEGIN, start_us, end_us)->permit = permit;
}

static void probe(int process, int permit, int64_t start_us, int64_t end_us)
{
    event *e = add(process, EVENT_BEGIN, start_us, end_us);
    e->permit = permit;
    e->probe = true;
}

static void refused(int process, int error, int64_t start_us, int64_t end_us)
{
    add(process, EVENT_BEGIN, start_us, end_us)->error = error;
}

static event *reported(int process, int permit, cbm_core_outcome outcome, int64_t start_us, int64_t end_us)
{
    event *e = add(process, EVENT_REPORT, start_us, end_us);
    e->permit = permit;
    e->outcome = outcome;
    return e;
}

/* A call that takes no time to speak of, from start_us on. */
static void call(int process, int permit, cbm_core_outcome outcome, int64_t start_us)
{
    permitted(process, permit, start_us, start_us + 1);
    reported(process, permit, outcome, start_us + 2, start_us + 3);
}

static event_reading *read(int process, cbm_core_state state, int failures, int64_t start_us, int64_t end_us)
{
    event *e = add(process, EVENT_READ, start_us, end_us);
    e->reading = (event_reading){.state = state, .failures = failures};
    return &e->reading;
}

static bool linearizable(void)
{
    linearize_result result;
    linearize(&h, &result);
    return result.linearizable;
}

Test(linearize, nothing_is)
{
    given("");
    cr_assert(linearizable());
}

Test(linearize, a_begin_after_the_deciding_report_is_refused)
{
    given("failure_threshold=1");
    call(0, 0, CBM_CORE_FAILURE, 0);
    refused(1, CBM_CORE_E_OPEN, 10, 20);
    cr_assert(linearizable());
}

Test(linearize, one_that_was_let_through_is_none)
{
    given("failure_threshold=1");
    call(0, 0, CBM_CORE_FAILURE, 0);
    permitted(1, 1, 10, 20);
    cr_assert_not(linearizable());
}

Test(linearize, one_that_overlaps_it_may_have_been_before)
{
    given("failure_threshold=1");
    permitted(0, 0, 0, 1);
    reported(0, 0, CBM_CORE_FAILURE, 2, 11);
    permitted(1, 1, 10, 20);
    cr_assert(linearizable());
}

Test(linearize, two_reports_that_overlap_come_in_either_order)
{
    given("failure_threshold=2");
    call(0, 0, CBM_CORE_FAILURE, 0);
    permitted(0, 1, 10, 11);
    permitted(1, 2, 12, 13);
    reported(0, 1, CBM_CORE_FAILURE, 20, 30);
    reported(1, 2, CBM_CORE_SUCCESS, 20, 30);
    history both = h;
    refused(0, CBM_CORE_E_OPEN, 40, 41); /* failure, failure, late success */
    cr_assert(linearizable());
    h = both;
    permitted(0, 3, 40, 41); /* failure, success, failure */
    cr_assert(linearizable());
    read(0, CBM_CORE_CLOSED, 1, 50, 51)->successful_calls = 1;
    h.events[h.count - 1].reading.failed_calls = 2;
    cr_assert(linearizable());
    h.events[h.count - 1].reading.late_reports = 1;
    cr_assert_not(linearizable(), "late, and yet in time");
}

Test(linearize, a_success_that_was_dropped_is_missed)
{
    given("failure_threshold=2");
    call(0, 0, CBM_CORE_FAILURE, 0);
    call(1, 1, CBM_CORE_SUCCESS, 10);
    call(0, 2, CBM_CORE_FAILURE, 20);
    permitted(1, 3, 30, 31);
    cr_assert(linearizable());
    memmove(&h.events[2], &h.events[4], 3 * sizeof(h.events[0]));
    h.count -= 2;
    cr_assert_not(linearizable());
}

Test(linearize, a_success_that_came_too_late_is_noticed)
{
    given("failure_threshold=2");
    call(0, 0, CBM_CORE_FAILURE, 0);
    call(1, 1, CBM_CORE_SUCCESS, 10);
    call(0, 2, CBM_CORE_FAILURE, 20);
    refused(1, CBM_CORE_E_OPEN, 30, 31); /* as if the success had come after the second failure */
    cr_assert_not(linearizable());
}

Test(linearize, open_ends_when_its_time_is_over)
{
    given("failure_threshold=1 timeout_ms=1");
    call(0, 0, CBM_CORE_FAILURE, 0);
    refused(1, CBM_CORE_E_OPEN, 500, 600);
    history before = h;
    probe(1, 1, 1004, 1010);
    cr_assert(linearizable());
    h = before;
    probe(1, 1, 700, 900);
    cr_assert_not(linearizable(), "too early");
    h = before;
    refused(1, CBM_CORE_E_OPEN, 1003, 1010);
    cr_assert_not(linearizable(), "too late");
    h = before;
    permitted(1, 1, 1004, 1010);
    cr_assert_not(linearizable(), "no probe");
}

Test(linearize, what_is_known_of_its_end_goes_for_all)
{
    given("failure_threshold=1 timeout_ms=1");
    permitted(0, 0, 0, 1);
    reported(0, 0, CBM_CORE_FAILURE, 2, 900); /* it opened somewhen here */
    refused(1, CBM_CORE_E_OPEN, 1500, 1501);  /* not before 500 */
    history before = h;
    probe(2, 1, 1490, 1499);
    cr_assert_not(linearizable());
    h = before;
    refused(2, CBM_CORE_E_OPEN, 1490, 1499);
    probe(0, 1, 1502, 1503);
    cr_assert(linearizable());
}

Test(linearize, half_open_gives_out_as_many_permits_as_it_has)
{
    given("failure_threshold=1 timeout_ms=1 success_threshold=2 half_open_calls=1");
    call(0, 0, CBM_CORE_FAILURE, 0);
    probe(0, 1, 2000, 2010);
    history before = h;
    refused(1, CBM_CORE_E_HALF_OPEN_FULL, 2011, 2012);
    cr_assert(linearizable());
    h = before;
    probe(1, 2, 2011, 2012);
    cr_assert_not(linearizable());
    h = before;
    reported(0, 1, CBM_CORE_SUCCESS, 2011, 2012);
    probe(1, 2, 2013, 2014);
    reported(1, 2, CBM_CORE_SUCCESS, 2015, 2016);
    permitted(0, 3, 2017, 2018);
    cr_assert(linearizable());
    probe(1, 4, 2019, 2020);
    cr_assert_not(linearizable());
}

Test(linearize, a_reset_makes_permits_late)
{
    given("failure_threshold=1");
    permitted(0, 0, 0, 1);
    add(1, EVENT_RESET, 2, 3);
    reported(0, 0, CBM_CORE_FAILURE, 4, 5);
    history before = h;
    permitted(1, 1, 6, 7);
    cr_assert(linearizable());
    h = before;
    refused(1, CBM_CORE_E_OPEN, 6, 7);
    cr_assert_not(linearizable());
}

Test(linearize, a_count_window_evaluates_successes_too)
{
    given("rule=count_window window_size=4 minimum_calls=3 failure_rate=50");
    call(0, 0, CBM_CORE_FAILURE, 0);
    call(1, 1, CBM_CORE_FAILURE, 10);
    call(0, 2, CBM_CORE_SUCCESS, 20);
    history before = h;
    refused(1, CBM_CORE_E_OPEN, 30, 31);
    cr_assert(linearizable());
    h = before;
    permitted(1, 3, 30, 31);
    cr_assert_not(linearizable());
}

Test(linearize, the_second_of_an_outcome_is_one_that_it_touches)
{
    given("rule=time_window window_s=1 minimum_calls=2 failure_rate=50");
    permitted(0, 0, 5000000 - 200, 5000000 - 190);
    permitted(1, 1, 5000000 - 200, 5000000 - 190);
    reported(0, 0, CBM_CORE_FAILURE, 5000000 - 100, 5000000 - 90);
    reported(1, 1, CBM_CORE_FAILURE, 5000000 - 50, 5000000 + 50);
    history before = h;
    permitted(0, 2, 5000000 + 60, 5000000 + 70);
    cr_assert(linearizable(), "the next second");
    h = before;
    refused(0, CBM_CORE_E_OPEN, 5000000 + 60, 5000000 + 70);
    cr_assert(linearizable(), "the same second");
    h.events[3].start_ns = INT64_C(5000000) * 1000 + 1;
    cr_assert_not(linearizable(), "certainly the next second");
}

Test(linearize, a_success_may_be_dated_back_as_far_as_it_is_said)
{
    given("rule=time_window window_s=1 minimum_calls=2 failure_rate=50");
    permitted(0, 0, 5000000 - 200, 5000000 - 190);
    permitted(1, 1, 5000000 - 200, 5000000 - 190);
    reported(0, 0, CBM_CORE_FAILURE, 5000000 - 100, 5000000 - 90);
    reported(1, 1, CBM_CORE_SUCCESS, 5000000 + 10, 5000000 + 11);
    refused(0, CBM_CORE_E_OPEN, 5000000 + 60, 5000000 + 70);
    cr_assert_not(linearizable());
    h.dated_back_ns = 11000;
    cr_assert(linearizable());
    h.dated_back_ns = 9000;
    cr_assert_not(linearizable());
}

/* ---- At random: what one manager answers ---- */

static cbm_core_manager *manager;
static int64_t now_ns;
static cbm_core_permit permits[LINEARIZE_MAX];
static int unreported[LINEARIZE_MAX], unreported_count, permits_count;

static cbm_core_policy draw_policy(cbm_core_policy_request *request)
{
    cbm_core_policy policy;
    *request = random_policy((cbm_core_rule)random_below(4));
    cbm_core_policy_set_number(request, cbm_core_policy_find("jitter", 6), 0);
    cbm_core_policy_set_number(request, cbm_core_policy_find("backoff_multiplier", 18), 1);
    cbm_core_policy_set_number(request, cbm_core_policy_find("failure_spacing_ms", 18), 0);
    cbm_core_policy_set_number(request, cbm_core_policy_find("half_open_max_wait_ms", 21), 0);
    cbm_core_policy_set_number(request, cbm_core_policy_find("permit_lease_ms", 15), 60000);
    if (request->values.rule == CBM_CORE_RULE_FAILURES) {
        cbm_core_policy_set_number(request, cbm_core_policy_find("window_s", 8), 60);
    }
    cr_assert_eq(cbm_core_policy_resolve(request, &policy, NULL), 0);
    return policy;
}

static void do_begin(event *e)
{
    cbm_core_decision decision;
    e->kind = EVENT_BEGIN;
    e->error = cbm_core_call_begin(manager, "a", NULL, now_ns, &decision);
    if (e->error == 0) {
        e->probe = decision.probe;
        e->permit = permits_count;
        permits[permits_count] = decision.permit;
        unreported[unreported_count++] = permits_count++;
    }
}

static void do_report(event *e)
{
    int at = (int)random_below((uint32_t)unreported_count);
    e->kind = EVENT_REPORT;
    e->permit = unreported[at];
    unreported[at] = unreported[--unreported_count];
    e->outcome = (cbm_core_outcome)(random_below(3) ? random_below(2) : random_below(4));
    e->slow = random_below(4) == 0;
    e->open_for_ms = random_below(12) ? 0 : 3;
    cbm_core_report report = {.outcome = e->outcome,
                              .duration_ns = e->slow ? 11 * CBM_CORE_NS_PER_MS : -1,
                              .open_for_ms = (uint32_t)e->open_for_ms};
    cr_assert_eq(cbm_core_call_report(manager, "a", &permits[e->permit], &report, now_ns, NULL), 0);
}

static void do_read(event *e)
{
    cbm_core_status status;
    const cbm_core_statistics *s = &status.statistics;
    e->kind = EVENT_READ;
    cr_assert_eq(cbm_core_state_of(manager, "a", now_ns, &status), 0);
    e->reading = (event_reading){
        .state = status.state,
        .failures = (int)status.failures,
        .successful_calls = (int)s->successful_calls,
        .failed_calls = (int)s->failed_calls,
        .ignored_calls = (int)s->ignored_calls,
        .late_reports = (int)s->late_reports,
        .rejected_calls = (int)s->rejected_calls,
        .state_transitions = (int)s->state_transitions,
    };
}

/* One after the other, each at one time. */
static void make_history(int count)
{
    static const int64_t pauses_ns[] = {
        1, 1000, 1 * CBM_CORE_NS_PER_MS, 3 * CBM_CORE_NS_PER_MS, 10 * CBM_CORE_NS_PER_MS, 400 * CBM_CORE_NS_PER_MS};
    cbm_core_policy_request request;
    memset(&h, 0, sizeof(h));
    h.policy = draw_policy(&request);
    permits_count = unreported_count = 0;
    now_ns = 100 * CBM_CORE_NS_PER_S + random_below(1000) * CBM_CORE_NS_PER_MS;
    cr_assert_eq(cbm_core_manager_new(&manager, &(cbm_core_options){.no_rate_limit = true}), 0);
    cr_assert_eq(cbm_core_get(manager, "a", &request, now_ns, NULL), 0);
    while (h.count < count) {
        event *e = &h.events[h.count++];
        uint32_t drawn = random_below(100);
        now_ns += pauses_ns[random_below(random_below(8) ? 3 : 6)];
        if (drawn < 50 || (drawn < 90 && unreported_count == 0)) {
            do_begin(e);
        } else if (drawn < 90) {
            do_report(e);
        } else if (drawn < 93) {
            e->kind = EVENT_RESET;
            cr_assert_eq(cbm_core_reset(manager, "a", now_ns), 0);
        } else {
            do_read(e);
        }
        e->process = (int)random_below(4);
        e->start_ns = e->end_ns = now_ns;
    }
    now_ns++;
    do_read(&h.events[h.count]);
    h.events[h.count].start_ns = h.events[h.count].end_ns = now_ns;
    h.count++;
    cbm_core_manager_free(manager);
}

/* Each process still does one thing after the other, and a permit is given before it is reported. */
static void make_overlap(void)
{
    for (int i = 0; i < h.count; i++) {
        event *e = &h.events[i];
        int64_t from_ns = e->start_ns - (int64_t)random_below(5000) * 1000;
        for (int j = 0; j < i; j++) {
            const event *before = &h.events[j];
            bool permit = e->kind == EVENT_REPORT && before->kind == EVENT_BEGIN && before->error == 0 &&
                          before->permit == e->permit;
            if ((before->process == e->process || permit) && from_ns <= before->end_ns) {
                from_ns = before->end_ns + 1;
            }
        }
        e->start_ns = from_ns < e->start_ns ? from_ns : e->start_ns;
        if (i + 1 < h.count) {
            /* at most to just before whatever has to come after it */
            int64_t to_ns = e->end_ns + (int64_t)random_below(5000) * 1000;
            for (int j = i + 1; j < h.count; j++) {
                const event *after = &h.events[j];
                bool permit = after->kind == EVENT_REPORT && e->kind == EVENT_BEGIN && e->error == 0 &&
                              after->permit == e->permit;
                if ((after->process == e->process || permit) && to_ns >= after->start_ns) {
                    to_ns = after->start_ns - 1;
                }
            }
            e->end_ns = to_ns > e->end_ns ? to_ns : e->end_ns;
        }
    }
}

static void assert_linearizable(uint64_t number)
{
    linearize_result result;
    linearize(&h, &result);
    if (!result.linearizable) {
        history_print(&h, &result, stderr);
    }
    cr_assert(result.linearizable, "history %" PRIu64, number);
}

Test(linearize, what_one_manager_answers_is)
{
    uint64_t histories = random_test_number("SEQUENCES", 1000000) / 50;
    random_seed_from_environment();
    for (uint64_t number = 0; number < histories; number++) {
        make_history(1 + (int)random_below(20));
        assert_linearizable(number);
        make_overlap();
        assert_linearizable(number);
    }
}

static void make_wrong(event *e)
{
    int *numbers[] = {&e->reading.failures,     &e->reading.successful_calls, &e->reading.failed_calls,
                      &e->reading.late_reports, &e->reading.rejected_calls,   &e->reading.state_transitions,
                      &e->reading.ignored_calls};
    if (e->kind == EVENT_READ) {
        ++*numbers[random_below(7)];
    } else if (e->error != 0) {
        e->error = 0;
        e->permit = LINEARIZE_MAX;
    } else {
        e->error = CBM_CORE_E_OPEN;
    }
}

Test(linearize, another_answer_at_the_same_time_is_not)
{
    uint64_t histories = random_test_number("SEQUENCES", 1000000) / 50;
    random_seed_from_environment();
    for (uint64_t number = 0; number < histories; number++) {
        linearize_result result;
        event *e;
        make_history(1 + (int)random_below(20));
        do {
            e = &h.events[random_below((uint32_t)h.count)];
        } while (e->kind != EVENT_BEGIN && e->kind != EVENT_READ);
        make_wrong(e);
        linearize(&h, &result);
        if (result.linearizable) {
            history_print(&h, &result, stderr);
        }
        cr_assert_not(result.linearizable, "history %" PRIu64 ", event %d", number, (int)(e - h.events));
    }
}

Test(linearize, a_history_that_lost_a_success_is_not)
{
    uint64_t histories = random_test_number("SEQUENCES", 1000000) / 50;
    uint64_t lost = 0;
    random_seed_from_environment();
    for (uint64_t number = 0; number < histories; number++) {
        linearize_result result;
        make_history(20);
        make_overlap();
        for (int i = 0; i < h.count; i++) {
            if (h.events[i].kind == EVENT_REPORT && h.events[i].outcome == CBM_CORE_SUCCESS) {
                memmove(&h.events[i], &h.events[i + 1], (size_t)(h.count - i - 1) * sizeof(event));
                h.count--;
                lost++;
                linearize(&h, &result);
                cr_assert_not(result.linearizable, "history %" PRIu64 " without event %d", number, i);
                break;
            }
        }
    }
    cr_assert_gt(lost, histories / 2);
}

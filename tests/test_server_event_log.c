/* What of the core's events is told, and that refusals which repeat are counted instead. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cbm_core.h"
#include "event_log.h"
#include "log.h"

static int pipe_ends[2];
static cbm_event_log events;

static void set_up(void)
{
    cr_assert_eq(pipe2(pipe_ends, O_NONBLOCK | O_CLOEXEC), 0);
    cbm_log_set_output(pipe_ends[1]);
    cr_assert_eq(cbm_event_log_init(&events, 4), 0);
}

static void tear_down(void)
{
    cbm_event_log_deinit(&events);
    cbm_log_deinit();
}

TestSuite(server_event_log, .init = set_up, .fini = tear_down);

/* What was logged since the last call, without times. */
static const char *logged(void)
{
    static char text[1 << 16];
    ssize_t size;

    cbm_log_flush();
    size = read(pipe_ends[0], text, sizeof text - 1);
    text[size > 0 ? size : 0] = '\0';
    return text;
}

static void rejected(uint32_t slot, int64_t now_ms, const char *correlation_id)
{
    cbm_core_event event = {
        .type = CBM_CORE_EVENT_REJECTED,
        .name = "ha_api",
        .slot = slot,
        .from = CBM_CORE_OPEN,
        .to = CBM_CORE_OPEN,
        .error = CBM_CORE_E_OPEN,
        .retry_after_ns = 1,
        .now_ns = now_ms * CBM_CORE_NS_PER_MS,
    };

    cbm_event_log_add(&events, &event, &(cbm_caller){.correlation_id = correlation_id});
}

static void transition(uint32_t slot, cbm_core_state from, cbm_core_state to, int64_t now_ms)
{
    cbm_core_event event = {
        .type = CBM_CORE_EVENT_TRANSITION,
        .name = "ha_api",
        .slot = slot,
        .from = from,
        .to = to,
        .cause = CBM_CORE_CAUSE_RULE,
        .failures = 5,
        .retry_after_ns = 60 * CBM_CORE_NS_PER_S,
        .now_ns = now_ms * CBM_CORE_NS_PER_MS,
    };

    cbm_event_log_add(&events, &event, NULL);
}

Test(server_event_log, a_transition_says_from_where_to_where_and_why)
{
    transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN, 1);
    cr_assert_not_null(strstr(logged(), "level=warn event=transition breaker=ha_api from=CLOSED to=OPEN cause=rule "
                                        "failures=5 retry_after_ms=60000\n"));
}

Test(server_event_log, a_rejection_has_its_reason_and_the_correlation_id)
{
    rejected(0, 1, "request 17");
    cr_assert_not_null(strstr(logged(), "event=rejected breaker=ha_api error=open state=OPEN retry_after_ms=1 "
                                        "correlation_id=\"request 17\"\n"));
}

Test(server_event_log, repeated_rejections_are_counted_into_one_line_a_second)
{
    rejected(0, 1, "");
    cr_assert_not_null(strstr(logged(), "event=rejected"));
    for (int i = 0; i < 500; i++)
        rejected(0, 2 + i, "");
    cr_assert_str_empty(logged());
    rejected(0, 1001, "");
    cr_assert_not_null(strstr(logged(), " repeated=500\n"));
    rejected(0, 1002, "");
    cr_assert_str_empty(logged());
}

Test(server_event_log, each_breaker_is_counted_for_itself)
{
    rejected(0, 1, "");
    logged();
    rejected(1, 2, "");
    cr_assert_not_null(strstr(logged(), "event=rejected"));
}

Test(server_event_log, a_transition_tells_what_was_counted_and_the_next_rejection_is_a_first_one)
{
    for (int i = 0; i < 8; i++)
        rejected(0, 1, "");
    logged();
    transition(0, CBM_CORE_OPEN, CBM_CORE_HALF_OPEN, 2);
    cr_assert_not_null(strstr(logged(), " rejected_meanwhile=7\n"));
    rejected(0, 3, "");
    cr_assert_not_null(strstr(logged(), "event=rejected"));
}

Test(server_event_log, a_new_breaker_in_a_slot_begins_without_the_old_ones_count)
{
    cbm_core_event created = {.type = CBM_CORE_EVENT_CREATED, .name = "other", .slot = 0, .now_ns = 1};

    rejected(0, 1, "");
    rejected(0, 1, "");
    logged();
    cbm_event_log_add(&events, &created, &(cbm_caller){.uid = 33, .pid = 4711, .correlation_id = "creator"});
    cr_assert_not_null(
        strstr(logged(), "event=created breaker=other state=CLOSED uid=33 pid=4711 correlation_id=creator\n"));
    transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN, 3);
    cr_assert_null(strstr(logged(), "rejected_meanwhile"));
}

Test(server_event_log, the_rate_limiters_refusals_are_counted_too)
{
    cbm_core_event limited = {.type = CBM_CORE_EVENT_RATE_LIMITED, .name = "a", .error = CBM_CORE_E_RATE_LIMITED};

    for (int i = 0; i < 10; i++) {
        limited.now_ns = 1 + i;
        cbm_event_log_add(&events, &limited, &(cbm_caller){.correlation_id = ""});
    }
    cr_assert_not_null(strstr(logged(), "level=warn event=rate_limited breaker=a\n"));
    limited.now_ns = 2 * CBM_CORE_NS_PER_S;
    cbm_event_log_add(&events, &limited, &(cbm_caller){.correlation_id = ""});
    cr_assert_not_null(strstr(logged(), " repeated=9\n"));
}

Test(server_event_log, differs_names_the_fields)
{
    cbm_core_event differs = {
        .type = CBM_CORE_EVENT_DIFFERS,
        .name = "ha_api",
        .differing = 1u << cbm_core_policy_find("failure_threshold", 17) | 1u << cbm_core_policy_find("timeout_ms", 10),
    };

    cbm_event_log_add(&events, &differs, NULL);
    cr_assert_not_null(strstr(logged(), "event=differs breaker=ha_api fields=failure_threshold,timeout_ms\n"));
}

static int lines_that_contain(const char *text, const char *wanted)
{
    int count = 0;

    for (const char *at = strstr(text, wanted); at; at = strstr(at + 1, wanted))
        count++;
    return count;
}

static void reset_at(int64_t now_ms)
{
    cbm_core_event event = {.type = CBM_CORE_EVENT_RESET, .name = "x", .now_ns = now_ms * CBM_CORE_NS_PER_MS};

    cbm_event_log_add(&events, &event, NULL);
}

Test(server_event_log, of_a_flood_so_many_lines_a_second_are_told_and_the_others_counted)
{
    int told = 0;

    for (int i = 0; i < CBM_EVENT_LINES_A_SECOND + 700; i++) {
        reset_at(5000 + i % 1000);
        if (i % 100 == 0) /* the pipe holds some hundred */
            told += lines_that_contain(logged(), "event=reset");
    }
    told += lines_that_contain(logged(), "event=reset");
    cr_assert_eq(told, CBM_EVENT_LINES_A_SECOND);
    reset_at(6000);
    cr_assert_not_null(strstr(logged(), "level=info event=events_not_told count=700\n"));
    reset_at(6001);
    cr_assert_eq(lines_that_contain(logged(), "event="), 1, "told once");
}

Test(server_event_log, a_flood_of_others_keeps_no_warning_away)
{
    for (int i = 0; i < CBM_EVENT_LINES_A_SECOND + 1; i++)
        reset_at(5000);
    while (*logged())
        continue;
    transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN, 5000);
    cr_assert_not_null(strstr(logged(), "level=warn event=transition"));
}

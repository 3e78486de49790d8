/*
 * What the suites of libcbm-core share: one manager, a clock that stands still until it is told to move, and verbs short
 * enough that a test reads as its statement. Criterion runs each test in a process of its own, so these are globals.
 */
#ifndef CBM_TEST_CORE_FIXTURE_H
#define CBM_TEST_CORE_FIXTURE_H

#include "cbm_core.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

extern cbm_core_manager *manager;
extern int64_t now_ns; /* the fake clock; begins at an odd time in the middle of a second */

/* What the manager told, in order. */
#define TOLD_MAX 256
typedef struct told {
    cbm_core_event event;
    char name[CBM_CORE_NAME_MAX + 1];
} told;
extern told events[TOLD_MAX];
extern int events_count;
const cbm_core_event *last_event(cbm_core_event_type type); /* NULL: none of that type */
int count_events(cbm_core_event_type type);

/* "rule=failures failure_threshold=3 window_s=10" */
cbm_core_policy_request policy_of(const char *words);
int field(const char *name);

/* A manager without a limiter in which the breaker "a" has that policy; released when the test ends. */
void given(const char *policy);
void given_manager(const cbm_core_options *options);
void end_of_test(void); /* for .fini */

void advance_ms(int64_t milliseconds);
void advance_ns(int64_t nanoseconds);

/* Of breaker "a". begin asserts that the call passes. */
cbm_core_permit begin(void);
cbm_core_permit begin_held(uint64_t holder, int64_t lease_ms); /* lease_ms -1: the policy's */
int try_begin(cbm_core_decision *decision);                    /* decision may be NULL */
void report(cbm_core_permit permit, cbm_core_outcome outcome);
void report_open_for(const cbm_core_permit *permit, cbm_core_outcome outcome, uint32_t open_for_ms);
void report_lasting(cbm_core_outcome outcome, int64_t duration_ms); /* begin and report */
void observe(cbm_core_outcome outcome);                             /* a report without a permit */
void succeed(int times);                                            /* begin and report, so many times */
void fail(int times);
void control(cbm_core_control control, uint32_t for_ms);
void reset(void);

cbm_core_status status(void);
cbm_core_statistics statistics(void);
cbm_core_state state(void);
int64_t retry_after_ms(void);

/* The breaker is OPEN by its rule, and its time is not over. */
void make_open(void);
/* OPEN is over: the next begin is a probe. */
void make_due(void);

#define MS CBM_CORE_NS_PER_MS
#define SECOND CBM_CORE_NS_PER_S

#define assert_state(expected) cr_assert_str_eq(cbm_core_state_name(state()), cbm_core_state_name(expected))
#define assert_refused(error) cr_assert_eq(try_begin(NULL), error)

#endif

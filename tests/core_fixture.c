#include "core_fixture.h"

#include <string.h>

cbm_core_manager *manager;
int64_t now_ns = 1234 * CBM_CORE_NS_PER_S + 567891011;
told events[TOLD_MAX];
int events_count;

static void on_event(void *context, const cbm_core_event *event)
{
    (void)context;
    if (events_count < TOLD_MAX) {
        told *entry = &events[events_count++];
        entry->event = *event;
        cbm_core_text_copy(entry->name, sizeof(entry->name), event->name, strlen(event->name));
        entry->event.name = entry->name;
    }
}

const cbm_core_event *last_event(cbm_core_event_type type)
{
    for (int i = events_count - 1; i >= 0; i--) {
        if (events[i].event.type == type) {
            return &events[i].event;
        }
    }
    return NULL;
}

int count_events(cbm_core_event_type type)
{
    int count = 0;
    for (int i = 0; i < events_count; i++) {
        count += events[i].event.type == type;
    }
    return count;
}

int field(const char *name)
{
    int row = cbm_core_policy_find(name, strlen(name));
    cr_assert_geq(row, 0, "no policy field %s", name);
    return row;
}

cbm_core_policy_request policy_of(const char *words)
{
    cbm_core_policy_request request = {0};
    const char *at = words ? words : "";
    while (*at) {
        size_t length = strcspn(at, " ");
        size_t name_length = strcspn(at, "=");
        int row = cbm_core_policy_find(at, name_length);
        cr_assert_geq(row, 0, "no policy field in \"%s\"", at);
        int error = cbm_core_policy_parse(&request, row, at + name_length + 1, length - name_length - 1);
        cr_assert_eq(error, 0, "not a value in \"%s\"", at);
        at += length;
        at += strspn(at, " ");
    }
    return request;
}

void given_manager(const cbm_core_options *options)
{
    cbm_core_options effective = *options;
    if (!effective.on_event) {
        effective.on_event = on_event;
    }
    cr_assert_eq(cbm_core_manager_new(&manager, &effective), 0);
}

void given(const char *policy)
{
    given_manager(&(cbm_core_options){.no_rate_limit = true});
    cbm_core_policy_request request = policy_of(policy);
    cbm_core_get_result result;
    cr_assert_eq(cbm_core_get(manager, "a", &request, now_ns, &result), 0);
    cr_assert(result.created);
}

void end_of_test(void)
{
    cbm_core_manager_free(manager);
    manager = NULL;
}

void advance_ns(int64_t nanoseconds)
{
    now_ns += nanoseconds;
}

void advance_ms(int64_t milliseconds)
{
    now_ns += milliseconds * MS;
}

int try_begin(cbm_core_decision *decision)
{
    cbm_core_decision unused;
    cbm_core_begin by_nobody = {0};
    return cbm_core_call_begin(manager, "a", &by_nobody, now_ns, decision ? decision : &unused);
}

cbm_core_permit begin_held(uint64_t holder, int64_t lease_ms)
{
    cbm_core_begin how = {
        .holder = holder, .lease_given = lease_ms >= 0, .lease_ms = lease_ms >= 0 ? (uint32_t)lease_ms : 0};
    cbm_core_decision decision;
    int error = cbm_core_call_begin(manager, "a", &how, now_ns, &decision);
    cr_assert_eq(error, 0, "a call that should pass was refused: %d", error);
    return decision.permit;
}

cbm_core_permit begin(void)
{
    return begin_held(0, -1);
}

static void report_as(const cbm_core_permit *permit, const cbm_core_report *report)
{
    cr_assert_eq(cbm_core_call_report(manager, "a", permit, report, now_ns, NULL), 0);
}

void report(cbm_core_permit permit, cbm_core_outcome outcome)
{
    report_as(&permit, &(cbm_core_report){.outcome = outcome, .duration_ns = -1});
}

void report_open_for(const cbm_core_permit *permit, cbm_core_outcome outcome, uint32_t open_for_ms)
{
    report_as(permit, &(cbm_core_report){.outcome = outcome, .duration_ns = -1, .open_for_ms = open_for_ms});
}

void report_lasting(cbm_core_outcome outcome, int64_t duration_ms)
{
    cbm_core_permit permit = begin();
    report_as(&permit, &(cbm_core_report){.outcome = outcome, .duration_ns = duration_ms * MS});
}

void observe(cbm_core_outcome outcome)
{
    report_as(NULL, &(cbm_core_report){.outcome = outcome, .duration_ns = -1});
}

void succeed(int times)
{
    for (int i = 0; i < times; i++) {
        report(begin(), CBM_CORE_SUCCESS);
    }
}

void fail(int times)
{
    for (int i = 0; i < times; i++) {
        report(begin(), CBM_CORE_FAILURE);
    }
}

void control(cbm_core_control what, uint32_t for_ms)
{
    cr_assert_eq(cbm_core_control_set(manager, "a", what, NULL, for_ms, now_ns), 0);
}

void reset(void)
{
    cr_assert_eq(cbm_core_reset(manager, "a", now_ns), 0);
}

cbm_core_status status(void)
{
    cbm_core_status now;
    cr_assert_eq(cbm_core_state_of(manager, "a", now_ns, &now), 0);
    return now;
}

cbm_core_statistics statistics(void)
{
    return status().statistics;
}

cbm_core_state state(void)
{
    return status().state;
}

int64_t retry_after_ms(void)
{
    int64_t ns = status().retry_after_ns;
    return ns < 0 ? ns : ns / MS;
}

void make_open(void)
{
    for (int i = 0; i < 1000 && state() == CBM_CORE_CLOSED; i++) {
        fail(1);
    }
    assert_state(CBM_CORE_OPEN);
}

void make_due(void)
{
    if (state() != CBM_CORE_OPEN) {
        make_open();
    }
    advance_ns(status().retry_after_ns);
    cr_assert(status().due);
}

#include "event_log.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "log.h"
#include "message.h"

#define REFUSAL_SPACING_NS CBM_CORE_NS_PER_S

int cbm_event_log_init(cbm_event_log *log, uint32_t slots)
{
    *log = (cbm_event_log){.slots = slots};
    log->rejections = calloc(slots, sizeof *log->rejections);
    return log->rejections ? 0 : CBM_CORE_E_NOMEM;
}

void cbm_event_log_deinit(cbm_event_log *log)
{
    free(log->rejections);
    *log = (cbm_event_log){0};
}

static const char *event_name(cbm_core_event_type type)
{
    switch (type) {
    case CBM_CORE_EVENT_CREATED: return "created";
    case CBM_CORE_EVENT_REMOVED: return "removed";
    case CBM_CORE_EVENT_TRANSITION: return "transition";
    case CBM_CORE_EVENT_RESET: return "reset";
    case CBM_CORE_EVENT_REJECTED: return "rejected";
    case CBM_CORE_EVENT_RATE_LIMITED: return "rate_limited";
    case CBM_CORE_EVENT_LEASE_EXPIRED: return "lease_expired";
    case CBM_CORE_EVENT_ABANDONED: return "abandoned";
    case CBM_CORE_EVENT_DIFFERS: return "differs";
    case CBM_CORE_EVENT_POLICY_CHANGED: return "policy_changed";
    }
    return "unknown";
}

static cbm_log_level event_level(const cbm_core_event *event)
{
    switch (event->type) {
    case CBM_CORE_EVENT_TRANSITION: return event->to == CBM_CORE_OPEN ? CBM_LOG_WARN : CBM_LOG_INFO;
    case CBM_CORE_EVENT_RATE_LIMITED:
    case CBM_CORE_EVENT_LEASE_EXPIRED:
    case CBM_CORE_EVENT_ABANDONED:
    case CBM_CORE_EVENT_DIFFERS: return CBM_LOG_WARN;
    default: return CBM_LOG_INFO;
    }
}

static void add_differing(cbm_log_line *line, uint32_t differing)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    char names[512] = "";
    size_t size = 0;

    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        size_t length = strlen(table[i].name);

        if (!(differing >> i & 1) || size + length + 2 > sizeof names)
            continue;
        if (size)
            names[size++] = ',';
        memcpy(names + size, table[i].name, length + 1);
        size += length;
    }
    cbm_log_line_string(line, "fields", names);
}

static void add_fields(cbm_log_line *line, const cbm_core_event *event)
{
    switch (event->type) {
    case CBM_CORE_EVENT_TRANSITION:
        cbm_log_line_string(line, "from", cbm_core_state_name(event->from));
        cbm_log_line_string(line, "to", cbm_core_state_name(event->to));
        cbm_log_line_string(line, "cause", cbm_core_cause_name(event->cause));
        cbm_log_line_uint(line, "failures", event->failures);
        if (event->to == CBM_CORE_OPEN)
            cbm_log_line_int(line, "retry_after_ms", cbm_ms_round_up(event->retry_after_ns));
        break;
    case CBM_CORE_EVENT_REJECTED:
        cbm_log_line_string(line, "error", cbm_proto_error_name(event->error));
        cbm_log_line_string(line, "state", cbm_core_state_name(event->to));
        cbm_log_line_int(line, "retry_after_ms", cbm_ms_round_up(event->retry_after_ns));
        break;
    case CBM_CORE_EVENT_DIFFERS: add_differing(line, event->differing); break;
    default: cbm_log_line_string(line, "state", cbm_core_state_name(event->to)); break;
    }
}

/* The refusals that this event belongs to, or NULL. */
static cbm_refusals *refusals_of(cbm_event_log *log, const cbm_core_event *event)
{
    if (event->type == CBM_CORE_EVENT_RATE_LIMITED)
        return &log->rate_limited;
    return event->type == CBM_CORE_EVENT_REJECTED && event->slot < log->slots ? &log->rejections[event->slot] : NULL;
}

static bool repeats(const cbm_refusals *refusals, int64_t now_ns)
{
    return refusals->logged_ns && now_ns - refusals->logged_ns < REFUSAL_SPACING_NS;
}

/* What was counted of a slot and not told, when something else happens to it: told there, and the next is a first one. */
static uint32_t take_untold(cbm_event_log *log, const cbm_core_event *event)
{
    uint32_t untold;

    if (event->type != CBM_CORE_EVENT_TRANSITION && event->type != CBM_CORE_EVENT_REMOVED &&
        event->type != CBM_CORE_EVENT_CREATED)
        return 0;
    if (event->slot >= log->slots)
        return 0;
    untold = log->rejections[event->slot].untold;
    log->rejections[event->slot] = (cbm_refusals){0};
    return event->type == CBM_CORE_EVENT_CREATED ? 0 : untold;
}

/* Whether there may be one more line of that level; tells of those that might not be, as soon as there may. */
static bool take_line(cbm_event_log *log, cbm_log_level level, int64_t now_ns)
{
    cbm_event_lines *lines = level == CBM_LOG_WARN ? &log->warnings : &log->others;
    cbm_log_line line;

    if (now_ns - lines->since_ns >= CBM_CORE_NS_PER_S) {
        if (lines->untold) {
            cbm_log_line_begin(&line, level, "events_not_told");
            cbm_log_line_uint(&line, "count", lines->untold);
            cbm_log_line_queue(&line);
        }
        *lines = (cbm_event_lines){.since_ns = now_ns};
    }
    if (lines->told == CBM_EVENT_LINES_A_SECOND) {
        lines->untold++;
        return false;
    }
    lines->told++;
    return true;
}

static void add_caller(cbm_log_line *line, const cbm_core_event *event, const cbm_caller *caller)
{
    if (event->type == CBM_CORE_EVENT_CREATED) {
        cbm_log_line_uint(line, "uid", caller->uid);
        if (caller->pid)
            cbm_log_line_int(line, "pid", caller->pid);
    }
    if (caller->correlation_id && caller->correlation_id[0])
        cbm_log_line_string(line, "correlation_id", caller->correlation_id);
}

void cbm_event_log_add(cbm_event_log *log, const cbm_core_event *event, const cbm_caller *caller)
{
    cbm_refusals *refusals = refusals_of(log, event);
    cbm_log_level level = event_level(event);
    cbm_log_line line;
    uint32_t untold;

    if (refusals && repeats(refusals, event->now_ns)) {
        refusals->untold++;
        return;
    }
    untold = refusals ? refusals->untold : take_untold(log, event);
    if (refusals)
        *refusals = (cbm_refusals){.logged_ns = event->now_ns ? event->now_ns : 1};
    if (!cbm_log_enabled(level) || !take_line(log, level, event->now_ns))
        return;
    cbm_log_line_begin(&line, level, event_name(event->type));
    if (event->name[0])
        cbm_log_line_string(&line, "breaker", event->name);
    if (event->type != CBM_CORE_EVENT_RATE_LIMITED)
        add_fields(&line, event);
    if (untold)
        cbm_log_line_uint(&line, refusals ? "repeated" : "rejected_meanwhile", untold);
    if (caller)
        add_caller(&line, event, caller);
    cbm_log_line_queue(&line);
}

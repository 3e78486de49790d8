#include "policy.h"

#include <string.h>

#define DAYS_30_MS UINT32_C(2592000000)
#define HALF_OPEN_CALLS_OF_WINDOWS 10
#define FAILURES_THRESHOLD_MAX 10000
#define WINDOW_S_MAX 3600 /* but not under the rule failures, which keeps times, not seconds */
#define TIMEOUT_MAX_MS_LEAST 3600000

enum field {
    RULE,
    FAILURE_THRESHOLD,
    WINDOW_SIZE,
    WINDOW_S,
    MINIMUM_CALLS,
    FAILURE_RATE,
    SLOW_CALL_RATE,
    SLOW_CALL_DURATION_MS,
    TIMEOUT_MS,
    TIMEOUT_MAX_MS,
    BACKOFF_MULTIPLIER,
    JITTER,
    SUCCESS_THRESHOLD,
    HALF_OPEN_CALLS,
    HALF_OPEN_MAX_WAIT_MS,
    PERMIT_LEASE_MS,
    ON_ABANDON,
    FAILURE_SPACING_MS,
    OPEN_FOR_MAX_MS,
    EXPIRE_AFTER_S,
    POLICY_VERSION,
};

_Static_assert(POLICY_VERSION + 1 == CBM_CORE_POLICY_FIELDS, "a row of the table for each field");
_Static_assert(sizeof(cbm_core_policy) == CBM_CORE_POLICY_FIELDS * sizeof(uint32_t), "a member for each row");

static const char *const rule_words[] = {"consecutive", "failures", "count_window", "time_window", NULL};
static const char *const on_abandon_words[] = {"failure", "release", NULL};

/* name, kind, scale, minimum, maximum, zero_allowed, default, default_text, words, help */
static const cbm_core_policy_field table[CBM_CORE_POLICY_FIELDS] = {
    {"rule", CBM_CORE_FIELD_WORD, 1, 0, 3, false, 0, "consecutive", rule_words,
     "What opens the breaker: failures in a row (consecutive), failures within window_s seconds (failures), or rates "
     "over the "
     "last window_size calls (count_window) or the last window_s seconds (time_window)."},
    {"failure_threshold", CBM_CORE_FIELD_UINT, 1, 1, 1000000, false, 5, "5", NULL,
     "Failures that open the breaker, under the rules consecutive and failures (there at most 10000)."},
    {"window_size", CBM_CORE_FIELD_UINT, 1, 1, 100000, false, 100, "100", NULL,
     "Last outcomes that a count_window looks at."},
    {"window_s", CBM_CORE_FIELD_UINT, 1, 1, 604800, false, 60, "60", NULL,
     "Seconds that a time_window (at most 3600) or the rule failures (which requires it) looks back."},
    {"minimum_calls", CBM_CORE_FIELD_UINT, 1, 1, 1000000, false, 100, "100", NULL,
     "Outcomes that a window must hold before its rates count; in a count_window more than window_size count as "
     "window_size, and are shown so."},
    {"failure_rate", CBM_CORE_FIELD_NUMBER, 10, 1, 1000, false, 500, "50", NULL,
     "Percentage of failures in the window that opens the breaker, in tenths."},
    {"slow_call_rate", CBM_CORE_FIELD_NUMBER, 10, 1, 1000, false, 1000, "100", NULL,
     "Percentage of slow calls in the window that opens the breaker, in tenths."},
    {"slow_call_duration_ms", CBM_CORE_FIELD_UINT, 1, 1, 86400000, false, 60000, "60000", NULL,
     "A call that takes longer than this is slow."},
    {"timeout_ms", CBM_CORE_FIELD_UINT, 1, 1, DAYS_30_MS, false, 60000, "60000", NULL,
     "How long the breaker stays open before it lets a probe through."},
    {"timeout_max_ms", CBM_CORE_FIELD_UINT, 1, 1, DAYS_30_MS, false, TIMEOUT_MAX_MS_LEAST,
     "the larger of timeout_ms and 3600000", NULL, "The longest that backoff_multiplier can make timeout_ms."},
    {"backoff_multiplier", CBM_CORE_FIELD_NUMBER, 1000, 1000, 10000, false, 1000, "1", NULL,
     "Each re-opening in a row stays open for this many times as long as the one before."},
    {"jitter", CBM_CORE_FIELD_NUMBER, 1000, 0, 1000, false, 0, "0", NULL,
     "Up to this share of the open time is added to it at random, so that breakers that opened together do not probe "
     "together."},
    {"success_threshold", CBM_CORE_FIELD_UINT, 1, 1, 1000, false, 1, "1", NULL,
     "Successful probes that close the breaker, under the rules consecutive and failures."},
    {"half_open_calls", CBM_CORE_FIELD_UINT, 1, 1, 1000, false, 1, "1; windows 10", NULL,
     "Probes that may be out at the same time; under the window rules, probes in all."},
    {"half_open_max_wait_ms", CBM_CORE_FIELD_UINT, 1, 1, DAYS_30_MS, true, 0, "0", NULL,
     "After so long in half-open without a decision the breaker opens again; 0: no limit."},
    {"permit_lease_ms", CBM_CORE_FIELD_UINT, 1, 1, DAYS_30_MS, true, 60000, "timeout_ms", NULL,
     "A probe that is not reported within this counts as a failure; 0: it may take as long as its holder lives."},
    {"on_abandon", CBM_CORE_FIELD_WORD, 1, 0, 1, false, 0, "failure", on_abandon_words,
     "What becomes of a probe whose holder died: a failure, or given back as if it had not been (release)."},
    {"failure_spacing_ms", CBM_CORE_FIELD_UINT, 1, 1, DAYS_30_MS, true, 0, "0", NULL,
     "A failure less than this after the last one that counted does not count (consecutive, failures); 0: each "
     "counts."},
    {"open_for_max_ms", CBM_CORE_FIELD_UINT, 1, 1, 86400000, false, 3600000, "3600000", NULL,
     "The longest that a report may ask the breaker to stay open with open_for_ms (Retry-After)."},
    {"expire_after_s", CBM_CORE_FIELD_UINT, 1, 1, UINT32_MAX - 1, true, 86400, "86400", NULL,
     "A closed breaker without failures that nobody used for this long is forgotten; 0: never."},
    {"policy_version", CBM_CORE_FIELD_UINT, 1, 1, UINT32_MAX - 1, true, 0, "0", NULL,
     "A policy with a higher version replaces the one in force; 0: no version."},
};

const cbm_core_policy_field *cbm_core_policy_table(void)
{
    return table;
}

int cbm_core_policy_find(const char *name, size_t length)
{
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0) {
            return i;
        }
    }
    return -1;
}

uint32_t cbm_core_policy_value(const cbm_core_policy *policy, int field)
{
    uint32_t value = 0;

    if (field >= 0 && field < CBM_CORE_POLICY_FIELDS) {
        memcpy(&value, (const char *)policy + (size_t)field * sizeof(value), sizeof(value));
    }
    return value;
}

void core_policy_put(cbm_core_policy *policy, int field, uint32_t value)
{
    memcpy((char *)policy + (size_t)field * sizeof(value), &value, sizeof(value));
}

static bool in_range(const cbm_core_policy_field *row, uint64_t steps)
{
    return (steps == 0 && row->zero_allowed) || (steps >= row->minimum && steps <= row->maximum);
}

static int set_steps(cbm_core_policy_request *request, int field, uint64_t steps)
{
    if (!in_range(&table[field], steps)) {
        return CBM_CORE_E_INVALID;
    }
    core_policy_put(&request->values, field, (uint32_t)steps);
    request->given |= UINT32_C(1) << field;
    return CBM_CORE_OK;
}

static const cbm_core_policy_field *row_of(int field)
{
    return field >= 0 && field < CBM_CORE_POLICY_FIELDS ? &table[field] : NULL;
}

int cbm_core_policy_set_number(cbm_core_policy_request *request, int field, double value)
{
    const cbm_core_policy_field *row = row_of(field);
    double scaled;
    double off;
    uint64_t steps;

    if (row == NULL || row->kind == CBM_CORE_FIELD_WORD || !(value >= 0 && value <= UINT32_MAX)) {
        return CBM_CORE_E_INVALID;
    }
    scaled = value * row->scale;
    steps = (uint64_t)(scaled + 0.5);
    off = scaled - (double)steps;
    /* 33.3 * 10 is not quite 333 in binary; an integer must be one. */
    if (row->scale == 1 ? off != 0 : off > 1e-6 || off < -1e-6) {
        return CBM_CORE_E_INVALID;
    }
    return set_steps(request, field, steps);
}

int cbm_core_policy_set_word(cbm_core_policy_request *request, int field, const char *word, size_t length)
{
    const cbm_core_policy_field *row = row_of(field);

    if (row == NULL || row->kind != CBM_CORE_FIELD_WORD) {
        return CBM_CORE_E_INVALID;
    }
    for (uint32_t i = 0; row->words[i] != NULL; i++) {
        if (strlen(row->words[i]) == length && memcmp(row->words[i], word, length) == 0) {
            return set_steps(request, field, i);
        }
    }
    return CBM_CORE_E_INVALID;
}

/* "33.3" in steps of 1/scale: exact, no rounding. Digits, and a point with digits after it; nothing else. */
static bool parse_steps(const char *text, size_t length, uint32_t scale, uint64_t *steps)
{
    uint64_t value = 0;
    size_t at = 0;

    for (; at < length && text[at] >= '0' && text[at] <= '9'; at++) {
        value = value * 10 + (uint64_t)(text[at] - '0');
        if (value > UINT32_MAX) {
            return false;
        }
    }
    if (at == 0) {
        return false;
    }
    value *= scale;
    if (at < length) {
        if (text[at] != '.' || ++at == length) {
            return false;
        }
        for (uint32_t step = scale / 10; at < length; at++, step /= 10) {
            if (text[at] < '0' || text[at] > '9' || (step == 0 && text[at] != '0')) {
                return false;
            }
            value += (uint64_t)(text[at] - '0') * step;
        }
    }
    *steps = value;
    return true;
}

int cbm_core_policy_parse(cbm_core_policy_request *request, int field, const char *text, size_t length)
{
    const cbm_core_policy_field *row = row_of(field);
    uint64_t steps;

    if (row == NULL || text == NULL) {
        return CBM_CORE_E_INVALID;
    }
    if (row->kind == CBM_CORE_FIELD_WORD) {
        return cbm_core_policy_set_word(request, field, text, length);
    }
    if (!parse_steps(text, length, row->scale, &steps)) {
        return CBM_CORE_E_INVALID;
    }
    return set_steps(request, field, steps);
}

static bool is_given(const cbm_core_policy_request *request, int field)
{
    return (request->given >> field & 1) != 0;
}

/* Defaults that depend on other fields. */
static void fill_dependent(const cbm_core_policy_request *request, cbm_core_policy *policy)
{
    bool windows = policy->rule == CBM_CORE_RULE_COUNT_WINDOW || policy->rule == CBM_CORE_RULE_TIME_WINDOW;

    if (!is_given(request, HALF_OPEN_CALLS) && windows) {
        policy->half_open_calls = HALF_OPEN_CALLS_OF_WINDOWS;
    }
    if (!is_given(request, PERMIT_LEASE_MS)) {
        policy->permit_lease_ms = policy->timeout_ms;
    }
    if (!is_given(request, TIMEOUT_MAX_MS) && policy->timeout_max_ms < policy->timeout_ms) {
        policy->timeout_max_ms = policy->timeout_ms;
    }
    if (policy->rule == CBM_CORE_RULE_COUNT_WINDOW && policy->minimum_calls > policy->window_size) {
        policy->minimum_calls = policy->window_size; /* more can never be in the window */
    }
}

/* The field to blame for a contradiction, or -1. */
static int contradiction(const cbm_core_policy_request *request, const cbm_core_policy *policy)
{
    if (policy->rule == CBM_CORE_RULE_FAILURES) {
        if (!is_given(request, WINDOW_S)) {
            return WINDOW_S; /* no default would do: 60 s never opens for a job that runs every five minutes */
        }
        if (policy->failure_threshold > FAILURES_THRESHOLD_MAX) {
            return FAILURE_THRESHOLD;
        }
    } else if (policy->window_s > WINDOW_S_MAX) {
        return WINDOW_S;
    }
    return policy->timeout_max_ms < policy->timeout_ms ? TIMEOUT_MAX_MS : -1;
}

bool core_policy_is_in_range(const cbm_core_policy_request *request)
{
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        if (is_given(request, i) && !in_range(&table[i], cbm_core_policy_value(&request->values, i))) {
            return false;
        }
    }
    return true;
}

int cbm_core_policy_resolve(const cbm_core_policy_request *request, cbm_core_policy *policy, int *bad_field)
{
    static const cbm_core_policy_request nothing;
    cbm_core_policy resolved;
    int bad = -1;

    if (request == NULL) {
        request = &nothing;
    }
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS && bad < 0; i++) {
        uint32_t value = table[i].default_value;

        if (is_given(request, i)) {
            value = cbm_core_policy_value(&request->values, i);
            bad = in_range(&table[i], value) ? -1 : i;
        }
        core_policy_put(&resolved, i, value);
    }
    if (bad < 0) {
        fill_dependent(request, &resolved);
        bad = contradiction(request, &resolved);
    }
    if (bad_field != NULL) {
        *bad_field = bad;
    }
    if (bad >= 0) {
        return CBM_CORE_E_INVALID;
    }
    *policy = resolved;
    return CBM_CORE_OK;
}

void core_policy_merge(cbm_core_policy_request *merged, const cbm_core_policy_request *under,
                       const cbm_core_policy_request *over)
{
    cbm_core_policy_request result = *under;

    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        if (is_given(over, i)) {
            core_policy_put(&result.values, i, cbm_core_policy_value(&over->values, i));
        }
    }
    result.given |= over->given;
    *merged = result;
}

void core_policy_normalize(cbm_core_policy_request *normal, const cbm_core_policy_request *request)
{
    cbm_core_policy_request result = {.given = request->given & CORE_POLICY_ALL_FIELDS};

    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        if (is_given(request, i)) {
            core_policy_put(&result.values, i, cbm_core_policy_value(&request->values, i));
        }
    }
    *normal = result;
}

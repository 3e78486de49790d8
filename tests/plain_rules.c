#include "plain_rules.h"

#include <string.h>

static bool has_rates(const cbm_core_policy *policy)
{
    return policy->rule == CBM_CORE_RULE_COUNT_WINDOW || policy->rule == CBM_CORE_RULE_TIME_WINDOW;
}

void plain_init(plain_breaker *b, int64_t now_ns)
{
    memset(b, 0, sizeof(*b));
    b->now_ns = now_ns;
    b->epoch = 1;
    b->state = CBM_CORE_CLOSED;
}

/* ---- Time ---- */

static bool take_time(plain_breaker *b, int64_t from_ns, int64_t to_ns)
{
    b->now_ns = b->now_ns > from_ns ? b->now_ns : from_ns;
    return b->now_ns <= to_ns;
}

static void advance_to_second(plain_breaker *b, int64_t second)
{
    for (; b->second < second; b->second++) {
        memmove(&b->seconds[1], &b->seconds[0], sizeof(b->seconds) - sizeof(b->seconds[0]));
        b->seconds[0] = (plain_totals){0};
        if (second - b->second > 2 * PLAIN_SECONDS_MAX) {
            b->second = second - 2 * PLAIN_SECONDS_MAX;
        }
    }
}

/* ---- What is recorded in CLOSED ---- */

static void add(plain_totals *totals, bool failure, bool slow)
{
    totals->calls++;
    totals->failures += failure;
    totals->slow += slow;
}

static plain_totals window_totals(const plain_breaker *b, const cbm_core_policy *policy)
{
    plain_totals totals = {0};

    if (policy->rule == CBM_CORE_RULE_COUNT_WINDOW) {
        for (int i = 0; i < b->window_count; i++) {
            add(&totals, (b->window[i] & 1) != 0, (b->window[i] & 2) != 0);
        }
        return totals;
    }
    for (uint32_t i = 0; i < policy->window_s && i < PLAIN_SECONDS_MAX; i++) {
        totals.calls += b->seconds[i].calls;
        totals.failures += b->seconds[i].failures;
        totals.slow += b->seconds[i].slow;
    }
    return totals;
}

static bool rates_open(const plain_totals *totals, const cbm_core_policy *policy)
{
    return totals->failures * 1000 >= (int)policy->failure_rate_tenths * totals->calls ||
           totals->slow * 1000 >= (int)policy->slow_call_rate_tenths * totals->calls;
}

static void record(plain_breaker *b, const cbm_core_policy *policy, bool failure, bool slow)
{
    switch ((cbm_core_rule)policy->rule) {
    case CBM_CORE_RULE_CONSECUTIVE: b->in_a_row = failure ? b->in_a_row + 1 : 0; break;
    case CBM_CORE_RULE_FAILURES: b->in_a_row += failure && b->in_a_row < (int)policy->failure_threshold; break;
    case CBM_CORE_RULE_COUNT_WINDOW:
        if (b->window_count == (int)policy->window_size) {
            memmove(&b->window[0], &b->window[1], (size_t)b->window_count - 1);
            b->window_count--;
        }
        b->window[b->window_count++] = (uint8_t)(failure | slow << 1);
        break;
    case CBM_CORE_RULE_TIME_WINDOW: add(&b->seconds[0], failure, slow); break;
    }
}

static bool opens(const plain_breaker *b, const cbm_core_policy *policy, bool failure)
{
    plain_totals totals = window_totals(b, policy);

    if (!has_rates(policy)) {
        return failure && b->in_a_row >= (int)policy->failure_threshold;
    }
    return totals.calls >= (int)policy->minimum_calls && rates_open(&totals, policy);
}

int plain_failures(const plain_breaker *b, const cbm_core_policy *policy)
{
    if (b->state != CBM_CORE_CLOSED) {
        return b->opened_failures;
    }
    return has_rates(policy) ? window_totals(b, policy).failures : b->in_a_row;
}

/* ---- States ---- */

static void enter(plain_breaker *b, const cbm_core_policy *policy, cbm_core_state to)
{
    if (b->state == CBM_CORE_CLOSED && to == CBM_CORE_OPEN) {
        b->opened_failures = plain_failures(b, policy);
    }
    b->transitions += b->state != (int)to;
    b->epoch++;
    b->state = to;
    b->permits_out = 0;
    b->probes = (plain_totals){0};
    memset(b->permit_is_probe_out, 0, sizeof(b->permit_is_probe_out));
    b->open_ends_from_ns = b->open_ends_to_ns = 0;
    if (to == CBM_CORE_CLOSED) {
        b->in_a_row = 0;
        b->opened_failures = 0;
        b->window_count = 0;
        memset(b->window, 0, sizeof(b->window));
        memset(b->seconds, 0, sizeof(b->seconds));
    }
}

static void open_until(plain_breaker *b, const cbm_core_policy *policy, uint32_t ms, int64_t latest_ns)
{
    enter(b, policy, CBM_CORE_OPEN);
    b->open_ends_from_ns = b->now_ns + ms * CBM_CORE_NS_PER_MS;
    b->open_ends_to_ns = latest_ns + ms * CBM_CORE_NS_PER_MS;
}

/* ---- Operations ---- */

static bool probe_admitted(const plain_breaker *b, const cbm_core_policy *policy)
{
    int calls = (int)policy->half_open_calls;

    if (has_rates(policy)) {
        return b->permits_out + b->probes.calls < calls;
    }
    return b->permits_out < calls &&
           b->permits_out + b->probes.calls - b->probes.failures < (int)policy->success_threshold;
}

/* Refused because OPEN lasts, or let through because it is over: that says more of when it ends. */
static bool begin_in_open(plain_breaker *b, const cbm_core_policy *policy, int64_t to_ns, int error)
{
    if (error == CBM_CORE_E_OPEN) {
        if (b->open_ends_to_ns <= b->now_ns) {
            return false;
        }
        b->open_ends_from_ns = b->open_ends_from_ns > b->now_ns ? b->open_ends_from_ns : b->now_ns + 1;
        return true;
    }
    if (error != 0 || b->open_ends_from_ns > to_ns) {
        return false;
    }
    b->now_ns = b->now_ns > b->open_ends_from_ns ? b->now_ns : b->open_ends_from_ns;
    enter(b, policy, CBM_CORE_HALF_OPEN);
    return true;
}

bool plain_begin(plain_breaker *b, const cbm_core_policy *policy, int64_t from_ns, int64_t to_ns, int error, bool probe,
                 int permit)
{
    if (!take_time(b, from_ns, to_ns)) {
        return false;
    }
    if (b->state == CBM_CORE_OPEN) {
        if (!begin_in_open(b, policy, to_ns, error)) {
            return false;
        }
        if (error != 0) {
            return true;
        }
    } else if (b->state == CBM_CORE_HALF_OPEN) {
        if (error != (probe_admitted(b, policy) ? 0 : CBM_CORE_E_HALF_OPEN_FULL)) {
            return false;
        }
    } else if (error != 0) {
        return false;
    }
    if (error != 0) {
        return true;
    }
    b->permit_epochs[permit] = (uint8_t)b->epoch;
    if (b->state == CBM_CORE_HALF_OPEN) {
        b->permit_is_probe_out[permit] = 1;
        b->permits_out++;
    }
    return probe == (b->state == CBM_CORE_HALF_OPEN);
}

static void decide_by_probes(plain_breaker *b, const cbm_core_policy *policy, int64_t latest_ns)
{
    uint32_t enough = policy->minimum_calls < policy->half_open_calls ? policy->minimum_calls : policy->half_open_calls;
    bool open = b->probes.failures > 0;
    bool close = b->probes.calls >= (int)policy->success_threshold;

    if (has_rates(policy)) {
        open = b->probes.calls >= (int)enough && rates_open(&b->probes, policy);
        close = b->probes.calls >= (int)enough;
    }
    if (open) {
        open_until(b, policy, policy->timeout_ms, latest_ns);
    } else if (close) {
        enter(b, policy, CBM_CORE_CLOSED);
    }
}

/* An outcome that counts. */
static void take_outcome(plain_breaker *b, const cbm_core_policy *policy, int permit, cbm_core_outcome outcome,
                         bool slow, bool decides, int64_t latest_ns)
{
    bool failure = outcome == CBM_CORE_FAILURE || outcome == CBM_CORE_TIMEOUT;

    if (b->state == CBM_CORE_HALF_OPEN) {
        b->permit_is_probe_out[permit] = 0;
        b->permits_out--;
        if (outcome != CBM_CORE_IGNORED) {
            add(&b->probes, failure, slow);
            if (decides) {
                decide_by_probes(b, policy, latest_ns);
            }
        }
    } else if (outcome != CBM_CORE_IGNORED) {
        record(b, policy, failure, slow);
        if (decides && opens(b, policy, failure)) {
            open_until(b, policy, policy->timeout_ms, latest_ns);
        }
    }
}

static void open_for(plain_breaker *b, const cbm_core_policy *policy, uint32_t ms, int64_t latest_ns)
{
    int64_t from_ns = b->now_ns + ms * CBM_CORE_NS_PER_MS;
    int64_t to_ns = latest_ns + ms * CBM_CORE_NS_PER_MS;

    if (b->state != CBM_CORE_OPEN) {
        open_until(b, policy, ms, latest_ns);
        return;
    }
    b->open_ends_from_ns = b->open_ends_from_ns > from_ns ? b->open_ends_from_ns : from_ns;
    b->open_ends_to_ns = b->open_ends_to_ns > to_ns ? b->open_ends_to_ns : to_ns;
}

static void take_second(plain_breaker *b, const cbm_core_policy *policy, int64_t second)
{
    /* What opened it stays in sight as it was then. */
    if (policy->rule == CBM_CORE_RULE_TIME_WINDOW && b->state == CBM_CORE_CLOSED) {
        advance_to_second(b, second);
    }
}

bool plain_report(plain_breaker *b, const cbm_core_policy *policy, int64_t from_ns, int64_t to_ns, int permit,
                  cbm_core_outcome outcome, bool slow, int open_for_ms, int64_t second)
{
    bool in_time = b->permit_epochs[permit] == (uint8_t)b->epoch &&
                   (b->state != CBM_CORE_HALF_OPEN || b->permit_is_probe_out[permit]);

    if (!take_time(b, from_ns, to_ns)) {
        return false;
    }
    take_second(b, policy, second);
    if (in_time) {
        take_outcome(b, policy, permit, outcome, slow && has_rates(policy), open_for_ms == 0, to_ns);
    } else {
        b->late++;
    }
    if (open_for_ms > 0 && (in_time || b->state == CBM_CORE_OPEN)) {
        open_for(b, policy, (uint32_t)open_for_ms, to_ns);
    }
    return true;
}

bool plain_reset(plain_breaker *b, int64_t from_ns, int64_t to_ns)
{
    if (!take_time(b, from_ns, to_ns)) {
        return false;
    }
    enter(b, NULL, CBM_CORE_CLOSED);
    return true;
}

bool plain_read(plain_breaker *b, const cbm_core_policy *policy, int64_t from_ns, int64_t to_ns, int64_t second)
{
    take_second(b, policy, second);
    return take_time(b, from_ns, to_ns);
}

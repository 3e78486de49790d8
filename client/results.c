/* What cbm_states and cbm_stats give: pages of the manager, put together. */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "clock.h"
#include "expects.h"
#include "failure.h"
#include "policy.h"

struct cbm_states_result {
    cbm_breaker_state *states;
    cbm_policy *policies; /* of the states; while pages are added, the states hold no pointers to them */
    size_t count;
    size_t capacity;
    char *texts; /* names, reasons and error texts; while pages are added, the states hold offsets into it */
    size_t texts_size;
    size_t texts_capacity;
};

struct cbm_stats_result {
    cbm_manager_stats manager;
    cbm_states_result breakers;
};

static void deinit_states(cbm_states_result *states)
{
    free(states->states);
    free(states->policies);
    free(states->texts);
}

void cbm_states_free(cbm_states_result *states)
{
    if (!states)
        return;
    deinit_states(states);
    free(states);
}

void cbm_stats_free(cbm_stats_result *stats)
{
    if (!stats)
        return;
    deinit_states(&stats->breakers);
    free(stats);
}

/* ---- Putting pages together --------------------------------------------------------------------------------------- */

/* Room for `more` elements of `size` bytes behind `count` ones. */
static void *grow(void *array, size_t size, size_t count, size_t more, size_t *capacity)
{
    size_t wanted = *capacity ? *capacity : 64;
    void *grown;

    if (count + more <= *capacity)
        return array;
    while (wanted < count + more)
        wanted *= 2;
    grown = reallocarray(array, wanted, size);
    if (grown)
        *capacity = wanted;
    return grown;
}

/* An offset in the place of a pointer, until the texts stay where they are. */
static const char *add_text(cbm_states_result *states, const char *text)
{
    size_t offset = states->texts_size;
    size_t size = strlen(text) + 1;

    memcpy(states->texts + offset, text, size);
    states->texts_size += size;
    return (const char *)(uintptr_t)offset;
}

static void write_statistics(const cbm_core_statistics *from, cbm_statistics *to)
{
    *to = (cbm_statistics){
        .total_calls = from->total_calls,
        .successful_calls = from->successful_calls,
        .failed_calls = from->failed_calls,
        .timeout_calls = from->timeout_calls,
        .ignored_calls = from->ignored_calls,
        .slow_calls = from->slow_calls,
        .rejected_calls = from->rejected_calls,
        .half_open_rejected_calls = from->half_open_rejected_calls,
        .late_reports = from->late_reports,
        .lumped_failures = from->lumped_failures,
        .leases_expired = from->leases_expired,
        .abandoned = from->abandoned,
        .state_transitions = from->state_transitions,
        .p50_ms = from->p50_ms,
        .p90_ms = from->p90_ms,
        .p99_ms = from->p99_ms,
    };
    memcpy(to->transitions, from->transitions, sizeof(to->transitions));
    for (int state = 0; state < CBM_CORE_STATES; state++)
        to->time_in_state_ms[state] = (uint64_t)(from->time_in_state_ns[state] / CBM_NS_PER_MS);
}

static int64_t ms_or_minus_one(int64_t ns, bool round_up)
{
    if (ns < 0)
        return -1;
    return round_up ? cbm_ms_round_up(ns) : ns / CBM_NS_PER_MS;
}

/* Room for one more state with so many bytes of texts. */
static bool grow_all(cbm_states_result *states, size_t texts)
{
    size_t capacity = states->capacity;
    void *grown = grow(states->policies, sizeof(*states->policies), states->count, 1, &capacity);

    if (!grown)
        return false;
    states->policies = grown;
    grown = grow(states->states, sizeof(*states->states), states->count, 1, &states->capacity);
    if (!grown)
        return false;
    states->states = grown;
    grown = grow(states->texts, 1, states->texts_size, texts, &states->texts_capacity);
    if (!grown)
        return false;
    states->texts = grown;
    return true;
}

static int add_state(cbm_states_result *states, const cbm_core_status *status)
{
    size_t texts = strlen(status->name) + strlen(status->reason) + strlen(status->last_error_text) + 3;
    cbm_breaker_state *state;

    if (!grow_all(states, texts))
        return CBM_E_NOMEM;
    cbm_policy_write(&status->policy, &states->policies[states->count]);
    state = &states->states[states->count++];
    *state = (cbm_breaker_state){
        .name = add_text(states, status->name),
        .state = (cbm_state)status->state,
        .failures = status->failures,
        .threshold = status->threshold,
        .timeout_ms = status->policy.timeout_ms,
        .retry_after_ms = ms_or_minus_one(status->retry_after_ns, true),
        .due = status->due,
        .failure_rate = status->failure_rate,
        .slow_call_rate = status->slow_call_rate,
        .calls = status->calls,
        .would_open = status->would_open,
        .epoch = status->epoch,
        .permits_out = status->permits_out,
        .reason = add_text(states, status->reason),
        .last_failure_ms_ago = ms_or_minus_one(status->last_failure_ns_ago, false),
        .last_error_text = add_text(states, status->last_error_text),
        .policy_source = status->policy_source == CBM_CORE_SOURCE_CONFIG ? "config" : "created",
    };
    write_statistics(&status->statistics, &state->statistics);
    return 0;
}

static void settle_pointers(cbm_states_result *states)
{
    for (size_t i = 0; i < states->count; i++) {
        cbm_breaker_state *state = &states->states[i];

        state->name = states->texts + (uintptr_t)state->name;
        state->reason = states->texts + (uintptr_t)state->reason;
        state->last_error_text = states->texts + (uintptr_t)state->last_error_text;
        state->policy = &states->policies[i];
    }
}

/* Asks page after page; each has the deadline of a request. `stats` (may be NULL) becomes that of the first page. */
static int read_pages(cbm_client *client, cbm_request *request, cbm_states_result *states, cbm_core_stats *stats)
{
    request->limit = CBM_PAGE_MAX;
    request->given |= CBM_FIELD(LIMIT);
    for (bool more = true; more;) {
        cbm_reply reply;
        int error = cbm_client_ask(client, request, &reply);

        if (error)
            return error;
        if (stats)
            *stats = reply.data.page.stats;
        stats = NULL;
        for (size_t i = 0; i < reply.data.page.count && !error; i++)
            error = add_state(states, &reply.data.page.statuses[i]);
        /* Names rise from page to page: one that does not would be asked for for ever. */
        more = reply.data.page.more && strcmp(reply.data.page.next, request->after) > 0;
        strcpy(request->after, reply.data.page.next);
        request->given |= CBM_FIELD(AFTER);
        cbm_reply_deinit(&reply);
        if (error)
            return cbm_fail(error, NULL);
    }
    settle_pointers(states);
    return 0;
}

int cbm_request_pattern(cbm_request *request, const char *pattern)
{
    size_t length = pattern ? strnlen(pattern, CBM_CORE_NAME_MAX + 1) : 0;
    char shown[CBM_SHOWN_MAX];

    if (!pattern || length == 0 || !cbm_core_name_valid(pattern, length))
        return cbm_fail_with(CBM_E_INVALID, "pattern must be " CBM_NAME_EXPECTS ", not %s",
                             pattern ? cbm_text_shown(pattern, strlen(pattern), shown) : "NULL");
    memcpy(request->pattern, pattern, length + 1);
    request->given |= CBM_FIELD(PATTERN);
    return 0;
}

int cbm_states(cbm_client *client, const char *pattern, cbm_states_result **states)
{
    cbm_request request = {.op = CBM_OP_STATES};
    int error = 0;

    if (!states)
        return cbm_fail(CBM_E_INVALID, "states: NULL");
    *states = NULL;
    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    if (pattern && *pattern)
        error = cbm_request_pattern(&request, pattern);
    if (error)
        return error;
    *states = calloc(1, sizeof(**states));
    if (!*states)
        return cbm_fail(CBM_E_NOMEM, NULL);
    error = cbm_enter(client);
    if (!error) {
        error = read_pages(client, &request, *states, NULL);
        cbm_leave(client);
    }
    if (error) {
        cbm_states_free(*states);
        *states = NULL;
    }
    return error;
}

int cbm_stats(cbm_client *client, cbm_stats_result **stats)
{
    cbm_request request = {.op = CBM_OP_STATS};
    cbm_core_stats manager;
    int error;

    if (!stats)
        return cbm_fail(CBM_E_INVALID, "stats: NULL");
    *stats = NULL;
    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    *stats = calloc(1, sizeof(**stats));
    if (!*stats)
        return cbm_fail(CBM_E_NOMEM, NULL);
    error = cbm_enter(client);
    if (!error) {
        error = read_pages(client, &request, &(*stats)->breakers, &manager);
        cbm_leave(client);
    }
    if (error) {
        cbm_stats_free(*stats);
        *stats = NULL;
        return error;
    }
    (*stats)->manager = (cbm_manager_stats){
        .total_operations = manager.total_operations,
        .breakers_count = manager.breakers_count,
        .rate_limited_count = manager.rate_limited_count,
        .rate_limit_window_ms = manager.rate_limit_window_ms,
        .current_rate_limit_size = manager.current_rate_limit_size,
        .max_rate_limit = manager.max_rate_limit,
        .max_breakers = manager.max_breakers,
        .breakers_created = manager.breakers_created,
        .breakers_removed = manager.breakers_removed,
    };
    return 0;
}

/* ---- Reading ------------------------------------------------------------------------------------------------------ */

size_t cbm_states_count(const cbm_states_result *states)
{
    return states ? states->count : 0;
}

const cbm_breaker_state *cbm_states_at(const cbm_states_result *states, size_t index)
{
    return index < cbm_states_count(states) ? &states->states[index] : NULL;
}

static int compare_name(const void *name, const void *state)
{
    return strcmp(name, ((const cbm_breaker_state *)state)->name);
}

const cbm_breaker_state *cbm_states_find(const cbm_states_result *states, const char *name)
{
    if (!name || cbm_states_count(states) == 0)
        return NULL;
    return bsearch(name, states->states, states->count, sizeof(*states->states), compare_name);
}

const cbm_manager_stats *cbm_stats_manager(const cbm_stats_result *stats)
{
    return &stats->manager;
}

const cbm_states_result *cbm_stats_breakers(const cbm_stats_result *stats)
{
    return &stats->breakers;
}

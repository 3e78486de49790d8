/* The operations of cbm_core.h: who is meant, what the limiter says, what the config file says; breaker.c does the rest. */
#include "cbm_core.h"

#include "glob.h"
#include "hash.h"
#include "limiter.h"
#include "policy.h"
#include "registry.h"
#include "times.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_BREAKERS 65536u
#define DEFAULT_RATE_LIMIT 1000u
#define DEFAULT_RATE_LIMIT_WINDOW_MS 1000u
#define RATE_LIMIT_MAX 1000000u
#define PAGE_LOOKS_AT 4096 /* names, so that a pattern that matches nothing holds nobody up */
#define EXPIRED_AT_ONCE 64 /* breakers that are due to expire, when a new one finds no room */

struct cbm_core_manager {
    core_registry registry;
    core_shared shared;
    core_limiter limiter;
    int64_t now_ns; /* the latest time seen */
    uint64_t total_operations;
    uint64_t rate_limited_count;
    uint64_t created;
    uint64_t removed;
    bool (*configured)(void *context, const char *name, cbm_core_policy_request *request);
    void *configured_context;
};

/* ---- Beginning and end ---------------------------------------------------------------------------------------------- */

int cbm_core_manager_new(cbm_core_manager **manager, const cbm_core_options *options)
{
    static const cbm_core_options defaults;
    cbm_core_manager *made;
    uint64_t random;
    uint32_t limit;

    if (options == NULL) {
        options = &defaults;
    }
    limit = options->max_rate_limit == 0 ? DEFAULT_RATE_LIMIT : options->max_rate_limit;
    if (limit > RATE_LIMIT_MAX) {
        return CBM_CORE_E_INVALID;
    }
    made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return CBM_CORE_E_NOMEM;
    }
    if (core_limiter_init(&made->limiter, options->no_rate_limit ? 0 : limit,
                          options->rate_limit_window_ms == 0 ? DEFAULT_RATE_LIMIT_WINDOW_MS
                                                             : options->rate_limit_window_ms) != CBM_CORE_OK) {
        free(made);
        return CBM_CORE_E_NOMEM;
    }
    random = options->seed;
    core_registry_init(&made->registry, options->max_breakers == 0 ? DEFAULT_MAX_BREAKERS : options->max_breakers,
                       options->first_epoch, core_random(&random));
    core_permits_init(&made->shared.permits);
    made->shared.random = random;
    made->shared.on_event = options->on_event;
    made->shared.event_context = options->event_context;
    made->configured = options->configured;
    made->configured_context = options->configured_context;
    *manager = made;
    return CBM_CORE_OK;
}

void cbm_core_manager_free(cbm_core_manager *manager)
{
    if (manager == NULL) {
        return;
    }
    core_registry_deinit(&manager->registry, &manager->shared);
    core_deadlines_deinit(&manager->shared.deadlines);
    core_permits_deinit(&manager->shared.permits);
    core_limiter_deinit(&manager->limiter);
    free(manager);
}

cbm_core_manager *cbm_core_singleton(void)
{
    static cbm_core_manager *singleton;

    if (singleton == NULL && cbm_core_manager_new(&singleton, NULL) != CBM_CORE_OK) {
        singleton = NULL;
    }
    return singleton;
}

/* ---- Time and the limiter ------------------------------------------------------------------------------------------- */

/* The clock of the manager never runs backwards, whatever it is told. */
static int64_t clamp(cbm_core_manager *manager, int64_t now_ns)
{
    manager->now_ns = core_time_max(manager->now_ns, now_ns);
    return manager->now_ns;
}

/* CBM_CORE_E_RATE_LIMITED, told and counted, when there is no room for an operation; it is not taken yet. */
static int limiter_check(cbm_core_manager *manager, const char *name, int64_t now_ns)
{
    core_breaker *breaker;
    cbm_core_event event = {.type = CBM_CORE_EVENT_RATE_LIMITED, .error = CBM_CORE_E_RATE_LIMITED};

    if (core_limiter_has_room(&manager->limiter, now_ns)) {
        return CBM_CORE_OK;
    }
    manager->rate_limited_count++;
    if (manager->shared.on_event != NULL) {
        event.retry_after_ns = core_limiter_wait_ns(&manager->limiter, now_ns);
        event.name = name;
        event.now_ns = now_ns;
        breaker = core_registry_find(&manager->registry, name);
        if (breaker != NULL) {
            core_breaker_tell(&manager->shared, breaker, event, now_ns);
        } else {
            manager->shared.on_event(manager->shared.event_context, &event);
        }
    }
    return CBM_CORE_E_RATE_LIMITED;
}

static void limiter_take(cbm_core_manager *manager, int64_t now_ns)
{
    core_limiter_take(&manager->limiter, now_ns);
    manager->total_operations++;
}

/* ---- Finding, making and removing breakers -------------------------------------------------------------------------- */

static bool is_name(const char *name)
{
    return name != NULL && cbm_core_name_valid(name, strnlen(name, CBM_CORE_NAME_MAX + 1));
}

/* The breaker of that name as it stands now, NULL: none. */
static core_breaker *find(cbm_core_manager *manager, const char *name, int64_t now_ns)
{
    core_breaker *breaker = core_registry_find(&manager->registry, name);

    if (breaker != NULL) {
        core_breaker_settle(&manager->shared, breaker, now_ns);
    }
    return breaker;
}

/* For the operations that need one: CBM_CORE_E_INVALID, CBM_CORE_E_NOT_FOUND. */
static int find_existing(cbm_core_manager *manager, const char *name, int64_t now_ns, core_breaker **breaker)
{
    if (!is_name(name)) {
        return CBM_CORE_E_INVALID;
    }
    *breaker = find(manager, name, now_ns);
    return *breaker != NULL ? CBM_CORE_OK : CBM_CORE_E_NOT_FOUND;
}

static void remove_breaker(cbm_core_manager *manager, core_breaker *breaker, int64_t now_ns)
{
    core_breaker_tell(&manager->shared, breaker, (cbm_core_event){.type = CBM_CORE_EVENT_REMOVED}, now_ns);
    core_registry_remove(&manager->registry, &manager->shared, breaker);
    manager->removed++;
}

/*
 * The policy of a breaker of that name: the config file's section if there is one, else what is asked for, on top of the config
 * file's defaults. A section or defaults that cannot be are as if they were not there. CBM_CORE_E_INVALID is about `asked`.
 */
static int policy_for(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *asked,
                      core_policy_entry **entry, bool *configured, int *bad_field)
{
    core_policy_pool *pool = &manager->registry.policies;
    cbm_core_policy_request from_file = {0};
    int error = CBM_CORE_E_INVALID;

    *configured = manager->configured != NULL && manager->configured(manager->configured_context, name, &from_file);
    if (!*configured && asked != NULL) {
        core_policy_merge(&from_file, &from_file, asked);
    }
    if (manager->configured != NULL) {
        error = core_policy_acquire(pool, &from_file, entry, NULL);
    }
    if (error == CBM_CORE_E_INVALID) {
        *configured = false;
        error = core_policy_acquire(pool, asked, entry, bad_field);
    }
    return error;
}

static int create(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *asked, int64_t now_ns,
                  core_breaker **breaker)
{
    core_policy_entry *policy;
    bool configured;
    int error;

    if (manager->registry.count >= manager->registry.maximum) {
        cbm_core_tick(manager, now_ns, EXPIRED_AT_ONCE);
        if (manager->registry.count >= manager->registry.maximum) {
            return CBM_CORE_E_FULL;
        }
    }
    error = policy_for(manager, name, asked, &policy, &configured, NULL);
    if (error != CBM_CORE_OK) {
        return error;
    }
    error = core_registry_add(&manager->registry, &manager->shared, name, policy, now_ns, breaker);
    if (error != CBM_CORE_OK) {
        core_policy_release(&manager->registry.policies, policy);
        return error;
    }
    (*breaker)->configured = configured;
    core_breaker_schedule(&manager->shared, *breaker, now_ns);
    manager->created++;
    core_breaker_tell(&manager->shared, *breaker, (cbm_core_event){.type = CBM_CORE_EVENT_CREATED}, now_ns);
    return CBM_CORE_OK;
}

static int find_or_create(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy,
                          int64_t now_ns, core_breaker **breaker)
{
    *breaker = find(manager, name, now_ns);
    return *breaker != NULL ? CBM_CORE_OK : create(manager, name, policy, now_ns, breaker);
}

/* Puts a policy request in force. CBM_CORE_E_INVALID, CBM_CORE_E_NOMEM: nothing changed. */
static int put_in_force(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_policy_request *request,
                        int64_t now_ns, int *bad_field)
{
    core_policy_pool *pool = &manager->registry.policies;
    core_policy_entry *policy;
    int error = core_policy_acquire(pool, request, &policy, bad_field);

    if (error != CBM_CORE_OK) {
        return error;
    }
    if (policy == breaker->policy) {
        core_policy_release(pool, policy);
        return CBM_CORE_OK;
    }
    error = core_breaker_change_policy(&manager->shared, pool, breaker, policy, now_ns);
    if (error != CBM_CORE_OK) {
        core_policy_release(pool, policy);
    }
    return error;
}

/* A policy with a higher version than the one in force replaces it, unless the config file's word stands. */
static int replace_by_version(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_policy_request *asked,
                              const cbm_core_policy *resolved, int64_t now_ns, bool *replaced)
{
    int error;

    *replaced = false;
    if (asked == NULL || breaker->configured ||
        resolved->policy_version <= core_breaker_policy(breaker)->policy_version) {
        return CBM_CORE_OK;
    }
    error = put_in_force(manager, breaker, asked, now_ns, NULL);
    *replaced = error == CBM_CORE_OK;
    return error;
}

/* ---- get ------------------------------------------------------------------------------------------------------------ */

/* The fields that were asked for and are not in force, neither as given nor as a default made of them. */
static uint32_t differing_fields(const cbm_core_policy_request *asked, const cbm_core_policy *resolved,
                                 const cbm_core_policy *in_force)
{
    uint32_t differing = 0;

    if (asked == NULL) {
        return 0;
    }
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        uint32_t value = cbm_core_policy_value(in_force, i);

        if ((asked->given >> i & 1) != 0 && value != cbm_core_policy_value(&asked->values, i) &&
            value != cbm_core_policy_value(resolved, i)) {
            differing |= UINT32_C(1) << i;
        }
    }
    return differing;
}

int cbm_core_get(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy, int64_t now_ns,
                 cbm_core_get_result *result)
{
    cbm_core_get_result unwanted;
    cbm_core_policy resolved;
    core_breaker *breaker;
    bool replaced = false;
    int error;

    if (result == NULL) {
        result = &unwanted;
    }
    memset(result, 0, sizeof(*result));
    result->bad_field = -1;
    if (!is_name(name)) {
        return CBM_CORE_E_INVALID;
    }
    error = cbm_core_policy_resolve(policy, &resolved, &result->bad_field);
    if (error != CBM_CORE_OK) {
        return error;
    }
    now_ns = clamp(manager, now_ns);
    error = limiter_check(manager, name, now_ns);
    if (error != CBM_CORE_OK) {
        return error;
    }
    breaker = find(manager, name, now_ns);
    if (breaker == NULL) {
        error = create(manager, name, policy, now_ns, &breaker);
        result->created = error == CBM_CORE_OK;
    } else {
        error = replace_by_version(manager, breaker, policy, &resolved, now_ns, &replaced);
    }
    if (error != CBM_CORE_OK) {
        return error;
    }
    limiter_take(manager, now_ns);
    breaker->last_used_ns = now_ns;
    result->policy_source = breaker->configured           ? CBM_CORE_SOURCE_CONFIG
                            : result->created || replaced ? CBM_CORE_SOURCE_CREATED
                                                          : CBM_CORE_SOURCE_EXISTING;
    result->differing = differing_fields(policy, &resolved, core_breaker_policy(breaker));
    if (result->differing != 0 && core_history_first_time(&breaker->history, result->differing)) {
        core_breaker_tell(&manager->shared, breaker,
                          (cbm_core_event){.type = CBM_CORE_EVENT_DIFFERS, .differing = result->differing}, now_ns);
    }
    core_breaker_status(&manager->shared, breaker, now_ns, &result->status);
    return CBM_CORE_OK;
}

/* ---- The two halves of a call --------------------------------------------------------------------------------------- */

static int rate_limited(cbm_core_manager *manager, const char *name, int64_t now_ns, cbm_core_decision *decision)
{
    int error = limiter_check(manager, name, now_ns);

    if (error != CBM_CORE_OK) {
        decision->retry_after_ns = core_limiter_wait_ns(&manager->limiter, now_ns);
    }
    return error;
}

/* The rest of a begin, once the breaker is found and the limiter has room. */
static int begin(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_begin *begin_options, int64_t now_ns,
                 cbm_core_decision *decision)
{
    int error = core_breaker_begin(&manager->shared, breaker, begin_options, now_ns, decision);

    if (error != CBM_CORE_E_NOMEM) {
        limiter_take(manager, now_ns);
    }
    return error;
}

int cbm_core_call_begin(cbm_core_manager *manager, const char *name, const cbm_core_begin *begin_options,
                        int64_t now_ns, cbm_core_decision *decision)
{
    core_breaker *breaker;
    int error;

    *decision = (cbm_core_decision){.state = CBM_CORE_CLOSED};
    if (!is_name(name)) {
        return CBM_CORE_E_INVALID;
    }
    now_ns = clamp(manager, now_ns);
    error = rate_limited(manager, name, now_ns, decision);
    if (error == CBM_CORE_OK) {
        error = find_or_create(manager, name, begin_options != NULL ? begin_options->policy : NULL, now_ns, &breaker);
    }
    return error == CBM_CORE_OK ? begin(manager, breaker, begin_options, now_ns, decision) : error;
}

int cbm_core_call_begin_at(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                           const cbm_core_begin *begin_options, int64_t now_ns, cbm_core_decision *decision)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);
    int error;

    *decision = (cbm_core_decision){.state = CBM_CORE_CLOSED};
    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    now_ns = clamp(manager, now_ns);
    core_breaker_settle(&manager->shared, breaker, now_ns);
    error = rate_limited(manager, breaker->name, now_ns, decision);
    decision->state = (cbm_core_state)breaker->state;
    return error == CBM_CORE_OK ? begin(manager, breaker, begin_options, now_ns, decision) : error;
}

static bool is_report(const cbm_core_report *report)
{
    return (unsigned)report->outcome <= CBM_CORE_IGNORED;
}

/* The rest of a report, once the breaker is found. */
static int report_to(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_permit *permit,
                     const cbm_core_report *report, int64_t now_ns, cbm_core_state *state)
{
    core_breaker_report(&manager->shared, breaker, permit, report, now_ns);
    if (state != NULL) {
        *state = (cbm_core_state)breaker->state;
    }
    return CBM_CORE_OK;
}

int cbm_core_call_report(cbm_core_manager *manager, const char *name, const cbm_core_permit *permit,
                         const cbm_core_report *report, int64_t now_ns, cbm_core_state *state)
{
    core_breaker *breaker;
    core_breaker *owner;
    int error;

    if (!is_name(name) || !is_report(report)) {
        return CBM_CORE_E_INVALID;
    }
    now_ns = clamp(manager, now_ns);
    error = permit == NULL ? find_or_create(manager, name, NULL, now_ns, &breaker)
                           : find_existing(manager, name, now_ns, &breaker);
    if (error != CBM_CORE_OK) {
        return error;
    }
    if (permit != NULL) {
        owner = core_registry_at(&manager->registry, permit->slot, permit->slot_generation);
        if (owner != NULL && owner != breaker) {
            return CBM_CORE_E_INVALID;
        }
    }
    return report_to(manager, breaker, permit, report, now_ns, state);
}

int cbm_core_call_report_at(cbm_core_manager *manager, const cbm_core_permit *permit, const cbm_core_report *report,
                            int64_t now_ns, cbm_core_state *state)
{
    core_breaker *breaker;

    if (!is_report(report)) {
        return CBM_CORE_E_INVALID;
    }
    breaker = core_registry_at(&manager->registry, permit->slot, permit->slot_generation);
    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    now_ns = clamp(manager, now_ns);
    core_breaker_settle(&manager->shared, breaker, now_ns);
    return report_to(manager, breaker, permit, report, now_ns, state);
}

bool cbm_core_successes_decide(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation, int64_t now_ns)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);

    if (breaker == NULL) {
        return false;
    }
    now_ns = clamp(manager, now_ns);
    core_breaker_settle(&manager->shared, breaker, now_ns);
    return core_breaker_successes_decide(breaker, now_ns);
}

int cbm_core_successes_record(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation, uint32_t epoch,
                              uint64_t count, int64_t at_ns, cbm_core_state *state)
{
    core_breaker *breaker = core_registry_at(&manager->registry, slot, slot_generation);

    if (breaker == NULL) {
        return CBM_CORE_E_NOT_FOUND;
    }
    clamp(manager, at_ns);
    core_breaker_settle(&manager->shared, breaker, at_ns);
    core_breaker_successes(&manager->shared, breaker, epoch, count, at_ns);
    if (state != NULL) {
        *state = (cbm_core_state)breaker->state;
    }
    return CBM_CORE_OK;
}

/* ---- Reading -------------------------------------------------------------------------------------------------------- */

int cbm_core_state_of(cbm_core_manager *manager, const char *name, int64_t now_ns, cbm_core_status *status)
{
    core_breaker *breaker;
    int error;

    now_ns = clamp(manager, now_ns);
    error = find_existing(manager, name, now_ns, &breaker);
    if (error == CBM_CORE_OK) {
        core_breaker_status(&manager->shared, breaker, now_ns, status);
    }
    return error;
}

size_t cbm_core_states(cbm_core_manager *manager, const char *pattern, const char *after, size_t limit, int64_t now_ns,
                       cbm_core_status *statuses, char next[CBM_CORE_NAME_MAX + 1], bool *more)
{
    core_name_cursor cursor = core_name_index_after(&manager->registry.in_order, after != NULL ? after : "");
    core_breaker *breaker = NULL;
    core_name_cursor ahead;
    size_t written = 0;

    now_ns = clamp(manager, now_ns);
    next[0] = '\0';
    if (after != NULL && strnlen(after, CBM_CORE_NAME_MAX + 1) <= CBM_CORE_NAME_MAX) {
        strcpy(next, after);
    }
    for (int looked_at = 0; written < limit && looked_at < PAGE_LOOKS_AT; looked_at++) {
        breaker = core_name_index_next(&manager->registry.in_order, &cursor);
        if (breaker == NULL) {
            break;
        }
        strcpy(next, breaker->name);
        if (core_glob_match(pattern, breaker->name)) {
            core_breaker_settle(&manager->shared, breaker, now_ns);
            core_breaker_status(&manager->shared, breaker, now_ns, &statuses[written++]);
        }
    }
    ahead = cursor;
    *more = core_name_index_next(&manager->registry.in_order, &ahead) != NULL;
    return written;
}

void cbm_core_stats_get(cbm_core_manager *manager, int64_t now_ns, cbm_core_stats *stats)
{
    now_ns = clamp(manager, now_ns);
    *stats = (cbm_core_stats){
        .total_operations = manager->total_operations,
        .breakers_count = manager->registry.count,
        .rate_limited_count = manager->rate_limited_count,
        .rate_limit_window_ms = (uint64_t)(manager->limiter.window_ns / CBM_CORE_NS_PER_MS),
        .current_rate_limit_size = core_limiter_count(&manager->limiter, now_ns),
        .max_rate_limit = manager->limiter.maximum,
        .max_breakers = manager->registry.maximum,
        .breakers_created = manager->created,
        .breakers_removed = manager->removed,
    };
}

/* ---- Steering ------------------------------------------------------------------------------------------------------- */

int cbm_core_reset(cbm_core_manager *manager, const char *name, int64_t now_ns)
{
    core_breaker *breaker;
    int error;

    now_ns = clamp(manager, now_ns);
    error = find_existing(manager, name, now_ns, &breaker);
    if (error == CBM_CORE_OK) {
        core_breaker_reset(&manager->shared, breaker, CBM_CORE_CAUSE_RESET, now_ns);
    }
    return error;
}

void cbm_core_reset_all(cbm_core_manager *manager, int64_t now_ns)
{
    now_ns = clamp(manager, now_ns);
    for (uint32_t slot = 0; slot < manager->registry.slots_made; slot++) {
        core_breaker *breaker = core_registry_in_slot(&manager->registry, slot);

        if (breaker != NULL) {
            core_breaker_settle(&manager->shared, breaker, now_ns);
            core_breaker_reset(&manager->shared, breaker, CBM_CORE_CAUSE_RESET, now_ns);
        }
    }
}

int cbm_core_reset_manager(cbm_core_manager *manager, int64_t now_ns)
{
    now_ns = clamp(manager, now_ns);
    if (limiter_check(manager, "", now_ns) != CBM_CORE_OK) {
        return CBM_CORE_E_RATE_LIMITED;
    }
    cbm_core_remove(manager, NULL, now_ns, NULL);
    core_limiter_clear(&manager->limiter);
    manager->total_operations = 0;
    manager->rate_limited_count = 0;
    return CBM_CORE_OK;
}

int cbm_core_control_set(cbm_core_manager *manager, const char *name, cbm_core_control control, const char *reason,
                         uint32_t for_ms, int64_t now_ns)
{
    core_breaker *breaker;
    int error;

    if ((unsigned)control > CBM_CORE_CONTROL_ENABLE) {
        return CBM_CORE_E_INVALID;
    }
    now_ns = clamp(manager, now_ns);
    error = find_existing(manager, name, now_ns, &breaker);
    return error == CBM_CORE_OK ? core_breaker_control(&manager->shared, breaker, control, reason, for_ms, now_ns)
                                : error;
}

/* The first field of `asked` that the config file's section has given, or -1. */
static int field_of_the_file(const core_breaker *breaker, const cbm_core_policy_request *asked)
{
    uint32_t both = asked->given & core_policy_request_of(breaker->policy)->given;

    return breaker->configured && both != 0 ? __builtin_ctz(both) : -1;
}

int cbm_core_configure(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy,
                       int64_t now_ns, int *bad_field)
{
    cbm_core_policy_request merged;
    core_breaker *breaker;
    int unwanted;
    int error;

    if (bad_field == NULL) {
        bad_field = &unwanted;
    }
    *bad_field = -1;
    now_ns = clamp(manager, now_ns);
    error = find_existing(manager, name, now_ns, &breaker);
    if (error != CBM_CORE_OK) {
        return error;
    }
    *bad_field = field_of_the_file(breaker, policy);
    if (*bad_field >= 0) {
        return CBM_CORE_E_INVALID;
    }
    core_policy_merge(&merged, core_policy_request_of(breaker->policy), policy);
    return put_in_force(manager, breaker, &merged, now_ns, bad_field);
}

/* Puts in force what the config file says of a breaker; without memory or sense the old policy stays. */
static void reload(cbm_core_manager *manager, core_breaker *breaker, int64_t now_ns)
{
    cbm_core_policy_request section = {0};

    breaker->configured = manager->configured(manager->configured_context, breaker->name, &section);
    if (breaker->configured) {
        put_in_force(manager, breaker, &section, now_ns, NULL);
    }
    core_breaker_schedule(&manager->shared, breaker, now_ns);
}

void cbm_core_reload(cbm_core_manager *manager, int64_t now_ns)
{
    now_ns = clamp(manager, now_ns);
    for (uint32_t slot = 0; manager->configured != NULL && slot < manager->registry.slots_made; slot++) {
        core_breaker *breaker = core_registry_in_slot(&manager->registry, slot);

        if (breaker != NULL) {
            core_breaker_settle(&manager->shared, breaker, now_ns);
            reload(manager, breaker, now_ns);
        }
    }
}

int cbm_core_remove(cbm_core_manager *manager, const char *pattern, int64_t now_ns, uint64_t *removed)
{
    uint64_t count = 0;

    now_ns = clamp(manager, now_ns);
    for (uint32_t slot = 0; slot < manager->registry.slots_made; slot++) {
        core_breaker *breaker = core_registry_in_slot(&manager->registry, slot);

        if (breaker != NULL && core_glob_match(pattern, breaker->name)) {
            remove_breaker(manager, breaker, now_ns);
            count++;
        }
    }
    if (removed != NULL) {
        *removed = count;
    }
    return CBM_CORE_OK;
}

int cbm_core_adopt(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy,
                   cbm_core_state state, int64_t retry_after_ns, int64_t now_ns)
{
    cbm_core_policy resolved;
    core_breaker *breaker;
    bool replaced;
    int error;

    if (!is_name(name) || (unsigned)state >= CBM_CORE_STATES) {
        return CBM_CORE_E_INVALID;
    }
    error = cbm_core_policy_resolve(policy, &resolved, NULL);
    if (error != CBM_CORE_OK) {
        return error;
    }
    now_ns = clamp(manager, now_ns);
    breaker = find(manager, name, now_ns);
    error = breaker == NULL ? create(manager, name, policy, now_ns, &breaker)
                            : replace_by_version(manager, breaker, policy, &resolved, now_ns, &replaced);
    if (error == CBM_CORE_OK) {
        core_breaker_adopt(&manager->shared, breaker, state, retry_after_ns, now_ns);
    }
    return error;
}

/* ---- Holders and time ----------------------------------------------------------------------------------------------- */

void cbm_core_holder_gone(cbm_core_manager *manager, uint64_t holder, int64_t now_ns)
{
    core_permits *permits = &manager->shared.permits;
    uint32_t index;

    now_ns = clamp(manager, now_ns);
    while ((index = core_permits_of_holder(permits, holder)) != CORE_NO_PERMIT) {
        core_breaker *breaker = permits->records[index].breaker;
        uint64_t id = permits->records[index].id;

        core_breaker_settle(&manager->shared, breaker, now_ns); /* its lease may have ended before */
        index = core_permits_find(permits, breaker, id);
        if (index != CORE_NO_PERMIT) {
            core_breaker_abandon(&manager->shared, breaker, index, now_ns);
        }
    }
}

int64_t cbm_core_next_deadline(const cbm_core_manager *manager)
{
    const core_breaker *first = core_deadlines_first(&manager->shared.deadlines);

    return first != NULL ? first->deadline_ns : CBM_CORE_NEVER_NS;
}

bool cbm_core_tick(cbm_core_manager *manager, int64_t now_ns, size_t most)
{
    now_ns = clamp(manager, now_ns);
    for (; most > 0 && cbm_core_next_deadline(manager) <= now_ns; most--) {
        core_breaker *breaker = core_deadlines_first(&manager->shared.deadlines);

        core_breaker_settle(&manager->shared, breaker, now_ns);
        if (core_breaker_expiry(breaker, now_ns) <= now_ns) {
            remove_breaker(manager, breaker, now_ns);
        } else {
            core_breaker_schedule(&manager->shared, breaker, now_ns);
        }
    }
    return cbm_core_next_deadline(manager) <= now_ns;
}

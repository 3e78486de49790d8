/* The manager: its beginning and end, its clock, limiter and registry. The operations are in call.c, read.c and steer.c. */
#include "manager.h"

#include "hash.h"
#include "policy.h"
#include "times.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_BREAKERS 65536u
#define DEFAULT_RATE_LIMIT 1000u
#define DEFAULT_RATE_LIMIT_WINDOW_MS 1000u
#define RATE_LIMIT_MAX 1000000u
#define EXPIRED_AT_ONCE 64 /* breakers that are due to expire, when a new one finds no room */

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
    if (options->charge != NULL &&
        core_shares_init(&made->shares, made->limiter.maximum, made->limiter.window_ns) != CBM_CORE_OK) {
        core_limiter_deinit(&made->limiter);
        free(made);
        return CBM_CORE_E_NOMEM;
    }
    random = options->seed;
    core_registry_init(&made->registry, options->max_breakers == 0 ? DEFAULT_MAX_BREAKERS : options->max_breakers,
                       options->first_epoch, core_random(&random));
    core_permits_init(&made->shared.permits);
    made->shared.permits.charge = options->charge;
    made->shared.permits.charge_context = options->charge_context;
    made->shared.random = random;
    made->shared.on_event = options->on_event;
    made->shared.event_context = options->event_context;
    made->policy_defaults = options->policy_defaults;
    made->configured = options->configured;
    made->configured_context = options->configured_context;
    made->charge = options->charge;
    made->charge_context = options->charge_context;
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
    core_shares_deinit(&manager->shares);
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
int64_t core_manager_now(cbm_core_manager *manager, int64_t now_ns)
{
    /* The end of time itself means never. */
    manager->now_ns = core_time_max(manager->now_ns, core_time_min(now_ns, CBM_CORE_NEVER_NS - 1));
    return manager->now_ns;
}

bool core_manager_has_room(cbm_core_manager *manager, int64_t now_ns)
{
    bool has_room = core_limiter_has_room(&manager->limiter, now_ns);

    /* Asked in any case: whoever is refused is one who asks. */
    return core_shares_ask(&manager->shares, manager->account, manager->connection, manager->limiter.count, now_ns) &&
           has_room;
}

int64_t core_manager_wait_ns(cbm_core_manager *manager, int64_t now_ns)
{
    int64_t wait_ns = core_limiter_wait_ns(&manager->limiter, now_ns);

    /* There is room, which others have: more of it as what was taken grows old. */
    return wait_ns > 0 ? wait_ns : core_limiter_oldest_ns(&manager->limiter, now_ns);
}

void cbm_core_on_behalf(cbm_core_manager *manager, uint64_t account, uint64_t connection)
{
    manager->account = account;
    manager->connection = connection;
    manager->shared.permits.account = account;
}

int core_manager_refuse(cbm_core_manager *manager, const char *name, const core_breaker *breaker, int64_t now_ns)
{
    cbm_core_event event = {
        .type = CBM_CORE_EVENT_RATE_LIMITED,
        .name = name,
        .error = CBM_CORE_E_RATE_LIMITED,
        .retry_after_ns = core_manager_wait_ns(manager, now_ns),
        .now_ns = now_ns,
    };

    manager->rate_limited_count++;
    if (breaker != NULL) {
        core_breaker_tell(&manager->shared, breaker, event, now_ns);
    } else if (manager->shared.on_event != NULL) {
        manager->shared.on_event(manager->shared.event_context, &event);
    }
    return CBM_CORE_E_RATE_LIMITED;
}

void core_manager_take_operation(cbm_core_manager *manager, int64_t now_ns)
{
    core_limiter_take(&manager->limiter, now_ns);
    core_shares_take(&manager->shares);
    manager->total_operations++;
}

/* ---- Finding, making and removing breakers -------------------------------------------------------------------------- */

bool core_manager_is_name(const char *name)
{
    return name != NULL && cbm_core_name_valid(name, strnlen(name, CBM_CORE_NAME_MAX + 1));
}

/* The breaker of that name as it stands now, NULL: none. */
core_breaker *core_manager_find(cbm_core_manager *manager, const char *name, int64_t now_ns)
{
    core_breaker *breaker = core_registry_find(&manager->registry, name);

    if (breaker != NULL) {
        core_breaker_settle(&manager->shared, breaker, now_ns);
    }
    return breaker;
}

/* For the operations that need one: CBM_CORE_E_INVALID, CBM_CORE_E_NOT_FOUND. */
int core_manager_find_existing(cbm_core_manager *manager, const char *name, int64_t now_ns, core_breaker **breaker)
{
    if (!core_manager_is_name(name)) {
        return CBM_CORE_E_INVALID;
    }
    *breaker = core_manager_find(manager, name, now_ns);
    return *breaker != NULL ? CBM_CORE_OK : CBM_CORE_E_NOT_FOUND;
}

void core_manager_remove(cbm_core_manager *manager, core_breaker *breaker, int64_t now_ns)
{
    core_breaker_tell(&manager->shared, breaker, (cbm_core_event){.type = CBM_CORE_EVENT_REMOVED}, now_ns);
    core_registry_remove(&manager->registry, &manager->shared, breaker);
    manager->removed++;
}

/* With the first of `left_out`, in this order, that leaves no contradiction. CBM_CORE_E_INVALID: the section is one by itself. */
static int acquire_without_contradiction(core_policy_pool *pool, core_policy_layers *layers, core_policy_entry **entry)
{
    static const uint32_t left_out[] = {0, CORE_LEAVE_OUT_DEFAULTS, CORE_LEAVE_OUT_ASKED,
                                        CORE_LEAVE_OUT_DEFAULTS | CORE_LEAVE_OUT_ASKED};
    int error = CBM_CORE_E_INVALID;

    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]) && error == CBM_CORE_E_INVALID; i++) {
        layers->left_out = left_out[i];
        error = core_policy_acquire(pool, layers, entry, NULL);
    }
    return error;
}

/*
 * The policy of a breaker of that name, of what is asked for (NULL: nothing) and what the config file says. Defaults and what
 * is asked for are left out where they contradict the rest; a section that contradicts itself is as if it were not there.
 */
static int policy_for(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *asked,
                      core_policy_entry **entry, bool *configured)
{
    core_policy_pool *pool = &manager->registry.policies;
    core_policy_layers layers = {.asked = {0}};
    int error;

    if (asked != NULL) {
        layers.asked = *asked;
    }
    if (manager->policy_defaults != NULL) {
        layers.defaults = *manager->policy_defaults;
    }
    *configured =
        manager->configured != NULL && manager->configured(manager->configured_context, name, &layers.section);
    if (!*configured) {
        layers.section.given = 0;
    }
    error = acquire_without_contradiction(pool, &layers, entry);
    if (error == CBM_CORE_E_INVALID) {
        *configured = false;
        layers.section.given = 0;
        error = acquire_without_contradiction(pool, &layers, entry);
    }
    return error;
}

static bool charge_breaker(const cbm_core_manager *manager, int change)
{
    return manager->charge == NULL ||
           manager->charge(manager->charge_context, manager->account, CBM_CORE_CHARGE_BREAKER, change);
}

int core_manager_create(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *asked,
                        int64_t now_ns, core_breaker **breaker)
{
    core_policy_entry *policy;
    bool configured;
    int error;

    while (manager->registry.count >= manager->registry.maximum) {
        if (cbm_core_next_deadline(manager) > now_ns) {
            return CBM_CORE_E_FULL;
        }
        /* Breakers used since their deadline was set may stand before one that expires. */
        (void)cbm_core_tick(manager, now_ns, EXPIRED_AT_ONCE);
    }
    if (!charge_breaker(manager, 1)) {
        return CBM_CORE_E_FULL;
    }
    error = policy_for(manager, name, asked, &policy, &configured);
    if (error != CBM_CORE_OK) {
        charge_breaker(manager, -1);
        return error;
    }
    error = core_registry_add(&manager->registry, &manager->shared, name, policy, now_ns, breaker);
    if (error != CBM_CORE_OK) {
        core_policy_release(&manager->registry.policies, policy);
        charge_breaker(manager, -1);
        return error;
    }
    (*breaker)->configured = configured;
    core_breaker_schedule(&manager->shared, *breaker, now_ns);
    manager->created++;
    core_breaker_tell(&manager->shared, *breaker, (cbm_core_event){.type = CBM_CORE_EVENT_CREATED}, now_ns);
    return CBM_CORE_OK;
}

/* Takes over the reference to `policy`. */
static int put_in_force(cbm_core_manager *manager, core_breaker *breaker, core_policy_entry *policy, int64_t now_ns)
{
    core_policy_pool *pool = &manager->registry.policies;
    int error;

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

int core_manager_ask_anew(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_policy_request *asked,
                          int64_t now_ns)
{
    core_policy_entry *policy;
    bool configured;
    int error = policy_for(manager, core_breaker_name(breaker), asked, &policy, &configured);

    if (error == CBM_CORE_OK) {
        error = put_in_force(manager, breaker, policy, now_ns);
    }
    if (error == CBM_CORE_OK) {
        breaker->configured = configured;
        core_breaker_schedule(&manager->shared, breaker, now_ns);
    }
    return error;
}

int core_manager_change_asked(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_policy_request *fields,
                              int64_t now_ns, int *bad_field)
{
    core_policy_layers layers = *core_policy_layers_of(breaker->policy);
    core_policy_entry *policy;
    int error;

    if ((layers.left_out & CORE_LEAVE_OUT_ASKED) != 0) {
        layers.asked.given = 0; /* `fields` are changes to what is in force */
        layers.left_out &= ~(uint32_t)CORE_LEAVE_OUT_ASKED;
    }
    core_policy_merge(&layers.asked, &layers.asked, fields);
    error = core_policy_acquire(&manager->registry.policies, &layers, &policy, bad_field);
    return error == CBM_CORE_OK ? put_in_force(manager, breaker, policy, now_ns) : error;
}

/* ---- Holders and time ----------------------------------------------------------------------------------------------- */

void cbm_core_holder_gone(cbm_core_manager *manager, uint64_t holder, int64_t now_ns)
{
    core_permits *permits = &manager->shared.permits;
    uint32_t index;

    now_ns = core_manager_now(manager, now_ns);
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

    return first != NULL ? first->rest->deadline_ns : CBM_CORE_NEVER_NS;
}

bool cbm_core_tick(cbm_core_manager *manager, int64_t now_ns, size_t most)
{
    now_ns = core_manager_now(manager, now_ns);
    for (; most > 0 && cbm_core_next_deadline(manager) <= now_ns; most--) {
        core_breaker *breaker = core_deadlines_first(&manager->shared.deadlines);

        core_breaker_settle(&manager->shared, breaker, now_ns);
        if (core_breaker_expiry(breaker, now_ns) <= now_ns) {
            core_manager_remove(manager, breaker, now_ns);
        } else {
            core_breaker_schedule(&manager->shared, breaker, now_ns);
        }
    }
    return cbm_core_next_deadline(manager) <= now_ns;
}

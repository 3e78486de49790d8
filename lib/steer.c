/* Steering: policies (get, configure, reload), resets, manual control, removal, adoption. */
#include "manager.h"

#include "glob.h"
#include "policy.h"
#include "times.h"

#include <string.h>

#define PATTERN_MAX 512 /* bytes of a pattern of names to remove */

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

/* A policy with a higher version than the one in force replaces it, unless a section of the config file stands. */
static int replace_by_version(cbm_core_manager *manager, core_breaker *breaker, const cbm_core_policy_request *asked,
                              const cbm_core_policy *resolved, int64_t now_ns, bool *replaced)
{
    int error;

    *replaced = false;
    if (asked == NULL || breaker->configured ||
        resolved->policy_version <= core_breaker_policy(breaker)->policy_version) {
        return CBM_CORE_OK;
    }
    error = core_manager_ask_anew(manager, breaker, asked, now_ns);
    *replaced = error == CBM_CORE_OK;
    return error;
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
    if (!core_manager_is_name(name)) {
        return CBM_CORE_E_INVALID;
    }
    error = cbm_core_policy_resolve(policy, &resolved, &result->bad_field);
    if (error != CBM_CORE_OK) {
        return error;
    }
    now_ns = core_manager_now(manager, now_ns);
    breaker = core_manager_find(manager, name, now_ns);
    if (!core_manager_has_room(manager, now_ns)) {
        return core_manager_refuse(manager, name, breaker, now_ns);
    }
    if (breaker == NULL) {
        error = core_manager_create(manager, name, policy, now_ns, &breaker);
        result->created = error == CBM_CORE_OK;
    } else {
        error = replace_by_version(manager, breaker, policy, &resolved, now_ns, &replaced);
    }
    if (error != CBM_CORE_OK) {
        return error;
    }
    core_manager_take_operation(manager, now_ns);
    breaker->last_used_ns = now_ns;
    result->policy_source = breaker->configured           ? CBM_CORE_SOURCE_CONFIG
                            : result->created || replaced ? CBM_CORE_SOURCE_CREATED
                                                          : CBM_CORE_SOURCE_EXISTING;
    result->differing = differing_fields(policy, &resolved, core_breaker_policy(breaker));
    if (result->differing != 0 && core_history_first_time(&breaker->rest->history, result->differing)) {
        core_breaker_tell(&manager->shared, breaker,
                          (cbm_core_event){.type = CBM_CORE_EVENT_DIFFERS, .differing = result->differing}, now_ns);
    }
    core_breaker_status(&manager->shared, breaker, now_ns, &result->status);
    return CBM_CORE_OK;
}

/* ---- Steering ------------------------------------------------------------------------------------------------------- */

int cbm_core_reset(cbm_core_manager *manager, const char *name, int64_t now_ns)
{
    core_breaker *breaker;
    int error;

    now_ns = core_manager_now(manager, now_ns);
    error = core_manager_find_existing(manager, name, now_ns, &breaker);
    if (error == CBM_CORE_OK) {
        core_breaker_reset(&manager->shared, breaker, CBM_CORE_CAUSE_RESET, now_ns);
    }
    return error;
}

bool cbm_core_reset_part(cbm_core_manager *manager, uint32_t *next, uint32_t most, int64_t now_ns)
{
    uint32_t slots = manager->registry.slots_made;

    now_ns = core_manager_now(manager, now_ns);
    for (; *next < slots && most > 0; (*next)++, most--) {
        core_breaker *breaker = core_registry_in_slot(&manager->registry, *next);

        if (breaker != NULL) {
            core_breaker_settle(&manager->shared, breaker, now_ns);
            core_breaker_reset(&manager->shared, breaker, CBM_CORE_CAUSE_RESET, now_ns);
        }
    }
    return *next < slots;
}

void cbm_core_reset_all(cbm_core_manager *manager, int64_t now_ns)
{
    uint32_t next = 0;

    (void)cbm_core_reset_part(manager, &next, UINT32_MAX, now_ns);
}

/* Of the next `most` slots; says in *count how many more. */
static void remove_matching(cbm_core_manager *manager, const char *pattern, uint32_t *next, uint32_t most,
                            int64_t now_ns, uint64_t *count)
{
    for (; *next < manager->registry.slots_made && most > 0; (*next)++, most--) {
        core_breaker *breaker = core_registry_in_slot(&manager->registry, *next);

        if (breaker != NULL && core_glob_match(pattern, core_breaker_name(breaker))) {
            core_manager_remove(manager, breaker, now_ns);
            (*count)++;
        }
    }
}

int cbm_core_reset_manager(cbm_core_manager *manager, int64_t now_ns)
{
    uint64_t count = 0;
    uint32_t next = 0;

    now_ns = core_manager_now(manager, now_ns);
    if (!core_manager_has_room(manager, now_ns)) {
        return core_manager_refuse(manager, "", NULL, now_ns);
    }
    remove_matching(manager, "*", &next, UINT32_MAX, now_ns, &count);
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
    now_ns = core_manager_now(manager, now_ns);
    error = core_manager_find_existing(manager, name, now_ns, &breaker);
    return error == CBM_CORE_OK ? core_breaker_control(&manager->shared, breaker, control, reason, for_ms, now_ns)
                                : error;
}

/* The first of the given fields that the section of the config file has the say on, or -1. */
static int field_of_the_file(const core_breaker *breaker, const cbm_core_policy_request *fields)
{
    uint32_t both = fields->given & core_policy_layers_of(breaker->policy)->section.given;

    return both != 0 ? __builtin_ctz(both) : -1;
}

int cbm_core_configure(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy,
                       int64_t now_ns, int *bad_field)
{
    core_breaker *breaker;
    int unwanted;
    int error;

    if (bad_field == NULL) {
        bad_field = &unwanted;
    }
    *bad_field = -1;
    now_ns = core_manager_now(manager, now_ns);
    error = core_manager_find_existing(manager, name, now_ns, &breaker);
    if (error != CBM_CORE_OK) {
        return error;
    }
    *bad_field = field_of_the_file(breaker, policy);
    if (*bad_field >= 0) {
        return CBM_CORE_E_INVALID;
    }
    return core_manager_change_asked(manager, breaker, policy, now_ns, bad_field);
}

bool cbm_core_reload_part(cbm_core_manager *manager, uint32_t *next, uint32_t most, int64_t now_ns)
{
    uint32_t slots = manager->registry.slots_made;

    now_ns = core_manager_now(manager, now_ns);
    for (; *next < slots && most > 0; (*next)++, most--) {
        core_breaker *breaker = core_registry_in_slot(&manager->registry, *next);
        cbm_core_policy_request asked;

        if (breaker != NULL) {
            core_breaker_settle(&manager->shared, breaker, now_ns);
            asked = core_policy_layers_of(breaker->policy)->asked;
            (void)core_manager_ask_anew(manager, breaker, &asked, now_ns); /* without memory the old policy stays */
        }
    }
    return *next < slots;
}

void cbm_core_reload(cbm_core_manager *manager, int64_t now_ns)
{
    uint32_t next = 0;

    (void)cbm_core_reload_part(manager, &next, UINT32_MAX, now_ns);
}

int cbm_core_remove_part(cbm_core_manager *manager, const char *pattern, uint32_t *next, uint32_t most, int64_t now_ns,
                         uint64_t *removed)
{
    if (pattern == NULL || pattern[0] == '\0') {
        return CBM_CORE_E_INVALID; /* all are removed by "*" only, not by a pattern that somebody forgot */
    }
    if (strnlen(pattern, PATTERN_MAX + 1) > PATTERN_MAX) {
        return CBM_CORE_E_INVALID; /* it is tried on all names at once */
    }
    remove_matching(manager, pattern, next, most, core_manager_now(manager, now_ns), removed);
    return *next < manager->registry.slots_made;
}

int cbm_core_remove(cbm_core_manager *manager, const char *pattern, int64_t now_ns, uint64_t *removed)
{
    uint64_t count = 0;
    uint32_t next = 0;
    int error = cbm_core_remove_part(manager, pattern, &next, UINT32_MAX, now_ns, &count);

    if (error == CBM_CORE_OK && removed != NULL) {
        *removed = count;
    }
    return error;
}

int cbm_core_adopt(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy,
                   cbm_core_state state, int64_t retry_after_ns, int64_t now_ns)
{
    cbm_core_policy resolved;
    core_breaker *breaker;
    bool replaced;
    int error;

    if (!core_manager_is_name(name) || (unsigned)state >= CBM_CORE_STATES) {
        return CBM_CORE_E_INVALID;
    }
    error = cbm_core_policy_resolve(policy, &resolved, NULL);
    if (error != CBM_CORE_OK) {
        return error;
    }
    now_ns = core_manager_now(manager, now_ns);
    breaker = core_manager_find(manager, name, now_ns);
    error = breaker == NULL ? core_manager_create(manager, name, policy, now_ns, &breaker)
                            : replace_by_version(manager, breaker, policy, &resolved, now_ns, &replaced);
    if (error == CBM_CORE_OK) {
        core_breaker_adopt(&manager->shared, breaker, state, retry_after_ns, now_ns);
    }
    return error;
}

#include "access.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

struct cbm_access {
    pthread_rwlock_t lock;
    cbm_access_rules *rules; /* NULL: none */
    uint64_t gid;            /* of the administrators; UINT64_MAX: there is no group */
    uint64_t *admins;        /* in order */
    size_t admin_count;
    bool restricted_resets;
};

int cbm_access_new(cbm_access **access)
{
    *access = calloc(1, sizeof **access);
    if (!*access)
        return CBM_PROTO_E_NOMEM;
    (*access)->gid = UINT64_MAX;
    pthread_rwlock_init(&(*access)->lock, NULL);
    return 0;
}

void cbm_access_free(cbm_access *access)
{
    if (!access)
        return;
    cbm_access_rules_free(access->rules);
    free(access->admins);
    pthread_rwlock_destroy(&access->lock);
    free(access);
}

void cbm_access_set_rules(cbm_access *access, cbm_access_rules *rules)
{
    cbm_access_rules *old;
    cbm_access_user *known;
    size_t count;

    pthread_rwlock_wrlock(&access->lock);
    old = access->rules;
    known = cbm_access_rules_users(old, &count);
    cbm_access_rules_learn(rules, known, count);
    access->rules = rules;
    pthread_rwlock_unlock(&access->lock);
    free(known);
    cbm_access_rules_free(old);
}

void cbm_access_set_users(cbm_access *access, const cbm_access_user *users, size_t count)
{
    pthread_rwlock_wrlock(&access->lock);
    cbm_access_rules_learn(access->rules, users, count);
    pthread_rwlock_unlock(&access->lock);
}

void cbm_access_restrict_resets(cbm_access *access, bool restricted)
{
    pthread_rwlock_wrlock(&access->lock);
    access->restricted_resets = restricted;
    pthread_rwlock_unlock(&access->lock);
}

static int by_uid(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

    return first < second ? -1 : first > second;
}

void cbm_access_set_admins(cbm_access *access, uint64_t gid, uint64_t *uids, size_t count)
{
    uint64_t *old;

    if (count)
        qsort(uids, count, sizeof *uids, by_uid);
    pthread_rwlock_wrlock(&access->lock);
    old = access->admins;
    access->gid = gid;
    access->admins = uids;
    access->admin_count = count;
    pthread_rwlock_unlock(&access->lock);
    free(old);
}

/* ---- Questions: a caller's access is const to it, but for the lock --------------------------------------------------- */

static const cbm_access *look(const cbm_caller *caller)
{
    if (caller->access)
        pthread_rwlock_rdlock((pthread_rwlock_t *)&caller->access->lock);
    return caller->access;
}

static void look_away(const cbm_access *access)
{
    if (access)
        pthread_rwlock_unlock((pthread_rwlock_t *)&access->lock);
}

static bool is_admin(const cbm_access *access, const cbm_caller *caller)
{
    if (caller->admin)
        return true;
    if (!access || access->gid == UINT64_MAX)
        return false;
    return caller->gid == access->gid ||
           (access->admin_count &&
            bsearch(&caller->uid, access->admins, access->admin_count, sizeof caller->uid, by_uid));
}

/* The rule that keeps the caller from naming that breaker; NULL: none does. */
static const cbm_access_rule *barring_rule(const cbm_access *access, const cbm_caller *caller, const char *name)
{
    const cbm_access_rule *rule;

    if (!access || !access->rules || is_admin(access, caller))
        return NULL;
    rule = cbm_access_rules_find(access->rules, name);
    return rule && !cbm_access_rule_lists(rule, caller->uid) ? rule : NULL;
}

bool cbm_access_is_admin(const cbm_caller *caller)
{
    const cbm_access *access = look(caller);
    bool admin = is_admin(access, caller);

    look_away(access);
    return admin;
}

bool cbm_access_may_name(const cbm_caller *caller, const char *name)
{
    const cbm_access *access = look(caller);
    bool may = !barring_rule(access, caller, name);

    look_away(access);
    return may;
}

static bool is_restricted(const cbm_access *access, const cbm_caller *caller)
{
    if (!access || !access->rules || is_admin(access, caller))
        return false;
    for (size_t i = 0; i < access->rules->count; i++)
        if (!cbm_access_rule_lists(&access->rules->rules[i], caller->uid))
            return true;
    return false;
}

bool cbm_access_is_restricted(const cbm_caller *caller)
{
    const cbm_access *access = look(caller);
    bool restricted = is_restricted(access, caller);

    look_away(access);
    return restricted;
}

static bool is_reset(cbm_operation op)
{
    return op == CBM_OP_RESET || op == CBM_OP_RESET_ALL || op == CBM_OP_RESET_MANAGER;
}

static int deny(char *message, size_t size, const char *operation, const char *why)
{
    snprintf(message, size, "%s is for root, the broker's own user and the members of its --admin-group%s", operation,
             why);
    return CBM_PROTO_E_DENIED;
}

/* Whom a request names. A pattern without wildcards is one breaker's name: leaving it out in silence would say that it is not there. */
static const char *named(const cbm_request *request)
{
    if (request->op == CBM_OP_CALL_REPORT)
        return request->report.name;
    if (request->op == CBM_OP_STATES && !strpbrk(request->pattern, "*?[\\"))
        return request->pattern;
    return request->name;
}

static int check(const cbm_access *access, const cbm_caller *caller, const cbm_request *request, char *message,
                 size_t size)
{
    const cbm_operation_row *row = &cbm_operations[request->op];
    const char *name = named(request);
    const cbm_access_rule *rule;

    if (row->flags & CBM_OPERATION_ADMIN && !is_admin(access, caller))
        return deny(message, size, row->name, "");
    if (is_reset(request->op) && access && access->restricted_resets && !is_admin(access, caller))
        return deny(message, size, row->name, " (--restrict-resets)");
    if ((request->op == CBM_OP_RESET_ALL || request->op == CBM_OP_RESET_MANAGER) && is_restricted(access, caller))
        return deny(message, size, row->name, ", since some breakers are for certain users only");
    rule = name[0] ? barring_rule(access, caller, name) : NULL;
    if (!rule)
        return 0;
    snprintf(message, size, "breakers like \"%s\" are for certain users only: see [access] in the config file",
             rule->pattern.text);
    return CBM_PROTO_E_DENIED;
}

int cbm_access_check(const cbm_caller *caller, const cbm_request *request, char *message, size_t size)
{
    const cbm_access *access = look(caller);
    int error = check(access, caller, request, message, size);

    look_away(access);
    return error;
}

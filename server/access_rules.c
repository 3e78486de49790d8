#include "access_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cbm_access_rules_free(cbm_access_rules *rules)
{
    if (!rules)
        return;
    for (size_t i = 0; i < rules->count; i++) {
        cbm_config_pattern_deinit(&rules->rules[i].pattern);
        free(rules->rules[i].uids);
        free(rules->rules[i].users);
    }
    free(rules->rules);
    free(rules);
}

bool cbm_access_rules_add(cbm_access_rules *rules, const cbm_config_pattern *pattern, unsigned line)
{
    cbm_access_rule *more = realloc(rules->rules, (rules->count + 1) * sizeof *more);

    if (!more)
        return false;
    rules->rules = more;
    rules->rules[rules->count++] = (cbm_access_rule){.pattern = *pattern, .line = line};
    return true;
}

bool cbm_access_rules_add_uid(cbm_access_rules *rules, uint64_t uid)
{
    cbm_access_rule *rule = &rules->rules[rules->count - 1];
    uint64_t *more = realloc(rule->uids, (rule->uid_count + 1) * sizeof *more);

    if (!more)
        return false;
    rule->uids = more;
    rule->uids[rule->uid_count++] = uid;
    return true;
}

bool cbm_access_rules_add_user(cbm_access_rules *rules, const char *name)
{
    cbm_access_rule *rule = &rules->rules[rules->count - 1];
    cbm_access_user *more = realloc(rule->users, (rule->user_count + 1) * sizeof *more);

    if (!more)
        return false;
    rule->users = more;
    more[rule->user_count] = (cbm_access_user){.uid = CBM_ACCESS_UNKNOWN};
    snprintf(more[rule->user_count++].name, sizeof more->name, "%s", name);
    return true;
}

static int by_name(const void *a, const void *b)
{
    const cbm_access_user *first = a, *second = b;

    return strcmp(first->name, second->name);
}

/* In order already. Returns how many are left. */
static size_t leave_out_repeated(cbm_access_user *users, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (kept == 0 || by_name(&users[kept - 1], &users[i]) != 0)
            users[kept++] = users[i];
    return kept;
}

cbm_access_user *cbm_access_rules_users(const cbm_access_rules *rules, size_t *count)
{
    cbm_access_user *users;
    size_t all = 0;

    *count = 0;
    errno = 0;
    for (size_t i = 0; rules && i < rules->count; i++)
        all += rules->rules[i].user_count;
    users = all ? malloc(all * sizeof *users) : NULL;
    if (!users)
        return NULL;
    for (size_t i = 0; i < rules->count; i++)
        for (size_t j = 0; j < rules->rules[i].user_count; j++)
            users[(*count)++] = rules->rules[i].users[j];
    qsort(users, all, sizeof *users, by_name);
    *count = leave_out_repeated(users, all);
    return users;
}

void cbm_access_rules_learn(cbm_access_rules *rules, const cbm_access_user *users, size_t count)
{
    for (size_t i = 0; rules && count && i < rules->count; i++)
        for (size_t j = 0; j < rules->rules[i].user_count; j++) {
            cbm_access_user *user = &rules->rules[i].users[j];
            const cbm_access_user *known = bsearch(user, users, count, sizeof *users, by_name);

            if (known)
                user->uid = known->uid;
        }
}

static int by_specificity(const void *a, const void *b)
{
    const cbm_access_rule *first = a, *second = b;
    int order = cbm_config_pattern_order(&first->pattern, &second->pattern);

    return order ? order : first->line < second->line ? -1 : 1;
}

const cbm_access_rule *cbm_access_rules_sort(cbm_access_rules *rules)
{
    if (rules->count)
        qsort(rules->rules, rules->count, sizeof *rules->rules, by_specificity);
    for (size_t i = 0; i < rules->count; i++)
        for (size_t j = i + 1; j < rules->count; j++)
            if (rules->rules[i].pattern.exact == rules->rules[j].pattern.exact &&
                strcmp(rules->rules[i].pattern.text, rules->rules[j].pattern.text) == 0)
                return &rules->rules[j];
    return NULL;
}

const cbm_access_rule *cbm_access_rules_find(const cbm_access_rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->count; i++)
        if (cbm_config_pattern_matches(&rules->rules[i].pattern, name))
            return &rules->rules[i];
    return NULL;
}

bool cbm_access_rule_lists(const cbm_access_rule *rule, uint64_t uid)
{
    for (size_t i = 0; i < rule->uid_count; i++)
        if (rule->uids[i] == uid)
            return true;
    for (size_t i = 0; i < rule->user_count; i++)
        if (rule->users[i].uid == uid && uid != CBM_ACCESS_UNKNOWN)
            return true;
    return false;
}

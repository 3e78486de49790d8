#include "access_rules.h"

#include <stdlib.h>
#include <string.h>

void cbm_access_rules_free(cbm_access_rules *rules)
{
    if (!rules)
        return;
    for (size_t i = 0; i < rules->count; i++) {
        cbm_config_pattern_deinit(&rules->rules[i].pattern);
        free(rules->rules[i].uids);
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
    return false;
}

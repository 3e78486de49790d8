#include "config_access.h"

#include <stdlib.h>
#include <string.h>

#define VALUE_SHOWN 64

void cbm_config_access_begin(cbm_config_lines *lines, cbm_access_rules **rules, const char *pattern)
{
    const char *why = "there is no memory for it";
    cbm_config_pattern parsed;

    if (!*rules)
        *rules = calloc(1, sizeof **rules);
    if (*rules && (*rules)->count >= CBM_ACCESS_RULES_MAX) {
        cbm_config_refuse(lines, lines->line, "this is one [access] section too many: there may be %d",
                          CBM_ACCESS_RULES_MAX);
        return;
    }
    if (*rules && cbm_config_pattern_init(&parsed, pattern, &why)) {
        if (cbm_access_rules_add(*rules, &parsed, lines->line))
            return;
        cbm_config_pattern_deinit(&parsed);
    }
    cbm_config_refuse(lines, lines->line, "\"%s\" is not taken: %s", pattern, why);
}

/* One number of the list; *at goes behind it and its comma. */
static bool next_uid(const char **at, uint64_t *uid)
{
    const char *digits = *at + strspn(*at, " \t");
    size_t count = strspn(digits, "0123456789");

    if (count == 0 || count > 10)
        return false;
    *uid = strtoull(digits, NULL, 10);
    digits += count;
    digits += strspn(digits, " \t");
    if (*digits == ',')
        *at = digits + 1;
    else
        *at = digits;
    return *uid < UINT32_MAX && (*digits == '\0' || *digits == ',');
}

static void add_uids(cbm_config_lines *lines, cbm_access_rules *rules, const char *value)
{
    const cbm_access_rule *rule = &rules->rules[rules->count - 1];
    const char *at = value;
    uint64_t uid;

    do {
        if (!next_uid(&at, &uid)) {
            cbm_config_refuse(lines, lines->line, "uid must be the numbers of users with commas between, not '%.*s'",
                              VALUE_SHOWN, value);
            return;
        }
        if (rule->uid_count >= CBM_ACCESS_UIDS_MAX || !cbm_access_rules_add_uid(rules, uid)) {
            cbm_config_refuse(lines, lines->line, "one section takes %d users at most", CBM_ACCESS_UIDS_MAX);
            return;
        }
    } while (*at || at[-1] == ',');
}

void cbm_config_access_key(cbm_config_lines *lines, cbm_access_rules *rules, const char *key, const char *value)
{
    if (strcmp(key, "uid") == 0)
        add_uids(lines, rules, value);
    else
        cbm_config_refuse(lines, lines->line, "there is no key '%.*s' in this section: uid is", VALUE_SHOWN, key);
}

void cbm_config_access_end(cbm_config_lines *lines, cbm_access_rules *rules)
{
    const cbm_access_rule *again = rules ? cbm_access_rules_sort(rules) : NULL;

    if (again)
        cbm_config_refuse(lines, again->line, "a section [access \"%s\"] stands in an earlier line already",
                          again->pattern.text);
}

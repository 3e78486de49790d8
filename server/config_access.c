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

/* The names that useradd and directories give, and none that looks like an option, a group or two names. */
static bool is_name(const char *text)
{
    static const char others[] = "_-.@$\\+";

    for (const char *at = text; *at; at++)
        if (!(*at >= 'a' && *at <= 'z') && !(*at >= 'A' && *at <= 'Z') && !(*at >= '0' && *at <= '9') &&
            (at == text ? *at != '_' : !strchr(others, *at)))
            return false;
    return text[0] != '\0';
}

static bool is_number(const char *text, uint64_t *uid)
{
    *uid = strtoull(text, NULL, 10);
    return strlen(text) <= 10 && *uid < UINT32_MAX;
}

/* One user of the list, without the white space around it; *at goes behind it and its comma. False: it is too long to be one. */
static bool next_user(const char **at, char user[CBM_ACCESS_NAME_MAX + 1])
{
    const char *begin = *at + strspn(*at, " \t");
    size_t size = strcspn(begin, ",");

    *at = begin + size + (begin[size] == ',');
    while (size && strchr(" \t", begin[size - 1]))
        size--;
    if (size > CBM_ACCESS_NAME_MAX)
        return false;
    memcpy(user, begin, size);
    user[size] = '\0';
    return true;
}

static bool add_user(cbm_access_rules *rules, const char *user, bool by_name, uint64_t uid)
{
    const cbm_access_rule *rule = &rules->rules[rules->count - 1];

    if (rule->uid_count + rule->user_count >= CBM_ACCESS_UIDS_MAX)
        return false;
    return by_name ? cbm_access_rules_add_user(rules, user) : cbm_access_rules_add_uid(rules, uid);
}

static void add_users(cbm_config_lines *lines, cbm_access_rules *rules, const char *value)
{
    char user[CBM_ACCESS_NAME_MAX + 1];
    const char *at = value;

    do {
        bool taken = next_user(&at, user), by_name = taken && user[strspn(user, "0123456789")];
        uint64_t uid = 0;

        if (!taken || !(by_name ? is_name(user) : user[0] && is_number(user, &uid))) {
            cbm_config_refuse(lines, lines->line,
                              "uid must be users, by name or by number, with commas between, not '%.*s'", VALUE_SHOWN,
                              value);
            return;
        }
        if (!add_user(rules, user, by_name, uid)) {
            cbm_config_refuse(lines, lines->line, "one section takes %d users at most", CBM_ACCESS_UIDS_MAX);
            return;
        }
    } while (*at || at[-1] == ',');
}

void cbm_config_access_key(cbm_config_lines *lines, cbm_access_rules *rules, const char *key, const char *value)
{
    if (strcmp(key, "uid") == 0)
        add_users(lines, rules, value);
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

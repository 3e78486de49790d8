/*
 * The [access "..."] sections of the config file: which breakers are for some users only. Fixed once they were read, but for whom
 * the names of users stand for, which is looked up elsewhere.
 */
#ifndef CBM_SERVER_ACCESS_RULES_H
#define CBM_SERVER_ACCESS_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config_pattern.h"

#define CBM_ACCESS_RULES_MAX 256 /* each is looked at when a breaker is named */
#define CBM_ACCESS_UIDS_MAX 1024 /* of one rule */

#define CBM_ACCESS_NAME_MAX 64
#define CBM_ACCESS_UNKNOWN UINT64_MAX /* the uid of a name that was not looked up yet, or is nobody's */

/* A user by name. */
typedef struct cbm_access_user {
    char name[CBM_ACCESS_NAME_MAX + 1];
    uint64_t uid;
} cbm_access_user;

typedef struct cbm_access_rule {
    cbm_config_pattern pattern;
    unsigned line; /* of its heading */
    uint64_t *uids;
    size_t uid_count;
    cbm_access_user *users;
    size_t user_count;
} cbm_access_rule;

typedef struct cbm_access_rules {
    cbm_access_rule *rules; /* the most specific first, once sorted */
    size_t count;
} cbm_access_rules;

void cbm_access_rules_free(cbm_access_rules *rules); /* NULL is fine */

/* Takes the pattern over and adds a rule without users, which lets administrators alone through. False: no memory, not taken. */
bool cbm_access_rules_add(cbm_access_rules *rules, const cbm_config_pattern *pattern, unsigned line);
/* A user of the rule that was added last. False: no memory. */
bool cbm_access_rules_add_uid(cbm_access_rules *rules, uint64_t uid);
/* The same by name, of CBM_ACCESS_NAME_MAX bytes at most. */
bool cbm_access_rules_add_user(cbm_access_rules *rules, const char *name);
/* When all are added. NULL, or a rule whose pattern another one has as well. */
const cbm_access_rule *cbm_access_rules_sort(cbm_access_rules *rules);

/* All users by name, each once, in the order of their names: to be freed. NULL: there are none, or there is no memory (ENOMEM). */
cbm_access_user *cbm_access_rules_users(const cbm_access_rules *rules, size_t *count);
/* Takes over whom names stand for, from a list in that order. What is not in it stays as it was. */
void cbm_access_rules_learn(cbm_access_rules *rules, const cbm_access_user *users, size_t count);

/* The rule that speaks for the breaker: as with [breaker] sections, the most specific that matches. NULL: none. */
const cbm_access_rule *cbm_access_rules_find(const cbm_access_rules *rules, const char *name);
bool cbm_access_rule_lists(const cbm_access_rule *rule, uint64_t uid);

#endif

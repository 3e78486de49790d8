/*
 * Who may do what. Administrative operations are for root, the broker's own user and the members of one group; the resets
 * too, where that was asked for. Breakers whose names match a rule of the config file are for the users that it lists, and for
 * administrators. Thread-safe; asking never blocks on anything but a short lock.
 */
#ifndef CBM_SERVER_ACCESS_H
#define CBM_SERVER_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access_rules.h"
#include "caller.h"
#include "message.h"

int cbm_access_new(cbm_access **access);  /* CBM_PROTO_E_NOMEM. Nobody is restricted, and nobody is in the group */
void cbm_access_free(cbm_access *access); /* NULL is fine */

/*
 * Takes the rules over (NULL: none); they hold for whatever is asked from now on. Names of users that the rules before had stand
 * for whom they stood.
 */
void cbm_access_set_rules(cbm_access *access, cbm_access_rules *rules);
/* Whom the names of users in the rules stand for, as of cbm_access_rules_users. */
void cbm_access_set_users(cbm_access *access, const cbm_access_user *users, size_t count);
void cbm_access_restrict_resets(cbm_access *access, bool restricted);
/* The members of the administrators' group: takes `uids` over (from malloc, in any order). gid UINT64_MAX: there is no group. */
void cbm_access_set_admins(cbm_access *access, uint64_t gid, uint64_t *uids, size_t count);

/* access of a caller NULL: only caller->admin counts, and no rule holds. */
bool cbm_access_is_admin(const cbm_caller *caller);
/* Whether the caller may name that breaker. */
bool cbm_access_may_name(const cbm_caller *caller, const char *name);
/* Whether there are breakers that the caller may not name: then answers that list some leave those out. */
bool cbm_access_is_restricted(const cbm_caller *caller);
/* 0, or CBM_PROTO_E_DENIED and in `message` who may. Of an array of reports each is judged by itself (cbm_access_may_name). */
int cbm_access_check(const cbm_caller *caller, const cbm_request *request, char *message, size_t size);

#endif

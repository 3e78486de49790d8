/*
 * Who the members of the administrators' group are, and whom the names of users in the rules of access stand for. Looked up by a
 * thread of its own, since the answer may come over a network or not at all; until it comes, nobody is a member, and names stand
 * for whom they stood before, if anybody.
 */
#ifndef CBM_SERVER_ADMINS_H
#define CBM_SERVER_ADMINS_H

#include <stdbool.h>

#include "access.h"

typedef struct cbm_admins cbm_admins;

int cbm_admins_new(cbm_admins **admins, cbm_access *access); /* CBM_PROTO_E_NOMEM */
/* `access` is not touched any more; a lookup that hangs is left behind. NULL is fine. */
void cbm_admins_free(cbm_admins *admins);

/*
 * Looks up the group (a name or a number; "": there is none) and the users (of cbm_access_rules_users, taken over; NULL: none)
 * and tells `access` and the log. A later lookup wins.
 */
void cbm_admins_look_up(cbm_admins *admins, const char *group, cbm_access_user *users, size_t count);
/* Waits until the last lookup is done: false, it was not within that time. */
bool cbm_admins_wait(cbm_admins *admins, int timeout_ms);

#endif

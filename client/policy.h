/* The caller's cbm_policy <-> the core's. */
#ifndef CBM_CLIENT_POLICY_H
#define CBM_CLIENT_POLICY_H

#include "cbm.h"
#include "cbm_core.h"

/*
 * `policy` may be NULL. 0, or CBM_E_INVALID with the field named in the last message. `whole`: it must not contradict itself
 * either (that of a creation; a change of some fields can only be judged by who knows the others).
 */
int cbm_policy_read(const cbm_policy *policy, bool whole, cbm_core_policy_request *request);
/* All fields in force; CBM_NEVER where 0 means none. */
void cbm_policy_write(const cbm_core_policy *from, cbm_policy *to);
/* Asks for exactly this policy. */
void cbm_policy_request_all(const cbm_core_policy *policy, cbm_core_policy_request *request);

#endif

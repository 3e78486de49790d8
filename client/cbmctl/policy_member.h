/* Which member of cbm.h's cbm_policy a row of the table of policy fields is. */
#ifndef CBMCTL_POLICY_MEMBER_H
#define CBMCTL_POLICY_MEMBER_H

#include <stdbool.h>

#include "cbm.h"
#include "cbm_core.h"

/* Sets the member of that row to a value in steps of 1/scale. False: cbm.h has no such member. */
bool policy_member_set(cbm_policy *policy, const cbm_core_policy_field *row, uint32_t value);

#endif

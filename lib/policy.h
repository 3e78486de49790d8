/* The table of policy fields is cbm_core_policy_table(); here is what the rest of lib needs beside it. */
#ifndef CORE_POLICY_H
#define CORE_POLICY_H

#include "cbm_core.h"

#define CORE_POLICY_ALL_FIELDS ((UINT32_C(1) << CBM_CORE_POLICY_FIELDS) - 1)

void core_policy_put(cbm_core_policy *policy, int field, uint32_t value);

/* `over` on top of `under`: the fields that `over` gives, else those of `under`. */
void core_policy_merge(cbm_core_policy_request *merged, const cbm_core_policy_request *under,
                       const cbm_core_policy_request *over);

/* Whether each field that is given has a value that it may have. Together they may contradict each other all the same. */
bool core_policy_is_in_range(const cbm_core_policy_request *request);

/* Zeroes what is not given, so that equal requests are equal bytes. */
void core_policy_normalize(cbm_core_policy_request *normal, const cbm_core_policy_request *request);

#endif

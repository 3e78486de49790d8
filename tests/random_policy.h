/* Policies drawn at random: small numbers, so that a short walk meets every limit of theirs. None expires. */
#ifndef CBM_TEST_RANDOM_POLICY_H
#define CBM_TEST_RANDOM_POLICY_H

#include "cbm_core.h"

const char *random_rule_name(cbm_core_rule rule);
cbm_core_policy_request random_policy(cbm_core_rule rule);

#endif

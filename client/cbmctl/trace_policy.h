/* The policy of a trace: its config line, and what the command line says instead. */
#ifndef CBMCTL_TRACE_POLICY_H
#define CBMCTL_TRACE_POLICY_H

#include "policy_options.h"
#include "trace_line.h"

/* A config line, in the policy's own names or in those that traces of other libraries have. False with why not. */
bool trace_policy_read(const trace_line *line, cbm_core_policy_request *request, char why[TRACE_WHY_MAX]);
/* Takes "field=value,field=value", with the same names. False with why not. */
bool trace_policy_words(policy_options *policy, const char *words, char why[TRACE_WHY_MAX]);
/* What `instead` gives stands instead of what `request` had. */
void trace_policy_override(cbm_core_policy_request *request, const cbm_core_policy_request *instead);

#endif

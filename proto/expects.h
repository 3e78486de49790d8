/* What error messages say of what was given and of what is allowed: one wording for a thing, whoever finds the mistake. */
#ifndef CBM_PROTO_EXPECTS_H
#define CBM_PROTO_EXPECTS_H

#include <stddef.h>

/* "name must be ..." */
#define CBM_NAME_EXPECTS "1 to 128 bytes of UTF-8 without control characters"

/* "an integer from 1 to 1000000", "consecutive, failures, count_window or time_window", for messages. */
void cbm_policy_field_expects(int field, char *text, size_t size);
/* What a field owes the others, when cbm_core_policy_resolve has found it to be at fault: "must not be less than timeout_ms". */
const char *cbm_policy_field_beside(int field);

#define CBM_SHOWN_MAX 80
/* A text that was given, in quotes; of a long one the beginning and its length: 'aaa...' (129 bytes). Returns `shown`. */
const char *cbm_text_shown(const char *text, size_t length, char shown[CBM_SHOWN_MAX]);

#endif

/* The tables behind requests, for the codec and for text commands. */
#ifndef CBM_PROTO_REQUEST_FIELDS_H
#define CBM_PROTO_REQUEST_FIELDS_H

#include "fields.h"

/* Rows of cbm_request, by cbm_request_field. Those of POLICY, REPORT and REPORTS have no name: several keys, or an array. */
extern const cbm_field_row cbm_request_rows[CBM_REQUEST_NONE];

typedef enum cbm_report_field {
    CBM_REPORT_NAME,
    CBM_REPORT_PERMIT,
    CBM_REPORT_OUTCOME,
    CBM_REPORT_DURATION_MS,
    CBM_REPORT_ERROR_TEXT,
    CBM_REPORT_OPEN_FOR_MS,
    CBM_REPORT_CLIENT,
    CBM_REPORT_SEQUENCE,
    CBM_REPORT_INCARNATION,
    CBM_REPORT_LATE,
    CBM_REPORT_COUNT,
    CBM_REPORT_FIELDS,
} cbm_report_field;

extern const cbm_field_row cbm_report_rows[CBM_REPORT_FIELDS];

/* `timeout` stands for timeout_ms: the milliseconds of so many seconds, or -1 when they are not whole. */
double cbm_timeout_ms_of(double seconds);
#define CBM_TIMEOUT_KEY "timeout"

/* Index of the policy field `timeout_ms`. */
int cbm_policy_timeout_field(void);

#endif

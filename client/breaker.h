/* Calls that need a message, or what else the board cannot do. */
#ifndef CBM_CLIENT_BREAKER_H
#define CBM_CLIENT_BREAKER_H

#include "cbm.h"

/* As the functions of cbm.h are to do them; from there, or with the mark of a call that the board could not answer. */
int cbm_begin_by_message(cbm_breaker *breaker, const cbm_begin_options *options, cbm_permit *permit);
int cbm_report_by_message(cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *options);
/* The rest of a report that is counted: the broker is to look at the ledger now. 0: the success stands there in any case. */
int cbm_report_by_pull(cbm_breaker *breaker);

#endif

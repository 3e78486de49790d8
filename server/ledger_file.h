/* A descriptor that somebody passed, looked at until it is sure that reading what it maps can never fault. */
#ifndef CBM_SERVER_LEDGER_FILE_H
#define CBM_SERVER_LEDGER_FILE_H

#include "ledger.h"

/*
 * Maps a ledger read-only; the descriptor stays the caller's, and is not needed any more. CBM_PROTO_E_INVALID: it is none, and
 * *why says what it lacks; CBM_PROTO_E_NOMEM.
 */
int cbm_ledger_file_map(int descriptor, const cbm_ledger **ledger, const char **why);
void cbm_ledger_file_unmap(const cbm_ledger *ledger); /* NULL is fine */

#endif

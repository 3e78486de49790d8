/*
 * Calls that the board answers and the ledger counts: no message, no system call, no lock. What they cannot decide is asked of
 * the broker as before.
 */
#ifndef CBM_CLIENT_BOARD_CALL_H
#define CBM_CLIENT_BOARD_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "cbm.h"

enum {
    CBM_BOARD_ASKS = 1, /* it cannot say: the broker is to be asked */
    CBM_BOARD_PULLS =
        2, /* counted, but the broker may have looked before: it is to look again before the report returns */
};

/* Needs not be entered. 0 with a permit, why the call is refused, or CBM_BOARD_ASKS, which leaves the permit as it was. */
int cbm_board_begin(cbm_breaker *breaker, cbm_permit *permit);
/*
 * A success, of a permit of the board that this process took and has not reported yet. Needs not be entered. 0 and CBM_BOARD_PULLS: it is counted, the permit spent.
 * CBM_BOARD_ASKS: nothing was done. duration_ns -1: none.
 */
int cbm_board_succeed(cbm_permit *permit, int64_t duration_ns);
/* Whether the breaker's place is good: the board knows of it. */
bool cbm_board_has(const cbm_breaker *breaker);

#endif

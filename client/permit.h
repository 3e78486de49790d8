/* What is in a cbm_permit. */
#ifndef CBM_CLIENT_PERMIT_H
#define CBM_CLIENT_PERMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cbm.h"
#include "message.h"

/* cbm_private_kind */
enum {
    CBM_PERMIT_NONE = 0,
    CBM_PERMIT_REFUSED, /* it holds retry_after_ms */
    CBM_PERMIT_BROKER,
    CBM_PERMIT_LOCAL,       /* of the manager in this process */
    CBM_PERMIT_UNPROTECTED, /* nobody was asked */
    CBM_PERMIT_BOARD,       /* it holds a cbm_board_permit */
    CBM_PERMIT_REPORTED,
    CBM_PERMIT_PULLS, /* of the board and counted; the broker is still to look at the ledger */
};

/* cbm_private_flags */
enum {
    CBM_PERMIT_PROBE = 1,
    CBM_PERMIT_COUNTED = 2, /* of the board, but the broker has counted the operation: its report goes there */
    CBM_PERMIT_TIMED = 4,   /* of the board, and begun_ns is set; of others it always is */
};

/* What stands in the bytes of a permit of the board. */
typedef struct cbm_board_permit {
    uint64_t word;
    uint64_t place;
} cbm_board_permit;

_Static_assert(sizeof(cbm_permit) == 64, "bindings rely on it");
_Static_assert(sizeof(((cbm_permit *)0)->cbm_private_permit) == CBM_PERMIT_MAX, "the wire's permit fits");
_Static_assert(sizeof(cbm_board_permit) <= CBM_PERMIT_MAX, "and the board's");
_Static_assert(offsetof(cbm_permit, cbm_private_permit) % _Alignof(cbm_board_permit) == 0, "in whole words");

/* Whether the call's duration can be told. */
static inline bool cbm_permit_is_timed(const cbm_permit *permit)
{
    return permit->cbm_private_kind != CBM_PERMIT_BOARD || permit->cbm_private_flags & CBM_PERMIT_TIMED;
}

static inline cbm_board_permit cbm_permit_of_board(const cbm_permit *permit)
{
    cbm_board_permit of_board;

    memcpy(&of_board, permit->cbm_private_permit, sizeof(of_board));
    return of_board;
}

#endif

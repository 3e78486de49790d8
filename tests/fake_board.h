/*
 * A board that a test writes, handed out beside a fake broker's socket, and the ledger that its client brings. Answers `attach`
 * and tells the places of breakers, in the order in which they are got first; all else as fake_answer does.
 */
#ifndef CBM_FAKE_BOARD_H
#define CBM_FAKE_BOARD_H

#include "board.h"
#include "fake_broker.h"
#include "ledger.h"

#define FAKE_SLOTS 64
#define FAKE_GENERATION 7 /* of all slots at first; each incarnation of the broker adds 100 */

/* How the handshake goes wrong. */
typedef enum fake_attach {
    FAKE_ATTACH_WELL,
    FAKE_ATTACH_SILENT, /* takes the ledger and says nothing */
    FAKE_ATTACH_REFUSED,
    FAKE_ATTACH_UNSEALED,
    FAKE_ATTACH_SHORT, /* the board is smaller than the reply says */
    FAKE_ATTACH_OTHER_INCARNATION,
    FAKE_ATTACH_OTHER_TIME,
    FAKE_ATTACH_NO_BOARD,  /* a reply without a descriptor */
    FAKE_ATTACH_HANGS_UP,  /* after the acknowledgement nothing is closed for a while: as SILENT, later */
    FAKE_ATTACH_NO_SOCKET, /* the other socket is not there */
} fake_attach;

typedef struct fake_board fake_board;

/* A broker with a board, all of whose slots are CLOSED, fast, epoch 1. */
fake_board *fake_board_start(fake_attach how);
void fake_board_stop(fake_board *board);
fake_broker *fake_board_broker(fake_board *board);
const char *fake_board_address(fake_board *board);

/* As if the process had been killed: the board says so, the socket is gone. */
void fake_board_die(fake_board *board);
/* Another broker at the same address, with a new board. */
void fake_board_restart(fake_board *board);
/* The board alone says that its broker is dead, or lives again. */
void fake_board_set_alive(fake_board *board, bool alive);
/* From now on requests are not answered (or are again). Attached clients keep their connections. */
void fake_board_hang(fake_board *board, bool hang);
/* As if it lived in another pid namespace than its clients. To be called before any of them connects. */
void fake_board_hide_pid(fake_board *board);

void fake_board_put(fake_board *board, uint32_t slot, uint64_t word, int64_t aux);
/* The word of CLOSED, with these flags, at the slot's present generation. */
uint64_t fake_board_word(fake_board *board, cbm_core_state state, uint64_t flags, uint32_t epoch);
/* The breaker in that slot is gone, and another one of the same name will get the slot. */
void fake_board_renew_slot(fake_board *board, uint32_t slot);
/* Entries that are given out; 0: none. All at first. */
void fake_board_limit_entries(fake_board *board, uint32_t count);
/* Policy answered by get: slow_call_duration_ms; 0: the default. */
void fake_board_set_slow(fake_board *board, uint32_t slow_call_duration_ms);

int fake_board_attached(fake_board *board); /* how often a ledger was */
/* The ledger attached last; NULL: none. Good until the board is stopped, or 64 more are. */
const cbm_ledger *fake_board_ledger(fake_board *board);

/* Of one entry, over all lanes and epochs. */
typedef struct fake_counts {
    uint64_t successes, late, rejected, half_open_rejected, timed, histogram;
} fake_counts;
fake_counts fake_counts_of(const cbm_ledger *ledger, uint32_t entry);

#endif

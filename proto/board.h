/*
 * The board: what cbmd lets every process of the host see of its breakers. One writer, the broker; clients have it mapped
 * read-only. A call on a CLOSED breaker needs one load of it, and one on an OPEN breaker is refused from it.
 *
 * A memfd of fixed size, sealed against shrinking, growing and all writing but the broker's own: a header, then the slots.
 * All integers are little-endian words of this machine: the board never leaves it.
 */
#ifndef CBM_PROTO_BOARD_H
#define CBM_PROTO_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbm_core.h"
#include "message.h"

#define CBM_BOARD_MAGIC UINT64_C(0x31647261424d4243) /* "CBMBard1" */
#define CBM_BOARD_VERSION 1
#define CBM_BOARD_SLOTS_MAX (UINT32_C(1) << 20) /* a client reserves address space for so many */
#define CBM_BOARD_HEADER_SIZE 4096

/*
 * A breaker: two words, each read and written as a whole. `word` is what CBM_WORD_* below take apart. `aux` belongs to it:
 *   OPEN, FORCED_OPEN, and HALF_OPEN with CBM_WORD_FULL   retry_at_ns (CLOCK_MONOTONIC): until then begins are refused from here;
 *                                                         INT64_MAX: until the word changes
 *   CBM_WORD_TIMED                                        slow_call_duration in ns: a success that took longer goes by message
 *   else                                                  0
 * Writer: aux, then word (release), and whoever reads that word reads that aux or a later one. Reader: word (acquire),
 * aux, word again; once more if it has changed.
 */
typedef struct cbm_slot {
    _Atomic uint64_t word;
    _Atomic int64_t aux;
} cbm_slot;

/* The word: bits 0 to 2 the state (cbm_core_state), 3 to 9 flags, 10 to 31 the epoch, 32 to 63 the slot generation. */
#define CBM_WORD_STATE_MASK UINT64_C(7)
#define CBM_WORD_FAST (UINT64_C(1) << 3)  /* successes may stay in the ledger: no number of them decides anything now */
#define CBM_WORD_TIMED (UINT64_C(1) << 4) /* durations are wanted, and aux says what is slow */
#define CBM_WORD_FULL (UINT64_C(1) << 5) /* HALF_OPEN has no permit to give before aux; counts while the broker lives */
#define CBM_WORD_ASK (UINT64_C(1) << 6)  /* every begin goes to the broker */
/* bits 7 to 9: 0, for what comes later */
#define CBM_WORD_EPOCH_SHIFT 10
#define CBM_WORD_EPOCH_MASK (CBM_CORE_EPOCH_MASK << CBM_WORD_EPOCH_SHIFT)
#define CBM_WORD_GENERATION_SHIFT 32
#define CBM_WORD_GENERATION_MASK (UINT64_C(0xffffffff) << CBM_WORD_GENERATION_SHIFT)
/* What makes a permit late when it has changed. */
#define CBM_WORD_PERMIT_MASK (CBM_WORD_EPOCH_MASK | CBM_WORD_GENERATION_MASK)

_Static_assert(CBM_CORE_EPOCH_MASK << CBM_WORD_EPOCH_SHIFT <= UINT32_MAX,
               "state, flags and epoch fit into the low half");
_Static_assert(CBM_CORE_STATES <= CBM_WORD_STATE_MASK + 1, "the states fit");

static inline cbm_core_state cbm_word_state(uint64_t word)
{
    return (cbm_core_state)(word & CBM_WORD_STATE_MASK);
}

static inline uint32_t cbm_word_epoch(uint64_t word)
{
    return (uint32_t)(word >> CBM_WORD_EPOCH_SHIFT) & (uint32_t)CBM_CORE_EPOCH_MASK;
}

static inline uint32_t cbm_word_generation(uint64_t word)
{
    return (uint32_t)(word >> CBM_WORD_GENERATION_SHIFT);
}

static inline uint64_t cbm_word_make(cbm_core_state state, uint64_t flags, uint32_t epoch, uint32_t generation)
{
    return (uint64_t)generation << CBM_WORD_GENERATION_SHIFT | (uint64_t)epoch << CBM_WORD_EPOCH_SHIFT | flags |
           (uint64_t)state;
}

typedef struct cbm_board {
    uint64_t magic;
    uint32_t version;
    uint32_t header_size; /* CBM_BOARD_HEADER_SIZE */
    uint64_t size;        /* of all */
    uint32_t slot_size;
    uint32_t slot_count;
    uint8_t incarnation[CBM_ID_SIZE];
    /*
     * The broker's main thread id while it lives, registered as the pending lock of a robust list: the kernel clears it at
     * any death. Alive is what cbm_board_alive says; a clean exit stores 0 last.
     */
    _Alignas(64) _Atomic uint32_t alive;
    _Alignas(CBM_BOARD_HEADER_SIZE) cbm_slot slots[];
} cbm_board;

_Static_assert(sizeof(cbm_slot) == 16, "two words");
_Static_assert(offsetof(cbm_board, slots) == CBM_BOARD_HEADER_SIZE, "the slots begin behind the header");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "no lock could be shared");

#define CBM_BOARD_TID_MASK UINT32_C(0x3fffffff) /* FUTEX_TID_MASK */

static inline bool cbm_board_alive(const cbm_board *board)
{
    return (atomic_load_explicit(&board->alive, memory_order_acquire) & CBM_BOARD_TID_MASK) != 0;
}

static inline size_t cbm_board_size(uint32_t slot_count)
{
    return CBM_BOARD_HEADER_SIZE + (size_t)slot_count * sizeof(cbm_slot);
}

/* For the writer: fills the header of a zeroed board. */
void cbm_board_init(cbm_board *board, uint32_t slot_count, const uint8_t incarnation[CBM_ID_SIZE]);
/* Whether what is mapped, of `size` bytes, is a board that this version understands. */
bool cbm_board_valid(const cbm_board *board, size_t size);
void cbm_board_write(cbm_board *board, uint32_t slot, uint64_t word, int64_t aux);
/* A word and the aux that belongs to it. */
static inline uint64_t cbm_board_read(const cbm_board *board, uint32_t slot, int64_t *aux)
{
    const cbm_slot *read = &board->slots[slot];
    uint64_t word = atomic_load_explicit(&read->word, memory_order_acquire), again;

    for (;;) {
        *aux = atomic_load_explicit(&read->aux, memory_order_acquire);
        again = atomic_load_explicit(&read->word, memory_order_acquire);
        if (again == word)
            return word;
        word = again;
    }
}

#endif

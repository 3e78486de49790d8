/* The board as reader and writer agree on it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"

static const uint8_t incarnation[CBM_ID_SIZE] = {1, 2, 3};

static cbm_board *new_board(uint32_t slots)
{
    size_t size = (cbm_board_size(slots) + CBM_BOARD_HEADER_SIZE - 1) / CBM_BOARD_HEADER_SIZE * CBM_BOARD_HEADER_SIZE;
    cbm_board *board = aligned_alloc(CBM_BOARD_HEADER_SIZE, size);

    cr_assert_not_null(board);
    memset(board, 0, size);
    cbm_board_init(board, slots, incarnation);
    return board;
}

TestSuite(proto_board, .timeout = 60);

Test(proto_board, a_word_gives_back_what_it_was_made_of)
{
    for (int state = 0; state < CBM_CORE_STATES; state++) {
        uint64_t word =
            cbm_word_make((cbm_core_state)state, CBM_WORD_FAST | CBM_WORD_ASK, CBM_CORE_EPOCH_MASK, 0x89abcdef);

        cr_assert_eq(cbm_word_state(word), (cbm_core_state)state);
        cr_assert_eq(cbm_word_epoch(word), CBM_CORE_EPOCH_MASK);
        cr_assert_eq(cbm_word_generation(word), 0x89abcdef);
        cr_assert_eq(word & CBM_WORD_FAST, CBM_WORD_FAST);
        cr_assert_eq(word & CBM_WORD_ASK, CBM_WORD_ASK);
        cr_assert_eq(word & (CBM_WORD_TIMED | CBM_WORD_FULL), 0);
    }
}

Test(proto_board, what_makes_a_permit_late_is_epoch_and_generation_alone)
{
    uint64_t word = cbm_word_make(CBM_CORE_CLOSED, CBM_WORD_FAST, 5, 7);

    cr_assert_eq(word & CBM_WORD_PERMIT_MASK, cbm_word_make(CBM_CORE_OPEN, CBM_WORD_FULL, 5, 7) & CBM_WORD_PERMIT_MASK);
    cr_assert_neq(word & CBM_WORD_PERMIT_MASK, cbm_word_make(CBM_CORE_CLOSED, 0, 6, 7) & CBM_WORD_PERMIT_MASK);
    cr_assert_neq(word & CBM_WORD_PERMIT_MASK, cbm_word_make(CBM_CORE_CLOSED, 0, 5, 8) & CBM_WORD_PERMIT_MASK);
}

Test(proto_board, everything_stands_where_protocol_md_says)
{
    cr_assert_eq(offsetof(cbm_board, magic), 0);
    cr_assert_eq(offsetof(cbm_board, version), 8);
    cr_assert_eq(offsetof(cbm_board, header_size), 12);
    cr_assert_eq(offsetof(cbm_board, size), 16);
    cr_assert_eq(offsetof(cbm_board, slot_size), 24);
    cr_assert_eq(offsetof(cbm_board, slot_count), 28);
    cr_assert_eq(offsetof(cbm_board, incarnation), 32);
    cr_assert_eq(offsetof(cbm_board, alive), 64);
    cr_assert_eq(offsetof(cbm_board, slots), 4096);
    cr_assert_eq(offsetof(cbm_slot, aux), 8);
}

Test(proto_board, a_board_is_what_it_says)
{
    cbm_board *board = new_board(10);

    cr_assert(cbm_board_valid(board, cbm_board_size(10)));
    cr_assert_eq(memcmp(board->incarnation, incarnation, sizeof incarnation), 0);
    cr_assert_not(cbm_board_alive(board), "nobody has said so");
    free(board);
}

Test(proto_board, a_header_with_anything_else_in_it_is_no_board)
{
    cbm_board *board = new_board(10);
    size_t size = cbm_board_size(10);
    /* Magic, version, sizes and count: all that stands before the incarnation. */
    size_t checked = offsetof(cbm_board, incarnation);

    for (size_t i = 0; i < checked; i++) {
        ((uint8_t *)board)[i] ^= 1;
        cr_assert_not(cbm_board_valid(board, size), "byte %zu", i);
        ((uint8_t *)board)[i] ^= 1;
    }
    cr_assert_not(cbm_board_valid(board, size - 1));
    cr_assert_not(cbm_board_valid(board, size + 1));
    cr_assert_not(cbm_board_valid(board, CBM_BOARD_HEADER_SIZE - 1), "not even the header is there");
    cr_assert_not(cbm_board_valid(board, 0));
    free(board);
}

Test(proto_board, a_board_of_more_slots_than_a_client_has_room_for_is_none)
{
    cbm_board *board = new_board(1);

    cbm_board_init(board, CBM_BOARD_SLOTS_MAX, incarnation);
    cr_assert(cbm_board_valid(board, cbm_board_size(CBM_BOARD_SLOTS_MAX)));
    cbm_board_init(board, CBM_BOARD_SLOTS_MAX + 1, incarnation);
    cr_assert_not(cbm_board_valid(board, cbm_board_size(CBM_BOARD_SLOTS_MAX + 1)));
    free(board);
}

Test(proto_board, the_kernels_mark_of_a_death_is_no_life)
{
    cbm_board *board = new_board(1);

    atomic_store(&board->alive, 4711);
    cr_assert(cbm_board_alive(board));
    atomic_store(&board->alive, UINT32_C(0x40000000)); /* FUTEX_OWNER_DIED */
    cr_assert_not(cbm_board_alive(board));
    atomic_store(&board->alive, UINT32_C(0xc0000000)); /* and somebody waits */
    cr_assert_not(cbm_board_alive(board));
    free(board);
}

#define WRITES 1000000

typedef struct reading {
    cbm_board *board;
    uint64_t read, torn;
} reading;

/* Each write's aux is its word's generation: what is read may be later than its word, never earlier. */
static void *read_slot(void *context)
{
    reading *r = context;
    uint64_t word;
    int64_t aux;

    do {
        word = cbm_board_read(r->board, 3, &aux);
        r->read++;
        r->torn += aux < (int64_t)cbm_word_generation(word);
    } while (cbm_word_generation(word) < WRITES);
    return NULL;
}

Test(proto_board, whoever_reads_a_word_reads_its_aux_or_a_later_one)
{
    reading readings[2] = {{.board = new_board(8)}};
    pthread_t threads[2];

    readings[1] = readings[0];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, read_slot, &readings[i]), 0);
    for (uint32_t i = 1; i <= WRITES; i++)
        cbm_board_write(readings[0].board, 3, cbm_word_make(CBM_CORE_OPEN, 0, i & CBM_CORE_EPOCH_MASK, i), i);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_gt(readings[i].read, 0);
        cr_assert_eq(readings[i].torn, 0);
    }
    free(readings[0].board);
}

#include "board.h"

#include <string.h>

void cbm_board_init(cbm_board *board, uint32_t slot_count, const uint8_t incarnation[CBM_ID_SIZE])
{
    board->magic = CBM_BOARD_MAGIC;
    board->version = CBM_BOARD_VERSION;
    board->header_size = CBM_BOARD_HEADER_SIZE;
    board->size = cbm_board_size(slot_count);
    board->slot_size = sizeof(cbm_slot);
    board->slot_count = slot_count;
    memcpy(board->incarnation, incarnation, CBM_ID_SIZE);
}

bool cbm_board_valid(const cbm_board *board, size_t size)
{
    if (size < CBM_BOARD_HEADER_SIZE || board->magic != CBM_BOARD_MAGIC || board->version != CBM_BOARD_VERSION)
        return false;
    return board->header_size == CBM_BOARD_HEADER_SIZE && board->slot_size == sizeof(cbm_slot) &&
           board->slot_count <= CBM_BOARD_SLOTS_MAX && board->size == cbm_board_size(board->slot_count) &&
           board->size == size;
}

void cbm_board_write(cbm_board *board, uint32_t slot, uint64_t word, int64_t aux)
{
    atomic_store_explicit(&board->slots[slot].aux, aux, memory_order_relaxed);
    atomic_store_explicit(&board->slots[slot].word, word, memory_order_release);
}

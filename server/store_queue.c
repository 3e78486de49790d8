/* What waits for the store beside breakers: transitions, and ledgers that have ended. */
#include <stdlib.h>
#include <string.h>

#include "store_inner.h"

#define ENDED_MAX 65536 /* beyond it a watermark stays until it is old */

static bool grow(void **array, size_t *capacity, size_t count, size_t size, size_t most)
{
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *more;

    if (count < *capacity)
        return true;
    if (*capacity >= most)
        return false;
    more = realloc(*array, (wanted < most ? wanted : most) * size);
    if (!more)
        return false;
    *array = more;
    *capacity = wanted < most ? wanted : most;
    return true;
}

static void drop_oldest(cbm_store_queue *queue)
{
    /* Many at a time: each costs the moving of all the others. */
    size_t dropped = queue->count / 16 + 1;

    queue->count -= dropped;
    queue->dropped += dropped;
    memmove(queue->rows, queue->rows + dropped, queue->count * sizeof *queue->rows);
}

bool cbm_store_queue_add(cbm_store_queue *queue, const cbm_store_transition_row *row)
{
    void *rows = queue->rows;

    if (!grow(&rows, &queue->capacity, queue->count, sizeof *queue->rows, CBM_STORE_TRANSITIONS_MAX)) {
        if (queue->count == 0)
            return false;
        drop_oldest(queue);
    }
    queue->rows = rows;
    queue->rows[queue->count++] = *row;
    return true;
}

void cbm_store_queue_move(cbm_store_queue *to, cbm_store_queue *from)
{
    if (to->count == 0) {
        cbm_store_queue empty = *to;

        *to = *from;
        to->dropped += empty.dropped;
        empty.dropped = 0;
        *from = empty;
        return;
    }
    for (size_t i = 0; i < from->count; i++)
        if (!cbm_store_queue_add(to, &from->rows[i]))
            to->dropped++;
    to->dropped += from->dropped;
    from->count = 0;
    from->dropped = 0;
}

void cbm_store_ended_add(cbm_store_ended *ended, const uint8_t ledger[CBM_ID_SIZE])
{
    void *ledgers = ended->ledgers;

    if (!grow(&ledgers, &ended->capacity, ended->count, CBM_ID_SIZE, ENDED_MAX))
        return;
    ended->ledgers = ledgers;
    memcpy(ended->ledgers[ended->count++], ledger, CBM_ID_SIZE);
}

void cbm_store_ended_move(cbm_store_ended *to, cbm_store_ended *from)
{
    if (to->count == 0) {
        cbm_store_ended empty = *to;

        *to = *from;
        *from = empty;
        return;
    }
    for (size_t i = 0; i < from->count; i++)
        cbm_store_ended_add(to, from->ledgers[i]);
    from->count = 0;
}

void cbm_store_batch_watermark(cbm_store_batch *batch, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry,
                               const uint64_t *counters, size_t count)
{
    void *rows = batch->watermarks;
    cbm_store_watermark_row *row;

    if (count > CBM_STORE_WATERMARK_COUNTERS ||
        !grow(&rows, &batch->watermark_capacity, batch->watermark_count, sizeof *row, SIZE_MAX / 2 / sizeof *row)) {
        batch->incomplete = true;
        return;
    }
    batch->watermarks = rows;
    row = &batch->watermarks[batch->watermark_count++];
    memcpy(row->ledger, ledger, CBM_ID_SIZE);
    row->entry = entry;
    row->count = (uint32_t)count;
    memcpy(row->counters, counters, count * sizeof *counters);
}

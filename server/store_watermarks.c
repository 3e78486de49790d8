#include "store_watermarks.h"

#include <stdlib.h>
#include <string.h>

static bool make_room(void **array, size_t *capacity, size_t needed, size_t size)
{
    size_t wanted = *capacity ? *capacity : 64;
    void *more;

    if (needed <= *capacity)
        return true;
    while (wanted < needed)
        wanted *= 2;
    more = realloc(*array, wanted * size);
    if (!more)
        return false;
    *array = more;
    *capacity = wanted;
    return true;
}

static bool add(cbm_store_watermarks *watermarks, const cbm_store_ledger_mark *mark, const void *counters)
{
    void *marks = watermarks->marks, *pool = watermarks->counters;
    bool room = make_room(&marks, &watermarks->capacity, watermarks->count + 1, sizeof *mark);

    watermarks->marks = marks;
    room = room && make_room(&pool, &watermarks->counter_capacity, watermarks->counter_count + mark->count,
                             sizeof *watermarks->counters);
    watermarks->counters = pool;
    if (!room)
        return false;
    watermarks->marks[watermarks->count] = *mark;
    watermarks->marks[watermarks->count++].first = watermarks->counter_count;
    memcpy(watermarks->counters + watermarks->counter_count, counters, mark->count * sizeof *watermarks->counters);
    watermarks->counter_count += mark->count;
    return true;
}

/* False: it makes no sense, and is left out. */
static bool read_mark(sqlite3_stmt *statement, cbm_store_ledger_mark *mark, const void **counters)
{
    const void *ledger = sqlite3_column_blob(statement, 0);
    int64_t entry = sqlite3_column_int64(statement, 1);
    size_t size;

    *counters = sqlite3_column_blob(statement, 2);
    size = (size_t)sqlite3_column_bytes(statement, 2);
    if (!ledger || sqlite3_column_bytes(statement, 0) != CBM_ID_SIZE || entry < 0 || entry > UINT32_MAX || !*counters ||
        size % sizeof(uint64_t) || size / sizeof(uint64_t) > CBM_STORE_WATERMARK_COUNTERS)
        return false;
    *mark = (cbm_store_ledger_mark){.entry = (uint32_t)entry, .count = (uint32_t)(size / sizeof(uint64_t))};
    memcpy(mark->ledger, ledger, CBM_ID_SIZE);
    return true;
}

int cbm_store_watermarks_load(cbm_store_watermarks *watermarks, cbm_store_db *db)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db->sqlite, "SELECT ledger, entry, counters FROM watermarks ORDER BY ledger, entry",
                                    -1, &statement, NULL);

    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        cbm_store_ledger_mark mark;
        const void *counters;

        result = SQLITE_OK;
        if (read_mark(statement, &mark, &counters) && !add(watermarks, &mark, counters))
            result = SQLITE_NOMEM;
    }
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

void cbm_store_watermarks_deinit(cbm_store_watermarks *watermarks)
{
    free(watermarks->marks);
    free(watermarks->counters);
    *watermarks = (cbm_store_watermarks){0};
}

static int compare(const void *first, const void *second)
{
    const cbm_store_ledger_mark *a = first, *b = second;
    int order = memcmp(a->ledger, b->ledger, CBM_ID_SIZE);

    return order ? order : (a->entry > b->entry) - (a->entry < b->entry);
}

static void claim(cbm_store_watermarks *watermarks, cbm_store_ledger_mark *found)
{
    cbm_store_ledger_mark *end = watermarks->marks + watermarks->count;

    while (found > watermarks->marks && memcmp(found[-1].ledger, found->ledger, CBM_ID_SIZE) == 0)
        found--;
    for (cbm_store_ledger_mark *mark = found; mark < end && memcmp(mark->ledger, found->ledger, CBM_ID_SIZE) == 0;
         mark++)
        mark->claimed = true;
}

size_t cbm_store_watermarks_get(cbm_store_watermarks *watermarks, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry,
                                uint64_t *counters, size_t most)
{
    cbm_store_ledger_mark key = {.entry = entry};
    cbm_store_ledger_mark *found;
    size_t count;

    if (watermarks->count == 0)
        return 0;
    memcpy(key.ledger, ledger, CBM_ID_SIZE);
    found = bsearch(&key, watermarks->marks, watermarks->count, sizeof key, compare);
    if (!found)
        return 0;
    if (!found->claimed)
        claim(watermarks, found);
    count = found->count < most ? found->count : most;
    memcpy(counters, watermarks->counters + found->first, count * sizeof *counters);
    return count;
}

void cbm_store_watermarks_give_up(cbm_store_watermarks *watermarks,
                                  void (*visit)(void *context, const uint8_t ledger[CBM_ID_SIZE]), void *context)
{
    const uint8_t *last = NULL;

    for (size_t i = 0; i < watermarks->count; i++) {
        const cbm_store_ledger_mark *mark = &watermarks->marks[i];

        if (!mark->claimed && (!last || memcmp(last, mark->ledger, CBM_ID_SIZE) != 0))
            visit(context, mark->ledger);
        last = mark->ledger;
    }
    cbm_store_watermarks_deinit(watermarks);
}

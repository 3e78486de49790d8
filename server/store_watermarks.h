/* The watermarks that were stored before the start, in memory: whoever attaches asks for them where nobody may wait for the disk. */
#ifndef CBM_SERVER_STORE_WATERMARKS_H
#define CBM_SERVER_STORE_WATERMARKS_H

#include "store_db.h"

typedef struct cbm_store_ledger_mark {
    uint8_t ledger[CBM_ID_SIZE];
    uint32_t entry;
    uint32_t count;
    size_t first; /* of its counters */
    bool claimed; /* its ledger has attached again */
} cbm_store_ledger_mark;

typedef struct cbm_store_watermarks {
    cbm_store_ledger_mark *marks; /* by ledger and entry */
    size_t count, capacity;
    uint64_t *counters;
    size_t counter_count, counter_capacity;
} cbm_store_watermarks;

/* An SQLite result code; SQLITE_NOMEM too. */
int cbm_store_watermarks_load(cbm_store_watermarks *watermarks, cbm_store_db *db);
void cbm_store_watermarks_deinit(cbm_store_watermarks *watermarks);
/* The counters of an entry, up to `most`; 0: none are known. The ledger counts as claimed from now on. */
size_t cbm_store_watermarks_get(cbm_store_watermarks *watermarks, const uint8_t ledger[CBM_ID_SIZE], uint32_t entry,
                                uint64_t *counters, size_t most);
/* Tells of each ledger that nobody has claimed, once, and forgets all. */
void cbm_store_watermarks_give_up(cbm_store_watermarks *watermarks,
                                  void (*visit)(void *context, const uint8_t ledger[CBM_ID_SIZE]), void *context);

#endif

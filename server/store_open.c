/* The store's beginning: the directory, the database, and what is read of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine.h"
#include "log.h"
#include "store_inner.h"

#define NUMBERS_ON 2
#define NUMBER_MAX UINT32_C(0xfff00000) /* then they begin anew, after four thousand million removals */
#define WHY_MAX 256

/* ---- The database ---------------------------------------------------------------------------------------------------- */

static void log_damage(const cbm_store *store, const char *why, const char *moved)
{
    cbm_log_line line;

    cbm_log_line_begin(&line, CBM_LOG_ERROR, "store_damaged");
    cbm_log_line_string(&line, "file", store->directory.database);
    cbm_log_line_string(&line, "why", why);
    cbm_log_line_string(&line, "moved_to", moved);
    cbm_log_line_string(&line, "message", "a new store is begun; what the old one held is lost to the broker");
    cbm_log_line_end(&line);
}

static cbm_store_error open_new(cbm_store *store, char *message, size_t message_size)
{
    char why[WHY_MAX] = "";
    int error = cbm_store_database_make(&store->directory);

    if (error == 0 && cbm_store_db_open(&store->db, store->directory.database, why, sizeof why) == CBM_STORE_DB_OPEN)
        return CBM_STORE_OK;
    snprintf(message, message_size, "cannot make %.200s: %s", store->directory.database, error ? strerror(error) : why);
    return CBM_STORE_E_IO;
}

cbm_store_error cbm_store_replace_database(cbm_store *store, const char *why, char *message, size_t message_size)
{
    char moved[PATH_MAX];
    int error;

    cbm_store_db_close(&store->db);
    error = cbm_store_database_move_aside(&store->directory, cbm_store_wall_ms(store), moved, sizeof moved);
    if (error) {
        snprintf(message, message_size, "%.200s is damaged (%s) and cannot be moved aside: %s",
                 store->directory.database, why, strerror(error));
        return CBM_STORE_E_IO;
    }
    log_damage(store, why, moved);
    return open_new(store, message, message_size);
}

cbm_store_error cbm_store_open_database(cbm_store *store, char *message, size_t message_size)
{
    const char *path = store->directory.database;
    char why[WHY_MAX] = "";
    cbm_store_db_state state;

    if (!cbm_store_database_exists(&store->directory) && cbm_store_log_exists(&store->directory))
        return cbm_store_replace_database(store, "there is its log, but not it", message, message_size);
    if (!cbm_store_database_exists(&store->directory))
        return open_new(store, message, message_size);
    state = cbm_store_db_open(&store->db, path, why, sizeof why);
    if (state == CBM_STORE_DB_FAILED && !cbm_store_log_exists(&store->directory))
        state = cbm_store_db_open_to_read(&store->db, path, why, sizeof why); /* it may be that no log can be made */
    switch (state) {
    case CBM_STORE_DB_OPEN: return CBM_STORE_OK;
    case CBM_STORE_DB_DAMAGED: return cbm_store_replace_database(store, why, message, message_size);
    case CBM_STORE_DB_NEWER:
        snprintf(message, message_size, "%.200s: %s: start that cbmd, or give this one another --state-dir", path, why);
        return CBM_STORE_E_REFUSED;
    case CBM_STORE_DB_FOREIGN:
        snprintf(message, message_size, "%.200s: %s: give cbmd another --state-dir", path, why);
        return CBM_STORE_E_REFUSED;
    case CBM_STORE_DB_FAILED: break;
    }
    snprintf(message, message_size, "cannot read the state in %.200s: %s", path, why);
    return CBM_STORE_E_IO;
}

/* ---- The numbers that go on ------------------------------------------------------------------------------------------- */

static uint32_t random_number(void)
{
    uint32_t number = 0;

    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint32_t)cbm_store_wall_ms(NULL);
    return (number >> 4) + 1;
}

static int64_t maximum(cbm_store_db *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t value = 0;

    if (sqlite3_prepare_v2(db->sqlite, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* Beyond all that was given out before, as far as it is known. */
static uint32_t first_number(cbm_store *store, bool known, uint32_t stored)
{
    int64_t used = maximum(&store->db, "SELECT max(slot_generation) FROM breakers");

    if (!known)
        return random_number();
    if (used < stored)
        used = stored;
    return used >= NUMBER_MAX ? 1 : (uint32_t)used + NUMBERS_ON;
}

/* False: it could not be read. That it cannot be written is seen, and said, when the thread writes. */
static bool begin_numbers(cbm_store *store)
{
    cbm_store_manager_row *manager = &store->manager;
    int result;
    bool known = cbm_store_db_get_manager(&store->db, manager, &result);

    if (result != SQLITE_OK)
        return false;
    manager->first_number = first_number(store, known, manager->first_number);
    if (!known || strcmp(manager->boot_name, store->boot_name) != 0)
        manager->boot++;
    memcpy(manager->boot_name, store->boot_name, sizeof manager->boot_name);
    store->next_row = maximum(&store->db, "SELECT max(id) FROM breakers");
    store->next_row = store->next_row < 0 || store->next_row == INT64_MAX ? 1 : store->next_row + 1;
    if (cbm_store_db_begin(&store->db) != SQLITE_OK || cbm_store_db_put_manager(&store->db, manager) != SQLITE_OK ||
        cbm_store_db_commit(&store->db) != SQLITE_OK) {
        cbm_store_fail(store, sqlite3_errmsg(store->db.sqlite));
        cbm_store_db_rollback(&store->db);
    }
    return true;
}

/* ---- Life ------------------------------------------------------------------------------------------------------------- */

static bool allocate(cbm_store *store)
{
    store->row_of_slot = calloc(store->slots, sizeof *store->row_of_slot);
    store->taken = calloc(store->slots, sizeof *store->taken);
    store->taken_later = calloc(store->slots, sizeof *store->taken_later);
    return cbm_slot_set_init(&store->now, store->slots) && cbm_slot_set_init(&store->later, store->slots) &&
           store->row_of_slot && store->taken && store->taken_later;
}

static cbm_store *new_store(const cbm_store_options *options)
{
    cbm_store *store = calloc(1, sizeof *store);
    pthread_condattr_t attributes;

    if (!store)
        return NULL;
    store->directory.descriptor = -1;
    store->slots = options->slots;
    store->later_due_ns = CBM_CORE_NEVER_NS;
    store->started_ns = cbm_clock_ns();
    cbm_store_waits_init(&store->waits);
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->db_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&store->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    return store;
}

static void free_store(cbm_store *store)
{
    cbm_store_db_close(&store->db);
    cbm_store_directory_close(&store->directory);
    cbm_slot_set_deinit(&store->now);
    cbm_slot_set_deinit(&store->later);
    free(store->row_of_slot);
    free(store->taken);
    free(store->taken_later);
    free(store->queue.rows);
    free(store->transitions.rows);
    free(store->ended.ledgers);
    free(store->endings.ledgers);
    free(store->batch.watermarks);
    cbm_store_watermarks_deinit(&store->watermarks);
    pthread_cond_destroy(&store->wake);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->db_lock);
    cbm_store_waits_deinit(&store->waits);
    free(store);
}

/* A place that cannot be written to does not keep the broker from serving, but one that cannot be read does. */
static cbm_store_error open_or_fail(cbm_store *store, char *message, size_t message_size)
{
    bool existed = cbm_store_database_exists(&store->directory);
    cbm_store_error error = cbm_store_open_database(store, message, message_size);

    if (error == CBM_STORE_E_IO && !existed) {
        store->manager.first_number = random_number();
        cbm_store_fail(store, message);
        return CBM_STORE_OK;
    }
    if (error == CBM_STORE_OK && !begin_numbers(store)) {
        snprintf(message, message_size, "cannot read %.200s: %s", store->directory.database,
                 sqlite3_errmsg(store->db.sqlite));
        return CBM_STORE_E_IO;
    }
    return error;
}

cbm_store_error cbm_store_open(cbm_store **store_out, const cbm_store_options *options, char *message,
                               size_t message_size)
{
    cbm_store *store = new_store(options);
    cbm_store_error error = CBM_STORE_E_NOMEM;
    cbm_directory_error directory;

    *store_out = NULL;
    snprintf(message, message_size, "there is no memory for the store");
    if (!store)
        return error;
    cbm_store_clock_init(store, options->clock);
    if (!allocate(store))
        goto failed;
    directory = cbm_store_directory_open(&store->directory, options->directory, message, message_size);
    error = directory == CBM_DIRECTORY_OK       ? open_or_fail(store, message, message_size)
            : directory == CBM_DIRECTORY_E_BUSY ? CBM_STORE_E_BUSY
                                                : CBM_STORE_E_IO;
    if (error)
        goto failed;
    *store_out = store;
    return CBM_STORE_OK;

failed:
    free_store(store);
    return error;
}

void cbm_store_close(cbm_store *store)
{
    if (!store)
        return;
    cbm_store_stop(store);
    free_store(store);
}

uint32_t cbm_store_first_number(const cbm_store *store)
{
    return store->manager.first_number;
}

/* ---- Restoring -------------------------------------------------------------------------------------------------------- */

typedef struct restoring {
    cbm_store *store;
    cbm_store_restore_visit *visit;
    void *context;
    cbm_store_restored *restored;
} restoring;

static int64_t elapsed_ns(const cbm_store_time *then, const cbm_store_time *now)
{
    int64_t ms = now->wall_ms - then->wall_ms;

    if (then->wall_ms < 0 || then->monotonic_ns < 0)
        return 0;
    if (then->boot == now->boot)
        return now->monotonic_ns > then->monotonic_ns ? now->monotonic_ns - then->monotonic_ns : 0;
    return ms <= 0 ? 0 : ms > INT64_MAX / CBM_CORE_NS_PER_MS ? INT64_MAX : ms * CBM_CORE_NS_PER_MS;
}

static void restore_one(void *context, const cbm_store_record *record)
{
    restoring *all = context;
    cbm_store *store = all->store;
    cbm_store_time now;
    uint32_t slot;

    cbm_store_now(store, &now); /* each time anew: what reading takes is not to make an OPEN longer */
    slot = all->visit(all->context, &record->snapshot, elapsed_ns(&record->written, &now));
    if (slot >= store->slots || record->row <= 0) {
        all->restored->not_taken++;
        return;
    }
    all->restored->taken++;
    store->row_of_slot[slot] = record->row;
    if (store->slots_seen <= slot)
        store->slots_seen = slot + 1;
}

cbm_store_error cbm_store_restore(cbm_store *store, cbm_store_restore_visit *visit, void *context,
                                  cbm_store_restored *restored)
{
    restoring all = {store, visit, context, .restored = restored};

    *restored = (cbm_store_restored){.totals = store->manager.totals};
    if (!store->db.sqlite)
        return CBM_STORE_OK;
    if (cbm_store_watermarks_load(&store->watermarks, &store->db) != SQLITE_OK)
        return CBM_STORE_E_IO;
    return cbm_store_db_each_breaker(&store->db, restore_one, &all, &restored->unreadable) == SQLITE_OK
               ? CBM_STORE_OK
               : CBM_STORE_E_IO;
}

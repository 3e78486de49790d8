#include "store_db.h"

#include <stdio.h>
#include <string.h>

#define MANAGER_COLUMNS "id, first_number, boot, boot_name, operations, rate_limited, created, removed"
#define HISTORY_COLUMNS "at_ms, name, from_state, to_state, cause, failures"

/* ---- Statements: prepared when they are first needed ------------------------------------------------------------------ */

static const char *const statement_texts[CBM_STORE_STATEMENTS] = {
    [CBM_STORE_BEGIN] = "BEGIN IMMEDIATE",
    [CBM_STORE_COMMIT] = "COMMIT",
    [CBM_STORE_ROLLBACK] = "ROLLBACK",
    [CBM_STORE_PUT_MANAGER] = "INSERT OR REPLACE INTO manager(" MANAGER_COLUMNS ") VALUES(1, ?, ?, ?, ?, ?, ?, ?)",
    [CBM_STORE_DELETE_BREAKER] = "DELETE FROM breakers WHERE id = ?",
    [CBM_STORE_PUT_WATERMARK] = "INSERT OR REPLACE INTO watermarks(ledger, entry, counters) VALUES(?, ?, ?)",
    [CBM_STORE_DELETE_LEDGER] = "DELETE FROM watermarks WHERE ledger = ?",
    [CBM_STORE_PUT_TRANSITION] = "INSERT INTO history(" HISTORY_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?)",
    /* Rows are in the order of time, so the first that is young enough ends it. */
    [CBM_STORE_DELETE_OLD] =
        "DELETE FROM history WHERE id < coalesce((SELECT id FROM history WHERE at_ms >= ?1 ORDER BY "
        "id LIMIT 1), (SELECT max(id) + 1 FROM history))",
    [CBM_STORE_DELETE_MANY] = "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?",
};

static int prepare(cbm_store_db *db, cbm_store_statement which, sqlite3_stmt **statement)
{
    char names[CBM_STORE_SQL_MAX], declarations[CBM_STORE_SQL_MAX], parameters[CBM_STORE_SQL_MAX];
    char text[3 * CBM_STORE_SQL_MAX];
    int result = SQLITE_OK;

    if (!db->sqlite)
        return SQLITE_CANTOPEN;
    if (!db->statements[which]) {
        if (which == CBM_STORE_PUT_BREAKER) {
            cbm_store_row_columns(names, declarations, parameters, sizeof names);
            snprintf(text, sizeof text, "INSERT OR REPLACE INTO breakers(%s) VALUES(%s)", names, parameters);
        } else {
            snprintf(text, sizeof text, "%s", statement_texts[which]);
        }
        result = sqlite3_prepare_v3(db->sqlite, text, -1, SQLITE_PREPARE_PERSISTENT, &db->statements[which], NULL);
    }
    *statement = db->statements[which];
    return result;
}

static int finish(sqlite3_stmt *statement)
{
    int result = sqlite3_step(statement);
    int reset = sqlite3_reset(statement);

    sqlite3_clear_bindings(statement);
    return result == SQLITE_DONE || result == SQLITE_ROW ? SQLITE_OK : reset != SQLITE_OK ? reset : result;
}

static int run(cbm_store_db *db, cbm_store_statement which)
{
    sqlite3_stmt *statement;
    int result = prepare(db, which, &statement);

    return result == SQLITE_OK ? finish(statement) : result;
}

static int run_with_number(cbm_store_db *db, cbm_store_statement which, int64_t value)
{
    sqlite3_stmt *statement;
    int result = prepare(db, which, &statement);

    if (result == SQLITE_OK)
        result = sqlite3_bind_int64(statement, 1, value);
    return result == SQLITE_OK ? finish(statement) : result;
}

int cbm_store_db_begin(cbm_store_db *db)
{
    return run(db, CBM_STORE_BEGIN);
}

int cbm_store_db_commit(cbm_store_db *db)
{
    return run(db, CBM_STORE_COMMIT);
}

/* SQLite has done it already where it found that it must. */
void cbm_store_db_rollback(cbm_store_db *db)
{
    if (db->sqlite && !sqlite3_get_autocommit(db->sqlite))
        (void)run(db, CBM_STORE_ROLLBACK);
}

/* ---- The manager ------------------------------------------------------------------------------------------------------ */

int cbm_store_db_put_manager(cbm_store_db *db, const cbm_store_manager_row *manager)
{
    sqlite3_stmt *statement;
    int result = prepare(db, CBM_STORE_PUT_MANAGER, &statement);

    if (result != SQLITE_OK)
        return result;
    sqlite3_bind_int64(statement, 1, manager->first_number);
    sqlite3_bind_int64(statement, 2, manager->boot);
    sqlite3_bind_text(statement, 3, manager->boot_name, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(statement, 4, (int64_t)manager->totals.operations);
    sqlite3_bind_int64(statement, 5, (int64_t)manager->totals.rate_limited);
    sqlite3_bind_int64(statement, 6, (int64_t)manager->totals.created);
    sqlite3_bind_int64(statement, 7, (int64_t)manager->totals.removed);
    return finish(statement);
}

static uint64_t counter(sqlite3_stmt *statement, int index)
{
    int64_t value = sqlite3_column_int64(statement, index);

    return value > 0 ? (uint64_t)value : 0;
}

static void read_manager(sqlite3_stmt *statement, cbm_store_manager_row *manager)
{
    const char *boot_name = (const char *)sqlite3_column_text(statement, 3);

    *manager = (cbm_store_manager_row){
        .first_number = (uint32_t)counter(statement, 1),
        .boot = sqlite3_column_int64(statement, 2),
        .totals = {.operations = counter(statement, 4),
                   .rate_limited = counter(statement, 5),
                   .created = counter(statement, 6),
                   .removed = counter(statement, 7)},
    };
    snprintf(manager->boot_name, sizeof manager->boot_name, "%s", boot_name ? boot_name : "");
}

bool cbm_store_db_get_manager(cbm_store_db *db, cbm_store_manager_row *manager, int *result)
{
    sqlite3_stmt *statement = NULL;
    bool found = false;

    *manager = (cbm_store_manager_row){0};
    *result =
        sqlite3_prepare_v2(db->sqlite, "SELECT " MANAGER_COLUMNS " FROM manager WHERE id = 1", -1, &statement, NULL);
    if (*result == SQLITE_OK)
        *result = sqlite3_step(statement);
    if (*result == SQLITE_ROW) {
        read_manager(statement, manager);
        found = true;
    }
    sqlite3_finalize(statement);
    if (*result == SQLITE_ROW || *result == SQLITE_DONE)
        *result = SQLITE_OK;
    return found;
}

/* ---- Breakers --------------------------------------------------------------------------------------------------------- */

int cbm_store_db_put_breaker(cbm_store_db *db, const cbm_core_snapshot *snapshot, int64_t row,
                             const cbm_store_time *written)
{
    sqlite3_stmt *statement;
    int result = prepare(db, CBM_STORE_PUT_BREAKER, &statement);

    if (result == SQLITE_OK)
        result = cbm_store_row_bind(statement, row, written, snapshot);
    return result == SQLITE_OK ? finish(statement) : result;
}

int cbm_store_db_delete_breaker(cbm_store_db *db, int64_t row)
{
    return run_with_number(db, CBM_STORE_DELETE_BREAKER, row);
}

int cbm_store_db_each_breaker(cbm_store_db *db, void (*visit)(void *context, const cbm_store_record *record),
                              void *context, uint32_t *unreadable)
{
    char names[CBM_STORE_SQL_MAX], declarations[CBM_STORE_SQL_MAX], parameters[CBM_STORE_SQL_MAX];
    char text[2 * CBM_STORE_SQL_MAX];
    sqlite3_stmt *statement = NULL;
    cbm_store_record record;
    int result;

    cbm_store_row_columns(names, declarations, parameters, sizeof names);
    snprintf(text, sizeof text, "SELECT %s FROM breakers ORDER BY id", names);
    result = sqlite3_prepare_v2(db->sqlite, text, -1, &statement, NULL);
    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        if (cbm_store_row_read(statement, &record))
            visit(context, &record);
        else
            (*unreadable)++;
        result = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

/* ---- Watermarks ------------------------------------------------------------------------------------------------------- */

int cbm_store_db_put_watermark(cbm_store_db *db, const cbm_store_watermark_row *watermark)
{
    sqlite3_stmt *statement;
    int result = prepare(db, CBM_STORE_PUT_WATERMARK, &statement);

    if (result != SQLITE_OK)
        return result;
    sqlite3_bind_blob(statement, 1, watermark->ledger, CBM_ID_SIZE, SQLITE_TRANSIENT);
    sqlite3_bind_int64(statement, 2, watermark->entry);
    sqlite3_bind_blob(statement, 3, watermark->counters, (int)(watermark->count * sizeof *watermark->counters),
                      SQLITE_TRANSIENT);
    return finish(statement);
}

int cbm_store_db_delete_ledger(cbm_store_db *db, const uint8_t ledger[CBM_ID_SIZE])
{
    sqlite3_stmt *statement;
    int result = prepare(db, CBM_STORE_DELETE_LEDGER, &statement);

    if (result != SQLITE_OK)
        return result;
    sqlite3_bind_blob(statement, 1, ledger, CBM_ID_SIZE, SQLITE_TRANSIENT);
    return finish(statement);
}

/* ---- History ---------------------------------------------------------------------------------------------------------- */

int cbm_store_db_put_transition(cbm_store_db *db, const cbm_store_transition_row *transition)
{
    sqlite3_stmt *statement;
    int result = prepare(db, CBM_STORE_PUT_TRANSITION, &statement);

    if (result != SQLITE_OK)
        return result;
    sqlite3_bind_int64(statement, 1, transition->at_ms);
    sqlite3_bind_text(statement, 2, transition->name, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(statement, 3, cbm_core_state_name((cbm_core_state)transition->from), -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 4, cbm_core_state_name((cbm_core_state)transition->to), -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 5, cbm_core_cause_name((cbm_core_cause)transition->cause), -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 6, transition->failures);
    return finish(statement);
}

int cbm_store_db_trim_history(cbm_store_db *db, int64_t before_ms, int64_t most)
{
    int result = run_with_number(db, CBM_STORE_DELETE_OLD, before_ms);

    return result == SQLITE_OK ? run_with_number(db, CBM_STORE_DELETE_MANY, most) : result;
}

static uint8_t state_named(const char *name)
{
    uint8_t state = 0;

    while (name && state < CBM_CORE_STATES - 1 && strcmp(cbm_core_state_name((cbm_core_state)state), name) != 0)
        state++;
    return state;
}

static uint8_t cause_named(const char *name)
{
    for (uint8_t cause = 1; name && cause <= CBM_CORE_CAUSE_ADOPTED; cause++)
        if (strcmp(cbm_core_cause_name((cbm_core_cause)cause), name) == 0)
            return cause;
    return CBM_CORE_CAUSE_NONE;
}

static void read_transition(sqlite3_stmt *statement, cbm_store_transition_row *row)
{
    const char *name = (const char *)sqlite3_column_text(statement, 2);

    *row = (cbm_store_transition_row){
        .row = sqlite3_column_int64(statement, 0),
        .at_ms = sqlite3_column_int64(statement, 1),
        .from = state_named((const char *)sqlite3_column_text(statement, 3)),
        .to = state_named((const char *)sqlite3_column_text(statement, 4)),
        .cause = cause_named((const char *)sqlite3_column_text(statement, 5)),
        .failures = (uint32_t)counter(statement, 6),
    };
    snprintf(row->name, sizeof row->name, "%s", name ? name : "");
}

size_t cbm_store_db_get_history(cbm_store_db *db, const char *name, int64_t before, size_t limit,
                                cbm_store_transition_row *rows)
{
    sqlite3_stmt *statement = NULL;
    size_t count = 0;

    if (db->sqlite && sqlite3_prepare_v2(db->sqlite,
                                         "SELECT id, " HISTORY_COLUMNS " FROM history WHERE id < ?1 AND "
                                         "(?2 IS NULL OR name = ?2) ORDER BY id DESC LIMIT ?3",
                                         -1, &statement, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(statement, 1, before > 0 ? before : INT64_MAX);
        if (name)
            sqlite3_bind_text(statement, 2, name, -1, SQLITE_TRANSIENT);
        sqlite3_bind_int64(statement, 3, (int64_t)limit);
        while (count < limit && sqlite3_step(statement) == SQLITE_ROW)
            read_transition(statement, &rows[count++]);
    }
    sqlite3_finalize(statement);
    return count;
}

/*
 * The database of the store: opened, checked, and written to in transactions. Functions return an SQLite result code, SQLITE_OK
 * being 0. Not for two threads at a time.
 */
#ifndef CBM_SERVER_STORE_DB_H
#define CBM_SERVER_STORE_DB_H

#include <sqlite3.h>

#include "store_record.h"

#define CBM_STORE_SCHEMA_VERSION 1

typedef enum cbm_store_statement {
    CBM_STORE_BEGIN,
    CBM_STORE_COMMIT,
    CBM_STORE_ROLLBACK,
    CBM_STORE_PUT_MANAGER,
    CBM_STORE_PUT_BREAKER,
    CBM_STORE_DELETE_BREAKER,
    CBM_STORE_PUT_WATERMARK,
    CBM_STORE_DELETE_LEDGER,
    CBM_STORE_PUT_TRANSITION,
    CBM_STORE_DELETE_OLD,
    CBM_STORE_DELETE_MANY,
    CBM_STORE_STATEMENTS,
} cbm_store_statement;

typedef struct cbm_store_db {
    sqlite3 *sqlite; /* NULL: not open */
    sqlite3_stmt *statements[CBM_STORE_STATEMENTS];
    int wal_pages; /* of the log, after the last commit */
} cbm_store_db;

/* The one row about the manager. */
typedef struct cbm_store_manager_row {
    uint32_t first_number;
    int64_t boot;
    char boot_name[64];
    cbm_core_totals totals;
} cbm_store_manager_row;

typedef enum cbm_store_db_state {
    CBM_STORE_DB_OPEN,
    CBM_STORE_DB_DAMAGED,
    CBM_STORE_DB_NEWER,   /* of a newer schema */
    CBM_STORE_DB_FOREIGN, /* a database of something else */
    CBM_STORE_DB_FAILED,  /* it could not be read or made, now */
} cbm_store_db_state;

/* An empty file becomes a new database. In all states but _OPEN it is closed again, and `why` says what was found. */
cbm_store_db_state cbm_store_db_open(cbm_store_db *db, const char *path, char *why, size_t why_size);
/* One that nobody writes to, from where nothing can be written; without a log beside it. */
cbm_store_db_state cbm_store_db_open_to_read(cbm_store_db *db, const char *path, char *why, size_t why_size);
void cbm_store_db_close(cbm_store_db *db);
/* Whether a result code says that the file is no sound database. */
bool cbm_store_db_is_damage(int result);

int cbm_store_db_begin(cbm_store_db *db);
int cbm_store_db_commit(cbm_store_db *db);
void cbm_store_db_rollback(cbm_store_db *db);

int cbm_store_db_put_manager(cbm_store_db *db, const cbm_store_manager_row *manager);
/* False: there is none, or it could not be read (*result). */
bool cbm_store_db_get_manager(cbm_store_db *db, cbm_store_manager_row *manager, int *result);

int cbm_store_db_put_breaker(cbm_store_db *db, const cbm_core_snapshot *snapshot, int64_t row,
                             const cbm_store_time *written);
int cbm_store_db_delete_breaker(cbm_store_db *db, int64_t row);
/* Each breaker in turn; those that make no sense are counted only. */
int cbm_store_db_each_breaker(cbm_store_db *db, void (*visit)(void *context, const cbm_store_record *record),
                              void *context, uint32_t *unreadable);

int cbm_store_db_put_watermark(cbm_store_db *db, const cbm_store_watermark_row *watermark);
int cbm_store_db_delete_ledger(cbm_store_db *db, const uint8_t ledger[CBM_ID_SIZE]);

int cbm_store_db_put_transition(cbm_store_db *db, const cbm_store_transition_row *transition);
/* Forgets those before a time, and all but the newest `most`. */
int cbm_store_db_trim_history(cbm_store_db *db, int64_t before_ms, int64_t most);
size_t cbm_store_db_get_history(cbm_store_db *db, const char *name, int64_t before, size_t limit,
                                cbm_store_transition_row *rows);

#define CBM_STORE_SQL_MAX 4096

/* Of store_row.c: the columns of a breaker. */
void cbm_store_row_columns(char *names, char *declarations, char *parameters, size_t size);
int cbm_store_row_bind(sqlite3_stmt *statement, int64_t row, const cbm_store_time *written,
                       const cbm_core_snapshot *snapshot);
bool cbm_store_row_read(sqlite3_stmt *statement, cbm_store_record *record);

#endif

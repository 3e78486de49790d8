/* The database opened: whether it is ours, of a version that is understood, and sound; and made when there is none. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "store_db.h"

#define APPLICATION_ID 0x63626d31 /* "cbm1" */
#define BUSY_MS 2000
#define CACHE_KIB 256
#define EMPTY_MAX 4096 /* bytes of a database without tables: a page */

/* What the tables are, in the order of their names. SQLite keeps these words, and a file with other ones is damaged. */
typedef struct table {
    const char *name;
    char sql[CBM_STORE_SQL_MAX];
} table;

#define TABLES 4

static void describe(table tables[TABLES])
{
    char names[CBM_STORE_SQL_MAX], declarations[CBM_STORE_SQL_MAX], parameters[CBM_STORE_SQL_MAX];

    cbm_store_row_columns(names, declarations, parameters, sizeof names);
    tables[0].name = "breakers";
    snprintf(tables[0].sql, sizeof tables[0].sql, "CREATE TABLE breakers(%.3900s)", declarations);
    tables[1] = (table){"history", "CREATE TABLE history(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, "
                                   "name TEXT NOT NULL, from_state TEXT NOT NULL, to_state TEXT NOT NULL, "
                                   "cause TEXT NOT NULL, failures INTEGER NOT NULL)"};
    tables[2] = (table){"manager", "CREATE TABLE manager(id INTEGER PRIMARY KEY, first_number INTEGER NOT NULL, "
                                   "boot INTEGER NOT NULL, boot_name TEXT NOT NULL, operations INTEGER NOT NULL, "
                                   "rate_limited INTEGER NOT NULL, created INTEGER NOT NULL, "
                                   "removed INTEGER NOT NULL)"};
    tables[3] = (table){"watermarks", "CREATE TABLE watermarks(ledger BLOB NOT NULL, entry INTEGER NOT NULL, "
                                      "counters BLOB NOT NULL, PRIMARY KEY(ledger, entry)) WITHOUT ROWID"};
}

static int run(sqlite3 *sqlite, const char *sql)
{
    return sqlite3_exec(sqlite, sql, NULL, NULL, NULL);
}

static int64_t number(sqlite3 *sqlite, const char *sql, int *result)
{
    sqlite3_stmt *statement = NULL;
    int64_t value = 0;

    *result = sqlite3_prepare_v2(sqlite, sql, -1, &statement, NULL);
    if (*result == SQLITE_OK) {
        *result = sqlite3_step(statement);
        if (*result == SQLITE_ROW) {
            value = sqlite3_column_int64(statement, 0);
            *result = SQLITE_OK;
        }
    }
    sqlite3_finalize(statement);
    return value;
}

/* Exclusive: nobody else writes to it, and its index of the log is in our own memory, not in a file that may not be writable. */
static int configure(cbm_store_db *db)
{
    static const char *const settings[] = {
        "PRAGMA locking_mode=EXCLUSIVE", "PRAGMA trusted_schema=OFF",
        "PRAGMA cell_size_check=ON",     "PRAGMA mmap_size=0",
        "PRAGMA temp_store=MEMORY",      "PRAGMA wal_autocheckpoint=0",
    };
    char cache[64];
    int result = SQLITE_OK;

    sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    sqlite3_extended_result_codes(db->sqlite, 1);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_limit(db->sqlite, SQLITE_LIMIT_LENGTH, 1 << 20);
    for (size_t i = 0; i < sizeof settings / sizeof *settings && result == SQLITE_OK; i++)
        result = run(db->sqlite, settings[i]);
    snprintf(cache, sizeof cache, "PRAGMA cache_size=-%d", CACHE_KIB);
    return result == SQLITE_OK ? run(db->sqlite, cache) : result;
}

static int on_commit(void *context, sqlite3 *sqlite, const char *name, int pages)
{
    cbm_store_db *db = context;

    (void)sqlite, (void)name;
    db->wal_pages = pages;
    return SQLITE_OK;
}

/* With the log, a commit is one write; without syncing, since that is done from outside, a moment later. */
static int write_ahead(sqlite3 *sqlite)
{
    sqlite3_stmt *statement = NULL;
    bool is_wal = false;
    int result = sqlite3_prepare_v2(sqlite, "PRAGMA journal_mode=WAL", -1, &statement, NULL);

    if (result == SQLITE_OK) {
        result = sqlite3_step(statement);
        is_wal = result == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    }
    sqlite3_finalize(statement);
    if (result != SQLITE_ROW)
        return result;
    return is_wal ? run(sqlite, "PRAGMA synchronous=NORMAL") : SQLITE_CANTOPEN;
}

static int create(sqlite3 *sqlite)
{
    table tables[TABLES];
    char settings[128];
    int result;

    describe(tables);
    if ((result = write_ahead(sqlite)) != SQLITE_OK || (result = run(sqlite, "BEGIN IMMEDIATE")) != SQLITE_OK)
        return result;
    for (int i = 0; i < TABLES && result == SQLITE_OK; i++)
        result = run(sqlite, tables[i].sql);
    snprintf(settings, sizeof settings, "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION_ID,
             CBM_STORE_SCHEMA_VERSION);
    if (result == SQLITE_OK)
        result = run(sqlite, settings);
    if (result == SQLITE_OK)
        return run(sqlite, "COMMIT");
    (void)run(sqlite, "ROLLBACK");
    return result;
}

/* Whether the tables are those that are made here. */
static bool has_our_tables(sqlite3 *sqlite, int *result)
{
    table tables[TABLES];
    sqlite3_stmt *statement = NULL;
    int found = 0;
    bool ours = true;

    describe(tables);
    *result = sqlite3_prepare_v2(sqlite, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name", -1,
                                 &statement, NULL);
    while (ours && *result == SQLITE_OK && (*result = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        const char *sql = (const char *)sqlite3_column_text(statement, 1);

        ours = found < TABLES && name && sql && strcmp(name, tables[found].name) == 0 &&
               strcmp(sql, tables[found].sql) == 0;
        found++;
        *result = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    if (*result == SQLITE_DONE)
        *result = SQLITE_OK;
    return ours && found == TABLES;
}

static bool is_sound(sqlite3 *sqlite, int *result)
{
    sqlite3_stmt *statement = NULL;
    bool sound = false;

    *result = sqlite3_prepare_v2(sqlite, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (*result == SQLITE_OK && (*result = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *verdict = (const char *)sqlite3_column_text(statement, 0);

        sound = verdict && strcmp(verdict, "ok") == 0;
        *result = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    return sound;
}

bool cbm_store_db_is_damage(int result)
{
    int primary = result & 0xff;

    return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_FORMAT;
}

/* What is asked here makes sense to any database of ours, so what SQLite cannot make sense of is not as it was written. */
static cbm_store_db_state state_of(cbm_store_db *db, int result, char *why, size_t why_size)
{
    int primary = result & 0xff;
    bool damaged = cbm_store_db_is_damage(result) || primary == SQLITE_ERROR || primary == SQLITE_SCHEMA ||
                   primary == SQLITE_TOOBIG || primary == SQLITE_MISMATCH;

    snprintf(why, why_size, "%s", sqlite3_errmsg(db->sqlite));
    return damaged ? CBM_STORE_DB_DAMAGED : CBM_STORE_DB_FAILED;
}

/*
 * Nothing in it, or nothing yet: whoever began to make it was cut short. What SQLite says of a damaged file may be wrong, so its
 * size counts too: one with anything in it has several pages.
 */
static bool is_new(sqlite3 *sqlite, int *result)
{
    const char *path = sqlite3_db_filename(sqlite, "main");
    struct stat status;
    bool is_empty;

    *result = SQLITE_OK;
    if (!path || stat(path, &status) != 0 || status.st_size > EMPTY_MAX)
        return false;
    is_empty = number(sqlite, "PRAGMA page_count", result) <= 1;
    if (*result == SQLITE_OK && is_empty)
        is_empty = number(sqlite, "SELECT count(*) FROM sqlite_schema", result) == 0;
    if (*result == SQLITE_OK && is_empty)
        is_empty = number(sqlite, "PRAGMA application_id", result) == 0;
    return *result == SQLITE_OK && is_empty;
}

/* What there is, or has been made of nothing. */
static cbm_store_db_state judge(cbm_store_db *db, char *why, size_t why_size)
{
    int64_t application = 0, version = 0;
    bool sound;
    int result;

    if (is_new(db->sqlite, &result))
        result = create(db->sqlite);
    if (result == SQLITE_OK)
        application = number(db->sqlite, "PRAGMA application_id", &result);
    if (result == SQLITE_OK)
        version = number(db->sqlite, "PRAGMA user_version", &result);
    if (result != SQLITE_OK)
        return state_of(db, result, why, why_size);
    if (application != APPLICATION_ID) {
        snprintf(why, why_size, "it is a database, but not of cbmd");
        return CBM_STORE_DB_FOREIGN;
    }
    if (version > CBM_STORE_SCHEMA_VERSION) {
        snprintf(why, why_size, "a newer cbmd has written it (version %lld; this one knows %d)", (long long)version,
                 CBM_STORE_SCHEMA_VERSION);
        return CBM_STORE_DB_NEWER;
    }
    sound = has_our_tables(db->sqlite, &result) && result == SQLITE_OK && is_sound(db->sqlite, &result);
    if (result != SQLITE_OK)
        return state_of(db, result, why, why_size);
    snprintf(why, why_size, "%s", sound ? "" : "it is not as cbmd writes it");
    return sound ? CBM_STORE_DB_OPEN : CBM_STORE_DB_DAMAGED;
}

static cbm_store_db_state open_as(cbm_store_db *db, const char *name, int flags, char *why, size_t why_size)
{
    cbm_store_db_state state;
    int result;

    *db = (cbm_store_db){0};
    result = sqlite3_open_v2(name, &db->sqlite, flags | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (!db->sqlite) {
        snprintf(why, why_size, "there is no memory for it");
        return CBM_STORE_DB_FAILED;
    }
    if (result == SQLITE_OK)
        result = configure(db);
    state = result == SQLITE_OK ? judge(db, why, why_size) : state_of(db, result, why, why_size);
    /* One that cannot be written to can be read all the same. */
    if (state == CBM_STORE_DB_OPEN && !sqlite3_db_readonly(db->sqlite, "main") &&
        (result = write_ahead(db->sqlite)) != SQLITE_OK)
        state = state_of(db, result, why, why_size);
    if (state == CBM_STORE_DB_OPEN)
        sqlite3_wal_hook(db->sqlite, on_commit, db);
    else
        cbm_store_db_close(db);
    return state;
}

cbm_store_db_state cbm_store_db_open(cbm_store_db *db, const char *path, char *why, size_t why_size)
{
    return open_as(db, path, SQLITE_OPEN_READWRITE, why, why_size);
}

/* As SQLite's URIs have it. */
static void write_uri(const char *path, char *uri, size_t size)
{
    size_t length = (size_t)snprintf(uri, size, "file:");

    for (; *path && length + 32 < size; path++)
        length += (size_t)snprintf(uri + length, size - length, strchr("%?#", *path) ? "%%%02x" : "%c", *path);
    snprintf(uri + length, size - length, "?immutable=1");
}

cbm_store_db_state cbm_store_db_open_to_read(cbm_store_db *db, const char *path, char *why, size_t why_size)
{
    char uri[3 * PATH_MAX + 32];

    write_uri(path, uri, sizeof uri);
    return open_as(db, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, why, why_size);
}

void cbm_store_db_close(cbm_store_db *db)
{
    for (int i = 0; i < CBM_STORE_STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->sqlite);
    *db = (cbm_store_db){0};
}

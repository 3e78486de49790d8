/* A breaker as a row: what the columns are, and what stands in them. One table says all of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_db.h"

#define POLICY_TEXT_MAX 1024

typedef enum column_kind {
    COLUMN_I64,
    COLUMN_U64,
    COLUMN_U32,
    COLUMN_BOOL,
    COLUMN_TEXT,
    COLUMN_STATE,
    COLUMN_POLICY,
    COLUMN_FAILURES, /* times, as many as there are */
    COLUMN_I64S,
    COLUMN_U64S,
    COLUMN_U32S, /* without the zeros at the end */
} column_kind;

typedef struct row_column {
    const char *name;
    column_kind kind;
    size_t offset; /* in a cbm_store_record */
    size_t size;   /* of texts and arrays, in bytes */
} row_column;

#define AT(column_name, kind, member)                                                                                  \
    {                                                                                                                  \
        column_name, kind, offsetof(cbm_store_record, member), sizeof(((cbm_store_record *)0)->member)                 \
    }
#define COUNTER(member) AT(#member, COLUMN_U64, snapshot.statistics.member)

static const row_column columns[] = {
    AT("id", COLUMN_I64, row),
    AT("name", COLUMN_TEXT, snapshot.name),
    AT("state", COLUMN_STATE, snapshot.state),
    AT("policy", COLUMN_POLICY, snapshot.policy),
    AT("reason", COLUMN_TEXT, snapshot.reason),
    AT("remaining_ns", COLUMN_I64, snapshot.remaining_ns),
    AT("written_ms", COLUMN_I64, written.wall_ms),
    AT("written_ns", COLUMN_I64, written.monotonic_ns),
    AT("written_boot", COLUMN_I64, written.boot),
    AT("reopenings", COLUMN_U32, snapshot.reopenings),
    AT("opened_failures", COLUMN_U32, snapshot.opened_failures),
    AT("in_a_row", COLUMN_U32, snapshot.in_a_row),
    AT("would_open", COLUMN_BOOL, snapshot.would_open),
    AT("epoch", COLUMN_U32, snapshot.epoch),
    AT("slot_generation", COLUMN_U32, snapshot.slot_generation),
    AT("unused_ns", COLUMN_I64, snapshot.unused_ns),
    AT("last_failure_ns_ago", COLUMN_I64, snapshot.last_failure_ns_ago),
    AT("last_error_text", COLUMN_TEXT, snapshot.last_error_text),
    COUNTER(successful_calls),
    COUNTER(failed_calls),
    COUNTER(timeout_calls),
    COUNTER(ignored_calls),
    COUNTER(slow_calls),
    COUNTER(rejected_calls),
    COUNTER(half_open_rejected_calls),
    COUNTER(late_reports),
    COUNTER(lumped_failures),
    COUNTER(leases_expired),
    COUNTER(abandoned),
    AT("transitions", COLUMN_U64S, snapshot.statistics.transitions),
    AT("time_in_state_ns", COLUMN_I64S, snapshot.statistics.time_in_state_ns),
    AT("least_duration_ns", COLUMN_I64, snapshot.least_duration_ns),
    AT("most_duration_ns", COLUMN_I64, snapshot.most_duration_ns),
    AT("durations", COLUMN_U32S, snapshot.durations),
    AT("failures", COLUMN_FAILURES, snapshot.failure_ns_ago),
};
#define COLUMNS (sizeof columns / sizeof *columns)

static const char *declaration(column_kind kind)
{
    switch (kind) {
    case COLUMN_TEXT:
    case COLUMN_STATE:
    case COLUMN_POLICY: return "TEXT NOT NULL";
    case COLUMN_FAILURES:
    case COLUMN_I64S:
    case COLUMN_U64S:
    case COLUMN_U32S: return "BLOB NOT NULL";
    default: return "INTEGER NOT NULL";
    }
}

static void append(char *text, size_t size, const char *more)
{
    size_t length = strlen(text);

    snprintf(text + length, size - length, "%s%s", length ? ", " : "", more);
}

void cbm_store_row_columns(char *names, char *declarations, char *parameters, size_t size)
{
    char one[96];

    names[0] = declarations[0] = parameters[0] = '\0';
    for (size_t i = 0; i < COLUMNS; i++) {
        append(names, size, columns[i].name);
        append(parameters, size, "?");
        snprintf(one, sizeof one, "%s %s", columns[i].name,
                 i == 0 ? "INTEGER PRIMARY KEY" : declaration(columns[i].kind));
        append(declarations, size, one);
    }
}

/* ---- A policy as text: what was asked for, as the text commands have it ---------------------------------------------- */

static void write_value(const cbm_core_policy_field *row, uint32_t value, char *text, size_t size)
{
    if (row->kind == CBM_CORE_FIELD_WORD)
        snprintf(text, size, "%s", row->words[value]);
    else if (value % row->scale == 0)
        snprintf(text, size, "%u", value / row->scale);
    else /* the scales are powers of ten */
        snprintf(text, size, "%u.%0*u", value / row->scale,
                 row->scale == 10    ? 1
                 : row->scale == 100 ? 2
                                     : 3,
                 value % row->scale);
}

static void write_policy(const cbm_core_policy_request *policy, char *text, size_t size)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    size_t length = 0;

    text[0] = '\0';
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        char value[32];

        if (!(policy->given >> i & 1))
            continue;
        write_value(&table[i], cbm_core_policy_value(&policy->values, i), value, sizeof value);
        length += (size_t)snprintf(text + length, size - length, "%s%s=%s", length ? " " : "", table[i].name, value);
        if (length >= size)
            return; /* the table has outgrown this: the read fails, and a test with it */
    }
}

static bool read_policy(const char *text, cbm_core_policy_request *policy)
{
    *policy = (cbm_core_policy_request){0};
    while (*text) {
        size_t name = strcspn(text, "= "), whole = strcspn(text, " ");
        int field = cbm_core_policy_find(text, name);

        if (name >= whole || field < 0 ||
            cbm_core_policy_parse(policy, field, text + name + 1, whole - name - 1) != CBM_CORE_OK)
            return false;
        text += whole;
        text += strspn(text, " ");
    }
    return true;
}

/* ---- Writing --------------------------------------------------------------------------------------------------------- */

static int bind_text(sqlite3_stmt *statement, int index, const char *text, size_t size)
{
    return sqlite3_bind_text(statement, index, text, (int)strnlen(text, size), SQLITE_TRANSIENT);
}

static int bind_policy(sqlite3_stmt *statement, int index, const cbm_core_policy_request *policy)
{
    char text[POLICY_TEXT_MAX];

    write_policy(policy, text, sizeof text);
    return bind_text(statement, index, text, sizeof text);
}

static size_t without_zeros(const void *values, size_t size)
{
    while (size >= sizeof(uint32_t)) {
        uint32_t last;

        memcpy(&last, (const char *)values + size - sizeof last, sizeof last);
        if (last)
            break;
        size -= sizeof last;
    }
    return size;
}

static int bind_blob(sqlite3_stmt *statement, int index, const void *bytes, size_t size)
{
    return size ? sqlite3_bind_blob(statement, index, bytes, (int)size, SQLITE_TRANSIENT)
                : sqlite3_bind_zeroblob(statement, index, 0);
}

static int64_t integer_at(const void *at, column_kind kind)
{
    uint32_t narrow;
    int64_t wide;
    bool flag;

    switch (kind) {
    case COLUMN_BOOL: memcpy(&flag, at, sizeof flag); return flag;
    case COLUMN_U32: memcpy(&narrow, at, sizeof narrow); return narrow;
    default: memcpy(&wide, at, sizeof wide); return wide;
    }
}

static int bind_column(sqlite3_stmt *statement, int index, const row_column *column, const void *at,
                       const cbm_core_snapshot *snapshot)
{
    switch (column->kind) {
    case COLUMN_TEXT: return bind_text(statement, index, at, column->size);
    case COLUMN_STATE: return bind_text(statement, index, cbm_core_state_name(snapshot->state), 32);
    case COLUMN_POLICY: return bind_policy(statement, index, &snapshot->policy);
    case COLUMN_FAILURES: return bind_blob(statement, index, at, snapshot->failure_count * sizeof(int64_t));
    case COLUMN_I64S:
    case COLUMN_U64S: return bind_blob(statement, index, at, column->size);
    case COLUMN_U32S: return bind_blob(statement, index, at, without_zeros(at, column->size));
    default: return sqlite3_bind_int64(statement, index, integer_at(at, column->kind));
    }
}

/* Where a column's value is: in the snapshot, or in what the record has beside it. */
static const void *place(const row_column *column, const int64_t *row, const cbm_store_time *written,
                         const cbm_core_snapshot *snapshot)
{
    if (column->offset >= offsetof(cbm_store_record, snapshot))
        return (const char *)snapshot + column->offset - offsetof(cbm_store_record, snapshot);
    if (column->offset >= offsetof(cbm_store_record, written))
        return (const char *)written + column->offset - offsetof(cbm_store_record, written);
    return row;
}

int cbm_store_row_bind(sqlite3_stmt *statement, int64_t row, const cbm_store_time *written,
                       const cbm_core_snapshot *snapshot)
{
    int result = SQLITE_OK;

    for (size_t i = 0; i < COLUMNS && result == SQLITE_OK; i++)
        result = bind_column(statement, (int)i + 1, &columns[i], place(&columns[i], &row, written, snapshot), snapshot);
    return result;
}

/* ---- Reading: nothing in the file is trusted ------------------------------------------------------------------------- */

static bool read_text(sqlite3_stmt *statement, int index, char *to, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(statement, index);
    size_t length = (size_t)sqlite3_column_bytes(statement, index);

    if (!text || length >= size || strlen(text) != length || !cbm_core_text_valid(text, length))
        return false;
    memcpy(to, text, length + 1);
    return true;
}

static bool read_state(sqlite3_stmt *statement, int index, cbm_core_state *state)
{
    char name[32];

    if (!read_text(statement, index, name, sizeof name))
        return false;
    for (int i = 0; i < CBM_CORE_STATES; i++) {
        if (strcmp(cbm_core_state_name((cbm_core_state)i), name) == 0) {
            *state = (cbm_core_state)i;
            return true;
        }
    }
    return false;
}

static bool read_blob(sqlite3_stmt *statement, int index, void *to, size_t size, size_t step, size_t *got)
{
    const void *bytes = sqlite3_column_blob(statement, index);

    *got = (size_t)sqlite3_column_bytes(statement, index);
    if (*got > size || *got % step)
        return false;
    if (*got && bytes)
        memcpy(to, bytes, *got);
    return *got == 0 || bytes;
}

static bool read_integer(sqlite3_stmt *statement, int index, void *at, column_kind kind)
{
    int64_t value = sqlite3_column_int64(statement, index);
    uint32_t narrow = (uint32_t)value;
    bool flag = value != 0;

    if (sqlite3_column_type(statement, index) != SQLITE_INTEGER)
        return false;
    switch (kind) {
    case COLUMN_BOOL: memcpy(at, &flag, sizeof flag); return true;
    case COLUMN_U32: memcpy(at, &narrow, sizeof narrow); return value >= 0 && value <= UINT32_MAX;
    case COLUMN_U64: memcpy(at, &value, sizeof value); return value >= 0;
    default: memcpy(at, &value, sizeof value); return true;
    }
}

static bool read_policy_column(sqlite3_stmt *statement, int index, cbm_core_policy_request *policy)
{
    char text[POLICY_TEXT_MAX];

    return read_text(statement, index, text, sizeof text) && read_policy(text, policy);
}

static bool read_column(sqlite3_stmt *statement, int index, const row_column *column, cbm_store_record *record)
{
    void *at = (char *)record + column->offset;
    size_t got;

    switch (column->kind) {
    case COLUMN_TEXT: return read_text(statement, index, at, column->size);
    case COLUMN_STATE: return read_state(statement, index, &record->snapshot.state);
    case COLUMN_POLICY: return read_policy_column(statement, index, &record->snapshot.policy);
    case COLUMN_FAILURES:
        if (!read_blob(statement, index, at, column->size, sizeof(int64_t), &got))
            return false;
        record->snapshot.failure_count = (uint32_t)(got / sizeof(int64_t));
        return true;
    case COLUMN_I64S:
    case COLUMN_U64S: return read_blob(statement, index, at, column->size, column->size, &got);
    case COLUMN_U32S: return read_blob(statement, index, at, column->size, sizeof(uint32_t), &got);
    default: return read_integer(statement, index, at, column->kind);
    }
}

bool cbm_store_row_read(sqlite3_stmt *statement, cbm_store_record *record)
{
    memset(record, 0, sizeof *record);
    for (size_t i = 0; i < COLUMNS; i++)
        if (!read_column(statement, (int)i, &columns[i], record))
            return false;
    return true;
}

#include "fields.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "document.h"
#include "error.h"
#include "fault.h"

#define INT64_AS_DOUBLE 9223372036854775808.0 /* 2^63 */

static bool has_control(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    return false;
}

bool cbm_object_number(const msgpack_object *object, double *value)
{
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *value = (double)object->via.u64;
    else if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *value = (double)object->via.i64;
    else if (object->type == MSGPACK_OBJECT_FLOAT32 || object->type == MSGPACK_OBJECT_FLOAT64)
        *value = object->via.f64;
    else
        return false;
    return isfinite(*value);
}

/* An integer of at least -1 that fits int64_t. */
static bool read_i64(const msgpack_object *value, int64_t *to)
{
    if (value->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && value->via.i64 == -1)
        *to = -1;
    else if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER && value->via.u64 <= INT64_MAX)
        *to = (int64_t)value->via.u64;
    else
        return false;
    return true;
}

static bool read_unsigned(const cbm_field_row *row, const msgpack_object *value, uint64_t *to)
{
    if (value->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return false;
    *to = value->via.u64;
    return *to >= row->minimum && *to <= row->maximum;
}

static bool read_text(const cbm_field_row *row, const msgpack_object *value, char *to)
{
    const msgpack_object_str *text = &value->via.str;

    if (value->type != MSGPACK_OBJECT_STR || !cbm_core_text_valid(text->ptr, text->size))
        return false;
    if (row->type == CBM_TYPE_TEXT) {
        cbm_core_text_copy(to, row->size, text->ptr, text->size);
        return true;
    }
    if (text->size >= row->size)
        return false;
    if (row->type == CBM_TYPE_NAME ? !cbm_core_name_valid(text->ptr, text->size) : has_control(text->ptr, text->size))
        return false;
    if (text->size > 0)
        memcpy(to, text->ptr, text->size);
    to[text->size] = '\0';
    return true;
}

static bool read_duration(const cbm_field_row *row, const msgpack_object *value, int64_t *ns)
{
    double ms;

    if (!cbm_object_number(value, &ms) || ms < 0 || ms > (double)row->maximum)
        return false;
    if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *ns = (int64_t)value->via.u64 * CBM_CORE_NS_PER_MS;
    else
        *ns = llround(ms * (double)CBM_CORE_NS_PER_MS);
    return true;
}

static bool read_seconds(const msgpack_object *value, uint32_t *ms)
{
    double seconds;

    if (!cbm_object_number(value, &seconds) || seconds < 0 || nearbyint(seconds * 1000) > UINT32_MAX)
        return false;
    *ms = (uint32_t)nearbyint(seconds * 1000);
    return true;
}

static bool read_ms(const msgpack_object *value, int64_t *ns)
{
    int64_t ms;

    if (!read_i64(value, &ms) || ms > INT64_MAX / CBM_CORE_NS_PER_MS)
        return false;
    *ns = ms < 0 ? -1 : ms * CBM_CORE_NS_PER_MS;
    return true;
}

static bool read_bin(const cbm_field_row *row, const msgpack_object *value, void *base)
{
    const msgpack_object_bin *bin = &value->via.bin;
    size_t length;

    if (value->type != MSGPACK_OBJECT_BIN || bin->size > row->size)
        return false;
    if (row->type == CBM_TYPE_BIN ? bin->size != row->size : bin->size == 0)
        return false;
    memcpy((char *)base + row->offset, bin->ptr, bin->size);
    length = bin->size;
    if (row->type == CBM_TYPE_BIN_UPTO)
        memcpy((char *)base + row->length_offset, &length, sizeof(length));
    return true;
}

static bool read_word(const cbm_field_row *row, const msgpack_object *value, uint32_t *to)
{
    for (uint32_t i = 0; i <= row->maximum; i++) {
        if (cbm_str_equal(value, row->word(i))) {
            *to = i;
            return true;
        }
    }
    return false;
}

/* False: the value is not what the row allows, and nothing was stored. */
static bool read_value(const cbm_field_row *row, const msgpack_object *value, void *base)
{
    void *to = (char *)base + row->offset;
    uint64_t number;

    switch (row->type) {
    case CBM_TYPE_NAME:
    case CBM_TYPE_GLOB:
    case CBM_TYPE_TEXT: return read_text(row, value, to);
    case CBM_TYPE_BOOL:
        if (value->type != MSGPACK_OBJECT_BOOLEAN)
            return false;
        *(bool *)to = value->via.boolean;
        return true;
    case CBM_TYPE_U32:
        if (!read_unsigned(row, value, &number))
            return false;
        *(uint32_t *)to = (uint32_t)number;
        return true;
    case CBM_TYPE_U64:
        if (!read_unsigned(row, value, &number))
            return false;
        *(uint64_t *)to = number;
        return true;
    case CBM_TYPE_I64: return read_i64(value, to);
    case CBM_TYPE_NUMBER: return cbm_object_number(value, to);
    case CBM_TYPE_DURATION: return read_duration(row, value, to);
    case CBM_TYPE_SECONDS: return read_seconds(value, to);
    case CBM_TYPE_MS_UP:
    case CBM_TYPE_MS_DOWN: return read_ms(value, to);
    case CBM_TYPE_BIN:
    case CBM_TYPE_BIN_UPTO: return read_bin(row, value, base);
    case CBM_TYPE_WORD: return read_word(row, value, to);
    }
    return false;
}

static void expects_words(const cbm_field_row *row, char *text, size_t size)
{
    size_t at = 0;

    for (uint32_t i = 0; i <= row->maximum && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s",
                               i == 0              ? ""
                               : i == row->maximum ? " or "
                                                   : ", ",
                               row->word(i));
}

void cbm_field_expects(const cbm_field_row *row, char *text, size_t size)
{
    switch (row->type) {
    case CBM_TYPE_NAME:
        snprintf(text, size, "1 to %zu bytes of UTF-8 without control characters", row->size - 1);
        break;
    case CBM_TYPE_GLOB:
        snprintf(text, size, "at most %zu bytes of UTF-8 without control characters", row->size - 1);
        break;
    case CBM_TYPE_TEXT: snprintf(text, size, "a UTF-8 text"); break;
    case CBM_TYPE_BOOL: snprintf(text, size, "true or false"); break;
    case CBM_TYPE_U32:
    case CBM_TYPE_U64:
        snprintf(text, size, "an integer from %" PRIu64 " to %" PRIu64, row->minimum, row->maximum);
        break;
    case CBM_TYPE_I64:
    case CBM_TYPE_MS_UP:
    case CBM_TYPE_MS_DOWN: snprintf(text, size, "an integer, at least -1"); break;
    case CBM_TYPE_SECONDS:
    case CBM_TYPE_NUMBER: snprintf(text, size, "a number"); break;
    case CBM_TYPE_DURATION: snprintf(text, size, "a number from 0 to %" PRIu64, row->maximum); break;
    case CBM_TYPE_BIN: snprintf(text, size, "%zu bytes of bin", row->size); break;
    case CBM_TYPE_BIN_UPTO: snprintf(text, size, "1 to %zu bytes of bin", row->size); break;
    case CBM_TYPE_WORD: expects_words(row, text, size); break;
    }
}

int cbm_field_read(const cbm_field_row *row, const msgpack_object *value, void *to, const char *prefix,
                   cbm_fault *fault)
{
    char expects[96], name[64], shown[CBM_SHOWN_MAX];

    if (read_value(row, value, to))
        return 0;
    cbm_field_expects(row, expects, sizeof(expects));
    snprintf(name, sizeof(name), "%s%s", prefix, row->name);
    return cbm_fault_set(fault, CBM_PROTO_E_INVALID, name, "%s must be %s, not %s", name, expects,
                         cbm_object_shown(value, shown));
}

static bool row_is(const cbm_field_row *row, const char *name, size_t length)
{
    return row->name && strlen(row->name) == length && memcmp(row->name, name, length) == 0;
}

int cbm_field_find(const cbm_field_row *rows, size_t count, const char *name, size_t length, size_t expected)
{
    if (expected < count && row_is(&rows[expected], name, length))
        return (int)expected;
    for (size_t i = 0; i < count; i++)
        if (row_is(&rows[i], name, length))
            return (int)i;
    return -1;
}

int cbm_fields_read(const cbm_field_row *rows, size_t count, const msgpack_object *map, void *to, uint64_t *seen,
                    const char *prefix, cbm_fault *fault)
{
    size_t expected = 0;

    *seen = 0;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i];
        int row = cbm_field_find(rows, count, pair->key.via.str.ptr, pair->key.via.str.size, expected);
        int error;

        if (row < 0)
            continue;
        error = cbm_field_read(&rows[row], &pair->val, to, prefix, fault);
        if (error)
            return error;
        *seen |= UINT64_C(1) << row;
        expected = (size_t)row + 1;
    }
    return 0;
}

static int packer_write(void *data, const char *bytes, size_t size)
{
    return cbm_buffer_append(data, bytes, size) ? -1 : 0;
}

void cbm_packer_init(msgpack_packer *packer, cbm_buffer *buffer)
{
    msgpack_packer_init(packer, buffer, packer_write);
}

void cbm_pack_text(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str_with_body(packer, text, strlen(text));
}

void cbm_pack_number(msgpack_packer *packer, double value)
{
    if (value == floor(value) && value >= -INT64_AS_DOUBLE && value < INT64_AS_DOUBLE)
        msgpack_pack_int64(packer, (int64_t)value);
    else
        msgpack_pack_double(packer, value);
}

static const char *policy_word(const cbm_core_policy_field *row, uint32_t value)
{
    for (uint32_t i = 0; row->words[i]; i++)
        if (i == value)
            return row->words[i];
    return "?";
}

void cbm_pack_policy_value(msgpack_packer *packer, const cbm_core_policy *policy, int field)
{
    const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
    uint32_t value = cbm_core_policy_value(policy, field);

    if (row->kind == CBM_CORE_FIELD_WORD)
        cbm_pack_text(packer, policy_word(row, value));
    else if (row->kind == CBM_CORE_FIELD_NUMBER)
        cbm_pack_number(packer, (double)value / row->scale);
    else
        msgpack_pack_uint32(packer, value);
}

static void write_duration(msgpack_packer *packer, int64_t ns)
{
    if (ns % CBM_CORE_NS_PER_MS == 0)
        msgpack_pack_int64(packer, ns / CBM_CORE_NS_PER_MS);
    else
        msgpack_pack_double(packer, (double)ns / (double)CBM_CORE_NS_PER_MS);
}

static void write_bin(msgpack_packer *packer, const cbm_field_row *row, const void *base)
{
    size_t length = row->size;

    if (row->type == CBM_TYPE_BIN_UPTO)
        memcpy(&length, (const char *)base + row->length_offset, sizeof(length));
    msgpack_pack_bin_with_body(packer, (const char *)base + row->offset, length < row->size ? length : row->size);
}

void cbm_field_write(msgpack_packer *packer, const cbm_field_row *row, const void *base)
{
    const void *from = (const char *)base + row->offset;
    int64_t ns;

    switch (row->type) {
    case CBM_TYPE_NAME:
    case CBM_TYPE_GLOB:
    case CBM_TYPE_TEXT: msgpack_pack_str_with_body(packer, from, strnlen(from, row->size)); break;
    case CBM_TYPE_BOOL:
        if (*(const bool *)from)
            msgpack_pack_true(packer);
        else
            msgpack_pack_false(packer);
        break;
    case CBM_TYPE_U32: msgpack_pack_uint32(packer, *(const uint32_t *)from); break;
    case CBM_TYPE_U64: msgpack_pack_uint64(packer, *(const uint64_t *)from); break;
    case CBM_TYPE_I64: msgpack_pack_int64(packer, *(const int64_t *)from); break;
    case CBM_TYPE_NUMBER: cbm_pack_number(packer, *(const double *)from); break;
    case CBM_TYPE_DURATION: write_duration(packer, *(const int64_t *)from); break;
    case CBM_TYPE_SECONDS: cbm_pack_number(packer, (double)*(const uint32_t *)from / 1000); break;
    case CBM_TYPE_MS_UP: msgpack_pack_int64(packer, cbm_ms_round_up(*(const int64_t *)from)); break;
    case CBM_TYPE_MS_DOWN:
        ns = *(const int64_t *)from;
        msgpack_pack_int64(packer, ns < 0 ? -1 : ns / CBM_CORE_NS_PER_MS);
        break;
    case CBM_TYPE_BIN:
    case CBM_TYPE_BIN_UPTO: write_bin(packer, row, base); break;
    case CBM_TYPE_WORD: cbm_pack_text(packer, row->word(*(const uint32_t *)from)); break;
    }
}

void cbm_fields_write(msgpack_packer *packer, const cbm_field_row *rows, size_t count, const void *from, uint64_t which)
{
    for (size_t i = 0; i < count; i++) {
        if (!(which & UINT64_C(1) << i))
            continue;
        cbm_pack_text(packer, rows[i].name);
        cbm_field_write(packer, &rows[i], from);
    }
}

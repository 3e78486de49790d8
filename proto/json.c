/* Replies as JSON, for people. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "document.h"
#include "error.h"
#include "reply_fields.h"
#include "sp.h"
#include "text.h"

#define DIGITS 15 /* of a real number: 33.3 stays 33.3 */

/*
 * Each of these returns NULL without memory, and for what has no JSON: then *error says so. No deeper than
 * cbm_msgpack_check allows.
 */
static json_t *to_json(const msgpack_object *object, int *error);

static json_t *text(const msgpack_object_str *str, int *error)
{
    if (cbm_core_text_valid(str->ptr, str->size))
        return json_stringn_nocheck(str->size > 0 ? str->ptr : "", str->size);
    *error = CBM_PROTO_E_PROTOCOL;
    return NULL;
}

static json_t *hex(const char *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char *text = malloc(2 * size + 1);
    json_t *json;

    if (!text)
        return NULL;
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[(unsigned char)bytes[i] >> 4];
        text[2 * i + 1] = digits[(unsigned char)bytes[i] & 15];
    }
    json = json_stringn_nocheck(text, 2 * size);
    free(text);
    return json;
}

static json_t *integer(uint64_t value)
{
    return value > INT64_MAX ? json_real((double)value) : json_integer((json_int_t)value);
}

static json_t *array_to_json(const msgpack_object_array *array, int *error)
{
    json_t *json = json_array();

    for (uint32_t i = 0; json && i < array->size; i++) {
        if (json_array_append_new(json, to_json(&array->ptr[i], error)) != 0) {
            json_decref(json);
            return NULL;
        }
    }
    return json;
}

static json_t *map_to_json(const msgpack_object *map, int *error)
{
    json_t *json;
    cbm_fault fault;

    if (cbm_map_check(map, NULL, &fault) != 0) {
        *error = CBM_PROTO_E_PROTOCOL;
        return NULL;
    }
    json = json_object();
    for (uint32_t i = 0; json && i < map->via.map.size; i++) {
        const msgpack_object_str *key = &map->via.map.ptr[i].key.via.str;
        json_t *value = to_json(&map->via.map.ptr[i].val, error);

        if (json_object_setn_new_nocheck(json, key->size > 0 ? key->ptr : "", key->size, value) != 0) {
            json_decref(json);
            return NULL;
        }
    }
    return json;
}

static json_t *to_json(const msgpack_object *object, int *error)
{
    switch (object->type) {
    case MSGPACK_OBJECT_BOOLEAN: return json_boolean(object->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER: return integer(object->via.u64);
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: return json_integer(object->via.i64);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: return isfinite(object->via.f64) ? json_real(object->via.f64) : json_null();
    case MSGPACK_OBJECT_STR: return text(&object->via.str, error);
    case MSGPACK_OBJECT_BIN: return hex(object->via.bin.ptr, object->via.bin.size);
    case MSGPACK_OBJECT_EXT: return hex(object->via.ext.ptr, object->via.ext.size);
    case MSGPACK_OBJECT_ARRAY: return array_to_json(&object->via.array, error);
    case MSGPACK_OBJECT_MAP: return map_to_json(object, error);
    case MSGPACK_OBJECT_NIL: break;
    }
    return json_null();
}

static int append(const char *bytes, size_t size, void *buffer)
{
    return cbm_buffer_append(buffer, bytes, size) ? -1 : 0;
}

int cbm_text_from_reply(const void *bytes, size_t size, cbm_buffer *buffer)
{
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(DIGITS);
    cbm_document document;
    cbm_fault fault;
    size_t start = buffer->size;
    json_t *json;
    int error = cbm_document_open(&document, bytes, size, CBM_REPLY_MAX, &fault);

    if (error)
        return error == CBM_PROTO_E_INVALID ? CBM_PROTO_E_PROTOCOL : error;
    error = CBM_PROTO_E_NOMEM;
    json = to_json(&document.root, &error);
    cbm_document_close(&document);
    if (!json)
        return error;
    if (json_dump_callback(json, append, buffer, flags) != 0 && !buffer->error)
        buffer->error = CBM_PROTO_E_NOMEM;
    json_decref(json);
    cbm_buffer_append(buffer, "\n", 1);
    return cbm_buffer_settle(buffer, start, CBM_REPLY_BODY_MAX);
}

#include "document.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"
#include "fault.h"

#define ZONE_CHUNK 8192 /* bytes at least of each allocation, where the document's own room is not enough */
/*
 * An object takes 24 bytes in msgpack-c's tree but as little as one on the wire. No message needs so many: the largest is
 * a page of 256 state dicts of some 200 objects each.
 */
#define OBJECTS_MAX ((size_t)128 * 1024)

/* As msgpack_zone_init, which would allocate the first chunk: here it is the document's own. A zone without a head owns nothing. */
static void zone_open(cbm_document *document)
{
    document->zone = (msgpack_zone){
        .chunk_list = {.free = sizeof(document->room), .ptr = document->room},
        .chunk_size = ZONE_CHUNK,
    };
}

void cbm_document_close(cbm_document *document)
{
    if (document->zone.chunk_list.head)
        msgpack_zone_destroy(&document->zone);
}

int cbm_document_open(cbm_document *document, const void *bytes, size_t size, size_t size_max, cbm_fault *fault)
{
    const char *wrong;
    size_t offset = 0;
    msgpack_unpack_return result;

    if (size > size_max)
        return cbm_fault_set(fault, CBM_PROTO_E_TOO_LARGE, NULL, "the message has %zu bytes, more than the %zu allowed",
                             size, size_max);
    wrong = cbm_msgpack_check(bytes, size, OBJECTS_MAX);
    if (wrong)
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, NULL, "%s", wrong);
    zone_open(document);
    result = msgpack_unpack(bytes, size, &offset, &document->zone, &document->root);
    if (result == MSGPACK_UNPACK_SUCCESS)
        return 0;
    cbm_document_close(document);
    if (result == MSGPACK_UNPACK_NOMEM_ERROR)
        return cbm_fault_set(fault, CBM_PROTO_E_NOMEM, NULL, "%s", cbm_proto_error_sentence(CBM_PROTO_E_NOMEM));
    return cbm_fault_set(fault, CBM_PROTO_E_INVALID, NULL, "the message is not msgpack");
}

static int compare_keys(const void *one, const void *other)
{
    const msgpack_object_str *a = *(const msgpack_object_str *const *)one;
    const msgpack_object_str *b = *(const msgpack_object_str *const *)other;

    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    return a->size > 0 ? memcmp(a->ptr, b->ptr, a->size) : 0;
}

/* A key that stands twice, or NULL. Sorted: each with each would take longer than all else for a map as large as it may be. */
static const msgpack_object_str *find_twin(const msgpack_object_map *map)
{
    const msgpack_object_str *keys[CBM_KEYS_MAX];

    if (map->size < 2)
        return NULL;
    for (uint32_t i = 0; i < map->size; i++)
        keys[i] = &map->ptr[i].key.via.str;
    qsort(keys, map->size, sizeof(keys[0]), compare_keys);
    for (uint32_t i = 1; i < map->size; i++)
        if (compare_keys(&keys[i - 1], &keys[i]) == 0)
            return keys[i];
    return NULL;
}

int cbm_map_check(const msgpack_object *object, const char *what, cbm_fault *fault)
{
    const msgpack_object_map *map = &object->via.map;
    const msgpack_object_str *twin;

    if (object->type != MSGPACK_OBJECT_MAP)
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, what, "%s must be a map", what ? what : "the message");
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *key = &map->ptr[i].key;

        if (key->type != MSGPACK_OBJECT_STR || !cbm_core_text_valid(key->via.str.ptr, key->via.str.size))
            return cbm_fault_set(fault, CBM_PROTO_E_INVALID, what, "a key is not a UTF-8 text");
    }
    twin = find_twin(map);
    if (twin)
        return cbm_fault_set(fault, CBM_PROTO_E_INVALID, what, "the key \"%.*s\" stands twice",
                             twin->size > 64 ? 64 : (int)twin->size, twin->ptr);
    return 0;
}

bool cbm_str_equal(const msgpack_object *object, const char *text)
{
    size_t length = strlen(text);

    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == length &&
           memcmp(object->via.str.ptr, text, length) == 0;
}

const msgpack_object *cbm_map_find(const msgpack_object *map, const char *key)
{
    for (uint32_t i = 0; i < map->via.map.size; i++)
        if (cbm_str_equal(&map->via.map.ptr[i].key, key))
            return &map->via.map.ptr[i].val;
    return NULL;
}

const char *cbm_object_shown(const msgpack_object *object, char shown[CBM_SHOWN_MAX])
{
    static const char *const others[] = {
        [MSGPACK_OBJECT_NIL] = "nil",   [MSGPACK_OBJECT_BOOLEAN] = "a bool", [MSGPACK_OBJECT_ARRAY] = "an array",
        [MSGPACK_OBJECT_MAP] = "a map", [MSGPACK_OBJECT_EXT] = "an ext",
    };

    switch (object->type) {
    case MSGPACK_OBJECT_STR: return cbm_text_shown(object->via.str.ptr, object->via.str.size, shown);
    case MSGPACK_OBJECT_POSITIVE_INTEGER: snprintf(shown, CBM_SHOWN_MAX, "%" PRIu64, object->via.u64); break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: snprintf(shown, CBM_SHOWN_MAX, "%" PRId64, object->via.i64); break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: snprintf(shown, CBM_SHOWN_MAX, "%.15g", object->via.f64); break;
    case MSGPACK_OBJECT_BIN: snprintf(shown, CBM_SHOWN_MAX, "%" PRIu32 " bytes of bin", object->via.bin.size); break;
    default: snprintf(shown, CBM_SHOWN_MAX, "%s", others[object->type]); break;
    }
    return shown;
}

/*
 * Untrusted bytes as a tree of msgpack objects, which point into the bytes. The pointer of an empty str or bin may be NULL
 * (seen in msgpack-c 4.0 where it is the first value of a message).
 */
#ifndef CBM_PROTO_DOCUMENT_H
#define CBM_PROTO_DOCUMENT_H

#include <msgpack.h>
#include <stddef.h>

#include "codec.h"
#include "expects.h"

/* Bytes. The objects of all messages but pages and large arrays fit: those messages are read without an allocation. */
#define CBM_DOCUMENT_ROOM 4096

typedef struct cbm_document {
    msgpack_zone zone; /* of objects: in `room`, and allocated where that is not enough */
    msgpack_object root;
    _Alignas(max_align_t) char room[CBM_DOCUMENT_ROOM];
} cbm_document;

/*
 * 0 with a document to be closed, which stays where it is until then; or the fault's error (bad_request, no_memory, too_large) and
 * nothing to close.
 */
int cbm_document_open(cbm_document *document, const void *bytes, size_t size, size_t size_max, cbm_fault *fault);
void cbm_document_close(cbm_document *document);

/*
 * Whether `object` is a map whose keys are UTF-8 texts, each of them once. `what` is the name of the thing in messages and
 * the fault's field.
 */
int cbm_map_check(const msgpack_object *object, const char *what, cbm_fault *fault);
/* The value of a key, or NULL. */
const msgpack_object *cbm_map_find(const msgpack_object *map, const char *key);
bool cbm_str_equal(const msgpack_object *object, const char *text);
/* A value that was given, for messages: 'text', 17, a map. Returns `shown`. */
const char *cbm_object_shown(const msgpack_object *object, char shown[CBM_SHOWN_MAX]);

#endif

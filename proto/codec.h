/*
 * Requests and replies <-> msgpack. The bytes are untrusted on both sides: depth, counts, sizes, types, UTF-8 and ranges
 * are checked before anything is believed, no byte count in them makes anybody allocate more than a small multiple of what came,
 * and what is refused has changed nothing. Unknown keys are ignored; a key that stands twice is bad_request.
 */
#ifndef CBM_PROTO_CODEC_H
#define CBM_PROTO_CODEC_H

#include "buffer.h"
#include "message.h"

/* Why bytes were refused. */
typedef struct cbm_fault {
    int error;         /* CBM_PROTO_E_INVALID, _UNKNOWN_OP, _NOMEM, _TOO_LARGE, _PROTOCOL */
    char field[32];    /* "": none in particular */
    char message[160]; /* a sentence */
} cbm_fault;

/*
 * Returns 0 with a request to be given to cbm_request_deinit, or the fault's error. On a fault `request` holds op (when it was
 * readable) and correlation_id, for the log, and nothing to free.
 */
int cbm_request_decode(const void *bytes, size_t size, cbm_request *request, cbm_fault *fault);
int cbm_request_encode(const cbm_request *request, cbm_buffer *buffer);

int cbm_reply_encode(const cbm_reply *reply, cbm_buffer *buffer);
/* `kind` is that of the operation that was asked. */
int cbm_reply_decode(const void *bytes, size_t size, cbm_reply_kind kind, cbm_reply *reply, cbm_fault *fault);

#endif

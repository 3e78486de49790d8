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
 * Returns 0 with a request to be given to cbm_request_deinit, or the fault's error. On a fault `request` holds op (CBM_OP_COUNT
 * when it was not readable) and correlation_id, for the log, and nothing to free. `limit` is CBM_PAGE_DEFAULT when none
 * was given; `name` is also that of a single report.
 */
int cbm_request_decode(const void *bytes, size_t size, cbm_request *request, cbm_fault *fault);
/* Writes op, the fields in `given`, and correlation_id unless it is "". Of POLICY those in policy.given. */
int cbm_request_encode(const cbm_request *request, cbm_buffer *buffer);

/*
 * Both encoders append to the buffer. On an error (_NOMEM, _TOO_LARGE) it is as it was before, and may be used again. A reply
 * without a message gets the usual one of its kind or the sentence of its error.
 */
int cbm_reply_encode(const cbm_reply *reply, cbm_buffer *buffer);
/*
 * `kind` is that of the operation that was asked. 0 also for an error reply, which is in reply->error. What breaks the contract is
 * CBM_PROTO_E_PROTOCOL. The reply is to be given to cbm_reply_deinit.
 */
int cbm_reply_decode(const void *bytes, size_t size, cbm_reply_kind kind, cbm_reply *reply, cbm_fault *fault);

#endif

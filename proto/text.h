/*
 * Text commands for people: `get ha_api failure_threshold=3 timeout=30`, a word for the operation, at most one bare word for
 * its positional field, then field=value. Quoted values are JSON strings, bin values hex. Made into the same msgpack
 * request that a program would send, so that there is one decoder. And a msgpack reply as JSON: bin as hex, a trailing newline.
 */
#ifndef CBM_PROTO_TEXT_H
#define CBM_PROTO_TEXT_H

#include "codec.h"

/* A request whose first byte is printable ASCII is a text command (a msgpack map never is). */
bool cbm_text_is_command(const void *bytes, size_t size);
/* Writes the msgpack request. 0 or the fault's error: bad_request with the column in the message. */
int cbm_text_to_request(const void *bytes, size_t size, cbm_buffer *request, cbm_fault *fault);
/* Writes one JSON line. CBM_PROTO_E_PROTOCOL: not msgpack; CBM_PROTO_E_NOMEM, _TOO_LARGE. */
int cbm_text_from_reply(const void *bytes, size_t size, cbm_buffer *json);

#endif

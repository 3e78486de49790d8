/*
 * The SP wire as NNG speaks it on IPC: an 8-byte greeting each way, then frames of 0x01, a 64-bit big-endian length and
 * that many bytes. The payload of REQ and REP begins with a backtrace: 32-bit words, of which the last has its high bit set
 * (one word, the request id, unless devices stand between). Bytes in, frames out; used by both sides.
 */
#ifndef CBM_PROTO_SP_H
#define CBM_PROTO_SP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CBM_SP_GREETING_SIZE 8
#define CBM_SP_PREFIX_SIZE 9 /* 0x01 and the length */
#define CBM_SP_ID_SIZE 4
#define CBM_SP_BACKTRACE_MAX 32 /* eight hops, as NNG's default TTL */
#define CBM_SP_ID_BIT UINT32_C(0x80000000)

#define CBM_REQUEST_MAX ((size_t)64 * 1024) /* bytes of a request body */
#define CBM_REPLY_MAX ((size_t)1024 * 1024) /* bytes of a reply frame's payload: NNG's default receive limit */

enum cbm_sp_protocol {
    CBM_SP_PUB = 0x20,
    CBM_SP_SUB = 0x21,
    CBM_SP_REQ = 0x30,
    CBM_SP_REP = 0x31,
};

void cbm_sp_greeting_write(uint8_t greeting[CBM_SP_GREETING_SIZE], uint16_t protocol);
/* False when the bytes so far (size <= 8) can no longer become a greeting: a wrong peer is dropped at its first wrong byte. */
bool cbm_sp_greeting_plausible(const uint8_t *bytes, size_t size);
/* The peer's protocol of a whole greeting. */
uint16_t cbm_sp_greeting_protocol(const uint8_t greeting[CBM_SP_GREETING_SIZE]);

typedef struct cbm_sp_frame {
    const uint8_t *backtrace; /* points into the bytes given */
    size_t backtrace_size;    /* multiple of 4; the request id is its last word */
    uint32_t id;
    const uint8_t *body;
    size_t body_size;
    size_t size; /* of the whole frame: drop so many bytes */
} cbm_sp_frame;

typedef enum cbm_sp_result {
    CBM_SP_FRAME,     /* *frame is one */
    CBM_SP_MORE,      /* not whole yet: *needed bytes in all are known to be needed */
    CBM_SP_BROKEN,    /* not SP: drop the peer */
    CBM_SP_TOO_LARGE, /* a payload over body_max + CBM_SP_BACKTRACE_MAX: drop the peer */
} cbm_sp_result;

/* The first REQ or REP frame in the bytes. */
cbm_sp_result cbm_sp_frame_read(const uint8_t *bytes, size_t size, size_t body_max, cbm_sp_frame *frame,
                                size_t *needed);

/* Prefix and backtrace of a frame that carries body_size bytes; returns the bytes written. */
size_t cbm_sp_frame_write(uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX], const uint8_t *backtrace,
                          size_t backtrace_size, size_t body_size);
/* The same with one request id. */
size_t cbm_sp_frame_write_id(uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX], uint32_t id, size_t body_size);

#endif

/*
 * How board and ledger get to the other side: a SOCK_SEQPACKET socket beside the broker's own (CBM_SHM_SUFFIX), since an SP
 * connection cannot pass descriptors.
 *
 *   client                                  cbmd
 *   op `attach` on its SP connection    ->  a one-time token, bound to the connection's uid and pid, good for 10 s
 *   connects to PATH.shm
 *   cbm_attach_request + the ledger's descriptor  ->
 *                                       <-  cbm_attach_reply + the board's descriptor (result 0), or a result alone
 *   one byte 0x01                       ->
 *                                           attaches the ledger
 *                                       <-  closes
 *
 * The end of file after the byte says that the ledger is attached: before it no get may name it. A ledger that the broker does
 * not take is told by a second cbm_attach_reply instead, with that result and no descriptor. An acknowledgement that came
 * too late gives EPIPE or ECONNRESET, never an end of file.
 *
 * The broker waits 1 s for each message, and has at most 4 unacknowledged replies out for a uid: others wait their turn.
 * One message each way, of exactly these bytes; a longer or shorter one, or another number of descriptors, ends the connection.
 */
#ifndef CBM_PROTO_HANDSHAKE_H
#define CBM_PROTO_HANDSHAKE_H

#include <stdint.h>

#include "message.h"

#define CBM_SHM_SUFFIX ".shm"
#define CBM_ATTACH_MAGIC UINT32_C(0x6d736263) /* "cbsm" */
#define CBM_ATTACH_VERSION 1
#define CBM_ATTACH_ACKNOWLEDGE 0x01

typedef struct cbm_attach_request {
    uint32_t magic;
    uint32_t version;
    uint8_t token[CBM_ID_SIZE];
} cbm_attach_request;

/* Results are of proto/error.h: 0; _DENIED (token, uid, pid or ledger of somebody else); _INVALID (not a ledger, not sealed);
   _FULL (no place for more ledgers, or no descriptors); _UNSUPPORTED (another version); _NOMEM. */
typedef struct cbm_attach_reply {
    uint32_t magic;
    uint32_t version;
    int32_t result;
    uint32_t reserved;
    uint8_t incarnation[CBM_ID_SIZE];
    int64_t
        now_ns; /* the broker's CLOCK_MONOTONIC: outside the client's own round trip it lives in another time namespace */
    uint64_t board_size;
    uint64_t ledger_size;
} cbm_attach_reply;

_Static_assert(sizeof(cbm_attach_request) == 24 && sizeof(cbm_attach_reply) == 56, "no padding travels");

#endif

/*
 * Every error that can pass the wire or leave the client library: number, wire name, sentence for people.
 * cbm.h and cbm_core.h repeat the numbers of theirs; static assertions (error.c, client/client.c) keep them equal.
 */
#ifndef CBM_PROTO_ERROR_H
#define CBM_PROTO_ERROR_H

#include <stddef.h>

/* X(symbol, number, wire name, sentence) */
#define CBM_ERROR_TABLE(X)                                                                                             \
    X(INVALID, -1, "bad_request", "the request is not valid")                                                          \
    X(NOMEM, -2, "no_memory", "out of memory")                                                                         \
    X(NOT_FOUND, -3, "not_found", "there is no breaker of that name")                                                  \
    X(FULL, -4, "full", "the manager, or this user, holds as many breakers or permits as it may")                      \
    X(OPEN, -5, "open", "the circuit is open")                                                                         \
    X(HALF_OPEN_FULL, -6, "half_open_full", "the circuit is half-open and all its permits are out")                    \
    X(FORCED_OPEN, -7, "forced_open", "the circuit was opened by hand")                                                \
    X(RATE_LIMITED, -8, "rate_limited", "the manager's rate limit is exceeded")                                        \
    X(UNKNOWN_OP, -20, "unknown_op", "there is no such operation")                                                     \
    X(DENIED, -21, "denied", "that operation is not allowed to this user")                                             \
    X(TOO_LARGE, -22, "too_large", "the message is too large")                                                         \
    X(UNSUPPORTED, -23, "unsupported", "this broker does not offer that")                                              \
    X(INTERNAL, -24, "internal", "the broker failed to answer")                                                        \
    X(AWAY, -40, "away", "the broker cannot be reached")                                                               \
    X(UNTRUSTED, -41, "untrusted", "the socket is not owned by root, this user or its directory's owner")              \
    X(INHERITED, -42, "inherited", "the permit belongs to the parent process")                                         \
    X(PROTOCOL, -43, "protocol", "the broker's answer was not understood")                                             \
    X(ADDRESS, -44, "address", "the address is not one of a Unix socket")

enum cbm_proto_error {
    CBM_PROTO_OK = 0,
#define X(symbol, number, name, sentence) CBM_PROTO_E_##symbol = number,
    CBM_ERROR_TABLE(X)
#undef X
};

const char *cbm_proto_error_name(int error);     /* "open"; "ok" for 0; "internal" for a number not in the table */
const char *cbm_proto_error_sentence(int error); /* "the circuit is open" */
/* The number of a wire name; CBM_PROTO_E_INTERNAL for one from a newer peer. */
int cbm_proto_error_number(const char *name, size_t length);

#endif

/* cbmd's own answers, recorded once and given back by the peers that do nothing but answer. */
#ifndef CBM_BENCH_CANNED_H
#define CBM_BENCH_CANNED_H

#include <stddef.h>
#include <stdint.h>

/* A connection that has greeted as REQ and was greeted, or -1. */
int bench_sp_connect(const char *path);
/* Asks the broker at `path` each operation that the client uses and keeps the answers. 0 or -1. */
int bench_canned_record(const char *path);
/* The answer to a request's body; never NULL. */
const uint8_t *bench_canned_reply(const uint8_t *body, size_t body_size, size_t *size);

#endif

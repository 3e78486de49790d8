/*
 * A look at untrusted msgpack before the real decoder sees it. msgpack-c allocates by the counts that the bytes
 * claim, so a few bytes can ask for gigabytes; here every claim is held against the bytes that are really there, without
 * recursion and without allocation.
 */
#ifndef CBM_PROTO_CHECK_H
#define CBM_PROTO_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#define CBM_DEPTH_MAX 8  /* maps and arrays within each other */
#define CBM_KEYS_MAX 512 /* pairs of one map */

/* NULL when the bytes are exactly one msgpack value of at most objects_max objects; else what is wrong with them. */
const char *cbm_msgpack_check(const void *bytes, size_t size, size_t objects_max);

#endif

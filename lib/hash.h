/* A keyed hash, so that nobody can choose names that all fall into one bucket: SipHash-1-3. */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint32_t core_hash(uint64_t key, const void *bytes, size_t length);

/* The next number of a sequence, each state giving its own; for jitter and keys, not for secrets. */
uint64_t core_random(uint64_t *state);

#endif

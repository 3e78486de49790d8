/* Structs of the caller that begin with their size, so that programs built against an older or newer cbm.h are understood. */
#ifndef CBM_CLIENT_STRUCTS_H
#define CBM_CLIENT_STRUCTS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Copies a caller's struct, whose first member is its size_t size, into one of `size` bytes: an older, smaller one is
 * filled up with zeros. False when it is a newer, larger one with something in it that is not known here, or no struct.
 * NULL gives all zeros. The two do not overlap.
 */
bool cbm_struct_read(void *to, size_t size, const void *from);

#endif

/*
 * A C struct as a msgpack map, by a table: one row a member. Reading checks type, range, length and UTF-8 of each value and
 * names the key in the fault; keys that are in no row are passed over.
 */
#ifndef CBM_PROTO_FIELDS_H
#define CBM_PROTO_FIELDS_H

#include <msgpack.h>

#include "codec.h"

typedef enum cbm_field_type {
    CBM_TYPE_NAME,     /* char[129]: the name of a breaker */
    CBM_TYPE_GLOB,     /* char[129]: any text of up to 128 bytes without control characters; a longer one is refused */
    CBM_TYPE_TEXT,     /* char[size]: a longer one is cut at a character */
    CBM_TYPE_BOOL,     /* bool */
    CBM_TYPE_U32,      /* uint32_t; an integer from minimum to maximum */
    CBM_TYPE_U64,      /* uint64_t; likewise */
    CBM_TYPE_I64,      /* int64_t, at least -1 */
    CBM_TYPE_NUMBER,   /* double; an integer or a float, never NaN or infinite */
    CBM_TYPE_DURATION, /* int64_t nanoseconds; a number of milliseconds from 0 to maximum */
    CBM_TYPE_SECONDS,  /* uint32_t milliseconds; a number of seconds */
    CBM_TYPE_MS_UP,    /* int64_t nanoseconds; integer milliseconds, written rounded up; -1 stays -1 */
    CBM_TYPE_MS_DOWN,  /* int64_t nanoseconds; integer milliseconds, written rounded down; -1 stays -1 */
    CBM_TYPE_BIN,      /* uint8_t[size]: exactly so many bytes */
    CBM_TYPE_BIN_UPTO, /* uint8_t[size], and a size_t at `length_offset`: 1 to so many bytes */
    CBM_TYPE_WORD,     /* an enum of 4 bytes; the text word(0) to word(maximum) */
} cbm_field_type;

typedef struct cbm_field_row {
    const char *name;
    cbm_field_type type;
    size_t offset;
    size_t size;          /* NAME, GLOB, TEXT, BIN, BIN_UPTO: bytes of the member */
    size_t length_offset; /* BIN_UPTO */
    uint64_t minimum, maximum;
    const char *(*word)(uint32_t value);
} cbm_field_row;

/* Row of `name`, or -1. Looks at `expected` first: a peer that writes in the table's order is found at once. */
int cbm_field_find(const cbm_field_row *rows, size_t count, const char *name, size_t length, size_t expected);

/* Reads one value into the struct. `prefix` ("reports[3].") stands before the name in the fault. */
int cbm_field_read(const cbm_field_row *row, const msgpack_object *value, void *to, const char *prefix,
                   cbm_fault *fault);
/* Reads all known keys of a map that passed cbm_map_check; bit i of *seen: row i was there. */
int cbm_fields_read(const cbm_field_row *rows, size_t count, const msgpack_object *map, void *to, uint64_t *seen,
                    const char *prefix, cbm_fault *fault);

/* Packers report nothing: the buffer behind them keeps the first error. */
void cbm_field_write(msgpack_packer *packer, const cbm_field_row *row, const void *from);
/* Key and value of each row whose bit is set in `which`. */
void cbm_fields_write(msgpack_packer *packer, const cbm_field_row *rows, size_t count, const void *from,
                      uint64_t which);

void cbm_pack_text(msgpack_packer *packer, const char *text);
void cbm_pack_number(msgpack_packer *packer, double value); /* as an integer when it is whole */
/* The value of policy field `field`: an integer, a number or a word. */
void cbm_pack_policy_value(msgpack_packer *packer, const cbm_core_policy *policy, int field);
void cbm_packer_init(msgpack_packer *packer, cbm_buffer *buffer);

/* An integer or a finite float. */
bool cbm_object_number(const msgpack_object *object, double *value);

/* What a value of the row must be, for messages: "an integer from 1 to 256". */
void cbm_field_expects(const cbm_field_row *row, char *text, size_t size);

#endif

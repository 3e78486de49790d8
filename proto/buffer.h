/* Bytes that grow, up to a limit. Zero-initialised with a limit set it is empty and valid. */
#ifndef CBM_PROTO_BUFFER_H
#define CBM_PROTO_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cbm_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t limit; /* never larger than this */
    int error; /* 0, or the first CBM_PROTO_E_NOMEM or _TOO_LARGE: later writes do nothing, one check at the end does */
} cbm_buffer;

void cbm_buffer_init(cbm_buffer *buffer, size_t limit);
void cbm_buffer_deinit(cbm_buffer *buffer);
void cbm_buffer_clear(cbm_buffer *buffer);                 /* empty and without error; keeps the memory */
void cbm_buffer_trim(cbm_buffer *buffer, size_t capacity); /* gives back what an empty one holds beyond `capacity` */
int cbm_buffer_append(cbm_buffer *buffer, const void *bytes, size_t size);
int cbm_buffer_reserve(cbm_buffer *buffer, size_t more); /* room for `more` bytes behind size */
/*
 * The end of writing a message that began at `start`: 0, or the error of the writes, _TOO_LARGE also for more than `most`
 * bytes. Then the buffer is as it was before the message, ready for another one.
 */
int cbm_buffer_settle(cbm_buffer *buffer, size_t start, size_t most);
void cbm_buffer_consume(cbm_buffer *buffer, size_t size); /* drops bytes at the front */

#endif

#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

#define CAPACITY_MIN ((size_t)512)

void cbm_buffer_init(cbm_buffer *buffer, size_t limit)
{
    *buffer = (cbm_buffer){.limit = limit};
}

void cbm_buffer_deinit(cbm_buffer *buffer)
{
    free(buffer->data);
    *buffer = (cbm_buffer){.limit = buffer->limit};
}

void cbm_buffer_clear(cbm_buffer *buffer)
{
    buffer->size = 0;
    buffer->error = 0;
}

int cbm_buffer_reserve(cbm_buffer *buffer, size_t more)
{
    size_t capacity = buffer->capacity;
    uint8_t *data;

    if (buffer->error)
        return buffer->error;
    if (buffer->size > buffer->limit || more > buffer->limit - buffer->size)
        return buffer->error = CBM_PROTO_E_TOO_LARGE;
    if (more <= capacity - buffer->size)
        return 0;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    while (capacity - buffer->size < more)
        capacity = capacity > buffer->limit / 2 ? buffer->limit : capacity * 2;
    if (capacity > buffer->limit)
        capacity = buffer->limit;
    data = realloc(buffer->data, capacity);
    if (!data)
        return buffer->error = CBM_PROTO_E_NOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

void cbm_buffer_trim(cbm_buffer *buffer, size_t capacity)
{
    uint8_t *data;

    if (buffer->size > 0 || buffer->capacity <= capacity)
        return;
    data = realloc(buffer->data, capacity);
    if (!data)
        return;
    buffer->data = data;
    buffer->capacity = capacity;
}

int cbm_buffer_append(cbm_buffer *buffer, const void *bytes, size_t size)
{
    int error = cbm_buffer_reserve(buffer, size);

    if (error)
        return error;
    if (size) {
        memcpy(buffer->data + buffer->size, bytes, size);
        buffer->size += size;
    }
    return 0;
}

int cbm_buffer_settle(cbm_buffer *buffer, size_t start, size_t most)
{
    int error = buffer->error;

    if (!error && buffer->size - start > most)
        error = CBM_PROTO_E_TOO_LARGE;
    if (error) {
        buffer->size = start;
        buffer->error = 0;
    }
    return error;
}

void cbm_buffer_consume(cbm_buffer *buffer, size_t size)
{
    if (size > buffer->size)
        size = buffer->size;
    if (size == 0)
        return;
    buffer->size -= size;
    memmove(buffer->data, buffer->data + size, buffer->size);
}

/* Integers in byte order: big-endian as SP and msgpack have them, little-endian as a permit has them. */
#ifndef CBM_PROTO_BYTES_H
#define CBM_PROTO_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t cbm_get_be(const uint8_t *bytes, size_t width)
{
    uint64_t value = 0;

    for (size_t i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return value;
}

static inline void cbm_put_be(uint8_t *bytes, size_t width, uint64_t value)
{
    for (size_t i = width; i-- > 0; value >>= 8)
        bytes[i] = (uint8_t)value;
}

static inline uint64_t cbm_get_le(const uint8_t *bytes, size_t width)
{
    uint64_t value = 0;

    for (size_t i = width; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

static inline void cbm_put_le(uint8_t *bytes, size_t width, uint64_t value)
{
    for (size_t i = 0; i < width; i++, value >>= 8)
        bytes[i] = (uint8_t)value;
}

#endif

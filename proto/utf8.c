#include "utf8.h"

#include <stdint.h>

/* Bytes of the character that starts at `at`, or 0. The second byte's bounds rule out long forms and surrogates. */
static size_t character_size(const uint8_t *at, size_t left)
{
    uint8_t first = at[0], low = 0x80, high = 0xbf;
    size_t size;

    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < size)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

bool cbm_utf8_valid(const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *)text;

    while (size > 0) {
        size_t step = character_size(at, size);

        if (step == 0)
            return false;
        at += step;
        size -= step;
    }
    return true;
}

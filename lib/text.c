#include "text.h"

#include "cbm_core.h"

#include <string.h>

size_t core_utf8_decode(const char *text, size_t length, uint32_t *character)
{
    const unsigned char *byte = (const unsigned char *)text;
    uint32_t least; /* a character that would fit into fewer bytes is not well-formed */
    uint32_t value;
    size_t size;

    if (length == 0) {
        return 0;
    }
    if (byte[0] < 0x80) {
        *character = byte[0];
        return 1;
    }
    if ((byte[0] & 0xe0) == 0xc0) {
        size = 2;
        value = byte[0] & 0x1fu;
        least = 0x80;
    } else if ((byte[0] & 0xf0) == 0xe0) {
        size = 3;
        value = byte[0] & 0x0fu;
        least = 0x800;
    } else if ((byte[0] & 0xf8) == 0xf0) {
        size = 4;
        value = byte[0] & 0x07u;
        least = 0x10000;
    } else {
        return 0;
    }
    if (size > length) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((byte[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (byte[i] & 0x3fu);
    }
    if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return 0;
    }
    *character = value;
    return size;
}

int core_is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character <= 0x9f);
}

bool cbm_core_text_valid(const char *text, size_t length)
{
    size_t used;

    for (size_t at = 0; at < length; at += used) {
        uint32_t character;

        used = core_utf8_decode(text + at, length - at, &character);
        if (used == 0) {
            return false;
        }
    }
    return true;
}

bool cbm_core_name_valid(const char *name, size_t length)
{
    size_t used;

    if (name == NULL || length == 0 || length > CBM_CORE_NAME_MAX) {
        return false;
    }
    for (size_t at = 0; at < length; at += used) {
        uint32_t character;

        used = core_utf8_decode(name + at, length - at, &character);
        if (used == 0 || core_is_control(character)) {
            return false;
        }
    }
    return true;
}

void cbm_core_text_copy(char *to, size_t size, const char *from, size_t length)
{
    size_t written = 0;
    size_t used;

    if (size == 0) {
        return;
    }
    for (size_t at = 0; from != NULL && at < length; at += used) {
        const char *bytes = from + at;
        size_t count;
        uint32_t character;

        used = core_utf8_decode(bytes, length - at, &character);
        count = used;
        if (used == 0) {
            bytes = "?"; /* a stray byte must not make the whole text unreadable */
            used = count = 1;
        } else if (core_is_control(character)) {
            bytes = " ";
            count = 1;
        }
        if (written + count > size - 1) {
            break;
        }
        memcpy(to + written, bytes, count);
        written += count;
    }
    to[written] = '\0';
}

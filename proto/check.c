#include "check.h"

#include <stdint.h>

#include "bytes.h"

/* What the head of one object says. */
typedef struct object_head {
    size_t size;       /* of type byte, length or count, and a scalar's value */
    uint64_t body;     /* bytes of a str, bin or ext behind it */
    uint64_t children; /* objects that a map (two a pair) or array holds */
    bool is_map;
} object_head;

/* Bytes of value or length behind the type bytes 0xc0 to 0xdf. */
static const uint8_t widths[32] = {
    0, 0, 0, 0,    /* nil, (never used), false, true */
    1, 2, 4,       /* bin */
    1, 2, 4,       /* ext */
    4, 8,          /* float */
    1, 2, 4, 8,    /* uint */
    1, 2, 4, 8,    /* int */
    1, 1, 1, 1, 1, /* fixext: the ext's type */
    1, 2, 4,       /* str */
    2, 4,          /* array */
    2, 4,          /* map */
};

/* The head of a type byte from 0xc0 to 0xdf. False: no such type, or cut off. */
static bool long_head(const uint8_t *at, size_t left, object_head *head)
{
    uint8_t type = at[0];
    size_t width = widths[type - 0xc0];
    uint64_t value;

    if (type == 0xc1 || left - 1 < width)
        return false;
    value = cbm_get_be(at + 1, width);
    head->size = 1 + width;
    if ((type >= 0xc4 && type <= 0xc6) || (type >= 0xd9 && type <= 0xdb))
        head->body = value;
    else if (type >= 0xc7 && type <= 0xc9)
        head->body = value + 1; /* the ext's type stands before its bytes */
    else if (type >= 0xd4 && type <= 0xd8)
        head->body = UINT64_C(1) << (type - 0xd4);
    else if (type == 0xdc || type == 0xdd)
        head->children = value;
    else if (type == 0xde || type == 0xdf) {
        head->children = value * 2;
        head->is_map = true;
    }
    return true;
}

static bool read_head(const uint8_t *at, size_t left, object_head *out)
{
    uint8_t type = at[0];

    *out = (object_head){.size = 1};
    if (type >= 0xc0 && type <= 0xdf)
        return long_head(at, left, out);
    if (type >= 0xa0 && type <= 0xbf) {
        out->body = type & 0x1f;
    } else if (type >= 0x90 && type <= 0x9f) {
        out->children = type & 0x0f;
    } else if (type >= 0x80 && type <= 0x8f) {
        out->children = (uint64_t)(type & 0x0f) * 2;
        out->is_map = true;
    }
    return true;
}

const char *cbm_msgpack_check(const void *bytes, size_t size, size_t objects_max)
{
    const uint8_t *at = bytes;
    size_t left = size, objects = 0, depth = 0;
    uint64_t open[CBM_DEPTH_MAX]; /* objects that each map or array still waits for */

    do {
        object_head head;

        if (left == 0)
            return "the message is cut off";
        if (!read_head(at, left, &head))
            return at[0] == 0xc1 ? "the message is not msgpack" : "the message is cut off";
        at += head.size;
        left -= head.size;
        if (head.body > left)
            return "a text in the message is longer than the message";
        at += head.body;
        left -= (size_t)head.body;
        if (head.children > left)
            return "a count in the message is larger than the message";
        if (head.is_map && head.children > 2 * CBM_KEYS_MAX)
            return "a map in the message has too many keys";
        if (++objects > objects_max)
            return "the message has too many parts";
        if (depth > 0)
            open[depth - 1]--;
        if (head.children > 0) {
            if (depth == CBM_DEPTH_MAX)
                return "the message is nested too deeply";
            open[depth++] = head.children;
        }
        while (depth > 0 && open[depth - 1] == 0)
            depth--;
    } while (depth > 0);
    return left > 0 ? "there are bytes behind the message" : NULL;
}

#include "structs.h"

#include <string.h>

/* No caller is from so far in the future: a larger size is garbage, and reading so much of it would be a fault. */
#define LARGEST 4096

bool cbm_struct_read(void *to, size_t size, const void *from)
{
    const unsigned char *bytes = from;
    size_t given;

    memset(to, 0, size);
    if (!from)
        return true;
    memcpy(&given, from, sizeof(given));
    if (given < sizeof(given) || given > LARGEST)
        return false;
    for (size_t i = size; i < given; i++)
        if (bytes[i])
            return false;
    memcpy(to, from, given < size ? given : size);
    memcpy(to, &size, sizeof(size));
    return true;
}

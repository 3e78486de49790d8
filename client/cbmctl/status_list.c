#include "status_list.h"

#include <stddef.h>

/* Reads a status at *text and moves behind it. */
static bool read_status(const char **text, int *status)
{
    const char *at = *text;
    int value = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (*at - '0');
        if (value >= STATUS_COUNT)
            return false;
    }
    if (at == *text)
        return false;
    *text = at;
    *status = value;
    return true;
}

bool status_list_add(status_list *list, const char *text)
{
    status_list added = *list;
    for (;;) {
        int first, last;
        if (!read_status(&text, &first))
            return false;
        last = first;
        if (*text == '-') {
            text++;
            if (!read_status(&text, &last) || last < first)
                return false;
        }
        for (int status = first; status <= last; status++)
            added.holds[status] = true;
        if (*text == '\0')
            break;
        if (*text++ != ',')
            return false;
    }
    *list = added;
    return true;
}

int status_list_common(const status_list *a, const status_list *b)
{
    for (int status = 0; status < STATUS_COUNT; status++) {
        if (a->holds[status] && b->holds[status])
            return status;
    }
    return -1;
}

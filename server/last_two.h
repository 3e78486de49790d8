/* Who asked last, and when, and who did before: so that each can be told whether somebody else has asked just now. */
#ifndef CBM_SERVER_LAST_TWO_H
#define CBM_SERVER_LAST_TWO_H

#include <stdint.h>

/* The last two that were different, the latest first. All zero: nobody asked yet. */
typedef struct cbm_last_two {
    uint64_t by[2];
    int64_t ns[2]; /* 0: nobody */
} cbm_last_two;

static inline void cbm_last_two_note(cbm_last_two *last, uint64_t by, int64_t now_ns)
{
    if (last->by[0] != by) {
        last->by[1] = last->by[0];
        last->ns[1] = last->ns[0];
        last->by[0] = by;
    }
    last->ns[0] = now_ns;
}

/* When somebody else asked for the last time; 0: nobody has. */
static inline int64_t cbm_last_two_other_ns(const cbm_last_two *last, uint64_t than)
{
    return last->ns[last->by[0] == than];
}

#endif

/* Any bytes as what a peer sends, cut as a socket may cut it: the frames are the same ones, and none claims what is not there. */
#include <stdlib.h>
#include <string.h>

#include "sp.h"

#define BODY_MAX 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_frame(const uint8_t *bytes, size_t size, const cbm_sp_frame *frame)
{
    uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX];
    size_t header_size = cbm_sp_frame_write(header, frame->backtrace, frame->backtrace_size, frame->body_size);

    check(frame->size <= size && frame->body + frame->body_size == bytes + frame->size);
    check(header_size + frame->body_size == frame->size && memcmp(header, bytes, header_size) == 0);
    check(frame->id & CBM_SP_ID_BIT);
    check(frame->body_size <= BODY_MAX + CBM_SP_BACKTRACE_MAX - CBM_SP_ID_SIZE);
}

/* With fewer bytes the answer is MORE, or already that the peer is to be dropped. */
static void check_prefixes(const uint8_t *bytes, size_t size, cbm_sp_result whole)
{
    for (size_t part = 0; part < size && part < 64; part++) {
        cbm_sp_frame frame;
        size_t needed = 0;
        cbm_sp_result result = cbm_sp_frame_read(bytes, part, BODY_MAX, &frame, &needed);

        if (result == CBM_SP_MORE)
            check(needed > part);
        else
            check(result == whole);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0, needed;

    if (size < CBM_SP_GREETING_SIZE || !cbm_sp_greeting_plausible(data, size)) {
        /* What was not plausible stays so. */
        for (size_t part = 0; part < size; part++)
            check(cbm_sp_greeting_plausible(data, part) || !cbm_sp_greeting_plausible(data, part + 1));
    } else {
        at = CBM_SP_GREETING_SIZE;
    }
    for (;;) {
        cbm_sp_frame frame;
        cbm_sp_result result = cbm_sp_frame_read(data + at, size - at, BODY_MAX, &frame, &needed);

        check_prefixes(data + at, result == CBM_SP_FRAME ? frame.size : size - at, result);
        if (result != CBM_SP_FRAME)
            return 0;
        check_frame(data + at, size - at, &frame);
        at += frame.size;
    }
}

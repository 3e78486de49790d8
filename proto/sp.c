#include "sp.h"

#include <string.h>

#include "bytes.h"

#define FRAME_TYPE 0x01 /* "a message in the stream"; the only one that IPC has */

/* 00 'S' 'P' 00, the protocol in two bytes, 00 00. -1: any byte. */
static const int greeting_bytes[CBM_SP_GREETING_SIZE] = {0, 'S', 'P', 0, -1, -1, 0, 0};

void cbm_sp_greeting_write(uint8_t greeting[CBM_SP_GREETING_SIZE], uint16_t protocol)
{
    for (size_t i = 0; i < CBM_SP_GREETING_SIZE; i++)
        greeting[i] = greeting_bytes[i] < 0 ? 0 : (uint8_t)greeting_bytes[i];
    cbm_put_be(greeting + 4, 2, protocol);
}

bool cbm_sp_greeting_plausible(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size && i < CBM_SP_GREETING_SIZE; i++)
        if (greeting_bytes[i] >= 0 && bytes[i] != greeting_bytes[i])
            return false;
    return true;
}

uint16_t cbm_sp_greeting_protocol(const uint8_t greeting[CBM_SP_GREETING_SIZE])
{
    return (uint16_t)cbm_get_be(greeting + 4, 2);
}

/* Bytes of the backtrace at the front of a payload: up to and with the first word whose high bit is set. 0: there is none. */
static size_t backtrace_length(const uint8_t *payload, size_t size)
{
    size_t end = size < CBM_SP_BACKTRACE_MAX ? size : CBM_SP_BACKTRACE_MAX;

    for (size_t at = 0; at + CBM_SP_ID_SIZE <= end; at += CBM_SP_ID_SIZE)
        if (payload[at] & 0x80)
            return at + CBM_SP_ID_SIZE;
    return 0;
}

cbm_sp_result cbm_sp_frame_read(const uint8_t *bytes, size_t size, size_t body_max, cbm_sp_frame *frame, size_t *needed)
{
    uint64_t length;
    const uint8_t *payload;
    size_t backtrace;

    if (size > 0 && bytes[0] != FRAME_TYPE)
        return CBM_SP_BROKEN;
    if (size < CBM_SP_PREFIX_SIZE) {
        *needed = CBM_SP_PREFIX_SIZE;
        return CBM_SP_MORE;
    }
    payload = bytes + CBM_SP_PREFIX_SIZE;
    length = cbm_get_be(bytes + 1, 8);
    if (length < CBM_SP_ID_SIZE)
        return CBM_SP_BROKEN;
    if (length > (uint64_t)body_max + CBM_SP_BACKTRACE_MAX)
        return CBM_SP_TOO_LARGE;
    if (size - CBM_SP_PREFIX_SIZE < length) {
        *needed = CBM_SP_PREFIX_SIZE + (size_t)length;
        return CBM_SP_MORE;
    }
    backtrace = backtrace_length(payload, (size_t)length);
    if (backtrace == 0)
        return CBM_SP_BROKEN;
    *frame = (cbm_sp_frame){
        .backtrace = payload,
        .backtrace_size = backtrace,
        .id = (uint32_t)cbm_get_be(payload + backtrace - CBM_SP_ID_SIZE, CBM_SP_ID_SIZE),
        .body = payload + backtrace,
        .body_size = (size_t)length - backtrace,
        .size = CBM_SP_PREFIX_SIZE + (size_t)length,
    };
    return CBM_SP_FRAME;
}

size_t cbm_sp_frame_write(uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX], const uint8_t *backtrace,
                          size_t backtrace_size, size_t body_size)
{
    if (backtrace_size > CBM_SP_BACKTRACE_MAX)
        backtrace_size = CBM_SP_BACKTRACE_MAX;
    header[0] = FRAME_TYPE;
    cbm_put_be(header + 1, 8, (uint64_t)backtrace_size + body_size);
    memcpy(header + CBM_SP_PREFIX_SIZE, backtrace, backtrace_size);
    return CBM_SP_PREFIX_SIZE + backtrace_size;
}

size_t cbm_sp_frame_write_id(uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX], uint32_t id, size_t body_size)
{
    uint8_t word[CBM_SP_ID_SIZE];

    cbm_put_be(word, sizeof(word), id | CBM_SP_ID_BIT);
    return cbm_sp_frame_write(header, word, sizeof(word), body_size);
}

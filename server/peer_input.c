#include "peer_input.h"

#include <stdlib.h>
#include <string.h>

#include "sp.h"

#define INPUT_MAX (CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX + CBM_REQUEST_MAX)

void cbm_peer_input_init(cbm_peer_input *input, cbm_quota *quota, uint64_t uid)
{
    input->bytes = input->small;
    input->size = 0;
    input->capacity = CBM_PEER_INPUT_SMALL;
    input->quota = quota;
    input->uid = uid;
}

static void drop_large(cbm_peer_input *input)
{
    if (input->bytes == input->small)
        return;
    cbm_quota_discharge(input->quota, input->uid, CBM_QUOTA_BYTES, input->capacity);
    free(input->bytes);
    input->bytes = input->small;
    input->capacity = CBM_PEER_INPUT_SMALL;
}

void cbm_peer_input_deinit(cbm_peer_input *input)
{
    drop_large(input);
}

/* Doubles: a peer that announces much and sends little takes little. */
static bool grow(cbm_peer_input *input)
{
    bool is_small = input->bytes == input->small;
    size_t taken = is_small ? 0 : input->capacity;
    size_t doubled = 2 * input->capacity;
    size_t capacity = doubled < INPUT_MAX ? doubled : INPUT_MAX;
    uint8_t *bytes;

    if (!cbm_quota_charge(input->quota, input->uid, CBM_QUOTA_BYTES, capacity - taken))
        return false;
    bytes = realloc(is_small ? NULL : input->bytes, capacity);
    if (!bytes) {
        cbm_quota_discharge(input->quota, input->uid, CBM_QUOTA_BYTES, capacity - taken);
        return false;
    }
    if (is_small)
        memcpy(bytes, input->small, input->size);
    input->bytes = bytes;
    input->capacity = capacity;
    return true;
}

bool cbm_peer_input_make_room(cbm_peer_input *input)
{
    return input->size < input->capacity || grow(input);
}

void cbm_peer_input_consume(cbm_peer_input *input, size_t size)
{
    uint8_t *from = input->bytes + size;

    input->size -= size;
    if (input->bytes != input->small && input->size <= CBM_PEER_INPUT_SMALL) {
        memcpy(input->small, from, input->size);
        drop_large(input);
    } else if (size) {
        memmove(input->bytes, from, input->size);
    }
}

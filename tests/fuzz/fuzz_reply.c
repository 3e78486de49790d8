/* Any bytes as a reply of each kind (the first byte says which), and as JSON. */
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "error.h"
#include "sp.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void decode_again(const cbm_buffer *first, cbm_reply_kind kind)
{
    cbm_reply reply;
    cbm_fault fault;
    cbm_buffer second;

    cbm_buffer_init(&second, CBM_REPLY_MAX);
    check(cbm_reply_decode(first->data, first->size, kind, &reply, &fault) == 0);
    check(cbm_reply_encode(&reply, &second) == 0);
    check(first->size == second.size && memcmp(first->data, second.data, first->size) == 0);
    cbm_reply_deinit(&reply);
    cbm_buffer_deinit(&second);
}

static void decode(const uint8_t *data, size_t size, cbm_reply_kind kind)
{
    cbm_reply reply;
    cbm_fault fault;
    cbm_buffer bytes;
    int error = cbm_reply_decode(data, size, kind, &reply, &fault);

    if (error) {
        check(error == fault.error && fault.message[0]);
        return;
    }
    cbm_buffer_init(&bytes, CBM_REPLY_MAX);
    error = cbm_reply_encode(&reply, &bytes);
    check(error == 0 || error == CBM_PROTO_E_TOO_LARGE);
    if (!error)
        decode_again(&bytes, kind);
    cbm_reply_deinit(&reply);
    cbm_buffer_deinit(&bytes);
}

static void show(const uint8_t *data, size_t size)
{
    cbm_buffer json;
    int error;

    cbm_buffer_init(&json, CBM_REPLY_MAX);
    error = cbm_text_from_reply(data, size, &json);
    check(error == 0 || error == CBM_PROTO_E_PROTOCOL || error == CBM_PROTO_E_TOO_LARGE);
    check(error ? json.size == 0 : memchr(json.data, '\n', json.size) == json.data + json.size - 1);
    cbm_buffer_deinit(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    decode(data + 1, size - 1, (cbm_reply_kind)(data[0] % (CBM_REPLY_INFO + 1)));
    show(data + 1, size - 1);
    return 0;
}

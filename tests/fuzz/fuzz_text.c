/* Any bytes as a text command: what is understood becomes msgpack that the decoder of requests takes apart without surprise. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "sp.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbm_buffer bytes;
    cbm_request request;
    cbm_fault fault;
    int error;

    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    error = cbm_text_to_request(data, size, &bytes, &fault);
    if (error) {
        check(error == fault.error && fault.message[0] && bytes.size == 0);
    } else {
        error = cbm_request_decode(bytes.data, bytes.size, &request, &fault);
        check(error == 0 || error == CBM_PROTO_E_INVALID);
        if (!error)
            cbm_request_deinit(&request);
    }
    check(cbm_core_text_valid(fault.message, strlen(fault.message)));
    cbm_buffer_deinit(&bytes);
    return 0;
}

/* Any bytes as a request: refused with a reason, or understood; what was understood comes back as the same bytes ever after. */
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "sp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void decode_again(const cbm_buffer *first)
{
    cbm_request request;
    cbm_fault fault;
    cbm_buffer second;

    cbm_buffer_init(&second, CBM_REQUEST_MAX);
    check(cbm_request_decode(first->data, first->size, &request, &fault) == 0);
    check(cbm_request_encode(&request, &second) == 0);
    check(first->size == second.size && memcmp(first->data, second.data, first->size) == 0);
    cbm_request_deinit(&request);
    cbm_buffer_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbm_request request;
    cbm_fault fault;
    cbm_buffer bytes;
    int error = cbm_request_decode(data, size, &request, &fault);

    check(cbm_core_text_valid(request.correlation_id, strlen(request.correlation_id)));
    if (error) {
        check(error == fault.error && fault.message[0] && !request.reports);
        check(cbm_core_text_valid(fault.message, strlen(fault.message)) &&
              cbm_core_text_valid(fault.field, strlen(fault.field)));
        return 0;
    }
    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    check(cbm_request_encode(&request, &bytes) == 0);
    decode_again(&bytes);
    cbm_request_deinit(&request);
    cbm_buffer_deinit(&bytes);
    return 0;
}

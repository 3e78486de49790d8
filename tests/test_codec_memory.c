/*
 * No memory: each allocation of proto fails in its turn, and is reported as such, with nothing left behind. The linker
 * puts the functions here before the real ones (--wrap).
 */
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "wire_text.h"

static int allowed = -1; /* allocations until one fails; -1: none fails */

static bool refused(void)
{
    return allowed >= 0 && allowed-- == 0;
}

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
msgpack_unpack_return __real_msgpack_unpack(const char *data, size_t length, size_t *offset, msgpack_zone *zone,
                                            msgpack_object *object);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
msgpack_unpack_return __wrap_msgpack_unpack(const char *data, size_t length, size_t *offset, msgpack_zone *zone,
                                            msgpack_object *object);

void *__wrap_calloc(size_t count, size_t size)
{
    return refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return refused() ? NULL : __real_realloc(memory, size);
}

msgpack_unpack_return __wrap_msgpack_unpack(const char *data, size_t length, size_t *offset, msgpack_zone *zone,
                                            msgpack_object *object)
{
    return refused() ? MSGPACK_UNPACK_NOMEM_ERROR : __real_msgpack_unpack(data, length, offset, zone, object);
}

Test(no_memory, for_a_request_is_reported_and_leaves_nothing)
{
    cbm_request sent = full_reports_request(3);

    for (int fail_at = 0;; fail_at++) {
        cbm_request got;
        cbm_buffer bytes;
        cbm_fault fault;
        int error;

        cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
        allowed = fail_at;
        error = cbm_request_encode(&sent, &bytes);
        if (!error)
            error = cbm_request_decode(bytes.data, bytes.size, &got, &fault);
        allowed = -1;
        cbm_buffer_deinit(&bytes);
        if (!error) {
            cbm_request_deinit(&got);
            cr_assert_geq(fail_at, 3); /* buffer, tree, reports */
            break;
        }
        cr_assert_eq(error, CBM_PROTO_E_NOMEM);
    }
    cbm_request_deinit(&sent);
}

Test(no_memory, for_a_reply_is_reported_and_leaves_nothing)
{
    static const cbm_reply_kind kinds[] = {CBM_REPLY_REPORT, CBM_REPLY_STATES, CBM_REPLY_STATS};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        cbm_reply sent = full_reply(kinds[i]);

        for (int fail_at = 0;; fail_at++) {
            cbm_reply got = {0};
            cbm_buffer bytes;
            cbm_fault fault;
            int error;

            cbm_buffer_init(&bytes, CBM_REPLY_MAX);
            allowed = fail_at;
            error = cbm_reply_encode(&sent, &bytes);
            if (!error)
                error = cbm_reply_decode(bytes.data, bytes.size, kinds[i], &got, &fault);
            allowed = -1;
            cbm_reply_deinit(&got);
            cbm_buffer_deinit(&bytes);
            if (!error) {
                cr_assert_geq(fail_at, 3);
                break;
            }
            cr_assert_eq(error, CBM_PROTO_E_NOMEM);
        }
        cbm_reply_deinit(&sent);
    }
}

Test(no_memory, for_a_text_command_is_reported_and_leaves_nothing)
{
    static const char text[] = "get \"a b\" failure_threshold=3";

    for (int fail_at = 0;; fail_at++) {
        cbm_buffer bytes;
        cbm_fault fault;
        int error;

        cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
        allowed = fail_at;
        error = cbm_text_to_request(text, strlen(text), &bytes, &fault);
        allowed = -1;
        cbm_buffer_deinit(&bytes);
        if (!error) {
            cr_assert_geq(fail_at, 2);
            break;
        }
        cr_assert_eq(error, CBM_PROTO_E_NOMEM);
        cr_assert_eq(fault.error, error);
    }
}

Test(buffer, grows_to_its_limit_and_keeps_its_first_error)
{
    cbm_buffer buffer;

    cbm_buffer_init(&buffer, 1000);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(cbm_buffer_append(&buffer,
                                       "0123456789012345678901234567890123456789"
                                       "0123456789012345678901234567890123456789012345678901234567890",
                                       100),
                     0);
    cr_assert_eq(buffer.size, 1000);
    cr_assert_eq(cbm_buffer_append(&buffer, "", 0), 0);
    cr_assert_eq(cbm_buffer_append(&buffer, "x", 1), CBM_PROTO_E_TOO_LARGE);
    cbm_buffer_consume(&buffer, 990);
    cr_assert_eq(buffer.size, 10);
    cr_assert_eq(buffer.data[0], '0');
    cr_assert_eq(cbm_buffer_append(&buffer, "x", 1), CBM_PROTO_E_TOO_LARGE, "the error stays until cleared");
    cbm_buffer_clear(&buffer);
    cr_assert_eq(cbm_buffer_append(&buffer, "x", 1), 0);
    cbm_buffer_consume(&buffer, 100);
    cr_assert_eq(buffer.size, 0);
    cr_assert_eq(cbm_buffer_reserve(&buffer, SIZE_MAX), CBM_PROTO_E_TOO_LARGE);
    cbm_buffer_deinit(&buffer);
}

/* Bytes that mean harm: nothing of them reaches msgpack-c that could make it recurse or allocate more than they are worth. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "document.h"
#include "fields.h"
#include "wire_text.h"

#define OBJECTS 100000

static void assert_refused(const void *bytes, size_t size, const char *why)
{
    const char *wrong = cbm_msgpack_check(bytes, size, OBJECTS);

    cr_assert(wrong);
    cr_assert(strstr(wrong, why), "%s, not %s", wrong, why);
}

static void assert_hex_refused(const char *hex, const char *why)
{
    cbm_buffer bytes = wire_bytes(hex);

    assert_refused(bytes.data, bytes.size, why);
    cbm_buffer_deinit(&bytes);
}

Test(check, takes_each_type_of_msgpack)
{
    static const char *const values[] = {
        "00",
        "7f",
        "e0",
        "ff",
        "c0",
        "c2",
        "c3",
        "cc ff",
        "cd ffff",
        "ce ffffffff",
        "cf ffffffffffffffff",
        "d0 80",
        "d1 8000",
        "d2 80000000",
        "d3 8000000000000000",
        "ca 3f800000",
        "cb 3ff0000000000000",
        "a0",
        "a1 61",
        "d9 01 61",
        "da 0001 61",
        "db 00000001 61",
        "c4 00",
        "c4 01 00",
        "c5 0001 00",
        "c6 00000001 00",
        "d4 01 00",
        "d5 01 0000",
        "d6 01 00000000",
        "d7 01 0000000000000000",
        "d8 01 00000000000000000000000000000000",
        "c7 00 01",
        "c7 01 01 00",
        "c8 0001 01 00",
        "c9 00000001 01 00",
        "90",
        "91 00",
        "dc 0001 00",
        "dd 00000001 00",
        "80",
        "81 a161 00",
        "de 0001 a161 00",
        "df 00000001 a161 00",
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        cbm_buffer bytes = wire_bytes(values[i]);

        cr_assert_null(cbm_msgpack_check(bytes.data, bytes.size, OBJECTS), "%s", values[i]);
        /* Cut anywhere, or with a byte more, it is not that value any more. */
        for (size_t size = 0; size < bytes.size; size++)
            cr_assert(cbm_msgpack_check(bytes.data, size, OBJECTS), "%s cut to %zu", values[i], size);
        cbm_buffer_append(&bytes, "", 1);
        cr_assert(cbm_msgpack_check(bytes.data, bytes.size, OBJECTS), "%s and a byte", values[i]);
        cbm_buffer_deinit(&bytes);
    }
}

Test(check, refuses_maps_and_arrays_in_each_other_beyond_eight)
{
    uint8_t bytes[1001];

    memset(bytes, 0x91, sizeof(bytes));
    bytes[1000] = 0xc0;
    assert_refused(bytes, sizeof(bytes), "deep");
    assert_refused(bytes + 1000 - 9, 10, "deep");
    cr_assert_null(cbm_msgpack_check(bytes + 1000 - 8, 9, OBJECTS));
    for (size_t i = 0; i < 1000; i += 2) {
        bytes[i] = 0x81;
        bytes[i + 1] = 0xc0;
    }
    assert_refused(bytes, sizeof(bytes), "deep");
}

Test(check, refuses_counts_that_the_bytes_cannot_hold)
{
    assert_hex_refused("dd ffffffff", "count");
    assert_hex_refused("df ffffffff", "count");
    assert_hex_refused("df 80000000", "count"); /* twice that wraps around 32 bits */
    assert_hex_refused("dc ffff 00", "count");
    assert_hex_refused("de 0002 a161 00", "count");
    assert_hex_refused("92 dd 00000003 00 00", "count");
    assert_hex_refused("92 00", "count");
}

Test(check, refuses_lengths_that_lie)
{
    assert_hex_refused("db ffffffff 61", "longer");
    assert_hex_refused("c6 ffffffff 61", "longer");
    assert_hex_refused("c9 ffffffff 01 61", "longer"); /* and the ext's type: one more than 32 bits hold */
    assert_hex_refused("bf 61", "longer");
    assert_hex_refused("81 a161 da 0003 6161", "longer");
}

Test(check, refuses_more_objects_than_it_was_told)
{
    static uint8_t bytes[3 + 1000];

    bytes[0] = 0xdc;
    bytes[1] = 1000 >> 8;
    bytes[2] = 1000 & 0xff;
    cr_assert_null(cbm_msgpack_check(bytes, sizeof(bytes), 1001));
    cr_assert(strstr(cbm_msgpack_check(bytes, sizeof(bytes), 1000), "too many parts"));
}

Test(check, refuses_a_map_of_more_keys_than_are_compared_in_no_time)
{
    static uint8_t bytes[3 + 2 * (CBM_KEYS_MAX + 1)];

    bytes[0] = 0xde;
    bytes[1] = (CBM_KEYS_MAX + 1) >> 8;
    bytes[2] = (CBM_KEYS_MAX + 1) & 0xff;
    assert_refused(bytes, sizeof(bytes), "too many keys");
}

/* ---- Every prefix of what is valid, and noise ------------------------------------------------------------------ */

static cbm_buffer request_bytes(cbm_operation op)
{
    cbm_request request = full_request(op);
    cbm_buffer buffer;

    cbm_buffer_init(&buffer, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_request_encode(&request, &buffer), 0);
    return buffer;
}

static cbm_buffer reply_bytes(cbm_reply_kind kind)
{
    cbm_reply reply = full_reply(kind);
    cbm_buffer buffer;

    cbm_buffer_init(&buffer, CBM_REPLY_MAX);
    cr_assert_eq(cbm_reply_encode(&reply, &buffer), 0);
    cbm_reply_deinit(&reply);
    return buffer;
}

/* On the heap and exactly as long as it says, so that a sanitizer sees each byte read too far. */
static int decode_request_copy(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    cbm_request request;
    cbm_fault fault;
    int error;

    if (size > 0)
        memcpy(copy, bytes, size);
    error = cbm_request_decode(copy, size, &request, &fault);
    free(copy);
    cr_assert_eq(error, fault.error);
    if (error == 0)
        cbm_request_deinit(&request);
    else
        cr_assert_null(request.reports);
    return error;
}

static int decode_reply_copy(const uint8_t *bytes, size_t size, cbm_reply_kind kind)
{
    uint8_t *copy = malloc(size ? size : 1);
    cbm_reply reply;
    cbm_fault fault;
    int error;

    if (size > 0)
        memcpy(copy, bytes, size);
    error = cbm_reply_decode(copy, size, kind, &reply, &fault);
    free(copy);
    cr_assert_eq(error, fault.error);
    cbm_reply_deinit(&reply);
    return error;
}

Test(hostile, a_request_cut_off_at_any_byte_is_refused)
{
    for (int op = 0; op < CBM_OP_COUNT; op++) {
        cbm_buffer bytes = request_bytes((cbm_operation)op);

        for (size_t size = 0; size < bytes.size; size++)
            cr_assert_eq(decode_request_copy(bytes.data, size), CBM_PROTO_E_INVALID);
        cr_assert_eq(decode_request_copy(bytes.data, bytes.size), 0);
        cbm_buffer_deinit(&bytes);
    }
}

Test(hostile, a_reply_cut_off_at_any_byte_is_refused)
{
    for (int kind = CBM_REPLY_NONE; kind <= CBM_REPLY_INFO; kind++) {
        cbm_buffer bytes = reply_bytes((cbm_reply_kind)kind);

        for (size_t size = 0; size < bytes.size; size++)
            cr_assert_eq(decode_reply_copy(bytes.data, size, (cbm_reply_kind)kind), CBM_PROTO_E_PROTOCOL);
        cr_assert_eq(decode_reply_copy(bytes.data, bytes.size, (cbm_reply_kind)kind), 0);
        cbm_buffer_deinit(&bytes);
    }
}

Test(hostile, a_reply_of_one_kind_read_as_another_is_no_harm)
{
    for (int sent = CBM_REPLY_NONE; sent <= CBM_REPLY_INFO; sent++) {
        cbm_buffer bytes = reply_bytes((cbm_reply_kind)sent);

        for (int kind = CBM_REPLY_NONE; kind <= CBM_REPLY_INFO; kind++) {
            int error = decode_reply_copy(bytes.data, bytes.size, (cbm_reply_kind)kind);

            cr_assert(error == 0 || error == CBM_PROTO_E_PROTOCOL);
        }
        cbm_buffer_deinit(&bytes);
    }
}

Test(hostile, random_bytes_are_refused_or_understood)
{
    uint64_t state = test_seed();
    uint8_t bytes[300] = {0};

    for (int round = 0; round < 100000; round++) {
        size_t size = test_random(&state) % sizeof(bytes);
        cbm_reply_kind kind = (cbm_reply_kind)(test_random(&state) % (CBM_REPLY_INFO + 1));

        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)test_random(&state);
        if (size > 0)
            bytes[0] = 0x80 | (bytes[0] & 0x0f);
        decode_request_copy(bytes, size);
        decode_reply_copy(bytes, size, kind);
    }
}

/* Valid messages with a few bytes changed get further in than noise does. */
Test(hostile, damaged_messages_are_refused_or_understood)
{
    uint64_t state = test_seed();

    for (int round = 0; round < 30000; round++) {
        cbm_operation op = (cbm_operation)(test_random(&state) % CBM_OP_COUNT);
        cbm_reply_kind kind = (cbm_reply_kind)(test_random(&state) % (CBM_REPLY_INFO + 1));
        cbm_buffer request = request_bytes(op), reply = reply_bytes(kind);

        for (uint64_t changes = test_random(&state) % 4; changes > 0; changes--) {
            request.data[test_random(&state) % request.size] = (uint8_t)test_random(&state);
            reply.data[test_random(&state) % reply.size] = (uint8_t)test_random(&state);
        }
        decode_request_copy(request.data, request.size);
        decode_reply_copy(reply.data, reply.size, kind);
        cbm_buffer_deinit(&request);
        cbm_buffer_deinit(&reply);
    }
}

/* ---- Memory --------------------------------------------------------------------------------------------------- */

/* Of AddressSanitizer, where it is linked in: mallinfo knows nothing there. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t memory_in_use(void)
{
    struct mallinfo2 info;

    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Bytes that the tree of a message takes; nothing of it is given back before the end, so this is also the most it took. */
static size_t tree_bytes(const cbm_buffer *bytes)
{
    size_t before = memory_in_use(), used;
    cbm_document document;
    cbm_fault fault;

    cr_assert_eq(cbm_document_open(&document, bytes->data, bytes->size, CBM_REPLY_MAX, &fault), 0, "%s", fault.message);
    used = memory_in_use() - before;
    cbm_document_close(&document);
    return used;
}

Test(memory, of_a_request_is_a_small_multiple_of_its_bytes)
{
    static uint8_t one[CBM_REQUEST_MAX];
    cbm_buffer bytes;

    /* The worst there is: one byte an object. */
    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    one[0] = 0xdd;
    one[3] = (uint8_t)((CBM_REQUEST_MAX - 5) >> 8);
    one[4] = (uint8_t)(CBM_REQUEST_MAX - 5);
    cbm_buffer_append(&bytes, one, sizeof(one));
    cr_assert_leq(tree_bytes(&bytes), 64 * CBM_REQUEST_MAX);
    cbm_buffer_deinit(&bytes);

    bytes = request_bytes(CBM_OP_CALL_REPORT);
    cr_assert_leq(tree_bytes(&bytes), 8192);
    cbm_buffer_deinit(&bytes);
}

static void decode_damaged_reports(uint64_t *state)
{
    cbm_request sent = full_reports_request(1 + test_random(state) % 20);
    cbm_buffer bytes;

    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_request_encode(&sent, &bytes), 0);
    bytes.data[test_random(state) % bytes.size] = (uint8_t)test_random(state);
    decode_request_copy(bytes.data, bytes.size);
    cbm_request_deinit(&sent);
    cbm_buffer_deinit(&bytes);
}

/* glibc counts what its caches of freed memory hold as in use, so the smallest leak to be seen is 52 bytes a message. */
Test(memory, is_given_back_whatever_came)
{
    uint64_t state = test_seed();
    size_t before;

    decode_damaged_reports(&state);
    before = memory_in_use();
    for (int round = 0; round < 5000; round++)
        decode_damaged_reports(&state);
    cr_assert_leq(memory_in_use(), before + 256 * 1024);
}

/* The least time of several to read a request of nearly 64 KiB, made of reports with so many keys that nobody knows. */
static clock_t time_of_reports_with_keys(uint32_t keys)
{
    cbm_buffer bytes;
    msgpack_packer packer;
    const uint32_t reports = 62000 / (23 + 4 * keys);
    clock_t least = 0;

    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    cbm_packer_init(&packer, &bytes);
    msgpack_pack_map(&packer, 2);
    cbm_pack_text(&packer, "op");
    cbm_pack_text(&packer, "call_report");
    cbm_pack_text(&packer, "reports");
    msgpack_pack_array(&packer, reports);
    for (uint32_t i = 0; i < reports; i++) {
        msgpack_pack_map(&packer, 2 + keys);
        cbm_pack_text(&packer, "name");
        cbm_pack_text(&packer, "x");
        cbm_pack_text(&packer, "outcome");
        cbm_pack_text(&packer, "success");
        for (uint32_t k = 0; k < keys; k++) {
            cbm_pack_text(&packer, (const char[]){(char)(0x21 + k % 90), (char)(0x21 + k / 90), 0});
            msgpack_pack_nil(&packer);
        }
    }
    cr_assert_eq(bytes.error, 0);
    for (int i = 0; i < 5; i++) {
        cbm_request request;
        cbm_fault fault;
        clock_t begun = clock();

        cr_assert_eq(cbm_request_decode(bytes.data, bytes.size, &request, &fault), 0, "%s", fault.message);
        cbm_request_deinit(&request);
        begun = clock() - begun;
        least = i == 0 || begun < least ? begun : least;
    }
    cbm_buffer_deinit(&bytes);
    return least;
}

Test(request, with_the_most_keys_takes_hardly_longer_than_others_of_its_size)
{
    cr_assert_lt(time_of_reports_with_keys(510), 3 * time_of_reports_with_keys(64));
}

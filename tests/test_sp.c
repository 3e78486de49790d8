/* SP's greeting and frames. */
#include <criterion/criterion.h>
#include <string.h>

#include "sp.h"

static const uint8_t req_greeting[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};

Test(greeting, names_its_protocol)
{
    uint8_t greeting[CBM_SP_GREETING_SIZE];

    cbm_sp_greeting_write(greeting, CBM_SP_REQ);
    cr_assert_arr_eq(greeting, req_greeting, sizeof(greeting));
    cr_assert_eq(cbm_sp_greeting_protocol(greeting), CBM_SP_REQ);
    cbm_sp_greeting_write(greeting, 0x1234);
    cr_assert_eq(cbm_sp_greeting_protocol(greeting), 0x1234);
}

Test(greeting, is_plausible_at_each_length)
{
    for (size_t size = 0; size <= sizeof(req_greeting); size++)
        cr_assert(cbm_sp_greeting_plausible(req_greeting, size));
}

Test(greeting, is_refused_at_its_first_wrong_byte)
{
    static const size_t fixed[] = {0, 1, 2, 3, 6, 7};

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        uint8_t greeting[CBM_SP_GREETING_SIZE];

        memcpy(greeting, req_greeting, sizeof(greeting));
        greeting[fixed[i]] ^= 1;
        cr_assert(cbm_sp_greeting_plausible(greeting, fixed[i]));
        for (size_t size = fixed[i] + 1; size <= sizeof(greeting); size++)
            cr_assert_not(cbm_sp_greeting_plausible(greeting, size), "byte %zu, %zu bytes", fixed[i], size);
    }
}

/* A frame with a body of "hello", as the peer would send it. */
static size_t hello(uint8_t *bytes, uint32_t id)
{
    size_t size = cbm_sp_frame_write_id(bytes, id, 5);

    memcpy(bytes + size, "hello", 5);
    return size + 5;
}

Test(frame, is_written_as_nng_writes_it)
{
    static const uint8_t expected[] = {1, 0, 0, 0, 0, 0, 0, 0, 9, 0x80, 0, 0, 7, 'h', 'e', 'l', 'l', 'o'};
    uint8_t bytes[64];

    cr_assert_eq(hello(bytes, 7), sizeof(expected));
    cr_assert_arr_eq(bytes, expected, sizeof(expected));
}

Test(frame, comes_back_as_it_was_written)
{
    uint8_t bytes[64];
    size_t size = hello(bytes, 0x80000007), needed;
    cbm_sp_frame frame;

    cr_assert_eq(cbm_sp_frame_read(bytes, size, 100, &frame, &needed), CBM_SP_FRAME);
    cr_assert_eq(frame.id, 0x80000007);
    cr_assert_eq(frame.backtrace_size, 4);
    cr_assert_eq(frame.body_size, 5);
    cr_assert_eq(memcmp(frame.body, "hello", 5), 0);
    cr_assert_eq(frame.size, size);
}

Test(frame, that_is_not_whole_says_how_much_is_needed)
{
    uint8_t bytes[64];
    size_t whole = hello(bytes, 7);
    cbm_sp_frame frame;

    for (size_t size = 0; size < whole; size++) {
        size_t needed = 0;

        cr_assert_eq(cbm_sp_frame_read(bytes, size, 100, &frame, &needed), CBM_SP_MORE, "%zu bytes", size);
        cr_assert_eq(needed, size < CBM_SP_PREFIX_SIZE ? CBM_SP_PREFIX_SIZE : whole);
    }
}

Test(frame, ends_where_the_next_begins)
{
    uint8_t bytes[128];
    size_t first = hello(bytes, 1), second = hello(bytes + first, 2), needed;
    cbm_sp_frame frame;

    cr_assert_eq(cbm_sp_frame_read(bytes, first + second, 100, &frame, &needed), CBM_SP_FRAME);
    cr_assert_eq(frame.size, first);
    cr_assert_eq(cbm_sp_frame_read(bytes + frame.size, second, 100, &frame, &needed), CBM_SP_FRAME);
    cr_assert_eq(frame.id, 0x80000002);
}

Test(frame, may_carry_an_empty_body)
{
    uint8_t bytes[64];
    size_t size = cbm_sp_frame_write_id(bytes, 3, 0), needed;
    cbm_sp_frame frame;

    cr_assert_eq(cbm_sp_frame_read(bytes, size, 100, &frame, &needed), CBM_SP_FRAME);
    cr_assert_eq(frame.body_size, 0);
}

Test(frame, of_another_type_is_broken_at_its_first_byte)
{
    uint8_t bytes[1] = {2};
    size_t needed;
    cbm_sp_frame frame;

    cr_assert_eq(cbm_sp_frame_read(bytes, 1, 100, &frame, &needed), CBM_SP_BROKEN);
}

Test(frame, too_short_for_a_request_id_is_broken)
{
    uint8_t bytes[16] = {1};
    size_t needed;
    cbm_sp_frame frame;

    for (uint8_t length = 0; length < 4; length++) {
        bytes[8] = length;
        cr_assert_eq(cbm_sp_frame_read(bytes, sizeof(bytes), 100, &frame, &needed), CBM_SP_BROKEN);
    }
}

Test(frame, without_a_request_id_is_broken)
{
    uint8_t bytes[64] = {1, 0, 0, 0, 0, 0, 0, 0, 40};
    size_t needed;
    cbm_sp_frame frame;

    cr_assert_eq(cbm_sp_frame_read(bytes, 49, 100, &frame, &needed), CBM_SP_BROKEN);
    bytes[9 + 32] = 0x80; /* a ninth hop */
    cr_assert_eq(cbm_sp_frame_read(bytes, 49, 100, &frame, &needed), CBM_SP_BROKEN);
}

Test(frame, may_come_over_up_to_eight_hops)
{
    for (size_t hops = 1; hops <= 8; hops++) {
        uint8_t backtrace[CBM_SP_BACKTRACE_MAX] = {0}, bytes[64];
        size_t size, needed;
        cbm_sp_frame frame;

        backtrace[4 * hops - 4] = 0x80;
        backtrace[4 * hops - 1] = 9;
        size = cbm_sp_frame_write(bytes, backtrace, 4 * hops, 2);
        memcpy(bytes + size, "ok", 2);
        cr_assert_eq(cbm_sp_frame_read(bytes, size + 2, 100, &frame, &needed), CBM_SP_FRAME);
        cr_assert_eq(frame.id, 0x80000009);
        cr_assert_eq(frame.backtrace_size, 4 * hops);
        cr_assert_eq(memcmp(frame.backtrace, backtrace, 4 * hops), 0);
        cr_assert_eq(memcmp(frame.body, "ok", 2), 0);
    }
}

Test(frame, that_claims_too_much_is_refused_from_its_length_alone)
{
    static const uint8_t lengths[][8] = {
        {0, 0, 0, 0, 0, 0, 0, 133},                       /* 100 + 32 + 1 */
        {0, 0, 0, 1, 0, 0, 0, 0},                         /* 4 GiB */
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, /* would wrap around */
        {0x80, 0, 0, 0, 0, 0, 0, 4},
    };

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t bytes[CBM_SP_PREFIX_SIZE] = {1};
        size_t needed;
        cbm_sp_frame frame;

        memcpy(bytes + 1, lengths[i], 8);
        cr_assert_eq(cbm_sp_frame_read(bytes, sizeof(bytes), 100, &frame, &needed), CBM_SP_TOO_LARGE, "%zu", i);
    }
}

Test(frame, of_the_largest_size_is_taken)
{
    static uint8_t bytes[CBM_SP_PREFIX_SIZE + 4 + 100];
    size_t needed, size = cbm_sp_frame_write_id(bytes, 1, 100);
    cbm_sp_frame frame;

    cr_assert_eq(cbm_sp_frame_read(bytes, size + 100, 100, &frame, &needed), CBM_SP_FRAME);
    cr_assert_eq(frame.body_size, 100);
}

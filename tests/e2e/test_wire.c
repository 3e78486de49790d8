/* What the wire allows beside one whole request in one write. */
#include "clients.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(wire, .timeout = 60);

Test(wire, requests_pipelined_in_one_write_are_answered_in_order)
{
    enum { REQUESTS = 100 };
    broker *b = broker_start_unlimited();
    int fd = raw_greeted(b->address);
    uint8_t frames[REQUESTS * 64];
    size_t size = 0;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        char command[32];
        snprintf(command, sizeof command, "get breaker_%u", i);
        size += raw_frame(frames + size, 1000 + i, command, strlen(command));
    }
    cr_assert(raw_send(fd, frames, size));
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t id;
        char name[32], *answer = raw_reply(fd, &id, NULL, HARNESS_DEADLINE_MS);
        snprintf(name, sizeof name, "\"breaker_%u\"", i);
        cr_assert_not_null(answer);
        cr_assert_eq(id, 1000 + i);
        cr_assert_not_null(strstr(answer, name), "%s", answer);
        free(answer);
    }
    close(fd);
    broker_free(b);
}

Test(wire, greeting_and_request_in_one_write_are_taken)
{
    broker *b = broker_start(NULL);
    int fd = raw_connect(b->address);
    uint8_t bytes[64] = RAW_GREETING_REQ;
    size_t size = 8 + raw_frame(bytes + 8, 5, "ping", 4);
    cr_assert(raw_send(fd, bytes, size));
    char greeting[8];
    cr_assert(raw_receive(fd, greeting, 8, HARNESS_DEADLINE_MS));
    uint32_t id;
    char *answer = raw_reply(fd, &id, NULL, HARNESS_DEADLINE_MS);
    cr_assert_not_null(answer);
    cr_assert_eq(id, 5);
    free(answer);
    close(fd);
    broker_free(b);
}

Test(wire, a_request_in_single_bytes_is_answered)
{
    broker *b = broker_start(NULL);
    int fd = raw_greeted(b->address);
    uint8_t frame[64];
    size_t size = raw_frame(frame, 5, "get by_and_by", 13);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < size; i++)
            cr_assert(raw_send(fd, &frame[i], 1));
        char *answer = raw_reply(fd, NULL, NULL, HARNESS_DEADLINE_MS);
        cr_assert_not_null(answer);
        cr_assert_not_null(strstr(answer, "by_and_by"));
        free(answer);
    }
    close(fd);
    broker_free(b);
}

Test(wire, requests_cut_anywhere_are_put_together)
{
    broker *b = broker_start_unlimited();
    int fd = raw_greeted(b->address);
    uint8_t frames[256];
    size_t size = raw_frame(frames, 1, "ping", 4);
    size += raw_frame(frames + size, 2, "get cut", 7);
    size += raw_frame(frames + size, 3, "states cut", 10);
    for (size_t cut = 1; cut < size; cut++) {
        cr_assert(raw_send(fd, frames, cut));
        cr_assert(raw_send(fd, frames + cut, size - cut));
        for (uint32_t i = 1; i <= 3; i++) {
            uint32_t id;
            char *answer = raw_reply(fd, &id, NULL, HARNESS_DEADLINE_MS);
            cr_assert_not_null(answer);
            cr_assert_eq(id, i);
            free(answer);
        }
    }
    close(fd);
    broker_free(b);
}

/* Between a REQ and the broker may stand devices, of which each puts a word before the request id. */
Test(wire, a_backtrace_of_several_hops_comes_back_as_it_was)
{
    broker *b = broker_start(NULL);
    int fd = raw_greeted(b->address);
    static const uint8_t backtrace[12] = {0x00, 0x00, 0x00, 0x07, 0x12, 0x34, 0x56, 0x78, 0x80, 0x00, 0x00, 0x2a};
    uint8_t frame[25] = {1, 0, 0, 0, 0, 0, 0, 0, 16}, header[9], back[12];
    memcpy(frame + 9, backtrace, 12);
    memcpy(frame + 21, "ping", 4);
    cr_assert(raw_send(fd, frame, sizeof frame));
    cr_assert(raw_receive(fd, header, sizeof header, HARNESS_DEADLINE_MS));
    cr_assert(raw_receive(fd, back, sizeof back, HARNESS_DEADLINE_MS));
    cr_assert_arr_eq(back, backtrace, sizeof back);
    close(fd);
    broker_free(b);
}

Test(wire, a_request_in_msgpack_is_answered_in_msgpack_and_a_text_in_json)
{
    broker *b = broker_start(NULL);
    int fd = raw_greeted(b->address);
    uint8_t body[64];
    size_t size = pack_texts(body, sizeof body, "op", "ping", NULL);
    cr_assert(raw_request(fd, 1, body, size));
    char *answer = raw_reply(fd, NULL, &size, HARNESS_DEADLINE_MS);
    cr_assert_not_null(answer);
    cr_assert_eq((uint8_t)answer[0] & 0xf0, 0x80, "a map");
    cr_assert_not_null(memmem(answer, size, "\xa7success\xc3", 9));
    free(answer);
    cr_assert(raw_request(fd, 2, "ping", 4));
    answer = raw_reply(fd, NULL, &size, HARNESS_DEADLINE_MS);
    cr_assert_not_null(answer);
    cr_assert_eq(answer[0], '{');
    cr_assert_eq(answer[size - 1], '\n');
    free(answer);
    close(fd);
    broker_free(b);
}

Test(wire, unknown_keys_are_ignored_and_unknown_operations_are_told_so)
{
    broker *b = broker_start(NULL);
    int fd = raw_greeted(b->address);
    uint8_t body[128];
    size_t size = pack_texts(body, sizeof body, "op", "ping", "from_the_future", "x", NULL);
    cr_assert(raw_request(fd, 1, body, size));
    char *answer = raw_reply(fd, NULL, &size, HARNESS_DEADLINE_MS);
    cr_assert_not_null(answer);
    cr_assert_not_null(memmem(answer, size, "\xa7success\xc3", 9));
    free(answer);
    size = pack_texts(body, sizeof body, "op", "op_from_the_future", NULL);
    cr_assert(raw_request(fd, 2, body, size));
    answer = raw_reply(fd, NULL, &size, HARNESS_DEADLINE_MS);
    cr_assert_not_null(answer);
    cr_assert_not_null(memmem(answer, size, "\xaaunknown_op", 11));
    free(answer);
    close(fd);
    broker_free(b);
}

Test(wire, one_report_sent_twice_counts_once)
{
    broker *b = broker_start(NULL);
    json_t *info = ask(b->address, "info");
    const char *incarnation = json_string_value(json_object_get(json_object_get(info, "data"), "incarnation"));
    cr_assert_not_null(incarnation);
    char command[256];
    snprintf(command, sizeof command,
             "call_report ha_api outcome=failure client=000102030405060708090a0b0c0d0e0f sequence=1 incarnation=%s",
             incarnation);
    for (int i = 0; i < 3; i++) {
        json_t *answer = ask(b->address, command);
        cr_assert(json_is_true(json_object_get(answer, "success")));
        json_decref(answer);
    }
    cr_assert_eq(statistic(b->address, "ha_api", "failed_calls"), 1);
    json_decref(info);
    broker_free(b);
}

Test(wire, a_report_of_another_incarnation_is_statistics_only)
{
    broker *b = broker_start(NULL);
    json_decref(ask(b->address, "get ha_api failure_threshold=1"));
    for (int i = 0; i < 3; i++) {
        json_t *answer =
            ask(b->address,
                "call_report ha_api outcome=failure open_for_ms=60000 incarnation=000102030405060708090a0b0c0d0e0f");
        cr_assert(json_is_true(json_object_get(answer, "success")));
        json_decref(answer);
    }
    cr_assert(state_is(b->address, "ha_api", "CLOSED"));
    cr_assert_eq(statistic(b->address, "ha_api", "failed_calls"), 3);
    broker_free(b);
}

Test(wire, a_subscriber_is_greeted_by_a_publisher_and_stays)
{
    broker *b = broker_start(NULL);
    char greeting[8];
    int quiet = raw_connect(b->address);
    cr_assert(raw_send(quiet, RAW_GREETING_SUB, 8));
    cr_assert(raw_receive(quiet, greeting, 8, HARNESS_DEADLINE_MS));
    cr_assert_arr_eq(greeting, "\0SP\0\0\x20\0\0", 8);
    cr_assert_not(raw_closed_within(quiet, 2500));
    close(quiet);
    broker_free(b);
}

/* Bytes that no client would send. In every test another client is at work, and none of its calls may fail. */
#include "clients.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GREETING_DEADLINE_MS 2000
#define REQUEST_MAX (64 * 1024)
/* Of a release build; what a sanitizer keeps back is not the broker's. */
#define MEMORY_GROWTH_MAX_KIB (8 * 1024)

TestSuite(bad_input, .timeout = 90);

typedef struct scene {
    broker *b;
    worker *w;
    size_t rss_kib;
    int descriptors;
} scene;

/* What is there before anybody misbehaves. */
static scene scene_begin(void)
{
    scene s = {.b = broker_start_unlimited()};
    s.w = worker_start(s.b->address);
    json_decref(ask(s.b->address, "stats"));
    s.rss_kib = broker_rss_kib(s.b);
    s.descriptors = broker_descriptors(s.b);
    return s;
}

static bool descriptors_are_back(void *context)
{
    const scene *s = context;
    return broker_descriptors(s->b) <= s->descriptors;
}

static void scene_end(scene *s)
{
    cr_assert(worker_progresses(s->w));
    cr_assert_eq(worker_stop(s->w), 0, "the other client was disturbed");
    cr_assert(wait_until(descriptors_are_back, s, HARNESS_DEADLINE_MS), "%d descriptors, %d before",
              broker_descriptors(s->b), s->descriptors);
    size_t rss_kib = broker_rss_kib(s->b);
    if (!broker_is_sanitized())
        cr_assert_leq(rss_kib, s->rss_kib + MEMORY_GROWTH_MAX_KIB, "%zu KiB, %zu before", rss_kib, s->rss_kib);
    json_t *answer = ask(s->b->address, "ping");
    cr_assert(json_is_true(json_object_get(answer, "success")));
    json_decref(answer);
    broker_free(s->b);
}

static unsigned random_seed(void)
{
    const char *given = getenv("CBM_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)clock_ns();
    fprintf(stderr, "CBM_TEST_SEED=%u\n", seed);
    return seed;
}

static size_t random_bytes(unsigned *seed, uint8_t *bytes, size_t most)
{
    size_t size = (size_t)rand_r(seed) % most;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(rand_r(seed) >> 7);
    return size;
}

static void assert_error(const char *answer, size_t size, const char *error)
{
    cr_assert_not_null(answer, "it was not answered");
    cr_assert_not_null(memmem(answer, size, error, strlen(error)), "no %s in the answer", error);
}

/* ---- Before and instead of a greeting ------------------------------------------------------------------------------- */

Test(bad_input, random_bytes_instead_of_a_greeting)
{
    scene s = scene_begin();
    unsigned seed = random_seed();
    for (int i = 0; i < 500; i++) {
        uint8_t bytes[512];
        size_t size = random_bytes(&seed, bytes, sizeof bytes);
        int fd = raw_connect(s.b->address);
        raw_send(fd, bytes, size);
        if (size > 0 && bytes[0] != 0)
            cr_assert(raw_closed_within(fd, HARNESS_DEADLINE_MS));
        close(fd);
    }
    scene_end(&s);
}

Test(bad_input, a_wrong_greeting_is_dropped_at_its_first_wrong_byte)
{
    static const struct {
        const char *bytes;
        size_t size;
    } wrong[] = {{"\1", 1},
                 {"\0X", 2},
                 {"\0SX", 3},
                 {"\0SP\1", 4},
                 {"GET / HTTP/1.1\r\n\r\n", 18},
                 {"\0SP\0\0\x10\0\0", 8},   /* a PAIR */
                 {"\0SP\0\0\x31\0\0", 8},   /* a REP */
                 {"\0SP\0\x30\x30\0\0", 8}, /* a protocol that does not exist */
                 {"\0SP\0\0\x30\0\1", 8}};
    scene s = scene_begin();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int fd = raw_connect(s.b->address);
        int64_t start_ms = clock_ms();
        cr_assert(raw_send(fd, wrong[i].bytes, wrong[i].size));
        cr_assert(raw_closed_within(fd, HARNESS_DEADLINE_MS));
        cr_assert_lt(clock_ms() - start_ms, GREETING_DEADLINE_MS - 500, "greeting %zu had to run into the deadline", i);
        close(fd);
    }
    scene_end(&s);
}

Test(bad_input, peers_that_disconnect_at_each_byte_of_the_greeting)
{
    scene s = scene_begin();
    for (int round = 0; round < 300; round++) {
        for (size_t cut = 0; cut <= 8; cut++) {
            int fd = raw_connect(s.b->address);
            raw_send(fd, RAW_GREETING_REQ, cut);
            close(fd);
        }
    }
    scene_end(&s);
}

Test(bad_input, a_peer_that_does_not_greet_is_dropped_after_two_seconds)
{
    scene s = scene_begin();
    int silent = raw_connect(s.b->address), half = raw_connect(s.b->address);
    int64_t start_ms = clock_ms();
    cr_assert(raw_send(half, RAW_GREETING_REQ, 7));
    cr_assert(raw_closed_within(silent, HARNESS_DEADLINE_MS));
    cr_assert(raw_closed_within(half, HARNESS_DEADLINE_MS));
    int64_t took_ms = clock_ms() - start_ms;
    cr_assert(took_ms >= GREETING_DEADLINE_MS - 100 && took_ms < GREETING_DEADLINE_MS + 2000, "%ld ms", (long)took_ms);
    close(silent);
    close(half);
    scene_end(&s);
}

Test(bad_input, a_greeting_that_comes_byte_by_byte_gains_no_time)
{
    scene s = scene_begin();
    int fd = raw_connect(s.b->address);
    int64_t start_ms = clock_ms();
    bool closed = false;
    char bytes[8];
    for (int i = 0; i < 7 && !closed; i++) {
        raw_send(fd, &RAW_GREETING_REQ[i], 1);
        closed = raw_closed_within(fd, 500);
    }
    cr_assert(closed);
    cr_assert_lt(clock_ms() - start_ms, GREETING_DEADLINE_MS + 1000);
    cr_assert_not(raw_receive(fd, bytes, 1, 0));
    close(fd);
    scene_end(&s);
}

/* ---- After the greeting --------------------------------------------------------------------------------------------- */

Test(bad_input, random_bytes_after_the_greeting)
{
    scene s = scene_begin();
    unsigned seed = random_seed();
    for (int i = 0; i < 500; i++) {
        uint8_t bytes[1024];
        size_t size = random_bytes(&seed, bytes, sizeof bytes);
        int fd = raw_greeted(s.b->address);
        raw_send(fd, bytes, size);
        if (size > 0 && bytes[0] != 1)
            cr_assert(raw_closed_within(fd, HARNESS_DEADLINE_MS), "broken framing");
        close(fd);
    }
    scene_end(&s);
}

Test(bad_input, random_bodies_in_sound_frames_are_all_answered)
{
    scene s = scene_begin();
    unsigned seed = random_seed();
    int fd = raw_greeted(s.b->address);
    for (uint32_t i = 1; i <= 3000; i++) {
        uint8_t body[600];
        size_t size = random_bytes(&seed, body, sizeof body);
        uint32_t id;
        cr_assert(raw_request(fd, i, body, size));
        char *answer = raw_reply(fd, &id, &size, HARNESS_DEADLINE_MS);
        cr_assert_not_null(answer, "body %u", i);
        cr_assert_eq(id, i);
        free(answer);
    }
    close(fd);
    scene_end(&s);
}

/* A request that is sound but for one byte: what the decoder meets in its middle. */
Test(bad_input, requests_with_one_wrong_byte_are_all_answered)
{
    scene s = scene_begin();
    unsigned seed = random_seed();
    int fd = raw_greeted(s.b->address);
    uint8_t sound[256], body[256];
    size_t size = pack_texts(sound, sizeof sound, "op", "call_report", "name", "mangled", "outcome", "failure",
                             "error_text", "HTTP 503", "correlation_id", "request-17", NULL);
    uint32_t id = 0;
    for (size_t at = 0; at < size; at++) {
        for (int i = 0; i < 8; i++) {
            memcpy(body, sound, size);
            body[at] = (uint8_t)(rand_r(&seed) >> 7);
            cr_assert(raw_request(fd, ++id, body, size));
            char *answer = raw_reply(fd, NULL, NULL, HARNESS_DEADLINE_MS);
            cr_assert_not_null(answer, "byte %zu became %02x", at, body[at]);
            free(answer);
        }
    }
    close(fd);
    scene_end(&s);
}

Test(bad_input, frames_cut_at_every_byte)
{
    scene s = scene_begin();
    uint8_t frame[64];
    size_t size = raw_frame(frame, 7, "states", 6);
    for (int round = 0; round < 20; round++) {
        for (size_t cut = 1; cut < size; cut++) {
            int fd = raw_greeted(s.b->address);
            cr_assert(raw_send(fd, frame, cut));
            close(fd);
        }
    }
    scene_end(&s);
}

static void assert_length_is_dropped(const scene *s, uint64_t length)
{
    int fd = raw_greeted(s->b->address);
    uint8_t prefix[9] = {1};
    length = htobe64(length);
    memcpy(prefix + 1, &length, 8);
    cr_assert(raw_send(fd, prefix, sizeof prefix));
    cr_assert(raw_closed_within(fd, HARNESS_DEADLINE_MS));
    close(fd);
}

Test(bad_input, frames_that_announce_too_much_are_dropped_at_their_length)
{
    scene s = scene_begin();
    assert_length_is_dropped(&s, UINT64_C(4) << 30);
    assert_length_is_dropped(&s, (UINT64_C(4) << 30) + 20); /* small when cut to 32 bits */
    assert_length_is_dropped(&s, UINT64_MAX);
    assert_length_is_dropped(&s, INT64_MAX);
    assert_length_is_dropped(&s, REQUEST_MAX + 64);
    scene_end(&s);
}

Test(bad_input, a_frame_too_short_for_a_request_id_is_dropped)
{
    scene s = scene_begin();
    for (char length = 0; length < 4; length++) {
        int fd = raw_greeted(s.b->address);
        char frame[12] = {1, 0, 0, 0, 0, 0, 0, 0, length, 'a', 'b', 'c'};
        raw_send(fd, frame, 9 + (size_t)length);
        cr_assert(raw_closed_within(fd, HARNESS_DEADLINE_MS), "length %d", length);
        close(fd);
    }
    scene_end(&s);
}

/* `size` bytes that ask for the breaker `name`: as a text with spaces behind it, or as msgpack with a long unknown text. */
static char *ask_with_size(int fd, const char *name, size_t size, bool text, size_t *answered)
{
    uint8_t *body = malloc(size + 64);
    MUST(body != NULL);
    memset(body, ' ', size);
    if (text) {
        memcpy(body, "get ", 4);
        memcpy(body + 4, name, strlen(name));
    } else {
        size_t head = pack_texts(body, size, "op", "get", "name", name, "unknown", "", NULL) - 1;
        uint16_t rest = htobe16((uint16_t)(size - head - 3));
        body[head] = 0xda;
        memcpy(body + head + 1, &rest, 2);
    }
    MUST(raw_request(fd, 1, body, size));
    free(body);
    return raw_reply(fd, NULL, answered, HARNESS_DEADLINE_MS);
}

Test(bad_input, a_request_of_the_largest_size_is_obeyed_and_one_of_a_byte_more_is_not)
{
    scene s = scene_begin();
    int fd = raw_greeted(s.b->address);
    for (int text = 0; text < 2; text++) {
        size_t size;
        const char *name = text ? "by_text" : "by_msgpack";
        char *answer = ask_with_size(fd, name, REQUEST_MAX + 1, text, &size);
        assert_error(answer, size, "too_large");
        free(answer);
        json_t *state = ask_state(s.b->address, name);
        cr_assert_null(state);
        answer = ask_with_size(fd, name, REQUEST_MAX, text, &size);
        cr_assert_not_null(answer);
        cr_assert_not_null(memmem(answer, size, name, strlen(name)));
        free(answer);
        cr_assert(state_is(s.b->address, name, "CLOSED"));
    }
    close(fd);
    scene_end(&s);
}

/* The scene's end looks at the memory. */
Test(bad_input, many_large_requests_leave_nothing_behind)
{
    scene s = scene_begin();
    int fd = raw_greeted(s.b->address);
    for (int i = 0; i < 400; i++) {
        char *answer = ask_with_size(fd, "large", i % 2 == 0 ? REQUEST_MAX : REQUEST_MAX - 1000, i % 4 < 2, NULL);
        cr_assert_not_null(answer);
        free(answer);
    }
    close(fd);
    scene_end(&s);
}

/* ---- msgpack that means harm ---------------------------------------------------------------------------------------- */

static void assert_body_is_refused(int fd, const void *body, size_t size)
{
    cr_assert(raw_request(fd, 9, body, size));
    char *answer = raw_reply(fd, NULL, &size, HARNESS_DEADLINE_MS);
    assert_error(answer, size, "bad_request");
    free(answer);
}

Test(bad_input, msgpack_a_thousand_deep_is_refused)
{
    scene s = scene_begin();
    int fd = raw_greeted(s.b->address);
    uint8_t arrays[1001], maps[2002], within[2048];
    memset(arrays, 0x91, 1000);
    arrays[1000] = 0xc0;
    assert_body_is_refused(fd, arrays, sizeof arrays);
    for (size_t i = 0; i < 1000; i++)
        memcpy(maps + 2 * i, "\x81\xc0", 2);
    memcpy(maps + 2000, "\xc0", 1);
    assert_body_is_refused(fd, maps, 2001);
    /* Under an unknown key, which is skipped: the skipping must not go deep either. */
    size_t size = pack_texts(within, sizeof within, "op", "ping", "new", "", NULL);
    memcpy(within + size - 1, arrays, sizeof arrays);
    assert_body_is_refused(fd, within, size - 1 + sizeof arrays);
    close(fd);
    scene_end(&s);
}

Test(bad_input, msgpack_that_announces_more_than_it_brings_is_refused)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bodies[] = {{"\xdf\xff\xff\xff\xff", 5},              /* a map of 4 G pairs */
                  {"\xdd\xff\xff\xff\xff", 5},              /* an array of 4 G */
                  {"\xdb\xff\xff\xff\xff", 5},              /* a text of 4 GiB */
                  {"\xc6\xff\xff\xff\xff", 5},              /* 4 GiB of binary */
                  {"\x81\xa2op\xdb\xff\xff\xff\xff", 9},    /* as a value */
                  {"\x81\xdb\xff\xff\xff\xff", 6},          /* as a key */
                  {"\x82\xa2op\xa4ping", 9},                /* one pair of two */
                  {"\x81\xa2op", 4},                        /* half a pair */
                  {"\x81\xa2op\xa4ping\xc0", 10},           /* something behind the map */
                  {"\x82\xa2op\xa4ping\xa2op\xa4ping", 17}, /* a key twice */
                  {"\x81\xa2op\xa2\xff\xfe", 7},            /* no UTF-8 */
                  {"\xc1", 1},                              /* no msgpack */
                  {"\x80", 1},                              /* nothing asked */
                  {"\xc0", 1},
                  {"", 0}};
    scene s = scene_begin();
    int fd = raw_greeted(s.b->address);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
            size_t size;
            cr_assert(raw_request(fd, 9, bodies[i].bytes, bodies[i].size));
            char *answer = raw_reply(fd, NULL, &size, HARNESS_DEADLINE_MS);
            cr_assert_not_null(answer, "body %zu", i);
            bool refused =
                memmem(answer, size, "bad_request", 11) != NULL || memmem(answer, size, "unknown_op", 10) != NULL;
            cr_assert(refused, "body %zu", i);
            free(answer);
        }
    }
    close(fd);
    scene_end(&s);
}

Test(bad_input, text_commands_that_mean_harm_are_refused_in_json)
{
    scene s = scene_begin();
    int fd = raw_greeted(s.b->address);
    char nested[5000];
    memset(nested, '[', sizeof nested - 1);
    nested[sizeof nested - 1] = '\0';
    const char *commands[] = {nested,
                              "get \"\\ud800\"",
                              "get \"a\\u0000b\"",
                              "get a=b=c=d",
                              "get a b c",
                              "=",
                              "\"",
                              "get a failure_threshold=1e999"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        json_t *answer = ask_on(fd, commands[i]);
        cr_assert(json_is_false(json_object_get(answer, "success")), "command %zu", i);
        json_decref(answer);
    }
    close(fd);
    scene_end(&s);
}

/*
 * msgpack for tests, written as JSON with single quotes: {'op': 'get', 'name': 'a', 'limit': 3.0}. A text that starts with
 * "hex:" becomes bin. Keys that stand twice are kept once; such bytes are written by hand (wire_bytes).
 */
#ifndef CBM_TESTS_WIRE_TEXT_H
#define CBM_TESTS_WIRE_TEXT_H

#include <criterion/criterion.h>

#include "codec.h"
#include "error.h"
#include "sp.h"
#include "text.h"

/* Bytes to be given to cbm_buffer_deinit. A mistake in the text fails the test. */
cbm_buffer wire_text(const char *text);
/* From hex digits and spaces. */
cbm_buffer wire_bytes(const char *hex);
bool wire_equal(const cbm_buffer *one, const cbm_buffer *other);
/* One JSON line of msgpack, to be freed. */
char *wire_json(const cbm_buffer *buffer);

/* One filled in request or reply of each kind, every field set; to be given to _deinit. */
cbm_request full_request(cbm_operation op);
cbm_request full_reports_request(size_t count);
cbm_reply full_reply(cbm_reply_kind kind);
cbm_core_status full_status(const char *name);

/* A generator whose seed is printed, or taken from $CBM_TEST_SEED. */
uint64_t test_seed(void);
uint64_t test_random(uint64_t *state);

#endif

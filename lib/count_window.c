#include "count_window.h"

#include <stdlib.h>

#define WORD_BITS 64u

core_count_window *core_count_window_new(uint32_t size)
{
    size_t words = 2 * (((size_t)size + WORD_BITS - 1) / WORD_BITS);
    core_count_window *window = malloc(sizeof(*window) + words * sizeof(window->bits[0]));

    if (window != NULL) {
        window->size = size;
        core_count_window_clear(window);
    }
    return window;
}

/* The bits stay as they are: none is read before it was written again. */
void core_count_window_clear(core_count_window *window)
{
    window->next = 0;
    window->count = 0;
    window->failures = 0;
    window->slow = 0;
}

static uint64_t *words_at(core_count_window *window, uint32_t at)
{
    return &window->bits[(size_t)2 * (at / WORD_BITS)];
}

static bool bit_of(uint64_t word, uint32_t at)
{
    return (word >> (at % WORD_BITS) & 1) != 0;
}

static void read_at(const core_count_window *window, uint32_t at, bool *failure, bool *slow)
{
    const uint64_t *words = &window->bits[(size_t)2 * (at / WORD_BITS)];

    *failure = bit_of(words[0], at);
    *slow = bit_of(words[1], at);
}

void core_count_window_copy(core_count_window *to, const core_count_window *from)
{
    uint32_t kept = from->count < to->size ? from->count : to->size;
    uint32_t at = (from->next + from->size - kept) % from->size;

    core_count_window_clear(to);
    for (uint32_t i = 0; i < kept; i++) {
        bool failure;
        bool slow;

        read_at(from, at, &failure, &slow);
        core_count_window_add(to, failure, slow);
        at = at + 1 == from->size ? 0 : at + 1;
    }
}

void core_count_window_add(core_count_window *window, bool failure, bool slow)
{
    uint64_t *words = words_at(window, window->next);
    uint64_t mask = UINT64_C(1) << window->next % WORD_BITS;

    if (window->count == window->size) {
        window->failures -= (words[0] & mask) != 0;
        window->slow -= (words[1] & mask) != 0;
    } else {
        window->count++;
    }
    words[0] = failure ? words[0] | mask : words[0] & ~mask;
    words[1] = slow ? words[1] | mask : words[1] & ~mask;
    window->failures += failure;
    window->slow += slow;
    window->next = window->next + 1 == window->size ? 0 : window->next + 1;
}

/* As many as stay within one word and do not go past the end of the ring or, while it fills, past its room. */
static uint32_t add_within_word(core_count_window *window, uint64_t count)
{
    uint32_t span = WORD_BITS - window->next % WORD_BITS;
    uint64_t *words = words_at(window, window->next);
    bool full = window->count == window->size;
    uint64_t mask;

    if (span > window->size - window->next) {
        span = window->size - window->next;
    }
    if (span > count) {
        span = (uint32_t)count;
    }
    mask = (span == WORD_BITS ? ~UINT64_C(0) : (UINT64_C(1) << span) - 1) << window->next % WORD_BITS;
    if (full) {
        window->failures -= (uint32_t)__builtin_popcountll(words[0] & mask);
        window->slow -= (uint32_t)__builtin_popcountll(words[1] & mask);
    } else {
        window->count +=
            span; /* a window that fills has its next place at `count`, so the span ends where it is full */
    }
    words[0] &= ~mask;
    words[1] &= ~mask;
    window->next = window->next + span == window->size ? 0 : window->next + span;
    return span;
}

void core_count_window_add_successes(core_count_window *window, uint64_t count)
{
    if (count > window->size) {
        /* Only where the ring ends up depends on the rest, and that is nothing anybody can see. */
        count = window->size;
    }
    while (count > 0) {
        count -= add_within_word(window, count);
    }
}

void core_count_window_oldest(const core_count_window *window, bool *failure, bool *slow)
{
    *failure = false;
    *slow = false;
    if (window->count == window->size) {
        read_at(window, window->next, failure, slow);
    }
}

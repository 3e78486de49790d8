/* Durations as people write them: 500ms, 30s, 5m, 2h, 1d; a plain number is seconds; 1.5s is fine. */
#ifndef CBMCTL_DURATION_H
#define CBMCTL_DURATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DURATION_TEXT_MAX 32
/* How people write them, for messages and --help. */
#define DURATION_FORMS "500ms, 30s, 5m, 2h, 1d; a plain number is seconds"

/* Milliseconds, what is less than one counting as one. False, and nothing set: not a duration, or more than maximum_ms. */
bool duration_parse(const char *text, uint64_t maximum_ms, uint64_t *ms);
/* "850 ms", "12.3 s", "5 min 3 s", "2 h 5 min", "3 d 4 h". Negative ones as 0. */
void duration_format(int64_t ms, char text[DURATION_TEXT_MAX]);

#endif

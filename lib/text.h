/* UTF-8: what a name may be, and texts copied safely. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Reads one character. Returns its bytes; 0 when `text` does not begin with well-formed UTF-8. */
size_t core_utf8_decode(const char *text, size_t length, uint32_t *character);

/* C0, DEL and C1. */
int core_is_control(uint32_t character);

#endif

/* Whether bytes are UTF-8: shortest forms only, no surrogates, nothing above U+10FFFF. */
#ifndef CBM_PROTO_UTF8_H
#define CBM_PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool cbm_utf8_valid(const char *text, size_t size);

#endif

/* Patterns of names: * ? [a-z] [!a-z] and \ before a character that means itself, as fnmatch without flags. */
#ifndef CORE_GLOB_H
#define CORE_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Takes at most pattern x text steps, whatever the pattern (a libc's fnmatch may take exponentially many, and
 * patterns come from strangers). ? and brackets match one UTF-8 character. NULL and "" match everything.
 */
bool core_glob_match(const char *pattern, const char *text);
/* The same; *steps grows by the bytes of the pattern that were looked at, which is what it cost. */
bool core_glob_match_counted(const char *pattern, const char *text, size_t *steps);

#endif

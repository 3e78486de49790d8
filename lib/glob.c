#include "glob.h"

#include "cbm_core.h"
#include "text.h"

#include <string.h>

/* One character, or one byte where the text is not UTF-8. */
static size_t next_character(const char *text, uint32_t *character)
{
    size_t used = core_utf8_decode(text, strnlen(text, 4), character);

    if (used == 0) {
        *character = (unsigned char)*text;
        used = 1;
    }
    return used;
}

/* The end of a bracket that starts at `pattern`, after its ']', or NULL when it is not closed: then [ means itself. */
static const char *bracket_match(const char *pattern, uint32_t wanted, bool *matches)
{
    const char *at = pattern + 1;
    bool negated = *at == '!' || *at == '^';
    bool found = false;

    at += negated;
    for (bool first = true; first || *at != ']'; first = false) {
        uint32_t low;
        uint32_t high;

        if (*at == '\\' && at[1] != '\0') {
            at++;
        }
        if (*at == '\0') {
            return NULL;
        }
        at += next_character(at, &low);
        high = low;
        if (at[0] == '-' && at[1] != ']' && at[1] != '\0') {
            at++;
            if (*at == '\\' && at[1] != '\0') {
                at++;
            }
            at += next_character(at, &high);
        }
        found = found || (low <= wanted && wanted <= high);
    }
    *matches = found != negated;
    return at + 1;
}

/*
 * Whether the first element of the pattern, which is no *, matches the character; *rest: the pattern after it. *unclosed: from
 * there on no bracket is closed. Behind one that is not there is none that is, so its end is looked for once only.
 */
static bool element_matches(const char *pattern, uint32_t character, const char **rest, const char **unclosed)
{
    uint32_t literal;
    bool matches;

    *rest = pattern + 1;
    if (*pattern == '?') {
        return true;
    }
    if (*pattern == '[' && pattern < *unclosed) {
        const char *end = bracket_match(pattern, character, &matches);

        if (end != NULL) {
            *rest = end;
            return matches;
        }
        *unclosed = pattern;
    }
    if (*pattern == '\\') {
        pattern++;
    }
    if (*pattern == '\0') {
        return false;
    }
    *rest = pattern + next_character(pattern, &literal);
    return literal == character;
}

bool core_glob_match_counted(const char *pattern, const char *text, size_t *steps)
{
    const char *after_star = NULL; /* where to go on when an attempt fails: only the last star can need it */
    const char *retry = NULL;
    const char *unclosed;

    if (pattern == NULL || *pattern == '\0') {
        return true;
    }
    unclosed = pattern + strlen(pattern);
    while (*text != '\0') {
        uint32_t character;
        size_t used;
        const char *rest = pattern + 1;
        bool matches;

        if (*pattern == '*') {
            after_star = ++pattern;
            retry = text;
            continue;
        }
        used = next_character(text, &character);
        matches = *pattern != '\0' && element_matches(pattern, character, &rest, &unclosed);
        *steps += (size_t)(rest - pattern);
        if (matches) {
            pattern = rest;
            text += used;
        } else if (after_star != NULL) {
            pattern = after_star;
            retry += next_character(retry, &character);
            text = retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

bool core_glob_match(const char *pattern, const char *text)
{
    size_t steps = 0;

    return core_glob_match_counted(pattern, text, &steps);
}

bool cbm_core_name_matches(const char *pattern, const char *name)
{
    return core_glob_match(pattern, name);
}

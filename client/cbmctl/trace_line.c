/*
 * Traces have millions of lines, nearly all of them a few members with short plain values. Those are read here in one pass;
 * whatever is not as plain (escapes, exponents, nesting, letters beyond ASCII, mistakes) goes to the JSON library.
 */
#include "trace_line.h"

#include <stdio.h>
#include <string.h>

#define EXACT_DIGITS 15 /* so many are an exact double, and so is their quotient by a power of ten rounded once */

typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_space(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\r' || *c->at == '\n'))
        c->at++;
}

/* After white space. */
static bool take(cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool plain_text(cursor *c, const char **text, size_t *length)
{
    if (!take(c, '"'))
        return false;
    *text = c->at;
    for (; c->at < c->end && *c->at != '"'; c->at++) {
        if ((unsigned char)*c->at < 0x20 || (unsigned char)*c->at >= 0x7f || *c->at == '\\')
            return false;
    }
    *length = (size_t)(c->at - *text);
    return take(c, '"');
}

static bool is_digit(const cursor *c)
{
    return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

static bool plain_number(cursor *c, trace_member *member)
{
    static const double powers[EXACT_DIGITS + 1] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool negative = *c->at == '-';
    c->at += negative;
    const char *first = c->at;
    int64_t digits = 0;
    size_t decimals = 0;
    for (; is_digit(c) && c->at - first < EXACT_DIGITS; c->at++)
        digits = digits * 10 + (*c->at - '0');
    size_t whole = (size_t)(c->at - first);
    if (whole == 0 || (whole > 1 && *first == '0'))
        return false;
    if (c->at < c->end && *c->at == '.') {
        for (c->at++; is_digit(c) && whole + decimals < EXACT_DIGITS; c->at++, decimals++)
            digits = digits * 10 + (*c->at - '0');
        if (decimals == 0)
            return false;
        member->kind = TRACE_NUMBER;
    } else {
        member->kind = TRACE_INTEGER;
    }
    member->integer = negative ? -digits : digits;
    member->number = (double)member->integer / powers[decimals];
    return true;
}

static bool plain_value(cursor *c, trace_member *member)
{
    skip_space(c);
    if (c->at == c->end)
        return false;
    if (*c->at == '"') {
        member->kind = TRACE_TEXT;
        return plain_text(c, &member->text, &member->text_length);
    }
    if (*c->at == '-' || is_digit(c))
        return plain_number(c, member);
    static const char *const words[] = {"true", "false", "null"};
    member->kind = TRACE_OTHER;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(c->end - c->at) >= length && memcmp(c->at, words[i], length) == 0) {
            c->at += length;
            return true;
        }
    }
    return false;
}

static bool is_repeated(const trace_line *line, const trace_member *member)
{
    for (size_t i = 0; i < line->count; i++) {
        if (line->members[i].key_length == member->key_length &&
            memcmp(line->members[i].key, member->key, member->key_length) == 0)
            return true;
    }
    return false;
}

static bool plain_object(trace_line *line, cursor *c)
{
    if (!take(c, '{'))
        return false;
    do {
        trace_member *member = &line->members[line->count];
        if (line->count == TRACE_MEMBERS_MAX || !plain_text(c, &member->key, &member->key_length) || !take(c, ':') ||
            !plain_value(c, member) || is_repeated(line, member))
            return false;
        line->count++;
    } while (take(c, ','));
    if (!take(c, '}'))
        return false;
    skip_space(c);
    return c->at == c->end;
}

/* ---- what is not plain --------------------------------------------------------------------------------------------- */

static void take_json(trace_member *member, const char *key, const json_t *value)
{
    *member = (trace_member){.key = key, .key_length = strlen(key), .kind = TRACE_OTHER};
    if (json_is_string(value)) {
        member->kind = TRACE_TEXT;
        member->text = json_string_value(value);
        member->text_length = json_string_length(value);
    } else if (json_is_number(value)) {
        member->kind = json_is_integer(value) ? TRACE_INTEGER : TRACE_NUMBER;
        member->integer = json_integer_value(value);
        member->number = json_number_value(value);
    }
}

static bool any_object(trace_line *line, const char *text, size_t length, char why[TRACE_WHY_MAX])
{
    json_error_t error;
    const char *key;
    json_t *value;
    line->document = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (line->document == NULL) {
        snprintf(why, TRACE_WHY_MAX, "no JSON: column %d: %s", error.column, error.text);
        return false;
    }
    if (!json_is_object(line->document)) {
        snprintf(why, TRACE_WHY_MAX, "no JSON object");
        return false;
    }
    if (json_object_size(line->document) > TRACE_MEMBERS_MAX) {
        snprintf(why, TRACE_WHY_MAX, "more than %d members", TRACE_MEMBERS_MAX);
        return false;
    }
    line->count = 0;
    json_object_foreach(line->document, key, value) take_json(&line->members[line->count++], key, value);
    return true;
}

bool trace_line_read(trace_line *line, const char *text, size_t length, char why[TRACE_WHY_MAX])
{
    cursor c = {text, text + length};
    line->document = NULL;
    line->count = 0;
    return plain_object(line, &c) || any_object(line, text, length, why);
}

void trace_line_deinit(trace_line *line)
{
    json_decref(line->document);
    line->document = NULL;
}

bool trace_member_is(const trace_member *member, const char *key)
{
    return strlen(key) == member->key_length && memcmp(member->key, key, member->key_length) == 0;
}

const trace_member *trace_line_find(const trace_line *line, const char *key)
{
    for (size_t i = 0; i < line->count; i++) {
        if (trace_member_is(&line->members[i], key))
            return &line->members[i];
    }
    return NULL;
}

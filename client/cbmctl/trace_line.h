/* One line of a trace: a JSON object, as a list of its members. Of values that are neither texts nor numbers only the key is kept. */
#ifndef CBMCTL_TRACE_LINE_H
#define CBMCTL_TRACE_LINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_MEMBERS_MAX 32
#define TRACE_WHY_MAX 384

typedef enum trace_kind {
    TRACE_TEXT,
    TRACE_INTEGER, /* `integer` and `number` are set */
    TRACE_NUMBER,
    TRACE_OTHER,
} trace_kind;

typedef struct trace_member {
    const char *key;
    size_t key_length;
    trace_kind kind;
    const char *text;
    size_t text_length;
    int64_t integer;
    double number;
} trace_member;

typedef struct trace_line {
    trace_member members[TRACE_MEMBERS_MAX];
    size_t count;
    json_t *document; /* what the members point into, when it is not the text itself */
} trace_line;

/* Takes `text`, which must stay as it is while the members are used. False with why it is not such an object. */
bool trace_line_read(trace_line *line, const char *text, size_t length, char why[TRACE_WHY_MAX]);
void trace_line_deinit(trace_line *line);
/* NULL: there is none. */
const trace_member *trace_line_find(const trace_line *line, const char *key);
bool trace_member_is(const trace_member *member, const char *key);

#endif

#include "config_lines.h"

#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cbm_core.h"

void cbm_config_refuse(cbm_config_lines *lines, unsigned line, const char *format, ...)
{
    char why[sizeof lines->why];
    va_list arguments;

    if (lines->refused)
        return;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    cbm_core_text_copy(lines->why, sizeof lines->why, why, strlen(why));
    lines->refused = true;
    lines->refused_line = line;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static bool has_control_character(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];

        if ((byte < ' ' && byte != '\t') || byte == 0x7f)
            return true;
    }
    return false;
}

/* The closing bracket of a heading, which does not count between quotation marks; NULL: there is none. */
static char *closing_bracket(char *at)
{
    bool quoted = false;

    for (; *at; at++) {
        if (*at == '"')
            quoted = !quoted;
        else if (quoted && *at == '\\' && at[1])
            at++;
        else if (!quoted && *at == ']')
            return at;
    }
    return NULL;
}

static void visit_heading(cbm_config_lines *lines, char *line)
{
    char *close = closing_bracket(line);
    const char *rest;

    if (!close) {
        cbm_config_refuse(lines, lines->line, "the bracket of %s is not closed", line);
        return;
    }
    rest = close + 1 + strspn(close + 1, " \t");
    if (*rest && *rest != ';') {
        cbm_config_refuse(lines, lines->line, "'%s' stands behind the heading", rest);
        return;
    }
    *close = '\0';
    lines->visitor->heading(lines, lines->visitor->context, line + 1);
}

/* What inih gets of a line that is no comment: all of a key's line, nothing of a heading, which is visited here. */
static void take_line(cbm_config_lines *lines, const char *text, size_t size, char *to, size_t room)
{
    if (size > CBM_CONFIG_LINE_MAX || size + 2 > room) {
        cbm_config_refuse(lines, lines->line, "the line is longer than %d bytes", CBM_CONFIG_LINE_MAX);
    } else if (has_control_character(text, size)) {
        cbm_config_refuse(lines, lines->line, "there is a control character in the line");
    } else if (!cbm_core_text_valid(text, size)) {
        cbm_config_refuse(lines, lines->line, "the line is not UTF-8");
    } else if (text[0] == '[') {
        char line[CBM_CONFIG_LINE_MAX + 1];

        memcpy(line, text, size);
        line[size] = '\0';
        visit_heading(lines, line);
    } else {
        memcpy(to, text, size);
        memcpy(to + size, "\n", 2);
    }
}

/* As inih asks for a line: NULL ends it. */
static char *next_line(char *to, int room, void *stream)
{
    cbm_config_lines *lines = stream;
    const char *text = lines->at, *end;

    if (lines->refused || lines->at == lines->end || room < 2)
        return NULL;
    end = memchr(text, '\n', (size_t)(lines->end - text));
    lines->at = end ? end + 1 : lines->end;
    if (!end)
        end = lines->end;
    lines->line++;
    memcpy(to, "\n", 2);

    if (end > text && end[-1] == '\r')
        end--;
    while (text < end && is_blank(*text))
        text++;
    while (text < end && is_blank(end[-1]))
        end--;
    if (text < end && *text != '#' && *text != ';')
        take_line(lines, text, (size_t)(end - text), to, (size_t)room);
    return lines->refused ? NULL : to;
}

static int on_key(void *user, const char *section, const char *key, const char *value)
{
    cbm_config_lines *lines = user;

    (void)section;
    if (!value) /* some builds of inih take a key alone */
        cbm_config_refuse(lines, lines->line, "'%s' is no heading, and there is no = in it", key);
    else if (!lines->refused)
        lines->visitor->key(lines, lines->visitor->context, key, value);
    return !lines->refused;
}

bool cbm_config_lines_read(cbm_config_lines *lines, const char *text, size_t size, const cbm_config_visitor *visitor)
{
    static const char mark[] = "\xef\xbb\xbf"; /* some editors begin UTF-8 with it */
    int line;

    *lines = (cbm_config_lines){.visitor = visitor, .at = text, .end = text + size};
    if (size >= sizeof mark - 1 && memcmp(text, mark, sizeof mark - 1) == 0)
        lines->at += sizeof mark - 1;
    line = ini_parse_stream(next_line, lines, on_key, lines);
    /* A line that inih itself does not understand: the one where it saw the first mistake. */
    if (line > 0 && (!lines->refused || (unsigned)line < lines->refused_line)) {
        lines->refused = false;
        cbm_config_refuse(lines, (unsigned)line, "the line is neither a [heading] nor key = value");
    } else if (line < 0) {
        cbm_config_refuse(lines, lines->line, "there is no memory to read it");
    }
    return !lines->refused;
}

/*
 * The lines of an INI text, strictly: each is empty, a comment (; or # at its start), a [heading], or key = value, where a
 * comment may follow after white space and a semicolon. White space around lines, keys and values does not count.
 *
 * Through inih, which by itself cuts long lines and headings without a word, and takes an indented line for more of the value
 * above it: none of that happens here.
 */
#ifndef CBM_SERVER_CONFIG_LINES_H
#define CBM_SERVER_CONFIG_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define CBM_CONFIG_LINE_MAX 190 /* bytes of a line that is no comment */

typedef struct cbm_config_lines cbm_config_lines;

/* Either may call cbm_config_refuse, which ends it. Strings live for the call. */
typedef struct cbm_config_visitor {
    void (*heading)(cbm_config_lines *lines, void *context, const char *text); /* what stands between the brackets */
    void (*key)(cbm_config_lines *lines, void *context, const char *key, const char *value);
    void *context;
} cbm_config_visitor;

struct cbm_config_lines {
    unsigned line; /* under way; 1 is the first */
    bool refused;
    unsigned refused_line;
    char why[384]; /* UTF-8 */

    const cbm_config_visitor *visitor;
    const char *at, *end; /* what is still to be read */
};

/* False: refused, in refused_line because of `why`. Nothing after that line was visited. */
bool cbm_config_lines_read(cbm_config_lines *lines, const char *text, size_t size, const cbm_config_visitor *visitor);
/* The first refusal stays. */
void cbm_config_refuse(cbm_config_lines *lines, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

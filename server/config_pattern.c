#include "config_pattern.h"

#include <stdlib.h>
#include <string.h>

#include "cbm_core.h"
#include "expects.h"

/* The end of a bracket, behind its ], as the matching of patterns sees it; NULL: it is not closed. */
static const char *bracket_end(const char *at)
{
    at += at[1] == '!' || at[1] == '^' ? 2 : 1;
    for (bool first = true; first || *at != ']'; first = false) {
        if (*at == '\\' && at[1])
            at++;
        if (!*at)
            return NULL;
        at++;
    }
    return at + 1;
}

/* Counts what the pattern is made of; a name is copied to `name` without its backslashes. */
static bool take_apart(cbm_config_pattern *pattern, const char *text, char *name, const char **why)
{
    const char *at = text;
    bool any = false;

    while (*at) {
        if (*at == '*') {
            any = true;
            at++;
        } else if (*at == '?') {
            pattern->singles++;
            at++;
        } else if (*at == '[') {
            pattern->singles++;
            at = bracket_end(at);
            if (!at) {
                *why = "its [ is not closed; \\[ is a bracket that stands for itself";
                return false;
            }
        } else {
            if (*at == '\\' && at[1])
                at++;
            pattern->literals += ((unsigned char)*at & 0xc0) != 0x80; /* the first byte of a character */
            *name++ = *at++;
        }
    }
    *name = '\0';
    pattern->exact = !any && pattern->singles == 0;
    return true;
}

bool cbm_config_pattern_init(cbm_config_pattern *pattern, const char *text, const char **why)
{
    char *copy = malloc(strlen(text) + 1);

    *pattern = (cbm_config_pattern){.text = copy};
    if (!copy) {
        *why = "there is no memory for it";
        return false;
    }
    if (!take_apart(pattern, text, copy, why))
        goto refused;
    if (!pattern->exact) {
        memcpy(copy, text, strlen(text) + 1);
        pattern->prefix = strcspn(text, "*?[\\");
    } else if (!cbm_core_name_valid(copy, strlen(copy))) {
        *why = "a name must be " CBM_NAME_EXPECTS;
        goto refused;
    }
    return true;

refused:
    cbm_config_pattern_deinit(pattern);
    return false;
}

void cbm_config_pattern_deinit(cbm_config_pattern *pattern)
{
    free(pattern->text);
    pattern->text = NULL;
}

bool cbm_config_pattern_matches(const cbm_config_pattern *pattern, const char *name)
{
    if (pattern->exact)
        return strcmp(pattern->text, name) == 0;
    return strncmp(pattern->text, name, pattern->prefix) == 0 && cbm_core_name_matches(pattern->text, name);
}

int cbm_config_pattern_order(const cbm_config_pattern *a, const cbm_config_pattern *b)
{
    if (a->exact != b->exact)
        return a->exact ? -1 : 1;
    if (a->exact)
        return strcmp(a->text, b->text);
    if (a->literals != b->literals)
        return a->literals > b->literals ? -1 : 1;
    return a->singles == b->singles ? 0 : a->singles > b->singles ? -1 : 1;
}

/* The patterns of [breaker "..."]: which breakers they mean, and which of two is the more specific. */
#ifndef CBM_SERVER_CONFIG_PATTERN_H
#define CBM_SERVER_CONFIG_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct cbm_config_pattern {
    bool exact;        /* no wildcards: `text` is the name itself */
    unsigned literals; /* characters that stand for themselves */
    unsigned singles;  /* ? and [...] */
    size_t prefix;     /* bytes with which the text and every name that it means begin */
    char *text;
} cbm_config_pattern;

/* False: it is no pattern because of *why (a sentence), or there is no memory. */
bool cbm_config_pattern_init(cbm_config_pattern *pattern, const char *text, const char **why);
void cbm_config_pattern_deinit(cbm_config_pattern *pattern);

bool cbm_config_pattern_matches(const cbm_config_pattern *pattern, const char *name);

/*
 * Below 0: `a` is more specific. A name before any pattern; then the more characters that stand for themselves, then the more
 * ? and [...]. Names are in the order of their bytes. 0: neither.
 */
int cbm_config_pattern_order(const cbm_config_pattern *a, const cbm_config_pattern *b);

#endif

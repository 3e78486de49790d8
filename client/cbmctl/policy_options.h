/*
 * Policy fields on the command line: `failure_threshold=3`, `--failure_threshold=3` or `--failure-threshold=3`. Names, ranges, defaults and
 * help are those of libcbm-core's table of fields.
 */
#ifndef CBMCTL_POLICY_OPTIONS_H
#define CBMCTL_POLICY_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>

#include "cbm.h"
#include "cbm_core.h"

#define POLICY_TEXT_MAX 32

typedef struct policy_options {
    bool
        no_timeout_alias; /* set before parsing: `timeout`, the seconds of timeout_ms, is not taken (run has its own --timeout) */
    cbm_core_policy_request request;
    bool alias_given;            /* timeout was given, as well as timeout_ms it must not be */
    struct argp_option *options; /* owned; policy_options_argp makes it */
} policy_options;

/* Makes the argp of the fields; its input is the policy_options itself. False without memory. */
bool policy_options_argp(policy_options *policy, struct argp *argp);
void policy_options_deinit(policy_options *policy);
/* Explains every field for --help: range, default, what it is for. */
void policy_options_help(FILE *out, const policy_options *policy);

/* Is it `name=...` at all? */
bool policy_word(const char *word);
/* Takes a `field=value` word. False with why it was refused, a static string of the calling thread. */
bool policy_options_word(policy_options *policy, const char *word, const char **why);

/* The value of a row as text commands take it. */
void policy_value_text(const cbm_core_policy_field *row, uint32_t value, char text[POLICY_TEXT_MAX]);
/* "1 to 1,000,000" or "failure, release". */
void policy_range_text(const cbm_core_policy_field *row, char *text, size_t size);
/* What was given, for cbm_get. */
void policy_options_to_client(const policy_options *policy, cbm_policy *client_policy);

#endif

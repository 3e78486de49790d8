/* Writes a text command for cbm_command: an operation and field=value words, strings in double quotes with JSON's escapes. */
#ifndef CBMCTL_COMMAND_TEXT_H
#define CBMCTL_COMMAND_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "policy_options.h"

typedef struct command_text {
    FILE *stream;
    char *bytes; /* owned */
    size_t size;
    const char *bad_field; /* a string that is not UTF-8 was given for it */
} command_text;

void command_text_init(command_text *text, const char *operation);
void command_text_deinit(command_text *text);
void command_text_string(command_text *text, const char *field, const char *value); /* NULL: left out */
void command_text_number(command_text *text, const char *field, uint64_t value);
void command_text_policy(command_text *text, const policy_options *policy);
/* The command, good until deinit; NULL: bad_field is set, or there was no memory. */
const char *command_text_finish(command_text *text);

#endif

/*
 * Puts what the tables of cbm know into a manual page: a line "@policy_fields@" becomes the policy fields of lib/policy.c, and
 * "@operations@" the operations of proto/operations.def. Usage: fill PAGE.scd >FILLED.scd
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbm_core.h"
#include "message.h"

/* scdoc gives _ and * a meaning. */
static void put_text(const char *text)
{
    for (; *text; text++) {
        if (strchr("_*\\[#", *text))
            putchar('\\');
        putchar(*text);
    }
}

static void put_scaled(uint32_t value, uint32_t scale)
{
    printf("%g", scale > 1 ? (double)value / scale : (double)value);
}

static void put_number(uint32_t value, uint32_t scale)
{
    if (scale > 1)
        put_scaled(value, scale);
    else
        printf("%u", value);
}

static void put_policy_field(const cbm_core_policy_field *field)
{
    fputs("*", stdout);
    put_text(field->name);
    fputs("*\n\t", stdout);
    put_text(field->help);
    fputs(" ", stdout);
    if (field->kind == CBM_CORE_FIELD_WORD) {
        for (const char *const *word = field->words; *word; word++) {
            fputs(word == field->words ? "One of " : ", ", stdout);
            fputs("_", stdout);
            put_text(*word);
            fputs("_", stdout);
        }
    } else {
        fputs("From ", stdout);
        put_number(field->minimum, field->scale);
        fputs(" to ", stdout);
        put_number(field->maximum, field->scale);
        if (field->zero_allowed)
            fputs(", or 0", stdout);
    }
    fputs(". Default: ", stdout);
    put_text(field->default_text);
    fputs(".\n\n", stdout);
}

static void put_policy_fields(void)
{
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++)
        put_policy_field(&cbm_core_policy_table()[i]);
}

static void put_operations(void)
{
    for (int op = 0; op < CBM_OP_COUNT; op++) {
        fputs("*", stdout);
        put_text(cbm_operations[op].name);
        fputs("*\n\t", stdout);
        put_text(cbm_operations[op].help);
        fputs(cbm_operations[op].flags & CBM_OPERATION_ADMIN ? " (administrators).\n\n" : ".\n\n", stdout);
    }
}

static void fill_line(const char *line)
{
    if (strcmp(line, "@policy_fields@\n") == 0)
        put_policy_fields();
    else if (strcmp(line, "@operations@\n") == 0)
        put_operations();
    else
        fputs(line, stdout);
}

int main(int argc, char **argv)
{
    FILE *page = argc == 2 ? fopen(argv[1], "r") : NULL;
    char line[4096];

    if (!page) {
        fprintf(stderr, "usage: fill PAGE.scd\n");
        return EXIT_FAILURE;
    }
    while (fgets(line, sizeof line, page))
        fill_line(line);
    fclose(page);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

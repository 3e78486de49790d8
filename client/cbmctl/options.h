/* The command line: options that every command takes, and the parsing of one command's own. */
#ifndef CBMCTL_OPTIONS_H
#define CBMCTL_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "policy_options.h"

typedef enum color_choice { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color_choice;

typedef struct cli_options {
    const char *address;        /* NULL: the client library's own search */
    const char *correlation_id; /* NULL: none */
    uint32_t deadline_ms;       /* of the broker's answers; 0: the client library's */
    color_choice color;
    bool json;
} cli_options;

/* One row of main.c's table. */
typedef struct cli_command {
    const char *name;
    int (*run)(const struct cli_command *command, cli_options *options, int argc,
               char **argv); /* returns an exit code */
    const char *arguments;   /* for the usage line */
    const char *help;        /* one sentence */
} cli_command;

/* What a command takes besides the common options. */
typedef struct cli_spec {
    const struct argp_option *options;                                           /* NULL: none */
    error_t (*parse)(int key, char *value, struct argp_state *state, void *own); /* gets the keys of `options` */
    void *own;
    const char *more;       /* text that follows the options in --help; NULL: none */
    int minimum, maximum;   /* number of words */
    bool named;             /* the first of them is the name of a breaker */
    policy_options *policy; /* NULL: takes no policy fields. Words after the first are field=value then */
    bool takes_command;     /* what follows the name and the field=value words is a command with its own options */
} cli_spec;

typedef struct cli_arguments {
    char **words; /* a part of argv */
    int count;
    char **command; /* takes_command: NULL-terminated, a part of argv */
} cli_arguments;

/* Parses argv[0] (the command's name) and what follows; wrong usage ends the program with CBMCTL_USAGE, --help with 0. */
void arguments_parse(const cli_command *command, const cli_spec *spec, cli_options *options, int argc, char **argv,
                     cli_arguments *arguments);
/* argp parser and options of the common ones, for main.c's own argp; input is an options. */
extern const struct argp options_argp;

/* argp_error for a duration that cannot be read; the milliseconds otherwise. */
uint64_t option_duration(struct argp_state *state, const char *option, const char *text, uint64_t maximum_ms);

#endif

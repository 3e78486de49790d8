/* cbmctl: the command line of cbm. Options that all commands take, then one command of the table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "standard_files.h"

static const cli_command commands[] = {
    {"run", command_run, "NAME [FIELD=VALUE...] -- COMMAND [ARGUMENT...]", "Run a command under a breaker"},
    {"check", command_check, "NAME", "Tell whether a call would pass; takes no permit"},
    {"report", command_report, "NAME OUTCOME", "Report an outcome that was observed elsewhere"},
    {"get", command_get, "NAME [FIELD=VALUE...]", "Show a breaker, creating it when there is none"},
    {"states", command_states, "[PATTERN]", "Show the breakers and how they stand"},
    {"stats", command_stats, "", "Show the manager's statistics and the breakers"},
    {"reset", command_reset, "NAME", "Close one circuit and clear its failures"},
    {"reset-all", command_reset_all, "", "Close every circuit and clear the failures"},
    {"reset-manager", command_reset_manager, "", "Forget every breaker and set the counters to zero"},
    {"configure", command_configure, "NAME FIELD=VALUE...", "Change a breaker's policy, its state and counts kept"},
    {"remove", command_remove, "PATTERN", "Remove the breakers that match"},
    {"force-open", command_force_open, "NAME", "Open a circuit by hand: nothing passes"},
    {"disable", command_disable, "NAME", "Disable a breaker: everything passes, statistics only"},
    {"metrics-only", command_metrics_only, "NAME", "Let everything pass and show what the rule would do"},
    {"enable", command_enable, "NAME", "End a manual control: closed, as after a reset"},
    {"reload", command_reload, "", "Have the broker read its config file again"},
    {"ping", command_ping, "", "Ask whether the broker is there"},
    {"info", command_info, "", "Show the broker's version, process, limits and addresses"},
    {"simulate", command_simulate, "FILE|- [FIELD=VALUE...]",
     "Replay a trace of calls: what a breaker would have done"},
    {"command", command_text_line, "TEXT...", "Send a text command and print the reply as JSON"},
};

typedef struct cli_program {
    cli_options options;
    const cli_command *command;
    int argc; /* of the command */
    char **argv;
} cli_program;

static const cli_command *command_find(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* The first word is the command, and all behind it is the command's own. */
static error_t parse(int key, char *value, struct argp_state *state)
{
    cli_program *program = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &program->options; return 0;
    case ARGP_KEY_ARG:
        program->command = command_find(value);
        if (program->command == NULL)
            argp_error(state, "there is no command '%s'", value);
        program->argc = state->argc - (state->next - 1);
        program->argv = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "no command was given"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static char *program_doc(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return NULL;
    fputs("Circuit breakers shared by the processes of this host.\n\nCommands:\n", out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  %-14s %s\n", commands[i].name, commands[i].help);
    fputs("\nEach has a --help of its own.\v", out);
    exit_codes_help(out);
    return fclose(out) == 0 ? text : NULL;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = CBMCTL_USAGE;
    if (!standard_files_keep())
        return CBMCTL_OS;
    cli_program program = {0};
    char *doc = program_doc();
    const struct argp_child children[] = {{.argp = &options_argp}, {0}};
    const struct argp argp = {.parser = parse, .args_doc = "COMMAND ...", .doc = doc, .children = children};
    if (doc == NULL || argp_parse(&argp, argc, argv, ARGP_IN_ORDER | ARGP_NO_HELP, NULL, &program) != 0)
        return CBMCTL_OS;
    int exit_code = program.command->run(program.command, &program.options, program.argc, program.argv);
    free(doc);
    if (!output_finish() && exit_code == CBMCTL_OK)
        exit_code = CBMCTL_IO;
    return exit_code;
}

/* cbmctl reset, reset-all, reset-manager. */
#include "broker.h"
#include "commands.h"

int command_reset(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {.minimum = 1, .maximum = 1, .named = true, .more = "Statistics stay; a manual control is lifted."};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    command_text text;
    broker_command(options, &text, "reset");
    command_text_string(&text, "name", arguments.words[0]);
    return broker_run(options, &text, arguments.words[0], NULL);
}

static int without_name(const cli_command *command, cli_options *options, int argc, char **argv, const char *operation)
{
    cli_spec spec = {0};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    command_text text;
    broker_command(options, &text, operation);
    return broker_run(options, &text, NULL, NULL);
}

int command_reset_all(const cli_command *command, cli_options *options, int argc, char **argv)
{
    return without_name(command, options, argc, argv, "reset_all");
}

int command_reset_manager(const cli_command *command, cli_options *options, int argc, char **argv)
{
    return without_name(command, options, argc, argv, "reset_manager");
}

/* cbmctl info: the broker's version, process, limits and addresses. */
#include "broker.h"
#include "commands.h"
#include "output.h"

int command_info(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {0};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    command_text text;
    broker_command(options, &text, "info");
    return broker_run(options, &text, NULL, output_dictionary);
}

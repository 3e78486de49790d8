/* cbmctl remove: takes breakers away. */
#include "broker.h"
#include "commands.h"

static void show(const json_t *data, const cli_options *options)
{
    (void)options;
    printf("%lld removed\n", (long long)json_integer_value(json_object_get(data, "removed")));
}

int command_remove(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {.minimum = 1, .maximum = 1, .more = "PATTERN is a glob of names: * ? [a-z] [!a-z]."};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    command_text text;
    broker_command(options, &text, "remove");
    command_text_string(&text, "pattern", arguments.words[0]);
    return broker_run(options, &text, NULL, show);
}

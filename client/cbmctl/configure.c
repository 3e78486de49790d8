/* cbmctl configure: changes policy fields of a breaker, its state and counts kept. */
#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "say.h"

int command_configure(const cli_command *command, cli_options *options, int argc, char **argv)
{
    policy_options policy = {0};
    cli_spec spec = {.minimum = 1, .maximum = 1, .named = true, .policy = &policy};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);
    if (policy.request.given == 0) {
        say("configure: no field to change was given");
        return CBMCTL_USAGE;
    }

    command_text text;
    broker_command(options, &text, "configure");
    command_text_string(&text, "name", arguments.words[0]);
    command_text_policy(&text, &policy);
    return broker_run(options, &text, arguments.words[0], NULL);
}

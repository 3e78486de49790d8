/* cbmctl get: the breaker of that name, created when there is none. */
#include <string.h>

#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "say.h"

static void show_differences(const json_t *data, const char *name)
{
    size_t index;
    json_t *field;
    const json_t *in_force = json_object_get(data, "policy");
    json_array_foreach(json_object_get(data, "differs"), index, field)
    {
        const char *key = json_string_value(field);
        char *value =
            json_dumps(json_object_get(in_force, key != NULL ? key : ""), JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        say("%s: %s stays %s, the breaker exists already (cbmctl configure changes it)", name, key != NULL ? key : "?",
            value != NULL ? value : "as it is");
        free(value);
    }
}

static const cbm_core_policy_request *asked;

/* No difference to the broker, but perhaps to whoever has set it. */
static void show_what_counts(const json_t *data, const char *name)
{
    const json_t *in_force = json_object_get(data, "policy");
    json_int_t minimum = json_integer_value(json_object_get(in_force, "minimum_calls"));
    int field = cbm_core_policy_find("minimum_calls", strlen("minimum_calls"));
    if ((asked->given >> field & 1) != 0 && json_is_true(json_object_get(data, "created")) &&
        minimum < asked->values.minimum_calls)
        say("%s: minimum_calls counts as %lld, window_size: a count_window never holds more outcomes", name,
            (long long)minimum);
}

static void show(const json_t *data, const cli_options *options)
{
    const char *name = json_string_value(json_object_get(data, "name"));
    output_dictionary(data, options);
    show_differences(data, name != NULL ? name : "?");
    show_what_counts(data, name != NULL ? name : "?");
}

int command_get(const cli_command *command, cli_options *options, int argc, char **argv)
{
    policy_options policy = {0};
    cli_spec spec = {.minimum = 1, .maximum = 1, .named = true, .policy = &policy};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    asked = &policy.request;
    command_text text;
    broker_command(options, &text, "get");
    command_text_string(&text, "name", arguments.words[0]);
    command_text_policy(&text, &policy);
    return broker_run(options, &text, arguments.words[0], show);
}

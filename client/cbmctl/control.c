/* cbmctl force-open, disable, metrics-only, enable: steering a breaker by hand. */
#include "broker.h"
#include "commands.h"
#include "duration.h"
#include "message.h"

enum { KEY_REASON = 0x2000, KEY_FOR };

typedef struct control_options {
    const char *reason;
    uint64_t for_ms;
} control_options;

#define REASON_OPTION                                                                                                  \
    {                                                                                                                  \
        .name = "reason", .key = KEY_REASON, .arg = "TEXT", .doc = "Why; shown in states"                              \
    }

static const struct argp_option control_argp_options[] = {
    REASON_OPTION,
    {.name = "for",
     .key = KEY_FOR,
     .arg = "DURATION",
     .doc = "Ends by itself after that; without it, or with 0, at cbmctl enable"},
    {0},
};
static const struct argp_option enable_argp_options[] = {REASON_OPTION, {0}};

static error_t parse(int key, char *value, struct argp_state *state, void *own)
{
    control_options *control = own;
    switch (key) {
    case KEY_REASON: control->reason = value; return 0;
    case KEY_FOR: control->for_ms = option_duration(state, "--for", value, CBM_TIME_MS_MAX); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int set(const cli_command *command, cli_options *options, int argc, char **argv, const char *operation,
               const struct argp_option *argp_options)
{
    control_options control = {0};
    cli_spec spec = {
        .options = argp_options, .parse = parse, .own = &control, .minimum = 1, .maximum = 1, .named = true};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    command_text text;
    broker_command(options, &text, operation);
    command_text_string(&text, "name", arguments.words[0]);
    command_text_string(&text, "reason", control.reason);
    if (control.for_ms > 0)
        command_text_number(&text, "for_ms", control.for_ms);
    return broker_run(options, &text, arguments.words[0], NULL);
}

int command_force_open(const cli_command *command, cli_options *options, int argc, char **argv)
{
    return set(command, options, argc, argv, "force_open", control_argp_options);
}

int command_disable(const cli_command *command, cli_options *options, int argc, char **argv)
{
    return set(command, options, argc, argv, "disable", control_argp_options);
}

int command_metrics_only(const cli_command *command, cli_options *options, int argc, char **argv)
{
    return set(command, options, argc, argv, "metrics_only", control_argp_options);
}

int command_enable(const cli_command *command, cli_options *options, int argc, char **argv)
{
    return set(command, options, argc, argv, "enable", enable_argp_options);
}

#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "duration.h"
#include "exit_codes.h"
#include "expects.h"
#include "say.h"

enum { KEY_CORRELATION_ID = 0x1000, KEY_DEADLINE, KEY_COLOR, KEY_USAGE };

static const struct argp_option common_options[] = {
    {.name = "address",
     .key = 'a',
     .arg = "ADDRESS",
     .doc = "Where the broker listens: ipc:///path, a path, or abstract://name. Else $CBM_ADDRESS, else the user's "
            "broker, else "
            "/run/cbm/cbm.sock"},
    {.name = "json", .key = 'j', .doc = "Write JSON, in the shape of the broker's own replies"},
    {.name = "color",
     .key = KEY_COLOR,
     .arg = "WHEN",
     .doc = "auto (on a terminal, unless NO_COLOR is set), always or never"},
    {.name = "correlation-id",
     .key = KEY_CORRELATION_ID,
     .arg = "TEXT",
     .doc = "Stands beside the operation in the broker's log"},
    {.name = "deadline",
     .key = KEY_DEADLINE,
     .arg = "DURATION",
     .doc = "Wait that long for an answer of the broker (default 1s; run: 1s to find the breaker, "
            "100ms each for permit and report)"},
    {.name = "help", .key = 'h', .doc = "Explain and exit"},
    {.name = "usage", .key = KEY_USAGE, .doc = "List the options and exit"},
    {.name = "version", .key = 'V', .doc = "Show the version and exit"},
    {0},
};

uint64_t option_duration(struct argp_state *state, const char *option, const char *text, uint64_t maximum_ms)
{
    uint64_t ms = 0;
    char most[DURATION_TEXT_MAX];
    if (duration_parse(text, maximum_ms, &ms))
        return ms;
    duration_format((int64_t)maximum_ms, most);
    argp_error(state, "%s takes a duration (" DURATION_FORMS ") of at most %s, not '%s'", option, most, text);
    return 0;
}

static color_choice parse_color(struct argp_state *state, const char *text)
{
    if (strcmp(text, "auto") == 0)
        return COLOR_AUTO;
    if (strcmp(text, "always") == 0)
        return COLOR_ALWAYS;
    if (strcmp(text, "never") != 0)
        argp_error(state, "--color takes auto, always or never, not '%s'", text);
    return COLOR_NEVER;
}

static error_t parse_common(int key, char *value, struct argp_state *state)
{
    cli_options *options = state->input;
    switch (key) {
    case 'a': options->address = value; return 0;
    case 'j': options->json = true; return 0;
    case KEY_COLOR: options->color = parse_color(state, value); return 0;
    case KEY_CORRELATION_ID: options->correlation_id = value; return 0;
    case KEY_DEADLINE:
        options->deadline_ms = (uint32_t)option_duration(state, "--deadline", value, 3600 * 1000);
        if (options->deadline_ms == 0)
            argp_error(state, "--deadline takes more than 0");
        return 0;
    case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
    case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
    case 'V': printf("cbmctl %s (libcbm-client %s)\n", CBM_PROGRAM_VERSION, cbm_version()); exit(CBMCTL_OK);
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp options_argp = {.options = common_options, .parser = parse_common};

/* ---- one command ----------------------------------------------------------------------------------------------- */

enum { CHILD_COMMON, CHILD_POLICY };

typedef struct parse_context {
    const cli_spec *spec;
    cli_options *options;
    cli_arguments *arguments;
} parse_context;

static void take_policy_word(const parse_context *context, struct argp_state *state, const char *word)
{
    const char *why = "";
    if (!policy_options_word(context->spec->policy, word, &why))
        argp_failure(state, CBMCTL_USAGE, 0, "%s", why);
}

/* argv is parsed in order there, so that the command keeps its own options. */
static void take_word_before_command(const parse_context *context, struct argp_state *state, char *word)
{
    cli_arguments *arguments = context->arguments;
    bool quoted = state->quoted > 0 && state->next > state->quoted;
    if (arguments->count == 0) {
        arguments->words = &state->argv[state->next - 1];
        arguments->count = 1;
    } else if (!quoted && policy_word(word)) {
        take_policy_word(context, state, word);
    } else {
        arguments->command = &state->argv[state->next - 1];
        state->next = state->argc;
    }
}

static void take_word(const parse_context *context, struct argp_state *state, char *word)
{
    cli_arguments *arguments = context->arguments;
    if (context->spec->takes_command) {
        take_word_before_command(context, state, word);
        return;
    }
    if (context->spec->policy != NULL && arguments->count >= context->spec->maximum) {
        take_policy_word(context, state, word);
        return;
    }
    if (arguments->count >= context->spec->maximum)
        argp_error(state, "too many arguments, from '%s' on", word);
    if (arguments->count == 0)
        arguments->words = &state->argv[state->next - 1];
    arguments->count++;
}

static error_t parse_command(int key, char *value, struct argp_state *state)
{
    const parse_context *context = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[CHILD_COMMON] = context->options;
        if (context->spec->policy != NULL)
            state->child_inputs[CHILD_POLICY] = context->spec->policy;
        return 0;
    case ARGP_KEY_ARG: take_word(context, state, value); return 0;
    case ARGP_KEY_END:
        if (context->arguments->count < context->spec->minimum)
            argp_error(state, "too few arguments");
        if (context->spec->takes_command && context->arguments->command == NULL)
            argp_error(state, "no command to run");
        return 0;
    default:
        return context->spec->parse != NULL ? context->spec->parse(key, value, state, context->spec->own)
                                            : ARGP_ERR_UNKNOWN;
    }
}

static void out_of_memory(void)
{
    fputs("cbmctl: out of memory\n", stderr);
    exit(CBMCTL_OS);
}

/* What stands above the options and, behind the \v, below them. */
static char *command_doc(const cli_command *command, const cli_spec *spec)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return NULL;
    fprintf(out, "%s.\v", command->help);
    if (spec->policy != NULL) {
        policy_options_help(out, spec->policy);
        fputc('\n', out);
    }
    if (spec->more != NULL)
        fprintf(out, "%s\n\n", spec->more);
    fputs("Durations are " DURATION_FORMS ".\n\n", out);
    exit_codes_help(out);
    return fclose(out) == 0 ? text : NULL;
}

/* Here, so that it is said in the same way by each command, and asked of no broker. */
static void check_name(const cli_command *command, const char *name)
{
    char shown[CBM_SHOWN_MAX];
    if (cbm_core_name_valid(name, strlen(name)))
        return;
    say("%s: name must be " CBM_NAME_EXPECTS ", not %s", command->name, cbm_text_shown(name, strlen(name), shown));
    exit(CBMCTL_USAGE);
}

void arguments_parse(const cli_command *command, const cli_spec *spec, cli_options *options, int argc, char **argv,
                     cli_arguments *arguments)
{
    struct argp policy_argp;
    struct argp_child children[3] = {{.argp = &options_argp, .header = "Common options:", .group = 9}};
    parse_context context = {.spec = spec, .options = options, .arguments = arguments};
    char *doc = command_doc(command, spec), *name = NULL;

    *arguments = (cli_arguments){0};
    if (doc == NULL || asprintf(&name, "cbmctl %s", command->name) < 0)
        out_of_memory();
    if (spec->policy != NULL) {
        if (!policy_options_argp(spec->policy, &policy_argp))
            out_of_memory();
        children[CHILD_POLICY] = (struct argp_child){.argp = &policy_argp};
    }
    const struct argp argp = {.options = spec->options,
                              .parser = parse_command,
                              .args_doc = command->arguments,
                              .doc = doc,
                              .children = children};
    argv[0] = name;
    unsigned flags = ARGP_NO_HELP | (spec->takes_command ? ARGP_IN_ORDER : 0);
    if (argp_parse(&argp, argc, argv, flags, NULL, &context) != 0)
        out_of_memory(); /* what is wrong with the words themselves has ended the program */
    argv[0] = (char *)(uintptr_t)command->name;
    if (spec->named)
        check_name(command, arguments->words[0]);
    if (spec->policy != NULL)
        policy_options_deinit(spec->policy);
    free(name);
    free(doc);
}

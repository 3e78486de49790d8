#include "options.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cbm_options_init(cbm_options *options)
{
    *options = (cbm_options){
        .rate_limit = CBM_RATE_LIMIT_DEFAULT,
        .rate_window_ms = CBM_RATE_WINDOW_MS_DEFAULT,
        .max_breakers = CBM_BREAKERS_DEFAULT,
        .log_level = CBM_LOG_INFO,
        .ready_fd = -1,
    };
}

/* Decimal digits alone: no sign, no space, no other base. */
static bool parse_number(const char *value, uint32_t minimum, uint32_t maximum, uint32_t *number)
{
    unsigned long parsed;

    if (value[0] == '\0' || value[strspn(value, "0123456789")] != '\0')
        return false;
    errno = 0;
    parsed = strtoul(value, NULL, 10);
    if (errno || parsed < minimum || parsed > maximum)
        return false;
    *number = (uint32_t)parsed;
    return true;
}

static bool set_number(uint32_t *target, const char *option, const char *value, uint32_t minimum, uint32_t maximum,
                       char *message, size_t size)
{
    if (parse_number(value, minimum, maximum, target))
        return true;
    snprintf(message, size, "--%s takes a whole number from %u to %u, not '%s'", option, minimum, maximum, value);
    return false;
}

static bool set_listen(cbm_options *options, const char *value, char *message, size_t size)
{
    cbm_address address;
    const char *why;

    if (options->address_given) {
        snprintf(message, size, "--listen was given twice: cbmd listens on one address");
        return false;
    }
    if (!cbm_address_parse(&address, value, &why)) {
        snprintf(message, size, "--listen cannot take '%s': %s", value, why);
        return false;
    }
    options->address = address;
    options->address_given = true;
    return true;
}

static bool set_scope(cbm_options *options, const char *value, char *message, size_t size)
{
    bool calls = strcmp(value, "calls") == 0;

    if (!calls && strcmp(value, "requests") != 0) {
        snprintf(message, size, "--rate-limit-scope takes requests or calls, not '%s'", value);
        return false;
    }
    options->rate_limit_calls = calls;
    return true;
}

static bool set_log_level(cbm_options *options, const char *value, char *message, size_t size)
{
    int level = cbm_log_level_parse(value);

    if (level < 0) {
        snprintf(message, size, "--log-level takes error, warn, info or debug, not '%s'", value);
        return false;
    }
    options->log_level = (cbm_log_level)level;
    return true;
}

bool cbm_options_set(cbm_options *options, cbm_option_key key, const char *value, char *message, size_t size)
{
    uint32_t descriptor;

    switch (key) {
    case CBM_OPTION_LISTEN: return set_listen(options, value, message, size);
    case CBM_OPTION_RATE_LIMIT:
        return set_number(&options->rate_limit, "rate-limit", value, 0, CBM_RATE_LIMIT_MAX, message, size);
    case CBM_OPTION_RATE_WINDOW:
        return set_number(&options->rate_window_ms, "rate-window-ms", value, 1, CBM_RATE_WINDOW_MS_MAX, message, size);
    case CBM_OPTION_RATE_SCOPE: return set_scope(options, value, message, size);
    case CBM_OPTION_MAX_BREAKERS:
        return set_number(&options->max_breakers, "max-breakers", value, 1, CBM_BREAKERS_MAX, message, size);
    case CBM_OPTION_LOG_LEVEL: return set_log_level(options, value, message, size);
    case CBM_OPTION_READY_FD:
        if (!set_number(&descriptor, "ready-fd", value, 1, INT_MAX, message, size))
            return false;
        options->ready_fd = (int)descriptor;
        return true;
    }
    snprintf(message, size, "there is no such option");
    return false;
}

static error_t on_option(int key, char *value, struct argp_state *state)
{
    cbm_options *options = state->input;
    char message[512];

    switch (key) {
    case CBM_OPTION_LISTEN:
    case CBM_OPTION_RATE_LIMIT:
    case CBM_OPTION_RATE_WINDOW:
    case CBM_OPTION_RATE_SCOPE:
    case CBM_OPTION_MAX_BREAKERS:
    case CBM_OPTION_LOG_LEVEL:
    case CBM_OPTION_READY_FD:
        if (!cbm_options_set(options, (cbm_option_key)key, value, message, sizeof message))
            argp_error(state, "%s", message);
        return 0;
    case ARGP_KEY_ARG: argp_error(state, "it takes no arguments, but '%s' is one", value); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"listen", CBM_OPTION_LISTEN, "URL", 0,
     "Listen on ipc:///PATH, unix:///PATH or abstract://NAME. Default: ipc:///run/cbm/cbm.sock for root and user cbm, "
     "ipc://$XDG_RUNTIME_DIR/cbm/cbm.sock for others",
     0},
    {"rate-limit", CBM_OPTION_RATE_LIMIT, "N", 0,
     "At most N operations (get and call_begin) in any window; 0 switches the limit off. Default: 1000", 0},
    {"rate-window-ms", CBM_OPTION_RATE_WINDOW, "N", 0, "Length of the window in milliseconds. Default: 1000", 0},
    {"rate-limit-scope", CBM_OPTION_RATE_SCOPE, "SCOPE", 0,
     "What the limit counts: `requests' that reach the broker (default), or `calls', each of which then has to reach "
     "it",
     0},
    {"max-breakers", CBM_OPTION_MAX_BREAKERS, "N", 0, "Hold at most N breakers. Default: 65536", 0},
    {"log-level", CBM_OPTION_LOG_LEVEL, "LEVEL", 0, "Log error, warn, info (default) or debug and what is graver", 0},
    {"ready-fd", CBM_OPTION_READY_FD, "FD", 0,
     "Write READY and a newline to this descriptor, and close it, when the broker accepts connections", 0},
    {0},
};

static const struct argp parser = {
    .options = rows,
    .parser = on_option,
    .doc =
        "The broker that owns a host's circuit breakers. It runs in the foreground, logs to standard error, and stops "
        "cleanly on SIGTERM and SIGINT.\v"
        "Exit status: 0 after a clean stop, 1 when it cannot serve the address (another cbmd does, for one), 64 when "
        "the "
        "command line is wrong.",
};

void cbm_options_parse(cbm_options *options, int argc, char **argv)
{
    argp_program_version = "cbmd " CBM_VERSION;
    argp_err_exit_status = 64;
    argp_parse(&parser, argc, argv, 0, NULL, options);
}

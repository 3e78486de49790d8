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

static bool set_number(uint32_t *target, const char *name, const char *value, uint32_t minimum, uint32_t maximum,
                       char *message, size_t size)
{
    if (parse_number(value, minimum, maximum, target))
        return true;
    snprintf(message, size, "%s takes a whole number from %u to %u, not '%s'", name, minimum, maximum, value);
    return false;
}

static bool set_listen(cbm_options *options, const char *name, const char *value, char *message, size_t size)
{
    cbm_address address;
    const char *why;

    if (options->address_given) {
        snprintf(message, size, "%s was given twice: cbmd listens on one address", name);
        return false;
    }
    if (!cbm_address_parse(&address, value, &why)) {
        snprintf(message, size, "%s cannot take '%s': %s", name, value, why);
        return false;
    }
    options->address = address;
    options->address_given = true;
    return true;
}

static bool set_scope(cbm_options *options, const char *name, const char *value, char *message, size_t size)
{
    bool calls = strcmp(value, "calls") == 0;

    if (!calls && strcmp(value, "requests") != 0) {
        snprintf(message, size, "%s takes requests or calls, not '%s'", name, value);
        return false;
    }
    options->rate_limit_calls = calls;
    return true;
}

static bool set_log_level(cbm_options *options, const char *name, const char *value, char *message, size_t size)
{
    int level = cbm_log_level_parse(value);

    if (level < 0) {
        snprintf(message, size, "%s takes error, warn, info or debug, not '%s'", name, value);
        return false;
    }
    options->log_level = (cbm_log_level)level;
    return true;
}

static bool set_config(cbm_options *options, const char *name, const char *value, char *message, size_t size)
{
    if (options->config_path || !value[0]) {
        snprintf(message, size,
                 options->config_path ? "%s was given twice: there is one config file" : "%s takes the path of a file",
                 name);
        return false;
    }
    options->config_path = value;
    return true;
}

static bool set(cbm_options *options, cbm_option_key key, const char *name, const char *value, char *message,
                size_t size)
{
    uint32_t descriptor;

    switch (key) {
    case CBM_OPTION_LISTEN: return set_listen(options, name, value, message, size);
    case CBM_OPTION_CONFIG: return set_config(options, name, value, message, size);
    case CBM_OPTION_RATE_LIMIT:
        return set_number(&options->rate_limit, name, value, 0, CBM_RATE_LIMIT_MAX, message, size);
    case CBM_OPTION_RATE_WINDOW:
        return set_number(&options->rate_window_ms, name, value, 1, CBM_RATE_WINDOW_MS_MAX, message, size);
    case CBM_OPTION_RATE_SCOPE: return set_scope(options, name, value, message, size);
    case CBM_OPTION_MAX_BREAKERS:
        return set_number(&options->max_breakers, name, value, 1, CBM_BREAKERS_MAX, message, size);
    case CBM_OPTION_LOG_LEVEL: return set_log_level(options, name, value, message, size);
    case CBM_OPTION_READY_FD:
        if (!set_number(&descriptor, name, value, 1, INT_MAX, message, size))
            return false;
        options->ready_fd = (int)descriptor;
        return true;
    }
    snprintf(message, size, "there is no such option");
    return false;
}

static uint32_t bit_of(cbm_option_key key)
{
    switch (key) {
    case CBM_OPTION_LISTEN: return 1;
    case CBM_OPTION_CONFIG: return 2;
    default: return UINT32_C(4) << (key - CBM_OPTION_RATE_LIMIT);
    }
}

bool cbm_options_given(const cbm_options *options, cbm_option_key key)
{
    return options->given & bit_of(key);
}

bool cbm_options_set_as(cbm_options *options, cbm_option_key key, const char *name, const char *value, char *message,
                        size_t size)
{
    if (!set(options, key, name, value, message, size))
        return false;
    options->given |= bit_of(key);
    return true;
}

static const char *name_of(cbm_option_key key)
{
    switch (key) {
    case CBM_OPTION_LISTEN: return "--listen";
    case CBM_OPTION_CONFIG: return "--config";
    case CBM_OPTION_RATE_LIMIT: return "--rate-limit";
    case CBM_OPTION_RATE_WINDOW: return "--rate-window-ms";
    case CBM_OPTION_RATE_SCOPE: return "--rate-limit-scope";
    case CBM_OPTION_MAX_BREAKERS: return "--max-breakers";
    case CBM_OPTION_LOG_LEVEL: return "--log-level";
    case CBM_OPTION_READY_FD: return "--ready-fd";
    }
    return "?";
}

bool cbm_options_set(cbm_options *options, cbm_option_key key, const char *value, char *message, size_t size)
{
    return cbm_options_set_as(options, key, name_of(key), value, message, size);
}

void cbm_options_fill(cbm_options *options, const cbm_options *beneath)
{
    uint32_t taken = beneath->given & ~options->given;

    if (taken & bit_of(CBM_OPTION_LISTEN)) {
        options->address = beneath->address;
        options->address_given = true;
    }
    if (taken & bit_of(CBM_OPTION_RATE_LIMIT))
        options->rate_limit = beneath->rate_limit;
    if (taken & bit_of(CBM_OPTION_RATE_WINDOW))
        options->rate_window_ms = beneath->rate_window_ms;
    if (taken & bit_of(CBM_OPTION_RATE_SCOPE))
        options->rate_limit_calls = beneath->rate_limit_calls;
    if (taken & bit_of(CBM_OPTION_MAX_BREAKERS))
        options->max_breakers = beneath->max_breakers;
    if (taken & bit_of(CBM_OPTION_LOG_LEVEL))
        options->log_level = beneath->log_level;
    options->given |= taken;
}

static error_t on_option(int key, char *value, struct argp_state *state)
{
    cbm_options *options = state->input;
    char message[512];

    switch (key) {
    case CBM_OPTION_LISTEN:
    case CBM_OPTION_CONFIG:
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
    {"config", CBM_OPTION_CONFIG, "FILE", 0,
     "Read policies and settings from this file. What stands on the command line wins over it; SIGHUP reads it again",
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
        "the command line is wrong, 78 when the config file is.",
};

void cbm_options_parse(cbm_options *options, int argc, char **argv)
{
    argp_program_version = "cbmd " CBM_VERSION;
    argp_err_exit_status = 64;
    argp_parse(&parser, argc, argv, 0, NULL, options);
}

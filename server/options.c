#include "options.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Options that are a whole number. */
typedef struct number_row {
    cbm_option_key key;
    size_t offset; /* of the uint32_t in cbm_options */
    uint32_t minimum, maximum;
} number_row;

static const number_row numbers[] = {
    {CBM_OPTION_RATE_LIMIT, offsetof(cbm_options, rate_limit), 0, CBM_RATE_LIMIT_MAX},
    {CBM_OPTION_RATE_WINDOW, offsetof(cbm_options, rate_window_ms), 1, CBM_RATE_WINDOW_MS_MAX},
    {CBM_OPTION_MAX_BREAKERS, offsetof(cbm_options, max_breakers), 1, CBM_BREAKERS_MAX},
    {CBM_OPTION_MAX_CLIENTS, offsetof(cbm_options, max_clients), 1, CBM_CLIENTS_MAX},
    {CBM_OPTION_MAX_REQUESTS, offsetof(cbm_options, max_requests), 0, CBM_REQUESTS_MAX},
    {CBM_OPTION_MAX_BREAKERS_PER_USER, offsetof(cbm_options, max_breakers_per_user), 0, CBM_BREAKERS_MAX},
    {CBM_OPTION_MAX_PERMITS_PER_USER, offsetof(cbm_options, max_permits_per_user), 0, CBM_PERMITS_MAX},
    {CBM_OPTION_MAX_PENDING_MIB, offsetof(cbm_options, max_pending_mib), 1, CBM_PENDING_MIB_MAX},
};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static const number_row *find_number(cbm_option_key key)
{
    for (size_t i = 0; i < NUMBERS; i++)
        if (numbers[i].key == key)
            return &numbers[i];
    return NULL;
}

void cbm_options_init(cbm_options *options)
{
    *options = (cbm_options){
        .rate_limit = CBM_RATE_LIMIT_DEFAULT,
        .rate_window_ms = CBM_RATE_WINDOW_MS_DEFAULT,
        .max_breakers = CBM_BREAKERS_DEFAULT,
        .socket_mode = CBM_SOCKET_MODE_DEFAULT,
        .max_clients = CBM_CLIENTS_DEFAULT,
        .max_requests = CBM_REQUESTS_DEFAULT,
        .max_permits_per_user = CBM_PERMITS_DEFAULT,
        .max_pending_mib = CBM_PENDING_MIB_DEFAULT,
        .log_level = CBM_LOG_INFO,
        .ready_fd = -1,
    };
}

void cbm_options_settle(cbm_options *options, size_t descriptors)
{
    if (!options->max_breakers_per_user)
        options->max_breakers_per_user = options->max_breakers - options->max_breakers / 2;
    /* One user does not take the descriptors of all, unless it was said that it may. */
    if (!cbm_options_given(options, CBM_OPTION_MAX_CLIENTS) && options->max_clients > descriptors / 2)
        options->max_clients = (uint32_t)(descriptors / 2);
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

/* Of a socket only reading and writing count, and whoever may not write may not connect. */
static bool set_socket_mode(cbm_options *options, const char *name, const char *value, char *message, size_t size)
{
    size_t digits = strspn(value, "01234567");

    if (digits < 3 || digits > 4 || value[digits] || (digits == 4 && value[0] != '0')) {
        snprintf(message, size, "%s takes an octal mode like 0660, not '%s'", name, value);
        return false;
    }
    options->socket_mode = (uint32_t)strtoul(value, NULL, 8);
    return true;
}

static bool set_group(char group[CBM_GROUP_MAX + 1], const char *name, const char *value, char *message, size_t size)
{
    size_t length = strlen(value);

    if (length == 0 || length > CBM_GROUP_MAX) {
        snprintf(message, size, "%s takes the name or number of a group, not '%s'", name, value);
        return false;
    }
    memcpy(group, value, length + 1);
    return true;
}

static bool set_state_dir(cbm_options *options, const char *name, const char *value, char *message, size_t size)
{
    size_t length = strlen(value);

    if (length == 0 || length > CBM_STATE_DIR_MAX) {
        snprintf(message, size, "%s takes the path of a directory, of at most %d bytes", name, CBM_STATE_DIR_MAX);
        return false;
    }
    memcpy(options->state_dir, value, length + 1);
    return true;
}

/* NULL: the option alone, as on the command line. */
static bool set_flag(uint32_t *flag, const char *name, const char *value, char *message, size_t size)
{
    if (value && strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
        snprintf(message, size, "%s takes yes or no, not '%s'", name, value);
        return false;
    }
    *flag = !value || strcmp(value, "yes") == 0;
    return true;
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
        snprintf(message, size, "%s: '%s' is not an address: %s", name, value, why);
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
    const number_row *number = find_number(key);
    uint32_t descriptor;

    if (number)
        return set_number((uint32_t *)((char *)options + number->offset), name, value, number->minimum, number->maximum,
                          message, size);
    switch (key) {
    case CBM_OPTION_LISTEN: return set_listen(options, name, value, message, size);
    case CBM_OPTION_CONFIG: return set_config(options, name, value, message, size);
    case CBM_OPTION_RATE_SCOPE: return set_scope(options, name, value, message, size);
    case CBM_OPTION_LOG_LEVEL: return set_log_level(options, name, value, message, size);
    case CBM_OPTION_READY_FD:
        if (!set_number(&descriptor, name, value, 1, INT_MAX, message, size))
            return false;
        options->ready_fd = (int)descriptor;
        return true;
    case CBM_OPTION_SOCKET_MODE: return set_socket_mode(options, name, value, message, size);
    case CBM_OPTION_SOCKET_GROUP: return set_group(options->socket_group, name, value, message, size);
    case CBM_OPTION_ADMIN_GROUP: return set_group(options->admin_group, name, value, message, size);
    case CBM_OPTION_RESTRICT_RESETS: return set_flag(&options->restrict_resets, name, value, message, size);
    case CBM_OPTION_STATE_DIR: return set_state_dir(options, name, value, message, size);
    case CBM_OPTION_NO_STORE: return set_flag(&options->no_store, name, value, message, size);
    default: break;
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
    {"state-dir", CBM_OPTION_STATE_DIR, "DIR", 0,
     "Keep in this directory what outlives the broker: circuits, statistics and control by hand. Default: "
     "/var/lib/cbm for root and user cbm, $XDG_STATE_HOME/cbm or ~/.local/state/cbm for others",
     0},
    {"no-store", CBM_OPTION_NO_STORE, 0, 0, "Keep nothing: after a restart all circuits are closed", 0},
    {"log-level", CBM_OPTION_LOG_LEVEL, "LEVEL", 0, "Log error, warn, info (default) or debug and what is graver", 0},
    {"ready-fd", CBM_OPTION_READY_FD, "FD", 0,
     "Write READY and a newline to this descriptor, and close it, when the broker accepts connections", 0},
    {0, 0, 0, 0, "Who may do what:", 1},
    {"socket-mode", CBM_OPTION_SOCKET_MODE, "MODE", 0,
     "Mode of the socket file: whoever may write may connect. Default: 0660", 1},
    {"socket-group", CBM_OPTION_SOCKET_GROUP, "GROUP", 0,
     "Group of the socket file, by name or number. Default: cbm, where there is one, else that of the broker", 1},
    {"admin-group", CBM_OPTION_ADMIN_GROUP, "GROUP", 0,
     "Members of this group may do what only root and the broker's own user may do otherwise: force_open, disable, "
     "metrics_only, enable, configure, remove, reload",
     1},
    {"restrict-resets", CBM_OPTION_RESTRICT_RESETS, 0, 0,
     "reset, reset_all and reset_manager are for them too, and not for everybody who may connect", 1},
    {0, 0, 0, 0, "What one user (uid) may use:", 2},
    {"max-clients", CBM_OPTION_MAX_CLIENTS, "N", 0,
     "At most N connections, and as many processes that share memory. Default: 4096, but no more than half of the "
     "descriptors that the broker may have",
     2},
    {"max-requests", CBM_OPTION_MAX_REQUESTS, "N", 0,
     "N requests a second; 0: any number. A connection may make half of them. Whoever makes more is not refused, "
     "but not read for a while. Default: 200000",
     2},
    {"max-breakers-per-user", CBM_OPTION_MAX_BREAKERS_PER_USER, "N", 0,
     "At most N breakers that were created by one user, but for administrators. 0: half of --max-breakers (default)",
     2},
    {"max-permits-per-user", CBM_OPTION_MAX_PERMITS_PER_USER, "N", 0,
     "At most N permits of half-open circuits out at a time, but for administrators; 0: any number. Default: 10000", 2},
    {"max-pending-mib", CBM_OPTION_MAX_PENDING_MIB, "N", 0,
     "At most N MiB, of all users together, of replies that are not taken and requests that are not whole. A user may "
     "have as much of it as is left for others. Default: 128",
     2},
    {0},
};

static const char *name_of(cbm_option_key key, char *name, size_t size)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].name && rows[i].key == (int)key)
            snprintf(name, size, "--%s", rows[i].name);
    return name;
}

bool cbm_options_set(cbm_options *options, cbm_option_key key, const char *value, char *message, size_t size)
{
    char name[64] = "?";

    return cbm_options_set_as(options, key, name_of(key, name, sizeof name), value, message, size);
}

void cbm_options_fill(cbm_options *options, const cbm_options *beneath)
{
    uint32_t taken = beneath->given & ~options->given;

    if (taken & bit_of(CBM_OPTION_LISTEN)) {
        options->address = beneath->address;
        options->address_given = true;
    }
    for (size_t i = 0; i < NUMBERS; i++)
        if (taken & bit_of(numbers[i].key))
            memcpy((char *)options + numbers[i].offset, (const char *)beneath + numbers[i].offset, sizeof(uint32_t));
    if (taken & bit_of(CBM_OPTION_RATE_SCOPE))
        options->rate_limit_calls = beneath->rate_limit_calls;
    if (taken & bit_of(CBM_OPTION_LOG_LEVEL))
        options->log_level = beneath->log_level;
    if (taken & bit_of(CBM_OPTION_SOCKET_MODE))
        options->socket_mode = beneath->socket_mode;
    if (taken & bit_of(CBM_OPTION_SOCKET_GROUP))
        memcpy(options->socket_group, beneath->socket_group, sizeof options->socket_group);
    if (taken & bit_of(CBM_OPTION_ADMIN_GROUP))
        memcpy(options->admin_group, beneath->admin_group, sizeof options->admin_group);
    if (taken & bit_of(CBM_OPTION_RESTRICT_RESETS))
        options->restrict_resets = beneath->restrict_resets;
    /* What names a place for the state on the command line wants it kept. */
    if (taken & bit_of(CBM_OPTION_NO_STORE) && !(options->given & bit_of(CBM_OPTION_STATE_DIR)))
        options->no_store = beneath->no_store;
    if (taken & bit_of(CBM_OPTION_STATE_DIR))
        memcpy(options->state_dir, beneath->state_dir, sizeof options->state_dir);
    options->given |= taken;
}

static error_t on_option(int key, char *value, struct argp_state *state)
{
    cbm_options *options = state->input;
    char message[512];

    if (key == CBM_OPTION_LISTEN || key == CBM_OPTION_CONFIG ||
        (key >= CBM_OPTION_RATE_LIMIT && key < CBM_OPTION_END)) {
        if (!cbm_options_set(options, (cbm_option_key)key, value, message, sizeof message))
            argp_error(state, "%s", message);
        return 0;
    }
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    argp_error(state, "it takes no arguments, but '%s' is one", value);
    return 0;
}

static const struct argp parser = {
    .options = rows,
    .parser = on_option,
    .doc =
        "The broker that owns a host's circuit breakers. It runs in the foreground, logs to standard error, and stops "
        "cleanly on SIGTERM and SIGINT.\v"
        "Exit status: 0 after a clean stop, 1 when it cannot serve the address or keep its state (another cbmd does, "
        "for one), 64 when the command line is wrong, 78 when the config file is, or when the state was written by a "
        "newer "
        "cbmd.",
};

void cbm_options_parse(cbm_options *options, int argc, char **argv)
{
    argp_program_version = "cbmd " CBM_VERSION;
    argp_err_exit_status = 64;
    argp_parse(&parser, argc, argv, 0, NULL, options);
}

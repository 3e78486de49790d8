/* The command line of cbmd. */
#ifndef CBM_SERVER_OPTIONS_H
#define CBM_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "log.h"

#define CBM_RATE_LIMIT_DEFAULT 1000
#define CBM_RATE_LIMIT_MAX 1000000
#define CBM_RATE_WINDOW_MS_DEFAULT 1000
#define CBM_RATE_WINDOW_MS_MAX 3600000
#define CBM_BREAKERS_DEFAULT 65536
#define CBM_BREAKERS_MAX 1000000
#define CBM_CLIENTS_DEFAULT 4096
#define CBM_CLIENTS_MAX 1000000
#define CBM_REQUESTS_DEFAULT 200000
#define CBM_REQUESTS_MAX 1000000000
#define CBM_PERMITS_DEFAULT 10000
#define CBM_PERMITS_MAX 100000000
#define CBM_PENDING_MIB_DEFAULT 128
#define CBM_PENDING_MIB_MAX 65536
#define CBM_SOCKET_MODE_DEFAULT 0660
#define CBM_GROUP_MAX 64 /* bytes of a group's name */
#define CBM_STATE_DIR_MAX 1023

typedef struct cbm_options {
    cbm_address address;
    bool address_given;
    uint32_t rate_limit; /* 0: off */
    uint32_t rate_window_ms;
    bool rate_limit_calls; /* scope `calls` */
    uint32_t max_breakers;
    uint32_t socket_mode;
    char socket_group[CBM_GROUP_MAX + 1]; /* "": cbm, where there is one */
    char admin_group[CBM_GROUP_MAX + 1];  /* "": none */
    uint32_t restrict_resets;             /* 1: the resets are for administrators */
    /* Of one user (uid); 0: no limit. */
    uint32_t max_clients;           /* connections, and ledgers */
    uint32_t max_requests;          /* a second */
    uint32_t max_breakers_per_user; /* 0: half of max_breakers */
    uint32_t max_permits_per_user;
    uint32_t max_pending_mib;              /* of all users together */
    char state_dir[CBM_STATE_DIR_MAX + 1]; /* "": the default one */
    uint32_t no_store;                     /* 1: nothing is stored */
    cbm_log_level log_level;
    int ready_fd;            /* -1: none */
    const char *config_path; /* as it was given; NULL: no config file */
    uint32_t given;          /* what was set: see cbm_options_given */
} cbm_options;

typedef enum cbm_option_key {
    CBM_OPTION_LISTEN = 'l',
    CBM_OPTION_CONFIG = 'c',
    CBM_OPTION_RATE_LIMIT = 0x100,
    CBM_OPTION_RATE_WINDOW,
    CBM_OPTION_RATE_SCOPE,
    CBM_OPTION_MAX_BREAKERS,
    CBM_OPTION_LOG_LEVEL,
    CBM_OPTION_READY_FD,
    CBM_OPTION_SOCKET_MODE,
    CBM_OPTION_SOCKET_GROUP,
    CBM_OPTION_ADMIN_GROUP,
    CBM_OPTION_RESTRICT_RESETS,
    CBM_OPTION_MAX_CLIENTS,
    CBM_OPTION_MAX_REQUESTS,
    CBM_OPTION_MAX_BREAKERS_PER_USER,
    CBM_OPTION_MAX_PERMITS_PER_USER,
    CBM_OPTION_MAX_PENDING_MIB,
    CBM_OPTION_STATE_DIR,
    CBM_OPTION_NO_STORE,
    CBM_OPTION_END,
} cbm_option_key;

void cbm_options_init(cbm_options *options); /* defaults, without an address */
/* One option. False: nothing is set and `message` says why. `value` of CBM_OPTION_CONFIG is kept. */
bool cbm_options_set(cbm_options *options, cbm_option_key key, const char *value, char *message, size_t message_size);
/* The same under another name in messages, as the config file has it. */
bool cbm_options_set_as(cbm_options *options, cbm_option_key key, const char *name, const char *value, char *message,
                        size_t message_size);
bool cbm_options_given(const cbm_options *options, cbm_option_key key);
/* Takes from `beneath` what is given there and not here. */
void cbm_options_fill(cbm_options *options, const cbm_options *beneath);
/* Puts defaults where they depend on what was given, once all was. descriptors: how many this process may have. */
void cbm_options_settle(cbm_options *options, size_t descriptors);
/* The command line. Does not return on --help, --version (status 0) and on a mistake (status 64). */
void cbm_options_parse(cbm_options *options, int argc, char **argv);

#endif

/*
 * The config file of cbmd: what contrib/cbm.conf describes. Read whole and strictly: a file with anything wrong in it
 * counts for nothing. A configuration that was read does not change any more.
 */
#ifndef CBM_SERVER_CONFIG_H
#define CBM_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "access_rules.h"
#include "cbm_core.h"
#include "options.h"

#define CBM_CONFIG_SIZE_MAX (1 << 20)
/* Sections with wildcards: each is looked at when a breaker is made. Those for single names are found at once. */
#define CBM_CONFIG_GLOBS_MAX 256

typedef struct cbm_config cbm_config;

/* NULL: `message` says "FILE:LINE: cause", or "FILE: cause". */
cbm_config *cbm_config_read(const char *path, char *message, size_t message_size);
/* The same of a text; `name` stands for the file in messages. */
cbm_config *cbm_config_parse(const char *name, const char *text, size_t size, char *message, size_t message_size);
void cbm_config_free(cbm_config *config); /* NULL is fine */

/* Of [defaults]. */
const cbm_core_policy_request *cbm_config_defaults(const cbm_config *config);
/* False: no section speaks for that breaker. Else the fields that the most specific one gives. */
bool cbm_config_policy(const cbm_config *config, const char *name, cbm_core_policy_request *request);
size_t cbm_config_sections(const cbm_config *config); /* that speak for breakers */

/* What the [access] sections say, which is the caller's from now on. NULL: there are none. */
cbm_access_rules *cbm_config_take_access(cbm_config *config);

/* Puts what [broker], [limiter] and [quotas] say into the options that the command line did not give. */
void cbm_config_apply(const cbm_config *config, cbm_options *options);

#endif

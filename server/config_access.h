/* The keys of the config file's [access "..."] sections. */
#ifndef CBM_SERVER_CONFIG_ACCESS_H
#define CBM_SERVER_CONFIG_ACCESS_H

#include "access_rules.h"
#include "config_lines.h"

/* A heading. Takes nothing when it refuses. */
void cbm_config_access_begin(cbm_config_lines *lines, cbm_access_rules **rules, const char *pattern);
/* uid = alice, 1001: of the rule that was begun last. It may stand again for more of them. */
void cbm_config_access_key(cbm_config_lines *lines, cbm_access_rules *rules, const char *key, const char *value);
/* When all is read. */
void cbm_config_access_end(cbm_config_lines *lines, cbm_access_rules *rules);

#endif

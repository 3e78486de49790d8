/* The tables behind replies. */
#ifndef CBM_PROTO_REPLY_FIELDS_H
#define CBM_PROTO_REPLY_FIELDS_H

#include "status.h"

/* `data` of get, beside the state dict. `differs` is written and read by hand. */
typedef enum cbm_get_field {
    CBM_GET_CREATED,
    CBM_GET_ENTRY, /* left out when there is none */
    CBM_GET_FIELDS,
} cbm_get_field;
extern const cbm_field_row cbm_get_rows[CBM_GET_FIELDS];

typedef enum cbm_begin_field {
    CBM_BEGIN_PERMIT,
    CBM_BEGIN_STATE,
    CBM_BEGIN_PROBE,
    CBM_BEGIN_FIELDS,
} cbm_begin_field;
extern const cbm_field_row cbm_begin_rows[CBM_BEGIN_FIELDS];

typedef enum cbm_stats_field {
    CBM_STATS_TOTAL_OPERATIONS,
    CBM_STATS_BREAKERS_COUNT,
    CBM_STATS_RATE_LIMITED_COUNT,
    CBM_STATS_RATE_LIMIT_WINDOW_MS,
    CBM_STATS_CURRENT_RATE_LIMIT_SIZE,
    CBM_STATS_MAX_RATE_LIMIT,
    CBM_STATS_MAX_BREAKERS,
    CBM_STATS_BREAKERS_CREATED,
    CBM_STATS_BREAKERS_REMOVED,
    CBM_STATS_FIELDS,
} cbm_stats_field;
extern const cbm_field_row cbm_stats_rows[CBM_STATS_FIELDS];

typedef enum cbm_attach_field {
    CBM_ATTACH_TOKEN,
    CBM_ATTACH_NOW_NS,
    CBM_ATTACH_FIELDS,
} cbm_attach_field;
extern const cbm_field_row cbm_attach_rows[CBM_ATTACH_FIELDS];

typedef enum cbm_info_field {
    CBM_INFO_VERSION,
    CBM_INFO_PID,
    CBM_INFO_UPTIME_MS,
    CBM_INFO_INCARNATION,
    CBM_INFO_SHARED_MEMORY,
    CBM_INFO_FIELDS,
} cbm_info_field;
extern const cbm_field_row cbm_info_rows[CBM_INFO_FIELDS];

/* The map `limits` of info. rate_limit_scope is a bool in the struct, a word on the wire. */
typedef enum cbm_limits_field {
    CBM_LIMITS_MAX_BREAKERS,
    CBM_LIMITS_MAX_RATE_LIMIT,
    CBM_LIMITS_RATE_LIMIT_WINDOW_MS,
    CBM_LIMITS_FIELDS,
} cbm_limits_field;
extern const cbm_field_row cbm_limits_rows[CBM_LIMITS_FIELDS];

/* One user in the map `users` of stats; its uid, in decimal, is the key. */
#define CBM_USER_FIELDS 9
extern const cbm_field_row cbm_user_rows[CBM_USER_FIELDS];

/* The map `user_limits` of stats. */
#define CBM_USER_LIMITS_FIELDS 7
extern const cbm_field_row cbm_user_limits_rows[CBM_USER_LIMITS_FIELDS];

/* The map `reload` of info. */
#define CBM_RELOAD_FIELDS 4
extern const cbm_field_row cbm_reload_rows[CBM_RELOAD_FIELDS];

/* All rows of a table of up to 63. */
#define CBM_ALL_ROWS(count) ((UINT64_C(1) << (count)) - 1)

/* A body of a reply leaves room for the backtrace in NNG's receive limit. */
#define CBM_REPLY_BODY_MAX (CBM_REPLY_MAX - CBM_SP_BACKTRACE_MAX)

#endif

#include "reply_fields.h"

#define COUNTER(type, member)                                                                                          \
    {                                                                                                                  \
#member, CBM_TYPE_U64, .offset = offsetof(type, member), .maximum = UINT64_MAX                                 \
    }
#define SIZED(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)

const cbm_field_row cbm_get_rows[CBM_GET_FIELDS] = {
    [CBM_GET_CREATED] = {"created", CBM_TYPE_BOOL, .offset = offsetof(cbm_get_reply, created)},
    [CBM_GET_ENTRY] = {"entry", CBM_TYPE_I64, .offset = offsetof(cbm_get_reply, entry)},
};

const cbm_field_row cbm_begin_rows[CBM_BEGIN_FIELDS] = {
    [CBM_BEGIN_PERMIT] = {"permit", CBM_TYPE_BIN_UPTO, SIZED(cbm_begin_reply, permit),
                          .length_offset = offsetof(cbm_begin_reply, permit_size)},
    [CBM_BEGIN_STATE] = {"state", CBM_TYPE_WORD, .offset = offsetof(cbm_begin_reply, state),
                         .maximum = CBM_CORE_STATES - 1, .word = cbm_state_word},
    [CBM_BEGIN_PROBE] = {"probe", CBM_TYPE_BOOL, .offset = offsetof(cbm_begin_reply, probe)},
};

/* The first six are the spec's get_stats() in the spec's order. */
const cbm_field_row cbm_stats_rows[CBM_STATS_FIELDS] = {
    [CBM_STATS_TOTAL_OPERATIONS] = COUNTER(cbm_core_stats, total_operations),
    [CBM_STATS_BREAKERS_COUNT] = COUNTER(cbm_core_stats, breakers_count),
    [CBM_STATS_RATE_LIMITED_COUNT] = COUNTER(cbm_core_stats, rate_limited_count),
    [CBM_STATS_RATE_LIMIT_WINDOW_MS] = COUNTER(cbm_core_stats, rate_limit_window_ms),
    [CBM_STATS_CURRENT_RATE_LIMIT_SIZE] = COUNTER(cbm_core_stats, current_rate_limit_size),
    [CBM_STATS_MAX_RATE_LIMIT] = COUNTER(cbm_core_stats, max_rate_limit),
    [CBM_STATS_MAX_BREAKERS] = COUNTER(cbm_core_stats, max_breakers),
    [CBM_STATS_BREAKERS_CREATED] = COUNTER(cbm_core_stats, breakers_created),
    [CBM_STATS_BREAKERS_REMOVED] = COUNTER(cbm_core_stats, breakers_removed),
};

#define ATTACH_AT(member) .offset = offsetof(cbm_reply, data.attach.member) - offsetof(cbm_reply, data.attach)

const cbm_field_row cbm_attach_rows[CBM_ATTACH_FIELDS] = {
    [CBM_ATTACH_TOKEN] = {"token", CBM_TYPE_BIN, ATTACH_AT(token), .size = CBM_ID_SIZE},
    [CBM_ATTACH_NOW_NS] = {"now_ns", CBM_TYPE_I64, ATTACH_AT(now_ns)},
};

const cbm_field_row cbm_info_rows[CBM_INFO_FIELDS] = {
    [CBM_INFO_VERSION] = {"version", CBM_TYPE_TEXT, SIZED(cbm_info_reply, version)},
    [CBM_INFO_PID] = {"pid", CBM_TYPE_U32, .offset = offsetof(cbm_info_reply, pid), .maximum = UINT32_MAX},
    [CBM_INFO_UPTIME_MS] = COUNTER(cbm_info_reply, uptime_ms),
    [CBM_INFO_INCARNATION] = {"incarnation", CBM_TYPE_BIN, SIZED(cbm_info_reply, incarnation)},
    [CBM_INFO_SHARED_MEMORY] = {"shared_memory", CBM_TYPE_BOOL, .offset = offsetof(cbm_info_reply, shared_memory)},
};

const cbm_field_row cbm_limits_rows[CBM_LIMITS_FIELDS] = {
    [CBM_LIMITS_MAX_BREAKERS] = COUNTER(cbm_info_reply, max_breakers),
    [CBM_LIMITS_MAX_RATE_LIMIT] = COUNTER(cbm_info_reply, max_rate_limit),
    [CBM_LIMITS_RATE_LIMIT_WINDOW_MS] = COUNTER(cbm_info_reply, rate_limit_window_ms),
};

const cbm_field_row cbm_user_rows[CBM_USER_FIELDS] = {
    COUNTER(cbm_user_usage, connections),   COUNTER(cbm_user_usage, ledgers),  COUNTER(cbm_user_usage, ledger_bytes),
    COUNTER(cbm_user_usage, pending_bytes), COUNTER(cbm_user_usage, breakers), COUNTER(cbm_user_usage, permits),
    COUNTER(cbm_user_usage, requests),      COUNTER(cbm_user_usage, paced),    COUNTER(cbm_user_usage, refused),
};

const cbm_field_row cbm_user_limits_rows[CBM_USER_LIMITS_FIELDS] = {
    COUNTER(cbm_user_limits, connections),    COUNTER(cbm_user_limits, ledgers),
    COUNTER(cbm_user_limits, ledger_bytes),   COUNTER(cbm_user_limits, pending_bytes),
    COUNTER(cbm_user_limits, breakers),       COUNTER(cbm_user_limits, permits),
    COUNTER(cbm_user_limits, requests_per_s),
};

const cbm_field_row cbm_reload_rows[CBM_RELOAD_FIELDS] = {
    {"asked", CBM_TYPE_U64, .offset = offsetof(cbm_info_reply, reload_asked), .maximum = UINT64_MAX},
    {"done", CBM_TYPE_U64, .offset = offsetof(cbm_info_reply, reload_done), .maximum = UINT64_MAX},
    {"success", CBM_TYPE_BOOL, .offset = offsetof(cbm_info_reply, reload_success)},
    {"message", CBM_TYPE_TEXT, SIZED(cbm_info_reply, reload_message)},
};

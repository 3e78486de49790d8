/* Requests and replies as C structs: what codec.h reads and writes, dispatch.c handles and the client asks. */
#ifndef CBM_PROTO_MESSAGE_H
#define CBM_PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbm_core.h"

#define CBM_CORRELATION_ID_MAX 128
#define CBM_PERMIT_MAX 32
#define CBM_ID_SIZE 16 /* incarnation, client, ledger, token: random */
#define CBM_REPORTS_MAX 256
#define CBM_PAGE_DEFAULT 100 /* `limit` of states and stats when none is given */
#define CBM_PAGE_MAX 256
#define CBM_TIME_MS_MAX UINT64_C(2592000000) /* of for_ms and lease_ms: 30 days, as timeout_ms */
#define CBM_USERS_MAX 256                    /* in one answer to stats */

/* The fields of a request. CBM_FIELD(NAME) is the bit in `given` and in the table of operations. */
typedef enum cbm_request_field {
    CBM_REQUEST_NAME,
    CBM_REQUEST_CORRELATION_ID, /* every operation takes it */
    CBM_REQUEST_POLICY,         /* the policy fields, flat, and `timeout` */
    CBM_REQUEST_LEDGER,
    CBM_REQUEST_ENTRY,
    CBM_REQUEST_LEASE_MS,
    CBM_REQUEST_REPORT,  /* the fields of one report, flat */
    CBM_REQUEST_REPORTS, /* the array */
    CBM_REQUEST_PATTERN,
    CBM_REQUEST_AFTER,
    CBM_REQUEST_LIMIT,
    CBM_REQUEST_REASON,
    CBM_REQUEST_FOR_MS,
    CBM_REQUEST_NONE, /* no field; ends the list */
} cbm_request_field;
#define CBM_FIELD(field) (UINT32_C(1) << CBM_REQUEST_##field)

typedef enum cbm_operation {
#define CBM_OPERATION(symbol, name, positional, takes, requires, reply, flags, help) CBM_OP_##symbol,
#include "operations.def"
#undef CBM_OPERATION
    CBM_OP_COUNT,
} cbm_operation;

enum { CBM_OPERATION_ADMIN = 1, CBM_OPERATION_CHANGES = 2 };

/* The shape of a reply's `data`. */
typedef enum cbm_reply_kind {
    CBM_REPLY_NONE,
    CBM_REPLY_STATUS, /* a state dict */
    CBM_REPLY_GET,    /* a state dict and created, policy_source, differs, slot, slot_generation, entry */
    CBM_REPLY_BEGIN,  /* permit, state, probe */
    CBM_REPLY_REPORT, /* state, stored; or results */
    CBM_REPLY_STATES, /* name -> state dict; `next` beside data */
    CBM_REPLY_STATS,  /* the spec's fields, breakers; `next` beside data */
    CBM_REPLY_REMOVED,
    CBM_REPLY_RELOAD, /* reload */
    CBM_REPLY_ATTACH,
    CBM_REPLY_PONG,
    CBM_REPLY_INFO,
} cbm_reply_kind;

typedef struct cbm_operation_row {
    const char *name;
    cbm_request_field positional;
    uint32_t takes; /* CBM_FIELD bits; correlation_id is taken by all */
    uint32_t requires;
    cbm_reply_kind reply;
    uint32_t flags;
    const char *help;
} cbm_operation_row;

extern const cbm_operation_row cbm_operations[CBM_OP_COUNT];
int cbm_operation_find(const char *name, size_t length); /* -1: unknown */

/* One report: its fields flat in call_report, or one map of `reports`. */
typedef struct cbm_report_message {
    char name[CBM_CORE_NAME_MAX + 1];
    uint8_t permit[CBM_PERMIT_MAX];
    size_t permit_size; /* 0: a report without a permit */
    cbm_core_outcome outcome;
    int64_t duration_ns; /* -1: none; `duration_ms` on the wire, int or float, 0 to 86,400,000 */
    char error_text[CBM_CORE_TEXT_MAX + 1];
    uint32_t open_for_ms; /* 0: none */
    bool has_client, has_incarnation;
    uint8_t client[CBM_ID_SIZE];
    uint64_t sequence; /* 1 and up when has_client */
    uint8_t incarnation[CBM_ID_SIZE];
    bool late;
    uint64_t count; /* 1 when not given; more than 1 with `late` only; at most 2^40 */
} cbm_report_message;

typedef struct cbm_request {
    cbm_operation op;
    uint32_t given; /* CBM_FIELD bits of what was there */
    char name[CBM_CORE_NAME_MAX + 1];
    char correlation_id[CBM_CORRELATION_ID_MAX + 1]; /* "": none */
    cbm_core_policy_request policy;
    uint8_t ledger[CBM_ID_SIZE];
    uint32_t entry;
    uint32_t lease_ms;
    cbm_report_message report;
    cbm_report_message *reports; /* owned; cbm_request_deinit */
    size_t report_count;
    char pattern[CBM_CORE_NAME_MAX + 1];
    char after[CBM_CORE_NAME_MAX + 1];
    uint32_t limit;
    char reason[CBM_CORE_TEXT_MAX + 1];
    uint32_t for_ms;
} cbm_request;

typedef struct cbm_get_reply {
    cbm_core_status status; /* slot and slot_generation are those of the status */
    bool created;
    cbm_core_policy_source policy_source;
    uint32_t differs; /* bits of policy fields; an array of names on the wire */
    int64_t entry;    /* -1: none, left out */
} cbm_get_reply;

typedef struct cbm_begin_reply {
    uint8_t permit[CBM_PERMIT_MAX];
    size_t permit_size;
    cbm_core_state state;
    bool probe;
} cbm_begin_reply;

typedef struct cbm_report_result {
    int error; /* 0, or why this one was not taken: of an array only, a single one fails as a whole */
    cbm_core_state state;
} cbm_report_result;

typedef struct cbm_report_reply {
    cbm_core_state state;
    bool stored;                /* sent only when false */
    cbm_report_result *results; /* NULL: a single report. Owned by the reply */
    size_t result_count;
} cbm_report_reply;

/* What one user uses of the broker: `users` of stats, by uid. */
typedef struct cbm_user_usage {
    uint64_t uid;
    uint64_t connections, ledgers, ledger_bytes, pending_bytes, breakers, permits; /* now */
    uint64_t requests;                                                             /* since the broker knows the user */
    uint64_t paced;   /* how often one of its connections was not read for a while */
    uint64_t refused; /* what it might not have */
} cbm_user_usage;

/* What each user may use: `user_limits` of stats. 0: no limit. */
typedef struct cbm_user_limits {
    uint64_t connections, ledgers, ledger_bytes, breakers, permits;
    uint64_t pending_bytes;  /* of a user alone: others leave it less */
    uint64_t requests_per_s; /* at which it is paced */
} cbm_user_limits;

typedef struct cbm_page_reply {
    cbm_core_stats stats;  /* CBM_REPLY_STATS */
    cbm_user_usage *users; /* owned by the reply; NULL: none, left out */
    size_t user_count;
    bool has_user_limits; /* false: left out */
    cbm_user_limits user_limits;
    char store[16];            /* of stats: "ok", "failing" or "off"; "": not told, left out */
    char store_error[160];     /* why it is failing; "": left out */
    cbm_core_status *statuses; /* owned by the reply */
    size_t count;
    bool more;
    char next[CBM_CORE_NAME_MAX + 1];
} cbm_page_reply;

typedef struct cbm_info_reply {
    char version[32];
    uint32_t pid;
    uint64_t uptime_ms;
    uint8_t incarnation[CBM_ID_SIZE];
    uint64_t max_breakers;
    uint64_t max_rate_limit;
    uint64_t rate_limit_window_ms;
    bool rate_limit_calls; /* `rate_limit_scope`: "requests" or "calls" */
    char address[256];     /* `addresses`: an array of one as yet */
    bool has_reload;       /* `reload`: left out where there is no config file */
    uint64_t reload_asked; /* how often the operation was given */
    uint64_t reload_done;  /* as of which of them the file was read */
    bool reload_success;   /* the last time */
    char reload_message[256];
    bool shared_memory; /* clients can attach */
} cbm_info_reply;

typedef struct cbm_reply {
    int error; /* 0, or CBM_PROTO_E_*: then `message` says what, and of data only retry_after_ms and field */
    char message[320];
    bool has_retry_after;
    int64_t retry_after_ms; /* -1: until somebody enables it */
    char field[32];         /* bad_request: the field to blame; "": none in particular */
    cbm_reply_kind kind;    /* of the data, with error 0 */
    union {
        cbm_core_status status;
        cbm_get_reply get;
        cbm_begin_reply begin;
        cbm_report_reply report;
        cbm_page_reply page; /* STATES and STATS */
        uint64_t removed;
        uint64_t reload; /* the number under which `info` tells what came of it */
        cbm_info_reply info;
        struct {
            uint8_t token[CBM_ID_SIZE];
            int64_t now_ns;
        } attach;
    } data;
} cbm_reply;

void cbm_request_deinit(cbm_request *request);
void cbm_reply_deinit(cbm_reply *reply);
/* Makes an initialised reply one of an error; `message` NULL: its sentence. retry_after_ms and field stay. */
void cbm_reply_fail(cbm_reply *reply, int error, const char *message);
/* Milliseconds that are enough to wait ns nanoseconds; -1 stays -1. */
int64_t cbm_ms_round_up(int64_t ns);

/*
 * What the wire carries as an opaque permit: the core's permit and the first 8 bytes of the incarnation that gave it,
 * so that one of a dead broker is known as such. 32 bytes, little-endian.
 */
size_t cbm_permit_write(uint8_t bytes[CBM_PERMIT_MAX], const cbm_core_permit *permit,
                        const uint8_t incarnation[CBM_ID_SIZE]);
/* False: not a permit. *ours: given by this incarnation. */
bool cbm_permit_read(const uint8_t *bytes, size_t size, const uint8_t incarnation[CBM_ID_SIZE], cbm_core_permit *permit,
                     bool *ours);

#endif

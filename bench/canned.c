#include "canned.h"

#include <string.h>
#include <unistd.h>

#include "codec.h"
#include "sp.h"
#include "unix_socket.h"

typedef struct canned_answer {
    uint8_t *bytes;
    size_t size;
} canned_answer;

static canned_answer replies[CBM_OP_COUNT];

static int read_whole(int fd, uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t got = read(fd, bytes, size);
        if (got <= 0)
            return -1;
        bytes += got;
        size -= (size_t)got;
    }
    return 0;
}

int bench_sp_connect(const char *path)
{
    uint8_t greeting[CBM_SP_GREETING_SIZE];
    int fd = bench_unix_connect(path);

    if (fd < 0)
        return -1;
    cbm_sp_greeting_write(greeting, CBM_SP_REQ);
    if (write(fd, greeting, sizeof(greeting)) != (ssize_t)sizeof(greeting) ||
        read_whole(fd, greeting, sizeof(greeting)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Keeps the reply, read with its frame into memory that lives as long as the process. */
static int record(int fd, const cbm_request *request, canned_answer *kept)
{
    uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX];
    cbm_buffer body, reply;
    cbm_sp_frame frame;
    cbm_sp_result got;
    size_t needed, header_size;
    int result = -1;

    cbm_buffer_init(&body, CBM_REQUEST_MAX);
    cbm_buffer_init(&reply, CBM_REPLY_MAX);
    if (cbm_request_encode(request, &body) != 0)
        goto out;
    header_size = cbm_sp_frame_write_id(header, CBM_SP_ID_BIT | 1, body.size);
    if (write(fd, header, header_size) != (ssize_t)header_size || write(fd, body.data, body.size) != (ssize_t)body.size)
        goto out;
    while ((got = cbm_sp_frame_read(reply.data, reply.size, CBM_REPLY_MAX, &frame, &needed)) == CBM_SP_MORE) {
        size_t more = needed - reply.size;
        if (cbm_buffer_reserve(&reply, more) != 0 || read_whole(fd, reply.data + reply.size, more) != 0)
            goto out;
        reply.size += more;
    }
    if (got != CBM_SP_FRAME)
        goto out;
    kept->bytes = reply.data + (frame.body - reply.data);
    kept->size = frame.body_size;
    reply.data = NULL; /* kept to the end of the process */
    result = 0;
out:
    cbm_buffer_deinit(&body);
    if (reply.data)
        cbm_buffer_deinit(&reply);
    return result;
}

int bench_canned_record(const char *path)
{
    static const cbm_operation asked[] = {CBM_OP_INFO,       CBM_OP_PING,        CBM_OP_GET,
                                          CBM_OP_CALL_BEGIN, CBM_OP_CALL_REPORT, CBM_OP_ATTACH};
    int fd = bench_sp_connect(path);
    int result = 0;

    if (fd < 0)
        return -1;
    for (size_t i = 0; result == 0 && i < sizeof(asked) / sizeof(asked[0]); i++) {
        cbm_request request = {.op = asked[i], .given = cbm_operations[asked[i]].requires};
        strcpy(request.name, "bench");
        if (asked[i] == CBM_OP_CALL_REPORT) {
            request.given = CBM_FIELD(REPORT);
            strcpy(request.report.name, "bench");
            request.report.duration_ns = -1;
            request.report.count = 1;
        }
        result = record(fd, &request, &replies[asked[i]]);
    }
    close(fd);
    return result;
}

/* The longest names first, so that none is found inside another. */
const uint8_t *bench_canned_reply(const uint8_t *body, size_t body_size, size_t *size)
{
    static const cbm_operation known[] = {CBM_OP_CALL_REPORT, CBM_OP_CALL_BEGIN, CBM_OP_ATTACH, CBM_OP_INFO,
                                          CBM_OP_GET};
    size_t head = body_size < 24 ? body_size : 24; /* `op` comes first in what our client writes */
    const canned_answer *reply = &replies[CBM_OP_PING];

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const char *name = cbm_operations[known[i]].name;
        if (memmem(body, head, name, strlen(name))) {
            reply = &replies[known[i]];
            break;
        }
    }
    *size = reply->size;
    return reply->bytes;
}

/* One thread, epoll, one read and one write a request: what the kernel and the framing alone cost. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "canned.h"
#include "peers.h"
#include "sp.h"
#include "unix_socket.h"

typedef struct connection {
    int fd;
    bool greeted;
    size_t size;
    uint8_t bytes[8192];
} connection;

static bool answer(connection *c)
{
    uint8_t out[8192];
    size_t out_size = 0, used = 0, needed;
    cbm_sp_frame frame;

    if (!c->greeted && c->size >= CBM_SP_GREETING_SIZE) {
        cbm_sp_greeting_write(out, CBM_SP_REP);
        out_size = used = CBM_SP_GREETING_SIZE;
        c->greeted = true;
    }
    while (c->greeted && cbm_sp_frame_read(c->bytes + used, c->size - used, 4096, &frame, &needed) == CBM_SP_FRAME) {
        size_t reply_size;
        const uint8_t *reply = bench_canned_reply(frame.body, frame.body_size, &reply_size);
        if (out_size + CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX + reply_size > sizeof(out))
            return false;
        out_size += cbm_sp_frame_write(out + out_size, frame.backtrace, frame.backtrace_size, reply_size);
        memcpy(out + out_size, reply, reply_size);
        out_size += reply_size;
        used += frame.size;
    }
    memmove(c->bytes, c->bytes + used, c->size - used);
    c->size -= used;
    return out_size == 0 || write(c->fd, out, out_size) == (ssize_t)out_size;
}

static bool readable(connection *c)
{
    ssize_t got = read(c->fd, c->bytes + c->size, sizeof(c->bytes) - c->size);

    if (got <= 0)
        return false;
    c->size += (size_t)got;
    return answer(c);
}

static void accept_one(int listener, int poller)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    connection *c = fd < 0 ? NULL : calloc(1, sizeof(*c));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    if (!c) {
        if (fd >= 0)
            close(fd);
        return;
    }
    c->fd = fd;
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

int bench_echo_serve(const char *path)
{
    struct epoll_event events[64], event = {.events = EPOLLIN, .data.ptr = NULL};
    int listener = bench_unix_listen(path);
    int poller = epoll_create1(EPOLL_CLOEXEC);

    if (listener < 0 || poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0)
        return -1;
    for (;;) {
        int count = epoll_wait(poller, events, 64, -1);
        for (int i = 0; i < count; i++) {
            connection *c = events[i].data.ptr;
            if (!c) {
                accept_one(listener, poller);
            } else if (!readable(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}

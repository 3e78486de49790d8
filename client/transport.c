#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "random.h"
#include "sp.h"

#define READ_SIZE ((size_t)4096)          /* room for one read, at least: any reply but a page fits */
#define KEPT_CAPACITY ((size_t)64 * 1024) /* what a buffer grew beyond this for one reply is given back */
#define TIMEOUT_SLACK_NS                                                                                               \
    (INT64_C(1) * CBM_NS_PER_MS) /* a socket timeout this near is not set anew: saves a system call */
#define ID_MASK (~CBM_SP_ID_BIT)

void cbm_transport_init(cbm_transport *transport, cbm_transport_skipped *skipped, void *skipped_context)
{
    *transport = (cbm_transport){.fd = -1, .skipped = skipped, .skipped_context = skipped_context};
    cbm_buffer_init(&transport->in, CBM_REPLY_MAX + CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX + READ_SIZE);
}

void cbm_transport_close(cbm_transport *transport)
{
    if (transport->fd >= 0)
        close(transport->fd);
    transport->fd = -1;
    cbm_buffer_clear(&transport->in); /* the memory serves the next connection */
    cbm_buffer_trim(&transport->in, KEPT_CAPACITY);
    transport->frame_size = 0;
}

void cbm_transport_deinit(cbm_transport *transport)
{
    cbm_transport_close(transport);
    cbm_buffer_deinit(&transport->in);
}

bool cbm_transport_is_open(const cbm_transport *transport)
{
    return transport->fd >= 0;
}

uint32_t cbm_transport_peer(const cbm_transport *transport)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(transport->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) || size != sizeof(peer) || peer.pid < 0)
        return 0;
    return (uint32_t)peer.pid;
}

void cbm_transport_abandon(cbm_transport *transport, bool idle)
{
    int fd = transport->fd;

    if (idle)
        cbm_buffer_deinit(&transport->in);
    cbm_transport_init(transport, transport->skipped, transport->skipped_context);
    if (fd >= 0)
        close(fd);
}

static cbm_transport_result close_as(cbm_transport *transport, cbm_transport_result why)
{
    cbm_transport_close(transport);
    return why;
}

/*
 * Gives the socket the time that is left as its timeout for sends. False: none is left. A timeout that is already about
 * right stays: one that ends early is armed again by retry_early.
 */
static bool arm_send(cbm_transport *transport, int64_t deadline_ns)
{
    int64_t *armed_ns = &transport->send_timeout_ns, left_ns = deadline_ns - cbm_clock_ns();
    struct timeval timeout;

    if (left_ns <= 0)
        return false;
    if (*armed_ns && left_ns - *armed_ns <= TIMEOUT_SLACK_NS && *armed_ns - left_ns <= TIMEOUT_SLACK_NS)
        return true;
    timeout.tv_sec = left_ns / CBM_NS_PER_S;
    timeout.tv_usec = left_ns % CBM_NS_PER_S / CBM_NS_PER_US;
    if (timeout.tv_sec == 0 && timeout.tv_usec == 0)
        timeout.tv_usec = 1; /* 0 would be for ever */
    if (setsockopt(transport->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)))
        return false;
    *armed_ns = left_ns;
    return true;
}

/* After a socket's timeout: whether the deadline is still to come, for which it is then armed anew. */
static bool retry_early(cbm_transport *transport, int64_t deadline_ns)
{
    transport->send_timeout_ns = 0;
    return cbm_clock_ns() < deadline_ns;
}

static bool would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

/* The backlog may be full: connect() then waits as long as a send may, while poll() would say writable at once. */
static cbm_transport_result connect_socket(cbm_transport *transport, const cbm_endpoint *endpoint, int64_t deadline_ns)
{
    for (;;) {
        if (!arm_send(transport, deadline_ns))
            return CBM_TRANSPORT_TIMEOUT;
        if (connect(transport->fd, (const struct sockaddr *)&endpoint->socket, endpoint->socket_size) == 0)
            return CBM_TRANSPORT_OK;
        if (would_block(errno) && !retry_early(transport, deadline_ns))
            return CBM_TRANSPORT_TIMEOUT;
        if (errno == EACCES || errno == EPERM)
            return CBM_TRANSPORT_DENIED;
        if (!would_block(errno) && errno != EINTR)
            return CBM_TRANSPORT_UNREACHABLE;
    }
}

/* Sends all of the parts, or says in *sent how much went. */
static cbm_transport_result send_all(cbm_transport *transport, struct iovec *parts, size_t count, int64_t deadline_ns,
                                     size_t *sent)
{
    *sent = 0;
    while (count > 0) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t size;

        if (!arm_send(transport, deadline_ns))
            return CBM_TRANSPORT_TIMEOUT;
        size = sendmsg(transport->fd, &message, MSG_NOSIGNAL);
        if (size < 0) {
            if (errno == EINTR || (would_block(errno) && retry_early(transport, deadline_ns)))
                continue;
            return would_block(errno) ? CBM_TRANSPORT_TIMEOUT : CBM_TRANSPORT_LOST;
        }
        *sent += (size_t)size;
        while (count > 0 && (size_t)size >= parts->iov_len) {
            size -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + size;
            parts->iov_len -= (size_t)size;
        }
    }
    return CBM_TRANSPORT_OK;
}

static uint32_t take_id(cbm_transport *transport)
{
    uint32_t id = transport->next_id;

    transport->next_id = (transport->next_id + 1) & ID_MASK;
    return id | CBM_SP_ID_BIT;
}

/* Never a standard descriptor: what a program that has closed them writes there would go to the broker. */
static int new_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int higher;

    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return higher;
}

cbm_transport_result cbm_transport_open(cbm_transport *transport, const cbm_endpoint *endpoint, const void *body,
                                        size_t size, int64_t deadline_ns, uint32_t *id)
{
    uint8_t greeting[CBM_SP_GREETING_SIZE];
    uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX];
    struct iovec parts[3];
    cbm_transport_result result;
    size_t sent;

    transport->fd = new_socket();
    if (transport->fd < 0)
        return CBM_TRANSPORT_UNREACHABLE;
    transport->greeted = false;
    transport->send_timeout_ns = 0;
    cbm_random(&transport->first_id, sizeof(transport->first_id));
    transport->first_id &= ID_MASK;
    transport->next_id = transport->first_id;

    result = connect_socket(transport, endpoint, deadline_ns);
    if (result)
        return close_as(transport, result);
    if (!cbm_endpoint_trusted(endpoint, transport->fd))
        return close_as(transport, CBM_TRANSPORT_UNTRUSTED);
    *id = take_id(transport);
    cbm_sp_greeting_write(greeting, CBM_SP_REQ);
    parts[0] = (struct iovec){greeting, sizeof(greeting)};
    parts[1] = (struct iovec){header, cbm_sp_frame_write_id(header, *id, size)};
    parts[2] = (struct iovec){(void *)(uintptr_t)body, size};
    result = send_all(transport, parts, 3, deadline_ns, &sent);
    return result ? close_as(transport, result) : CBM_TRANSPORT_OK;
}

cbm_transport_result cbm_transport_send(cbm_transport *transport, const void *body, size_t size, int64_t deadline_ns,
                                        uint32_t *id)
{
    uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX];
    struct iovec parts[2];
    cbm_transport_result result;
    size_t sent;

    *id = take_id(transport);
    parts[0] = (struct iovec){header, cbm_sp_frame_write_id(header, *id, size)};
    parts[1] = (struct iovec){(void *)(uintptr_t)body, size};
    result = send_all(transport, parts, 2, deadline_ns, &sent);
    if (result == CBM_TRANSPORT_LOST || (result && sent > 0))
        cbm_transport_close(transport);
    return result;
}

/*
 * False: the deadline came. It waits in ppoll() and not in recv(), where the kernel would wake it once more for nothing: when the broker
 * takes the request there is room to write again, and who sleeps in recv() cannot say that it has no use for that.
 */
static bool await_bytes(const cbm_transport *transport, int64_t deadline_ns)
{
    struct pollfd bytes = {.fd = transport->fd, .events = POLLIN};

    for (;;) {
        int64_t left_ns = deadline_ns - cbm_clock_ns();
        struct timespec left = {.tv_sec = left_ns / CBM_NS_PER_S, .tv_nsec = left_ns % CBM_NS_PER_S};
        int ready;

        if (left_ns <= 0)
            return false;
        ready = ppoll(&bytes, 1, &left, NULL);
        if (ready > 0 || (ready < 0 && errno != EINTR))
            return true; /* what is wrong recv() says */
    }
}

/* Reads what there is, waiting for some. `needed`: bytes in all that are known to be needed. */
static cbm_transport_result read_more(cbm_transport *transport, size_t needed, int64_t deadline_ns)
{
    cbm_buffer *in = &transport->in;
    size_t missing = needed > in->size ? needed - in->size : 1;
    ssize_t got;

    if (in->capacity - in->size < missing && cbm_buffer_reserve(in, missing > READ_SIZE ? missing : READ_SIZE))
        return close_as(transport, CBM_TRANSPORT_NOMEM);
    for (;;) {
        if (!await_bytes(transport, deadline_ns))
            return CBM_TRANSPORT_TIMEOUT;
        got = recv(transport->fd, in->data + in->size, in->capacity - in->size, MSG_DONTWAIT);
        if (got > 0)
            break;
        if (got == 0)
            return close_as(transport, CBM_TRANSPORT_LOST);
        if (!would_block(errno) && errno != EINTR)
            return close_as(transport, CBM_TRANSPORT_LOST);
    }
    in->size += (size_t)got;
    return CBM_TRANSPORT_OK;
}

static cbm_transport_result receive_greeting(cbm_transport *transport, int64_t deadline_ns)
{
    cbm_buffer *in = &transport->in;

    for (;;) {
        cbm_transport_result result;

        if (!cbm_sp_greeting_plausible(in->data, in->size < CBM_SP_GREETING_SIZE ? in->size : CBM_SP_GREETING_SIZE))
            return close_as(transport, CBM_TRANSPORT_BROKEN);
        if (in->size >= CBM_SP_GREETING_SIZE)
            break;
        result = read_more(transport, CBM_SP_GREETING_SIZE, deadline_ns);
        if (result)
            return result;
    }
    if (cbm_sp_greeting_protocol(in->data) != CBM_SP_REP)
        return close_as(transport, CBM_TRANSPORT_BROKEN);
    cbm_buffer_consume(in, CBM_SP_GREETING_SIZE);
    transport->greeted = true;
    return CBM_TRANSPORT_OK;
}

static void drop_frame(cbm_transport *transport)
{
    cbm_buffer *in = &transport->in;

    cbm_buffer_consume(in, transport->frame_size);
    transport->frame_size = 0;
    cbm_buffer_trim(in, KEPT_CAPACITY);
}

/* Whether a request of that id was sent on this connection before `id`. */
static bool is_older(const cbm_transport *transport, uint32_t reply_id, uint32_t id)
{
    return ((reply_id - transport->first_id) & ID_MASK) < ((id - transport->first_id) & ID_MASK);
}

cbm_transport_result cbm_transport_receive(cbm_transport *transport, uint32_t id, int64_t deadline_ns,
                                           const uint8_t **body, size_t *size)
{
    cbm_transport_result result;
    cbm_sp_frame frame;
    size_t needed = 0;

    drop_frame(transport);
    if (!transport->greeted) {
        result = receive_greeting(transport, deadline_ns);
        if (result)
            return result;
    }
    for (;;) {
        switch (cbm_sp_frame_read(transport->in.data, transport->in.size, CBM_REPLY_MAX, &frame, &needed)) {
        case CBM_SP_FRAME: break;
        case CBM_SP_MORE:
            result = read_more(transport, needed, deadline_ns);
            if (result)
                return result;
            continue;
        default: return close_as(transport, CBM_TRANSPORT_BROKEN);
        }
        transport->frame_size = frame.size;
        if (frame.id == id && frame.backtrace_size == CBM_SP_ID_SIZE)
            break;
        if (frame.backtrace_size != CBM_SP_ID_SIZE || !is_older(transport, frame.id, id))
            return close_as(transport, CBM_TRANSPORT_BROKEN);
        transport->skipped(transport->skipped_context, frame.id, frame.body, frame.body_size);
        drop_frame(transport);
    }
    *body = frame.body;
    *size = frame.body_size;
    return CBM_TRANSPORT_OK;
}

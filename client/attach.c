#include "attach.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "broker.h"
#include "client.h"
#include "clock.h"
#include "handshake.h"

#define RETRY_FIRST_NS CBM_NS_PER_S
#define RETRY_LONGEST_NS (60 * CBM_NS_PER_S)
#define DESCRIPTORS_TAKEN 4 /* room for more than the one that is expected, so that none is left open unseen */

/* ---- The other socket -------------------------------------------------------------------------------------------- */

/* Gives what follows on the socket the time that is left. */
static bool arm(int fd, int64_t deadline_ns)
{
    int64_t left_ns = deadline_ns - cbm_clock_ns();
    struct timeval timeout = {left_ns / CBM_NS_PER_S, left_ns % CBM_NS_PER_S / CBM_NS_PER_US};

    if (left_ns < CBM_NS_PER_US)
        return false;
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0;
}

/* -1: nobody is there, or nobody to be trusted. */
static int dial(const cbm_endpoint *endpoint, int64_t deadline_ns)
{
    struct sockaddr_un address;
    socklen_t size;
    int fd;

    if (!cbm_endpoint_beside(endpoint, CBM_SHM_SUFFIX, &address, &size))
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (arm(fd, deadline_ns)) {
        while (connect(fd, (const struct sockaddr *)&address, size)) {
            if (errno == EISCONN)
                break;
            if (errno != EINTR || !arm(fd, deadline_ns))
                goto failed;
        }
        if (cbm_endpoint_trusted(endpoint, fd))
            return fd;
    }
failed:
    close(fd);
    return -1;
}

static bool send_request(int fd, const uint8_t token[CBM_ID_SIZE], int ledger_fd, int64_t deadline_ns)
{
    cbm_attach_request request = {.magic = CBM_ATTACH_MAGIC, .version = CBM_ATTACH_VERSION};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {&request, sizeof(request)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    memcpy(request.token, token, CBM_ID_SIZE);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &ledger_fd, sizeof(int));
    while (arm(fd, deadline_ns)) {
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);

        if (sent >= 0)
            return sent == sizeof(request);
        if (errno != EINTR)
            return false;
    }
    return false;
}

/* The descriptor that came with a message, or -1; more than that one are closed. */
static int take_descriptor(struct msghdr *message)
{
    int taken = -1;

    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        size_t count;

        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            if (taken < 0)
                taken = fd;
            else
                close(fd);
        }
    }
    return taken;
}

/* The board's descriptor, or -1. */
static int receive_reply(int fd, cbm_attach_reply *reply, int64_t deadline_ns)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(DESCRIPTORS_TAKEN * sizeof(int))];
    } control;
    struct iovec part = {reply, sizeof(*reply)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.bytes)};
    ssize_t got = -1;
    int board_fd;

    while (got < 0) {
        if (!arm(fd, deadline_ns))
            return -1;
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno != EINTR)
            return -1;
    }
    board_fd = take_descriptor(&message);
    if (got == sizeof(*reply) && !(message.msg_flags & MSG_TRUNC) && reply->magic == CBM_ATTACH_MAGIC &&
        reply->version == CBM_ATTACH_VERSION && reply->result == 0)
        return board_fd;
    if (board_fd >= 0)
        close(board_fd);
    return -1;
}

/* The broker closes when it has taken the ledger over: from then on it knows of it. */
static bool acknowledge(int fd, int64_t deadline_ns)
{
    const uint8_t byte = CBM_ATTACH_ACKNOWLEDGE;
    uint8_t more;
    ssize_t got;

    if (!arm(fd, deadline_ns) || send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
        return false;
    do {
        got = recv(fd, &more, 1, 0);
    } while (got < 0 && errno == EINTR && arm(fd, deadline_ns));
    return got == 0;
}

/* ---- Attaching ---------------------------------------------------------------------------------------------------- */

static bool ask_for_token(cbm_client *client, uint8_t token[CBM_ID_SIZE], int64_t deadline_ns)
{
    cbm_request request = {.op = CBM_OP_ATTACH};
    cbm_link_reply answer;
    cbm_reply reply;

    if (cbm_broker_round_trip(&client->link, &request, deadline_ns, &reply, &answer))
        return false;
    if (!reply.error)
        memcpy(token, reply.data.attach.token, CBM_ID_SIZE);
    cbm_reply_deinit(&reply);
    return !reply.error;
}

/* The places that are known are those of another board from now on. */
static void forget_places(cbm_client *client)
{
    pthread_mutex_lock(&client->lock);
    for (cbm_breaker *breaker = client->registry.first; breaker; breaker = breaker->following) {
        cbm_known_look(client, breaker);
        atomic_store_explicit(&breaker->place, CBM_PLACE_NONE, memory_order_release);
        breaker->place_retry_ns = 0;
    }
    pthread_mutex_unlock(&client->lock);
}

static bool exchange_pages(cbm_client *client, int fd, int ledger_fd, const uint8_t token[CBM_ID_SIZE],
                           int64_t deadline_ns)
{
    int64_t asked_ns = cbm_clock_ns();
    cbm_attach_reply reply;
    bool done = false;
    int board_fd;

    if (!send_request(fd, token, ledger_fd, deadline_ns))
        return false;
    board_fd = receive_reply(fd, &reply, deadline_ns);
    if (board_fd < 0)
        return false;
    /* Times on the board mean nothing in another time namespace. */
    if (reply.now_ns >= asked_ns && reply.now_ns <= cbm_clock_ns() && reply.ledger_size == CBM_LEDGER_SIZE &&
        cbm_memory_check_board(board_fd, reply.board_size, client->link.incarnation) && acknowledge(fd, deadline_ns))
        done = cbm_memory_map_board(client, board_fd, reply.board_size);
    close(board_fd);
    return done;
}

static void detach(cbm_client *client, int64_t deadline_ns)
{
    cbm_request request = {.op = CBM_OP_DETACH, .given = CBM_FIELD(LEDGER)};
    cbm_link_reply answer;
    cbm_reply reply;

    memcpy(request.ledger, client->memory.ledger_id, CBM_ID_SIZE);
    if (cbm_broker_round_trip(&client->link, &request, deadline_ns, &reply, &answer) == 0)
        cbm_reply_deinit(&reply);
}

/* What was taken of a ledger that has ended is forgotten: brought again, all of it would be counted again. */
static void end_ledger(cbm_client *client, int64_t deadline_ns)
{
    if (!client->attachment.ledger_over)
        return;
    detach(client, deadline_ns); /* it may not have ended after all */
    cbm_memory_end_ledger(client);
    client->attachment.ledger_over = false;
}

static bool try_to_attach(cbm_client *client, int64_t deadline_ns)
{
    const cbm_endpoint *endpoint = &client->link.endpoints[atomic_load(&client->link.endpoint)];
    uint8_t token[CBM_ID_SIZE];
    int ledger_fd;
    bool done;
    int fd;

    end_ledger(client, deadline_ns);
    ledger_fd = cbm_memory_ledger(client);
    if (ledger_fd < 0 || !ask_for_token(client, token, deadline_ns))
        return false;
    fd = dial(endpoint, deadline_ns);
    if (fd < 0)
        return false;
    done = exchange_pages(client, fd, ledger_fd, token, deadline_ns);
    close(fd);
    return done;
}

static bool is_attached(const cbm_client *client)
{
    const cbm_attachment *attachment = &client->attachment;
    const cbm_link *link = &client->link;

    /* Where the broker does not see who its peers are, the ledger ended with the connection. */
    return attachment->life == link->life && (link->sees_peers || attachment->connection == link->connections);
}

static void note_failure(cbm_attachment *attachment)
{
    attachment->retry_step_ns = attachment->retry_step_ns ? attachment->retry_step_ns * 2 : RETRY_FIRST_NS;
    if (attachment->retry_step_ns > RETRY_LONGEST_NS)
        attachment->retry_step_ns = RETRY_LONGEST_NS;
    attachment->retry_at_ns = cbm_clock_ns() + attachment->retry_step_ns;
}

void cbm_attach_check(cbm_client *client)
{
    cbm_attachment *attachment = &client->attachment;

    if (!attachment->life || is_attached(client))
        return;
    atomic_store(&client->attached, false);
    attachment->ledger_over = attachment->life == client->link.life;
    attachment->life = 0;
    forget_places(client);
}

void cbm_attach(cbm_client *client, int64_t deadline_ns)
{
    cbm_attachment *attachment = &client->attachment;
    const cbm_link *link = &client->link;
    int64_t now_ns;

    if (!client->shares_memory || is_attached(client))
        return;
    cbm_attach_check(client);
    /* Where the rate limit counts calls, every one of them goes to the broker anyway. */
    if (!link->has_incarnation || link->limits_calls)
        return;
    now_ns = cbm_clock_ns();
    if (attachment->tried_life != link->life)
        attachment->retry_step_ns = 0;
    else if (attachment->retry_step_ns && now_ns < attachment->retry_at_ns)
        return;
    attachment->tried_life = link->life;
    if (!try_to_attach(client, now_ns + (deadline_ns - now_ns) / 2)) {
        note_failure(attachment);
        return;
    }
    attachment->retry_step_ns = 0;
    attachment->life = link->life;
    attachment->connection = link->connections;
    atomic_store(&client->attached, true);
}

void cbm_attach_end(cbm_client *client, int64_t deadline_ns)
{
    if (!(atomic_load(&client->attached) || client->attachment.ledger_over) || !cbm_board_alive(client->board))
        return;
    if (cbm_link_enter(&client->link, deadline_ns))
        return;
    if (cbm_link_connect(&client->link, deadline_ns) == 0)
        detach(client, deadline_ns);
    cbm_link_leave(&client->link);
}

void cbm_attach_renew(cbm_client *client)
{
    client->attachment = (cbm_attachment){0};
    atomic_store_explicit(&client->attached, false, memory_order_relaxed);
    cbm_memory_renew(client);
    cbm_registry_leave_board(&client->registry);
    for (cbm_breaker *breaker = client->registry.first; breaker; breaker = breaker->following) {
        breaker->entry = CBM_NO_ENTRY;
        breaker->place_retry_ns = 0;
    }
}

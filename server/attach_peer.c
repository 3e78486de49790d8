#include "attach_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "handshake.h"
#include "ledger_file.h"

/* As many as a message can carry, so that none is left for the kernel to close as it likes. */
#define DESCRIPTORS_TAKEN 253

/* What a message brought. */
typedef struct incoming {
    ssize_t size;
    int descriptors[DESCRIPTORS_TAKEN];
    size_t count;
    bool cut;  /* there were more bytes */
    bool lost; /* there were more descriptors */
} incoming;

cbm_attach_peer *cbm_attach_peer_new(int descriptor, int64_t now_ns)
{
    cbm_attach_peer *peer = calloc(1, sizeof *peer);
    struct ucred credentials;
    socklen_t size = sizeof credentials;

    if (!peer || getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
        close(descriptor);
        free(peer);
        return NULL;
    }
    peer->source = CBM_ATTACH_PEER;
    peer->descriptor = descriptor;
    peer->uid = credentials.uid;
    peer->pid = credentials.pid;
    peer->deadline_ns = now_ns + CBM_ATTACH_PATIENCE_NS;
    peer->process = -1;
    return peer;
}

void cbm_attach_peer_free(cbm_attach_peer *peer)
{
    cbm_ledger_file_unmap(peer->ledger);
    if (peer->process >= 0)
        close(peer->process);
    close(peer->descriptor);
    free(peer);
}

/* ---- Messages ------------------------------------------------------------------------------------------------------ */

static void take_descriptors(incoming *message, struct msghdr *header)
{
    message->count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
        size_t count;

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (count > DESCRIPTORS_TAKEN - message->count)
            count = DESCRIPTORS_TAKEN - message->count;
        memcpy(message->descriptors + message->count, CMSG_DATA(part), count * sizeof(int));
        message->count += count;
    }
}

/* 0, CBM_ATTACH_NOTHING or CBM_ATTACH_GONE. */
static int receive(const cbm_attach_peer *peer, void *bytes, size_t size, incoming *message)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(DESCRIPTORS_TAKEN * sizeof(int))];
    } control;
    struct iovec part = {bytes, size};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.bytes};

    message->size = recvmsg(peer->descriptor, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    message->count = 0;
    if (message->size < 0)
        return errno == EAGAIN || errno == EINTR ? CBM_ATTACH_NOTHING : CBM_ATTACH_GONE;
    take_descriptors(message, &header);
    message->cut = (header.msg_flags & MSG_TRUNC) != 0;
    message->lost = (header.msg_flags & MSG_CTRUNC) != 0;
    return message->size == 0 && message->count == 0 ? CBM_ATTACH_GONE : 0;
}

static void close_all(const incoming *message)
{
    for (size_t i = 0; i < message->count; i++)
        close(message->descriptors[i]);
}

/* Descriptor -1: none. */
static bool send_reply(const cbm_attach_peer *peer, const cbm_attach_reply *reply, int descriptor)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)reply, sizeof *reply};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (descriptor >= 0) {
        struct cmsghdr *header = &control.header;

        message.msg_control = &control;
        message.msg_controllen = sizeof control.bytes;
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    return sendmsg(peer->descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof *reply;
}

static cbm_attach_reply reply_with(int result, const uint8_t *incarnation)
{
    cbm_attach_reply reply = {
        .magic = CBM_ATTACH_MAGIC,
        .version = CBM_ATTACH_VERSION,
        .result = result,
        .now_ns = cbm_clock_ns(),
        .ledger_size = CBM_LEDGER_SIZE,
    };

    memcpy(reply.incarnation, incarnation, sizeof reply.incarnation);
    return reply;
}

/* ---- The steps ----------------------------------------------------------------------------------------------------- */

static int refused(cbm_attach_peer *peer, int error, const char *why)
{
    peer->why = why;
    return error;
}

/* A request that is one, from somebody who was told to come. */
static int judge(cbm_attach_peer *peer, const cbm_attach_request *request, const incoming *message, cbm_tokens *tokens,
                 int64_t now_ns)
{
    if (message->size != sizeof *request || message->cut || request->magic != CBM_ATTACH_MAGIC)
        return CBM_ATTACH_GONE;
    if (request->version != CBM_ATTACH_VERSION)
        return refused(peer, CBM_PROTO_E_UNSUPPORTED, "it speaks another version");
    if (!cbm_tokens_redeem(tokens, request->token, peer->uid, peer->pid, now_ns, &peer->owner))
        return refused(peer, CBM_PROTO_E_DENIED, "its token was not given to it, or was used already");
    /* Then the kernel had no place for it among this process's descriptors. */
    if (message->count == 0 && message->lost)
        return refused(peer, CBM_PROTO_E_FULL, "the broker has no descriptors left");
    if (message->count != 1 || message->lost)
        return CBM_ATTACH_GONE;
    return cbm_ledger_file_map(message->descriptors[0], &peer->ledger, &peer->why);
}

int cbm_attach_peer_request(cbm_attach_peer *peer, cbm_tokens *tokens, int64_t now_ns)
{
    cbm_attach_request request = {0};
    incoming message;
    int result = receive(peer, &request, sizeof request, &message);

    if (result != 0)
        return result;
    result = judge(peer, &request, &message, tokens, now_ns);
    close_all(&message);
    if (result == 0) {
        peer->stage = CBM_ATTACH_WAITING;
        peer->deadline_ns = INT64_MAX;
    }
    return result;
}

/* Before the acknowledgement comes: who sends it lives, so the number was not given to another process meanwhile. */
static int open_process(cbm_attach_peer *peer)
{
    if (peer->pid == 0)
        return 0; /* the end of its connection is all that there will be to see */
    peer->process = pidfd_open((pid_t)peer->pid, 0);
    if (peer->process >= 0)
        return 0;
    switch (errno) {
    case EMFILE:
    case ENFILE: return refused(peer, CBM_PROTO_E_FULL, "the broker has no descriptors left");
    case ENOMEM: return refused(peer, CBM_PROTO_E_NOMEM, "the broker has no memory left");
    case ESRCH: return CBM_ATTACH_GONE;
    default: return refused(peer, CBM_PROTO_E_UNSUPPORTED, "its process cannot be watched");
    }
}

int cbm_attach_peer_reply(cbm_attach_peer *peer, const cbm_publisher *publisher, const uint8_t *incarnation)
{
    int result = open_process(peer);
    cbm_attach_reply reply;

    if (result != 0)
        return result;
    reply = reply_with(0, incarnation);
    reply.board_size = cbm_publisher_size(publisher);
    if (!send_reply(peer, &reply, cbm_publisher_descriptor(publisher))) {
        /* So many of the broker's user are under way to those who do not take them. */
        if (errno == ETOOMANYREFS || errno == ENOMEM || errno == ENOBUFS)
            return refused(peer, CBM_PROTO_E_FULL, "the broker cannot pass more descriptors");
        return CBM_ATTACH_GONE;
    }
    peer->stage = CBM_ATTACH_REPLIED;
    peer->deadline_ns = cbm_clock_ns() + CBM_ATTACH_PATIENCE_NS;
    return 0;
}

int cbm_attach_peer_acknowledgement(const cbm_attach_peer *peer)
{
    uint8_t byte = 0;
    incoming message;
    int result = receive(peer, &byte, sizeof byte, &message);

    if (result != 0)
        return result;
    close_all(&message);
    if (message.size != 1 || message.cut || byte != CBM_ATTACH_ACKNOWLEDGE || message.count || message.lost)
        return CBM_ATTACH_GONE;
    return 0;
}

void cbm_attach_peer_refuse(const cbm_attach_peer *peer, int result, const uint8_t *incarnation)
{
    cbm_attach_reply reply = reply_with(result, incarnation);

    (void)send_reply(peer, &reply, -1);
}

#include "shm_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ledger.h"

#define DESCRIPTORS_MAX 16
#define PATIENT_MS 20000

int shm_connect(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t size = strlen(path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0 || size + sizeof CBM_SHM_SUFFIX > sizeof name.sun_path)
        return -1;
    memcpy(name.sun_path, path, size);
    memcpy(name.sun_path + size, CBM_SHM_SUFFIX, sizeof CBM_SHM_SUFFIX);
    size += offsetof(struct sockaddr_un, sun_path) + sizeof CBM_SHM_SUFFIX;
    if (path[0] == '@') {
        name.sun_path[0] = '\0';
        size--; /* no zero byte ends such a name */
    }
    if (connect(fd, (struct sockaddr *)&name, (socklen_t)size) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

int shm_make_ledger(const uint8_t id[CBM_ID_SIZE], size_t size, int seals, unsigned more_flags)
{
    int fd = memfd_create("test-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING | more_flags);
    cbm_ledger *ledger;

    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        return -1;
    if (size >= sizeof(cbm_ledger)) {
        ledger = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (ledger == MAP_FAILED) {
            close(fd);
            return -1;
        }
        cbm_ledger_init(ledger, id);
        munmap(ledger, size);
    }
    if (seals)
        (void)fcntl(fd, F_ADD_SEALS, seals);
    return fd;
}

int shm_good_ledger(uint8_t id[CBM_ID_SIZE])
{
    if (getrandom(id, CBM_ID_SIZE, 0) != CBM_ID_SIZE)
        return -1;
    return shm_make_ledger(id, CBM_LEDGER_SIZE, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, 0);
}

bool shm_send(int fd, const void *bytes, size_t size, const int *descriptors, size_t count)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (count) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), descriptors, count * sizeof(int));
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)size;
}

bool shm_request(int fd, const uint8_t token[CBM_ID_SIZE], int ledger)
{
    cbm_attach_request request = {.magic = CBM_ATTACH_MAGIC, .version = CBM_ATTACH_VERSION};

    memcpy(request.token, token, CBM_ID_SIZE);
    return shm_send(fd, &request, sizeof request, &ledger, 1);
}

bool shm_acknowledge(int fd)
{
    const uint8_t byte = CBM_ATTACH_ACKNOWLEDGE;

    return shm_send(fd, &byte, 1, NULL, 0);
}

shm_answer shm_receive(int fd, cbm_attach_reply *reply, int *board, int deadline_ms)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {reply, sizeof *reply};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.bytes};
    struct pollfd event = {fd, POLLIN, 0};
    int passed = -1;
    ssize_t got;

    if (board)
        *board = -1;
    if (poll(&event, 1, deadline_ms) != 1)
        return SHM_SILENCE;
    got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return got == 0 ? SHM_END : SHM_RESET;
    if (message.msg_controllen && CMSG_FIRSTHDR(&message))
        memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof passed);
    if (board)
        *board = passed;
    else if (passed >= 0)
        close(passed);
    return got == sizeof *reply ? SHM_REPLY : SHM_RESET;
}

static int handshake(int fd, const uint8_t token[CBM_ID_SIZE], int ledger, int *board)
{
    cbm_attach_reply reply;

    if (!shm_request(fd, token, ledger) || shm_receive(fd, &reply, board, PATIENT_MS) != SHM_REPLY)
        return 1;
    if (reply.result != 0)
        return reply.result;
    if (!shm_acknowledge(fd))
        return 1;
    switch (shm_receive(fd, &reply, NULL, PATIENT_MS)) {
    case SHM_END: return 0;
    case SHM_REPLY: return reply.result;
    default: return 1;
    }
}

int shm_attach(const char *path, const uint8_t token[CBM_ID_SIZE], int ledger, int *board)
{
    int fd = shm_connect(path), passed = -1, result = 1;

    if (fd < 0)
        return 1;
    result = handshake(fd, token, ledger, &passed);
    close(fd);
    if (board)
        *board = passed;
    else if (passed >= 0)
        close(passed);
    return result;
}

#include "harness.h"

#include <endian.h>
#include <errno.h>
#include <msgpack.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_DEADLINE_MS 10000

static socklen_t socket_address(const char *address, struct sockaddr_un *name)
{
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    const char *abstract = "abstract://", *ipc = "ipc://";
    if (strncmp(address, abstract, strlen(abstract)) == 0) {
        const char *text = address + strlen(abstract);
        memcpy(name->sun_path + 1, text, strlen(text));
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text));
    }
    MUST(strncmp(address, ipc, strlen(ipc)) == 0);
    MUST(strlen(address) - strlen(ipc) < sizeof name->sun_path);
    strcpy(name->sun_path, address + strlen(ipc));
    return sizeof *name;
}

int raw_try_connect(const char *address, bool nonblocking)
{
    struct sockaddr_un name;
    socklen_t size = socket_address(address, &name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
    if (fd < 0)
        return -1;
    /* connect() waits for room in the backlog as long as a send may take. */
    struct timeval deadline = {.tv_sec = SEND_DEADLINE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
    if (connect(fd, (struct sockaddr *)&name, size) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int raw_connect(const char *address)
{
    int fd = raw_try_connect(address, false);
    if (fd < 0)
        harness_fail("connect to %s: %s", address, strerror(errno));
    return fd;
}

bool raw_accepts(void *address)
{
    int fd = raw_try_connect(address, false);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

int raw_greeted(const char *address)
{
    int fd = raw_connect(address);
    char greeting[8];
    MUST(raw_send(fd, RAW_GREETING_REQ, 8));
    MUST(raw_receive(fd, greeting, 8, HARNESS_DEADLINE_MS));
    MUST(memcmp(greeting, "\0SP\0\0\x31\0\0", 8) == 0);
    return fd;
}

bool raw_send(int fd, const void *bytes, size_t size)
{
    const char *rest = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, rest, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd event = {fd, POLLOUT, 0};
            if (poll(&event, 1, SEND_DEADLINE_MS) <= 0)
                return false;
            continue;
        }
        if (sent < 0)
            return false;
        rest += sent;
        size -= (size_t)sent;
    }
    return true;
}

size_t raw_send_until_blocked(int fd, const void *bytes, size_t size, size_t most)
{
    size_t total = 0;
    struct pollfd event = {fd, POLLOUT, 0};
    while (total < most && poll(&event, 1, 300) > 0) {
        size_t from = total % size;
        ssize_t sent = send(fd, (const char *)bytes + from, size - from, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            break;
        total += sent > 0 ? (size_t)sent : 0;
    }
    return total;
}

/* What a read gave once there was something: 0 at the end, -1 for an error or at the deadline. */
static ssize_t receive_some(int fd, void *bytes, size_t size, int64_t end_ms)
{
    for (;;) {
        struct pollfd event = {fd, POLLIN, 0};
        int64_t left = end_ms - clock_ms();
        if (poll(&event, 1, left > 0 ? (int)left : 0) <= 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        ssize_t got = recv(fd, bytes, size, MSG_DONTWAIT);
        if (got >= 0 || errno != EAGAIN)
            return got;
    }
}

bool raw_receive(int fd, void *bytes, size_t size, int deadline_ms)
{
    int64_t end = clock_ms() + deadline_ms;
    for (size_t done = 0; done < size;) {
        ssize_t got = receive_some(fd, (char *)bytes + done, size - done, end);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

bool raw_closed_within(int fd, int deadline_ms)
{
    int64_t end = clock_ms() + deadline_ms;
    char bytes[4096];
    ssize_t got;
    while ((got = receive_some(fd, bytes, sizeof bytes, end)) > 0)
        continue;
    return got == 0 || errno == ECONNRESET;
}

size_t raw_frame(uint8_t *frame, uint32_t id, const void *body, size_t size)
{
    uint64_t length = htobe64(size + 4);
    uint32_t word = htobe32(id | UINT32_C(0x80000000));
    frame[0] = 1;
    memcpy(frame + 1, &length, 8);
    memcpy(frame + 9, &word, 4);
    memcpy(frame + 13, body, size);
    return size + 13;
}

bool raw_request(int fd, uint32_t id, const void *body, size_t size)
{
    uint8_t *frame = malloc(size + 13);
    MUST(frame != NULL);
    bool sent = raw_send(fd, frame, raw_frame(frame, id, body, size));
    free(frame);
    return sent;
}

char *raw_reply(int fd, uint32_t *id, size_t *size, int deadline_ms)
{
    uint8_t header[13];
    if (!raw_receive(fd, header, sizeof header, deadline_ms))
        return NULL;
    uint64_t length;
    uint32_t word;
    memcpy(&length, header + 1, 8);
    memcpy(&word, header + 9, 4);
    length = be64toh(length);
    MUST(header[0] == 1 && length >= 4 && length <= RAW_REPLY_MAX);
    MUST((be32toh(word) & UINT32_C(0x80000000)) != 0);
    if (id != NULL)
        *id = be32toh(word) & UINT32_C(0x7fffffff);
    char *body = malloc(length - 4 + 1);
    MUST(body != NULL);
    if (!raw_receive(fd, body, length - 4, deadline_ms)) {
        free(body);
        return NULL;
    }
    body[length - 4] = '\0';
    if (size != NULL)
        *size = length - 4;
    return body;
}

json_t *ask_on(int fd, const char *command)
{
    static uint32_t next_id = 1;
    uint32_t asked = next_id++, answered = 0;
    MUST(raw_request(fd, asked, command, strlen(command)));
    char *text = raw_reply(fd, &answered, NULL, HARNESS_DEADLINE_MS);
    if (text == NULL)
        harness_fail("'%s' was not answered", command);
    MUST(answered == asked);
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);
    if (json == NULL || !json_is_boolean(json_object_get(json, "success")))
        harness_fail("'%s' was not answered in JSON: %s", command, text);
    free(text);
    return json;
}

json_t *ask(const char *address, const char *command)
{
    int fd = raw_greeted(address);
    json_t *json = ask_on(fd, command);
    close(fd);
    return json;
}

json_t *ask_state(const char *address, const char *name)
{
    char command[256];
    snprintf(command, sizeof command, "states %s", name);
    json_t *json = ask(address, command);
    MUST(json_is_true(json_object_get(json, "success")));
    json_t *state = json_incref(json_object_get(json_object_get(json, "data"), name));
    json_decref(json);
    return state;
}

bool state_is(const char *address, const char *name, const char *state)
{
    json_t *json = ask_state(address, name);
    const char *found = json_string_value(json_object_get(json, "state"));
    bool same = found != NULL && strcmp(found, state) == 0;
    json_decref(json);
    return same;
}

int64_t statistic(const char *address, const char *name, const char *counter)
{
    json_t *json = ask_state(address, name);
    json_t *value = json_object_get(json_object_get(json, "statistics"), counter);
    if (!json_is_integer(value))
        harness_fail("%s has no statistic %s", name, counter);
    int64_t number = json_integer_value(value);
    json_decref(json);
    return number;
}

size_t pack_texts(uint8_t *bytes, size_t capacity, ...)
{
    const char *texts[32];
    size_t count = 0;
    va_list arguments;
    va_start(arguments, capacity);
    for (const char *text; (text = va_arg(arguments, const char *)) != NULL;) {
        MUST(count < 32);
        texts[count++] = text;
    }
    va_end(arguments);
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_map(&packer, count / 2);
    for (size_t i = 0; i < count; i++) {
        msgpack_pack_str(&packer, strlen(texts[i]));
        msgpack_pack_str_body(&packer, texts[i], strlen(texts[i]));
    }
    size_t size = buffer.size;
    MUST(size <= capacity);
    memcpy(bytes, buffer.data, size);
    msgpack_sbuffer_destroy(&buffer);
    return size;
}

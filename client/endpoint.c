#include "endpoint.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cbm.h"
#include "failure.h"
#include "hex.h"

#define ADDRESS_SHOWN 160 /* of a message that has room for 320 */
#define HOST_SOCKET "/run/cbm/cbm.sock"
#define USER_SOCKET "cbm/cbm.sock" /* below $XDG_RUNTIME_DIR */

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == 108, "the messages below say 107");

/* cbmd says the same of its --listen. */
static int refuse(const char *address, const char *why)
{
    return cbm_fail_with(CBM_E_ADDRESS, "'%.*s' is not an address: %s", ADDRESS_SHOWN, address, why);
}

static int parse_path(cbm_endpoint *endpoint, const char *path)
{
    size_t length = strlen(path);

    if (path[0] != '/')
        return refuse(endpoint->text, "the path is not absolute");
    if (length >= sizeof(endpoint->socket.sun_path))
        return refuse(endpoint->text, "the path of a Unix socket has at most 107 bytes");
    endpoint->kind = CBM_ENDPOINT_PATH;
    memcpy(endpoint->socket.sun_path, path, length + 1);
    endpoint->socket_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

/* One character of a name in which %XX stands for a byte, as NNG reads abstract names. -1: not one. */
static int decode_character(const char **name)
{
    int high, low;

    if (**name != '%')
        return (unsigned char)*(*name)++;
    high = cbm_hex_digit((*name)[1]);
    low = high < 0 ? -1 : cbm_hex_digit((*name)[2]);
    if (low < 0)
        return -1;
    *name += 3;
    return high << 4 | low;
}

static int parse_abstract(cbm_endpoint *endpoint, const char *name)
{
    size_t size = 1; /* the 0 byte that makes a name abstract */

    if (!*name)
        return refuse(endpoint->text, "an abstract socket needs a name");
    while (*name) {
        int byte = decode_character(&name);

        if (byte < 0)
            return refuse(endpoint->text,
                          "in the name of an abstract socket % stands only before two hexadecimal digits");
        if (size == sizeof(endpoint->socket.sun_path))
            return refuse(endpoint->text, "the name of an abstract socket has at most 107 bytes");
        endpoint->socket.sun_path[size++] = (char)byte;
    }
    endpoint->kind = CBM_ENDPOINT_ABSTRACT;
    endpoint->socket_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    return 0;
}

int cbm_endpoint_parse(cbm_endpoint *endpoint, const char *text)
{
    memset(endpoint, 0, sizeof(*endpoint));
    endpoint->socket.sun_family = AF_UNIX;
    if (strlen(text) > CBM_ENDPOINT_TEXT_MAX)
        return refuse(text, "it is too long for a Unix socket");
    strcpy(endpoint->text, text);
    if (strcmp(text, "local:") == 0) {
        endpoint->kind = CBM_ENDPOINT_LOCAL;
        return 0;
    }
    if (has_prefix(text, "ipc://"))
        return parse_path(endpoint, text + strlen("ipc://"));
    if (has_prefix(text, "unix://"))
        return parse_path(endpoint, text + strlen("unix://"));
    if (has_prefix(text, "abstract://"))
        return parse_abstract(endpoint, text + strlen("abstract://"));
    if (strchr(text, '/') && !strstr(text, "://"))
        return parse_path(endpoint, text);
    return refuse(text, "it is not of the form ipc:///path, unix:///path, /path, abstract://name or local:");
}

/* The environment is not believed in a set-user-ID program. */
int cbm_endpoint_defaults(cbm_endpoint endpoints[CBM_ENDPOINT_DEFAULTS], size_t *count)
{
    const char *given = secure_getenv("CBM_ADDRESS");
    const char *directory = secure_getenv("XDG_RUNTIME_DIR");
    char path[sizeof(endpoints->socket.sun_path)];

    *count = 0;
    if (given && *given) {
        *count = 1;
        return cbm_endpoint_parse(&endpoints[0], given);
    }
    if (directory && directory[0] == '/' &&
        (size_t)snprintf(path, sizeof(path), "%s/" USER_SOCKET, directory) < sizeof(path) &&
        cbm_endpoint_parse(&endpoints[*count], path) == 0)
        ++*count;
    return cbm_endpoint_parse(&endpoints[(*count)++], HOST_SOCKET);
}

bool cbm_endpoint_beside(const cbm_endpoint *endpoint, const char *suffix, struct sockaddr_un *socket, socklen_t *size)
{
    size_t length = strlen(suffix);
    /* Of a path its end is counted in. */
    size_t used = endpoint->socket_size - (endpoint->kind == CBM_ENDPOINT_PATH ? 1 : 0);

    *socket = endpoint->socket;
    *size = endpoint->socket_size + (socklen_t)length;
    if (*size > sizeof(*socket))
        return false;
    memcpy((char *)socket + used, suffix, length);
    return true;
}

static bool owns_directory(const cbm_endpoint *endpoint, uid_t uid)
{
    char directory[sizeof(endpoint->socket.sun_path)];
    struct stat status;
    char *slash;

    memcpy(directory, endpoint->socket.sun_path, sizeof(directory));
    slash = strrchr(directory, '/');
    if (slash == directory)
        slash++;
    *slash = '\0';
    if (stat(directory, &status))
        return false;
    return status.st_uid == uid && !(status.st_mode & (S_IWGRP | S_IWOTH));
}

bool cbm_endpoint_trusted(const cbm_endpoint *endpoint, int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) || size != sizeof(peer))
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    return endpoint->kind == CBM_ENDPOINT_PATH && owns_directory(endpoint, peer.uid);
}

#include "attach_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handshake.h"
#include "hex.h"
#include "lock.h"

#define ABSTRACT_PREFIX "abstract://"

/* An abstract name, decoded as it stands in the address. Returns its size. */
static size_t abstract_name(const cbm_address *address, char *name)
{
    size_t size = 0;

    for (const char *at = address->url + strlen(ABSTRACT_PREFIX); *at; at++) {
        if (*at == '%') {
            name[size++] = (char)(cbm_hex_digit(at[1]) << 4 | cbm_hex_digit(at[2]));
            at += 2;
        } else {
            name[size++] = *at;
        }
    }
    return size;
}

/* 0: with the suffix it is longer than such a name may be. */
static socklen_t name_beside(const cbm_address *address, struct sockaddr_un *name)
{
    char base[CBM_ADDRESS_URL_MAX];
    char *at = name->sun_path;
    size_t size, end;

    if (address->abstract) {
        size = abstract_name(address, base);
        at++; /* the zero byte that makes it one */
        end = 0;
    } else {
        size = strlen(address->path);
        memcpy(base, address->path, size);
        end = 1;
    }
    if ((size_t)(at - name->sun_path) + size + strlen(CBM_SHM_SUFFIX) + end > sizeof name->sun_path)
        return 0;
    memcpy(at, base, size);
    memcpy(at + size, CBM_SHM_SUFFIX, strlen(CBM_SHM_SUFFIX));
    at += size + strlen(CBM_SHM_SUFFIX) + end;
    return (socklen_t)(at - (char *)name);
}

/* Bound with no rights for anybody else: those of the broker's own socket come last. */
static bool take_permissions(const cbm_address *address, const char *path)
{
    struct stat file;

    return stat(address->path, &file) == 0 && lchown(path, file.st_uid, file.st_gid) == 0 &&
           chmod(path, file.st_mode & 0777) == 0;
}

bool cbm_attach_socket_open(cbm_attach_socket *opened, const cbm_address *address, char *message, size_t message_size)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = name_beside(address, &name);

    *opened = (cbm_attach_socket){.descriptor = -1};
    if (size == 0) {
        snprintf(message, message_size, "%s%s is longer than the name of a Unix socket may be", address->url,
                 CBM_SHM_SUFFIX);
        return false;
    }
    if (!address->abstract && !cbm_lock_remove_stale(name.sun_path, message, message_size))
        return false;
    opened->descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The file gets the mode of the socket: unlike umask(2), this touches no other thread's files. */
    if (opened->descriptor < 0 || (!address->abstract && fchmod(opened->descriptor, 0600) != 0) ||
        bind(opened->descriptor, (const struct sockaddr *)&name, size) != 0)
        goto failed;
    if (!address->abstract) {
        memcpy(opened->path, name.sun_path, sizeof name.sun_path);
        if (!take_permissions(address, opened->path))
            goto failed;
    }
    if (listen(opened->descriptor, SOMAXCONN) == 0)
        return true;

failed:
    snprintf(message, message_size, "cannot listen on %s%s: %s", address->url, CBM_SHM_SUFFIX, strerror(errno));
    cbm_attach_socket_close(opened);
    return false;
}

void cbm_attach_socket_close(cbm_attach_socket *opened)
{
    if (opened->path[0])
        unlink(opened->path);
    if (opened->descriptor >= 0)
        close(opened->descriptor);
    *opened = (cbm_attach_socket){.descriptor = -1};
}

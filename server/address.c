#include "address.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hex.h"

#define SYSTEM_DIRECTORY "/run/cbm"
#define SOCKET_NAME "/cbm.sock"

static const char *after_prefix(const char *text, const char *prefix)
{
    size_t size = strlen(prefix);

    return strncmp(text, prefix, size) == 0 ? text + size : NULL;
}

static bool set_path(cbm_address *address, const char *path, const char **why)
{
    size_t size = strlen(path);

    if (size == 0 || path[size - 1] == '/') {
        *why = "it names no socket file";
        return false;
    }
    if (size > CBM_ADDRESS_NAME_MAX) {
        *why = "the path of a Unix socket has at most 107 bytes";
        return false;
    }
    memcpy(address->path, path, size + 1);
    snprintf(address->url, sizeof address->url, "ipc://%s", path);
    return true;
}

/* Bytes of the name with %xx decoded; 0: not a name. */
static size_t abstract_size(const char *name)
{
    size_t size = 0;

    for (; *name; name++, size++) {
        if (*name != '%')
            continue;
        if (cbm_hex_digit(name[1]) < 0 || cbm_hex_digit(name[2]) < 0)
            return 0;
        name += 2;
    }
    return size;
}

static bool set_abstract(cbm_address *address, const char *name, const char **why)
{
    size_t size = abstract_size(name);

    if (size == 0) {
        *why = *name ? "in the name of an abstract socket % stands only before two hexadecimal digits"
                     : "an abstract socket needs a name";
        return false;
    }
    if (size > CBM_ADDRESS_NAME_MAX || strlen(name) >= CBM_ADDRESS_URL_MAX - sizeof "abstract://") {
        *why = "the name of an abstract socket has at most 107 bytes";
        return false;
    }
    address->abstract = true;
    snprintf(address->url, sizeof address->url, "abstract://%s", name);
    return true;
}

bool cbm_address_parse(cbm_address *address, const char *text, const char **why)
{
    const char *rest;

    *address = (cbm_address){0};
    if ((rest = after_prefix(text, "ipc://")) || (rest = after_prefix(text, "unix://")))
        return set_path(address, rest, why);
    if ((rest = after_prefix(text, "abstract://")))
        return set_abstract(address, rest, why);
    if (strstr(text, "://") || !strchr(text, '/')) {
        *why = "it is not of the form ipc:///path, unix:///path, /path or abstract://name";
        return false;
    }
    return set_path(address, text, why);
}

bool cbm_address_default_for(cbm_address *address, bool system, const char *runtime_directory, const char **why)
{
    char path[CBM_ADDRESS_NAME_MAX + 2];
    int size;

    *address = (cbm_address){0};
    if (!system && (!runtime_directory || runtime_directory[0] != '/')) {
        *why = "XDG_RUNTIME_DIR is not set, so there is no default address: give one with --listen";
        return false;
    }
    if (system)
        size = snprintf(path, sizeof path, "%s", SYSTEM_DIRECTORY SOCKET_NAME);
    else
        size = snprintf(path, sizeof path, "%s/cbm%s", runtime_directory, SOCKET_NAME);
    if (size < 0 || (size_t)size >= sizeof path) {
        *why = "XDG_RUNTIME_DIR is too long for the path of a Unix socket: give an address with --listen";
        return false;
    }
    address->is_default = true;
    return set_path(address, path, why);
}

bool cbm_address_is_system_user(void)
{
    uid_t uid = geteuid();
    const struct passwd *user;

    if (uid == 0)
        return true;
    user = getpwnam("cbm");
    return user && user->pw_uid == uid;
}

bool cbm_address_default(cbm_address *address, const char **why)
{
    return cbm_address_default_for(address, cbm_address_is_system_user(), getenv("XDG_RUNTIME_DIR"), why);
}

int cbm_address_make_directory(const cbm_address *address)
{
    char directory[CBM_ADDRESS_NAME_MAX + 1];
    mode_t mode;

    if (!address->is_default)
        return 0;
    memcpy(directory, address->path, sizeof directory);
    *strrchr(directory, '/') = '\0';
    mode = strcmp(directory, SYSTEM_DIRECTORY) == 0 ? 0755 : 0700;
    if (mkdir(directory, mode) != 0)
        return errno == EEXIST ? 0 : errno;
    return chmod(directory, mode) == 0 ? 0 : errno; /* whatever the umask was */
}

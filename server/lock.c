#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Whether the file that is locked is still the one at the path: the one before may have removed it as it left. */
static bool is_at_path(int descriptor, const char *path)
{
    struct stat opened, named;

    return fstat(descriptor, &opened) == 0 && lstat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

static int open_locked(const char *path)
{
    for (;;) {
        int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (descriptor < 0)
            return -1;
        if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
            int error = errno;

            close(descriptor);
            errno = error;
            return -1;
        }
        if (is_at_path(descriptor, path))
            return descriptor;
        close(descriptor);
    }
}

static bool somebody_listens(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool listens;

    if (descriptor < 0)
        return true;
    memcpy(address.sun_path, path, strlen(path));
    listens = connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0 || errno != ECONNREFUSED;
    close(descriptor);
    return listens;
}

bool cbm_lock_remove_stale(const char *path, char *message, size_t size)
{
    struct stat file;

    if (lstat(path, &file) != 0) {
        if (errno == ENOENT)
            return true;
        snprintf(message, size, "cannot look at %s: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISSOCK(file.st_mode)) {
        snprintf(message, size, "%s exists and is not a socket", path);
        return false;
    }
    if (somebody_listens(path)) {
        snprintf(message, size, "another program listens on %s", path);
        return false;
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        snprintf(message, size, "cannot remove the stale socket %s: %s", path, strerror(errno));
        return false;
    }
    return true;
}

bool cbm_lock_acquire(cbm_lock *lock, const cbm_address *address, char *message, size_t message_size)
{
    lock->descriptor = -1;
    if (address->abstract)
        return true;
    snprintf(lock->path, sizeof lock->path, "%s.lock", address->path);
    lock->descriptor = open_locked(lock->path);
    if (lock->descriptor < 0) {
        if (errno == EWOULDBLOCK)
            snprintf(message, message_size, "another cbmd serves %s", address->url);
        else
            snprintf(message, message_size, "cannot lock %s: %s", lock->path, strerror(errno));
        return false;
    }
    if (cbm_lock_remove_stale(address->path, message, message_size))
        return true;
    cbm_lock_release(lock);
    return false;
}

void cbm_lock_release(cbm_lock *lock)
{
    if (lock->descriptor < 0)
        return;
    unlink(lock->path); /* before the lock goes: is_at_path shows it to whoever has opened the file already */
    close(lock->descriptor);
    lock->descriptor = -1;
}

#include "store_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "address.h"

#define SYSTEM_DIRECTORY "/var/lib/cbm"
#define DATABASE "cbm.db"
#define DIRECTORY_MODE 0700
#define FILE_MODE 0600
#define NAMES_TRIED 1000

bool cbm_store_directory_default_for(char *path, size_t size, bool system, const char *state_home, const char *home,
                                     const char **why)
{
    int length;

    if (system)
        length = snprintf(path, size, "%s", SYSTEM_DIRECTORY);
    else if (state_home && state_home[0] == '/')
        length = snprintf(path, size, "%s/cbm", state_home);
    else if (home && home[0] == '/')
        length = snprintf(path, size, "%s/.local/state/cbm", home);
    else
        length = -1;
    if (length >= 0 && (size_t)length < size)
        return true;
    *why = length < 0
               ? "neither XDG_STATE_HOME nor HOME is set, so there is no default directory for the state: give one "
                 "with --state-dir, or --no-store"
               : "the default directory for the state has too long a path: give one with --state-dir";
    return false;
}

bool cbm_store_directory_default(char *path, size_t size, const char **why)
{
    return cbm_store_directory_default_for(path, size, cbm_address_is_system_user(), getenv("XDG_STATE_HOME"),
                                           getenv("HOME"), why);
}

/* Each directory of the path that is missing. Those above are for others to pass through as far as the umask lets them. */
static int make_all(const char *path)
{
    char part[PATH_MAX];

    for (const char *at = path + 1; *at; at++) {
        if (*at != '/')
            continue;
        memcpy(part, path, (size_t)(at - path));
        part[at - path] = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return errno;
    }
    if (mkdir(path, DIRECTORY_MODE) != 0)
        return errno == EEXIST ? 0 : errno;
    return chmod(path, DIRECTORY_MODE) == 0 ? 0 : errno; /* whatever the umask was */
}

cbm_directory_error cbm_store_directory_open(cbm_store_directory *directory, const char *path, char *message,
                                             size_t message_size)
{
    int error;

    directory->descriptor = -1;
    if (strlen(path) > CBM_STORE_PATH_MAX || path[0] == '\0') {
        snprintf(message, message_size, "the path of the state directory is too long, or empty");
        return CBM_DIRECTORY_E_IO;
    }
    snprintf(directory->path, sizeof directory->path, "%s", path);
    snprintf(directory->database, sizeof directory->database, "%s/%s", path, DATABASE);
    snprintf(directory->wal, sizeof directory->wal, "%s/%s-wal", path, DATABASE);
    error = make_all(path);
    if (error == 0) {
        directory->descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        error = directory->descriptor < 0 ? errno : 0;
    }
    if (error) {
        snprintf(message, message_size, "cannot use %.200s for the state (%s): give another --state-dir, or --no-store",
                 path, strerror(error));
        return CBM_DIRECTORY_E_IO;
    }
    if (flock(directory->descriptor, LOCK_EX | LOCK_NB) == 0)
        return CBM_DIRECTORY_OK;
    error = errno;
    cbm_store_directory_close(directory);
    if (error == EWOULDBLOCK) {
        snprintf(message, message_size,
                 "another cbmd keeps its state in %.200s: give this one another --state-dir, or --no-store", path);
        return CBM_DIRECTORY_E_BUSY;
    }
    snprintf(message, message_size, "cannot lock %.200s: %s", path, strerror(error));
    return CBM_DIRECTORY_E_IO;
}

void cbm_store_directory_close(cbm_store_directory *directory)
{
    if (directory->descriptor >= 0)
        close(directory->descriptor);
    directory->descriptor = -1;
}

/* An error other than its absence counts as a database that cannot be read. */
bool cbm_store_database_exists(const cbm_store_directory *directory)
{
    struct stat status;

    return stat(directory->database, &status) == 0 ? status.st_size > 0 : errno != ENOENT;
}

int cbm_store_database_make(const cbm_store_directory *directory)
{
    int descriptor = open(directory->database, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);

    if (descriptor < 0)
        return errno == EEXIST ? 0 : errno;
    (void)fchmod(descriptor, FILE_MODE);
    close(descriptor);
    (void)fsync(directory->descriptor);
    return 0;
}

bool cbm_store_log_exists(const cbm_store_directory *directory)
{
    struct stat status;

    return stat(directory->wal, &status) == 0 ? status.st_size > 0 : errno != ENOENT;
}

int cbm_store_log_open(const cbm_store_directory *directory)
{
    return open(directory->wal, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static void free_name(const cbm_store_directory *directory, int64_t wall_ms, char *name, size_t size)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm when;
    char text[32] = "";

    if (gmtime_r(&seconds, &when))
        strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &when);
    snprintf(name, size, "%s.damaged-%s", directory->database, text);
    for (int i = 2; i < NAMES_TRIED && access(name, F_OK) == 0; i++)
        snprintf(name, size, "%s.damaged-%s-%d", directory->database, text, i);
}

int cbm_store_database_move_aside(const cbm_store_directory *directory, int64_t wall_ms, char *moved, size_t size)
{
    char moved_wal[PATH_MAX + 8];

    free_name(directory, wall_ms, moved, size);
    /* The database first: what is left of a log alone means nothing to SQLite, a database without its log does. */
    if (rename(directory->database, moved) != 0 && errno != ENOENT)
        return errno;
    snprintf(moved_wal, sizeof moved_wal, "%s-wal", moved);
    if (rename(directory->wal, moved_wal) != 0 && errno != ENOENT)
        return errno;
    (void)fsync(directory->descriptor);
    return 0;
}

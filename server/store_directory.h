/* The directory of the store: where it is, whose it is while a broker runs, and where damaged files go. */
#ifndef CBM_SERVER_STORE_DIRECTORY_H
#define CBM_SERVER_STORE_DIRECTORY_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CBM_STORE_PATH_MAX (PATH_MAX - 64) /* what is put behind it fits as well */

typedef struct cbm_store_directory {
    int descriptor; /* locked; -1: not open */
    char path[PATH_MAX];
    char database[PATH_MAX];
    char wal[PATH_MAX];
} cbm_store_directory;

typedef enum cbm_directory_error {
    CBM_DIRECTORY_OK,
    CBM_DIRECTORY_E_BUSY,
    CBM_DIRECTORY_E_IO,
} cbm_directory_error;

/*
 * /var/lib/cbm as root or as user cbm, else $XDG_STATE_HOME/cbm or $HOME/.local/state/cbm. False: *why says what to do, since
 * none of these is known.
 */
bool cbm_store_directory_default(char *path, size_t size, const char **why);
/* The same from what it depends on. */
bool cbm_store_directory_default_for(char *path, size_t size, bool system, const char *state_home, const char *home,
                                     const char **why);

/* Makes it, and what is missing above it, with mode 0700, and locks it for as long as it is open. */
cbm_directory_error cbm_store_directory_open(cbm_store_directory *directory, const char *path, char *message,
                                             size_t message_size);
void cbm_store_directory_close(cbm_store_directory *directory);

/* Whether there is a database with something in it. */
bool cbm_store_database_exists(const cbm_store_directory *directory);
/* Makes an empty one with mode 0600 when there is none. 0 or an errno. */
int cbm_store_database_make(const cbm_store_directory *directory);
bool cbm_store_log_exists(const cbm_store_directory *directory);
/* The log beside the database, to be synced; -1: it cannot be opened. */
int cbm_store_log_open(const cbm_store_directory *directory);
/* Renames the database; `moved` is the new path. 0 or an errno. It must not be open. */
int cbm_store_database_move_aside(const cbm_store_directory *directory, int64_t wall_ms, char *moved, size_t size);

#endif

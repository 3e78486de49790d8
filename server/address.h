/* Where the broker listens: an address of a Unix socket, and the default one. */
#ifndef CBM_SERVER_ADDRESS_H
#define CBM_SERVER_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#define CBM_ADDRESS_NAME_MAX 107 /* bytes of a path or an abstract name: what a sockaddr_un holds */
#define CBM_ADDRESS_URL_MAX 256  /* as `info` answers it */

typedef struct cbm_address {
    char url[CBM_ADDRESS_URL_MAX];       /* as NNG takes it: ipc:///path or abstract://name */
    char path[CBM_ADDRESS_NAME_MAX + 1]; /* of the socket file; "": abstract */
    bool abstract;
    bool is_default; /* nobody named it: its directory is made when it is not there */
} cbm_address;

/* ipc:///path, unix:///path, a path with a slash, or abstract://name. False: *why (a sentence) says what is wrong with it. */
bool cbm_address_parse(cbm_address *address, const char *text, const char **why);
/* ipc:///run/cbm/cbm.sock as root or as user cbm, else ipc://$XDG_RUNTIME_DIR/cbm/cbm.sock. */
bool cbm_address_default(cbm_address *address, const char **why);
/* The same from what it depends on. */
bool cbm_address_default_for(cbm_address *address, bool system, const char *runtime_directory, const char **why);
/* Root, or user cbm. */
bool cbm_address_is_system_user(void);
/* Makes the directory of a default address, for the others to pass through where it is the system's. 0 or an errno. */
int cbm_address_make_directory(const cbm_address *address);

#endif

/* Where the broker is, and whether who answers there is to be trusted. */
#ifndef CBM_CLIENT_ENDPOINT_H
#define CBM_CLIENT_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CBM_ENDPOINT_TEXT_MAX 400 /* an abstract name may be percent-encoded: three characters a byte */

typedef enum cbm_endpoint_kind {
    CBM_ENDPOINT_PATH,
    CBM_ENDPOINT_ABSTRACT,
    CBM_ENDPOINT_LOCAL, /* `local:`, no socket */
} cbm_endpoint_kind;

typedef struct cbm_endpoint {
    cbm_endpoint_kind kind;
    char text[CBM_ENDPOINT_TEXT_MAX + 1]; /* as it was given */
    struct sockaddr_un socket;
    socklen_t socket_size;
} cbm_endpoint;

/* ipc:///path, unix:///path, /path, abstract://name, local:. CBM_E_ADDRESS for anything else. */
int cbm_endpoint_parse(cbm_endpoint *endpoint, const char *text);

#define CBM_ENDPOINT_DEFAULTS 2
/*
 * Where to look when no address was given: $CBM_ADDRESS alone, else the user's socket and the host's, in that order.
 * *count is how many. CBM_E_ADDRESS when $CBM_ADDRESS is none.
 */
int cbm_endpoint_defaults(cbm_endpoint endpoints[CBM_ENDPOINT_DEFAULTS], size_t *count);

/* The address of a socket beside that one: its path or name with the suffix. False: that is too long. */
bool cbm_endpoint_beside(const cbm_endpoint *endpoint, const char *suffix, struct sockaddr_un *socket, socklen_t *size);

/*
 * Whether the peer of a connected socket is root, this user, or (not for abstract names, which anybody may take) the owner of
 * the socket's directory, if nobody else may write there.
 */
bool cbm_endpoint_trusted(const cbm_endpoint *endpoint, int fd);

#endif

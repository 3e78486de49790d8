#include "pass_rights.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static int option(int descriptor, int name)
{
    int value = 0;
    socklen_t size = sizeof value;

    return getsockopt(descriptor, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

static bool listens(int descriptor)
{
    return option(descriptor, SO_DOMAIN) == AF_UNIX && option(descriptor, SO_TYPE) == SOCK_STREAM &&
           option(descriptor, SO_ACCEPTCONN) == 1;
}

/* NNG does not tell the descriptor of its socket, so it is looked for. Those who connect inherit the option. */
void cbm_pass_rights_refuse(void)
{
    DIR *descriptors = opendir("/proc/self/fd");
    const struct dirent *entry;
    const int no = 0;

    if (!descriptors)
        return;
    while ((entry = readdir(descriptors))) {
        int descriptor = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && listens(descriptor))
            (void)setsockopt(descriptor, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof no);
    }
    closedir(descriptors);
}

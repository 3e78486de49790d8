#include "standard_files.h"

#include <fcntl.h>
#include <unistd.h>

bool standard_files_keep(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* the lowest free number is fd; reading from what was closed for reading, and the reverse, goes on to fail */
        if (open("/dev/null", (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC) != fd)
            return false;
    }
    return true;
}

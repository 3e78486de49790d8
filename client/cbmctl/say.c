#include "say.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void say(const char *format, ...)
{
    char line[2048];
    int prefix = snprintf(line, sizeof(line), "cbmctl: ");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + prefix, sizeof(line) - (size_t)prefix - 1, format, arguments);
    va_end(arguments);
    size_t length = strlen(line);
    /* What came from elsewhere neither breaks the line nor speaks to the terminal. */
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[length++] = '\n';
    /* One write, so that lines of processes that share a terminal or a log stay whole. Nobody is left to tell when it fails. */
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written;
}

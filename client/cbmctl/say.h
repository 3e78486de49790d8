/* Messages to people, on stderr: "cbmctl: ..." in one line. */
#ifndef CBMCTL_SAY_H
#define CBMCTL_SAY_H

#include <stdarg.h>

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

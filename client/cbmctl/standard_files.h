/* The three standard descriptors. */
#ifndef CBMCTL_STANDARD_FILES_H
#define CBMCTL_STANDARD_FILES_H

#include <stdbool.h>

/*
 * Puts something in the place of a standard descriptor that is closed, so that no socket or pipe of ours gets its number
 * and is taken for a terminal or a file. A command that is run finds it closed again.
 */
bool standard_files_keep(void);

#endif

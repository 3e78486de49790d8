/* Text for --help: what argp wraps itself loses its indentation. */
#ifndef CBMCTL_WRAP_H
#define CBMCTL_WRAP_H

#include <stdio.h>

/* Writes `text` in lines of at most 78 columns: the first goes on at column `column`, the others start at `indent`. */
void wrap_text(FILE *out, const char *text, int column, int indent);

#endif

#include "wrap.h"

#include <string.h>

#define WIDTH 78

void wrap_text(FILE *out, const char *text, int column, int indent)
{
    for (int first = 1; *text != '\0'; first = 0) {
        int length = (int)strcspn(text, " ");
        if (!first && column + 1 + length > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", length, text);
        column += length;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

#include "exit_codes.h"

#include "cbm.h"
#include "wrap.h"

int exit_code_of(int error)
{
    switch (error) {
    case CBM_OK: return CBMCTL_OK;
    case CBM_E_INVALID:
    case CBM_E_ADDRESS: return CBMCTL_USAGE;
    case CBM_E_AWAY: return CBMCTL_AWAY;
    case CBM_E_NOMEM: return CBMCTL_OS;
    case CBM_E_OPEN:
    case CBM_E_HALF_OPEN_FULL:
    case CBM_E_FORCED_OPEN:
    case CBM_E_RATE_LIMITED: return CBMCTL_REFUSED;
    case CBM_E_DENIED:
    case CBM_E_UNTRUSTED: return CBMCTL_DENIED;
    default: return CBMCTL_FAILED;
    }
}

void exit_codes_help(FILE *out)
{
    fputs("Exit status:\n", out);
#define X(symbol, number, sentence)                                                                                    \
    fprintf(out, "  %3d  ", number);                                                                                   \
    wrap_text(out, sentence, 7, 7);
    CBMCTL_EXIT_TABLE(X)
#undef X
}

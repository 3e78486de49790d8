#include "ledger_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "error.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/*
 * What has seals is a memfd: this comes first, since whatever else it may be is not asked anything, and may take its time to
 * answer. Those of huge pages have seals too, but no page for each place in them: reading such a one can fault.
 */
static const char *find_fault(int descriptor)
{
    int seals = fcntl(descriptor, F_GET_SEALS);
    struct statfs system;
    struct stat file;

    if (seals < 0)
        return "it is no memfd";
    if ((seals & SEALS) != SEALS)
        return "it is not sealed against shrinking and growing for good";
    if (fstatfs(descriptor, &system) != 0 || system.f_type != TMPFS_MAGIC)
        return "it is a memfd of huge pages";
    if (fstat(descriptor, &file) != 0 || !S_ISREG(file.st_mode) || file.st_size != (off_t)CBM_LEDGER_SIZE)
        return "it has another size than a ledger";
    return NULL;
}

int cbm_ledger_file_map(int descriptor, const cbm_ledger **ledger, const char **why)
{
    void *map;

    *ledger = NULL;
    *why = find_fault(descriptor);
    if (*why)
        return CBM_PROTO_E_INVALID;
    map = mmap(NULL, CBM_LEDGER_SIZE, PROT_READ, MAP_SHARED, descriptor, 0);
    if (map == MAP_FAILED) {
        *why = "it cannot be mapped";
        return errno == ENOMEM ? CBM_PROTO_E_NOMEM : CBM_PROTO_E_INVALID;
    }
    if (!cbm_ledger_valid(map, CBM_LEDGER_SIZE)) {
        *why = "its header is not that of a ledger of this version";
        munmap(map, CBM_LEDGER_SIZE);
        return CBM_PROTO_E_INVALID;
    }
    *ledger = map;
    return 0;
}

void cbm_ledger_file_unmap(const cbm_ledger *ledger)
{
    if (ledger)
        munmap((void *)ledger, CBM_LEDGER_SIZE);
}

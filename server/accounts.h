/* What the core charges to whoever caused it, as charges to users; and who created which breaker. Under the engine's lock. */
#ifndef CBM_SERVER_ACCOUNTS_H
#define CBM_SERVER_ACCOUNTS_H

#include "caller.h"
#include "cbm_core.h"
#include "quota.h"

#define CBM_NOBODY UINT64_MAX /* the account of what no user caused: it is charged to nobody */

typedef struct cbm_accounts {
    cbm_quota *quota;   /* NULL: nothing is charged */
    uint64_t *creators; /* by slot */
    uint32_t slots;
} cbm_accounts;

int cbm_accounts_init(cbm_accounts *accounts, cbm_quota *quota, uint32_t slots); /* CBM_PROTO_E_NOMEM */
void cbm_accounts_deinit(cbm_accounts *accounts);

/* As cbm_core_charge. Root and the broker's own user, who may remove every breaker anyway, are charged and not limited. */
bool cbm_accounts_charge(cbm_accounts *accounts, const cbm_caller *caller, uint64_t account, cbm_core_charge_kind kind,
                         int change);
/* Every event of the core, caused by `caller` (NULL: nobody). */
void cbm_accounts_note(cbm_accounts *accounts, const cbm_caller *caller, const cbm_core_event *event);

#endif

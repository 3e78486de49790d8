#include "accounts.h"

#include <stdlib.h>

#include "error.h"

int cbm_accounts_init(cbm_accounts *accounts, cbm_quota *quota, uint32_t slots)
{
    *accounts = (cbm_accounts){.quota = quota, .slots = slots};
    accounts->creators = calloc(slots, sizeof *accounts->creators);
    return accounts->creators ? 0 : CBM_PROTO_E_NOMEM;
}

void cbm_accounts_deinit(cbm_accounts *accounts)
{
    free(accounts->creators);
    *accounts = (cbm_accounts){0};
}

bool cbm_accounts_charge(cbm_accounts *accounts, const cbm_caller *caller, uint64_t account, cbm_core_charge_kind kind,
                         int change)
{
    cbm_quota_kind what = kind == CBM_CORE_CHARGE_PERMIT ? CBM_QUOTA_PERMITS : CBM_QUOTA_BREAKERS;

    if (!accounts->quota || account == CBM_NOBODY)
        return true;
    if (change < 0) {
        cbm_quota_discharge(accounts->quota, account, what, 1);
        return true;
    }
    if (caller && caller->admin)
        return cbm_quota_charge_unlimited(accounts->quota, account, what, 1);
    return cbm_quota_charge(accounts->quota, account, what, 1);
}

void cbm_accounts_note(cbm_accounts *accounts, const cbm_caller *caller, const cbm_core_event *event)
{
    if (event->slot >= accounts->slots)
        return;
    if (event->type == CBM_CORE_EVENT_CREATED) {
        accounts->creators[event->slot] = caller ? caller->uid : CBM_NOBODY;
    } else if (event->type == CBM_CORE_EVENT_REMOVED) {
        cbm_accounts_charge(accounts, NULL, accounts->creators[event->slot], CBM_CORE_CHARGE_BREAKER, -1);
        accounts->creators[event->slot] = CBM_NOBODY;
    }
}

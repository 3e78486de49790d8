/* What the files of ledgers.h share. */
#ifndef CBM_SERVER_LEDGERS_INNER_H
#define CBM_SERVER_LEDGERS_INNER_H

#include "ledgers.h"

void cbm_ledgers_mark_broken(cbm_ledgers *ledgers, cbm_mapped_ledger *ledger);
/* Adds what is new in an entry, and takes it. Of a broken ledger nothing. */
void cbm_ledgers_read_holding(cbm_ledgers *ledgers, cbm_holding *holding, cbm_ledger_depth depth,
                              cbm_ledger_news *news);
/* Whether something stands in the entry beyond what was taken of it. */
bool cbm_ledgers_has_news(const cbm_ledger *page, uint32_t entry, const cbm_entry_record *record);

#endif

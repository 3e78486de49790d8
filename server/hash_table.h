/* uthash, set up so that a lack of memory is an answer instead of an exit: a failed add leaves hh.tbl of the element NULL. */
#ifndef CBM_SERVER_HASH_TABLE_H
#define CBM_SERVER_HASH_TABLE_H

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((void)(element))
#include <uthash.h>

#endif

/* Where the state is kept, and by whom. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_directory.h"

static char path[PATH_MAX], message[512];
static const char *why;

Test(store_directory, of_the_system_is_below_var_lib)
{
    cr_assert(cbm_store_directory_default_for(path, sizeof path, true, "/home/a/state", "/home/a", &why));
    cr_assert_str_eq(path, "/var/lib/cbm");
}

Test(store_directory, of_a_user_is_where_users_keep_state)
{
    cr_assert(cbm_store_directory_default_for(path, sizeof path, false, "/home/a/state", "/home/a", &why));
    cr_assert_str_eq(path, "/home/a/state/cbm");
    cr_assert(cbm_store_directory_default_for(path, sizeof path, false, NULL, "/home/a", &why));
    cr_assert_str_eq(path, "/home/a/.local/state/cbm");
    cr_assert(cbm_store_directory_default_for(path, sizeof path, false, "relative", "/home/a", &why));
    cr_assert_str_eq(path, "/home/a/.local/state/cbm");
}

Test(store_directory, of_a_user_without_a_home_is_asked_for)
{
    cr_assert_not(cbm_store_directory_default_for(path, sizeof path, false, NULL, NULL, &why));
    cr_assert_not_null(strstr(why, "--state-dir"));
    cr_assert_not(cbm_store_directory_default_for(path, 10, false, NULL, "/home/someone", &why));
}

static char base[64];

static void make_base(void)
{
    strcpy(base, "/tmp/cbm-directory-XXXXXX");
    cr_assert_not_null(mkdtemp(base));
}

static void remove_base(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", base);
    cr_assert_eq(system(command), 0);
}

TestSuite(store_place, .init = make_base, .fini = remove_base);

Test(store_place, is_made_for_its_owner_alone_with_all_above_it)
{
    cbm_store_directory directory;
    struct stat status;
    umask(0);
    snprintf(path, sizeof path, "%s/a/b/c", base);
    cr_assert_eq(cbm_store_directory_open(&directory, path, message, sizeof message), CBM_DIRECTORY_OK);
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0700);
    cr_assert_not(cbm_store_database_exists(&directory));
    cr_assert_eq(cbm_store_database_make(&directory), 0);
    cr_assert_eq(stat(directory.database, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0600);
    cbm_store_directory_close(&directory);
}

Test(store_place, that_cannot_be_made_is_named)
{
    cbm_store_directory directory;
    snprintf(path, sizeof path, "%s/file", base);
    fclose(fopen(path, "w"));
    strcat(path, "/below");
    cr_assert_eq(cbm_store_directory_open(&directory, path, message, sizeof message), CBM_DIRECTORY_E_IO);
    cr_assert_not_null(strstr(message, path));
    cr_assert_eq(directory.descriptor, -1);
}

Test(store_place, is_for_one_at_a_time)
{
    cbm_store_directory first, second;
    cr_assert_eq(cbm_store_directory_open(&first, base, message, sizeof message), CBM_DIRECTORY_OK);
    cr_assert_eq(cbm_store_directory_open(&second, base, message, sizeof message), CBM_DIRECTORY_E_BUSY);
    cbm_store_directory_close(&first);
    cr_assert_eq(cbm_store_directory_open(&second, base, message, sizeof message), CBM_DIRECTORY_OK);
    cbm_store_directory_close(&second);
}

Test(store_place, keeps_each_damaged_file_under_a_name_of_its_own)
{
    cbm_store_directory directory;
    char first[PATH_MAX], second[PATH_MAX];
    cr_assert_eq(cbm_store_directory_open(&directory, base, message, sizeof message), CBM_DIRECTORY_OK);
    cr_assert_eq(cbm_store_database_make(&directory), 0);
    cr_assert_eq(cbm_store_database_move_aside(&directory, 1700000000000, first, sizeof first), 0);
    cr_assert_not_null(strstr(first, "cbm.db.damaged-20231114T221320Z"));
    cr_assert_eq(cbm_store_database_make(&directory), 0);
    cr_assert_eq(cbm_store_database_move_aside(&directory, 1700000000000, second, sizeof second), 0);
    cr_assert_str_neq(first, second);
    cr_assert_eq(access(first, F_OK), 0);
    cr_assert_eq(access(second, F_OK), 0);
    cbm_store_directory_close(&directory);
}

/* Addresses: what is taken, what is refused, and the default. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"

TestSuite(server_address);

static cbm_address taken(const char *text)
{
    cbm_address address;
    const char *why = "";

    cr_assert(cbm_address_parse(&address, text, &why), "%s: %s", text, why);
    return address;
}

static void refused(const char *text)
{
    cbm_address address;
    const char *why = NULL;

    cr_assert_not(cbm_address_parse(&address, text, &why), "%s", text);
    cr_assert_not_null(why);
    cr_assert_gt(strlen(why), 0);
}

static const char *long_text(const char *prefix, size_t size)
{
    static char text[1024];

    memset(text, 'x', sizeof text);
    memcpy(text, prefix, strlen(prefix));
    text[strlen(prefix) + size] = '\0';
    return text;
}

Test(server_address, ipc_unix_and_a_bare_path_are_the_same)
{
    cr_assert_str_eq(taken("ipc:///tmp/x/s").url, "ipc:///tmp/x/s");
    cr_assert_str_eq(taken("unix:///tmp/x/s").url, "ipc:///tmp/x/s");
    cr_assert_str_eq(taken("/tmp/x/s").url, "ipc:///tmp/x/s");
    cr_assert_str_eq(taken("/tmp/x/s").path, "/tmp/x/s");
    cr_assert_not(taken("/tmp/x/s").abstract);
}

Test(server_address, an_abstract_name_has_no_path)
{
    cbm_address address = taken("abstract://cbm");

    cr_assert_str_eq(address.url, "abstract://cbm");
    cr_assert_str_eq(address.path, "");
    cr_assert(address.abstract);
    taken("abstract://with%20space");
}

Test(server_address, a_path_may_have_107_bytes_and_no_more)
{
    taken(long_text("ipc:///", 106));
    refused(long_text("ipc:///", 107));
    taken(long_text("abstract://", 107));
    refused(long_text("abstract://", 108));
}

Test(server_address, other_things_are_refused)
{
    refused("");
    refused("cbm.sock");
    refused("ipc://");
    refused("ipc:///tmp/");
    refused("tcp://127.0.0.1:80");
    refused("abstract://");
    refused("abstract://a%2");
    refused("abstract://a%zz");
}

Test(server_address, the_default_is_the_systems_or_the_users)
{
    cbm_address address;
    const char *why;

    cr_assert(cbm_address_default_for(&address, true, "/run/user/1000", &why));
    cr_assert_str_eq(address.url, "ipc:///run/cbm/cbm.sock");
    cr_assert(cbm_address_default_for(&address, false, "/run/user/1000", &why));
    cr_assert_str_eq(address.url, "ipc:///run/user/1000/cbm/cbm.sock");
}

Test(server_address, without_a_runtime_directory_there_is_no_default)
{
    cbm_address address;
    const char *why = NULL;

    cr_assert_not(cbm_address_default_for(&address, false, NULL, &why));
    cr_assert_not_null(strstr(why, "--listen"));
    cr_assert_not(cbm_address_default_for(&address, false, "", &why));
    cr_assert_not(cbm_address_default_for(&address, false, "relative", &why));
    cr_assert_not(cbm_address_default_for(&address, false, long_text("/", 200), &why));
}

Test(server_address, the_directory_of_a_default_is_made_for_its_user_alone)
{
    char root[] = "/tmp/cbm-test-XXXXXX";
    char directory[64];
    cbm_address address;
    const char *why;
    struct stat made;

    cr_assert_not_null(mkdtemp(root));
    cr_assert(cbm_address_default_for(&address, false, root, &why));
    cr_assert_eq(cbm_address_make_directory(&address), 0);
    cr_assert_eq(cbm_address_make_directory(&address), 0, "one that is there is fine");
    snprintf(directory, sizeof directory, "%s/cbm", root);
    cr_assert_eq(stat(directory, &made), 0);
    cr_assert_eq(made.st_mode & 07777, 0700);
    rmdir(directory);
    rmdir(root);
}

Test(server_address, no_other_directory_is_made)
{
    cbm_address address = taken("ipc:///tmp/cbm-test-nowhere/s");

    cr_assert_eq(cbm_address_make_directory(&address), 0);
    cr_assert_neq(access("/tmp/cbm-test-nowhere", F_OK), 0);
}

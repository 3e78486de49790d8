/* cbm_manager(), and what the library says of errors. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client_fixture.h"

TestSuite(client_singleton, .timeout = 30);

static int succeed(void *argument)
{
    ++*(int *)argument;
    return 0;
}

static int fail_with_7(void *argument)
{
    ++*(int *)argument;
    return 7;
}

Test(client_singleton, the_singleton_works_without_a_broker_and_is_always_the_same)
{
    cbm_client *manager;
    int calls = 0;

    setenv("CBM_ADDRESS", "/nowhere/at/all/cbm.sock", 1);
    manager = cbm_manager();
    cr_assert_not_null(manager);
    cr_assert_eq(cbm_manager(), manager);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(cbm_call(manager, "ha_api", fail_with_7, &calls, NULL), 0);
    cr_assert_eq(cbm_call(manager, "ha_api", fail_with_7, &calls, NULL), CBM_E_OPEN);
    cr_assert_eq(state_of(manager, "ha_api").state, CBM_OPEN);
    cr_assert_eq(cbm_connected(manager), 0);
}

Test(client_singleton, the_singleton_of_a_bad_address_says_so_in_every_call)
{
    cbm_client *manager;
    cbm_breaker *breaker;
    cbm_stats_result *stats;
    char *json;
    int calls = 0;

    setenv("CBM_ADDRESS", "garbage", 1);
    manager = cbm_manager();
    cr_assert_not_null(manager);
    cr_assert_eq(cbm_get(manager, "a", NULL, &breaker), CBM_E_ADDRESS);
    cr_assert_eq(cbm_call(manager, "a", succeed, &calls, NULL), CBM_E_ADDRESS);
    cr_assert_eq(cbm_stats(manager, &stats), CBM_E_ADDRESS);
    cr_assert_eq(cbm_reset_all(manager), CBM_E_ADDRESS);
    cr_assert_eq(cbm_ping(manager), CBM_E_ADDRESS);
    cr_assert_eq(cbm_command(manager, "stats", &json), CBM_E_ADDRESS);
    cr_assert_eq(cbm_connected(manager), 0);
    cr_assert_str_eq(cbm_address(manager), "");
    cbm_close(manager);
    cr_assert_eq(cbm_manager(), manager);
    cr_assert_eq(calls, 0);
}

static void *ask_for_the_singleton(void *unused)
{
    (void)unused;
    return cbm_manager();
}

Test(client_singleton, threads_that_ask_for_the_singleton_at_once_get_the_same)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    void *manager;

    setenv("CBM_ADDRESS", "local:", 1);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, ask_for_the_singleton, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &manager);
        cr_assert_eq(manager, cbm_manager());
    }
}

/* ---- Errors ------------------------------------------------------------------------------------------------------------- */

Test(client_singleton, every_error_has_a_sentence_and_a_name)
{
    cr_assert_str_eq(cbm_error_name(CBM_E_OPEN), "open");
    cr_assert_str_eq(cbm_error_name(CBM_OK), "ok");
    for (int error = 0; error > -100; error--) {
        cr_assert_not_null(cbm_strerror(error));
        cr_assert_neq(cbm_strerror(error)[0], '\0');
    }
    cr_assert_str_eq(cbm_state_name(CBM_HALF_OPEN), "HALF_OPEN");
    cr_assert_neq(cbm_version()[0], '\0');
}

static void *last_message_of_another_thread(void *unused)
{
    (void)unused;
    return (void *)cbm_last_message();
}

Test(client_singleton, the_last_message_is_the_threads_own)
{
    cbm_client *client = open_client("local:", CBM_FAIL_OPEN);
    cbm_breaker *breaker;
    pthread_t thread;
    void *message;

    cr_assert_eq(cbm_get(client, "", NULL, &breaker), CBM_E_INVALID);
    cr_assert_eq(strncmp(cbm_last_message(), "name must be ", 13), 0);
    cr_assert_eq(pthread_create(&thread, NULL, last_message_of_another_thread, NULL), 0);
    pthread_join(thread, &message);
    cr_assert_neq(message, cbm_last_message());
    cbm_close(client);
}

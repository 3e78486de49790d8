#include "client_fixture.h"

#include <criterion/criterion.h>
#include <time.h>

#include "fake_broker.h"

static cbm_client *open_with(const char *address, cbm_when_away when_away, uint32_t call_timeout_ms,
                             uint32_t timeout_ms)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;
    int error;

    options.when_away = when_away;
    options.call_timeout_ms = call_timeout_ms;
    options.timeout_ms = timeout_ms;
    error = cbm_open(&client, address, &options);
    cr_assert_eq(error, 0, "cbm_open: %s", cbm_strerror(error));
    return client;
}

cbm_client *open_client(const char *address, cbm_when_away when_away)
{
    return open_with(address, when_away, PATIENCE_MS / 2, PATIENCE_MS / 2);
}

cbm_client *open_hurried(const char *address, cbm_when_away when_away)
{
    return open_with(address, when_away, CALL_TIMEOUT_MS, TIMEOUT_MS);
}

cbm_breaker *get_breaker(cbm_client *client, const char *name, const cbm_policy *policy)
{
    cbm_breaker *breaker;
    int error = cbm_get(client, name, policy, &breaker);

    cr_assert_eq(error, 0, "cbm_get: %s", cbm_last_message());
    return breaker;
}

int call_with(cbm_breaker *breaker, cbm_outcome outcome)
{
    cbm_permit permit;
    int error = cbm_call_begin(breaker, &permit);

    return error ? error : cbm_call_report(&permit, outcome);
}

void sleep_ms(int64_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

bool await_broker(cbm_client *client)
{
    int64_t end_ms = test_clock_ms() + PATIENCE_MS;

    while (cbm_ping(client)) {
        if (test_clock_ms() > end_ms)
            return false;
        sleep_ms(5);
    }
    return true;
}

cbm_breaker_state state_of(cbm_client *client, const char *name)
{
    cbm_states_result *states;
    const cbm_breaker_state *found;
    cbm_breaker_state state;

    cr_assert_eq(cbm_states(client, name, &states), 0, "%s", cbm_last_message());
    found = cbm_states_find(states, name);
    cr_assert_not_null(found, "%s", name);
    state = *found;
    state.name = state.reason = state.last_error_text = NULL;
    state.policy = NULL;
    cbm_states_free(states);
    return state;
}

/*
 * The specification's pattern 1: always use the one manager of the process. With a broker on this host its breakers are those of
 * everybody; without one the manager works inside this process alone.
 */
#include <stdio.h>

#include <cbm.h>

struct room {
    const char *name;
    double temperature;
};

/* What is to be protected: 0 when it went well. */
static int read_temperature(void *argument)
{
    struct room *room = argument;

    room->temperature = 21.5;
    return 0;
}

int main(void)
{
    cbm_client *manager = cbm_manager();
    struct room room = {.name = "living_room"};
    cbm_breaker *breaker;
    int result;
    int error;

    error = cbm_get(manager, "ha_api", NULL, &breaker);
    if (error) {
        fprintf(stderr, "no breaker: %s\n", cbm_last_message());
        return 1;
    }
    error = cbm_call(manager, cbm_breaker_name(breaker), read_temperature, &room, &result);
    if (error == CBM_E_OPEN) {
        fprintf(stderr, "not asked: %s\n", cbm_strerror(error));
        return 1;
    }
    if (error || result) {
        fprintf(stderr, "failed: %s\n", error ? cbm_last_message() : "no answer");
        return 1;
    }
    printf("%s: %.1f degrees\n", room.name, room.temperature);
    printf("one manager: %s\n", cbm_manager() == manager ? "yes" : "no");
    return 0;
}

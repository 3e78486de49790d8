/* Text commands through the client. */
#include <criterion/criterion.h>
#include <string.h>

#include "client_fixture.h"
#include "fake_broker.h"

TestSuite(client_command, .timeout = 60);

static void answer_in_text(fake_peer *peer)
{
    const char *json = fake_broker_context(peer->broker);
    uint8_t frame[1024] = {1};
    size_t size = strlen(json);

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        if (peer->request.op != CBM_OP_COUNT) {
            fake_answer(peer);
            continue;
        }
        frame[7] = (uint8_t)((size + 4) >> 8);
        frame[8] = (uint8_t)(size + 4);
        for (int i = 0; i < 4; i++)
            frame[9 + i] = (uint8_t)(peer->id >> (24 - 8 * i));
        memcpy(frame + 13, json, size);
        fake_send(peer, frame, size + 13);
    }
}

static int command_answered(const char *answer)
{
    fake_broker *broker = fake_broker_start(answer_in_text, (void *)answer);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    char *json;
    int error = cbm_command(client, "whatever it is", &json);

    cr_assert_str_eq(json, answer);
    cbm_free(json);
    cbm_close(client);
    fake_broker_stop(broker);
    return error;
}

Test(client_command, a_text_command_gives_its_json_and_the_error_in_it)
{
    cr_assert_eq(command_answered("{\"success\": true, \"message\": \"\", \"data\": {}}\n"), 0);
    cr_assert_eq(command_answered("{\"success\":false,\"message\":\"the circuit is open\",\"error\":\"open\"}\n"),
                 CBM_E_OPEN);
    cr_assert_eq(command_answered("{\"message\":\"\\\"success\\\":true\",\"data\":{\"success\":true},\"success\":false,"
                                  "\"error\":\"full\"}"),
                 CBM_E_FULL);
    cr_assert_eq(command_answered("{\"data\":{\"error\":{\"name\":\"error\"}},\"success\":true}"), 0);
    cr_assert_eq(command_answered("{\"success\":false,\"error\":\"from_the_future\"}"), CBM_E_INTERNAL);
    cr_assert_eq(command_answered("{\"success\":false}"), CBM_E_INTERNAL);
    cr_assert_eq(command_answered("hello"), CBM_E_PROTOCOL);
    cr_assert_eq(command_answered(""), CBM_E_PROTOCOL);
}

Test(client_command, no_command_is_no_command)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    char *json;

    cr_assert_eq(cbm_command(client, NULL, &json), CBM_E_INVALID);
    cr_assert_eq(cbm_command(client, "", &json), CBM_E_INVALID);
    cr_assert_eq(cbm_command(client, "\x81\xa2op\xa4ping", &json), CBM_E_INVALID, "no way around the typed requests");
    cr_assert_null(json);
    cr_assert_eq(cbm_command(client, "stats", NULL), CBM_E_INVALID);
    cbm_close(client);
    fake_broker_stop(broker);
}

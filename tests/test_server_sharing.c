/*
 * Ledgers that come and go, breakers that do under their holders, and what makes no sense.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "codec.h"
#include "counting_engine.h"
#include "dispatch.h"
#include "engine_inner.h"
#include "error.h"
#include "sp.h"

TestSuite(server_sharing, .init = counting_set_up, .fini = counting_tear_down, .timeout = 60);

/* ---- Coming and going --------------------------------------------------------------------------------------------------- */

Test(server_sharing, a_process_that_is_gone_loses_nothing_that_it_counted)
{
    counting_client *other = counting_client_new(engine, 2);
    counting_handle handle = counting_get(client, "a", ""), others = counting_get(other, "a", "");

    counting_successes(&others, 9);
    counting_entry(&others)->late = 1;
    cbm_engine_ledger_end(engine, other->holder);
    cbm_engine_ledger_end(engine, other->holder);
    cr_assert_eq(recorded(&handle), 10);
    cr_assert_eq(recorded_statistics(&handle).late_reports, 1);
    cr_assert_eq(ended, 0, "who says so knows it");
    counting_client_free(other);
}

Test(server_sharing, a_probe_belongs_to_the_process_and_not_to_its_connection)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=1 permit_lease_ms=0");
    int error;

    open_and_wait(&handle);
    begin(client, "a", &error);
    cr_assert_eq(error, 0);
    cbm_engine_caller_gone(engine, &client->caller);
    cr_assert_eq(counting_status(&handle).permits_out, 1);
    cbm_engine_ledger_end(engine, client->holder);
    cr_assert_eq(board_state(&handle), CBM_CORE_OPEN, "a worker that died in the probe is a failed one");
    cr_assert_eq(counting_status(&handle).statistics.abandoned, 1);
}

Test(server_sharing, a_detached_ledger_is_nobodys_holder)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=1 permit_lease_ms=0");
    cbm_caller stranger = {.uid = 1000, .pid = 7, .holder = 7, .connection = 7, .correlation_id = ""};
    int error;

    counting_successes(&handle, 2);
    cr_assert_eq(cbm_engine_detach(engine, &stranger, client->ledger->id), CBM_PROTO_E_NOT_FOUND);
    cr_assert_eq(cbm_engine_detach(engine, &client->caller, client->ledger->id), 0);
    cr_assert_eq(cbm_engine_detach(engine, &client->caller, client->ledger->id), CBM_PROTO_E_NOT_FOUND);
    cr_assert_eq(ended, 1);
    cr_assert_eq(recorded(&handle), 2);
    open_and_wait(&handle);
    begin(client, "a", &error);
    cr_assert_eq(error, 0);
    cbm_engine_caller_gone(engine, &client->caller);
    cr_assert_eq(counting_status(&handle).statistics.abandoned, 1, "its permits are its connection's again");
}

Test(server_sharing, a_ledger_that_comes_again_goes_on)
{
    counting_handle handle = counting_get(client, "a", "");
    uint64_t holder = client->holder;

    counting_successes(&handle, 2);
    cr_assert_eq(counting_client_attach(client), 0);
    cr_assert_eq(client->holder, holder);
    cr_assert_eq(recorded(&handle), 2);
    counting_successes(&handle, 3);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 5);
    cr_assert_eq(counting_status(&handle).statistics.late_reports, 0);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 0);
    cr_assert_eq(ended, 0);
}

Test(server_sharing, a_ledger_is_not_taken_from_who_has_it)
{
    counting_client thief = *client;

    thief.caller.pid = 2;
    cr_assert_eq(counting_client_attach(&thief), CBM_PROTO_E_DENIED);
    thief.caller = client->caller;
    thief.caller.uid = 1001;
    cr_assert_eq(counting_client_attach(&thief), CBM_PROTO_E_DENIED);
}

Test(server_sharing, who_names_anothers_ledger_gets_no_entry_and_no_say)
{
    cbm_caller thief = {.uid = 1000, .pid = 2, .holder = 2, .connection = 2, .correlation_id = ""};
    cbm_ledger_claim claim = {.ledger = client->ledger->id, .wanted = -1, .entry = -1};
    cbm_core_policy_request policy = {0};
    cbm_core_get_result result;

    cr_assert_eq(cbm_engine_get(engine, &thief, "a", &policy, &claim, &result), 0);
    cr_assert_eq(claim.entry, -1);
    cr_assert_eq(thief.holder, 2);
}

Test(server_sharing, a_new_broker_takes_what_the_old_one_did_not_see_as_statistics_only)
{
    counting_handle handle;
    cbm_engine *old = engine;
    cbm_core_status status;

    counting_get(client, "b", "");
    handle = counting_get(client, "a", "failure_threshold=2");
    cr_assert_eq(handle.entry, 1);
    counting_successes(&handle, 6);
    engine = new_engine((cbm_engine_options){0});
    counting_client_move(client, engine);
    handle.client = client;
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 1, "it names its entries");
    status = counting_status(&handle);
    cr_assert_eq(status.statistics.successful_calls, 6);
    cr_assert_eq(status.statistics.late_reports, 6);
    counting_successes(&handle, 1);
    status = counting_status(&handle);
    cr_assert_eq(status.statistics.successful_calls, 7);
    cr_assert_eq(status.statistics.late_reports, 6);
    cbm_engine_free(old);
}

Test(server_sharing, a_process_without_a_pid_ends_with_its_connection)
{
    cbm_caller caller = {.uid = 1000, .holder = 5, .connection = 5, .correlation_id = ""};
    counting_client nameless = *client;
    uint8_t token[CBM_ID_SIZE];
    int64_t now_ns;

    cr_assert_eq(cbm_engine_detach(engine, &client->caller, client->ledger->id), 0);
    nameless.caller = caller;
    cr_assert_eq(counting_client_attach(&nameless), CBM_PROTO_E_DENIED, "who has no token has no connection");
    cr_assert_eq(cbm_engine_attach(engine, &caller, token, &now_ns), 0);
    cr_assert(caller.holds, "so that its end is told");
    cr_assert_eq(counting_client_attach(&nameless), 0);
    cr_assert_eq(engine->shared.ledgers.count, 1);
    cbm_engine_caller_gone(engine, &caller);
    cr_assert_eq(engine->shared.ledgers.count, 0);
    cr_assert_eq(ended, 2);
    cr_assert_eq(counting_client_attach(&nameless), CBM_PROTO_E_DENIED, "the token may come late");
}

Test(server_sharing, a_process_without_a_pid_does_not_end_when_the_broker_stops)
{
    cbm_caller caller = {.uid = 1000, .holder = 5, .connection = 5, .correlation_id = ""};
    uint8_t token[CBM_ID_SIZE];
    int64_t now_ns;

    cr_assert_eq(cbm_engine_detach(engine, &client->caller, client->ledger->id), 0);
    client->caller = caller;
    cr_assert_eq(cbm_engine_attach(engine, &caller, token, &now_ns), 0);
    cr_assert_eq(counting_client_attach(client), 0);
    cbm_engine_on_ledger_ended(engine, NULL, NULL);
    cbm_engine_caller_gone(engine, &caller);
    cr_assert_eq(engine->shared.ledgers.count, 1, "what was taken of it is to be stored");
}

static cbm_reply ask(const cbm_request *request)
{
    cbm_scratch *scratch = cbm_scratch_get();
    cbm_buffer bytes;
    cbm_reply reply;
    cbm_fault fault;

    cbm_buffer_init(&bytes, CBM_REQUEST_MAX);
    cr_assert_eq(cbm_request_encode(request, &bytes), 0);
    cr_assert(cbm_dispatch(engine, &client->caller, bytes.data, bytes.size, scratch));
    cr_assert_eq(
        cbm_reply_decode(scratch->body.data, scratch->body.size, cbm_operations[request->op].reply, &reply, &fault), 0,
        "%s", fault.message);
    cbm_buffer_deinit(&bytes);
    return reply;
}

Test(server_sharing, its_operations_come_by_message)
{
    static const uint8_t nothing[CBM_ID_SIZE];
    cbm_request get = {.op = CBM_OP_GET, .given = CBM_FIELD(NAME) | CBM_FIELD(LEDGER), .name = "a"};
    cbm_request pull = {.op = CBM_OP_PULL, .given = CBM_FIELD(NAME), .name = "a"};
    cbm_request detach = {.op = CBM_OP_DETACH, .given = CBM_FIELD(LEDGER)};
    counting_handle handle = counting_get(client, "a", "");
    cbm_reply reply;

    memcpy(get.ledger, client->ledger->id, CBM_ID_SIZE);
    memcpy(detach.ledger, client->ledger->id, CBM_ID_SIZE);
    cr_assert(ask(&(cbm_request){.op = CBM_OP_INFO}).data.info.shared_memory);
    reply = ask(&(cbm_request){.op = CBM_OP_ATTACH});
    cr_assert_eq(reply.error, 0);
    cr_assert_arr_neq(reply.data.attach.token, nothing, CBM_ID_SIZE);
    cr_assert_leq(reply.data.attach.now_ns, cbm_clock_ns());
    cr_assert_eq(ask(&get).data.get.entry, 0);
    get.given |= CBM_FIELD(ENTRY);
    get.entry = 17;
    strcpy(get.name, "b");
    cr_assert_eq(ask(&get).data.get.entry, 17);
    counting_successes(&handle, 3);
    cr_assert_eq(ask(&pull).error, 0);
    cr_assert_eq(recorded(&handle), 3);
    cr_assert_eq(ask(&detach).error, 0);
    cr_assert_eq(ask(&detach).error, CBM_PROTO_E_NOT_FOUND);
    cr_assert_eq(ask(&get).data.get.entry, -1);
}

Test(server_sharing, without_a_way_to_hand_ledgers_over_there_is_no_token)
{
    cbm_engine_on_ledger_ended(engine, NULL, NULL);
    cr_assert_eq(ask(&(cbm_request){.op = CBM_OP_ATTACH}).error, CBM_PROTO_E_UNSUPPORTED);
    cr_assert_not(ask(&(cbm_request){.op = CBM_OP_INFO}).data.info.shared_memory);
}

Test(server_sharing, ledgers_and_their_entries_are_charged_to_their_user)
{
    cbm_quota_limits limits = {.each = {[CBM_QUOTA_LEDGERS] = 1, [CBM_QUOTA_LEDGER_BYTES] = 10000}};
    cbm_engine *saved = engine;
    counting_client *charged;
    counting_handle handle;
    cbm_quota_usage usage;
    cbm_quota *quota;

    cr_assert_eq(cbm_quota_new(&quota, &limits), 0);
    engine = new_engine((cbm_engine_options){.quota = quota});
    charged = counting_client_new(engine, 1);
    cr_assert_eq(counting_client_attach(charged), 0, "the same one again is no second one");
    handle = counting_get(charged, "a", "");
    counting_get_again(&handle);
    cr_assert_eq(counting_get(charged, "b", "").entry, 1);
    cr_assert_eq(counting_get(charged, "c", "").entry, -1, "that is too much, so it goes by message");
    cr_assert_eq(cbm_quota_list(quota, 1000, &usage, 1), 1);
    cr_assert_eq(usage.used[CBM_QUOTA_LEDGERS], 1);
    cr_assert_eq(usage.used[CBM_QUOTA_LEDGER_BYTES], 2 * 4096);
    cr_assert_eq(cbm_engine_detach(engine, &charged->caller, charged->ledger->id), 0);
    cr_assert_eq(cbm_quota_list(quota, 1000, &usage, 1), 1);
    cr_assert_eq(usage.used[CBM_QUOTA_LEDGERS], 0);
    cr_assert_eq(usage.used[CBM_QUOTA_LEDGER_BYTES], 0);
    charged->ledger->id[0]++;
    cr_assert_eq(counting_client_attach(charged), 0);
    charged->ledger->id[0]++;
    cr_assert_eq(counting_client_attach(charged), CBM_PROTO_E_FULL);
    counting_client_free(charged);
    cbm_engine_free(engine);
    cbm_quota_free(quota);
    engine = saved;
}

/* ---- Breakers that go and come again ------------------------------------------------------------------------------------ */

Test(server_sharing, a_breaker_that_is_made_again_begins_anew_in_the_same_entry)
{
    counting_handle handle = counting_get(client, "a", "");
    uint64_t removed;

    counting_successes(&handle, 4);
    cr_assert_eq(cbm_engine_remove(engine, &client->caller, "a", &removed), 0);
    cr_assert_eq(counting_succeed(&handle, counting_word(&handle, NULL) ^ CBM_WORD_GENERATION_MASK), NOT_COUNTED);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 0);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 0);
    counting_successes(&handle, 2);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 2);
}

Test(server_sharing, reset_manager_takes_all_breakers_and_no_watermark)
{
    counting_handle handle = counting_get(client, "a", ""), other = counting_get(client, "b", "");
    cbm_core_stats stats;

    counting_successes(&handle, 4);
    counting_successes(&other, 4);
    cr_assert_eq(cbm_engine_reset_manager(engine, &client->caller), 0);
    cbm_engine_pull_ledgers(engine);
    cbm_engine_stats(engine, &stats);
    cr_assert_eq(stats.total_operations, 0);
    counting_get_again(&other);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 0);
    cr_assert_eq(other.entry, 1);
    counting_successes(&handle, 1);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 1);
    cr_assert_eq(counting_status(&other).statistics.successful_calls, 0);
}

Test(server_sharing, a_breaker_that_is_only_called_by_ledger_does_not_expire)
{
    counting_handle handle = counting_get(client, "a", "expire_after_s=1"),
                    idle = counting_get(client, "b", "expire_after_s=1");
    int64_t end_ns = cbm_clock_ns() + 1500 * CBM_CORE_NS_PER_MS;
    cbm_core_status status;

    while (cbm_clock_ns() < end_ns) {
        counting_successes(&handle, 1);
        wait_until(cbm_clock_ns() + 10 * CBM_CORE_NS_PER_MS);
    }
    cr_assert_eq(cbm_engine_state_of(engine, "b", &status), CBM_PROTO_E_NOT_FOUND);
    cr_assert_neq(cbm_word_generation(counting_word(&idle, NULL)), idle.generation);
    cr_assert_eq(counting_status(&handle).slot_generation, handle.generation);
}

/* ---- What makes no sense ------------------------------------------------------------------------------------------------- */

Test(server_sharing, a_ledger_that_makes_no_sense_is_given_up_and_the_process_goes_on_by_message)
{
    counting_client *other = counting_client_new(engine, 2);
    counting_handle handle = counting_get(client, "a", "failure_threshold=2"), others = counting_get(other, "a", "");
    cbm_core_state state;
    int error;

    counting_entry(&handle)->successes[0] = UINT64_C(1) << 50;
    counting_successes(&others, 3);
    cr_assert_eq(counting_report(&others, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    cr_assert_eq(recorded(&others), 3);
    cr_assert_eq(counting_status(&others).failures, 1, "it clears nothing either");
    state = begin(client, "a", &error);
    cr_assert_eq(state, CBM_CORE_CLOSED);
    cr_assert_eq(error, 0);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, -1);
    cr_assert_eq(ended, 0, "its process is watched still, for its permits");
    cr_assert_eq(engine->shared.ledgers.count, 2);
    cbm_engine_ledger_end(engine, client->holder);
    cr_assert_eq(engine->shared.ledgers.count, 1);
    counting_client_free(other);
}

Test(server_sharing, a_ledger_that_was_given_up_may_come_again)
{
    counting_handle handle = counting_get(client, "a", "");

    counting_successes(&handle, 3);
    cr_assert_eq(cbm_engine_pull(engine, &client->caller, "a"), 0);
    counting_entry(&handle)->successes[cbm_word_epoch(counting_word(&handle, NULL)) % CBM_LEDGER_EPOCHS] = 2;
    cr_assert_eq(cbm_engine_pull(engine, &client->caller, "a"), 0);
    counting_entry(&handle)->successes[cbm_word_epoch(counting_word(&handle, NULL)) % CBM_LEDGER_EPOCHS] = 3;
    cr_assert_eq(counting_client_attach(client), 0);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 0);
    counting_successes(&handle, 1);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 4);
}

Test(server_sharing, a_ledger_of_another_kind_is_refused)
{
    client->ledger->version++;
    cr_assert_eq(counting_client_attach(client), CBM_PROTO_E_INVALID);
}

/* Who may report may trip any breaker, by ledger as by message; but that is all that it can do. */
Test(server_sharing, forged_permits_are_late_or_refused)
{
    counting_handle handle = counting_get(client, "a", ""), other = counting_get(client, "b", "");
    cbm_core_permit forged[] = {
        {.slot = UINT32_MAX, .slot_generation = handle.generation, .flags = UINT32_MAX},
        {.slot = handle.slot, .slot_generation = UINT32_MAX, .epoch = UINT32_MAX, .flags = UINT32_MAX},
        {.slot = handle.slot, .slot_generation = handle.generation, .epoch = UINT32_MAX},
        {.slot = handle.slot, .slot_generation = handle.generation, .id = UINT64_MAX},
        {.slot = other.slot, .slot_generation = other.generation},
    };
    size_t count = sizeof forged / sizeof forged[0];
    cbm_report_message message = {.name = "a", .outcome = CBM_CORE_FAILURE, .duration_ns = -1, .count = 1};
    cbm_core_state state;

    for (size_t i = 0; i < count; i++) {
        message.permit_size = cbm_permit_write(message.permit, &forged[i], cbm_engine_incarnation(engine));
        cr_assert_eq(cbm_engine_call_report(engine, &client->caller, &message, &state),
                     i == count - 1 ? CBM_PROTO_E_INVALID : 0);
    }
    cr_assert_eq(statistics(&handle).late_reports, count - 1);
    cr_assert_eq(counting_status(&handle).failures, 0);
}

//! The promises of one delivery, end to end through the public API: each case on SQLite and PostgreSQL, on postroom's own
//! broker and on nats-server, by the same code.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its set-up too"
)]

mod batches;
mod cases;
mod deaths;
mod elsewhere;
mod flow;
mod functions;
mod line;
mod order;
mod probe;
mod says;
#[path = "../servers/mod.rs"]
mod servers;
mod start;
mod terms;
mod timely;
mod traces;
mod trouble;
mod world;

use batches::*;
use cases::*;
use deaths::*;
use elsewhere::*;
use flow::*;
use functions::*;
use order::*;
use says::*;
use start::*;
use terms::*;
use timely::*;
use traces::*;
use trouble::*;
use world::World;

/// Runs each case on every pair of database and broker.
macro_rules! everywhere {
    ($($case:ident),+ $(,)?) => {
        everywhere!(@on sqlite_and_postroom, World::sqlite_and_postroom, $($case),+);
        everywhere!(@on sqlite_and_nats_server, World::sqlite_and_nats_server, $($case),+);
        everywhere!(@on postgres_and_postroom, World::postgres_and_postroom, $($case),+);
        everywhere!(@on postgres_and_nats_server, World::postgres_and_nats_server, $($case),+);
    };
    (@on $pair:ident, $world:path, $($case:ident),+) => {
        mod $pair {
            use super::World;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($world().await).await;
            })+
        }
    };
}

everywhere![
    a_function_is_a_handler_and_its_arguments_commit_with_it,
    a_transaction_that_is_asked_for_twice_is_given_once,
    each_message_is_handled_once_and_what_it_publishes_arrives_once,
    a_failed_attempt_leaves_nothing_behind_and_is_retried,
    sql_of_the_handler_commits_with_the_delivery_or_not_at_all,
    a_permanent_failure_is_in_the_table_and_on_the_stream_byte_for_byte,
    used_up_attempts_end_as_a_letter_with_their_history,
    panics_and_timeouts_are_failed_attempts,
    a_second_copy_is_suppressed_and_a_reused_key_is_a_letter,
    what_cannot_be_read_is_a_letter_not_a_loss,
    a_snooze_spends_no_attempt,
    discarded_work_is_acked_and_leaves_nothing,
    a_lost_effect_is_sent_again_or_held_as_the_handler_chose,
    a_replayed_letter_is_handled_once_more,
    draining_finishes_what_runs_and_puts_back_what_does_not_end,
    a_handler_that_outlasts_its_lease_keeps_it,
    work_of_a_process_that_died_runs_again,
    three_deaths_of_the_process_are_enough,
    what_kills_its_readers_before_it_is_claimed_is_poison,
    the_broker_is_not_told_to_wait_for_a_lease_that_was_lost,
    an_effect_whose_commit_failed_is_not_forgotten,
    an_error_says_nothing_of_an_effect_unless_the_handler_does,
    last_words_that_cannot_commit_do_not_cost_the_letter,
    a_replay_whose_work_was_done_by_another_copy_is_over,
    headers_with_nul_hold_up_nothing,
    what_the_broker_refuses_holds_up_nothing_else,
    a_claim_that_waited_for_the_database_is_as_good_as_any,
    a_handler_that_costs_itself_the_lease_ends_and_says_why,
    a_schedule_fires_once_however_many_processes_have_it,
    a_schedule_that_cannot_be_kept_is_an_error_at_start,
    a_message_for_later_arrives_once_at_its_time_in_whatever_process,
    messages_of_a_key_arrive_in_the_order_of_their_commits,
    a_trace_goes_on_in_what_a_handler_publishes_and_in_its_letter,
    a_message_without_a_trace_begins_one_that_outlives_its_death,
    a_letter_tells_what_each_attempt_logged,
    a_busy_key_keeps_its_limit_and_holds_up_no_other,
    no_more_are_begun_than_the_rate_allows,
    a_stuck_handler_loses_its_slot_and_its_message,
    an_ordered_key_goes_in_the_order_of_the_stream_whatever_becomes_of_each,
    an_ordered_key_goes_on_when_another_process_has_settled_what_it_waits_for,
    each_key_keeps_its_rate_and_holds_up_no_other,
    each_item_of_a_batch_has_its_own_end,
    sql_of_a_batch_settles_all_of_it,
    sql_of_a_batch_with_a_failure_is_rolled_back_and_done_again_one_by_one,
    an_item_that_panics_takes_its_batch_down_once_and_dies_alone,
    an_item_that_hangs_takes_its_batch_down_once_and_dies_alone,
    an_error_of_a_whole_batch_is_one_items_when_it_runs_alone,
    a_batch_that_is_not_full_goes_in_time,
    what_a_draining_process_has_not_begun_is_another_ones_at_once,
    a_request_and_its_copy_are_given_one_result,
    a_handler_that_pauses_itself_rests_and_then_goes_on,
    a_paused_handler_takes_nothing_in_any_process_until_it_is_resumed,
    a_handler_that_can_look_up_a_lost_effect_is_asked,
    older_versions_are_read_and_unknown_ones_are_letters,
    a_renamed_handler_goes_on_where_the_old_one_stopped,
    what_on_the_broker_can_outlive_the_ledger_is_refused_by_name,
    what_comes_back_after_the_ledger_has_forgotten_it_is_a_letter,
    letters_of_other_clients_are_rows_once,
    what_the_broker_gives_up_is_a_letter_even_of_times_when_nobody_listened,
    a_replay_that_the_broker_refuses_is_a_dead_letter_again,
    a_lost_termination_is_no_second_letter,
    a_stream_that_is_deleted_under_a_worker_is_made_again,
];

/// What is the same on any database and broker is tested on one pair.
macro_rules! somewhere {
    ($($case:ident),+ $(,)?) => { everywhere!(@on anywhere, World::sqlite_and_postroom, $($case),+); };
}

somewhere![
    a_batch_handler_that_is_registered_as_another_is_refused,
    what_a_function_or_a_layer_lacks_is_an_error_at_start,
    an_argument_that_cannot_be_taken_has_the_verdict_of_its_error,
    layers_stand_around_the_handlers_they_are_for_the_first_outermost,
    the_error_of_a_layer_is_a_failed_attempt_with_its_own_verdict,
    a_layer_of_towers_own_cuts_the_handler_off,
    a_layer_that_fails_after_an_effect_leaves_it_unknown,
];

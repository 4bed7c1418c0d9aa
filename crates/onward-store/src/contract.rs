//! What every engine must do, written against the port. An engine's own tests call each of these with an
//! empty store whose clock stands at [`at`]`(0)`; [`every_contract`] lists them.

pub(crate) mod accepting;
pub(crate) mod alerting;
pub(crate) mod attending;
pub(crate) mod climbing;
pub(crate) mod closing;
pub(crate) mod damaged;
pub(crate) mod delivering;
pub(crate) mod elsewhere;
pub(crate) mod erasing;
pub(crate) mod evidence;
pub(crate) mod keeping;
pub(crate) mod leasing;
pub(crate) mod letters;
pub(crate) mod lifecycle;
pub(crate) mod operations;
pub(crate) mod people;
pub(crate) mod placing;
pub(crate) mod readdressing;
pub(crate) mod responding;
pub(crate) mod retention;
pub(crate) mod retracing;
pub(crate) mod sealing;
pub(crate) mod showing;
pub(crate) mod subject;
pub(crate) mod subscribing;
pub(crate) mod versions;

use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use onward_core::audit::{AuditRow, AuditWord};
use onward_core::directory::Endpoint;
use onward_core::state::{HoldReason, RecipientKind};
use onward_core::store::{
    Acceptance, Accepted, Held, HoldSeen, NewDelivery, NewHold, NewTransfer, ReplyWanted, Store, StoredAudit,
};
use onward_core::{DeliveryId, HoldId, NhsNumber, OdsCode, TransferId};

use crate::sealing::{KeyEncryption, KeyRing};

/// Makes one test of every contract: `every_contract!(open)`, where `open()` gives a guard and an `Arc<dyn Store>`,
/// or nothing where the engine is not there.
macro_rules! every_contract {
    ($open:path) => {
        $crate::contract::every_contract!($open, accepting:
            what_is_accepted_reads_back,
            a_repeat_gets_the_first_answer,
            an_identifier_is_not_used_for_other_bytes,
            a_document_is_accepted_once_for_each_sender,
            identical_messages_at_once_make_one_transfer,
            messages_at_once_keep_the_log_dense,
            what_fails_leaves_nothing,
            a_hold_is_released_once,
            everything_about_a_person_is_read_without_opening_it,
            a_hold_changes_with_its_reason,
            a_closed_transfer_is_not_sent,
        );
        $crate::contract::every_contract!($open, placing:
            what_is_collected_is_placed_at_once_in_the_order_in_which_it_is_due,
            placing_keeps_lanes_pauses_and_leases,
            placing_at_once_places_each_once,
        );
        $crate::contract::every_contract!($open, delivering:
            a_copy_is_leased_to_one,
            claims_at_once_never_share_a_copy,
            what_is_about_to_be_sent_is_told_with_its_lease,
            a_copy_of_which_nothing_can_be_told_hinders_no_other,
            an_expired_lease_is_fenced_off,
            a_late_end_counts_while_nobody_else_claimed,
            a_retry_waits_for_its_moment,
            a_lane_keeps_its_order,
            other_lanes_flow,
            a_failed_copy_frees_its_lane_and_can_be_queued_again,
            an_acknowledgement_may_overtake_the_end_of_its_attempt,
            a_stale_version_changes_nothing,
            one_of_many_transitions_wins,
            responses_are_queued_once,
            reading_is_recorded_with_the_bytes,
            an_inbox_is_read_before_the_dispatcher_comes_by,
            lists_are_filtered_and_paged,
            what_a_person_must_decide_about_is_listed_in_order,
            tasks_of_transfers_and_copies_stand_in_one_list,
            a_transfer_is_found_by_the_status_that_it_shows,
            tasks_are_found_by_when_they_changed,
        );
        $crate::contract::every_contract!($open, versions:
            a_later_version_ends_the_earlier_copies,
            a_later_version_never_overtakes_what_is_being_sent,
            a_version_has_one_successor,
            every_earlier_copy_must_be_accounted_for,
            a_predecessor_is_found_by_document_or_set,
            what_waits_for_its_predecessor_is_found_and_joined,
            what_comes_after_its_replacement_is_kept_as_ended,
            a_replacement_is_joined_with_what_came_meanwhile,
            what_a_closed_replacement_replaces_is_void_in_the_same_commit,
            an_earlier_version_that_is_held_is_overtaken,
            a_replacement_that_stays_held_is_joined_all_the_same,
            what_is_withdrawn_before_it_was_joined_takes_the_earlier_one_along,
        );
        $crate::contract::every_contract!($open, lifecycle:
            what_may_have_left_gets_a_notice,
            a_withdrawn_transfer_takes_its_earlier_versions_along,
            whoever_has_an_earlier_version_is_told_of_a_withdrawal,
            a_withdrawn_replacement_that_was_held_leaves_nobody_with_the_earlier_one,
            whoever_does_not_get_the_next_version_is_told_of_what_they_have,
            a_recalled_copy_tells_nothing_any_more,
            only_the_newest_is_held_to_be_rerouted_and_once,
            what_others_have_of_a_recalled_version_is_used_until_the_next_is_sent,
            a_release_takes_back_what_went_elsewhere,
            a_pause_holds_back_and_discards_nothing,
            claims_leave_out_endpoints,
            a_checkup_accounts_for_every_transfer,
            a_decision_about_another_state_of_a_hold_is_overtaken,
        );
        $crate::contract::every_contract!($open, closing:
            what_a_person_took_care_of_is_nobodys_work_any_more,
            what_a_system_did_not_process_is_closed_and_what_was_declined_is_not,
            who_opens_a_closed_copy_leaves_it_closed,
        );
        $crate::contract::every_contract!($open, responding:
            a_response_that_was_handed_over_can_fail_and_goes_again,
        );
        $crate::contract::every_contract!($open, retracing:
            what_asks_for_a_retrace_is_found,
            a_retrace_that_changes_nothing_is_noted_once,
            a_retrace_sends_to_another_practice_once,
            what_has_moved_on_is_not_retraced,
        );
        $crate::contract::every_contract!($open, erasing:
            entries_have_a_header,
            keys_are_counted_and_need_no_wrapping_anew,
            an_erased_person_is_gone_and_others_stay,
            an_erasure_needs_two_people_and_yields_to_a_legal_hold,
            what_came_before_the_person_was_known_is_erased_with_them,
        );
        $crate::contract::every_contract!($open, sealing:
            reasons_are_read_until_the_person_is_erased,
            what_a_copy_withholds_is_read_until_the_person_is_erased,
        );
        $crate::contract::every_contract!($open, retention:
            a_month_goes_but_for_what_must_stay,
            what_has_lost_its_content_is_not_sent_again,
            what_a_system_could_not_process_stays_until_it_is_settled,
            people_go_when_nothing_was_recorded_about_them_since,
            rows_go_when_they_are_over,
            a_plan_is_carried_out_once,
        );
        $crate::contract::every_contract!($open, letters:
            a_letter_is_read_whole_in_every_copy,
            a_letter_stays_as_long_as_a_copy_of_it,
            a_long_month_goes_with_its_letters,
            each_letter_goes_with_the_last_copy_that_has_it,
            a_letter_is_erased_with_its_person,
            a_released_copy_finds_its_letter_there,
        );
        $crate::contract::every_contract!($open, leasing:
            leases_follow_their_model,
        );
        $crate::contract::every_contract!($open, attending:
            a_reader_is_kept_once,
            a_step_and_its_change_are_one,
            a_step_is_not_kept_without_its_audit,
            a_step_tells_others_in_its_own_commit,
            an_arrival_knows_where_the_log_deals_with_it,
            arrivals_are_the_homes_own,
            arrivals_go_on_after_the_last,
            settled_items_follow_the_latest_word,
            what_was_told_of_the_person_outlasts_the_version,
        );
        $crate::contract::every_contract!($open, keeping:
            clients_are_replaced,
            a_token_dies_with_what_it_rests_on,
            one_of_many_redemptions_wins,
            used_assertions_are_kept_until_they_expire,
            a_token_rests_on_the_client_that_was_checked,
            a_foreign_token_is_used_first_once,
            the_directory_keeps_versions,
            an_entry_is_amended_as_it_was_seen,
            a_code_that_two_homes_claim_names_neither,
            checkpoints_only_grow,
            the_log_is_read_in_parts,
            an_organisation_finds_its_own_entries,
            what_was_asked_before_is_the_senders_too,
            entries_are_found_by_what_they_say,
            found_entries_are_paged_from_the_newest,
            figures_tell_how_things_stand,
            what_nobody_has_read_is_told_by_kind_of_recipient,
            readiness_commits,
            the_schema_is_told,
        );
        $crate::contract::every_contract!($open, showing:
            lists_are_found_by_whom_they_showed,
            an_export_is_found_by_its_identifier,
            what_a_list_showed_stands_beside_its_entry,
            an_erased_person_is_still_told_apart,
        );
        $crate::contract::every_contract!($open, subject:
            what_people_wrote_and_decided_is_part_of_the_record,
        );
        $crate::contract::every_contract!($open, evidence:
            cosignatures_are_kept_by_checkpoint_and_witness,
            what_was_sent_is_kept_once_with_its_entry,
            policies_are_kept_from_the_moment_that_they_are_in_force,
            the_log_is_forwarded_by_one_at_a_time,
            what_came_is_reported_with_its_times,
            whoever_was_held_at_a_moment_is_counted,
        );
        $crate::contract::every_contract!($open, operations:
            what_has_not_left_is_counted_by_cause,
            a_retry_is_the_same_and_a_replay_is_labelled,
            a_copy_waits_since_a_person_sent_it_and_is_given_up_unsent,
            many_copies_are_sent_again_by_one_decision,
            two_people_decide_together,
        );
        $crate::contract::every_contract!($open, readdressing:
            what_is_sent_again_goes_where_its_recipient_receives_now,
            what_is_queued_goes_along_with_a_changed_address,
            what_was_read_before_an_import_is_not_queued_for_the_former_address,
            what_is_being_sent_during_an_import_goes_to_the_new_address_when_it_is_tried_again,
            every_address_that_may_have_a_copy_is_told_of_its_end,
            an_address_to_which_nothing_was_sent_is_told_nothing,
            an_address_to_which_a_copy_came_back_is_told_of_its_end,
            what_is_told_where_nobody_is_any_more_holds_up_nothing_of_the_recipients,
            what_left_after_a_copy_that_is_sent_again_is_counted,
            what_mesh_finds_by_the_person_is_only_their_own_practices,
        );
        $crate::contract::every_contract!($open, elsewhere:
            whoever_has_an_earlier_version_where_the_newer_one_does_not_go_is_told_once,
            a_copy_that_follows_or_is_sent_again_elsewhere_is_marked_each_time,
            a_mark_of_which_nobody_needs_to_be_told_is_forgotten,
            what_ended_otherwise_meanwhile_is_not_told_as_replaced,
            one_that_never_left_passes_on_whom_it_was_to_tell,
            where_it_is_just_being_sent_nobody_is_told_yet,
            one_that_waited_and_takes_the_place_of_what_comes_late_is_looked_at,
        );
        $crate::contract::every_contract!($open, alerting:
            what_needs_a_person_is_raised_once_and_cleared,
            a_subscription_that_is_given_up_needs_a_person,
            an_organisation_that_has_closed_needs_a_person_until_it_is_said_to_stand,
            that_a_replacement_was_refused_ends_with_what_it_was_to_replace,
            one_of_many_nodes_raises_an_alert,
            answers_that_are_missing_are_a_concern,
            what_waits_too_long_to_be_sent_is_told_once_for_each_recipient,
            what_a_system_refuses_needs_a_person_and_what_a_home_declines_its_ward,
            what_no_row_tells_is_cleared_by_who_knows,
            that_background_work_falls_ends_by_who_stands_again_or_after_a_day,
            a_home_is_told_of_what_waits_where_that_is_asked_for,
            a_notification_is_due_until_it_has_ended,
        );
        $crate::contract::every_contract!($open, climbing:
            an_unread_copy_climbs_its_ladder,
            an_arrival_long_after_its_message_is_not_forgotten,
            what_is_held_when_the_person_comes_climbs_its_ladder,
            a_notice_to_stop_that_nobody_opens_climbs_its_ladder,
            a_notice_to_stop_that_has_not_left_is_a_concern_until_it_fails,
        );
        $crate::contract::every_contract!($open, subscribing:
            subscriptions_are_kept_changed_and_removed,
            one_of_many_nodes_makes_a_call,
            a_failing_call_is_tried_again_and_given_up,
            what_concerns_nobody_is_passed_over,
            what_changed_is_told_to_whose_it_is,
        );
        $crate::contract::every_contract!($open, people:
            accounts_are_replaced_and_share_no_address,
            looks_that_follow_one_another_are_one,
            one_of_many_uses_of_an_invitation_wins,
            an_invitation_replaces_what_was_lost,
            a_passkey_belongs_to_one_account,
            a_code_and_a_counter_work_once,
            a_session_dies_with_what_it_rests_on,
            a_new_session_replaces_that_of_its_browser,
            a_subject_stands_for_one_account,
            a_providers_logout_ends_its_sessions_once,
            one_of_many_takers_gets_a_ceremony,
            failed_attempts_are_counted_and_forgotten,
            people_change_what_they_are_recognised_by,
            people_see_and_end_their_own_sessions,
            sessions_side_by_side_are_limited,
        );
        $crate::contract::every_contract!($open, damaged:
            what_cannot_be_read_is_parked_with_its_audit_and_makes_no_attempt,
            a_damaged_count_or_key_hinders_no_other_and_is_told_all_the_same,
            what_cannot_be_placed_is_left_to_a_claim,
            a_damaged_version_or_count_keeps_no_attempt_from_its_end,
            a_copy_that_is_damaged_is_a_persons_and_its_version_is_mended,
            a_program_from_before_a_kind_ends_no_alert_that_stands,
            a_list_goes_on_without_what_cannot_be_read_and_says_so,
        );
    };
    ($open:path, damaged: $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let Some((guard, store)) = $open().await else { return };
                $crate::contract::damaged::$name(store, &guard).await;
            }
        )+
    };
    ($open:path, $group:ident: $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                // An engine that is not there says so itself.
                let Some((_guard, store)) = $open().await else { return };
                $crate::contract::$group::$name(store).await;
            }
        )+
    };
}
pub(crate) use every_contract;

pub(crate) type Shared = Arc<dyn Store>;

/// Key-encryption keys, the same for every store of this process.
pub(crate) fn keys() -> Arc<dyn KeyEncryption> {
    static RING: LazyLock<String> =
        LazyLock::new(|| KeyRing::with_new_key(None, "first").expect("randomness").to_string());
    Arc::new(KeyRing::from_text(&RING).expect("a ring"))
}

/// A moment of the tests.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000).expect("in range") + SignedDuration::from_secs(seconds)
}

pub(crate) fn ods(code: &str) -> OdsCode {
    code.parse().expect("an ODS code")
}

/// A patient of the test range, by number.
pub(crate) fn patient(n: u32) -> NhsNumber {
    (0..)
        .map(|skip| n * 20 + skip)
        .find_map(|n| (0..10).find_map(|check| format!("999{n:06}{check}").parse().ok()))
        .expect("one of twenty numbers has a check digit")
}

pub(crate) fn row(word: AuditWord) -> AuditRow {
    let id = TransferId::random().to_string();
    AuditRow {
        event: format!("{{\"id\":\"{id}\"}}").into_bytes(),
        id,
        recorded: at(0),
        word,
        transfer: None,
        delivery: None,
        agent: "ward-system".to_owned(),
        organisation: None,
        patient: None,
        success: true,
        shown: Vec::new(),
        contents: None,
    }
}

pub(crate) fn delivery(kind: RecipientKind, recipient: &str) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::random(),
        kind,
        recipient: ods(recipient),
        recipient_name: "The Recipient".to_owned(),
        endpoint: Endpoint::Inbox {},
        directory: None,
        media_type: "application/fhir+json".to_owned(),
        body: b"what travels".to_vec(),
        html: Some(b"<p>what travels</p>".to_vec()),
        card: Some(b"{}".to_vec()),
        correlation_id: None,
        workflow: None,
        basis: "direct care, policy 1".to_owned(),
        disclosure: "{}".to_owned(),
        acknowledgement_awaited: true,
        notice: None,
    }
}

/// A message with its own identifiers, about its own patient, with one copy for a home.
pub(crate) fn acceptance(n: u32) -> Acceptance {
    Acceptance {
        transfer: NewTransfer {
            id: TransferId::random(),
            sender: ods("RXH"),
            client_id: "ward-system".to_owned(),
            message_id: format!("message-{n}"),
            document_id: Some(format!("document-{n}")),
            document_set_id: Some(format!("set-{n}")),
            dated: None,
            version: 1,
            replaces: None,
            awaits: None,
            event: "ITK003D".to_owned(),
            received: at(0),
            expected: Some(at(7200)),
            patient: Some(patient(n)),
            care_home: Some(ods("VM1AB")),
            reply: ReplyWanted {
                infrastructure: true,
                business: false,
                mailbox: Some("X26ABC1".parse().expect("a mailbox")),
                header_id: format!("header-{n}"),
                sender_reference: Some("reference".to_owned()),
                workflow: Some("TOC_FHIR_IP_DISCH_ACK".parse().expect("a workflow")),
            },
            media_type: "application/fhir+xml".to_owned(),
            body: format!("<body {n}/>\u{0}\u{feff}").into_bytes(),
            body_sha256: [n.to_le_bytes()[0]; 32],
            response: format!("response {n}").into_bytes(),
        },
        deliveries: vec![delivery(RecipientKind::CareHome, "VM1AB")],
        hold: None,
        late: None,
        endings: Vec::new(),
        audit: vec![row(AuditWord::Accept)],
        audit_if_repeat: row(AuditWord::Duplicate),
        audit_if_conflict: row(AuditWord::Refuse),
        held: Held::default(),
    }
}

/// A message with a copy for each kind of recipient, and as many entries as one comes to.
pub(crate) fn whole_message(n: u32) -> Acceptance {
    let mut whole = acceptance(n);
    let recipients = RecipientKind::ALL.iter().filter(|kind| **kind != RecipientKind::Sender);
    let codes = ["VM1AB", "A82608", "A82609", "FA123", "FA124"];
    whole.deliveries = recipients.zip(codes).map(|(kind, code)| delivery(*kind, code)).collect();
    let about = |word, delivery| AuditRow {
        transfer: Some(whole.transfer.id),
        delivery,
        organisation: Some(ods("RXH")),
        patient: whole.transfer.patient.clone(),
        ..row(word)
    };
    let accepted = std::iter::once(about(AuditWord::Accept, None));
    let told = whole.deliveries.iter().flat_map(|copy| {
        [AuditWord::Intend, AuditWord::Disclose, AuditWord::Acknowledge, AuditWord::Read]
            .map(|word| about(word, Some(copy.id)))
    });
    let looked = std::iter::repeat_with(|| about(AuditWord::Query, None)).take(4);
    whole.audit = accepted.chain(told).chain(looked).collect();
    whole
}

pub(crate) fn hold() -> NewHold {
    NewHold {
        id: HoldId::random(),
        reason: HoldReason::RestrictedPatient,
        detail: "PDS says R".to_owned(),
        owner: "discharge team".to_owned(),
        due: at(3600),
    }
}

/// How this hold stands; of one that is not open, of none.
pub(crate) async fn seen(store: &Shared, hold: HoldId) -> HoldSeen {
    store.open_hold(hold).await.expect("readable").map(|held| held.seen).unwrap_or_default()
}

/// Accepts a new message and gives the identifier of its first copy.
pub(crate) async fn accept_new(store: &Shared, acceptance: Acceptance) -> DeliveryId {
    let first = acceptance.deliveries[0].id;
    assert_eq!(store.accept(acceptance).await, Ok(Accepted::New));
    first
}

/// The whole log, after checking that its positions are dense.
pub(crate) async fn log(store: &Shared) -> Vec<StoredAudit> {
    let entries = store.audit_entries(0, 1_000_000).await.expect("readable");
    let positions: Vec<u64> = entries.iter().map(|entry| entry.index).collect();
    assert_eq!(positions, (0..entries.len() as u64).collect::<Vec<_>>(), "positions count from 0 without gaps");
    entries
}

/// Runs all at once and gives their results in any order.
pub(crate) async fn at_once<T, R>(store: &Shared, count: u32, run: impl Fn(Shared, u32) -> R) -> Vec<T>
where
    T: Send + 'static,
    R: Future<Output = T> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..count {
        tasks.spawn(run(Arc::clone(store), n));
    }
    tasks.join_all().await
}

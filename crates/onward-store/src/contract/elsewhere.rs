//! Who has an earlier version where the newer one does not go any more.

use onward_core::DeliveryId;
use onward_core::audit::AuditWord;
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::{
    Acceptance, Again, AttemptOutcome, Ending, Late, NewDelivery, Notice, NoticeElsewhere, Readdressed, Resend,
    StoreError, ToldElsewhere, Whereto,
};

use super::delivering::{claim, end};
use super::lifecycle::{ending, next_version, take_back};
use super::readdressing::{copy, goes_to, https, import, pharmacy};
use super::{Shared, accept_new, acceptance, at, log, patient, row};

/// No marks.
const NONE: [u64; 0] = [];

fn sent() -> AttemptOutcome {
    AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None }
}

/// A version's only copy.
fn at_old() -> Vec<NewDelivery> {
    vec![copy(RecipientKind::PharmacyReferral, "FA123", https("old"))]
}

/// The first version, which was sent to `old`, and the second, which waits for it.
async fn two_versions(store: &Shared, n: u32) -> ([Acceptance; 2], [DeliveryId; 2]) {
    let mut first = acceptance(n);
    first.transfer.patient = Some(patient(n));
    first.deliveries = at_old();
    let one = accept_new(store, first.clone()).await;
    let lease = claim(store, 1).await.remove(0);
    assert!(end(store, &lease, sent(), 2).await);
    let mut second = Acceptance { deliveries: at_old(), ..next_version(n + 1, &first, &[]) };
    second.transfer.patient = Some(patient(n));
    let by = Some(second.deliveries[0].id);
    second.endings = vec![Ending { by, ..ending(one, EndReason::Superseded) }];
    let two = accept_new(store, second.clone()).await;
    ([first, second], [one, two])
}

fn told(mark: u64, of: DeliveryId, address: &str, named: bool) -> ToldElsewhere {
    let notice = NewDelivery {
        notice: Some(Notice { of, why: EndReason::Superseded }),
        ..copy(RecipientKind::PharmacyReferral, "FA123", https(address))
    };
    ToldElsewhere {
        mark,
        notices: vec![NoticeElsewhere { notice, named }],
        at: at(10),
        audit: vec![row(AuditWord::Withdraw)],
    }
}

async fn marks(store: &Shared) -> Vec<u64> {
    store.readdressed(0, 9).await.expect("readable").iter().map(|found| found.mark).collect()
}

pub(crate) async fn whoever_has_an_earlier_version_where_the_newer_one_does_not_go_is_told_once(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let (_, [one, two]) = two_versions(&store, 1).await;
    assert_eq!((store.has_arrived(one).await, store.has_arrived(two).await), (Ok(true), Ok(false)));
    // One that took no other's place.
    let mut alone = acceptance(3);
    alone.deliveries = at_old();
    let alone = accept_new(&store, alone).await;
    assert_eq!(marks(&store).await, NONE);
    import(&store, pharmacy(https("new")), 3).await;
    assert_eq!((goes_to(&store, two).await, goes_to(&store, alone).await), (https("new"), https("new")));
    let found = store.readdressed(0, 9).await.expect("readable");
    let [Readdressed { mark, copy }] = found[..] else { panic!("{found:?}") };
    assert_eq!((copy, store.readdressed(0, 0).await, store.readdressed(mark, 9).await), (two, Ok(vec![]), Ok(vec![])));

    let entries = log(&store).await.len();
    assert_eq!(store.tell_elsewhere(told(mark, one, "old", true)).await, Ok(true));
    assert_eq!(store.tell_elsewhere(told(mark, one, "old", true)).await, Ok(false), "another node has");
    assert_eq!((log(&store).await.len(), marks(&store).await), (entries + 1, NONE.to_vec()));
    // Neither the newer version nor the notice waits for the other, and the notice is about whom the copy there is about.
    let leases = claim(&store, 20).await;
    let mut going: Vec<_> = leases.iter().map(|lease| lease.delivery.endpoint.told()).collect();
    going.sort();
    assert_eq!(going, [https("new").told(), https("new").told(), https("old").told()]);
    let notice = leases.iter().find(|lease| lease.delivery.notice.is_some()).expect("claimed");
    assert_eq!(notice.delivery.patient, Some(patient(1)));
    assert_eq!(notice.delivery.notice.as_ref().map(|notice| notice.of), Some(one));
}

pub(crate) async fn a_copy_that_follows_or_is_sent_again_elsewhere_is_marked_each_time(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let (_, [one, two]) = two_versions(&store, 1).await;
    let lease = claim(&store, 3).await.remove(0);
    import(&store, pharmacy(https("new")), 4).await;
    assert_eq!(marks(&store).await, NONE, "it is being sent to where the earlier one is");
    assert!(end(&store, &lease, AttemptOutcome::Failed { reason: "404".to_owned() }, 5).await);
    let to = Whereto::Directory { from: https("old"), to: https("new") };
    let again = Again { how: Resend::Retry, to };
    assert_eq!(store.requeue(two, again, "Ada Wells", "mended", at(6), vec![row(AuditWord::Release)]).await, Ok(true));
    assert_eq!(marks(&store).await.len(), 1, "a person sent it again");
    let lease = claim(&store, 7).await.remove(0);
    import(&store, pharmacy(https("newest")), 8).await;
    let again = AttemptOutcome::Retry { at: at(500), reason: "503".to_owned() };
    assert!(end(&store, &lease, again, 9).await);
    assert_eq!(goes_to(&store, two).await, https("newest"));
    assert_eq!(store.has_arrived(two).await, Ok(false), "two attempts came to nothing");
    let found = marks(&store).await;
    assert_eq!(found.len(), 2, "it followed");
    assert!(found.is_sorted());
    // Where it is not known to have arrived they are not told about whom it is.
    assert_eq!(store.tell_elsewhere(told(found[0], one, "elsewhere", false)).await, Ok(true));
    assert_eq!(marks(&store).await, found[1..]);
    let notice = claim(&store, 20).await.remove(0).delivery;
    assert_eq!((notice.endpoint, notice.patient), (https("elsewhere"), None));
    let twice = store.tell_elsewhere(told(found[1], one, "elsewhere", false)).await;
    assert_eq!((twice, marks(&store).await), (Err(StoreError::Overtaken), found[1..].to_vec()), "they were told by it");
    let both = ["here", "there"].map(|address| told(found[1], one, address, false));
    let mut both = both.into_iter();
    let mut together = both.next().expect("one");
    together.notices.extend(both.flat_map(|told| told.notices));
    assert_eq!(store.tell_elsewhere(together).await, Ok(true), "two addresses of one version");
    assert_eq!((marks(&store).await, claim(&store, 20).await.len()), (NONE.to_vec(), 2));
}

pub(crate) async fn a_mark_of_which_nobody_needs_to_be_told_is_forgotten(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    two_versions(&store, 1).await;
    import(&store, pharmacy(https("new")), 3).await;
    let found = marks(&store).await;
    let nobody = ToldElsewhere { mark: found[0], notices: Vec::new(), at: at(21), audit: Vec::new() };
    assert_eq!(store.tell_elsewhere(nobody).await, Ok(true));
    assert_eq!(marks(&store).await, NONE);
}

pub(crate) async fn what_ended_otherwise_meanwhile_is_not_told_as_replaced(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let ([_, second], [one, two]) = two_versions(&store, 1).await;
    import(&store, pharmacy(https("new")), 3).await;
    let found = marks(&store).await;
    let endings = [two, one].map(|of| ending(of, EndReason::Withdrawn)).to_vec();
    assert_eq!(store.take_back(take_back(&second, Some(EndReason::Withdrawn), endings)).await, Ok(true));
    let (entries, waiting) = (log(&store).await.len(), claim(&store, 70).await.len());
    assert_eq!(store.tell_elsewhere(told(found[0], one, "old", true)).await, Err(StoreError::Overtaken));
    assert_eq!((log(&store).await.len(), marks(&store).await), (entries, found), "what is refused leaves nothing");
    assert_eq!(claim(&store, 71).await.len() + waiting, waiting);
}

pub(crate) async fn one_that_never_left_passes_on_whom_it_was_to_tell(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let ([_, second], [one, two]) = two_versions(&store, 1).await;
    assert_eq!(marks(&store).await, NONE, "what takes the place of a first version tells of it by its end");
    // The third goes elsewhere; of the second nothing ever left.
    let elsewhere = vec![copy(RecipientKind::PharmacyReferral, "FA123", https("new"))];
    let mut third = Acceptance { deliveries: elsewhere, ..next_version(3, &second, &[]) };
    third.transfer.patient = Some(patient(1));
    let three = third.deliveries[0].id;
    third.endings = vec![Ending { by: Some(three), ..ending(two, EndReason::Superseded) }];
    accept_new(&store, third).await;
    let found = store.readdressed(0, 9).await.expect("readable");
    let [Readdressed { mark, copy }] = found[..] else { panic!("{found:?}") };
    assert_eq!(copy, three);
    assert_eq!(store.tell_elsewhere(told(mark, one, "old", true)).await, Ok(true));
    let mut going: Vec<_> = claim(&store, 20).await.into_iter().map(|lease| lease.delivery.endpoint.told()).collect();
    going.sort();
    assert_eq!(going, [https("new").told(), https("old").told()]);
}

pub(crate) async fn one_that_waited_and_takes_the_place_of_what_comes_late_is_looked_at(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let mut first = acceptance(1);
    first.deliveries = at_old();
    let one = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 1).await.remove(0);
    assert!(end(&store, &lease, sent(), 2).await);
    // The newest comes before the one that it replaces, which replaces the first; and moves before that comes.
    let mut newest = acceptance(3);
    newest.transfer.awaits = Some("second".to_owned());
    newest.deliveries = at_old();
    let three = accept_new(&store, newest.clone()).await;
    import(&store, pharmacy(https("new")), 3).await;
    assert_eq!(marks(&store).await, NONE);
    let mut late = next_version(2, &first, &[]);
    late.deliveries.clear();
    late.transfer.document_id = Some("second".to_owned());
    late.late = Some(Late {
        by: newest.transfer.id,
        why: EndReason::Superseded,
        reason: "a later version came before it".to_owned(),
        earlier_stay: false,
    });
    late.endings = vec![Ending { by: Some(three), ..ending(one, EndReason::Superseded) }];
    assert_eq!(store.accept(late).await, Ok(onward_core::store::Accepted::New));
    let found = store.readdressed(0, 9).await.expect("readable");
    assert_eq!(found.iter().map(|found| found.copy).collect::<Vec<_>>(), [three]);
}

pub(crate) async fn where_it_is_just_being_sent_nobody_is_told_yet(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let mut first = acceptance(1);
    first.deliveries = at_old();
    let one = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 1).await.remove(0);
    // It is replaced while it is being sent, and its recipient moves.
    let mut second = Acceptance { deliveries: at_old(), ..next_version(2, &first, &[]) };
    let by = Some(second.deliveries[0].id);
    second.endings = vec![Ending { by, ..ending(one, EndReason::Superseded) }];
    accept_new(&store, second).await;
    import(&store, pharmacy(https("new")), 2).await;
    let found = marks(&store).await;
    assert_eq!(store.tell_elsewhere(told(found[0], one, "old", false)).await, Err(StoreError::Overtaken));
    assert_eq!((marks(&store).await, store.has_arrived(one).await), (found.clone(), Ok(false)));
    end(&store, &lease, sent(), 3).await;
    // Whether or not it ends, it is over with the lease.
    let mut later = told(found[0], one, "old", false);
    later.at = at(60);
    assert_eq!(store.tell_elsewhere(later).await, Ok(true));
    let mut going: Vec<_> = claim(&store, 60).await.into_iter().map(|lease| lease.delivery.endpoint.told()).collect();
    going.sort();
    assert_eq!(going, [https("new").told(), https("old").told()], "neither waits for the other");
}

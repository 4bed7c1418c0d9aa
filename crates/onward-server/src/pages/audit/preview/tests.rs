use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::oneshot;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000 + seconds).expect("a moment")
}

/// How many were drawn, and how many at once.
#[derive(Default)]
struct Drawn {
    drawn: AtomicUsize,
    drawing: AtomicUsize,
}

impl Drawn {
    /// Draws as soon as it may, and tells how many that makes.
    async fn draw(self: Arc<Self>, may: impl Future) -> anyhow::Result<Preview> {
        assert_eq!(self.drawing.fetch_add(1, SeqCst), 0, "one at a time");
        may.await;
        tokio::task::yield_now().await;
        self.drawing.store(0, SeqCst);
        let drawn = self.drawn.fetch_add(1, SeqCst) + 1;
        Ok(Preview { warnings: vec![drawn.to_string()], ..Preview::default() })
    }
}

#[tokio::test]
async fn what_a_request_would_let_out_is_found_out_once_a_minute_and_one_at_a_time() {
    let (previews, drawn) = (Previews::drawn_by(Arc::default()), Arc::<Drawn>::default());
    let (one, other) = (ApprovalId::random(), ApprovalId::random());
    let look = async |request: ApprovalId, seconds: i64| {
        let draw = Arc::clone(&drawn).draw(std::future::ready(()));
        let (preview, since) = previews.of(request, at(seconds), draw).await.expect("drawn");
        (preview.warnings.concat(), since)
    };
    let together = tokio::join!(look(one, 0), look(one, 0), look(other, 0), look(one, 0));
    let first = ("1".to_owned(), at(0));
    assert_eq!(together, (first.clone(), first.clone(), ("2".to_owned(), at(0)), first.clone()));
    assert_eq!(look(one, 59).await, first, "not anew for each look");
    assert_eq!(look(one, 60).await, ("3".to_owned(), at(60)));
    let failed = previews.of(other, at(120), async { Err(anyhow::anyhow!("no store")) }).await;
    assert!(failed.is_err());
    assert_eq!(look(other, 121).await, ("4".to_owned(), at(121)), "a failure is not kept");
}

#[tokio::test]
async fn what_is_known_waits_for_no_other_and_whoever_goes_away_lets_nobody_draw_beside_them() {
    let (previews, drawn) = (Arc::new(Previews::drawn_by(Arc::default())), Arc::<Drawn>::default());
    let (one, other) = (ApprovalId::random(), ApprovalId::random());
    let draw = || Arc::clone(&drawn).draw(std::future::ready(()));
    previews.of(one, at(0), draw()).await.expect("drawn");
    let (begun, begins) = oneshot::channel();
    let (go_on, may) = oneshot::channel::<()>();
    let looking = tokio::spawn({
        let (previews, drawn) = (Arc::clone(&previews), Arc::clone(&drawn));
        async move {
            let slow = drawn.draw(async move {
                begun.send(()).expect("waited for");
                may.await
            });
            previews.of(other, at(1), slow).await
        }
    });
    begins.await.expect("begun");
    let (known, _) = previews.of(one, at(2), draw()).await.expect("known, whatever is drawn");
    assert_eq!(known.warnings, ["1"]);
    looking.abort();
    assert!(looking.await.expect_err("aborted").is_cancelled());
    let (again, ()) = tokio::join!(previews.of(other, at(3), draw()), async {
        tokio::task::yield_now().await;
        go_on.send(()).expect("it is still drawn");
    });
    assert_eq!(again.expect("drawn").0.warnings, ["2"], "what was begun is what the next one gets");
    assert_eq!(drawn.drawn.load(SeqCst), 2);
}

#[tokio::test]
async fn what_was_found_out_is_gone_from_memory_when_its_time_is_over() {
    let previews = Previews { kept: Duration::from_millis(1), ..Previews::drawn_by(Arc::default()) };
    previews.of(ApprovalId::random(), at(0), async { Ok(Preview::default()) }).await.expect("found out");
    let gone = async {
        while !previews.known.lock().expect(UNBROKEN).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(KEPT, gone).await.expect("gone without another look");
}

#[test]
fn a_seal_tells_what_was_shown_for_a_quarter_of_an_hour_to_its_account_of_its_request() {
    let keys = ["onward/R9Z"; 2].map(|name| SigningKeys::generate(name).expect("a key"));
    let (request, who) = (ApprovalId::random(), UserId::random());
    let mut preview = Preview { warnings: vec!["Look through it.".to_owned()], ..Preview::default() };
    assert!(sealed(&keys[0], request, who, &preview, at(0)).is_err(), "nothing was counted");
    preview.fact(HOLDS, vec!["1 message".to_owned(), "2 files".to_owned()]);
    let seal = sealed(&keys[0], request, who, &preview, at(0)).expect("sealed");
    let digest = sha256_hex(b"1 message\n2 files\nLook through it.\n");
    let told = format!("shown at {}: 1 message; 2 files (SHA-256 of all that was shown: {digest})", at(0));
    for seconds in [0, 900, -900] {
        assert_eq!(opened(&keys[0], request, who, &seal, at(seconds)).as_ref(), Some(&told), "{seconds}");
    }
    for seconds in [901, -901] {
        assert_eq!(opened(&keys[0], request, who, &seal, at(seconds)), None, "{seconds}");
    }
    assert_eq!(opened(&keys[0], ApprovalId::random(), who, &seal, at(0)), None);
    assert_eq!(opened(&keys[0], request, UserId::random(), &seal, at(0)), None);
    assert_eq!(opened(&keys[1], request, who, &seal, at(0)), None);
}

#[test]
fn what_is_not_in_it_is_told_as_cut() {
    let cut = |unreadable: usize, kept: Kept| {
        let archive = Archive { files: Vec::new(), withheld: unreadable, by_rule: Vec::new(), unreadable };
        let mut preview = Preview::default();
        preview.archive(&archive, &kept);
        preview.facts.into_iter().find(|fact| fact.key == "Cut").expect("told").lines
    };
    let all = "No: everything that your organisation holds about the person is in it";
    assert_eq!(cut(0, Kept::default()), [all]);
    assert_eq!(cut(2, Kept::default()), ["2 files or entries withheld as a whole: it could not be read"]);
    let gone = Gone { messages: 0, copies: 2, notices: 1 };
    let lines = cut(0, Kept { gone, ..Kept::default() });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("2 copies no longer kept") && lines[1].starts_with("1 notice no longer kept"));
    let lines = cut(0, Kept { of_others: 1, ..Kept::default() });
    assert!(lines[0] == all && lines[1].contains("hospital that sent it"), "what is another's is not cut: {lines:?}");
}

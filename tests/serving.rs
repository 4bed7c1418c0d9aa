//! The gateway in a process of its own, for tests that watch its memory and its log.

#[test]
#[ignore = "started by other tests: it serves until it is killed"]
fn child() {
    onward_tests::process::child();
}

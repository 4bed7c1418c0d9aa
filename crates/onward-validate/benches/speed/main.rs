//! What a judgement costs beside a plain parse of the same bytes: ratios in one run, which hold where the clock of a busy machine does
//! not.
//!
//! `cargo bench -p onward-validate`. The documents declare profiles of UK Core where its package is at hand: in `../shared/data`, or
//! named by `SPEED_PACKAGE`. `SPEED_DOCUMENTS=FOLDER` writes them there, for other validators (`peers/run`).

mod documents;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use divan::Bencher;
use onward_fhir::read::{self, Limits};
use onward_validate::conformance::Conformance;
use onward_validate::{Findings, Severity, Validator};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

const SIZES: [usize; 4] = [5_000, 54_000, 60_000, 500_000];

static PACKAGE: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/uk-core");
    std::env::var_os("SPEED_PACKAGE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(shared)).filter(|path| path.is_dir()))
});

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let packages: Vec<PathBuf> = PACKAGE.iter().cloned().collect();
    Validator::new(Conformance::with_packages(&packages).expect("a package"))
});

fn main() {
    if let Some(folder) = std::env::var_os("SPEED_DOCUMENTS") {
        for size in SIZES {
            let path = PathBuf::from(&folder).join(format!("{size}.json"));
            std::fs::write(path, text(size)).expect("a folder to write to");
        }
    }
    match PACKAGE.as_deref() {
        Some(path) => println!("against FHIR R4 and {}", path.display()),
        None => println!("against FHIR R4 alone: no package"),
    }
    for size in SIZES {
        ratio(&text(size));
    }
    divan::main();
}

fn text(size: usize) -> String {
    documents::document(size, PACKAGE.is_some())
}

fn judge(text: &str) -> Findings {
    let tree = read::json(text, &Limits::default()).expect("FHIR JSON");
    VALIDATOR.validate(&tree, &[])
}

/// The best of many rounds, each measure in turn: a neighbour's burst hits both.
fn ratio(text: &str) {
    let findings = judge(text);
    let rounds = (4_000_000 / text.len()).clamp(10, 400);
    let (mut parse, mut judged) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        parse = parse.min(cpu(|| drop(serde_json::from_str::<Value>(text).expect("JSON"))));
        judged = judged.min(cpu(|| drop(judge(text))));
    }
    println!(
        "{:>7} bytes: parse {:>7.3} ms of CPU, read and judge {:>7.3} ms, ratio {:.1}; {} errors, {} other findings",
        text.len(),
        parse.as_secs_f64() * 1000.0,
        judged.as_secs_f64() * 1000.0,
        judged.as_secs_f64() / parse.as_secs_f64(),
        findings.count(Severity::Error),
        findings.len() - findings.count(Severity::Error),
    );
}

/// What the thread spends on the processor.
fn cpu(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let before = now();
    work();
    now().saturating_sub(before)
}

#[divan::bench(args = SIZES)]
fn parse(bencher: Bencher<'_, '_>, size: usize) {
    let text = text(size);
    bencher.bench(|| serde_json::from_str::<Value>(&text));
}

#[divan::bench(args = SIZES)]
fn read(bencher: Bencher<'_, '_>, size: usize) {
    let text = text(size);
    bencher.bench(|| read::json(&text, &Limits::default()));
}

#[divan::bench(args = SIZES)]
fn read_and_judge(bencher: Bencher<'_, '_>, size: usize) {
    let text = text(size);
    bencher.bench(|| judge(&text));
}

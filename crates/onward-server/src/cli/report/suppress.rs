//! Small numbers. A number from 1 to 4 could tell who somebody is; and so could a total, less the other numbers.

/// The smallest number that is shown, but for none.
const SHOWN_FROM: u64 = 5;

/// A column of counts whose total may be shown as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// Each count, `None` where it is suppressed.
    pub(super) counts: Vec<Option<u64>>,
    /// Their total.
    pub(super) total: Option<u64>,
}

/// Suppresses what is small, and as much beside it that the total does not reveal it.
///
/// Whoever knows the total and the counts shown knows the sum of those that are not. Each of these is at least 1 (none is
/// shown as 0), so that each may be anything up to the sum less one for each other. That bound must not be below
/// [`SHOWN_FROM`]: then every suppressed count may be any small number, or none of them.
pub(super) fn suppress(counts: &[u64]) -> Shown {
    let total = counts.iter().sum();
    let small = |count: u64| (1..SHOWN_FROM).contains(&count);
    let mut hidden: Vec<usize> = (0..counts.len()).filter(|at| small(counts[*at])).collect();
    let mut others: Vec<usize> = (0..counts.len()).filter(|at| counts[*at] >= SHOWN_FROM).collect();
    // The smallest first: as little as possible is lost. Of equals the first.
    others.sort_by_key(|at| std::cmp::Reverse((counts[*at], *at)));
    let is_safe = |hidden: &[usize]| {
        let sum: u64 = hidden.iter().map(|at| counts[*at]).sum();
        hidden.len() > 1 && sum >= SHOWN_FROM + hidden.len() as u64 - 1
    };
    let mut total_shown = !small(total);
    while !hidden.is_empty() && !is_safe(&hidden) {
        match others.pop() {
            Some(next) => hidden.push(next),
            None => {
                total_shown = false;
                break;
            }
        }
    }
    let shown = counts.iter().enumerate().map(|(at, count)| (!hidden.contains(&at)).then_some(*count));
    Shown { counts: shown.collect(), total: total_shown.then_some(total) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_numbers_and_what_would_reveal_them_are_suppressed() {
        type Case = (&'static [u64], &'static [Option<u64>], Option<u64>);
        let cases: [Case; 8] = [
            (&[10, 20], &[Some(10), Some(20)], Some(30)),
            (&[0, 7], &[Some(0), Some(7)], Some(7)),
            (&[3, 20, 9], &[None, Some(20), None], Some(32)),
            (&[1, 1, 8], &[None, None, None], Some(10)),
            (&[1, 1, 8, 30], &[None, None, None, Some(30)], Some(40)),
            (&[4, 4, 30], &[None, None, Some(30)], Some(38)),
            (&[2], &[None], None),
            (&[1, 2], &[None, None], None),
        ];
        for (counts, expected, total) in cases {
            let shown = suppress(counts);
            assert_eq!((shown.counts.as_slice(), shown.total), (expected, total), "{counts:?}");
        }
    }

    proptest! {
        /// An attacker who solves for every suppressed number finds none of the small ones, nor that it is small.
        #[test]
        fn a_total_minus_the_others_reveals_nothing(counts in prop::collection::vec(0_u64..40, 1..12)) {
            let shown = suppress(&counts);
            let hidden: Vec<u64> =
                counts.iter().zip(&shown.counts).filter(|(_, shown)| shown.is_none()).map(|(count, _)| *count).collect();
            prop_assert!(counts.iter().zip(&shown.counts).all(|(count, shown)| shown.is_none() || *shown == Some(*count)));
            prop_assert!(shown.counts.iter().flatten().all(|count| !(1..SHOWN_FROM).contains(count)));
            if let (Some(total), false) = (shown.total, hidden.is_empty()) {
                let known: u64 = shown.counts.iter().flatten().sum();
                let sum = total - known;
                let most = sum - (hidden.len() as u64 - 1);
                prop_assert!(hidden.len() > 1 && most >= SHOWN_FROM, "{counts:?} as {shown:?}");
            }
        }
    }
}

//! Small numbers. A number from 1 to 4 could tell who somebody is; and so could a total, less the other numbers.

/// The smallest number that is shown, but for none.
const SHOWN_FROM: u64 = 5;

/// A column of counts with its total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// Each count, `None` where it is suppressed. None at all where they are too few to be told apart: not even which of them are
    /// not 0 is told then.
    pub(super) counts: Option<Vec<Option<u64>>>,
    /// Their total, `None` only where it is small itself: other tables of the same report have the same total, and would tell it.
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
    let total_shown = (!small(total)).then_some(total);
    while !hidden.is_empty() && !is_safe(&hidden) {
        match others.pop() {
            Some(next) => hidden.push(next),
            None => return Shown { counts: None, total: total_shown },
        }
    }
    let shown = counts.iter().enumerate().map(|(at, count)| (!hidden.contains(&at)).then_some(*count));
    Shown { counts: Some(shown.collect()), total: total_shown }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_numbers_and_what_would_reveal_them_are_suppressed() {
        type Case = (&'static [u64], Option<&'static [Option<u64>]>, Option<u64>);
        let cases: [Case; 10] = [
            (&[10, 20], Some(&[Some(10), Some(20)]), Some(30)),
            (&[0, 7], Some(&[Some(0), Some(7)]), Some(7)),
            (&[3, 20, 9], Some(&[None, Some(20), None]), Some(32)),
            (&[1, 1, 8], Some(&[None, None, None]), Some(10)),
            (&[1, 1, 8, 30], Some(&[None, None, None, Some(30)]), Some(40)),
            (&[4, 4, 30], Some(&[None, None, Some(30)]), Some(38)),
            (&[2], None, None),
            (&[1, 2], None, None),
            // The total stands in other tables: these counts are known to be small as soon as their rows are told.
            (&[1, 4], None, Some(5)),
            (&[0, 1, 1, 1, 2], None, Some(5)),
        ];
        for (counts, expected, total) in cases {
            let shown = suppress(counts);
            assert_eq!((shown.counts.as_deref(), shown.total), (expected, total), "{counts:?}");
        }
    }

    proptest! {
        /// An attacker who knows the total, as another table may tell it, and solves for every suppressed number, finds none of the
        /// small ones, nor that it is small.
        #[test]
        fn a_total_minus_the_others_reveals_nothing(counts in prop::collection::vec(0_u64..40, 1..12)) {
            let shown = suppress(&counts);
            let total: u64 = counts.iter().sum();
            prop_assert_eq!(shown.total, (!(1..SHOWN_FROM).contains(&total)).then_some(total));
            let Some(told) = &shown.counts else { return Ok(()) };
            let hidden = told.iter().filter(|shown| shown.is_none()).count() as u64;
            prop_assert!(counts.iter().zip(told).all(|(count, shown)| shown.is_none() || *shown == Some(*count)));
            prop_assert!(told.iter().flatten().all(|count| !(1..SHOWN_FROM).contains(count)));
            if hidden > 0 {
                let most = total - told.iter().flatten().sum::<u64>() - (hidden - 1);
                prop_assert!(hidden > 1 && most >= SHOWN_FROM, "{counts:?} as {shown:?}");
            }
        }
    }
}

//! The steps of an engine's schema, and which programs can serve on what a step leaves.

use onward_core::store::Schema;

/// A step of the schema.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    /// Its statements.
    pub(crate) sql: &'static str,
    /// The oldest program that can serve on what it leaves, told by the newest version of the schema that such a program knows. A step
    /// that only adds (indexes, tables, columns that may be left out), so that what is stored reads as before, has that of the step
    /// before; so has one that drops an index which kept nothing apart, where earlier programs lose nothing but time. One that an earlier program could break at, or whose rows it could spoil, has its own version, and CHANGELOG says so. So has a
    /// step without statements, where a program comes to store at once what earlier ones cannot read without harm. What can wait until the operator
    /// has finished the upgrade asks for that instead, and its step lets earlier programs serve (`Schema::waits_for`).
    pub(crate) oldest_program: usize,
}

impl Migration {
    pub(crate) const fn new(sql: &'static str, oldest_program: usize) -> Self {
        Self { sql, oldest_program }
    }
}

/// What a program that finds a newer schema says of it, once, where the schema lets it serve.
pub(crate) fn tell_newer(schema: &Schema) {
    if schema.is_newer() {
        tracing::warn!(
            schema = schema.stored,
            program = schema.known,
            oldest_program = schema.oldest_program,
            "the database is a newer program's; its schema lets this one serve until it is replaced"
        );
    }
}

/// That the steps follow one another: none lets a program serve that one before it shuts out, none asks for more than its own program.
#[cfg(test)]
pub(crate) fn assert_in_order(steps: &[Migration]) {
    let mut before = 1;
    for (version, step) in (1..).zip(steps) {
        assert!((before..=version).contains(&step.oldest_program), "the step to version {version}");
        before = step.oldest_program;
    }
}

#[cfg(test)]
mod tests {
    use onward_core::audit::AuditWord;
    use onward_core::state::{DeliveryState, EndReason, HoldReason, RecipientKind, TransportKind};
    use onward_core::store::StepKind;
    use onward_core::store::alerts::AlertKind;

    use super::*;

    #[test]
    fn words_that_the_program_before_does_not_know_come_with_a_step_that_shuts_it_out() {
        // One more: can the program before read such a row, and does it leave it alone? If not, a step comes with it, maybe an empty one.
        let words = [
            ("alerts", AlertKind::ALL.len(), 18),
            ("entries", AuditWord::ALL.len(), 27),
            ("states", DeliveryState::ALL.len(), 10),
            ("ends", EndReason::ALL.len(), 5),
            ("holds", HoldReason::ALL.len(), 20),
            ("recipients", RecipientKind::ALL.len(), 6),
            ("steps of a home", StepKind::ALL.len(), 9),
            ("transports", TransportKind::ALL.len(), 3),
        ];
        for (what, known, when_last_judged) in words {
            assert_eq!(known, when_last_judged, "{what}");
        }
    }

    #[test]
    fn a_program_serves_on_what_it_knows_and_on_what_lets_it() {
        for (stored, known, oldest_program, serves) in [
            (7, 7, None, true),
            (6, 7, None, true),
            (7, 7, Some(7), true),
            (8, 7, Some(7), true),
            (9, 7, Some(2), true),
            (8, 7, Some(8), false),
            (9, 7, Some(8), false),
            (8, 7, None, false),
        ] {
            let schema = Schema { stored, known, oldest_program, waits_for: known };
            assert_eq!(schema.lets_serve(), serves, "{schema:?}");
        }
    }
}

//! Whether the numbers of beds that a home tells can be so: one place for its page and for files. A bed has one type, and is with or
//! without nursing besides, so that what all types together tell is no more than what the home has. Vacant beds of a type that is closed to
//! admission are not free: nobody can come into them.

use onward_core::directory::{Beds, Need, OwnWord};

use super::NotSo;

/// Something about a home's beds that cannot be so, or is probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BedProblem {
    /// The field of the home's form.
    pub field: String,
    /// The same as a path within an entry of a directory file (`beds_available.with_nursing`).
    pub path: String,
    /// All paths whose numbers this rests on: where one of them cannot be read, nothing is known.
    pub rests_on: Vec<String>,
    /// In words.
    pub why: String,
    /// Nothing contradicts itself: a file may say so, and whoever fills in the form is asked to say what is meant.
    pub doubtful: bool,
}

/// The first thing about a home's beds that its page does not take.
///
/// # Errors
/// When there is one.
pub fn judge(word: &OwnWord) -> Result<(), NotSo> {
    match bed_problems(word).into_iter().next() {
        None => Ok(()),
        Some(BedProblem { field, why, .. }) => Err(NotSo { field, why }),
    }
}

/// Everything about a home's beds that cannot be so, in the order of its form.
#[must_use]
pub fn bed_problems(word: &OwnWord) -> Vec<BedProblem> {
    let mut found = of_kinds("free", "beds_available", word.beds_available, word.beds_total, |told, all| {
        format!("There cannot be more free beds than beds: {told} of {all}")
    });
    for need in Need::ALL {
        let (told, title) = (word.capabilities.of(*need), need.title());
        let path = format!("capabilities.{}", need.as_str().replace('-', "_"));
        let more = |told, all| format!("{title}: there cannot be more beds than the home has: {told} of {all}");
        found.extend(of_kinds(need.as_str(), &format!("{path}.beds"), told.beds, word.beds_total, more));
        if !told.offered && told.beds != Beds::default() {
            found.push(BedProblem {
                field: need.as_str().to_owned(),
                path: format!("{path}.offered"),
                rests_on: vec![path],
                why: format!("{title}: tick it, or take the beds away: there are beds for it, and it is not offered"),
                doubtful: true,
            });
        }
    }
    found.extend(of_types(word));
    found
}

/// Beds with and without nursing are each no more than the home has.
fn of_kinds(field: &str, path: &str, beds: Beds, total: Beds, why: impl Fn(u32, u32) -> String) -> Vec<BedProblem> {
    let kinds = [
        ("with", "with_nursing", beds.with_nursing, total.with_nursing),
        ("without", "without_nursing", beds.without_nursing, total.without_nursing),
    ];
    let too_many = kinds.into_iter().filter(|(_, _, told, all)| told > all);
    too_many
        .map(|(part, name, told, all)| BedProblem {
            field: format!("{field}-{part}"),
            path: format!("{path}.{name}"),
            rests_on: vec![format!("{path}.{name}"), format!("beds_total.{name}")],
            why: why(told, all),
            doubtful: false,
        })
        .collect()
}

/// Beds by type, each for itself and all together.
fn of_types(word: &OwnWord) -> Vec<BedProblem> {
    let (total, free) = (word.beds_total.all(), word.beds_available.all());
    let (mut all_maximum, mut all_open) = (0_u64, 0_u64);
    let mut found = Vec::new();
    for (bed_type, beds) in word.beds_by_type.told() {
        let (title, name) = (bed_type.title(), bed_type.as_str().replace('-', "_"));
        let own = format!("beds_by_type.{name}");
        let (maximum, occupied, vacant) = (u64::from(beds.maximum), u64::from(beds.occupied), u64::from(beds.vacant));
        let open = if beds.closed { 0 } else { vacant };
        let (maximum_before, open_before) = (all_maximum, all_open);
        (all_maximum, all_open) = (all_maximum + maximum, all_open + open);
        let mut wrong = |part: &str, rests_on: [&str; 2], why: String| {
            found.push(BedProblem {
                field: format!("type-{bed_type}-{part}"),
                path: format!("{own}.{part}"),
                rests_on: rests_on.map(str::to_owned).to_vec(),
                why: format!("{title}: {why}"),
                doubtful: false,
            });
        };
        if maximum > total {
            let why = format!("there cannot be more beds than the home has: {maximum} of {total}");
            wrong("maximum", [&own, "beds_total"], why);
        } else if maximum > 0 && all_maximum > total && maximum_before <= total {
            let why = format!("with it the types have {all_maximum} beds together, and the home has {total}");
            wrong("maximum", ["beds_by_type", "beds_total"], why);
        }
        if beds.are_too_many() {
            let told = format!("{occupied} and {vacant} of {maximum}");
            wrong("vacant", [&own, &own], format!("occupied and vacant beds are more than there can be: {told}"));
        }
        if open > free {
            let why = format!("there cannot be more vacant beds than free beds of the home: {open} of {free}");
            wrong("vacant", [&own, "beds_available"], why);
        } else if open > 0 && all_open > free && open_before <= free {
            let why = format!("with it the types have {all_open} vacant beds together, and the home has {free} free");
            wrong("vacant", ["beds_by_type", "beds_available"], why);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use onward_core::directory::{BedTypes, Capabilities, Capability, Contact, TypedBeds};

    use super::*;

    fn word(total: (u32, u32), free: (u32, u32), types: BedTypes) -> OwnWord {
        let beds = |(with_nursing, without_nursing)| Beds { with_nursing, without_nursing };
        OwnWord {
            contact: Contact::default(),
            assesses_at_weekends: false,
            accepts_discharges_at_weekends: false,
            closed_to_admissions: false,
            beds_total: beds(total),
            beds_available: beds(free),
            beds_by_type: types,
            capabilities: Capabilities::default(),
        }
    }

    fn typed(maximum: u32, occupied: u32, vacant: u32) -> TypedBeds {
        TypedBeds { maximum, occupied, vacant, closed: false }
    }

    fn fields(word: &OwnWord) -> Vec<String> {
        bed_problems(word).into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn free_beds_are_no_more_than_beds_of_their_kind() {
        let none = BedTypes::default();
        for free in [(0, 0), (2, 3), (2, 0), (0, 3)] {
            assert_eq!(judge(&word((2, 3), free, none)), Ok(()), "{free:?}");
        }
        assert_eq!(fields(&word((2, 3), (3, 3), none)), ["free-with"]);
        assert_eq!(fields(&word((2, 3), (0, 4), none)), ["free-without"], "five beds in all are no excuse");
        let both = bed_problems(&word((2, 3), (3, 4), none));
        assert_eq!(
            both.iter().map(|each| each.path.as_str()).collect::<Vec<_>>(),
            ["beds_available.with_nursing", "beds_available.without_nursing"]
        );
    }

    #[test]
    fn a_need_has_no_more_beds_than_the_home_and_none_that_is_not_offered() {
        let with = |offered, beds| {
            let medical = Capability { offered, beds };
            let capabilities =
                Capabilities { intermediate_care_with_medical_responsibility: medical, ..Capabilities::default() };
            OwnWord { capabilities, ..word((2, 3), (0, 0), BedTypes::default()) }
        };
        let beds = |with_nursing, without_nursing| Beds { with_nursing, without_nursing };
        assert_eq!(judge(&with(true, beds(2, 3))), Ok(()));
        assert_eq!(judge(&with(false, beds(0, 0))), Ok(()));
        let need = "intermediate-care-with-medical-responsibility";
        assert_eq!(fields(&with(true, beds(3, 0))), [format!("{need}-with")]);
        assert_eq!(fields(&with(true, beds(0, 4))), [format!("{need}-without")]);
        let doubt = bed_problems(&with(false, beds(0, 1)));
        assert!(doubt.len() == 1 && doubt[0].doubtful && doubt[0].field == need, "{doubt:?}");
        assert_eq!(doubt[0].path, "capabilities.intermediate_care_with_medical_responsibility.offered");
    }

    #[test]
    fn a_type_has_no_more_beds_than_the_home_and_fills_no_more_than_it_has() {
        let of = |dementia| word((1, 9), (1, 2), BedTypes { dementia, ..BedTypes::default() });
        for fine in [typed(10, 7, 3), typed(10, 10, 0), typed(0, 0, 0), typed(3, 0, 3)] {
            assert_eq!(judge(&of(fine)), Ok(()), "{fine:?}");
        }
        assert_eq!(fields(&of(typed(11, 0, 0))), ["type-dementia-maximum"]);
        assert_eq!(fields(&of(typed(10, 8, 3))), ["type-dementia-vacant"]);
        assert_eq!(fields(&of(typed(10, 0, 4))), ["type-dementia-vacant"], "three beds of the home are free");
        assert_eq!(fields(&of(typed(0, 0, 1))), ["type-dementia-vacant"]);
        let most = typed(u32::MAX, u32::MAX, u32::MAX);
        assert_eq!(fields(&of(most)), ["type-dementia-maximum", "type-dementia-vacant", "type-dementia-vacant"]);
    }

    #[test]
    fn all_types_together_have_no_more_than_the_home() {
        let of = |general, nursing, short_stay| {
            word((4, 6), (1, 2), BedTypes { general, nursing, short_stay, ..BedTypes::default() })
        };
        assert_eq!(judge(&of(typed(4, 3, 1), typed(3, 2, 1), typed(3, 2, 1))), Ok(()), "ten of ten, three of three");
        let one_more = bed_problems(&of(typed(4, 3, 1), typed(4, 2, 1), typed(3, 2, 1)));
        assert_eq!(one_more.len(), 1, "told once, where it begins: {one_more:?}");
        assert_eq!(
            (one_more[0].field.as_str(), one_more[0].path.as_str()),
            ("type-short-stay-maximum", "beds_by_type.short_stay.maximum")
        );
        assert!(one_more[0].why.contains("11 beds together, and the home has 10"), "{}", one_more[0].why);
        assert_eq!(one_more[0].rests_on, ["beds_by_type", "beds_total"]);
        let vacant = of(typed(4, 2, 2), typed(3, 1, 2), typed(3, 3, 0));
        assert_eq!(fields(&vacant), ["type-nursing-vacant"], "the type that adds none is not blamed");
        // Where nobody is taken in, a bed is vacant and not free.
        let closed = |vacant| TypedBeds { closed: true, ..typed(vacant, 0, vacant) };
        assert_eq!(judge(&of(typed(4, 2, 2), closed(2), typed(3, 2, 1))), Ok(()), "in sum");
        assert_eq!(judge(&of(typed(4, 2, 2), closed(4), typed(0, 0, 0))), Ok(()), "nor for itself");
        let full = BedTypes { dementia: closed(4), ..BedTypes::default() };
        assert_eq!(judge(&word((0, 4), (0, 0), full)), Ok(()), "an empty unit that is closed");
        let more = TypedBeds { vacant: 5, ..closed(4) };
        let told = fields(&of(typed(0, 0, 0), more, typed(0, 0, 0)));
        assert_eq!(told, ["type-nursing-vacant"], "closed or not, no more are vacant than there are");
    }
}

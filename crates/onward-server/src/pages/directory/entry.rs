//! The form of a home's own entry.

use onward_core::Timestamp;
use onward_core::directory::{BedType, Beds, CareHome, Need};
use onward_gateway::directory::seal_of;
use onward_transform::render::dates;

use super::super::components::Field;
use super::super::sent;
use super::own::{Refused, Why};
use super::{age, beds};

/// One home and its form.
pub(super) struct OwnHome {
    pub(super) name: String,
    pub(super) ods: String,
    pub(super) place: String,
    pub(super) age: String,
    pub(super) old: bool,
    pub(super) free: String,
    pub(super) closed: bool,
    /// What stands there now, for the form to send along; what was sent, where the form comes back to be corrected.
    pub(super) stands: String,
    /// What a colleague made of it while the form was open, where that differs from what is in it now; nothing where nobody did.
    pub(super) overtaken: Option<Vec<String>>,
    pub(super) fixed: Vec<String>,
    pub(super) contact: Vec<Field>,
    pub(super) ticks: Vec<Tick>,
    pub(super) beds: [[Field; 2]; 2],
    pub(super) types: Vec<TypeRow>,
    pub(super) needs: Vec<NeedRow>,
}

/// A box to tick.
pub(super) struct Tick {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) words: &'static str,
    pub(super) ticked: bool,
}

/// Beds of one type.
pub(super) struct TypeRow {
    pub(super) title: &'static str,
    pub(super) counts: [Field; 3],
    pub(super) closed: Tick,
}

/// A need of the quick guide.
pub(super) struct NeedRow {
    pub(super) title: &'static str,
    pub(super) tick: Tick,
    pub(super) error: String,
    pub(super) with: Field,
    pub(super) without: Field,
}

impl OwnHome {
    /// As it stands; with what was sent, where that was not kept.
    pub(super) fn new(home: &CareHome, refused: Option<&Refused<'_>>, now: Timestamp) -> Self {
        let not_so = refused.and_then(|refused| match &refused.why {
            Why::NotSo(not_so) => Some(not_so),
            Why::Overtaken(_) => None,
        });
        // Whoever confirms sends nothing but that.
        let body = refused.map(|refused| refused.body).filter(|body| !sent(body, "form").is_empty());
        let error = |name: &str| {
            let of_this = not_so.filter(|not_so| not_so.field == name);
            of_this.map(|not_so| not_so.why.clone()).unwrap_or_default()
        };
        let field = |name: &str, label: &str, stands: String| Field {
            id: format!("{}-{name}", home.ods),
            value: body.map_or(stands, |body| sent(body, name)),
            error: error(name),
            ..Field::new(name, label)
        };
        let tick = |name: &str, words: &'static str, stands: bool| Tick {
            id: format!("{}-{name}", home.ods),
            name: name.to_owned(),
            words,
            ticked: body.map_or(stands, |body| sent(body, name) == "1"),
        };
        let pair = |key: &str, with: &str, without: &str, beds: Beds| {
            [
                field(&format!("{key}-with"), with, beds.with_nursing.to_string()),
                field(&format!("{key}-without"), without, beds.without_nursing.to_string()),
            ]
        };
        let need = |need: &Need| {
            let told = home.capabilities.of(*need);
            let [with, without] = pair(need.as_str(), "Beds with nursing", "Beds without nursing", told.beds);
            let tick = tick(need.as_str(), "We offer this", told.offered);
            NeedRow { title: need.title(), tick, error: error(need.as_str()), with, without }
        };
        let of_type = |bed_type: &BedType| {
            let told = home.beds_by_type.of(*bed_type);
            let count = |part: &str, label: &str, count: u32| {
                field(&format!("type-{bed_type}-{part}"), label, count.to_string())
            };
            TypeRow {
                title: bed_type.title(),
                counts: [
                    count("maximum", "Maximum", told.maximum),
                    count("occupied", "Occupied", told.occupied),
                    count("vacant", "Vacant", told.vacant),
                ],
                closed: tick(&format!("type-{bed_type}-closed"), "Closed to admission", told.closed),
            }
        };
        let contact = &home.contact;
        let (age, old) = age(home, now);
        // Whoever corrects a form has not seen what a colleague made of the entry meanwhile.
        let corrected = refused.filter(|_| not_so.is_some());
        let stands = corrected.map_or_else(|| seal_of(home), |refused| sent(refused.body, "stands"));
        let mut own = Self {
            name: home.name.clone(),
            ods: home.ods.to_string(),
            place: format!("{}, {}", home.address.join(", "), home.postcode),
            age,
            old,
            free: beds(home.beds_available),
            closed: home.closed_to_admissions,
            stands,
            overtaken: None,
            fixed: vec![
                format!("Covered by the practice {}", home.covering_practice),
                format!("Supplied by the pharmacy {}", home.delivering_pharmacy),
                format!("The entry is used until {}", dates::fhir(&home.expires.to_string())),
            ],
            contact: vec![
                field("contact", "Whom hospitals ring", contact.name.clone()),
                field("telephone", "Telephone", contact.telephone.clone()),
                field("email", "E-mail", contact.email.clone()),
                field("hours", "Admission hours, in words", contact.hours.clone()),
            ],
            ticks: vec![
                tick("assesses", "We assess people at weekends", home.assesses_at_weekends),
                tick("accepts", "We accept discharges at weekends", home.accepts_discharges_at_weekends),
                tick("closed", "We are closed to admissions at present", home.closed_to_admissions),
            ],
            beds: [
                pair("total", "All beds with nursing", "All beds without nursing", home.beds_total),
                pair("free", "Free beds with nursing", "Free beds without nursing", home.beds_available),
            ],
            types: BedType::ALL.iter().map(of_type).collect(),
            needs: Need::ALL.iter().map(need).collect(),
        };
        if refused.is_some_and(|refused| matches!(refused.why, Why::Overtaken(_))) {
            own.overtaken = Some(own.differences(&Self::new(home, None, now)));
        }
        own
    }

    /// What stands there now and otherwise in this form.
    fn differences(&self, stands: &Self) -> Vec<String> {
        let pairs = self.answers().into_iter().zip(stands.answers());
        let differing = pairs.filter(|(own, there)| own.1 != there.1);
        let quoted = |text: String| if text.is_empty() { "nothing".to_owned() } else { format!("“{text}”") };
        differing.map(|(own, there)| format!("{}: {} there, {} here", own.0, quoted(there.1), quoted(own.1))).collect()
    }

    /// What is asked, and the answer in words.
    fn answers(&self) -> Vec<(String, String)> {
        let of = |about: &str, field: &Field| {
            let name = if about.is_empty() { field.label.clone() } else { format!("{about}, {}", field.label) };
            // Numbers have names of several parts; one that is left out is 0.
            let value = match field.name.contains('-') {
                true => field.value.parse::<u32>().unwrap_or_default().to_string(),
                false => field.value.clone(),
            };
            (name, value)
        };
        let ticked = |about: &str, tick: &Tick| {
            let name = if about.is_empty() { tick.words.to_owned() } else { format!("{about}, {}", tick.words) };
            (name, if tick.ticked { "yes" } else { "no" }.to_owned())
        };
        let plain = self.beds.iter().flatten().chain(&self.contact).map(|field| of("", field));
        let ticks = self.ticks.iter().map(|tick| ticked("", tick));
        let types = self.types.iter().flat_map(|row| {
            let title = format!("{} beds", row.title);
            let counts: Vec<_> = row.counts.iter().map(|field| of(&title, field)).collect();
            counts.into_iter().chain([ticked(&title, &row.closed)])
        });
        let needs = self
            .needs
            .iter()
            .flat_map(|row| [ticked(row.title, &row.tick), of(row.title, &row.with), of(row.title, &row.without)]);
        plain.chain(ticks).chain(types).chain(needs).collect()
    }
}

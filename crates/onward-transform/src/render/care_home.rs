//! The care home's copy: the projected R4 document, and one page that a nurse can work from.

use onward_core::DeliveryId;
use onward_core::state::RecipientKind;
use onward_fhir::Tree;

use super::summary::Summary;
use super::{Card, Parties, Prepared, RenderError, Rendered, html, is_critical_for_care, r4_json};
use crate::disclose::Policy;

/// The discharge summary for the home, as an R4 document and as a page: medicines first, then allergies, alerts, the
/// plan, whom to ring, what the person needs, and the rest in PRSB's order.
///
/// # Errors
/// See [`RenderError`].
pub fn care_home(
    document: &Tree<'_>,
    policy: &Policy,
    parties: &Parties<'_>,
    delivery: DeliveryId,
) -> Result<Rendered, RenderError> {
    let kind = RecipientKind::CareHome;
    let prepared = Prepared::new(document, policy, kind, &parties.care_home.ods, parties, delivery)?;
    prepared.without_gaps(is_critical_for_care)?;
    let summary = Summary::new(&prepared, parties)?;
    let page = html::care_home(&prepared, &summary, parties)?;
    let body = r4_json(&prepared.projection.tree)?;
    let card = Some(Card::new(&summary, parties));
    Ok(Rendered { card, ..prepared.rendered(body, page) })
}

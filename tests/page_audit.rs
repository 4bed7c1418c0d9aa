//! Every page and outcome leaves exactly the audit events of a table, as `audit` says for the API.

use onward_core::client::Role as ClientRole;
use onward_core::directory::DirectoryEntry;
use onward_core::people::Role;
use onward_core::store::{NewBulk, Resend};
use onward_core::{BulkId, Clock as _, DeliveryId, SystemClock};
use onward_gateway::directory::seal_of;
use onward_tests::balp;
use onward_tests::browser::{self, Browser, PASSWORD, Person};
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::Value;

use crate::audit::{of_request, refuse_audit, told};
use crate::ended::notice_of;
use crate::lifecycle::{Version, copy_of, put};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// A browser without a session.
    Stranger,
    /// A person of the care home.
    HomeUser,
    /// An operator.
    Operator,
    /// An information-governance lead of the hospital.
    Lead,
    /// A ward coordinator of the hospital.
    Ward,
}
use Who::{HomeUser, Lead, Operator, Stranger, Ward};

/// Route, what stands for `{…}` in it, method, who, form, status, events.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    Who,
    &'static [(&'static str, &'static str)],
    u16,
    &'static [&'static str],
);

const NEW_PASSWORD: &str = "seven quiet marble stairs";
const SIGN_IN: &str = "/sign-in";
const RECORD: &str = "/transfers/{id}";
const LISTED: &str = "rest/search E0 Query Person home>onward";
const OPENED: &str = "rest/read R0 PatientRead Person home>onward patient";
const LOOKED_AT: &str = OPENED;
const DONE: &str = "rest/update U0 PatientUpdate Person home>onward patient";
const HOME_DENIED: &str = "110113 E8 - Person home>onward";
const SEARCHED: &str = "rest/search E0 Query Person ig>onward";
const BOARD: &str = "/operations";
const DELIVERY: &str = "/operations/deliveries/{id}";
const BOARD_SEEN: &str = "rest/search E0 Query Person ops>onward";
/// It shows no name, and the log says of whom it was.
const ONE_SEEN: &str = "rest/read R0 PatientRead Person ops>onward patient";
const BOARD_CHANGED: &str = "110100 E0 - Person ops>onward";
const REVEALED: &str = "110106/disclose R0 PrivacyDisclosure.Source onward>Person ops patient";
const INVITATION: &str = "/invitation/{token}";
const HOME: &str = "home@rowan.example";

/// In this order. `{used}` in a field is the code that set the account of the person of the home up, `{next}` that of the next step.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("/", "", "GET", HomeUser, &[], 200, &[]),
    ("/", "", "GET", Operator, &[], 200, &[]),
    ("/", "", "GET", Stranger, &[], 303, &[]),
    ("/inbox", "", "GET", HomeUser, &[], 200, &[LISTED]),
    ("/inbox", "?show=recent", "GET", HomeUser, &[], 200, &[LISTED]),
    ("/inbox", "?status=arrived&sort=name", "GET", HomeUser, &[], 200, &[LISTED]),
    ("/inbox", "?status=gone", "GET", HomeUser, &[], 400, &[]),
    ("/inbox", "", "HEAD", HomeUser, &[], 405, &[]),
    // A count that names nobody and lists nothing; a script asks every minute.
    ("/inbox/news", "?seen=0", "GET", HomeUser, &[], 200, &[]),
    ("/inbox/news", "?seen=yesterday", "GET", HomeUser, &[], 400, &[]),
    ("/inbox/news", "?seen=0", "GET", Operator, &[], 403, &["110113 E8 - Person ops>onward"]),
    ("/inbox", "", "GET", Operator, &[], 403, &["110113 E8 - Person ops>onward"]),
    ("/inbox", "", "GET", Stranger, &[], 303, &[]),
    (RECORD, "", "GET", HomeUser, &[], 200, &[OPENED]),
    (RECORD, "{other}", "GET", HomeUser, &[], 404, &[HOME_DENIED]),
    (RECORD, "unknown", "GET", HomeUser, &[], 404, &[]),
    (RECORD, "", "HEAD", HomeUser, &[], 405, &[]),
    (RECORD, "", "GET", Operator, &[], 403, &["110113 E8 - Person ops>onward"]),
    (RECORD, "", "GET", Stranger, &[], 303, &[]),
    ("/transfers/{id}/print", "", "GET", HomeUser, &[], 200, &[OPENED]),
    ("/transfers/{id}/print", "{other}", "GET", HomeUser, &[], 404, &[HOME_DENIED]),
    ("/transfers/{id}/pdf", "", "GET", HomeUser, &[], 200, &[OPENED]),
    ("/transfers/{id}/pdf", "{other}", "GET", HomeUser, &[], 404, &[HOME_DENIED]),
    ("/transfers/{id}/files/{number}", "", "GET", HomeUser, &[], 200, &[OPENED]),
    ("/transfers/{id}/files/{number}", "{other}", "GET", HomeUser, &[], 404, &[HOME_DENIED]),
    ("/transfers/{id}/query", "", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/query", "", "POST", HomeUser, &[("words", " ")], 422, &[LOOKED_AT]),
    ("/transfers/{id}/query", "", "POST", HomeUser, &[("words", "When was the last dose?")], 303, &[DONE]),
    ("/transfers/{id}/decline", "", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/decline", "{other}", "POST", HomeUser, &[("words", "full")], 404, &[HOME_DENIED]),
    ("/transfers/{id}/decline", "", "POST", HomeUser, &[], 422, &[LOOKED_AT]),
    ("/transfers/{id}/checklist", "", "POST", HomeUser, &[("item", "identity"), ("outcome", "problem")], 422, &[LOOKED_AT]),
    ("/transfers/{id}/checklist", "", "POST", HomeUser, &[("item", "identity"), ("reason", "x")], 422, &[LOOKED_AT]),
    ("/transfers/{id}/acknowledge", "{other}", "POST", HomeUser, &[], 404, &[HOME_DENIED]),
    ("/transfers/{id}/acknowledge", "", "POST", Operator, &[], 403, &["110113 E8 - Person ops>onward"]),
    ("/transfers/{id}/acknowledge", "", "POST", HomeUser, &[], 303, &[DONE]),
    // Twice is once.
    ("/transfers/{id}/acknowledge", "", "POST", HomeUser, &[], 303, &[]),
    ("/transfers/{id}/decline", "", "POST", HomeUser, &[("words", "too late")], 409, &[]),
    ("/transfers/{id}/arrive", "", "POST", HomeUser, &[], 303, &[DONE]),
    ("/transfers/{id}/arrive", "", "POST", HomeUser, &[], 303, &[]),
    ("/transfers/{id}/checklist", "", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/checklist", "", "POST", HomeUser, &[("item", "identity"), ("outcome", "done")], 303, &[DONE]),
    ("/transfers/{id}/checklist", "", "POST", HomeUser, &[("item", "identity"), ("outcome", "done")], 303, &[]),
    ("/transfers/{id}/checklist", "", "POST", HomeUser, &[("item", "identity"), ("outcome", "?")], 400, &[]),
    ("/transfers/{id}/checklist", "", "POST", HomeUser, &[("item", "?"), ("outcome", "done")], 409, &[]),
    ("/transfers/{id}/finish", "", "POST", HomeUser, &[], 409, &[]),
    ("/transfers/{id}/visit", "", "POST", HomeUser, &[("agency", " ")], 422, &[LOOKED_AT]),
    ("/transfers/{id}/visit", "", "POST", HomeUser, &[("agency", "district nurse")], 303, &[DONE]),
    ("/transfers/{id}/visit", "{other}", "POST", HomeUser, &[("agency", "x")], 404, &[HOME_DENIED]),
    ("/transfers/{id}/leave", "", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/leave", "{other}", "GET", HomeUser, &[], 404, &[HOME_DENIED]),
    ("/transfers/{id}/leave", "", "POST", HomeUser, &[("to", "own-home"), ("on", "2020-01-01")], 422, &[LOOKED_AT]),
    ("/transfers/{id}/leave", "{other}", "POST", HomeUser, &[("to", "own-home"), ("on", "{today}")], 404, &[HOME_DENIED]),
    ("/transfers/{id}/leave", "", "POST", HomeUser, &[("to", "own-home"), ("on", "{today}")], 303, &[DONE]),
    ("/transfers/{id}/leave", "", "POST", HomeUser, &[("to", "own-home"), ("on", "{today}")], 303, &[]),
    ("/transfers/{id}/leave", "", "POST", HomeUser, &[("to", "hospital"), ("on", "{today}")], 409, &[LOOKED_AT]),
    // Their own home's looks at what is not to be used any more are looks, and none of them an intrusion.
    (RECORD, "{withdrawn}", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/print", "{withdrawn}", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/pdf", "{withdrawn}", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/files/{number}", "{withdrawn}", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/checklist", "{withdrawn}", "GET", HomeUser, &[], 303, &[LOOKED_AT]),
    ("/transfers/{id}/leave", "{withdrawn}", "GET", HomeUser, &[], 303, &[LOOKED_AT]),
    ("/transfers/{id}/arrive", "{withdrawn}", "POST", HomeUser, &[], 409, &[]),
    (RECORD, "{withdrawn}", "GET", Operator, &[], 403, &["110113 E8 - Person ops>onward"]),
    (RECORD, "{notice}", "GET", HomeUser, &[], 200, &[OPENED]),
    ("/transfers/{id}/print", "{notice}", "GET", HomeUser, &[], 200, &[OPENED]),
    ("/transfers/{id}/arrive", "{notice}", "POST", HomeUser, &[], 409, &[]),
    ("/transfers/{id}/acknowledge", "{notice}", "POST", HomeUser, &[], 303, &[DONE]),
    (RECORD, "{replaced}", "GET", HomeUser, &[], 200, &[OPENED]),
    ("/transfers/{id}/checklist", "{replaced}", "GET", HomeUser, &[], 200, &[LOOKED_AT]),
    ("/transfers/{id}/leave", "{replaced}", "GET", HomeUser, &[], 303, &[LOOKED_AT]),
    ("/transfers/{id}/leave", "{replaced}", "POST", HomeUser, &[("to", "own-home"), ("on", "{today}")], 409, &[]),
    (BOARD, "", "GET", Operator, &[], 200, &[BOARD_SEEN]),
    (BOARD, "?queue=dead", "GET", Operator, &[], 200, &[BOARD_SEEN]),
    (BOARD, "?queue=?", "GET", Operator, &[], 404, &[]),
    (BOARD, "", "HEAD", Operator, &[], 405, &[]),
    (BOARD, "", "GET", HomeUser, &[], 403, &[HOME_DENIED]),
    (BOARD, "", "GET", Stranger, &[], 303, &[]),
    // Counts that name nobody and list nothing; a script asks every half minute.
    ("/operations/totals", "", "GET", Operator, &[], 200, &[]),
    ("/operations/totals", "", "GET", HomeUser, &[], 403, &[HOME_DENIED]),
    ("/operations/pause", "", "POST", Operator, &[("whom", "everybody")], 422, &[BOARD_SEEN]),
    ("/operations/pause", "", "POST", Operator, &[("whom", "one"), ("recipient", "FZZ02"), ("reason", "moving")], 303, &[BOARD_CHANGED]),
    ("/operations/resume", "", "POST", Operator, &[("recipient", "FZZ02"), ("reason", "moved")], 303, &[BOARD_CHANGED]),
    ("/operations/resume", "", "POST", Operator, &[("recipient", "FZZ02"), ("reason", "moved")], 409, &[]),
    ("/operations/retry", "?cause=blocked", "GET", Operator, &[], 200, &[]),
    ("/operations/retry", "", "POST", Operator, &[("filter", "cause=blocked"), ("copies", ""), ("reason", "x")], 400, &[]),
    // What a decision about copies that are there leaves, `operations` tells.
    ("/operations/retry", "", "POST", Operator,
        &[("filter", "cause=blocked"), ("copies", ""), ("reason", "x"), ("how", "retry"),
            ("bulk", "3f2b0c9e-0000-4000-8000-000000000001")], 303, &[]),
    // Counts that name nobody and list nothing.
    ("/operations/bulks/{id}", "{bulk}", "GET", Operator, &[], 200, &[]),
    ("/operations/bulks/{id}", "{bulk}", "GET", HomeUser, &[], 403, &[HOME_DENIED]),
    ("/operations/bulks/{id}/cancel", "{bulk}", "POST", Operator, &[("reason", " ")], 422, &[]),
    ("/operations/bulks/{id}/cancel", "{bulk}", "POST", Operator, &[("reason", "x")], 303, &[BOARD_CHANGED]),
    ("/operations/bulks/{id}/cancel", "{bulk}", "POST", Operator, &[("reason", "x")], 409, &[]),
    ("/operations/bulks/{id}", "unknown", "GET", Operator, &[], 404, &[]),
    ("/operations/bulks/{id}/cancel", "unknown", "POST", Operator, &[("reason", "x")], 409, &[]),
    ("/operations/deliveries/{id}/close", "{dead}", "POST", Operator, &[("reason", " ")], 422, &[ONE_SEEN]),
    ("/operations/deliveries/{id}/close", "{dead}", "POST", HomeUser, &[("reason", "x")], 403, &[HOME_DENIED]),
    ("/operations/deliveries/{id}/close", "{dead}", "POST", Operator, &[("reason", "read out")], 409, &[ONE_SEEN]),
    ("/operations/deliveries/{id}/close", "{dead}", "POST", Operator, &[("reason", "read out"), ("version", "{version}")], 303,
        &["rest/update U0 PatientUpdate Person ops>onward patient"]),
    ("/operations/deliveries/{id}/close", "{dead}", "POST", Operator, &[("reason", "read out")], 409, &[ONE_SEEN]),
    ("/operations/deliveries/{id}/close", "unknown", "POST", Operator, &[("reason", "x")], 409, &[]),
    // What is closed may still be sent again.
    ("/operations/deliveries/{id}/replay", "{dead}", "GET", Operator, &[], 200, &[ONE_SEEN]),
    ("/operations/deliveries/{id}/resend", "{dead}", "POST", Operator, &[("how", "replay"), ("reason", " ")], 422, &[ONE_SEEN]),
    ("/operations/deliveries/{id}/resend", "{dead}", "POST", Operator, &[("how", "replay"), ("reason", "x")], 303,
        &["rest/update U0 PatientUpdate Person ops>onward patient"]),
    ("/operations/replays/{id}", "{replay}", "GET", Operator, &[], 200, &[ONE_SEEN]),
    ("/operations/replays/{id}", "{replay}", "GET", HomeUser, &[], 403, &[HOME_DENIED]),
    ("/operations/replays/{id}", "unknown", "GET", Operator, &[], 404, &[]),
    ("/operations/deliveries/{id}/replay", "unknown", "GET", Operator, &[], 404, &[]),
    ("/operations/deliveries/{id}/replay", "", "GET", Operator, &[], 409, &[ONE_SEEN]),
    (DELIVERY, "", "GET", Operator, &[], 200, &[ONE_SEEN]),
    (DELIVERY, "unknown", "GET", Operator, &[], 404, &[]),
    (DELIVERY, "", "GET", HomeUser, &[], 403, &[HOME_DENIED]),
    ("/operations/deliveries/{id}/resend", "", "POST", Operator, &[("how", "retry"), ("reason", "x")], 409, &[ONE_SEEN]),
    ("/operations/deliveries/{id}/resend", "unknown", "POST", Operator, &[("how", "retry"), ("reason", "x")], 409, &[]),
    ("/operations/deliveries/{id}/reveal", "", "POST", Operator, &[], 422, &[ONE_SEEN]),
    ("/operations/deliveries/{id}/reveal", "", "POST", Operator, &[("reason", "the ward rang")], 200,
        &[REVEALED, ONE_SEEN]),
    ("/operations/deliveries/{id}/reveal", "", "POST", HomeUser, &[("reason", "x")], 403, &[HOME_DENIED]),
    ("/operations/deliveries/{id}/redirect", "", "POST", Operator, &[("care_home", "VMH02"), ("reason", "x")], 303,
        &["rest/update U0 PatientUpdate Person ops>onward patient"]),
    ("/operations/holds/{id}", "{hold}", "GET", Operator, &[], 200, &[ONE_SEEN]),
    ("/operations/holds/{id}", "unknown", "GET", Operator, &[], 404, &[]),
    ("/operations/holds/{id}/reveal", "{hold}", "POST", Operator, &[("reason", "the ward rang")], 200,
        &[REVEALED, ONE_SEEN]),
    ("/operations/holds/{id}/release", "{hold}", "POST", Operator, &[("reason", "x"), ("agreed", "care-home")], 200,
        &["rest/read R0 PatientRead onward>Personal Demographics Service patient",
            "rest/update U0 PatientUpdate Person ops>onward patient"]),
    ("/operations/holds/{id}/redirect", "{hold}", "POST", Operator, &[], 422, &[ONE_SEEN]),
    ("/operations/holds/{id}/close", "{hold}", "POST", Operator, &[("reason", "x")], 200, &[]),
    ("/operations/holds/{id}/close", "{hold}", "POST", Operator, &[("reason", "x"), ("yes", "1")], 303,
        &["rest/update U0 PatientUpdate Person ops>onward patient"]),
    // Who decided before is told, and no name of a patient: a look all the same.
    ("/operations/holds/{id}/close", "{hold}", "POST", Operator, &[("reason", "x"), ("yes", "1")], 409, &[ONE_SEEN]),
    ("/operations/holds/{id}/reveal", "{hold}", "POST", Operator, &[("reason", "the ward rang")], 409, &[ONE_SEEN]),
    ("/operations/holds/{id}", "{hold}", "GET", Operator, &[], 404, &[ONE_SEEN]),
    ("/operations/approvals/{id}", "unknown", "GET", Operator, &[], 404, &[]),
    ("/operations/approvals/{id}/reveal", "unknown", "POST", Operator, &[("reason", "x")], 404, &[]),
    // What a request that is there leaves, `operations` and `explorer` tell.
    ("/operations/approvals/{id}", "unknown", "POST", Operator, &[("verdict", "grant")], 409, &[]),
    // A form without results shows nothing of the log.
    ("/audit", "", "GET", Lead, &[], 200, &[]),
    ("/audit", "", "GET", Operator, &[], 403, &["110113 E8 - Person ops>onward"]),
    ("/audit/search", "", "POST", Lead, &[("from", "{today}"), ("until", "{today}")], 422, &[]),
    ("/audit/search", "", "POST", Lead, &[("from", "{today}"), ("until", "{today}"), ("reason", "x")], 200, &[SEARCHED]),
    ("/audit/search", "", "POST", Lead,
        &[("tab", "disclosures"), ("from", "{today}"), ("until", "{today}"), ("reason", "x")], 200, &[SEARCHED]),
    ("/audit/search", "", "POST", Lead,
        &[("tab", "who"), ("patient", "9990000018"), ("from", "{today}"), ("until", "{today}"), ("reason", "x")], 200,
        &["rest/search E0 PatientQuery Person ig>onward patient"]),
    ("/audit/entry", "", "POST", Lead, &[("organisation", "R9Z"), ("place", "0.0"), ("reason", "x")], 404, &[]),
    ("/audit/integrity", "", "GET", Lead, &[], 200, &[]),
    ("/audit/integrity", "", "POST", Lead, &[], 200, &[SEARCHED]),
    ("/audit/exports", "", "GET", Lead, &[], 200, &[]),
    ("/audit/exports", "", "POST", Lead,
        &[("form", "csv"), ("from", "{today}"), ("until", "{today}"), ("reason", "x")], 303, &[SEARCHED]),
    ("/audit/exports/{id}", "unknown", "GET", Lead, &[], 404, &[]),
    ("/audit/exports/{id}/reveal", "unknown", "POST", Lead, &[("reason", "x")], 404, &[]),
    ("/audit/exports/{id}", "unknown", "POST", Lead, &[("verdict", "grant")], 409, &[]),
    ("/audit/exports/{id}/file", "unknown", "GET", Lead, &[], 404, &[]),
    ("/audit/rights", "", "GET", Lead, &[], 200, &[]),
    ("/audit/rights", "", "GET", Operator, &[], 403, &["110113 E8 - Person ops>onward"]),
    ("/audit/rights/erasures", "", "POST", Lead, &[("patient", "9990000018"), ("organisation", "R9Z"), ("reason", "x")],
        422, &[]),
    // Two hospitals sent something about this person.
    ("/audit/rights/erasures", "", "POST", Lead,
        &[("patient", "9990000018"), ("organisation", "R9Z"), ("reason", "x"), ("ground", "wrong-person")], 422,
        &["110100 E8 - Person ig>onward patient"]),
    ("/audit/rights/erasures/{id}", "unknown", "POST", Lead, &[("patient", "9990000018")], 404, &[]),
    ("/audit/rights/erasures/{id}/refuse", "unknown", "POST", Lead, &[("reason", "x")], 404, &[]),
    ("/audit/rights/holds", "", "POST", Lead, &[("patient", "9990000034"), ("organisation", "R9Z"), ("reason", "x")], 422,
        &["110100 E8 - Person ig>onward patient"]),
    ("/audit/rights/holds", "", "POST", Lead, &[("patient", "9990000018"), ("organisation", "R9Z"), ("reason", "x")], 303,
        &["110100 E0 - Person ig>onward patient"]),
    ("/audit/rights/holds/{id}", "unknown", "POST", Lead, &[("reason", "x")], 404, &[]),
    ("/directory", "", "GET", HomeUser, &[], 200, &[LISTED]),
    ("/directory", "?need=tracheostomy", "GET", Ward, &[], 200, &["rest/search E0 Query Person ward>onward"]),
    ("/directory", "?need=x", "GET", Ward, &[], 400, &[]),
    ("/directory", "", "GET", Lead, &[], 403, &["110113 E8 - Person ig>onward"]),
    ("/directory/confirm", "", "POST", HomeUser, &[("ods", "VMH01"), ("stands", "{stands}")], 303,
        &["110100 E0 - Person home>onward"]),
    ("/directory/confirm", "", "POST", HomeUser, &[("ods", "VMH01"), ("stands", "something else")], 409, &[LISTED]),
    ("/directory/confirm", "", "POST", HomeUser, &[("ods", "VMH02")], 404, &[HOME_DENIED]),
    ("/directory/confirm", "", "POST", Ward, &[("ods", "VMH01")], 403, &["110113 E8 - Person ward>onward"]),
    ("/directory/entry", "", "POST", HomeUser, &[("ods", "VMH01"), ("free-with", "1")], 422, &[LISTED]),
    ("/directory/entry", "", "POST", HomeUser, &[("ods", "VMH01"), ("total-with", "1"), ("free-with", "1")], 409, &[LISTED]),
    ("/directory/entry", "", "POST", HomeUser,
        &[("ods", "VMH01"), ("stands", "{stands}"), ("total-with", "1"), ("free-with", "1")], 303,
        &["110100 E0 - Person home>onward"]),
    ("/directory/entry", "", "POST", HomeUser, &[("ods", "VMH02")], 404, &[HOME_DENIED]),
    (SIGN_IN, "", "GET", Stranger, &[], 200, &[]),
    (SIGN_IN, "", "POST", Stranger, &[("email", "nobody@rowan.example"), ("password", PASSWORD), ("code", "000000")], 401,
        &["110113 E8 - unauthenticated>onward"]),
    (SIGN_IN, "", "POST", Stranger, &[("email", HOME), ("password", "wrong wrong wrong"), ("code", "{next}")], 401,
        &["110113 E8 - Person home>onward"]),
    // The code that set the account up.
    (SIGN_IN, "", "POST", Stranger, &[("email", HOME), ("password", PASSWORD), ("code", "{used}")], 401,
        &["110113 E8 - Person home>onward"]),
    (SIGN_IN, "", "POST", Stranger, &[("email", HOME), ("email", HOME)], 400, &[]),
    (SIGN_IN, "", "POST", Stranger, &[("email", HOME), ("password", PASSWORD), ("code", "{next}")], 303,
        &["110114/110122 E0 - Person home>onward"]),
    ("/account", "", "GET", HomeUser, &[], 200, &[]),
    ("/account/password", "", "POST", HomeUser,
        &[("current", "wrong wrong wrong"), ("password", NEW_PASSWORD), ("again", NEW_PASSWORD)], 422,
        &["110113 E8 - Person home>onward"]),
    ("/account/password", "", "POST", HomeUser,
        &[("current", PASSWORD), ("password", NEW_PASSWORD), ("again", NEW_PASSWORD)], 303,
        &["110100 E0 - Person home>onward"]),
    // What a passkey that is added or removed leaves, and the end of other sessions, `account` tells.
    ("/account/passkey/challenge", "", "POST", HomeUser, &[], 200, &[]),
    ("/account/passkey", "", "POST", HomeUser, &[], 400, &[]),
    ("/account/passkey/remove", "", "POST", HomeUser, &[], 422, &[]),
    ("/account/sessions", "", "POST", HomeUser, &[("session", "all")], 303, &[]),
    ("/session", "", "GET", HomeUser, &[], 200, &[]),
    ("/session", "", "POST", HomeUser, &[], 303, &[]),
    ("/session", "", "POST", Stranger, &[], 303, &[]),
    // Nobody is signed in: nothing is done, and what was written goes back.
    ("/transfers/{id}/query", "", "POST", Stranger, &[("words", "x")], 401, &[]),
    ("/sign-out", "", "POST", HomeUser, &[], 303, &["110114/110123 E0 - Person home>onward"]),
    ("/sign-out", "", "POST", HomeUser, &[], 303, &[]),
    // What people and logouts from an identity provider leave, `federation` tells.
    ("/sign-in/with/{issuer}", "", "GET", Stranger, &[], 404, &[]),
    ("/sign-in/return", "", "GET", Stranger, &[], 401, &[]),
    // What a passkey's right and wrong answers leave, `passkeys` tells.
    ("/sign-in/passkey.js", "", "GET", Stranger, &[], 200, &[]),
    ("/sign-in/passkey/challenge", "", "POST", Stranger, &[], 200, &[]),
    ("/sign-in/passkey", "", "POST", Stranger, &[], 400, &[]),
    ("/invitation/{token}/passkey/challenge", "unknown", "POST", Stranger, &[], 404, &[]),
    ("/invitation/{token}/passkey", "unknown", "POST", Stranger, &[], 400, &[]),
    (INVITATION, "unknown", "GET", Stranger, &[], 404, &[]),
    (INVITATION, "unknown", "POST", Stranger, &[("password", PASSWORD)], 404, &[]),
    (INVITATION, "{own}", "GET", Stranger, &[], 200, &[]),
    (INVITATION, "{own}", "POST", Stranger, &[("form", "{form}"), ("password", "short"), ("code", "{own}")], 422, &[]),
    (INVITATION, "{own}", "POST", Stranger,
        &[("form", "{form}"), ("password", PASSWORD), ("again", PASSWORD), ("code", "{own}")], 303,
        &["110114/110122 E0 - Person new>onward"]),
    (INVITATION, "{own}", "GET", Stranger, &[], 404, &[]),
];

/// Whether the table has a row for this route.
pub(crate) fn has_row(method: &str, path: &str) -> bool {
    TABLE.iter().any(|row| (row.0, row.2) == (path, method))
}

/// The hospital takes this copy back with its transfer; the home's notice of that.
pub(crate) async fn taken_back(world: &World, hospital: &Session, copy: DeliveryId) -> DeliveryId {
    let copy = world.gateway().store().delivery(copy).await.expect("readable").expect("there");
    assert_eq!(put(hospital, copy.transfer, "cancelled", Some("written for somebody else")).await.status, 200);
    notice_of(world, &copy).await.expect("the home had opened it").id
}

/// A decision about many copies that stays where it is: none is left to look at, and nobody has noticed.
async fn running(world: &World) -> BulkId {
    let id = BulkId::random();
    let bulk = NewBulk {
        id,
        how: Resend::Retry,
        filter: "cause=blocked".to_owned(),
        reason: "their server is back".to_owned(),
        by: "Person ops".to_owned(),
        agent: "{}".to_owned(),
        at: SystemClock.now(),
        copies: Vec::new(),
    };
    assert!(world.gateway().store().start_bulk(bulk, vec![world.configured("test")]).await.expect("committed"));
    world.tamper(&format!("UPDATE bulks SET state = 'running', ended = NULL WHERE id = '{id}'"));
    id
}

async fn events(world: &World) -> Vec<Value> {
    let entries = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    entries.iter().map(|entry| serde_json::from_slice(entry.event().expect("kept")).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_outcome_leaves_exactly_its_events() {
    let world = World::start().await;
    let observer = world.gateway().settings().base_url.clone();
    let home = browser::person(&world, HOME, Role::CareHomeUser, &["VMH01"]).await;
    let operator = browser::person(&world, "ops@onward.example", Role::Operator, &["Y99900"]).await;
    let lead = browser::person(&world, "ig@northmoor.example", Role::InformationGovernance, &["R9Z"]).await;
    let ward = browser::person(&world, "ward@northmoor.example", Role::WardCoordinator, &["R9Z"]).await;
    let (newcomer, path) = browser::invited(&world, "new@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let token = path.trim_start_matches("/invitation/").to_owned();
    let hospital = world.hospital().await;
    let other_hospital = world.client("southmoor-epr", "R9Y", ClientRole::Sender).await;
    let own_copy = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let (_, _, reply) = post_xml(&hospital, fresh(message::RESTRICTED_ITK3)).await;
    let held = reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id");
    let held = world.gateway().store().transfer(held.parse().expect("an id")).await.expect("readable").expect("there");
    let hold = held.hold.expect("held").id;
    let for_others = fresh(message::EDISCHARGE_ITK3).replace("\"R9Z\"", "\"R9Y\"").replace("\"VMH01\"", "\"VMH02\"");
    let foreign_copy = copy_of(&world, &other_hospital, for_others).await;
    let first = Version::first();
    let replaced = copy_of(&world, &hospital, first.text.clone()).await;
    copy_of(&world, &hospital, first.next().text).await;
    let withdrawn = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(home.browser.get(&format!("/transfers/{withdrawn}")).await.status, 200);
    let notice = taken_back(&world, &hospital, withdrawn).await;
    let dead = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    world.tamper(&format!("UPDATE deliveries SET state = 'failed' WHERE id = '{dead}'"));
    let version = world.gateway().store().delivery(dead).await.expect("readable").expect("there").version;
    let bulk = running(&world).await;
    let found = world.gateway().store().directory_entry(&"VMH01".parse().expect("a code")).await.expect("readable");
    let Some(DirectoryEntry::CareHome(kept)) = found else { panic!("a home") };
    let stands = seal_of(&kept);
    // What the last page of the invitation holds.
    let (mut form, mut key) = (String::new(), home.key.clone());
    let mut differing = Vec::new();
    for (number, (route, rest, method, who, fields, status, expected)) in TABLE.iter().enumerate() {
        let stranger = Browser::new(&world);
        let asking = match who {
            Stranger => &stranger,
            HomeUser => &home.browser,
            Operator => &operator.browser,
            Lead => &lead.browser,
            Ward => &ward.browser,
        };
        let request_id = format!("row-{number}");
        asking.set_request_id(&request_id);
        let own =
            Person { user: newcomer.clone(), browser: Browser::new(&world), key: key.clone(), used: String::new() };
        let fields: Vec<(&str, String)> = fields
            .iter()
            .map(|(name, value)| {
                let value = match *value {
                    "{used}" => home.used.clone(),
                    "{next}" => home.code(1),
                    "{own}" => own.code(0),
                    "{form}" => form.clone(),
                    "{stands}" => stands.clone(),
                    "{version}" => version.to_string(),
                    "{today}" => SystemClock.now().strftime("%Y-%m-%d").to_string(),
                    value => value.to_owned(),
                };
                (*name, value)
            })
            .collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let id = match *rest {
            "{other}" => foreign_copy.to_string(),
            "{hold}" => hold.to_string(),
            "{withdrawn}" => withdrawn.to_string(),
            "{notice}" => notice.to_string(),
            "{replaced}" => replaced.to_string(),
            "{dead}" => dead.to_string(),
            "{replay}" => {
                let replays = world.gateway().store().replays(dead).await.expect("readable");
                replays.first().expect("a row before has sent it again").id.to_string()
            }
            "{bulk}" => bulk.to_string(),
            "unknown" => "3f2b0c9e-0000-4000-8000-000000000000".to_owned(),
            _ => own_copy.to_string(),
        };
        let path = route.replace("{token}", &rest.replace("{own}", &token));
        let path = path.replace("{id}", &id).replace("{number}", "1");
        let path = if rest.starts_with('?') { path + rest } else { path };
        let page = match *method {
            "POST" => asking.post(&path, &fields).await,
            method => asking.send(method, &path, &[], String::new()).await,
        };
        if let (Some(next_form), Some(next_key)) = (page.field("form"), page.key()) {
            (form, key) = (next_form.to_owned(), next_key.to_owned());
        }
        let name = format!("{number}: {method} {route} {rest}");
        if page.status != *status {
            differing.push(format!("{name}: status {}, not {status}: {}", page.status, page.text));
        }
        let log = events(&world).await;
        let found: Vec<String> =
            log.iter().filter(|event| of_request(event, &request_id)).map(|event| told(event, &observer)).collect();
        if found != *expected {
            differing.push(format!("{name}: {found:#?}, not {expected:#?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    for event in events(&world).await {
        let problems = balp::problems(&event);
        assert!(problems.is_empty(), "{problems:?} in {event:#}");
    }
}

/// Where nothing can be audited nobody signs in, and what is asked for is not done.
#[tokio::test(flavor = "multi_thread")]
async fn fault_040_no_audit_no_session() {
    let world = World::start().await;
    let home = browser::person(&world, HOME, Role::CareHomeUser, &["VMH01"]).await;
    refuse_audit(&world, true);
    let stranger = Browser::new(&world);
    assert_eq!(home.sign_in(&stranger).await.status, 503);
    assert_eq!(stranger.cookie("__Host-sid"), None);
    assert_eq!(home.browser.post("/sign-out", &[]).await.status, 503);
    refuse_audit(&world, false);
    assert_eq!(home.browser.get("/").await.status, 200, "still signed in");
    assert_eq!(home.sign_in(&stranger).await.status, 303, "the code was not used up");
}

/// Nothing about anybody is shown, and nothing is done, where that cannot be audited.
#[tokio::test(flavor = "multi_thread")]
async fn fault_040_no_audit_no_page() {
    let world = World::start().await;
    let home = browser::person(&world, HOME, Role::CareHomeUser, &["VMH01"]).await;
    let copy = copy_of(&world, &world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    let page = home.browser.get(&format!("/transfers/{copy}")).await;
    assert!(page.status == 200 && page.text.contains("HOLROYD"), "the canary sings when it may: {}", page.text);
    let store = world.gateway().store();
    let version = store.delivery(copy).await.expect("readable").expect("there").version;
    let run = [
        browser::person(&world, "ops@onward.example", Role::Operator, &["Y99900"]).await,
        browser::person(&world, "ig@northmoor.example", Role::InformationGovernance, &["R9Z"]).await,
        browser::person(&world, "ward@northmoor.example", Role::WardCoordinator, &["R9Z"]).await,
    ];
    let [operator, lead, _] = &run;
    let ask = [("care_home", "VMH02"), ("reason", "the ward rang")];
    assert_eq!(operator.browser.post(&format!("/operations/deliveries/{copy}/redirect"), &ask).await.status, 303);
    let board = operator.browser.get(BOARD).await;
    let request = after(&board.text, "href=\"/operations/approvals/").to_owned();
    let today = SystemClock.now().strftime("%Y-%m-%d").to_string();
    let search = [("from", today.as_str()), ("until", &today), ("reason", "complaint 12")];
    let found = lead.browser.post("/audit/search", &search).await;
    let entry = after(&found.text, "name=\"place\" value=\"").to_owned();
    refuse_audit(&world, true);
    for path in [
        "/inbox",
        "/inbox?show=recent",
        "/transfers/{c}",
        "/transfers/{c}/print",
        "/transfers/{c}/pdf",
        "/transfers/{c}/query",
        "/transfers/{c}/decline",
        "/transfers/{c}/checklist",
        "/transfers/{c}/leave",
        "/transfers/{c}/files/1",
    ] {
        let page = home.browser.get(&path.replace("{c}", &copy.to_string())).await;
        assert_eq!(page.status, 503, "{path}: {}", page.text);
        for canary in ["HOLROYD", "Holroyd", "999 000", "9990000", "1944"] {
            assert!(!page.text.contains(canary), "{path}: {canary}");
        }
    }
    let tick = [("item", "identity"), ("outcome", "done")];
    for (path, fields) in [
        ("acknowledge", &[][..]),
        ("arrive", &[]),
        ("query", &[("words", "why?")]),
        ("decline", &[("words", "full")]),
        ("checklist", &tick),
    ] {
        assert_eq!(home.browser.post(&format!("/transfers/{copy}/{path}"), fields).await.status, 503, "{path}");
    }
    nothing_of_those_who_run_it(&run, copy, &request, &entry).await;
    refuse_audit(&world, false);
    let left = store.delivery(copy).await.expect("readable").expect("there");
    assert_eq!(
        (left.version, store.steps(copy).await.expect("readable").len()),
        (version, 1),
        "only the first opening"
    );
}

/// The text behind this, up to the next quotation mark.
fn after<'t>(text: &'t str, mark: &str) -> &'t str {
    text.split(mark).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{mark}: {text}"))
}

/// Who asks for what, and with which form.
type Asked<'r> = (&'r Person, &'r str, Option<&'r [(&'r str, &'r str)]>);

/// The same for the pages of operators, governance leads and wards.
async fn nothing_of_those_who_run_it(run: &[Person; 3], copy: DeliveryId, request: &str, entry: &str) {
    let [operator, lead, ward] = run;
    let today = SystemClock.now().strftime("%Y-%m-%d").to_string();
    let search = [("from", today.as_str()), ("until", today.as_str()), ("reason", "x")];
    let who = [&search[..], &[("tab", "who"), ("patient", "9990000018")]].concat();
    let export = [&search[..], &[("form", "csv")]].concat();
    let place = [("organisation", "R9Z"), ("place", entry), ("reason", "x"), ("reveal", "1")];
    let why = [("reason", "x")];
    let person = [("patient", "9990000018"), ("organisation", "R9Z"), ("reason", "x")];
    let erasure = [&person[..], &[("ground", "wrong-person")]].concat();
    let pause = [("whom", "everybody"), ("reason", "x")];
    let (delivery, request) = (format!("/operations/deliveries/{copy}"), format!("/operations/approvals/{request}"));
    let (revealed, wish) = (format!("{delivery}/reveal"), format!("{request}/reveal"));
    let rows: [Asked<'_>; 17] = [
        (operator, BOARD, None),
        (operator, "/operations?queue=dead", None),
        (operator, &delivery, None),
        (operator, &request, None),
        (operator, &revealed, Some(&why)),
        (operator, &wish, Some(&why)),
        (operator, "/operations/pause", Some(&pause)),
        (operator, "/directory", None),
        (lead, "/audit/search", Some(&search)),
        (lead, "/audit/search", Some(&who)),
        (lead, "/audit/entry", Some(&place)),
        (lead, "/audit/integrity", Some(&[])),
        (lead, "/audit/exports", Some(&export)),
        (lead, "/audit/rights/holds", Some(&person)),
        (lead, "/audit/rights/erasures", Some(&erasure)),
        (ward, "/directory", None),
        (ward, "/directory?need=tracheostomy", None),
    ];
    for (person, path, form) in rows {
        let page = match form {
            Some(fields) => person.browser.post(path, fields).await,
            None => person.browser.get(path).await,
        };
        assert_eq!(page.status, 503, "{path}: {}", page.text);
        for canary in ["HOLROYD", "Holroyd", "999 000", "9990000", "1944", "Rowan House", "northmoor-epr", "Hash"] {
            assert!(!page.text.contains(canary), "{path}: {canary}");
        }
    }
}

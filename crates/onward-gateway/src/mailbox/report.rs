//! What the codes of MESH's reports mean, in words for whoever is to act.

/// What a report of this code says beside that nothing was delivered, and what to do; nothing for codes that need MESH's own table.
pub(crate) fn words(code: &str) -> Option<&'static str> {
    Some(match code {
        "14" => {
            "nobody collected it from the recipient's mailbox within five days: ring the recipient, then send it again"
        }
        // Of copies that MESH was to find the practice for, by the person (GP auto-routing).
        "EPL-150" => {
            "MESH finds more than one mailbox for the practice: enter the right one in the directory, then send it again"
        }
        "EPL-151" => {
            "MESH finds no mailbox that takes this workflow for the practice: ring the practice, and enter how it receives"
        }
        "EPL-152" => "MESH takes the NHS number in the copy for none: ask the ward for the traced number",
        "EPL-153" => "MESH does not find the NHS number in the copy: ask the ward to trace the person",
        "EPL-154" => "name or date of birth in the copy are not those of the NHS number: ask the ward which is right",
        _ => return None,
    })
}

use super::*;

fn page(rest: &str) -> String {
    format!(
        "<html><head><title>Discharge summary for the care home</title></head><body>\n<main>\n<h1>Discharge summary for Rowan House</h1>\n\
         <section class=\"banner\" aria-label=\"Person\">\n<p class=\"name\">HOLROYD, Margaret (Mrs)</p>\n<p>Born 8 March 1944 · NHS \
         number <span class=\"number\">999 000 0018</span></p>\n</section>\n{rest}</main>\n</body></html>"
    )
}

fn holds(pdf: &[u8], word: &str) -> bool {
    pdf.windows(word.len()).any(|window| window == word.as_bytes())
}

fn sheets(pdf: &[u8]) -> usize {
    let text = String::from_utf8_lossy(pdf);
    let count =
        text.split("/Count ").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    count.max().unwrap_or(0)
}

#[test]
fn a_page_becomes_a_tagged_document() {
    let rest = "<h2>Medicines</h2><table><caption>All</caption><thead><tr><th scope=\"col\">Change</th><th>Dose</th></tr></thead>\
        <tbody><tr><th scope=\"row\">STOPPED</th><td>2.5 mg<br>by mouth</td></tr></tbody></table><ul><li>one</li></ul>";
    let pdf = of_page(&page(rest), "Made for a test.").expect("a PDF");
    assert!(pdf.starts_with(b"%PDF-1."));
    for word in
        ["/StructTreeRoot", "/Marked true", "/Table", "/TH", "en-GB", "pdfuaid", "Discharge summary for the care home"]
    {
        assert!(holds(&pdf, word), "{word}");
    }
    for about in ["HOLROYD", "Holroyd", "Margaret", "999 000 0018", "9990000018", "8 March 1944"] {
        let wide: Vec<u8> = about.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let stands = holds(&pdf, about) || pdf.windows(wide.len()).any(|window| window == wide);
        assert!(!stands, "nothing about anybody stands in the frame of the file: {about}");
    }
}

#[test]
fn what_is_no_page_of_ours_is_refused() {
    assert_eq!(of_page("<p>hello</p>", ""), Err(PdfError("it is no page of ours")));
}

/// A version that was replaced says so on every sheet that is made of it from then on.
#[test]
fn the_mark_of_a_replaced_version_goes_along() {
    let marked = crate::render::marked(page("<p>Plan</p>").as_bytes(), "version 2 replaces version 1");
    let marked = String::from_utf8(marked).expect("text");
    let fragment = Fragment::of(&marked).expect("a page");
    let blocks = markup::blocks(&fragment.stops);
    let words: Vec<String> = blocks.iter().flat_map(markup::words_of).collect();
    assert_eq!(words, ["Stop using this version", "version 2 replaces version 1"]);
    let (with, without) = (of_page(&marked, "").expect("a PDF"), of_page(&page("<p>Plan</p>"), "").expect("a PDF"));
    assert!(with.len() > without.len(), "the frame and its words are drawn");
}

#[test]
fn nothing_active_goes_along() {
    let hostile = "<p>&lt;script&gt;app.alert(1)&lt;/script&gt; \u{202e}txet \u{0}\u{7} مرحبا 🚑</p><p><a href=\"data:application/pdf;\
        base64,AAAA\" download=\"attachment-1.pdf\">save as attachment-1.pdf</a></p><td>stray</td></table></ul><li>lost</li><table><tr>\
        <td><table><tr><td>inner</td></tr></table>";
    let pdf = of_page(&page(hostile), "").expect("a PDF");
    for word in ["/JavaScript", "/JS", "/URI", "/Launch", "/EmbeddedFile", "/OpenAction", "/Annots"] {
        assert!(!holds(&pdf, word), "{word}");
    }
    let blocks = markup::blocks(Fragment::of(&page(hostile)).expect("a page").rest);
    let words: Vec<String> = blocks.iter().flat_map(markup::words_of).collect();
    assert!(words[0].contains("<script>app.alert(1)</script>"), "text stays text: {words:?}");
    assert_eq!(words[1], "a file of its own, not in this PDF");
}

#[test]
fn signs_that_the_type_lacks_are_seen_to_be_missing_and_none_turns_others_round() {
    let faces = Faces::load().expect("faces");
    assert_eq!(faces.of(false).shown("a\u{202e}b\u{200b}c مر é ½"), "abc ?? é ½");
    assert!(faces.of(true).width("W") > faces.of(true).width("i"));
}

#[test]
fn order_and_breaks_are_those_of_the_page() {
    let rest = "<div class=\"stop\"><h2>This person has died</h2><p>Ring.</p></div><h2>Plan</h2><div class=\"words\"><div>First<br/>line\
        <table><tr><td>a</td><td><p>b</p><p>c</p></td></tr></table></div></div><dl><dt>Key</dt><dd>Value</dd></dl>";
    let blocks = markup::blocks(rest);
    let words: Vec<String> = blocks.iter().flat_map(markup::words_of).collect();
    assert_eq!(words, ["This person has died", "Ring.", "Plan", "First\nline", "a", "b\nc", "Key", "Value"]);
    assert!(matches!(&blocks[0], Block::Framed(inner) if inner.len() == 2));
}

#[test]
fn long_content_runs_over_sheets_and_long_words_over_lines() {
    let long = "Wolfeschlegelsteinhausen".repeat(40);
    let row = format!("<tr><th scope=\"row\">New</th><td>{long}</td><td>{}</td></tr>", "word ".repeat(60));
    let table = format!(
        "<table><thead><tr><th>Change</th><th>Name</th><th>Why</th></tr></thead><tbody>{}</tbody></table>",
        row.repeat(40)
    );
    let tall = format!("<table><tr><td>{}</td></tr></table>", "line<br>".repeat(400));
    let pdf = of_page(&page(&format!("{table}{tall}<p>{long}</p>")), "foot").expect("a PDF");
    assert!(sheets(&pdf) >= 8, "{} sheets", sheets(&pdf));
}

/// The texts of a table's rows, with the columns that each cell spans where there are several.
fn rows(html: &str) -> Vec<Vec<String>> {
    let blocks = markup::blocks(html);
    let [markup::Block::Table(table)] = blocks.as_slice() else { panic!("one table: {blocks:?}") };
    let words = |cell: &markup::Cell| {
        let text: String = cell.text.iter().map(|run| run.text.as_str()).collect();
        if cell.span > 1 { format!("{text}/{}", cell.span) } else { text }
    };
    table.rows.iter().map(|row| row.cells.iter().map(words).collect()).collect()
}

#[test]
fn a_cell_of_several_rows_stands_in_each_and_no_dose_moves_under_another_heading() {
    let medicines = "<table><thead><tr><th>Medicine</th><th>When</th><th>Dose</th></tr></thead><tbody>\
        <tr><td rowspan=\"2\">Furosemide</td><td>morning</td><td>40 mg</td></tr><tr><td>noon</td><td>20 mg</td></tr>\
        <tr><td>Bisoprolol</td><td colspan=\"2\">as before</td></tr></tbody></table>";
    assert_eq!(
        rows(medicines),
        [
            vec!["Medicine", "When", "Dose"],
            vec!["Furosemide", "morning", "40 mg"],
            vec!["Furosemide", "noon", "20 mg"],
            vec!["Bisoprolol", "as before/2"],
        ]
    );
    // In the middle and at the end, over a gap, to the end of its section and no further.
    let odd = "<table><tbody><tr><td>a</td><td rowspan=\"0\" colspan=\"2\">b</td><td rowspan=\"3\">c</td></tr><tr><td>d</td></tr>\
        <tr></tr></tbody><tbody><tr><td>e</td><td>f</td></tr></tbody></table>";
    assert_eq!(rows(odd), [vec!["a", "b/2", "c"], vec!["d", "b/2", "c"], vec!["", "b/2", "c"], vec!["e", "f"]]);
    let long = "x".repeat(300);
    let far = format!("<table><tr><td rowspan=\"2\">{long}</td><td>1</td></tr><tr><td>2</td></tr></table>");
    assert_eq!(rows(&far)[1], ["(as above)", "2"]);
}

#[test]
fn few_bytes_do_not_become_a_file_of_any_size() {
    let wide = "<td rowspan=\"255\">w</td>".repeat(400);
    let table = format!("<table><tr>{wide}</tr>{}</table>", "<tr><td>5 mg</td><td>noon</td></tr>".repeat(200));
    let rows = rows(&table);
    assert!(rows.iter().map(Vec::len).sum::<usize>() <= spans::REPEATS_MAX + 1_000);
    assert_eq!(rows[200], ["5 mg | noon/20"], "under no heading at all");
}

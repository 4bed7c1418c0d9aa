//! Hostile content: each row of the corpus (trust.md §6) that this crate must stop, and floods.

use super::fixture::{NARRATIVE, judge, message, with};
use crate::Severity::Error;
use crate::{Findings, narrative};

fn errors(findings: &Findings) -> Vec<&str> {
    findings.iter().filter(|finding| finding.severity == Error).map(|finding| finding.rule.as_ref()).collect()
}

/// Rows 98 to 100: what acts or loads, in the disguises that browsers see through.
#[test]
fn bad_input_098_099_100_narrative() {
    for (rule, html) in [
        ("narrative-active", "<p>x</p><script>alert(1)</script>"),
        ("narrative-active", "<p>x</p><SCRIPT src=\"x\"/>"),
        ("narrative-active", "<p onclick=\"x()\">x</p>"),
        ("narrative-active", "<p ONMOUSEOVER='x()'>x</p>"),
        ("narrative-active", "<a href=\"javascript:alert(1)\">x</a>"),
        ("narrative-active", "<a href=\" JaVaScRiPt:alert(1)\">x</a>"),
        ("narrative-active", "<a href=\"java&#x09;script&#58;alert(1)\">x</a>"),
        ("narrative-active", "<a href=\"&#106;avascript:alert(1)\">x</a>"),
        ("narrative-active", "<a href=\"vbscript:x\">x</a>"),
        ("narrative-active", "<a href=\"data:text/html,x\">x</a>"),
        ("narrative-active", "<p style=\"background:url(https://x/y)\">x</p>"),
        ("narrative-active", "<p style=\"width:expression(x)\">x</p>"),
        ("narrative-active", "<style>p{}</style><p>x</p>"),
        ("narrative-active", "<iframe src=\"https://x\"/><p>x</p>"),
        ("narrative-active", "<form action=\"https://x\"><p>x</p></form>"),
        ("narrative-active", "<svg><animate onbegin=\"x\"/></svg><p>x</p>"),
        ("narrative-active", "<p>x</p><svg/>"),
        ("narrative-active", "<object data=\"x\"/><p>x</p>"),
        ("narrative-active", "<meta http-equiv=\"refresh\"/><p>x</p>"),
        ("narrative-remote-image", "<img src=\"https://x/y.png\" alt=\"\"/>"),
        ("narrative-remote-image", "<img src=\"//x/y.png\" alt=\"\"/>"),
        ("narrative-remote-image", "<img src=\"y.png\" alt=\"\"/>"),
        ("narrative-remote-image", "<img src=\"data:image/svg+xml;base64,AA\" alt=\"\"/>"),
        ("narrative-remote-image", "<img src=\"data:image/pngx,AA\" alt=\"\"/>"),
    ] {
        let findings = judge(&with(NARRATIVE, html));
        assert!(errors(&findings).contains(&rule), "{html}: {:?}", errors(&findings));
    }
}

#[test]
fn plain_narrative_passes() {
    for html in [
        "<table border=\"1\" style=\"width:100%\"><tbody><tr><td rowspan=\"2\">x</td></tr></tbody></table>",
        "<p>5 &lt; 6 &amp; 7 &gt; 2<br/>x</p>",
        "<a href=\"https://www.nhs.uk/a?b=1&amp;period=2\">x</a>",
        "<a href=\"#top\">x</a><a href=\"mailto:ward@example.org\">x</a><a href=\"tel:01\">x</a>",
        "<img src=\"data:image/png;base64,AA\" alt=\"x\"/>",
        "<img src=\"#scan\" alt=\"x\"/>",
        "<p title='a > b'>x</p>",
        "<p>on fire: javascript: is only a word here</p>",
    ] {
        let findings = judge(&with(NARRATIVE, html));
        assert_eq!(errors(&findings), [] as [&str; 0], "{html}: {findings:#?}");
    }
}

#[test]
fn emptiness_is_not_fooled() {
    for empty in [
        "<div/>",
        "<div> \n</div>",
        "<div><p>&#160;</p><!-- words --></div>",
        "<div><br/>&nbsp;</div>",
        "<div><p title=\"words\"/></div>",
    ] {
        assert!(!narrative::has_content(empty), "{empty}");
    }
    for full in ["<div>x</div>", "<div><img src=\"#x\"/></div>", "<div><p>&lt;</p></div>"] {
        assert!(narrative::has_content(full), "{full}");
    }
}

fn with_binary(media_type: &str, data: &str) -> String {
    let binary = format!(
        "<entry><fullUrl value=\"urn:uuid:bin\"/><resource><Binary><id value=\"bin\"/><contentType value=\"{media_type}\"/>\
         <content value=\"{data}\"/></Binary></resource></entry>"
    );
    let at = "<entry><fullUrl value=\"urn:uuid:practice\"/>";
    with(at, &format!("{binary}{at}"))
}

/// Rows 96 and 97, and the kinds of files that receivers take.
#[test]
fn bad_input_096_097_attachments() {
    // "%PDF-1", "MZ…", PNG, JPEG, text.
    let (pdf, exe, png, jpeg, text) = ("JVBERi0x", "TVqQAAMA", "iVBORw0KGgo=", "/9j/4A==", "aGVsbG8=");
    for (media_type, data, expected) in [
        ("application/pdf", pdf, None),
        ("application/PDF; x=y", pdf, None),
        ("image/png", png, None),
        ("image/jpeg", jpeg, None),
        ("text/plain", text, None),
        ("text/html", text, None),
        ("application/pdf", exe, Some(("attachment-content", 20005))),
        ("text/plain", exe, Some(("attachment-content", 20005))),
        ("text/plain", pdf, Some(("attachment-content", 20005))),
        ("image/png", jpeg, Some(("attachment-content", 20005))),
        ("application/pdf", "%%%", Some(("attachment-base64", 20005))),
        ("application/x-msdownload", exe, Some(("attachment-media-type", 20004))),
        ("image/svg+xml", text, Some(("attachment-media-type", 20004))),
        ("application/zip", "UEsDBA==", Some(("attachment-media-type", 20004))),
        // <script>
        ("text/html", "PHNjcmlwdD4=", Some(("attachment-active", 20004))),
    ] {
        let findings = judge(&with_binary(media_type, data));
        let found = findings.iter().find(|finding| finding.severity == Error);
        assert_eq!(
            found.map(|finding| (finding.rule.as_ref(), finding.itk_code.unwrap_or(0))),
            expected,
            "{media_type} {data}"
        );
    }
}

/// Row 95: nothing outside is reached for.
#[test]
fn bad_input_095_attachment_url() {
    let reference = |url: &str, title: &str| {
        let resource = format!(
            "<entry><fullUrl value=\"urn:uuid:ref\"/><resource><DocumentReference><id value=\"ref\"/><status value=\"current\"/>\
             <content><attachment><contentType value=\"application/pdf\"/><url value=\"{url}\"/><title value=\"{title}\"/>\
             </attachment></content></DocumentReference></resource></entry>"
        );
        let at = "<entry><fullUrl value=\"urn:uuid:practice\"/>";
        judge(&with(at, &format!("{resource}{at}")))
    };
    assert_eq!(errors(&reference("http://169.254.169.254/latest/meta-data", "x")), ["attachment-url"]);
    assert_eq!(errors(&reference("file:///etc/passwd", "x")), ["attachment-url"]);
    assert_eq!(errors(&reference("urn:uuid:trust", "x")), [] as [&str; 0]);
    // Row 109.
    assert_eq!(errors(&reference("urn:uuid:trust", "../../x")), ["attachment-title"]);
    assert_eq!(errors(&reference("urn:uuid:trust", "x&#13;&#10;Subject: y")), ["attachment-title"]);
    assert_eq!(
        errors(&reference("urn:uuid:trust", "=cmd|x")),
        [] as [&str; 0],
        "row 108 is escaped where it is written"
    );
}

/// A flood of one fault gives a short answer that tells how many more there are.
#[test]
fn floods_are_folded() {
    let many = "<p onclick=\"x\">x</p>".repeat(5_000);
    let findings = judge(&with(NARRATIVE, &many));
    let active: Vec<_> = findings.iter().filter(|finding| finding.rule == "narrative-active").collect();
    assert_eq!(active.len(), 20);
    assert!(active[0].diagnostics.contains("4980 more places"), "{}", active[0].diagnostics);
}

#[test]
fn contained_resources_are_bounded() {
    let contained = |count: usize| {
        let one = |at| {
            format!("<contained><Organization><id value=\"c{at}\"/><active value=\"true\"/></Organization></contained>")
        };
        let all: String = (0..count).map(one).collect();
        judge(&with("<active value=\"true\"/>", &format!("{all}<active value=\"true\"/>")))
    };
    assert_eq!(errors(&contained(256)), [] as [&str; 0]);
    assert_eq!(errors(&contained(257)), ["too-many-contained"]);
}

/// Whatever is cut off or doubled in the text, judging it ends and does not panic.
#[test]
fn truncated_tags_do_not_panic() {
    let samples = [
        "<div><p a",
        "<div><p a=",
        "<div><p a='",
        "<div><",
        "<div></",
        "<div><!--",
        "<div><?x",
        "<div><![CDATA[<",
        "<div>=<a=b c",
        "<div><é x=ü>",
    ];
    for sample in samples {
        let mut b = onward_fhir::Builder::resource("Patient");
        b.node("text", |b| b.leaf("div", sample));
        let findings = crate::validate_resource(&b.finish());
        assert!(findings.len() > 1, "{sample}");
    }
    let text = message();
    for cut in (0..text.len()).step_by(97).filter(|cut| text.is_char_boundary(*cut)) {
        let mut b = onward_fhir::Builder::resource("Patient");
        b.node("text", |b| b.leaf("div", &text[cut..]));
        let _ = crate::validate_resource(&b.finish());
    }
}

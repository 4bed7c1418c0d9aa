//! Language tags: the syntax of RFC 5646 §2.1. Languages of two letters are those of ISO 639-1; longer ones are not known here.

use crate::terminology::Membership;

/// ISO 639-1, and the codes that it withdrew and the IANA registry keeps.
const TWO_LETTERS: &str = "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy \
    da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik \
    in io is it iu iw ja ji jv jw ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml \
    mn mo mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh \
    si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo \
    za zh zu";

/// RFC 5646 §2.2.8: valid tags that do not fit the syntax.
const IRREGULAR: [&str; 17] = [
    "en-gb-oed",
    "i-ami",
    "i-bnn",
    "i-default",
    "i-enochian",
    "i-hak",
    "i-klingon",
    "i-lux",
    "i-mingo",
    "i-navajo",
    "i-pwn",
    "i-tao",
    "i-tay",
    "i-tsu",
    "sgn-be-fr",
    "sgn-be-nl",
    "sgn-ch-de",
];

/// Longer tags are refused, so that the work is bounded.
const TAG_BYTES_MAX: usize = 128;

pub(super) fn judge(tag: &str) -> Membership {
    if tag.len() > TAG_BYTES_MAX {
        return Membership::No;
    }
    let lower = tag.to_ascii_lowercase();
    if IRREGULAR.contains(&&*lower) {
        return Membership::Yes { display: None };
    }
    let subtags: Vec<&str> = lower.split('-').collect();
    let is_subtag =
        |each: &&str| (1..=8).contains(&each.len()) && each.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !subtags.iter().all(is_subtag) {
        return Membership::No;
    }
    if subtags[0] == "x" {
        return if subtags.len() > 1 { Membership::Yes { display: None } } else { Membership::No };
    }
    if !fits_syntax(&subtags) {
        return Membership::No;
    }
    match subtags[0].len() {
        2 if TWO_LETTERS.split_ascii_whitespace().any(|known| known == subtags[0]) => Membership::Yes { display: None },
        2 => Membership::No,
        _ => Membership::unknown("languages of more than two letters are not listed here"),
    }
}

fn fits_syntax(subtags: &[&str]) -> bool {
    let is_alpha = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let language = subtags[0];
    if !is_alpha(language) || language.len() < 2 {
        return false;
    }
    let mut rest = &subtags[1..];
    if language.len() <= 3 {
        for _ in 0..3 {
            take(&mut rest, |each| each.len() == 3 && is_alpha(each));
        }
    }
    take(&mut rest, |script| script.len() == 4 && is_alpha(script));
    take(&mut rest, |region| (region.len() == 2 && is_alpha(region)) || (region.len() == 3 && is_digits(region)));
    let is_variant =
        |each: &str| each.len() >= 5 || (each.len() == 4 && each.starts_with(|c: char| c.is_ascii_digit()));
    while take(&mut rest, is_variant) {}
    while take(&mut rest, |singleton| singleton.len() == 1 && singleton != "x") {
        if !take(&mut rest, |each| each.len() >= 2) {
            return false;
        }
        while take(&mut rest, |each| each.len() >= 2) {}
    }
    if take(&mut rest, |each| each == "x") { !rest.is_empty() } else { rest.is_empty() }
}

/// Drops the first subtag when it fits.
fn take(rest: &mut &[&str], fits: impl Fn(&str) -> bool) -> bool {
    match rest.split_first() {
        Some((first, behind)) if fits(first) => {
            *rest = behind;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_syntax_and_list() {
        for good in [
            "en",
            "en-GB",
            "EN-gb",
            "zh-Hant-TW",
            "de-1996",
            "sl-rozaj-biske",
            "en-x-private",
            "x-own",
            "i-klingon",
            "es-419",
        ] {
            assert!(judge(good).is_yes(), "{good}");
        }
        for bad in ["", "e", "xx", "en_GB", "en-", "en--GB", "x", "en-x", "en-a", "en-GB-GB", "é", "aninvalidtag"] {
            assert_eq!(judge(bad), Membership::No, "{bad}");
        }
        assert!(matches!(judge("bfi"), Membership::Unknown { .. }));
    }
}

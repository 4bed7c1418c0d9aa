//! Style sheets, scripts and the icon: part of the binary, served under the hash of their content, kept by browsers for good.

use std::io::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// The addresses that pages refer to.
#[derive(Debug)]
pub struct Assets {
    /// The NHS design system's style sheet.
    pub nhs_css: String,
    /// Ours.
    pub app_css: String,
    /// Ours, which loads the NHS design system's.
    pub app_js: String,
    /// The icon of the tab.
    pub icon: String,
    files: Vec<Asset>,
}

#[derive(Debug)]
struct Asset {
    name: String,
    media_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::new);

/// The assets of this binary.
#[must_use]
pub fn assets() -> &'static Assets {
    &ASSETS
}

impl Assets {
    fn new() -> Self {
        let nhs_js = Asset::new("nhsuk-frontend.js", include_bytes!("../../assets/nhsuk-frontend/nhsuk-frontend.js"));
        let app_js = include_str!("../../assets/app.js").replace("./nhsuk-frontend.js", &nhs_js.address());
        let app_js = Asset::new("app.js", app_js.as_bytes());
        let nhs_css =
            Asset::new("nhsuk-frontend.css", include_bytes!("../../assets/nhsuk-frontend/nhsuk-frontend.css"));
        let app_css = Asset::new("app.css", include_bytes!("../../assets/app.css"));
        let icon = Asset::new("favicon.svg", include_bytes!("../../assets/favicon.svg"));
        Self {
            nhs_css: nhs_css.address(),
            app_css: app_css.address(),
            app_js: app_js.address(),
            icon: icon.address(),
            files: vec![nhs_css, app_css, nhs_js, app_js, icon],
        }
    }
}

impl Asset {
    fn new(file: &str, content: &[u8]) -> Self {
        let (stem, ending) = file.rsplit_once('.').expect("assets have an ending");
        let hash = hex::encode(&digest::digest(&digest::SHA256, content).as_ref()[..8]);
        let media_type = match ending {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        Self {
            name: format!("{stem}.{hash}.{ending}"),
            media_type,
            plain: Bytes::copy_from_slice(content),
            gzip: gzip(content, Compression::best()),
        }
    }

    fn address(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// `GET /assets/{name}`.
pub async fn get(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = assets().files.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let compressed = takes_gzip(&headers);
    let body = if compressed { &asset.gzip } else { &asset.plain };
    let mut response = ([(header::CONTENT_TYPE, asset.media_type)], body.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Whether the client takes gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
            name.trim().eq_ignore_ascii_case("gzip") && weight.trim().replace(' ', "") != "q=0"
        })
    })
}

pub(super) fn gzip(content: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 4 + 64), level);
    encoder.write_all(content).expect("memory takes every write");
    encoder.finish().expect("memory takes every write").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compressed bytes of everything that a first visit loads beside the page itself.
    const FIRST_VISIT_BYTES_MAX: usize = 95_000;

    #[test]
    fn what_is_vendored_is_what_was_vendored() {
        let sums = include_str!("../../assets/nhsuk-frontend/SHA256SUMS");
        let files: [(&str, &[u8]); 3] = [
            ("nhsuk-frontend.css", include_bytes!("../../assets/nhsuk-frontend/nhsuk-frontend.css")),
            ("nhsuk-frontend.js", include_bytes!("../../assets/nhsuk-frontend/nhsuk-frontend.js")),
            ("examples.json", include_bytes!("../../assets/nhsuk-frontend/examples.json")),
        ];
        for (name, content) in files {
            let sum = hex::encode(digest::digest(&digest::SHA256, content));
            assert!(
                sums.contains(&format!("{sum}  {name}\n")),
                "{name}: npm run vendor, then sha256sum into SHA256SUMS"
            );
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere_and_no_brand_is_borrowed() {
        for asset in &assets().files {
            let text = String::from_utf8_lossy(&asset.plain);
            for word in ["Frutiger", "assets.nhs.uk", "url(", "@import", "sourceMappingURL", "M200 0v80"] {
                assert!(!text.contains(word), "{word} in {}", asset.name);
            }
        }
    }

    #[test]
    fn a_first_visit_is_light() {
        let bytes: usize = assets().files.iter().map(|asset| asset.gzip.len()).sum();
        assert!(bytes <= FIRST_VISIT_BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn the_script_loads_its_neighbour_by_its_hashed_name() {
        let script = assets().files.iter().find(|asset| asset.name.starts_with("app.") && asset.name.ends_with(".js"));
        let text = String::from_utf8_lossy(&script.expect("there").plain).into_owned();
        let neighbour = assets()
            .files
            .iter()
            .find(|asset| asset.name.starts_with("nhsuk-frontend.") && asset.name.ends_with(".js"));
        assert!(text.contains(&neighbour.expect("there").address()), "{text}");
    }

    #[test]
    fn gzip_is_a_choice_of_the_client() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        assert!(takes("gzip") && takes("br, gzip;q=0.5") && takes("deflate,GZIP"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("x-gzip-not"));
    }
}

//! The client of a FHIR terminology server: `$validate-code` of a ValueSet or a CodeSystem (R4 §4.9.18.2, §4.8.17.2). Codes go in the
//! body, never in the URL, and nothing else of a resource goes anywhere.

use serde_json::{Value, json};
use url::Url;

use crate::http::{HeaderMap, HeaderValue, HttpClient, HttpFault, Method, header};

/// An answer is a few parameters; some servers add an OperationOutcome.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Code<'c> {
    /// Canonical URL of the value set; absent: is it a code of its system?
    pub value_set: Option<&'c str>,
    /// The code system.
    pub system: Option<&'c str>,
    /// The code.
    pub code: &'c str,
    /// The version of the code system.
    pub version: Option<&'c str>,
}

/// Whether a code is a member; nothing when the server does not know the value set or the code system.
///
/// # Errors
/// See [`HttpFault`]; it can be repeated without harm.
pub async fn validate_code(http: &HttpClient, base: &Url, asked: Code<'_>) -> Result<Option<bool>, HttpFault> {
    let of_type = if asked.value_set.is_some() { "ValueSet" } else { "CodeSystem" };
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(of_type).push("$validate-code");
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/fhir+json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/fhir+json"));
    let answer = http.send(Method::POST, url, headers, question(asked).to_string()).await?;
    let is_success = answer.status().is_success();
    let body = answer.bytes_up_to(ANSWER_BYTES_MAX).await?;
    // A server answers 404 or 422 for a value set that it does not have.
    Ok(if is_success { serde_json::from_slice(&body).ok().as_ref().and_then(told) } else { None })
}

fn question(asked: Code<'_>) -> Value {
    let mut parameters = vec![json!({"name": "code", "valueCode": asked.code})];
    let mut add = |name: &str, kind: &str, value: Option<&str>| {
        parameters.extend(value.map(|value| json!({"name": name, kind: value})));
    };
    match asked.value_set {
        Some(value_set) => {
            let (url, version) =
                value_set.split_once('|').map_or((value_set, None), |(url, version)| (url, Some(version)));
            add("url", "valueUri", Some(url));
            add("valueSetVersion", "valueString", version);
            add("system", "valueUri", asked.system);
            add("systemVersion", "valueString", asked.version);
        }
        None => {
            add("url", "valueUri", asked.system);
            add("version", "valueString", asked.version);
        }
    }
    if asked.system.is_none() {
        // An element of type `code` has the system that its value set implies.
        parameters.push(json!({"name": "inferSystem", "valueBoolean": true}));
    }
    json!({"resourceType": "Parameters", "parameter": parameters})
}

fn told(answer: &Value) -> Option<bool> {
    let parameters = answer["parameter"].as_array()?;
    let of_name = |name: &str| parameters.iter().find(|each| each["name"] == name);
    let result = of_name("result")?["valueBoolean"].as_bool()?;
    // "No" for want of the code system is no answer.
    let unknown = ["x-unknown-system", "x-caused-by-unknown-system"].iter().any(|name| of_name(name).is_some())
        || of_name("issues")
            .and_then(|issues| issues["resource"]["issue"].as_array())
            .is_some_and(|issues| issues.iter().any(|issue| issue["code"] == "not-found"));
    (result || !unknown).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_stands_in_the_body() {
        let asked = Code {
            value_set: Some("urn:vs|2"),
            system: Some("http://snomed.info/sct"),
            code: "22298006",
            version: None,
        };
        let names = |asked| -> Vec<String> {
            let question = question(asked);
            let parameters = question["parameter"].as_array().expect("parameters");
            parameters.iter().map(|each| each["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert_eq!(names(asked), ["code", "url", "valueSetVersion", "system"]);
        assert_eq!(names(Code { system: None, ..asked }), ["code", "url", "valueSetVersion", "inferSystem"]);
        assert_eq!(names(Code { value_set: None, version: Some("1"), ..asked }), ["code", "url", "version"]);
    }

    #[test]
    fn an_answer_for_want_of_a_code_system_is_none() {
        let answer = |result: bool, more: &str| {
            let text = format!(
                r#"{{"resourceType":"Parameters","parameter":[{{"name":"result","valueBoolean":{result}}}{more}]}}"#
            );
            told(&serde_json::from_str(&text).expect("JSON"))
        };
        assert_eq!(answer(true, ""), Some(true));
        assert_eq!(answer(false, r#",{"name":"message","valueString":"no"}"#), Some(false));
        assert_eq!(answer(false, r#",{"name":"x-caused-by-unknown-system","valueCanonical":"urn:a"}"#), None);
        let issues = r#",{"name":"issues","resource":{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}}"#;
        assert_eq!(answer(false, issues), None);
        assert_eq!(told(&json!({"resourceType": "OperationOutcome"})), None);
    }
}

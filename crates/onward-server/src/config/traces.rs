//! Where traces go: the standard variables of OpenTelemetry (environment variables of the SDK and of the OTLP exporter). Without an
//! endpoint nothing is traced.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use url::Url;

/// `OTEL_EXPORTER_OTLP_TIMEOUT` where it is not set.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// All.
    All,
    /// None.
    Nothing,
    /// This share of them.
    Share(f64),
}

/// What is exported, and where to.
#[derive(Clone, PartialEq)]
pub struct Traces {
    /// Takes `POST` of OTLP in protobuf.
    pub endpoint: Url,
    /// Sent with every export; may hold a token.
    pub headers: Vec<(String, String)>,
    /// Whether exports are compressed (gzip).
    pub gzip: bool,
    /// Longest export, its repeats included.
    pub timeout: Duration,
    /// `service.name`.
    pub service_name: String,
    /// Further attributes of the resource.
    pub resource: Vec<(String, String)>,
    /// Which are kept.
    pub sampling: Sampling,
    /// A caller that traces decides for what follows from its call.
    pub by_parent: bool,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("sampling", &self.sampling).finish_non_exhaustive()
    }
}

impl Traces {
    /// As these variables say; nothing where none names an endpoint, or tracing is off.
    ///
    /// # Errors
    /// Every variable that cannot be heeded.
    pub(super) fn read(environment: &[(OsString, OsString)]) -> Result<Option<Self>, Vec<String>> {
        let get = |name: &str| {
            let found = environment.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.to_str());
            found.map(str::trim).filter(|value| !value.is_empty())
        };
        // What is said of traces goes before what is said of everything.
        let either = |name: &str| {
            get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}")).or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let mut problems = Vec::new();
        match get("OTEL_TRACES_EXPORTER") {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(_) => problems.push("OTEL_TRACES_EXPORTER takes otlp or none".to_owned()),
        }
        let Some(endpoint) = endpoint(get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), get("OTEL_EXPORTER_OTLP_ENDPOINT"))
        else {
            return if problems.is_empty() { Ok(None) } else { Err(problems) };
        };
        if either("PROTOCOL").is_some_and(|value| value != "http/protobuf") {
            problems.push("OTEL_EXPORTER_OTLP_PROTOCOL: http/protobuf is the one protocol that is spoken".to_owned());
        }
        let gzip = match either("COMPRESSION") {
            None | Some("none") => false,
            Some("gzip") => true,
            Some(_) => {
                problems.push("OTEL_EXPORTER_OTLP_COMPRESSION takes gzip or none".to_owned());
                false
            }
        };
        if either("CERTIFICATE").is_some() {
            problems.push("OTEL_EXPORTER_OTLP_CERTIFICATE: put the authority into egress.extra_ca_file".to_owned());
        }
        let milliseconds = either("TIMEOUT").map(str::parse::<u64>).transpose();
        let timeout = milliseconds.map(|given| given.map_or(TIMEOUT, Duration::from_millis)).unwrap_or_else(|_| {
            problems.push("OTEL_EXPORTER_OTLP_TIMEOUT takes milliseconds".to_owned());
            TIMEOUT
        });
        let mut resource = pairs(get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        let of_resource = resource.iter().position(|(name, _)| name == "service.name").map(|at| resource.remove(at).1);
        let service_name = get("OTEL_SERVICE_NAME").map(str::to_owned).or(of_resource);
        let (sampling, by_parent) = sampling(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))
            .unwrap_or_else(|problem| {
                problems.push(problem);
                (Sampling::Nothing, false)
            });
        let endpoint = endpoint.map_err(|problem| problems.push(problem));
        match endpoint {
            Ok(endpoint) if problems.is_empty() => Ok(Some(Self {
                endpoint,
                headers: pairs(either("HEADERS").unwrap_or_default()),
                gzip,
                timeout,
                service_name: service_name.unwrap_or_else(|| "onward".to_owned()),
                resource,
                sampling,
                by_parent,
            })),
            _ => Err(problems),
        }
    }
}

/// That of traces as it is, else that of all signals with `v1/traces` (OTLP exporter, Endpoint URLs for OTLP/HTTP).
fn endpoint(of_traces: Option<&str>, of_all: Option<&str>) -> Option<Result<Url, String>> {
    let (name, text) = match (of_traces, of_all) {
        (Some(text), _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text.to_owned()),
        (None, Some(text)) => ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", text.trim_end_matches('/'))),
        (None, None) => return None,
    };
    Some(super::values::url(&text).map_err(|problem| format!("{name}: {problem}")))
}

/// `name=value,name=value`, with `%XX` in values (W3C Baggage).
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        // Only `%XX` has a meaning here; in a form these two have one as well.
        let encoded = pair.trim().replace('+', "%2B").replace('&', "%26");
        let (name, value) = url::form_urlencoded::parse(encoded.as_bytes()).next()?;
        (!name.is_empty()).then(|| (name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').filter_map(pair).collect()
}

fn sampling(name: Option<&str>, argument: Option<&str>) -> Result<(Sampling, bool), String> {
    let share = || {
        let share: f64 = argument.unwrap_or("1").parse().unwrap_or(f64::NAN);
        let right = (0.0..=1.0).contains(&share);
        right.then_some(Sampling::Share(share)).ok_or_else(|| "OTEL_TRACES_SAMPLER_ARG takes 0 to 1".to_owned())
    };
    match name.unwrap_or("parentbased_always_on") {
        "always_on" => Ok((Sampling::All, false)),
        "always_off" => Ok((Sampling::Nothing, false)),
        "traceidratio" => Ok((share()?, false)),
        "parentbased_always_on" => Ok((Sampling::All, true)),
        "parentbased_always_off" => Ok((Sampling::Nothing, true)),
        "parentbased_traceidratio" => Ok((share()?, true)),
        _ => Err("OTEL_TRACES_SAMPLER takes always_on, always_off, traceidratio, or one of them after parentbased_"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Traces>, Vec<String>> {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Traces::read(&variables)
    }

    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example/otlp/");

    #[test]
    fn nothing_is_traced_unless_an_endpoint_is_named() {
        for variables in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[ALL, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ALL, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(read(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn the_standard_variables_mean_what_the_standard_says() {
        let traces = read(&[ALL]).expect("right").expect("traced");
        assert_eq!(traces.endpoint.as_str(), "https://collector.example/otlp/v1/traces");
        assert_eq!((traces.service_name.as_str(), traces.timeout), ("onward", TIMEOUT));
        assert_eq!((traces.sampling, traces.by_parent, traces.gzip), (Sampling::All, true, false));
        let traces = read(&[
            ALL,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20one+two, x-scope = a&b=c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=hidden,deployment.environment.name=north%20moor"),
            ("OTEL_SERVICE_NAME", "gateway"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        let traces = traces.expect("right").expect("traced");
        assert_eq!(traces.endpoint.as_str(), "https://traces.example/in");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(traces.headers, [pair("authorization", "Bearer one+two"), pair("x-scope", "a&b=c")]);
        assert_eq!((traces.timeout, traces.gzip), (Duration::from_millis(2500), true));
        assert_eq!(traces.service_name, "gateway");
        assert_eq!(traces.resource, [pair("deployment.environment.name", "north moor")]);
        assert_eq!((traces.sampling, traces.by_parent), (Sampling::Share(0.25), false));
        assert!(!format!("{traces:?}").contains("Bearer"));
    }

    #[test]
    fn what_cannot_be_heeded_is_said() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://user:secret@collector.example/"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ] {
            let problems = read(&[ALL, (variable, value)]).expect_err(variable);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(!problems[0].contains("secret"), "{problems:?}");
        }
        for share in ["2", "-1", "half", "NaN"] {
            let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
            assert!(read(&[ALL, sampler, ("OTEL_TRACES_SAMPLER_ARG", share)]).is_err(), "{share}");
        }
    }
}

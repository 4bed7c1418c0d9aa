use std::ffi::OsString;
use std::path::{Path, PathBuf};

use onward_core::state::HoldReason;

use super::check::Severity;
use super::{Config, DEFAULTS, Loaded, LogFormat, PdsMode, StoreUrl};

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let folder = tempfile::tempdir().expect("folder");
    load_in(folder.path(), text, environment)
}

fn load_in(folder: &Path, text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let file = folder.join("gateway.toml");
    std::fs::write(&file, text).expect("written");
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load_from(Some(&file), environment).map_err(|error| error.problems)
}

fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    load(text, environment).expect_err("must be refused")
}

fn source(loaded: &Loaded, key: &str) -> (String, String) {
    let setting = loaded.settings.iter().find(|setting| setting.key == key).expect("every key is shown");
    (setting.value.clone(), setting.source.clone())
}

#[test]
fn defaults_load_and_name_every_hold_reason() {
    let loaded = Config::load_from(None, []).expect("the defaults are a configuration");
    for reason in HoldReason::ALL {
        let policy = loaded.config.hold_policy(*reason);
        assert!(policy.hours > 0 && !policy.owner.is_empty(), "{reason}");
    }
    assert_eq!(loaded.config.server.body_bytes_max, 5 * 1024 * 1024);
    assert_eq!(loaded.config.audit.checkpoint_seconds, 5, "entries stand under a signature within five seconds");
    assert!(loaded.settings.iter().all(|setting| setting.source == "default"));
    assert!(loaded.config.own_ods().is_err(), "nobody's name is a default");
}

#[test]
fn every_default_is_explained() {
    // A key counts as explained when a comment stands above it or above the keys that it follows directly.
    let mut explained = false;
    for line in DEFAULTS.lines() {
        match line.trim() {
            comment if comment.starts_with('#') => explained = true,
            "" => explained = false,
            section if section.starts_with('[') => explained = section.starts_with("[holds."),
            key if key.contains(" = ") && !line.starts_with(' ') => assert!(explained, "{key}"),
            _ => {}
        }
    }
}

#[test]
fn environment_wins_over_file_wins_over_default() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\nbody_bytes_max = 1_000\n[log]\nformat = \"json\"\n";
    let loaded = load(
        text,
        &[
            ("ONWARD__SERVER__LISTEN", "127.0.0.1:2"),
            ("ONWARD__MESH__ENABLED", "true"),
            ("ONWARD__HOLDS__RESTRICTED_PATIENT__HOURS", "1"),
            ("ONWARD__EGRESS__HOSTS", "[{ host = \"127.0.0.1\", internal = true }]"),
            ("ONWARD_REQUIRE_SHARED_DATA", "1"),
            ("PATH", "/nowhere"),
        ],
    )
    .expect("loads");
    let config = &loaded.config;
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.body_bytes_max, 1_000);
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(config.mesh.enabled);
    assert_eq!(config.hold_policy(HoldReason::RestrictedPatient).hours, 1);
    assert_eq!(config.hold_policy(HoldReason::RestrictedPatient).owner, "information governance");
    assert!(config.egress.hosts.len() == 1 && config.egress.hosts[0].internal);
    assert_eq!(source(&loaded, "server.listen"), ("\"127.0.0.1:2\"".into(), "ONWARD__SERVER__LISTEN".into()));
    assert_eq!(source(&loaded, "server.body_bytes_max"), ("1000".into(), "gateway.toml line 3".into()));
    assert_eq!(source(&loaded, "delivery.workers").1, "default");
}

#[test]
fn unknown_names_fail_with_the_nearest_known_one() {
    let cases = [
        ("[server]\nlistn = \"x\"\n", "gateway.toml line 2: unknown key `listn` in [server]; did you mean `listen`?"),
        ("\n[servr]\nlisten = \"x\"\n", "gateway.toml line 2: unknown section [servr]; did you mean [server]?"),
        (
            "[mesh]\npoll_secs = 4\n",
            "gateway.toml line 2: unknown key `poll_secs` in [mesh]; did you mean `poll_seconds`?",
        ),
        (
            "poll_seconds = 4\n",
            "gateway.toml line 1: unknown key `poll_seconds` outside every section; did you mean `poll_seconds` in [mesh]?",
        ),
        (
            "[holds.restricted-patien]\nhours = 4\n",
            "gateway.toml line 1: unknown section [holds.restricted-patien]; did you mean [holds.restricted-patient]?",
        ),
        (
            "[holds.deceased]\nowners = \"x\"\n",
            "gateway.toml line 2: unknown key `owners` in [holds.deceased]; did you mean `owner`?",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text, &[]), [expected]);
    }
    let inline = problems("[egress]\nhosts = [{ hots = \"a\" }]\n", &[]);
    assert!(inline[0].contains("did you mean `host`?"), "{inline:?}");
    let variable = problems("", &[("ONWARD__SERVER__LISTN", "x")]);
    assert_eq!(
        variable,
        ["unknown environment variable `ONWARD__SERVER__LISTN`; did you mean `ONWARD__SERVER__LISTEN`?"]
    );
}

#[test]
fn all_problems_are_listed_at_once_each_with_its_place() {
    let text = "[server]\nlisten = \"nowhere\"\nbody_bytes_max = \"big\"\n[pds]\nmode = \"standin\"\n\
                [identity]\nods = \"r9z\"\n[mesh]\npoll_seconds = -1\n";
    let found = problems(text, &[("ONWARD__DELIVERY__WORKERS", "many")]);
    assert_eq!(found.len(), 6, "{found:#?}");
    for (place, words) in [
        ("gateway.toml line 2: [server] listen:", "socket address"),
        ("gateway.toml line 3: [server] body_bytes_max:", "expected integer, found string"),
        ("gateway.toml line 5: [pds] mode:", "did you mean `stand-in`?"),
        ("gateway.toml line 7: [identity] ods:", "ODS code"),
        ("gateway.toml line 9: [mesh] poll_seconds:", "-1"),
        ("ONWARD__DELIVERY__WORKERS", "expected integer"),
    ] {
        assert!(found.iter().any(|p| p.starts_with(place) && p.contains(words)), "{place} {words}: {found:#?}");
    }
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    for (text, line) in [("[server\n", 1), ("\n\nlisten\n", 3), ("[log]\nformat = \"text\"\nformat = \"json\"\n", 3)] {
        let found = problems(text, &[]);
        assert!(found[0].starts_with(&format!("gateway.toml line {line}: not TOML")), "{found:?}");
    }
    for section in ["server = 3\n", "[[server]]\nlisten = \"x\"\n", "[server.listen]\nx = 1\n"] {
        assert_eq!(problems(section, &[]).len(), 1, "{section}");
    }
}

#[test]
fn credentials_in_addresses_are_refused_and_not_repeated() {
    for text in [
        "[store]\nurl = \"postgres://onward:s3cret@db/onward\"\n",
        "[store]\nurl = \"postgres://onward@db/onward?password=s3cret\"\n",
        "[mesh]\nbase_url = \"https://u:s3cret@mesh.example\"\n",
        "[server]\npublic_url = \"https://s3cret@gateway.example\"\n",
    ] {
        let found = problems(text, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(!found[0].contains("s3cret"), "{found:?}");
    }
}

#[test]
fn paths_lie_beside_the_file_and_the_environment_names_them_the_same_way() {
    let folder = tempfile::tempdir().expect("folder");
    let text = "[store]\nurl = \"sqlite:data/a.db\"\n[server]\ntls_key_file = \"/abs/key.pem\"\n";
    let loaded = load_in(folder.path(), text, &[("ONWARD__MESH__PASSWORD_FILE", "secrets/pw")]).expect("loads");
    assert_eq!(loaded.config.store.url, StoreUrl::Sqlite(folder.path().join("data/a.db")));
    assert_eq!(loaded.config.server.tls_key_file, Some(PathBuf::from("/abs/key.pem")));
    assert_eq!(loaded.config.mesh.password_file, Some(folder.path().join("secrets/pw")));
    assert_eq!(loaded.config.audit.signing_key_file, folder.path().join("audit-signing.key"));
    assert_eq!(loaded.config.routes.file, None);
    assert_eq!(source(&loaded, "mesh.password_file").0, "\"secrets/pw\"");
}

#[test]
fn the_public_address_has_no_path() {
    for bad in
        ["https://gateway.example/onward", "https://gateway.example/?a", "gateway.example", "ftp://gateway.example"]
    {
        assert_eq!(problems(&format!("[server]\npublic_url = \"{bad}\"\n"), &[]).len(), 1, "{bad}");
    }
    for good in ["https://gateway.example:8443", "https://gateway.example:8443/"] {
        let loaded = load(&format!("[server]\npublic_url = \"{good}\"\n"), &[]).expect("loads");
        assert_eq!(loaded.config.server.public_url.at("/oauth2/token"), "https://gateway.example:8443/oauth2/token");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load_from(Some(Path::new("/nowhere/gateway.toml")), []).expect_err("refused");
    assert!(error.to_string().contains("/nowhere/gateway.toml"));
}

#[test]
fn a_wrong_variable_of_traces_hides_no_other_problem() {
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example"), ("OTEL_TRACES_SAMPLER", "jaeger_remote")];
    let problems = problems("[server]\nlisten_on = \"x\"\n", &environment);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("listen_on") && problems[1].contains("OTEL_TRACES_SAMPLER"), "{problems:?}");
}

#[test]
fn a_wrong_address_of_subscriptions_is_told_for_what_it_is() {
    for (url, said) in [
        ("https://home.example/hooks/?tenant=1", "has a query or fragment"),
        ("https://home.example/hooks/#x", "has a query or fragment"),
        ("https://home.example/hooks", "must end with a slash"),
    ] {
        let hook = format!("{{ ods = \"VMH01\", url = \"{url}\" }}");
        let text = format!("[egress]\nhosts = [{{ host = \"home.example\" }}]\n[delivery]\nhooks = [{hook}]\n");
        let found = load(&text, &[]).expect("loads").check();
        let told: Vec<_> = found.iter().filter(|finding| finding.key == "delivery.hooks").collect();
        assert!(told.len() == 1 && told[0].message.contains(said), "{url}: {told:?}");
    }
}

/// What `check` says about a key; errors as `E`, warnings as `W`.
fn findings(loaded: &Loaded, key: &str) -> String {
    let letter = |severity| if severity == Severity::Error { 'E' } else { 'W' };
    loaded.check().iter().filter(|finding| finding.key == key).map(|finding| letter(finding.severity)).collect()
}

const WORKABLE: &str =
    "[identity]\nods = \"R9Z\"\nname = \"Trust\"\n[pds]\nmode = \"stand-in\"\nstand_in_file = \"pds.toml\"\n";

#[test]
fn a_workable_configuration_has_no_error() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("pds.toml"), "patient = []\n").expect("written");
    let loaded = load_in(folder.path(), WORKABLE, &[]).expect("loads");
    assert_eq!(findings(&loaded, "keys.file"), "E", "nothing is stored without a key");
    crate::store_keys::add_key(&folder.path().join("store.key"), onward_core::Timestamp::UNIX_EPOCH).expect("a key");
    let errors: Vec<_> = loaded.check().into_iter().filter(|f| f.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(loaded.config.pds.mode, PdsMode::StandIn);
    assert_eq!(findings(&loaded, "pds.mode"), "W", "the stand-in is never silent");
}

#[test]
fn contradictions_are_errors() {
    let cases = [
        ("", "identity.ods", "E"),
        ("[server]\nlisten = \"0.0.0.0:8443\"\n", "server.tls_certificate_file", "E"),
        ("[server]\ntls_certificate_file = \"missing.pem\"\n", "server.tls_certificate_file", "E"),
        ("[server]\ntls_certificate_file = \"missing.pem\"\n", "server.tls_key_file", "E"),
        ("[server]\nclient_ca_file = \"gateway.toml\"\n", "server.client_ca_file", "E"),
        ("[server]\nclient_ca_file = \"gateway.toml\"\n", "server.client_crl_file", "W"),
        ("[server]\nclient_crl_file = \"gateway.toml\"\n", "server.client_crl_file", "E"),
        ("[server]\noperations_listen = \"127.0.0.1:8443\"\n", "server.operations_listen", "E"),
        ("[server]\npublic_url = \"http://gateway.example\"\n", "server.public_url", "E"),
        ("[server]\nbody_bytes_max = 6_000_000\n", "server.body_bytes_max", "W"),
        ("[delivery]\nlease_seconds = 10\n", "delivery.lease_seconds", "E"),
        ("[delivery]\nworkers = 0\n", "delivery.workers", "E"),
        ("[alerts]\nmailbox_minutes = 0\n", "alerts.mailbox_minutes", "E"),
        ("[alerts]\nmailbox_minutes = 10\n", "alerts.mailbox_minutes", "E"),
        ("[alerts]\nmailbox_minutes = 11\n", "alerts.mailbox_minutes", ""),
        ("[alerts]\nmailbox_minutes = 2\n[mesh]\npoll_seconds = 60\n", "alerts.mailbox_minutes", "E"),
        ("[mesh]\nenabled = true\n", "mesh.poll_seconds", ""),
        ("[mesh]\nenabled = true\npoll_seconds = 299\n", "mesh.poll_seconds", "E"),
        ("[mesh]\nenabled = true\npoll_seconds = 0\n", "mesh.poll_seconds", "E"),
        ("[mesh]\nenabled = true\npoll_seconds = 1\nbase_url = \"https://127.0.0.1:8700\"\n", "mesh.poll_seconds", ""),
        ("[retry.mesh]\ngive_up_hours = 2\n", "retry", ""),
        ("[retry.mesh]\ngive_up_hours = 1\n", "retry", "E"),
        ("[retry.https]\nretry_after_seconds_max = 259_200\n", "retry", "E"),
        ("[retry.https]\nlongest_seconds = 259_199\n", "retry", ""),
        ("[retry.https]\nlongest_seconds = 259_200\n", "retry", "E"),
        ("[mesh]\nenabled = true\n", "mesh.mailbox", "E"),
        ("[mesh]\nenabled = true\n", "mesh.password_file", "E"),
        ("[mesh]\nenabled = true\n", "mesh.base_url", ""),
        ("[mesh]\nenabled = true\n[egress]\nhosts = []\n", "mesh.base_url", "E"),
        ("[mesh]\nenabled = true\nbase_url = \"http://127.0.0.1:8700\"\n", "mesh.base_url", "E"),
        ("[mesh]\nenabled = false\nbase_url = \"http://127.0.0.1:8700\"\n", "mesh.base_url", ""),
        ("[pds]\nmode = \"pds\"\n", "pds.key_file", "E"),
        ("[pds]\nmode = \"pds\"\n", "pds.requests_per_second", ""),
        ("[pds]\nmode = \"pds\"\nrequests_per_second = 0\n", "pds.requests_per_second", "E"),
        ("[store]\nurl = \"sqlite:no/such/folder/a.db\"\n", "store.url", "E"),
        ("[store]\nurl = \"postgres://onward@db/onward\"\n", "store.url", ""),
        ("[store]\nurl = \"postgres://onward@db/onward?sslmode=disable\"\n", "store.url", "E"),
        ("[store]\nurl = \"postgres://onward@db\"\n", "store.url", "E"),
        ("[store]\nca_file = \"missing.pem\"\n", "store.ca_file", "E"),
        ("[store]\nallow_fsync_off = true\n", "store.allow_fsync_off", "W"),
        ("[holds.deceased]\nowner = \" \"\n", "holds", "E"),
        ("[routes]\nfile = \"missing.toml\"\n", "routes.file", "E"),
        ("[disclosure]\nfolder = \"missing\"\n", "disclosure.folder", "E"),
        ("[audit]\ncheckpoint_seconds = 5\n", "audit.checkpoint_seconds", ""),
        ("[audit]\ncheckpoint_seconds = 6\n", "audit.checkpoint_seconds", "W"),
        ("[audit]\nsigning_key_file = \"new.key\"\n", "audit.signing_key_file", "W"),
        ("[audit]\nsigning_key_file = \"no/folder/new.key\"\n", "audit.signing_key_file", "E"),
    ];
    for (text, key, expected) in cases {
        let folder = tempfile::tempdir().expect("folder");
        let loaded = load_in(folder.path(), text, &[]).expect("loads");
        assert_eq!(findings(&loaded, key), expected, "{text} {key}: {:#?}", loaded.check());
    }
}

#[test]
fn the_sandbox_needs_its_flag_and_its_host() {
    let text = "[mesh]\nenabled = true\nbase_url = \"http://127.0.0.1:8700\"\nallow_plain_loopback = true\n\
                [egress]\nhosts = [{ host = \"127.0.0.1\", internal = true }]\n";
    assert_eq!(findings(&load(text, &[]).expect("loads"), "mesh.base_url"), "");
    let outward = text.replace(", internal = true", "");
    assert_eq!(findings(&load(&outward, &[]).expect("loads"), "mesh.base_url"), "E");
}

#[cfg(unix)]
#[test]
fn secrets_that_others_can_read_are_found() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("folder");
    let secret = folder.path().join("pw");
    std::fs::write(&secret, "hush").expect("written");
    for (mode, expected) in [(0o600, ""), (0o400, ""), (0o640, "E"), (0o660, "E"), (0o644, "E"), (0o604, "E")] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).expect("set");
        let text = "[mesh]\nenabled = true\npassword_file = \"pw\"\n";
        let loaded = load_in(folder.path(), text, &[]).expect("loads");
        assert_eq!(findings(&loaded, "mesh.password_file"), expected, "{mode:o}");
        assert!(loaded.check().iter().all(|finding| !finding.message.contains("hush")));
    }
}

#[cfg(unix)]
#[test]
fn published_secrets_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("folder");
    let secret = folder.path().join("key");
    let sandbox = "base_url = \"http://127.0.0.1:8700\"\nallow_plain_loopback = true\n";
    for (text, place, expected) in [
        ("TestKey\n", "", "E"),
        ("PASSWORD", "", "E"),
        ("TestKey", sandbox, ""),
        ("a secret of our own", "", ""),
        ("TestKey, but longer", "", ""),
    ] {
        std::fs::write(&secret, text).expect("written");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("set");
        let mesh = format!("[mesh]\nenabled = true\nshared_key_file = \"key\"\n{place}");
        let loaded = load_in(folder.path(), &mesh, &[]).expect("loads");
        assert_eq!(findings(&loaded, "mesh.shared_key_file"), expected, "{text} {place}");
    }
}

/// Whatever key of the configuration names a private key or a password is a secret for the check: no such file may be
/// left out by forgetting it there.
#[cfg(unix)]
#[test]
fn every_secret_file_must_be_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let is_secret = |key: &str| {
        ["key_file", "password_file", "secret_file"].iter().any(|end| key.ends_with(end)) && !key.contains("public")
    };
    let defaults = Config::load_from(None, []).expect("the defaults").settings;
    let keys: Vec<&str> = defaults.iter().map(|setting| setting.key.as_str()).filter(|key| is_secret(key)).collect();
    assert!(keys.len() >= 7, "{keys:?}");
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("open");
    std::fs::write(&file, "hush").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("set");
    for key in keys {
        let variable = format!("ONWARD__{}", key.replace('.', "__").to_ascii_uppercase());
        let text = "[mesh]\nenabled = true\n";
        let loaded = load_in(folder.path(), text, &[(&variable, &file.display().to_string())]).expect("loads");
        let found =
            loaded.check().into_iter().any(|finding| finding.key == key && finding.message.contains("chmod 600"));
        assert!(found, "{key} may be read by others");
    }
}

/// Our own RSA keys are as large as we ask of others, whatever they are for.
#[cfg(unix)]
#[test]
fn no_key_of_ours_is_smaller_than_is_asked_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let defaults = Config::load_from(None, []).expect("the defaults").settings;
    let keys: Vec<&str> =
        defaults.iter().map(|setting| setting.key.as_str()).filter(|key| key.ends_with("key_file")).collect();
    assert!(keys.len() >= 5, "{keys:?}");
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("rsa.key");
    let pem = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
    std::fs::write(&file, pem.serialize_pem()).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    let small = |bits_min: &str, key: &str| {
        let variable = format!("ONWARD__{}", key.replace('.', "__").to_ascii_uppercase());
        let file = file.display().to_string();
        let set = [(variable.as_str(), file.as_str()), ("ONWARD__IDENTITY__RSA_BITS_MIN", bits_min)];
        let loaded = load_in(folder.path(), "[mesh]\nenabled = true\n", &set).expect("loads");
        loaded.check().into_iter().any(|finding| finding.key == key && finding.message.contains("rsa_bits_min"))
    };
    for key in keys.into_iter().filter(|key| *key != "mesh.shared_key_file") {
        assert!(!small("2048", key) && small("3072", key), "{key}");
    }
    for bits in ["1024", "8193"] {
        let loaded = load("", &[("ONWARD__IDENTITY__RSA_BITS_MIN", bits)]).expect("loads");
        assert_eq!(findings(&loaded, "identity.rsa_bits_min"), "E", "{bits}");
    }
}

#[test]
fn the_example_of_a_trust_is_a_configuration() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/examples/gateway.toml");
    let loaded = Config::load_from(Some(&example), []).expect("the example loads");
    assert!(loaded.config.own_ods().is_ok());
    // The files that it names are the trust's own; everything else must fit.
    let other: Vec<_> = loaded
        .check()
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error && !finding.message.contains("cannot be read"))
        .filter(|finding| !(finding.key == "keys.file" && finding.message.contains("is not there")))
        .collect();
    assert!(other.is_empty(), "{other:#?}");
}

#[test]
fn the_example_of_the_stand_in_is_one() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/examples/pds-stand-in.toml");
    onward_connect::stand_in::StandInDirectory::load(&example).expect("the example loads");
}

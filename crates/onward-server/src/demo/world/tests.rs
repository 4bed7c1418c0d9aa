use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::{Config, Severity};

const PORTS: Ports = Ports { gateway: 40001, operations: 40002, mesh: 40003, pharmacy: 40004 };

fn contents(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}

#[tokio::test]
async fn a_world_is_made_once_and_only_ports_move() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new/world");
    let world = World::open(Some(&dir)).expect("made");
    let first = world.listen().await.expect("bound");
    world.draft(first.ports).expect("written");
    world.settle().expect("renamed");
    let before = contents(&dir);

    let again = World::open(Some(&dir)).expect("opened");
    let taken = again.listen().await.expect("bound");
    let fields = |ports: Ports| [ports.gateway, ports.operations, ports.mesh, ports.pharmacy];
    assert!(
        fields(taken.ports)[..1].iter().all(|port| !fields(first.ports).contains(port)),
        "the first holds its ports"
    );
    assert_eq!(contents(&dir), before, "nothing is written until the gateway runs");

    let gateway = world.path(GATEWAY);
    let edited = std::fs::read_to_string(&gateway).expect("read") + "\n[holds.deceased]\nhours = 9\n";
    std::fs::write(&gateway, &edited).expect("written");
    again.draft(taken.ports).expect("written");
    again.settle().expect("renamed");
    let text = std::fs::read_to_string(&gateway).expect("read");
    assert!(text.contains("hours = 9") && text != edited);
    drop((first, taken));
    let third = World::open(Some(&dir)).expect("opened").listen().await.expect("bound");
    let after = ports_of(&text, &std::fs::read_to_string(world.directory_file()).expect("read")).expect("ports");
    assert_eq!(third.ports, after, "free ports of the last run are taken again");
    for (path, content) in contents(&dir) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !["gateway.toml", "directory.toml"].contains(&name) {
            assert_eq!(Some(&content), before.get(&path), "{}", path.display());
        }
    }
}

#[test]
fn secrets_are_the_owners_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::open(Some(&folder.path().join("world"))).expect("made");
    let mut keys = 0;
    for path in contents(world.folder()).into_keys() {
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode() & 0o777;
        let open = path.extension().is_some_and(|extension| extension == "crt");
        assert_eq!(mode, if open { 0o644 } else { 0o600 }, "{}", path.display());
        keys += usize::from(!open);
    }
    assert!(keys >= 9, "{keys}");
    assert_eq!(std::fs::metadata(world.folder()).expect("metadata").permissions().mode() & 0o777, 0o700);
}

#[test]
fn other_peoples_folders_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("gateway.toml"), "[server]\n").expect("written");
    let before = contents(folder.path());
    let error = World::open(Some(folder.path())).err().expect("refused");
    assert!(error.is::<ConfigError>(), "{error}");
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn addresses_that_a_person_has_changed_are_not_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::open(Some(&folder.path().join("world"))).expect("made");
    world.draft(PORTS).expect("written");
    world.settle().expect("renamed");
    let text = std::fs::read_to_string(world.path(GATEWAY)).expect("read");
    std::fs::write(world.path(GATEWAY), text.replace("listen = \"127.0.0.1:40001\"", "listen = \"0.0.0.0:8443\""))
        .expect("written");
    let before = contents(world.folder());
    assert!(world.draft(PORTS).is_err());
    assert_eq!(contents(world.folder()), before);
}

#[test]
fn a_new_configuration_is_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::open(Some(&folder.path().join("world"))).expect("made");
    let draft = world.draft(PORTS).expect("written");
    let loaded = Config::load_from(Some(&draft), std::iter::empty()).expect("a configuration");
    let errors: Vec<_> = loaded.check().into_iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert_eq!(errors, []);
    assert_eq!(ports_of(&gateway_text(PORTS), &directory_text(PORTS).expect("a directory")), Some(PORTS));
}

#[test]
fn ports_move_all_at_once() {
    let to = Ports { gateway: 40002, operations: 40001, mesh: 4, pharmacy: 40003 };
    let text = "127.0.0.1:40001 127.0.0.1:40002 127.0.0.1:400021 127.0.0.1:40003/x 127.0.0.1:40004\" 127.0.0.1: 40001";
    let expected = "127.0.0.1:40002 127.0.0.1:40001 127.0.0.1:400021 127.0.0.1:4/x 127.0.0.1:40003\" 127.0.0.1: 40001";
    assert_eq!(moved(text, PORTS, to), expected);
    assert_eq!(moved(&moved(text, PORTS, to), to, PORTS), text);
}

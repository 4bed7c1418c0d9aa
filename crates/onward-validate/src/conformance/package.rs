//! Packages: files, folders and FHIR packages from which conformance resources are taken, with what they depend on.

mod manifest;
mod resources;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Conformance;
use super::archive::{self, ArchiveError};
use super::source::Origin;
use manifest::Manifest;
pub(super) use resources::add_file;

/// What is loaded beside the core.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// Loaded in this order; of two resources with one canonical URL the later counts. A folder that is no package but holds some is
    /// all of these, in the order of their names.
    pub paths: Vec<PathBuf>,
    /// Where dependencies are looked for that are not among `paths`: a folder of `.tgz` files and of unpacked packages.
    pub folder: Option<PathBuf>,
    /// How much a package may be.
    pub limits: PackageLimits,
}

/// How much a package may be. Beyond it, it is refused.
#[derive(Debug, Clone)]
pub struct PackageLimits {
    /// Files and folders of one package.
    pub files: usize,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of one package, decompressed.
    pub total_bytes: u64,
    /// Folders within each other.
    pub depth: usize,
}

impl Default for PackageLimits {
    /// Fits the largest published packages (FHIR's own expansions; national terminologies).
    fn default() -> Self {
        Self { files: 50_000, file_bytes: 64 << 20, total_bytes: 512 << 20, depth: 16 }
    }
}

/// A package in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageInfo {
    /// Where it was found.
    pub path: PathBuf,
    /// Its name by its manifest.
    pub name: Option<String>,
    /// Its version by its manifest.
    pub version: Option<String>,
    /// SHA-256 in hexadecimal: of a file its bytes; of a folder the lines `<SHA-256 of the file>  <path with slashes>\n` of the files that
    /// were looked at, ordered by path.
    pub sha256: String,
    /// What its manifest says that it needs: names and versions.
    pub dependencies: BTreeMap<String, String>,
    /// How many resources were taken from it.
    pub resources: usize,
}

/// What an operator should know about the packages. No error: loading went on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Notice {
    /// A package needs another that is neither given nor in the folder.
    #[error("{package} needs {name} {version}, which is not here")]
    MissingDependency {
        /// Who needs it.
        package: String,
        /// Name of what is needed.
        name: String,
        /// Version that is needed.
        version: String,
    },
    /// A package needs another version than the one that is here and is used.
    #[error("{package} needs {name} {wanted}; {found} is used")]
    OtherVersion {
        /// Who needs it.
        package: String,
        /// Name of what is needed.
        name: String,
        /// Version that is needed.
        wanted: String,
        /// Version that is here.
        found: String,
    },
    /// Written for another release than FHIR R4 (4.0), and left out.
    #[error("{file} is for FHIR {release}, and is left out")]
    OtherRelease {
        /// File or package.
        file: String,
        /// The release.
        release: String,
    },
    /// A JSON or XML file that is not FHIR, and is left out.
    #[error("{file} is left out: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
}

/// Why a package cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The file or folder cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The fault.
        #[source]
        error: std::io::Error,
    },
    /// The archive is corrupt, too large or hostile.
    #[error("{}: {error}", path.display())]
    Archive {
        /// The `.tgz` file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: ArchiveError,
    },
    /// A folder that is larger or deeper than the limits allow.
    #[error("{}: more files, bytes or nested folders than are allowed", path.display())]
    TooLarge {
        /// The folder or file.
        path: PathBuf,
    },
    /// `package.json` is not that of a FHIR package.
    #[error("{}: package.json: {reason}", path.display())]
    Manifest {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that was named itself is not a FHIR resource.
    #[error("{file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
}

/// A package that was read and not yet added.
struct Unfolded {
    info: PackageInfo,
    manifest: Option<Manifest>,
    files: Vec<(Arc<str>, Vec<u8>)>,
    single: bool,
}

/// Loads the packages and what they depend on, dependencies first.
pub(super) fn load(packages: &Packages, into: &mut Conformance) -> Result<(), PackageError> {
    let mut shelf = Shelf { limits: &packages.limits, folder: None, read: Vec::new(), by_name: HashMap::new() };
    for path in &packages.paths {
        let inside = packages_in(path, into)?;
        for path in if inside.is_empty() { std::slice::from_ref(path) } else { &inside } {
            shelf.put(read(path, &packages.limits)?);
        }
    }
    let given = shelf.read.len();
    let mut ordered = Vec::new();
    let mut begun = HashSet::new();
    for at in 0..given {
        shelf.order(at, packages.folder.as_deref(), &mut begun, &mut ordered, into)?;
    }
    let mut read: Vec<_> = shelf.read.into_iter().map(Some).collect();
    for at in ordered {
        let package = read[at].take().expect("each package is ordered once");
        add(package, into)?;
    }
    Ok(())
}

/// The packages that were read, and those that could be.
struct Shelf<'a> {
    limits: &'a PackageLimits,
    /// Names and versions in the folder, read when the first dependency is looked for.
    folder: Option<Vec<(PathBuf, Manifest)>>,
    read: Vec<Unfolded>,
    by_name: HashMap<String, Vec<usize>>,
}

impl Shelf<'_> {
    fn put(&mut self, read: Unfolded) -> usize {
        let at = self.read.len();
        if let Some(name) = &read.info.name {
            self.by_name.entry(name.clone()).or_default().push(at);
        }
        self.read.push(read);
        at
    }

    /// Puts what a package needs before it.
    fn order(
        &mut self,
        at: usize,
        folder: Option<&Path>,
        begun: &mut HashSet<usize>,
        ordered: &mut Vec<usize>,
        into: &mut Conformance,
    ) -> Result<(), PackageError> {
        // A package that depends on itself through others is loaded once, like any other.
        if !begun.insert(at) {
            return Ok(());
        }
        let owner = name_of(&self.read[at].info);
        for (name, wanted) in self.read[at].info.dependencies.clone() {
            if manifest::is_core(&name) {
                if !manifest::fits(&wanted, "4.0.1") {
                    into.notices.push(other_version(&owner, name, wanted, "4.0.1"));
                }
                continue;
            }
            match self.dependency(&name, &wanted, folder)? {
                None => into.notices.push(Notice::MissingDependency { package: owner.clone(), name, version: wanted }),
                Some(found) => {
                    let has = self.read[found].info.version.clone().unwrap_or_default();
                    if !manifest::fits(&wanted, &has) {
                        into.notices.push(other_version(&owner, name, wanted, &has));
                    }
                    self.order(found, folder, begun, ordered, into)?;
                }
            }
        }
        ordered.push(at);
        Ok(())
    }

    /// The package that satisfies a dependency best: of the right version, else of any.
    fn dependency(&mut self, name: &str, wanted: &str, folder: Option<&Path>) -> Result<Option<usize>, PackageError> {
        let fitting = |shelf: &Self, exact: bool| {
            let places = shelf.by_name.get(name)?;
            places.iter().rev().copied().find(|at| {
                !exact || manifest::fits(wanted, shelf.read[*at].info.version.as_deref().unwrap_or_default())
            })
        };
        if let Some(at) = fitting(self, true) {
            return Ok(Some(at));
        }
        if let Some(folder) = folder {
            if self.folder.is_none() {
                self.folder = Some(shelved(folder, self.limits)?);
            }
            let listed = self.folder.as_deref().unwrap_or_default();
            let of_name = || listed.iter().filter(|(_, manifest)| manifest.name == name);
            let best = of_name().find(|(_, manifest)| manifest::fits(wanted, &manifest.version));
            // Another version from the folder only where none was given.
            let best = best.or_else(|| of_name().next_back().filter(|_| !self.by_name.contains_key(name)));
            if let Some((path, _)) = best {
                let found = read(&path.clone(), self.limits)?;
                return Ok(Some(self.put(found)));
            }
        }
        Ok(fitting(self, false))
    }
}

fn name_of(info: &PackageInfo) -> String {
    info.name.clone().unwrap_or_else(|| info.path.display().to_string())
}

fn other_version(package: &str, name: String, wanted: String, found: &str) -> Notice {
    Notice::OtherVersion { package: package.to_owned(), name, wanted, found: found.to_owned() }
}

/// What a folder holds, in order.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, PackageError> {
    let io = |error| PackageError::Io { path: folder.to_owned(), error };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        paths.push(entry.map_err(io)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The packages that were dropped into a folder; none for a file, and for a folder that is a package itself.
fn packages_in(folder: &Path, into: &mut Conformance) -> Result<Vec<PathBuf>, PackageError> {
    if !folder.is_dir() || folder_manifest(folder)?.is_some() {
        return Ok(Vec::new());
    }
    let (mut found, mut beside) = (Vec::new(), Vec::new());
    for path in listed(folder)? {
        if is_archive(&path) || (path.is_dir() && folder_manifest(&path)?.is_some()) {
            found.push(path);
        } else if path.is_dir() || is_candidate(&path.to_string_lossy()) {
            beside.push(path);
        }
    }
    if !found.is_empty() {
        into.notices.extend(beside.into_iter().map(|path| Notice::Unreadable {
            file: path.display().to_string(),
            reason: "it stands among packages and is none; name it by itself".to_owned(),
        }));
    }
    Ok(found)
}

/// The packages of a folder, by their manifests, ordered by path.
fn shelved(folder: &Path, limits: &PackageLimits) -> Result<Vec<(PathBuf, Manifest)>, PackageError> {
    let mut found = Vec::new();
    for path in listed(folder)? {
        let manifest = if path.is_dir() {
            folder_manifest(&path)?
        } else if is_archive(&path) {
            read(&path, limits)?.manifest
        } else {
            None
        };
        found.extend(manifest.map(|manifest| (path, manifest)));
    }
    Ok(found)
}

fn add(package: Unfolded, into: &mut Conformance) -> Result<(), PackageError> {
    let place = into.packages.len();
    let before = into.added.len();
    let mut info = package.info;
    if let Some(release) = package.manifest.as_ref().and_then(Manifest::other_release) {
        into.notices.push(Notice::OtherRelease { file: name_of(&info), release });
    } else {
        // What a package shows as examples is not what it defines (FHIR Package Specification, "Package Contents").
        let is_example = |file: &str| {
            package.manifest.is_some() && file.split('/').any(|step| matches!(step, "example" | "examples"))
        };
        for (file, bytes) in package.files.iter().filter(|(file, _)| !is_example(file)) {
            let origin = match package.single {
                true => Origin::Given(Arc::clone(file)),
                false => Origin::Package { package: place, file: Arc::clone(file) },
            };
            if let Err(reason) = add_file(into, file, bytes, origin) {
                if package.single {
                    return Err(PackageError::Unreadable { file: info.path.display().to_string(), reason });
                }
                into.notices.push(Notice::Unreadable { file: format!("{}: {file}", info.path.display()), reason });
            }
        }
    }
    info.resources = into.added.len() - before;
    into.packages.push(info);
    Ok(())
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.ends_with(".tgz") || name.ends_with(".tar.gz")
}

/// True for a file that may be a conformance resource or a manifest, by its name.
pub(super) fn is_candidate(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    !file.starts_with('.') && matches!(ending.as_deref(), Some("json" | "xml"))
}

/// True for where a manifest stands: at the top of an unpacked package, or in its folder `package`.
fn is_manifest(name: &str) -> bool {
    matches!(name, "package.json" | "package/package.json" | "./package/package.json")
}

fn read(path: &Path, limits: &PackageLimits) -> Result<Unfolded, PackageError> {
    let io = |error| PackageError::Io { path: path.to_owned(), error };
    let mut files: Vec<(Arc<str>, Vec<u8>)> = Vec::new();
    let mut single = false;
    let sha256;
    if std::fs::metadata(path).map_err(io)?.is_dir() {
        let mut walk = Walk { limits, files: &mut files, entries: 0, bytes: 0 };
        walk.folder(path, "", 0)?;
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let lines: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", digest(bytes))).collect();
        sha256 = digest(lines.as_bytes());
    } else {
        // Packed, a package is never longer than its content may be.
        let allowed = if is_archive(path) { limits.total_bytes } else { limits.file_bytes };
        let bytes = read_file(path, allowed)?;
        sha256 = digest(&bytes);
        if is_archive(path) {
            archive::files(&bytes, limits, |name, bytes| files.push((name.into(), bytes)))
                .map_err(|error| PackageError::Archive { path: path.to_owned(), error })?;
        } else {
            single = true;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.push((name.into(), bytes));
        }
    }
    let mut manifest = None;
    if !single && let Some(at) = files.iter().position(|(name, _)| is_manifest(name)) {
        let (_, bytes) = files.remove(at);
        manifest = Manifest::read(&bytes).map_err(|reason| PackageError::Manifest { path: path.to_owned(), reason })?;
    }
    let info = PackageInfo {
        path: path.to_owned(),
        name: manifest.as_ref().map(|manifest| manifest.name.clone()),
        version: manifest.as_ref().map(|manifest| manifest.version.clone()),
        sha256,
        dependencies: manifest.as_ref().map(|manifest| manifest.dependencies.clone()).unwrap_or_default(),
        resources: 0,
    };
    Ok(Unfolded { info, manifest, files, single })
}

fn folder_manifest(folder: &Path) -> Result<Option<Manifest>, PackageError> {
    for place in [folder.join("package.json"), folder.join("package").join("package.json")] {
        if place.is_file() {
            let bytes = read_file(&place, 1 << 20)?;
            return Manifest::read(&bytes).map_err(|reason| PackageError::Manifest { path: folder.to_owned(), reason });
        }
    }
    Ok(None)
}

fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, PackageError> {
    let io = |error| PackageError::Io { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > bytes_max { Err(PackageError::TooLarge { path: path.to_owned() }) } else { Ok(bytes) }
}

/// Reads the files of a folder.
struct Walk<'a> {
    limits: &'a PackageLimits,
    files: &'a mut Vec<(Arc<str>, Vec<u8>)>,
    entries: usize,
    bytes: u64,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), PackageError> {
        let io = |error| PackageError::Io { path: folder.to_owned(), error };
        let too_large = || PackageError::TooLarge { path: folder.to_owned() };
        if depth > self.limits.depth {
            return Err(too_large());
        }
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            self.entries += 1;
            if self.entries > self.limits.files {
                return Err(too_large());
            }
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            // Of the entry itself: a link to a folder is not followed, and cannot lead in a circle.
            let kind = entry.file_type().map_err(io)?;
            if kind.is_dir() {
                // `.git` and its like hold no definitions.
                if !entry.file_name().to_string_lossy().starts_with('.') {
                    self.folder(&entry.path(), &format!("{name}/"), depth + 1)?;
                }
            } else if is_candidate(&name) && entry.path().is_file() {
                let bytes = read_file(&entry.path(), self.limits.file_bytes)?;
                self.bytes += bytes.len() as u64;
                if self.bytes > self.limits.total_bytes {
                    return Err(too_large());
                }
                self.files.push((name.into(), bytes));
            }
        }
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

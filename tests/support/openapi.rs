//! What was asked and answered over HTTP, held against an OpenAPI 3.0 document in YAML that refers to other files of its folder. Schemas are
//! judged by the crate `boon`, as JSON Schema draft 4, which OpenAPI 3.0 builds on.

use std::cell::RefCell;
use std::error::Error;
use std::path::{Path, PathBuf};

use boon::{Compiler, Draft, Schemas, UrlLoader};
use serde_json::{Map, Value};
use url::Url;
use yaml_rust2::{Yaml, YamlLoader};

/// Where the folder seems to be, so that references between its files are URLs.
const BASE: &str = "https://specification.example/";

/// One request and its answer.
#[derive(Clone)]
pub struct Exchange {
    /// As the specification writes it, such as `/Patient/{id}`.
    pub path: &'static str,
    /// What stood in the path.
    pub in_path: Vec<(&'static str, String)>,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The request's headers.
    pub headers: Vec<(String, String)>,
    /// The answer's status.
    pub status: u16,
    /// The answer's headers.
    pub answered: Vec<(String, String)>,
    /// The answer's body.
    pub body: Value,
}

/// The specification.
pub struct OpenApi {
    folder: PathBuf,
    document: String,
    compiled: RefCell<(Compiler, Schemas)>,
}

struct Files(PathBuf);

impl UrlLoader for Files {
    fn load(&self, url: &str) -> Result<Value, Box<dyn Error>> {
        let path = url.strip_prefix(BASE).ok_or("a reference leaves the folder")?;
        yaml(&self.0.join(path))
    }
}

fn yaml(path: &Path) -> Result<Value, Box<dyn Error>> {
    let documents = YamlLoader::load_from_str(&std::fs::read_to_string(path)?)?;
    let [document] = documents.as_slice() else { return Err("not one document".into()) };
    json(document).ok_or_else(|| format!("{} is not JSON in YAML", path.display()).into())
}

fn json(yaml: &Yaml) -> Option<Value> {
    Some(match yaml {
        Yaml::Real(text) => text.parse::<f64>().ok()?.into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::String(text) => text.clone().into(),
        Yaml::Boolean(is) => (*is).into(),
        Yaml::Array(items) => items.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        Yaml::Hash(fields) => {
            let field = |(name, value): (&Yaml, &Yaml)| Some((name.as_str()?.to_owned(), json(value)?));
            fields.iter().map(field).collect::<Option<Map<_, _>>>()?.into()
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => return None,
    })
}

impl OpenApi {
    /// Reads the document of this name in the folder.
    #[must_use]
    pub fn open(folder: PathBuf, document: &str) -> Self {
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V4);
        compiler.use_loader(Box::new(Files(folder.clone())));
        Self { folder, document: document.to_owned(), compiled: RefCell::new((compiler, Schemas::new())) }
    }

    /// Everything in which a GET is not as specified; nothing where it is.
    ///
    /// # Panics
    /// When the document cannot be read, or knows no such path.
    #[must_use]
    pub fn problems(&self, exchange: &Exchange) -> Vec<String> {
        let item = self.at(&format!("{}#/paths/{}", self.document, escaped(exchange.path)));
        let operation = self.follow(&item.0, &item.1["get"]);
        let mut problems = Vec::new();
        let mut declared = Vec::new();
        for (place, list) in [(&item.0, &item.1["parameters"]), (&operation.0, &operation.1["parameters"])] {
            for parameter in list.as_array().into_iter().flatten() {
                declared.push(self.follow(place, parameter));
            }
        }
        let is_declared = |place: &str, name: &str| {
            declared.iter().any(|(_, of)| of["in"] == place && of["name"].as_str() == Some(name))
        };
        let unknown = exchange.query.iter().filter(|(name, _)| !is_declared("query", name));
        problems.extend(unknown.map(|(name, _)| format!("the query has {name}, which is no parameter")));
        for (place, parameter) in &declared {
            let name = parameter["name"].as_str().expect("a parameter has a name");
            let sent: Vec<&str> = match parameter["in"].as_str() {
                Some("query") => values(&exchange.query, |sent| sent == name),
                Some("header") => values(&exchange.headers, |sent| sent.eq_ignore_ascii_case(name)),
                Some("path") => exchange.in_path.iter().filter(|of| of.0 == name).map(|of| of.1.as_str()).collect(),
                other => panic!("{name} stands in {other:?}"),
            };
            if sent.is_empty() && parameter["required"] == true {
                problems.push(format!("{name} is missing"));
            }
            if sent.len() > 1 && parameter["schema"]["type"] != "array" {
                problems.push(format!("{name} comes {} times", sent.len()));
            }
            if let Some(value) = typed(&parameter["schema"], &sent) {
                problems.extend(self.judge(&format!("{place}/schema"), &value).map(|why| format!("{name}: {why}")));
            }
        }
        problems.extend(self.answer_problems(exchange, &operation));
        problems
    }

    fn answer_problems(&self, exchange: &Exchange, (place, operation): &(String, Value)) -> Vec<String> {
        let responses = &operation["responses"];
        let exact = exchange.status.to_string();
        let class = format!("{}XX", exchange.status / 100);
        let Some(key) = [&exact, &class].into_iter().find(|key| responses.get(key.as_str()).is_some()) else {
            return vec![format!("no answer has the status {exact}")];
        };
        let media_type = values(&exchange.answered, |name| name.eq_ignore_ascii_case("content-type"));
        let media_type = media_type.first().and_then(|text| text.split(';').next()).unwrap_or_default();
        if responses[key.as_str()]["content"].get(media_type).is_none() {
            return vec![format!("no answer {key} is {media_type:?}")];
        }
        let schema = format!("{place}/responses/{key}/content/{}/schema", escaped(media_type));
        self.judge(&schema, &exchange.body).map(|why| format!("the answer {exact}: {why}")).into_iter().collect()
    }

    /// Why a value is not of the schema at this place, such as `components/schemas/Patient.yaml#`.
    ///
    /// # Panics
    /// When there is no schema.
    #[must_use]
    pub fn judge(&self, schema: &str, value: &Value) -> Option<String> {
        let (compiler, schemas) = &mut *self.compiled.borrow_mut();
        let index = compiler.compile(&format!("{BASE}{schema}"), schemas);
        let index = index.unwrap_or_else(|error| panic!("{schema}: {error:#}"));
        schemas.validate(value, index).err().map(|error| format!("{error:#}"))
    }

    /// The thing at `file#pointer`, with where it is.
    fn at(&self, place: &str) -> (String, Value) {
        let (file, pointer) = place.split_once('#').unwrap_or((place, ""));
        let whole = yaml(&self.folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let found = whole.pointer(pointer).unwrap_or_else(|| panic!("nothing is at {place}"));
        (format!("{file}#{pointer}"), found.clone())
    }

    /// What a value of the thing at `place` refers to, and where that is.
    fn follow(&self, place: &str, value: &Value) -> (String, Value) {
        let reference =
            value["$ref"].as_str().unwrap_or_else(|| panic!("{place} has {value}, which refers to nothing"));
        let (file, _) = place.split_once('#').expect("a place has a file");
        let base = Url::parse(BASE).and_then(|base| base.join(file)).expect("a URL");
        let there = base.join(reference).expect("a reference");
        let path = there.path().trim_start_matches('/');
        self.at(&format!("{path}#{}", there.fragment().unwrap_or_default()))
    }
}

fn values(of: &[(String, String)], fits: impl Fn(&str) -> bool) -> Vec<&str> {
    of.iter().filter(|(name, _)| fits(name)).map(|(_, value)| value.as_str()).collect()
}

/// What a text means by its parameter's type; nothing where none was sent.
fn typed(schema: &Value, sent: &[&str]) -> Option<Value> {
    let one = |text: &str| match schema["type"].as_str() {
        Some("boolean") => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
        Some("integer") => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        _ => text.into(),
    };
    match (schema["type"].as_str(), sent) {
        (_, []) => None,
        (Some("array"), all) => Some(all.iter().map(|text| Value::from(*text)).collect::<Vec<_>>().into()),
        (_, [text, ..]) => Some(one(text)),
    }
}

/// RFC 6901.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

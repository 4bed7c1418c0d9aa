//! CapabilityStatement: the HTTP edge of `interface.md`, told to machines.

use fhir_sdk::r4b::codes::{
    CapabilityStatementKind, FHIRVersion, PublicationStatus, ResourceVersionPolicy, RestfulCapabilityMode,
};
use fhir_sdk::r4b::resources::{
    CapabilityStatement, CapabilityStatementImplementation, CapabilityStatementRest, CapabilityStatementRestResource,
    CapabilityStatementRestResourceInteraction, CapabilityStatementRestResourceOperation,
    CapabilityStatementRestResourceSearchParam, CapabilityStatementRestSecurity, CapabilityStatementSoftware,
};

use super::{AuthorError, parts};

/// What differs from one installation to the next.
#[derive(Debug, Clone)]
pub struct CapabilityContent {
    /// Onward's version.
    pub version: String,
    /// When this statement was made: date or date-time.
    pub date: String,
    /// Base URL of the FHIR interface.
    pub base_url: String,
}

const PROCESS_MESSAGE: &str = "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message";
const VALIDATE: &str = "http://hl7.org/fhir/OperationDefinition/Resource-validate";

/// The CapabilityStatement, JSON.
///
/// # Errors
/// When the date is none.
pub fn capability_statement(content: &CapabilityContent) -> Result<String, AuthorError> {
    let mut software = CapabilityStatementSoftware::builder()
        .name("Onward".to_owned())
        .build()
        .expect("every mandatory element is set");
    software.version = Some(content.version.clone());
    let mut implementation = CapabilityStatementImplementation::builder()
        .description("Onward, the transfer-of-care gateway".to_owned())
        .build()
        .expect("every mandatory element is set");
    implementation.url = Some(content.base_url.clone());
    let formats = ["json", "xml", "application/fhir+json", "application/fhir+xml"];
    let mut statement = CapabilityStatement::builder()
        .status(PublicationStatus::Active)
        .date(parts::date_time(&content.date, "CapabilityStatement.date")?)
        .kind(CapabilityStatementKind::Instance)
        .fhir_version(FHIRVersion::N401)
        .format(formats.iter().map(|format| Some((*format).to_owned())).collect())
        .build()
        .expect("every mandatory element is set");
    statement.software = Some(software);
    statement.implementation = Some(implementation);
    statement.rest = vec![Some(rest(&content.base_url))];
    Ok(serde_json::to_string(&statement).expect("the model serialises"))
}

fn rest(base_url: &str) -> CapabilityStatementRest {
    let mut rest = CapabilityStatementRest::builder()
        .mode(RestfulCapabilityMode::Server)
        .build()
        .expect("every mandatory element is set");
    rest.security = Some(security());
    rest.resource = vec![
        Some(resource(
            "Task",
            &["read", "update", "search-type"],
            &[
                ("owner", "token"),
                ("status", "token"),
                ("part-of", "reference"),
                ("patient", "token"),
                ("_lastUpdated", "date"),
            ],
            &[],
        )),
        Some(resource(
            "AuditEvent",
            &["search-type"],
            &[("patient", "token"), ("agent", "token"), ("entity", "reference"), ("date", "date"), ("type", "token")],
            &[],
        )),
        Some(resource(
            "Subscription",
            &["create", "read", "update", "delete", "search-type"],
            &[("status", "token")],
            &[],
        )),
        Some(resource("Bundle", &["read"], &[], &[("validate", VALIDATE)])),
        Some(resource(
            "HealthcareService",
            &["read", "search-type"],
            &[
                ("characteristic", "token"),
                ("identifier", "token"),
                ("name", "string"),
                ("location.address", "string"),
                ("location.address-city", "string"),
                ("location.address-postalcode", "string"),
            ],
            &[],
        )),
        Some(resource(
            "Location",
            &["read", "search-type"],
            &[
                ("identifier", "token"),
                ("name", "string"),
                ("address", "string"),
                ("address-city", "string"),
                ("address-postalcode", "string"),
            ],
            &[],
        )),
    ];
    rest.operation = vec![
        Some(operation("process-message", PROCESS_MESSAGE)),
        Some(operation("explain", &format!("{base_url}/OperationDefinition/explain"))),
    ];
    rest
}

fn security() -> CapabilityStatementRestSecurity {
    let mut security = CapabilityStatementRestSecurity::builder().build().expect("security has no mandatory element");
    let smart = parts::coding(
        "http://terminology.hl7.org/CodeSystem/restful-security-service",
        "SMART-on-FHIR",
        Some("SMART-on-FHIR"),
    );
    security.service = vec![Some(parts::concept(vec![smart], None))];
    security.description = Some(
        "client_credentials with a signed JWT (private_key_jwt: RS512, RS384, ES384); see \
         .well-known/smart-configuration"
            .to_owned(),
    );
    security
}

fn resource(
    name: &str,
    interactions: &[&str],
    parameters: &[(&str, &str)],
    operations: &[(&str, &str)],
) -> CapabilityStatementRestResource {
    let mut resource = CapabilityStatementRestResource::builder()
        .r#type(name.parse().expect("the name of a resource type"))
        .build()
        .expect("every mandatory element is set");
    resource.interaction = interactions
        .iter()
        .map(|code| {
            Some(
                CapabilityStatementRestResourceInteraction::builder()
                    .code((*code).to_owned())
                    .build()
                    .expect("every mandatory element is set"),
            )
        })
        .collect();
    resource.search_param = parameters
        .iter()
        .map(|(name, kind)| {
            Some(
                CapabilityStatementRestResourceSearchParam::builder()
                    .name((*name).to_owned())
                    .r#type(kind.parse().expect("the name of a search parameter type"))
                    .build()
                    .expect("every mandatory element is set"),
            )
        })
        .collect();
    if interactions.contains(&"update") {
        resource.versioning = Some(ResourceVersionPolicy::VersionedUpdate);
    }
    resource.operation = operations.iter().map(|(name, definition)| Some(operation(name, definition))).collect();
    resource
}

fn operation(name: &str, definition: &str) -> CapabilityStatementRestResourceOperation {
    CapabilityStatementRestResourceOperation::builder()
        .name(name.to_owned())
        .definition(definition.to_owned())
        .build()
        .expect("every mandatory element is set")
}

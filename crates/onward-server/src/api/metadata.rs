//! What this server can do, told to machines.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use onward_fhir::authored::{CapabilityContent, capability_statement};

use super::edge::FHIR_JSON;
use crate::app::App;
use crate::outcome;

/// `GET /fhir/R4/metadata`.
pub async fn capability(State(app): State<Arc<App>>) -> Response {
    let content = CapabilityContent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date: app.gateway.clock().now().to_string(),
        base_url: format!("{}/fhir/R4", app.gateway.settings().base_url),
    };
    match capability_statement(&content) {
        Ok(statement) => ([(header::CONTENT_TYPE, FHIR_JSON)], statement).into_response(),
        Err(error) => {
            tracing::error!(%error, "the capability statement cannot be written");
            outcome::fault().into_response()
        }
    }
}

/// `GET /.well-known/jwks.json`: the public keys that this gateway signs with (RFC 7517).
pub async fn jwks(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/jwk-set+json")], app.jwks.clone()).into_response()
}

/// `GET /.well-known/smart-configuration` (SMART App Launch §7, Backend Services).
pub async fn smart(State(app): State<Arc<App>>) -> Response {
    axum::Json(serde_json::json!({
        "token_endpoint": app.token_url,
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS512", "RS384", "ES384"],
        "scopes_supported": [
            "system/Bundle.c", "system/Bundle.r", "system/Task.rs", "system/Task.rus", "system/AuditEvent.s",
            "system/HealthcareService.rs", "system/Location.rs", "system/Subscription.cruds",
        ],
        "capabilities": ["client-confidential-asymmetric", "permission-v2"],
    }))
    .into_response()
}

//! The description of the API, made from the code.

use axum::Json;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{batch, create, init, list, read, remove, stat, undelete, whoami};

#[derive(OpenApi)]
#[openapi(
    info(title = "obnam-server", description = "Signs URLs for chunks in an object store", license(name = "MIT OR Apache-2.0")),
    paths(list::list, create::create, read::read, stat::stat, remove::remove, undelete::undelete, remove::list, batch::batch, init::init, whoami::whoami),
    modifiers(&BearerToken)
)]
struct Description;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The description.
pub async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}

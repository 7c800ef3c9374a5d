//! The description of the API, made from the code.

use std::collections::BTreeMap;

use axum::Json;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Header, Ref, RefOr, Response, Schema};
use utoipa::{Modify, Number, OpenApi};

use super::{batch, create, data, init, list, read, remove, stat, token, undelete, whoami};
use crate::problem::Code;

#[derive(OpenApi)]
#[openapi(
    info(title = "obnam-server", description = "Signs URLs for chunks in an object store", license(name = "MIT OR Apache-2.0")),
    paths(list::list, create::create, read::read, stat::stat, remove::remove, undelete::undelete, remove::list, batch::batch, init::init, data::get, data::put, whoami::whoami, token::list, token::create, token::revoke),
    modifiers(&BearerToken, &Problems, &Names)
)]
struct Description;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The operations of a path, and whether they only look.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let looking = item.get.iter_mut().map(|operation| (true, operation));
    let changing = [&mut item.put, &mut item.post, &mut item.delete];
    looking.chain(changing.into_iter().flatten().map(|operation| (false, operation)))
}

/// Puts every status that a problem can have where the calls say "default".
struct Problems;

impl Modify for Problems {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for (only_looks, operation) in openapi.paths.paths.values_mut().flat_map(operations) {
            let responses = &mut operation.responses.responses;
            if responses.remove("default").is_none() {
                continue;
            }
            for (status, codes) in statuses(only_looks) {
                responses.insert(status.to_string(), RefOr::T(problem(status, &codes)));
            }
        }
    }
}

/// The statuses of problems, with the codes of each. A call that only looks cannot want too much.
fn statuses(only_looks: bool) -> BTreeMap<u16, Vec<&'static str>> {
    let mut statuses = BTreeMap::<u16, Vec<&'static str>>::new();
    for code in Code::ALL {
        let (text, status, _) = code.parts();
        let status = status.as_u16();
        // 405 belongs to no operation: it is the answer to those that there are not.
        if status != 405 && !(only_looks && [409, 412, 413, 507].contains(&status)) {
            statuses.entry(status).or_default().push(text);
        }
    }
    statuses
}

fn problem(status: u16, codes: &[&str]) -> Response {
    let content = Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name("ProblemDocument"))));
    let mut response = Response::new(format!("A problem: {}", codes.join(", ")));
    response.content.insert("application/problem+json".to_owned(), content.into());
    let mut header = |name: &str, what: &str| {
        let mut header = Header::default();
        header.description = Some(what.to_owned());
        response.headers.insert(name.to_owned(), header.into());
    };
    match status {
        401 => header("WWW-Authenticate", "Bearer"),
        429 | 503 => header("Retry-After", "After how many seconds it is worth to try again"),
        _ => {}
    }
    response
}

/// Says of the parameters that many calls share what texts and numbers they may be.
struct Names;

impl Modify for Names {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut openapi.paths.paths {
            let is_listing = path.ends_with("/chunk") && item.get.is_some();
            let of_token = path.contains("/token/");
            for (only_looks, operation) in operations(item) {
                for parameter in operation.parameters.iter_mut().flatten() {
                    if let RefOr::T(parameter) = parameter {
                        restrict(parameter, is_listing && only_looks, of_token);
                    }
                }
            }
        }
    }
}

fn restrict(parameter: &mut Parameter, of_listing: bool, of_token: bool) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    let pattern = match parameter.name.as_str() {
        "tenant" => Some("^[a-z0-9][a-z0-9-]{0,62}$"),
        "id" if of_token => Some("^[0-9A-Za-z]{10}$"),
        "id" => Some("^[0-9a-f]{64}$"),
        // There it is a filter, which may be empty.
        "label" if of_listing => Some("^([a-z0-9][a-z0-9.-]{0,63})?$"),
        "label" => Some("^[a-z0-9][a-z0-9.-]{0,63}$"),
        "after" => Some("^([a-z0-9][a-z0-9.-]{0,63}/[0-9a-f]{64})?$"),
        _ => None,
    };
    schema.pattern = pattern.map(str::to_owned).or(schema.pattern.take());
    let most = match parameter.name.as_str() {
        "limit" => Some((1, 1000)),
        "size" => Some((0, obnam_chunk::MAX_CHUNK_SIZE)),
        _ => None,
    };
    if let Some((least, most)) = most {
        schema.minimum = Some(Number::UInt(least));
        schema.maximum = Some(Number::UInt(usize::try_from(most).unwrap_or(usize::MAX)));
    }
}

/// The description.
pub async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}

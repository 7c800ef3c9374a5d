//! What PROPFIND answers: a `multistatus` document (RFC 4918, section 14.16).

use obnam_plugin::http;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// How deep elements may lie in each other; the answers to what is asked here have six levels.
const DEEPEST: usize = 32;

/// A file or a folder.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What the server calls it: a path or a URL, percent-encoded.
    pub href: String,
    /// What the server says instead of properties, where it is a status of its own.
    pub status: Option<u16>,
    /// Its properties.
    pub properties: Properties,
}

/// What is known of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// The length of a file, where the server says it.
    pub size: Option<u64>,
    /// When it was changed, in seconds since 1970, where the server says it.
    pub modified: Option<u64>,
}

/// Parses an answer.
pub fn parse(text: &str) -> Result<Vec<Resource>, String> {
    let mut all = Vec::new();
    let mut is_multistatus = false;
    let (mut resource, mut found, mut is_found) = (Resource::default(), Properties::default(), true);
    walk(text, |path, text| {
        let text = text.trim();
        match path {
            ["multistatus"] => is_multistatus = true,
            ["multistatus", "response"] => all.push(std::mem::take(&mut resource)),
            ["multistatus", "response", "href"] => resource.href = text.to_owned(),
            ["multistatus", "response", "status"] => resource.status = status(text),
            // Properties come in groups, each with a status behind it: those that there are, those that there are not.
            ["multistatus", "response", "propstat", "status"] => {
                is_found = status(text).is_none_or(|status| (200..300).contains(&status));
            }
            ["multistatus", "response", "propstat"] => {
                let group = std::mem::take(&mut found);
                if std::mem::replace(&mut is_found, true) {
                    resource.properties.is_folder |= group.is_folder;
                    resource.properties.size = resource.properties.size.or(group.size);
                    resource.properties.modified = resource.properties.modified.or(group.modified);
                }
            }
            [.., "propstat", "prop", "resourcetype", "collection"] => found.is_folder = true,
            [.., "propstat", "prop", "getcontentlength"] => found.size = text.parse().ok(),
            [.., "propstat", "prop", "getlastmodified"] => found.modified = http::date(text),
            _ => {}
        }
    })?;
    if is_multistatus { Ok(all) } else { Err("it is no multistatus document".into()) }
}

/// The number in `HTTP/1.1 404 Not Found`.
fn status(line: &str) -> Option<u16> {
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Goes through a document and calls back at the end of each element, with the names on the way to it (without the prefixes of
/// namespaces, which servers choose as they like) and its own text.
fn walk(text: &str, mut end: impl FnMut(&[&str], &str)) -> Result<(), String> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    // The names of the open elements, and the text in each of them.
    let mut names: Vec<String> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    loop {
        match reader.read_event().map_err(|error| format!("it is no XML: {error}"))? {
            Event::Start(element) => {
                if names.len() == DEEPEST {
                    return Err("its elements are nested too deeply".into());
                }
                names.push(element.local_name().into_inner().to_owned());
                texts.push(String::new());
            }
            Event::Text(piece) => append(&mut texts, &piece.xml10_content()),
            Event::CData(piece) => append(&mut texts, &piece.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => append(&mut texts, character.encode_utf8(&mut [0; 4])),
                Ok(None) => append(&mut texts, resolve_predefined_entity(&reference).unwrap_or_default()),
                Err(error) => return Err(format!("it is no XML: {error}")),
            },
            Event::End(_) => {
                let path: Vec<&str> = names.iter().map(String::as_str).collect();
                end(&path, &texts.pop().unwrap_or_default());
                names.pop();
            }
            Event::Eof if names.is_empty() => return Ok(()),
            Event::Eof => return Err("it is cut off".into()),
            _ => {}
        }
    }
}

fn append(texts: &mut [String], piece: &str) {
    if let Some(text) = texts.last_mut() {
        text.push_str(piece);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(href: &str, size: u64) -> Resource {
        let properties = Properties { size: Some(size), ..Properties::default() };
        Resource { href: href.into(), properties, ..Resource::default() }
    }

    /// As mod_dav of Apache writes it: a prefix for each namespace, and missing properties in a group of their own.
    #[test]
    fn groups_of_properties() {
        let text = r#"<?xml version="1.0" encoding="utf-8"?>
            <D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
            <D:response xmlns:lp1="DAV:"><D:href>/dav/</D:href>
            <D:propstat><D:prop><lp1:resourcetype><D:collection/></lp1:resourcetype>
            <lp1:getlastmodified>Sat, 21 Nov 2026 17:20:00 GMT</lp1:getlastmodified></D:prop>
            <D:status>HTTP/1.1 200 OK</D:status></D:propstat>
            <D:propstat><D:prop><D:getcontentlength/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
            </D:response>
            <D:response><D:href>/dav/a&amp;b%20&#x63;</D:href>
            <D:propstat><D:prop><lp1:resourcetype/><lp1:getcontentlength>12</lp1:getcontentlength></D:prop>
            <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
            </D:multistatus>"#;
        let folder = Properties { is_folder: true, size: None, modified: Some(1_795_281_600) };
        let folder = Resource { href: "/dav/".into(), properties: folder, ..Resource::default() };
        assert_eq!(parse(text).unwrap(), [folder, file("/dav/a&b%20c", 12)]);
    }

    #[test]
    fn statuses() {
        let text = r#"<multistatus xmlns="DAV:"><response><href>/a</href><status>HTTP/1.1 403 Forbidden</status></response>
            <response><href>/b</href><propstat><status>HTTP/1.1 404 Not Found</status>
            <prop><getcontentlength>7</getcontentlength></prop></propstat></response>
            <response><href>/c</href><propstat><prop><getcontentlength>0</getcontentlength></prop></propstat></response>
            </multistatus>"#;
        let all = parse(text).unwrap();
        assert_eq!((all[0].status, all[1].properties.size), (Some(403), None));
        assert_eq!(all[2], file("/c", 0));
        assert_eq!(parse("<d:multistatus xmlns:d='DAV:'/>").unwrap(), []);
    }

    #[test]
    fn what_is_none_is_said() {
        for text in ["", "hello", "<html><body>Log in</body></html>", "<D:error xmlns:D='DAV:'/>"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("<multistatus><response><href>/a</href>").unwrap_err().contains("cut off"));
        assert!(parse(&"<a>".repeat(100)).unwrap_err().contains("deeply"));
    }
}

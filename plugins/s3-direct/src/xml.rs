//! The XML that stores answer with: listings and refusals.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// How deep elements may lie in each other; answers of S3 have four levels.
const DEEPEST: usize = 16;

/// A page of `ListObjectsV2`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Object>,
    /// The common prefixes, where a delimiter was asked for.
    pub prefixes: Vec<String>,
    /// Whether there is more.
    pub truncated: bool,
    /// What to go on with.
    pub continuation: Option<String>,
}

/// An object of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Its whole key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, in seconds since 1970.
    pub modified: Option<u64>,
}

/// What an error document says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code, such as `AccessDenied`.
    pub code: String,
    /// The sentence of the store.
    pub message: String,
    /// The region that the store wants.
    pub region: Option<String>,
    /// The endpoint that the store wants.
    pub endpoint: Option<String>,
}

/// Parses a page of a listing.
pub fn listing(text: &str) -> Result<Listing, String> {
    let mut listing = Listing::default();
    let mut object = Object::default();
    let mut is_listing = false;
    let mut encoded = false;
    walk(text, |path, text| {
        match path {
            ["ListBucketResult"] => is_listing = true,
            ["ListBucketResult", "Contents"] => listing.objects.push(std::mem::take(&mut object)),
            ["ListBucketResult", "Contents", "Key"] => object.key = text.to_owned(),
            ["ListBucketResult", "Contents", "Size"] => {
                object.size = text.trim().parse().map_err(|_| format!("the size {text:?} is no number"))?;
            }
            ["ListBucketResult", "Contents", "LastModified"] => object.modified = iso_time(text),
            ["ListBucketResult", "CommonPrefixes", "Prefix"] => listing.prefixes.push(text.to_owned()),
            ["ListBucketResult", "IsTruncated"] => listing.truncated = text.trim() == "true",
            ["ListBucketResult", "NextContinuationToken"] => listing.continuation = Some(text.to_owned()),
            ["ListBucketResult", "EncodingType"] => encoded = text.trim() == "url",
            _ => {}
        }
        Ok(())
    })?;
    if !is_listing {
        return Err("it is no ListBucketResult".into());
    }
    if encoded {
        for text in listing.objects.iter_mut().map(|object| &mut object.key).chain(&mut listing.prefixes) {
            // As in a form: a plus sign is a space.
            *text = percent_decode_str(&text.replace('+', "%20")).decode_utf8_lossy().into_owned();
        }
    }
    Ok(listing)
}

/// Parses an error document; `None` when it is none.
pub fn refusal(text: &str) -> Option<Refusal> {
    let mut refusal = Refusal::default();
    walk(text, |path, text| {
        let text = text.trim().to_owned();
        match path {
            ["Error", "Code"] => refusal.code = text,
            ["Error", "Message"] => refusal.message = text,
            ["Error", "Region"] => refusal.region = Some(text),
            ["Error", "Endpoint"] => refusal.endpoint = Some(text),
            _ => {}
        }
        Ok(())
    })
    .ok()?;
    (!refusal.code.is_empty()).then_some(refusal)
}

/// Seconds since 1970 of `2026-11-21T17:20:00.000Z`.
fn iso_time(text: &str) -> Option<u64> {
    let time = DateTime::from_str(text.trim(), Format::DateTimeWithOffset).ok()?;
    u64::try_from(time.secs()).ok()
}

/// Seconds since 1970 of `Sat, 21 Nov 2026 17:20:00 GMT`.
pub fn http_time(text: &str) -> Option<u64> {
    u64::try_from(DateTime::from_str(text.trim(), Format::HttpDate).ok()?.secs()).ok()
}

/// Goes through a document and calls back at the end of each element, with the names on the way to it and its own text.
fn walk(text: &str, mut end: impl FnMut(&[&str], &str) -> Result<(), String>) -> Result<(), String> {
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
                end(&path, &texts.pop().unwrap_or_default())?;
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

    #[test]
    fn listings() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Name>b</Name><Prefix>p/</Prefix><IsTruncated>true</IsTruncated>
              <NextContinuationToken>a&amp;b==</NextContinuationToken>
              <Contents><Key>p/data/0&#x61;</Key><LastModified>2026-11-21T17:20:00.123Z</LastModified>
                <ETag>&quot;x&quot;</ETag><Size>12</Size><Owner><ID>1</ID></Owner></Contents>
              <Contents><Key><![CDATA[p/<&>]]></Key><Size>0</Size></Contents>
              <CommonPrefixes><Prefix>p/data.x/</Prefix></CommonPrefixes>
              <CommonPrefixes><Prefix>p/data/</Prefix></CommonPrefixes>
            </ListBucketResult>"#;
        let expected = Listing {
            objects: vec![
                Object { key: "p/data/0a".into(), size: 12, modified: Some(1_795_281_600) },
                Object { key: "p/<&>".into(), size: 0, modified: None },
            ],
            prefixes: vec!["p/data.x/".into(), "p/data/".into()],
            truncated: true,
            continuation: Some("a&b==".into()),
        };
        assert_eq!(listing(text).unwrap(), expected);
        let empty = listing("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").unwrap();
        assert_eq!(empty, Listing::default());
        assert_eq!(listing("<ListBucketResult/>").unwrap(), Listing::default());
    }

    #[test]
    fn encoded_keys() {
        let text = "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a+b%2Bc%2F%01</Key>\
                    <Size>1</Size></Contents></ListBucketResult>";
        assert_eq!(listing(text).unwrap().objects[0].key, "a b+c/\u{1}");
        let text = "<ListBucketResult><Contents><Key>a+b%2B</Key></Contents></ListBucketResult>";
        assert_eq!(listing(text).unwrap().objects[0].key, "a+b%2B");
    }

    #[test]
    fn what_is_no_listing_is_said() {
        for text in ["", "<html><body>Log in</body></html>", "hello", "<Error><Code>x</Code></Error>"] {
            assert!(listing(text).is_err(), "{text}");
        }
        let cut = "<ListBucketResult><Contents><Key>a</Key></Contents>";
        assert!(listing(cut).unwrap_err().contains("cut off"));
        let odd = "<ListBucketResult><Contents><Size>-1</Size></Contents></ListBucketResult>";
        assert!(listing(odd).unwrap_err().contains("no number"));
        let deep = "<a>".repeat(100);
        assert!(listing(&deep).unwrap_err().contains("deeply"));
    }

    #[test]
    fn refusals() {
        let text = "<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'x' is \
                    wrong; expecting &apos;y&apos;</Message><Region>y</Region><RequestId>1</RequestId></Error>";
        let found = refusal(text).unwrap();
        assert_eq!((found.code.as_str(), found.region.as_deref()), ("AuthorizationHeaderMalformed", Some("y")));
        assert_eq!(found.message, "the region 'x' is wrong; expecting 'y'");
        assert_eq!(refusal(""), None);
        assert_eq!(refusal("<html><head><title>502</title></head></html>"), None);
    }

    #[test]
    fn times() {
        assert_eq!(http_time("Sat, 21 Nov 2026 17:20:00 GMT"), Some(1_795_281_600));
        assert_eq!(http_time("yesterday"), None);
        assert_eq!(iso_time("2026-11-21T17:20:00Z"), Some(1_795_281_600));
    }
}

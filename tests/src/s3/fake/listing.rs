//! ListObjectsV2.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;

use super::faults::Faults;
use super::objects::Object;
use super::refused::{Refused, escape};
use super::request::{Arrived, Target};
use crate::s3::signature::encode;

/// The most that S3 puts on a page.
const MOST: usize = 1000;

/// One page of keys, and of the prefixes that a delimiter cuts out.
#[derive(Default)]
struct Page {
    keys: Vec<String>,
    prefixes: Vec<String>,
    /// What the next page begins behind.
    next: Option<String>,
}

/// Answers a request for a page of a listing.
pub fn list(
    bucket: &BTreeMap<String, Object>,
    request: &Arrived,
    target: &Target,
    faults: &Faults,
) -> Result<Response<Full<Bytes>>, Refused> {
    let invalid = |message: &str| Refused::new(400, "InvalidArgument", message);
    let text = |name: &str| request.parameter(name).unwrap_or_default();
    let asked = match request.parameter("max-keys") {
        Some(number) => number.parse().map_err(|_| invalid("Provided max-keys not an integer"))?,
        None => MOST,
    };
    let limit = asked.min(if faults.page_size > 0 { faults.page_size } else { MOST });
    let token = request.parameter("continuation-token");
    let after = match &token {
        Some(token) => {
            let bytes = URL_SAFE.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            bytes.ok_or_else(|| invalid("The continuation token provided is incorrect"))?
        }
        None => text("start-after"),
    };
    let (prefix, delimiter) = (text("prefix"), text("delimiter"));
    let page = page(bucket, &prefix, &delimiter, &after, limit, faults);

    let as_url = match request.parameter("encoding-type").as_deref() {
        None => false,
        Some("url") => true,
        Some(_) => return Err(invalid("Invalid Encoding Method specified in Request")),
    };
    let show = |text: &str| if as_url { encode(text, true).replace("%20", "+") } else { escape(text) };
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>{}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{asked}</MaxKeys>",
        escape(&target.bucket),
        show(&prefix),
        page.keys.len() + page.prefixes.len()
    );
    let mut element = |name: &str, value: Option<String>| {
        xml += &value.map_or(String::new(), |value| format!("<{name}>{value}</{name}>"));
    };
    element("Delimiter", (!delimiter.is_empty()).then(|| show(&delimiter)));
    element("EncodingType", as_url.then(|| "url".into()));
    element("StartAfter", request.parameter("start-after").map(|key| show(&key)));
    element("ContinuationToken", token);
    element("IsTruncated", Some(page.next.is_some().to_string()));
    element("NextContinuationToken", page.next.map(|key| URL_SAFE.encode(key)));
    for key in &page.keys {
        let object = &bucket[key];
        let stored = jiff::Timestamp::try_from(object.stored).unwrap_or_default();
        xml += &format!(
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size>\
             <StorageClass>{}</StorageClass></Contents>",
            show(key),
            stored.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            object.etag().replace('"', "&quot;"),
            object.bytes.len(),
            object.class
        );
    }
    for prefix in &page.prefixes {
        xml += &format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", show(prefix));
    }
    xml += "</ListBucketResult>";
    Ok(Response::builder().header("content-type", "application/xml").body(Full::new(Bytes::from(xml))).unwrap())
}

fn page(
    bucket: &BTreeMap<String, Object>,
    prefix: &str,
    delimiter: &str,
    after: &str,
    limit: usize,
    faults: &Faults,
) -> Page {
    let mut page = Page::default();
    let mut last = None;
    for (key, _) in bucket.iter().filter(|(key, object)| key.starts_with(prefix) && object.is_listed(faults)) {
        let rest = &key[prefix.len()..];
        let cut = if delimiter.is_empty() { None } else { rest.find(delimiter) };
        let common = cut.map(|at| &key[..prefix.len() + at + delimiter.len()]);
        let shown = common.unwrap_or(key);
        // A token that is a prefix stands for all keys below it.
        let passed = key.as_str() <= after || common == Some(after);
        if passed || page.prefixes.last().is_some_and(|known| Some(known.as_str()) == common) {
            continue;
        }
        if page.keys.len() + page.prefixes.len() == limit {
            page.next = last;
            break;
        }
        match common {
            Some(common) => page.prefixes.push(common.to_owned()),
            None => page.keys.push(key.clone()),
        }
        last = Some(shown.to_owned());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let keys = ["a", "b/1", "b/2", "c/1", "d", "e"];
        let bucket: BTreeMap<String, Object> = keys.map(|key| (key.to_owned(), Object::new(""))).into();
        let all = |prefix: &str, delimiter: &str, limit: usize| {
            let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let page = page(&bucket, prefix, delimiter, &after, limit, &Faults::default());
                assert!(page.keys.len() + page.prefixes.len() <= limit);
                seen.extend(page.keys.into_iter().chain(page.prefixes));
                pages += 1;
                match page.next {
                    Some(next) => after = next,
                    None => return (seen, pages),
                }
            }
        };
        let owned = |keys: &[&str]| keys.iter().map(|key| key.to_string()).collect::<Vec<_>>();
        assert_eq!(all("", "", 1000), (owned(&keys), 1));
        assert_eq!(all("", "", 2), (owned(&keys), 3));
        assert_eq!(all("", "/", 1), (owned(&["a", "b/", "c/", "d", "e"]), 5));
        assert_eq!(all("b/", "", 1), (owned(&["b/1", "b/2"]), 2));
        assert_eq!(all("b", "/", 5), (owned(&["b/"]), 1));
        assert_eq!(all("x", "/", 5), (vec![], 1));
    }
}

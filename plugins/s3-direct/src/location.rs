//! Where a location leads: endpoint, bucket, prefix, and the address of each key.

use obnam_plugin::url::{Host, encode, normal_authority, strip_scheme};

use crate::settings::Misfit;

/// The longest key that S3 allows, less label, slash and id.
const LONGEST_PREFIX: usize = 1024 - 64 - 1 - 64;

/// The domains of AWS by how the names of their regions begin; everywhere else it is the last one.
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
    ("", "amazonaws.com"),
];

/// A bucket, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whether to use TLS.
    pub tls: bool,
    /// `HOST` or `HOST:PORT`, without the scheme's own port; with the bucket in front in virtual-host style.
    pub authority: String,
    /// The bucket.
    pub bucket: String,
    /// What is in front of every key: empty, or a text that ends in a slash.
    pub prefix: String,
    /// Whether the bucket stands in the host name rather than in the path.
    virtual_host: bool,
}

impl Place {
    /// Parses `s3:https://HOST[:PORT]/BUCKET[/PREFIX]` or `s3://BUCKET[/PREFIX]`, which is AWS.
    pub fn parse(location: &str, region: &str, virtual_host: Option<bool>) -> Result<Self, Misfit> {
        let misfit = |why: &str| Misfit(format!("{} is no location of this plugin: {why}", shown(location)));
        let form = "write s3:https://HOST/BUCKET/PREFIX, or s3://BUCKET/PREFIX for AWS";
        let rest = strip_scheme(location, "s3:").ok_or_else(|| misfit(form))?;
        if let Some(odd) = location.chars().find(|c| c.is_whitespace() || c.is_control() || "?#%\\".contains(*c)) {
            return Err(misfit(&format!("it contains {odd:?}; {form}")));
        }
        let (tls, host, path) = if let Some(bucket) = rest.strip_prefix("//") {
            (true, None, bucket)
        } else {
            let (tls, rest) = match (strip_scheme(rest, "https://"), strip_scheme(rest, "http://")) {
                (Some(rest), _) => (true, rest),
                (None, Some(rest)) => (false, rest),
                (None, None) => return Err(misfit(form)),
            };
            let (host, path) = rest.split_once('/').ok_or_else(|| misfit("it names no bucket"))?;
            (tls, Some(host), path)
        };
        if host.unwrap_or(path.split('/').next().unwrap_or_default()).contains('@') {
            return Err(misfit(
                "keys do not stand in a location, where logs and recovery sheets would show them; give them in \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ));
        }
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        check_bucket(bucket).map_err(|why| misfit(&why))?;
        let prefix = normal_prefix(prefix).map_err(|why| misfit(&why))?;
        // A certificate of *.HOST does not cover two labels.
        let fits_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || (b == b'.' && !tls);
        let fits_host = bucket.bytes().all(fits_host);
        let virtual_host = virtual_host.unwrap_or(host.is_none() && fits_host);
        let endpoint = match host {
            Some(host) => normal_authority(host, tls).map_err(|why| misfit(&why))?,
            None => format!("s3.{region}.{}", domain(region)),
        };
        let authority = if virtual_host { format!("{bucket}.{endpoint}") } else { endpoint };
        Ok(Place { tls, authority, bucket: bucket.to_owned(), prefix, virtual_host })
    }

    /// `https://HOST` or the like, as the contract writes origins.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// Whether the store is on this computer.
    pub fn is_here(&self) -> bool {
        Host { tls: self.tls, authority: self.authority.clone() }.is_here()
    }

    /// The place in words.
    pub fn describe(&self) -> String {
        let below = if self.prefix.is_empty() { String::new() } else { format!(" below {}", self.prefix) };
        format!("bucket {} at {}{below}", self.bucket, self.authority)
    }

    /// The region that the host name of an AWS endpoint tells: `s3.REGION.amazonaws.com`.
    pub fn region_of_host(&self) -> Option<String> {
        let host = self.authority.strip_prefix(&format!("{}.", self.bucket)).unwrap_or(&self.authority);
        let (_, domain) = PARTITIONS.iter().find(|(_, domain)| host.ends_with(&format!(".{domain}")))?;
        let labels: Vec<&str> = host.strip_suffix(&format!(".{domain}"))?.split('.').collect();
        match labels[..] {
            ["s3" | "s3-fips", region] | ["s3" | "s3-fips", "dualstack", region] => Some(region.to_owned()),
            _ => None,
        }
    }

    /// The encoded path of a key (below the prefix), or of the bucket itself.
    pub fn path(&self, key: Option<&str>) -> String {
        let mut path = String::from("/");
        if !self.virtual_host {
            path.push_str(&encode(&self.bucket));
        }
        if let Some(key) = key {
            if !self.virtual_host {
                path.push('/');
            }
            let parts: Vec<String> = format!("{}{key}", self.prefix).split('/').map(encode).collect();
            path.push_str(&parts.join("/"));
        }
        path
    }
}

/// The location without anything that could be a key, for messages.
fn shown(location: &str) -> String {
    match location.split_once('@') {
        Some((front, back)) => {
            let kept = front.rfind("//").map_or(0, |at| at + 2);
            format!("{:?}", format!("{}...@{back}", &front[..kept]))
        }
        None => format!("{location:?}"),
    }
}

/// The domain of the partition of AWS that a region belongs to.
fn domain(region: &str) -> &'static str {
    PARTITIONS.iter().find(|(begin, _)| region.starts_with(begin)).map_or("amazonaws.com", |(_, domain)| domain)
}

fn check_bucket(bucket: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if bucket.is_empty() {
        return Err("it names no bucket".into());
    }
    if bucket.len() > 255 || !bucket.bytes().all(fits) || !bucket.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(format!("{bucket:?} cannot be the name of a bucket"));
    }
    Ok(())
}

/// The prefix with exactly one slash at its end, unless it is empty.
fn normal_prefix(prefix: &str) -> Result<String, String> {
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() {
        return Ok(String::new());
    }
    if let Some(odd) = prefix.split('/').find(|part| part.is_empty() || *part == "." || *part == "..") {
        return Err(format!("the part {odd:?} of its prefix means different things to different stores"));
    }
    if prefix.len() >= LONGEST_PREFIX {
        return Err(format!("its prefix has more than {LONGEST_PREFIX} bytes"));
    }
    Ok(format!("{prefix}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(location: &str) -> Place {
        Place::parse(location, "eu-central-1", None).unwrap_or_else(|misfit| panic!("{misfit}"))
    }

    fn misfit(location: &str) -> String {
        Place::parse(location, "us-east-1", None).err().map(|misfit| misfit.0).unwrap_or_default()
    }

    #[test]
    fn endpoints_of_your_own() {
        let garage = place("s3:https://Garage.example:3900/backup/a/b/");
        assert_eq!((garage.origin().as_str(), garage.prefix.as_str()), ("https://garage.example:3900", "a/b/"));
        assert_eq!(garage.path(Some("data/00")), "/backup/a/b/data/00");
        assert_eq!(garage.path(None), "/backup");
        assert_eq!(place("s3:http://127.0.0.1:80/b").origin(), "http://127.0.0.1");
        assert_eq!(place("S3:HTTPS://h:443/b").origin(), "https://h");
        assert_eq!(place("s3:https://[::1]:9000/b").origin(), "https://[::1]:9000");
        assert_eq!(place("s3:https://[::1]/b").origin(), "https://[::1]");
        assert_eq!(place("s3:https://h/b/ü+x=1").path(Some("k")), "/b/%C3%BC%2Bx%3D1/k");
        let named = Place::parse("s3:https://h:9000/b/p", "x", Some(true));
        let named = named.unwrap_or_else(|misfit| panic!("{misfit}"));
        assert_eq!((named.origin().as_str(), named.path(Some("k")).as_str()), ("https://b.h:9000", "/p/k"));
        assert_eq!(named.path(None), "/");
        assert!(place("s3:http://127.0.0.1:9000/b").is_here() && place("s3:http://[::1]/b").is_here());
        assert!(!place("s3:http://127.example.org/b").is_here() && !place("s3:http://h:1270/b").is_here());
    }

    #[test]
    fn aws_follows_from_region_and_bucket() {
        assert_eq!(place("s3://bucket/p").origin(), "https://bucket.s3.eu-central-1.amazonaws.com");
        assert_eq!(place("s3://bucket/p").path(Some("k")), "/p/k");
        let dotted = place("s3://my.bucket");
        assert_eq!(
            (dotted.origin().as_str(), dotted.path(None).as_str()),
            ("https://s3.eu-central-1.amazonaws.com", "/my.bucket")
        );
        let origin =
            |region| Place::parse("s3://b", region, Some(false)).map(|place| place.origin()).unwrap_or_default();
        assert_eq!(origin("cn-north-1"), "https://s3.cn-north-1.amazonaws.com.cn");
        assert_eq!(origin("us-gov-west-1"), "https://s3.us-gov-west-1.amazonaws.com");
        assert_eq!(origin("eusc-de-east-1"), "https://s3.eusc-de-east-1.amazonaws.eu");
        assert_eq!(origin("us-iso-east-1"), "https://s3.us-iso-east-1.c2s.ic.gov");
    }

    #[test]
    fn hosts_of_aws_tell_their_region() {
        let region = |location| place(location).region_of_host();
        assert_eq!(region("s3:https://s3.eu-west-1.amazonaws.com/b").as_deref(), Some("eu-west-1"));
        assert_eq!(region("s3:https://s3.dualstack.eu-west-1.amazonaws.com/b").as_deref(), Some("eu-west-1"));
        assert_eq!(region("s3:https://s3.cn-north-1.amazonaws.com.cn/b").as_deref(), Some("cn-north-1"));
        assert_eq!(region("s3:https://s3.amazonaws.com/b"), None);
        assert_eq!(region("s3:https://s3.eu-west-1.example.org/b"), None);
        assert_eq!(region("s3://bucket").as_deref(), Some("eu-central-1"));
    }

    #[test]
    fn locations_that_make_no_sense() {
        for (location, why) in [
            ("s3:", "write s3:https://HOST/BUCKET"),
            ("s3:host/bucket", "write s3:https://HOST/BUCKET"),
            ("s3:ftp://h/b", "write s3:https://HOST/BUCKET"),
            ("s3://", "no bucket"),
            ("s3:https://h", "no bucket"),
            ("s3:https://h/", "no bucket"),
            ("s3:https:///b", "no host name"),
            ("s3:https://h:0/b", "no port"),
            ("s3:https://h:99999/b", "no port"),
            ("s3:https://h:/b", "no port"),
            ("s3:https://[::g]/b", "no host name"),
            ("s3:https://h/b/../c", "different things"),
            ("s3:https://h/b//c", "different things"),
            ("s3:https://h/b?x=1", "'?'"),
            ("s3:https://h/b c", "' '"),
            ("s3:https://h/.b", "name of a bucket"),
        ] {
            let message = misfit(location);
            assert!(message.contains(why), "{location}: {message}");
        }
    }

    #[test]
    fn keys_in_a_location_are_refused_and_not_repeated() {
        for location in ["s3:https://AKIA:hunter2@h/b", "s3://AKIA:hunter2@b/p"] {
            let message = misfit(location);
            assert!(message.contains("AWS_SECRET_ACCESS_KEY") && !message.contains("hunter2"), "{message}");
        }
        // Behind the bucket it is a part of the prefix.
        assert_eq!(place("s3:https://h/b/a@b").prefix, "a@b/");
    }
}

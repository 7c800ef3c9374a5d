//! How many URLs one core signs in a second: by the crate that the server uses, and by the AWS SDK.
//!
//! `cargo bench -p obnam-server`. No test: it decides nothing.

use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use obnam_chunk::ChunkId;
use obnam_server::signing::Signer;

const LIFETIME: Duration = Duration::from_secs(900);
const LONG_ENOUGH: Duration = Duration::from_secs(3);

fn main() {
    let signer = signer();
    let id = ChunkId::of(b"x");
    measure("rusty-s3, PUT", || signer.put("server/alice/data/x", &id, 16 << 20).expect("signs").url.len());
    measure("rusty-s3, GET", || signer.get("server/alice/data/x").url.len());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = sdk();
    measure("aws-sdk-s3, PUT", || runtime.block_on(sdk_put(&client)));
}

fn measure(what: &str, work: impl Fn() -> usize) {
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < LONG_ENOUGH {
        for _ in 0..100 {
            std::hint::black_box(work());
        }
        count += 100;
    }
    println!("{what}: {:.0} URLs per second", f64::from(count) / begin.elapsed().as_secs_f64());
}

fn signer() -> Signer {
    let config = "bucket = \"backups\"\nendpoint = \"https://s3.example.org\"\nregion = \"eu-central-1\"\n\
                  access-key-id = \"AKIAEXAMPLE\"\nsecret-access-key = \"example/example/example/example/exampl\"";
    Signer::new(&toml::from_str(config).expect("a configuration"), LIFETIME).expect("a signer")
}

fn sdk() -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url("https://s3.example.org")
        .force_path_style(true)
        .credentials_provider(Credentials::new(
            "AKIAEXAMPLE",
            "example/example/example/example/exampl",
            None,
            None,
            "bench",
        ))
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

async fn sdk_put(client: &aws_sdk_s3::Client) -> usize {
    let lifetime = PresigningConfig::expires_in(LIFETIME).expect("a lifetime");
    let put = client
        .put_object()
        .bucket("backups")
        .key("server/alice/data/x")
        .content_length(16 << 20)
        .if_none_match("*")
        .checksum_sha256("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=");
    put.presigned(lifetime).await.expect("signs").uri().len()
}

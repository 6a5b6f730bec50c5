//! The AWS SDK for Rust, in this process: objects, streams, parts, presigned URLs, odd keys, a refusal. As `clients/real/with_*`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use serde_json::{Map, Value, json};

use super::World;
use crate::support::pattern;

const ODD: [&str; 12] = [
    "with blank",
    "+plus+",
    "100%",
    "%2F",
    "~!'()",
    "@:$,;=&",
    "ü/日本",
    "deep/a/b/c/d/e/f",
    "h#f",
    "[x]{y}",
    "*",
    "q?x=y",
];
const PART: usize = 5 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Step = Result<(), Failure>;

/// Its report, as the programs print it.
pub async fn run(world: &World) -> Value {
    let sdk = Sdk::new(world);
    let mut steps = Map::new();
    let mut note = |name: &str, done: Step| {
        let result = done.map_or_else(|failure| format!("{}", DisplayErrorContext(&*failure)), |()| "ok".to_owned());
        steps.insert(name.to_owned(), result.into());
    };
    note("put", sdk.puts().await);
    note("get", sdk.gets().await);
    note("list", sdk.lists().await);
    note("delete", sdk.deletes().await);
    note("multipart", sdk.multipart().await);
    note("odd keys", sdk.odd().await);
    note("presign", sdk.presign().await);
    let told = sdk.refused(&world.forbidden).await;
    let refused = if told.contains("AccessDenied") { Ok(()) } else { Err(told.clone().into()) };
    note("refusal", refused);
    let version = locked_version("aws-sdk-s3");
    json!({ "client": "aws-sdk-s3 (Rust)", "version": version, "steps": steps, "told": told })
}

/// The version in `Cargo.lock`.
fn locked_version(name: &str) -> String {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let package =
        lock.split("[[package]]").find(|package| package.contains(&format!("\nname = \"{name}\"\n"))).unwrap();
    package.split("version = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
}

fn same(got: &[u8], wanted: &[u8], what: &str) -> Step {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {} bytes, other than the {} sent", got.len(), wanted.len()).into())
    }
}

struct Sdk<'a> {
    client: aws_sdk_s3::Client,
    world: &'a World,
    small: Vec<u8>,
}

impl<'a> Sdk<'a> {
    fn new(world: &'a World) -> Self {
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&world.endpoint)
            .force_path_style(true)
            .credentials_provider(Credentials::new(&world.access_key, &world.secret_key, None, None, "test"));
        if let Some(file) = &world.authority {
            let trusted = TrustStore::empty().with_pem_certificate(std::fs::read(file).unwrap());
            let tls = TlsContext::builder().with_trust_store(trusted).build().unwrap();
            let provider = Provider::Rustls(CryptoMode::AwsLc);
            let http = aws_smithy_http_client::Builder::new().tls_provider(provider).tls_context(tls).build_https();
            config = config.http_client(http);
        }
        Self { client: aws_sdk_s3::Client::from_conf(config.build()), world, small: pattern(70_001) }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.world.prefix)
    }

    async fn put(&self, name: &str, body: ByteStream) -> Step {
        self.client.put_object().bucket(&self.world.bucket).key(self.key(name)).body(body).send().await?;
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let got = self.client.get_object().bucket(&self.world.bucket).key(self.key(name)).send().await?;
        Ok(got.body.collect().await?.to_vec())
    }

    async fn names(&self, folder: &str) -> Result<Vec<String>, Failure> {
        let listed = self.client.list_objects_v2().bucket(&self.world.bucket).prefix(self.key(folder)).send().await?;
        let names = listed.contents().iter().filter_map(|entry| entry.key()?.strip_prefix(&self.world.prefix));
        Ok(names.map(str::to_owned).collect())
    }

    async fn puts(&self) -> Step {
        self.put("put", self.small.clone().into()).await?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), &self.small)?;
        self.put("stream", ByteStream::from_path(file.path()).await?).await?;
        self.put("empty", ByteStream::from_static(b"")).await
    }

    async fn gets(&self) -> Step {
        same(&self.read("put").await?, &self.small, "put")?;
        same(&self.read("stream").await?, &self.small, "stream")?;
        same(&self.read("empty").await?, b"", "empty")?;
        let (bucket, key) = (&self.world.bucket, self.key("put"));
        let part = self.client.get_object().bucket(bucket).key(key).range("bytes=100-199").send().await?;
        same(&part.body.collect().await?.to_vec(), &self.small[100..200], "range")
    }

    async fn lists(&self) -> Step {
        let names = self.names("").await?;
        if names == ["empty", "put", "stream"] { Ok(()) } else { Err(format!("{names:?}").into()) }
    }

    async fn deletes(&self) -> Step {
        self.client.delete_object().bucket(&self.world.bucket).key(self.key("put")).send().await?;
        let object = |name: &str| ObjectIdentifier::builder().key(self.key(name)).build();
        let batch = Delete::builder().objects(object("stream")?).objects(object("empty")?).build()?;
        let done = self.client.delete_objects().bucket(&self.world.bucket).delete(batch).send().await?;
        let left = self.names("").await?;
        if done.errors().is_empty() && left.is_empty() { Ok(()) } else { Err(format!("{done:?} {left:?}").into()) }
    }

    async fn multipart(&self) -> Step {
        let (bucket, key, content) = (&self.world.bucket, self.key("large"), pattern(4 * PART + 1));
        let begun = self.client.create_multipart_upload().bucket(bucket).key(&key).send().await?;
        let id = begun.upload_id().ok_or("no upload id")?;
        let mut parts = CompletedMultipartUpload::builder();
        for (number, part) in (1..).zip(content.chunks(PART)) {
            let sent = self.client.upload_part().bucket(bucket).key(&key).upload_id(id).part_number(number);
            let sent = sent.body(part.to_vec().into()).send().await?;
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_crc32(sent.checksum_crc32);
            parts = parts.parts(part.build());
        }
        let complete = self.client.complete_multipart_upload().bucket(bucket).key(&key).upload_id(id);
        complete.multipart_upload(parts.build()).send().await?;
        same(&self.read("large").await?, &content, "large")
    }

    async fn odd(&self) -> Step {
        for name in ODD {
            let key = format!("odd/{name}");
            self.put(&key, name.as_bytes().to_vec().into()).await?;
            same(&self.read(&key).await?, name.as_bytes(), name)?;
        }
        let listed = self.names("odd/").await?.len();
        if listed == ODD.len() { Ok(()) } else { Err(format!("{listed} names").into()) }
    }

    async fn presign(&self) -> Step {
        let for_a_while = || PresigningConfig::expires_in(Duration::from_secs(300));
        let (bucket, key) = (&self.world.bucket, self.key("presigned a+ü"));
        let put = self.client.put_object().bucket(bucket).key(&key).presigned(for_a_while()?).await?;
        let get = self.client.get_object().bucket(bucket).key(&key).presigned(for_a_while()?).await?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), &self.small)?;
        self.curl(&["-T", &file.path().display().to_string(), put.uri()]).await?;
        same(&self.curl(&[get.uri()]).await?, &self.small, "presigned")
    }

    /// curl follows a URL that was signed.
    async fn curl(&self, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail-with-body", "--noproxy", "*", "--max-time", "60"]).args(arguments);
        if let Some(file) = &self.world.authority {
            command.arg("--cacert").arg(file);
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if output.status.success() { Ok(output.stdout) } else { Err(String::from_utf8_lossy(&output.stdout).into()) }
    }

    /// What its user reads; the word `late` if it took too long.
    async fn refused(&self, key: &str) -> String {
        let begun = Instant::now();
        let put = self.client.put_object().bucket(&self.world.bucket).key(key).body(self.small.clone().into());
        let told = match put.send().await {
            Ok(_) => "nothing was refused".to_owned(),
            Err(error) => format!("{}", DisplayErrorContext(error)),
        };
        if begun.elapsed() < PATIENCE { told } else { "late".to_owned() }
    }
}

//! The toy store of the demo: s3s-fs on a folder, listening on a free loopback port.
//!
//! s3s-fs 0.14 lists parts without their ETags, and lists neither uploads nor versions. Every real store does; the gateway holds the parts of
//! an upload to their ETags, and looks for what an earlier run left. So this is added here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use s3s::auth::SimpleAuth;
use s3s::dto;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

/// Bucket that `config/demo.yaml` names, with what the tour reads.
const BUCKET: &str = "demo-store";

/// Starts the store in a folder; it runs until the runtime ends.
///
/// # Errors
/// If the folder cannot be used or no port is free.
pub async fn start(folder: &Path, access_key_id: &str, secret_access_key: &str) -> anyhow::Result<SocketAddr> {
    let objects = folder.join("objects");
    let readonly = objects.join(BUCKET).join("public/readonly");
    std::fs::create_dir_all(&readonly).context("cannot make the demo bucket")?;
    std::fs::create_dir_all(objects.join(BUCKET).join("private")).context("cannot make the demo bucket")?;
    std::fs::write(readonly.join("welcome.txt"), "Welcome to countersign.\n").context("cannot fill the demo bucket")?;
    std::fs::write(objects.join(BUCKET).join("private/secret.txt"), "no client reaches this\n")
        .context("cannot fill the demo bucket")?;
    let files = FileSystem::new(&objects).map_err(|error| anyhow::anyhow!("cannot open the demo store: {error:?}"))?;
    let mut builder = S3ServiceBuilder::new(Store { files, folder: objects });
    builder.set_auth(SimpleAuth::from_single(access_key_id, secret_access_key));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for the demo store")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                    tracing::debug!(%error, "demo store connection ended");
                }
            });
        }
    });
    Ok(address)
}

/// s3s-fs, and what it lacks.
struct Store {
    files: FileSystem,
    folder: PathBuf,
}

/// What the methods of [`S3`] return.
type Reply<'a, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'a>>;

/// Methods that are those of s3s-fs.
macro_rules! pass_on {
    ($($method:ident: $input:ident => $output:ident;)*) => {
        $(fn $method<'s, 'f>(&'s self, request: S3Request<dto::$input>) -> Reply<'f, dto::$output>
        where
            's: 'f,
            Self: 'f,
        {
            self.files.$method(request)
        })*
    };
}

impl S3 for Store {
    pass_on! {
        abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput;
        complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput;
        copy_object: CopyObjectInput => CopyObjectOutput;
        create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput;
        delete_object: DeleteObjectInput => DeleteObjectOutput;
        delete_objects: DeleteObjectsInput => DeleteObjectsOutput;
        get_object: GetObjectInput => GetObjectOutput;
        head_bucket: HeadBucketInput => HeadBucketOutput;
        head_object: HeadObjectInput => HeadObjectOutput;
        list_objects: ListObjectsInput => ListObjectsOutput;
        list_objects_v2: ListObjectsV2Input => ListObjectsV2Output;
        put_object: PutObjectInput => PutObjectOutput;
        upload_part: UploadPartInput => UploadPartOutput;
        upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput;
    }

    fn list_parts<'s, 'f>(&'s self, request: S3Request<dto::ListPartsInput>) -> Reply<'f, dto::ListPartsOutput>
    where
        's: 'f,
        Self: 'f,
    {
        let upload_id = request.input.upload_id.clone();
        Box::pin(async move {
            let mut listed = self.files.list_parts(request).await?;
            for part in listed.output.parts.iter_mut().flatten() {
                let file = format!(".upload_id-{upload_id}.part-{}", part.part_number.unwrap_or_default());
                // A part that has just gone is one without ETag.
                let bytes = tokio::fs::read(self.folder.join(file)).await.ok();
                part.e_tag = bytes.map(|bytes| dto::ETag::Strong(hex::encode(Md5::digest(bytes))));
            }
            Ok(listed)
        })
    }

    fn list_multipart_uploads<'s, 'f>(
        &'s self,
        _: S3Request<dto::ListMultipartUploadsInput>,
    ) -> Reply<'f, dto::ListMultipartUploadsOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async { Ok(S3Response::new(dto::ListMultipartUploadsOutput::default())) })
    }

    fn list_object_versions<'s, 'f>(
        &'s self,
        _: S3Request<dto::ListObjectVersionsInput>,
    ) -> Reply<'f, dto::ListObjectVersionsOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async { Ok(S3Response::new(dto::ListObjectVersionsOutput::default())) })
    }
}

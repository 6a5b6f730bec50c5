//! The toy store of the demo: s3s-fs on a folder, listening on a free loopback port.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
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
    let files =
        s3s_fs::FileSystem::new(&objects).map_err(|error| anyhow::anyhow!("cannot open the demo store: {error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
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

//! A program as operators write them for the inspector `http`: takes an object, looks for the string of EICAR, answers with a verdict.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::infected::eicar;

/// A running program; it ends when this is dropped.
pub struct Hook {
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Hook {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(look)));
            }
        });
        Self { address, serving }
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn look(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let object = request.into_body().collect().await.map(|object| object.to_bytes());
    let verdict = match object {
        Ok(object) if is_clean(&object) => r#"{"verdict": "clean"}"#,
        Ok(_) => r#"{"verdict": "matched", "name": "Eicar"}"#,
        Err(_) => r#"{"verdict": "error", "reason": "the object did not come"}"#,
    };
    let answer = Response::builder().header("content-type", "application/json");
    Ok(answer.body(Full::from(verdict)).unwrap())
}

fn is_clean(object: &[u8]) -> bool {
    let eicar = eicar();
    !object.windows(eicar.len()).any(|window| window == eicar)
}

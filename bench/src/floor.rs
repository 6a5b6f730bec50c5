//! A proxy that does nothing: hyper on either side, one thread, kept-alive connections to one upstream in clear text.
//!
//! What it costs is the floor for a gateway built on hyper; what the gateway costs more is its own doing.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Pool = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

/// Serves for ever.
pub async fn serve(listener: TcpListener, upstream: SocketAddr) {
    let pool = Pool::default();
    while let Ok((stream, _)) = listener.accept().await {
        let pool = Rc::clone(&pool);
        let service = service_fn(move |request| forward(request, Rc::clone(&pool), upstream));
        tokio::task::spawn_local(async move {
            // However a connection ends, its end is the client's affair.
            drop(stream.set_nodelay(true));
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn forward(request: Request<Incoming>, pool: Pool, upstream: SocketAddr) -> Result<Response<Incoming>, Error> {
    let ready = pool.borrow().iter().rposition(SendRequest::is_ready);
    let mut sender = match ready {
        Some(position) => pool.borrow_mut().swap_remove(position),
        None => connect(upstream).await?,
    };
    let response = sender.send_request(request).await?;
    // Ready again when the answer has been read.
    pool.borrow_mut().push(sender);
    Ok(response)
}

async fn connect(upstream: SocketAddr) -> Result<SendRequest<Incoming>, Error> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

//! The only place that collects an HTTP body into memory, never past a limit.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

/// Why a body could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError<E> {
    /// Longer than the limit.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    /// The body broke off.
    #[error("the body broke off")]
    Body(#[source] E),
}

/// Collects a body of at most `limit` bytes.
///
/// # Errors
/// [`CollectError`] if it is longer, or breaks off.
pub async fn collect<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    limit: usize,
) -> Result<Bytes, CollectError<B::Error>> {
    let mut collected = BytesMut::new();
    while let Some(frame) = Pin::new(&mut body).frame().await {
        let Ok(data) = frame.map_err(CollectError::Body)?.into_data() else { continue };
        if collected.len() + data.len() > limit {
            return Err(CollectError::TooLong(limit));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        assert_eq!(collect(Full::new(Bytes::from_static(b"12345")), 5).await.unwrap(), "12345");
        assert!(matches!(collect(Full::new(Bytes::from_static(b"123456")), 5).await, Err(CollectError::TooLong(5))));
    }
}

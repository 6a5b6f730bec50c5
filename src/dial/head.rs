//! What every request of the gateway to a server of the operator's choice carries.

use http::header::{ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::Secret;
use crate::base::authority::authority_of;

/// `Host`, no encoding of the answer, no second request on the connection, the gateway's name, and the operator's own headers. Values of these
/// are marked sensitive, which keeps them out of `Debug`.
///
/// # Errors
/// What cannot stand in a header, without its value.
pub fn head_to(host: &str, port: u16, tls: bool, own: &[(HeaderName, Secret)]) -> Result<HeaderMap, String> {
    let authority = authority_of(host, port, tls);
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::try_from(authority).map_err(|_| "the host cannot stand in a header")?);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("countersign/", env!("CARGO_PKG_VERSION"))));
    for (name, secret) in own {
        let mut value = HeaderValue::try_from(secret.expose())
            .map_err(|_| format!("the value of the header `{name}` cannot stand in a header"))?;
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

//! Signature Version 4, the algorithm: canonical request, signing key, signatures of requests and chunks.
//!
//! Pure functions of their inputs, the time included. Key derivation and the final HMAC are those of the `aws-sigv4` crate; the
//! canonical form is our own, because the same form that is signed is what is sent. Oracle in the tests: the crate's whole signer.
//! Source: AWS reference, "Create a signed AWS API request" and "Signature calculations for the Authorization header".

pub mod authorization;
pub mod canonical;
pub mod chunk;
pub mod content_sha256;
pub mod key;
pub mod presign;
pub mod verify;

pub use authorization::{Credential, FormFault, SignedHead, SignedHeaders};
pub use canonical::{CanonicalRequest, sign_request};
pub use chunk::{ChunkCheck, ChunkSigner};
pub use content_sha256::ContentSha256;
pub use key::{AmzDate, KeyCache, SigningKey};
pub use presign::PresignedQuery;
pub use verify::{Received, string_to_sign};

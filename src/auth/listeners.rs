//! Listeners that say who the caller is: whoever reaches the socket is the one application that it is there for.
//!
//! SDKs sign every request, so they are given a placeholder as access key id and anything as its secret. What they sign is read for the
//! framing of the body and for nothing else. Another access key id would be a real credential in the wrong place: it is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::error::{AuthError, InvalidReason, SetupError};
use crate::auth::names::Names;
use crate::auth::{Attributes, Caller, Claim, ListenerIdentity, Scheme};
use crate::base::PrincipalId;

/// Attribute with the name of the identity.
pub(in crate::auth) const NAME_ATTRIBUTE: &str = "listener";

/// All configured identities of listeners by name.
#[derive(Debug)]
pub(in crate::auth) struct Listeners(HashMap<String, Listener>);

#[derive(Debug)]
struct Listener {
    principal: PrincipalId,
    placeholder: String,
    attributes: Arc<Attributes>,
}

impl Listeners {
    /// Indexes the configured identities.
    ///
    /// # Errors
    /// The [`SetupError`]s of names.
    pub(in crate::auth) fn new(settings: Vec<ListenerIdentity>) -> Result<Self, SetupError> {
        let mut names = Names::default();
        let mut listeners = HashMap::with_capacity(settings.len());
        for ListenerIdentity { name, placeholder, mut attributes } in settings {
            names.take(&name, NAME_ATTRIBUTE, &mut attributes)?;
            let principal = PrincipalId::new(format!("listener:{name}"));
            let listener = Listener { principal, placeholder, attributes: attributes.into() };
            listeners.insert(name, listener);
        }
        Ok(Self(listeners))
    }

    /// The caller at a listener; `shown` is what its SDK signs with.
    ///
    /// # Errors
    /// [`AuthError::BesideConnection`] if that is not the placeholder; [`InvalidReason::NoListener`] if a reload took the identity away
    /// from a connection that is still there.
    pub(in crate::auth) fn authenticate(
        &self,
        name: &str,
        shown: Option<&Claim>,
        address: IpAddr,
    ) -> Result<Caller, AuthError> {
        let unknown = || AuthError::Invalid(InvalidReason::NoListener { name: name.to_owned() });
        let listener = self.0.get(name).ok_or_else(unknown)?;
        let key_id = match shown {
            None => None,
            Some(Claim::SigV4Header(signed)) => Some(&signed.credential.access_key_id),
            Some(Claim::Presigned(query)) if query.session_token.is_none() => {
                Some(&query.signed.credential.access_key_id)
            }
            Some(_) => return Err(AuthError::BesideConnection),
        };
        if key_id.is_some_and(|id| *id != listener.placeholder) {
            return Err(AuthError::BesideConnection);
        }
        let (principal, attributes) = (listener.principal.clone(), Arc::clone(&listener.attributes));
        Ok(Caller::new(principal, Scheme::Listener, name.to_owned(), attributes, address, None))
    }
}

//! The names of configured clients: what they may be, and that each of a kind has its own.

use std::collections::HashSet;

use crate::auth::Attributes;
use crate::auth::error::SetupError;

/// The names of one kind of clients.
#[derive(Debug, Default)]
pub(in crate::auth) struct Names(HashSet<String>);

impl Names {
    /// Takes a further client, whose attribute `reserved` is its name from then on.
    ///
    /// # Errors
    /// [`SetupError::BadName`], [`SetupError::DuplicateName`], or [`SetupError::ReservedAttribute`] if it has that attribute already.
    pub(in crate::auth) fn take(
        &mut self,
        name: &str,
        reserved: &'static str,
        attributes: &mut Attributes,
    ) -> Result<(), SetupError> {
        let name = name.to_owned();
        if !is_plain(&name) {
            return Err(SetupError::BadName { name });
        }
        if !self.0.insert(name.clone()) {
            return Err(SetupError::DuplicateName { name });
        }
        match attributes.insert(reserved.to_owned(), vec![name.clone()]) {
            Some(_) => Err(SetupError::ReservedAttribute { name, attribute: reserved.to_owned() }),
            None => Ok(()),
        }
    }
}

/// Whether a configured name can be part of a principal's name (`token:NAME`, `NAME:SUBJECT`) without ambiguity.
pub(in crate::auth) fn is_plain(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != ':';
    !name.is_empty() && name.len() <= 128 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_stands_once_and_is_an_attribute() {
        let mut names = Names::default();
        let mut attributes = Attributes::new();
        names.take("ci", "token", &mut attributes).unwrap();
        assert_eq!(attributes["token"], ["ci"]);
        let mut take = |name: &str| names.take(name, "token", &mut attributes.clone()).unwrap_err();
        assert!(matches!(take("ci"), SetupError::DuplicateName { .. }));
        assert!(matches!(take("cd"), SetupError::ReservedAttribute { attribute, .. } if attribute == "token"));
        for bad in ["", "a b", "a:b", "a\n", &"a".repeat(129)] {
            assert!(matches!(take(bad), SetupError::BadName { .. }), "{bad:?}");
        }
    }
}

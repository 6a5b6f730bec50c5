//! STS: what an SDK asks for its keys, in the query protocol of AWS, on the listener of S3.
//!
//! Two actions: AssumeRoleWithWebIdentity changes a JWT for keys of a session, GetCallerIdentity tells a caller who it is. Reads forms and
//! writes XML; who the caller is says `auth`, and `gateway/sts` tells the story of a request.
//! Source: AWS STS API reference, version 2011-06-15; requests of botocore 1.43.

pub mod answer;
pub mod error;
pub mod form;
pub mod question;

pub use error::StsError;
pub use question::{AssumeRole, Carried, StsAction};

/// Which requests are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StsSettings {
    /// Accepted `RoleArn` values; empty accepts any.
    pub roles: Vec<String>,
}

impl StsSettings {
    /// Whether keys are given out under this role.
    ///
    /// # Errors
    /// [`StsError::Role`].
    pub fn admit(&self, role: &str) -> Result<(), StsError> {
        let known = self.roles.is_empty() || self.roles.iter().any(|known| known == role);
        known.then_some(()).ok_or(StsError::Role)
    }
}

/// The version of the API, which every request names.
pub const VERSION: &str = "2011-06-15";

/// Longest form. The longest accepted token has 8 KiB, a role 2 KiB, three times that if every character is escaped.
pub const MAX_FORM_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_roles_are_accepted_whole_and_letter_for_letter() {
        let role = "arn:aws:iam::123456789012:role/x";
        let settings = |roles: &[&str]| StsSettings { roles: roles.iter().map(|role| (*role).to_owned()).collect() };
        for roles in [&[][..], &[role], &["arn:aws:iam::123456789012:role/y", role]] {
            assert_eq!(settings(roles).admit(role), Ok(()), "{roles:?}");
        }
        for other in ["arn:aws:iam::123456789012:role/xy", "arn:aws:iam::123456789012:role/X", "*", ""] {
            assert_eq!(settings(&[other]).admit(role), Err(StsError::Role), "{other}");
        }
    }
}

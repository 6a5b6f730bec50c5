//! File descriptors: as many as the system allows, and a warning if they may not do.
//!
//! The soft limit of a process is 1024 nearly everywhere, for the sake of programs that use `select`. This one does not, so it takes what
//! the hard limit gives. Without a free descriptor new connections wait, and no connection to a store can be opened.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::banner::Risk;
use crate::config::Config;

/// The admin listener's connections, key sets, name resolution, files, and what the runtime has open.
const OTHERS: u64 = 256;

/// Raises the soft limit to the hard one. Gives the limit; `None` if there is none.
pub(super) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            current
        }
    }
}

/// The most that a configuration can need at a time: clients, stores, looks of inspectors.
pub(super) fn needed(config: &Config) -> u64 {
    let clients = config.edge.limits.max_connections;
    let stores: usize = config.upstreams.iter().map(|upstream| upstream.max_connections).sum();
    let looks: usize = config.inspectors.iter().map(|inspector| inspector.load.max_scans).sum();
    (clients + stores + looks) as u64 + OTHERS
}

/// Whether they may not do.
pub(super) fn risk(limit: Option<u64>, needed: u64) -> Option<Risk> {
    let limit = limit.filter(|limit| *limit < needed)?;
    let what = format!(
        "at most {limit} files can be open, and {needed} may be needed: raise the hard limit (LimitNOFILE= of the unit, `ulimit -Hn`), \
         or lower limits.max_connections and max_connections of the stores"
    );
    Some(Risk { key: "limits.max_connections".to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_told_with_both_numbers() {
        assert_eq!(risk(None, 5000), None);
        assert_eq!(risk(Some(5000), 5000), None);
        let risk = risk(Some(4999), 5000).unwrap();
        assert!(risk.what.contains("4999") && risk.what.contains("5000"), "{risk}");
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        assert_eq!(raise_limit(), getrlimit(Resource::Nofile).maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
    }
}

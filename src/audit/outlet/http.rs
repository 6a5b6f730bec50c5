//! Batches of lines to a server, one POST each. A batch that was not taken comes again as it was.

use bytes::Bytes;
use tokio::runtime::Runtime;

use super::{Outlet, OutletError};
use crate::audit::settings::LineFormat;
use crate::post::{PostSettings, Poster};

/// Posts batches.
pub(super) struct Posts {
    poster: Poster,
    runtime: Option<Runtime>,
}

impl Posts {
    /// Nothing is sent yet.
    pub(super) fn new(settings: &PostSettings, format: LineFormat) -> Result<Self, String> {
        let content_type = match format {
            LineFormat::Json => "application/x-ndjson",
            LineFormat::AccessLog => "text/plain; charset=utf-8",
        };
        Ok(Self { poster: Poster::new(settings, content_type)?, runtime: None })
    }
}

impl Outlet for Posts {
    fn deliver(&mut self, batch: &[Bytes]) -> Result<u64, OutletError> {
        let runtime = runtime(&mut self.runtime)?;
        let posted = runtime.block_on(self.poster.post(batch.concat().into()));
        posted.map(|_| 0).map_err(|error| OutletError(error.to_string()))
    }
}

/// The runtime of an outlet that speaks to the network, made in the thread of the outlet: elsewhere it could not be dropped.
pub(super) fn runtime(kept: &mut Option<Runtime>) -> std::io::Result<&Runtime> {
    if kept.is_none() {
        *kept = Some(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
    }
    Ok(kept.as_ref().expect("made above"))
}

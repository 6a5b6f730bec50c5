//! A record on its way to the sinks, with the forms that several of them want alike.

use std::cell::OnceCell;

use bytes::Bytes;

use crate::audit::record::Record;
use crate::audit::settings::LineFormat;
use crate::audit::{access_log, line};

/// A record and its lines, each of which is made when the first sink asks for it.
pub struct Entry<'a> {
    record: &'a Record,
    has_places: bool,
    json: OnceCell<Option<Bytes>>,
    access_log: OnceCell<Bytes>,
}

impl<'a> Entry<'a> {
    /// An entry that is not rendered yet.
    pub fn new(record: &'a Record) -> Self {
        Self { record, has_places: false, json: OnceCell::new(), access_log: OnceCell::new() }
    }

    /// The same for a record that has a place in the queue of every sink that holds requests up.
    pub(super) fn with_places(self, has_places: bool) -> Self {
        Self { has_places, ..self }
    }

    /// The record.
    pub fn record(&self) -> &Record {
        self.record
    }

    /// Whether places were taken for it.
    pub(super) fn has_places(&self) -> bool {
        self.has_places
    }

    /// The record as a line of JSON with its line feed; `None` if it cannot be written.
    pub fn json(&self) -> Option<Bytes> {
        let render = || {
            // A record has about 500 bytes.
            let mut bytes = Vec::with_capacity(768);
            line::write(self.record, &mut bytes).ok().map(|()| Bytes::from(bytes))
        };
        self.json.get_or_init(render).clone()
    }

    /// The record as a line of a format.
    pub(super) fn line(&self, format: LineFormat) -> Option<Bytes> {
        match format {
            LineFormat::Json => self.json(),
            LineFormat::AccessLog => Some(self.access_log.get_or_init(|| access_log::line(self.record).into()).clone()),
        }
    }
}

//! A record on its way to the sinks, with the forms that several of them want alike.

use std::cell::OnceCell;

use bytes::Bytes;

use crate::audit::line;
use crate::audit::record::Record;

/// A record and its line of JSON, which is made when the first sink asks for it.
pub struct Entry<'a> {
    record: &'a Record,
    json: OnceCell<Option<Bytes>>,
}

impl<'a> Entry<'a> {
    /// An entry that is not rendered yet.
    pub fn new(record: &'a Record) -> Self {
        Self { record, json: OnceCell::new() }
    }

    /// The record.
    pub fn record(&self) -> &Record {
        self.record
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
}

//! zip, read from front to end: each entry as its local header says, then the directory, which must say the same.
//!
//! Programs read a zip from its directory at the end. So every entry of the directory must be one that was met on the way, at the same
//! place, with the same name, method and sizes, and none may be missing: otherwise there would be entries that were not looked at, or
//! entries that lie in each other. The two sides are compared by a sum of keyed hashes, so that nothing has to be kept of an entry.

use std::hash::{BuildHasher, RandomState};

use super::entry::{Entry, UNSIZED, u16_at, u32_at, u64_at};
use super::inflate::{Inflate, end};
use super::{Layer, Sink, Spent, Stop, UnpackError};

/// Longest name, extra field or comment of an entry; real ones have some hundred bytes.
const MAX_FIELD: usize = 4096;

const LOCAL: &[u8] = b"PK\x03\x04";
const DIRECTORY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";

#[derive(Debug)]
pub(super) struct Zip {
    /// The layer of its entries.
    layer: usize,
    part: Part,
    gathered: Vec<u8>,
    /// Bytes of the archive taken so far.
    position: u64,
    entry: Entry,
    /// The entry that is being read; made for each.
    inner: Option<Layer>,
    /// Made for the first entry that needs it.
    inflate: Option<Box<Inflate>>,
    met: Tally,
    listed: Tally,
    hashing: RandomState,
    /// Where the directory begins, and its end in 64 bits, if there is one.
    directory_at: Option<u64>,
    end_64_at: Option<u64>,
    has_locator: bool,
    /// The last bytes of the directory, as many as a [`LOCATOR_64`] has.
    before_end: Vec<u8>,
    /// How many bytes of [`END`] the end and its comment have just shown.
    end_in_comment: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Signature,
    LocalHead,
    /// Name and extra field.
    LocalFields,
    Stored(u64),
    Deflated,
    Descriptor,
    DirectoryHead,
    DirectoryFields,
    End64,
    Locator64,
    EndHead,
    Comment(u64),
    Behind,
}

/// A sum over entries, the same for the same entries in any order.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    sum: u64,
}

impl Tally {
    fn add(&mut self, hashing: &RandomState, entry: &Entry, name: u64) {
        self.count += 1;
        let hash = hashing.hash_one((entry.at, entry.method, entry.packed, entry.unpacked, name));
        self.sum = self.sum.wrapping_add(hash);
    }
}

/// Bytes of a [`LOCATOR_64`], which stands directly before the [`END`].
const LOCATOR_BYTES: usize = 20;

const NO_FIT: UnpackError = UnpackError::Broken("its end does not fit its directory");
const TWO_ENDS: UnpackError = UnpackError::Broken("it has two ends");

impl Zip {
    pub(super) fn new(layer: usize) -> Self {
        Self {
            layer,
            part: Part::Signature,
            gathered: Vec::new(),
            position: 0,
            entry: Entry::default(),
            inner: None,
            inflate: None,
            met: Tally::default(),
            listed: Tally::default(),
            hashing: RandomState::new(),
            directory_at: None,
            end_64_at: None,
            has_locator: false,
            before_end: Vec::new(),
            end_in_comment: 0,
        }
    }

    pub(super) async fn feed<S: Sink>(
        &mut self,
        mut input: &[u8],
        spent: &mut Spent,
        sink: &mut S,
    ) -> Result<(), Stop> {
        while !input.is_empty() {
            match self.part {
                Part::Stored(left) => self.store(&mut input, left, spent, sink).await?,
                Part::Deflated => self.inflate(&mut input, spent, sink).await?,
                Part::Descriptor => {
                    if self.has_descriptor(&mut input)? {
                        self.end_entry(spent, sink).await?;
                    }
                }
                _ => {
                    self.read(&mut input, spent)?;
                    spent.breathe().await;
                }
            }
        }
        Ok(())
    }

    /// Says that the archive is complete.
    pub(super) fn finish(&self) -> Result<(), UnpackError> {
        let complete = matches!(self.part, Part::Behind | Part::Comment(0));
        if complete { Ok(()) } else { Err(UnpackError::Broken("it ends too early")) }
    }

    /// Reads what is not the content of an entry.
    fn read(&mut self, input: &mut &[u8], spent: &mut Spent) -> Result<(), UnpackError> {
        match self.part {
            Part::Comment(left) if left > 0 => return self.read_comment(input, left),
            Part::Comment(_) | Part::Behind => return Err(UnpackError::Broken("something stands behind it")),
            _ => {}
        }
        if !self.gather(input, self.wanted()) {
            return Ok(());
        }
        match self.part {
            Part::Signature => self.read_signature(spent),
            Part::LocalHead => self.read_local_head(),
            Part::LocalFields => self.begin_entry(),
            Part::DirectoryHead => self.read_directory_head(),
            Part::DirectoryFields => self.list_entry(),
            Part::End64 => self.read_end_64(),
            Part::Locator64 => self.read_locator_64(),
            Part::EndHead => self.read_end(),
            _ => Ok(()),
        }
    }

    /// Bytes of the header that comes next, without its signature.
    fn wanted(&self) -> usize {
        let fields = self.entry.name_length + self.entry.extra_length;
        match self.part {
            Part::Signature => 4,
            Part::LocalHead => 26,
            Part::LocalFields => fields,
            Part::DirectoryHead => 42,
            Part::DirectoryFields => fields + self.entry.comment_length,
            Part::End64 => 52,
            Part::Locator64 => 16,
            Part::EndHead => 18,
            _ => 0,
        }
    }

    fn take<'a>(&mut self, input: &mut &'a [u8], most: u64) -> &'a [u8] {
        let taken = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at(taken);
        *input = rest;
        self.position += taken as u64;
        bytes
    }

    /// Whether so many bytes are there.
    fn gather(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let missing = wanted.saturating_sub(self.gathered.len());
        let bytes = self.take(input, missing as u64);
        self.gathered.extend_from_slice(bytes);
        self.gathered.len() >= wanted
    }

    fn read_signature(&mut self, spent: &mut Spent) -> Result<(), UnpackError> {
        let at = self.position - 4;
        let signature = std::mem::take(&mut self.gathered);
        let in_directory = self.directory_at.is_some();
        self.part = match signature.as_slice() {
            LOCAL if !in_directory => {
                spent.add_entry()?;
                Part::LocalHead
            }
            DIRECTORY if self.end_64_at.is_none() => Part::DirectoryHead,
            END_64 if self.end_64_at.is_none() => {
                self.end_64_at = Some(at);
                Part::End64
            }
            LOCATOR_64 if self.end_64_at.is_some() => Part::Locator64,
            END => Part::EndHead,
            _ => return Err(UnpackError::Broken("there is something between its entries")),
        };
        if self.part != Part::LocalHead {
            self.directory_at.get_or_insert(at);
        }
        self.entry = Entry { at, ..Entry::default() };
        Ok(())
    }

    fn read_local_head(&mut self) -> Result<(), UnpackError> {
        let head = std::mem::take(&mut self.gathered);
        self.entry = Entry {
            flags: u16_at(&head, 2),
            method: u16_at(&head, 4),
            packed: u32_at(&head, 14),
            unpacked: u32_at(&head, 18),
            name_length: usize::from(u16_at(&head, 22)),
            extra_length: usize::from(u16_at(&head, 24)),
            ..self.entry
        };
        self.part = Part::LocalFields;
        self.check_entry()
    }

    fn read_directory_head(&mut self) -> Result<(), UnpackError> {
        let head = std::mem::take(&mut self.gathered);
        self.before_end = head[head.len() - LOCATOR_BYTES..].to_vec();
        self.entry = Entry {
            at: u32_at(&head, 38),
            flags: u16_at(&head, 4),
            method: u16_at(&head, 6),
            packed: u32_at(&head, 16),
            unpacked: u32_at(&head, 20),
            name_length: usize::from(u16_at(&head, 24)),
            extra_length: usize::from(u16_at(&head, 26)),
            comment_length: usize::from(u16_at(&head, 28)),
        };
        self.part = Part::DirectoryFields;
        self.check_entry()
    }

    fn check_entry(&self) -> Result<(), UnpackError> {
        // Bit 0: encrypted; 6: strongly; 13: the directory is. Method 99 is AES.
        if self.entry.flags & 0x2041 != 0 || self.entry.method == 99 {
            return Err(UnpackError::Encrypted);
        }
        if !matches!(self.entry.method, 0 | 8) {
            return Err(UnpackError::Unknown(format!("method {} of zip", self.entry.method)));
        }
        if [self.entry.name_length, self.entry.extra_length, self.entry.comment_length]
            .iter()
            .any(|length| *length > MAX_FIELD)
        {
            return Err(UnpackError::Broken("a name or an extra field is too long"));
        }
        Ok(())
    }

    fn has_late_sizes(&self) -> bool {
        self.entry.flags & 8 != 0
    }

    fn name(&self, fields: &[u8]) -> u64 {
        self.hashing.hash_one(&fields[..self.entry.name_length])
    }

    /// Reads name and extra field of a local header; the content follows.
    fn begin_entry(&mut self) -> Result<(), UnpackError> {
        let fields = std::mem::take(&mut self.gathered);
        self.entry.widen(&fields)?;
        // Kept until the entry is complete.
        self.gathered = fields[..self.entry.name_length].to_vec();
        self.inner = Some(Layer::new(self.layer));
        if self.entry.method == 8 {
            self.inflate.get_or_insert_with(|| Box::new(Inflate::new())).reset();
            self.part = Part::Deflated;
            return Ok(());
        }
        if self.has_late_sizes() {
            return Err(UnpackError::Unknown("zip entries of unknown length without compression".to_owned()));
        }
        if self.entry.packed != self.entry.unpacked {
            return Err(UnpackError::Broken("an entry has two sizes"));
        }
        self.part = Part::Stored(self.entry.packed);
        Ok(())
    }

    async fn store<S: Sink>(
        &mut self,
        input: &mut &[u8],
        left: u64,
        spent: &mut Spent,
        sink: &mut S,
    ) -> Result<(), Stop> {
        let bytes = self.take(input, left.min(64 * 1024));
        if !bytes.is_empty() {
            spent.add_output(bytes.len())?;
            if !sink.bytes(self.layer, bytes).await {
                return Err(Stop::Enough);
            }
            if let Some(inner) = &mut self.inner {
                inner.feed(bytes, spent, sink).await?;
            }
            spent.breathe().await;
        }
        self.part = Part::Stored(left - bytes.len() as u64);
        if self.part == Part::Stored(0) {
            self.end_entry(spent, sink).await?;
        }
        Ok(())
    }

    async fn inflate<S: Sink>(&mut self, input: &mut &[u8], spent: &mut Spent, sink: &mut S) -> Result<(), Stop> {
        let (Some(inflate), Some(inner)) = (&mut self.inflate, &mut self.inner) else { return Ok(()) };
        let before = input.len();
        let ended = inflate.feed(input, inner, self.layer, spent, sink).await?;
        self.position += (before - input.len()) as u64;
        if !ended {
            return Ok(());
        }
        let sizes = (inflate.taken(), inflate.given());
        if self.has_late_sizes() {
            (self.entry.packed, self.entry.unpacked) = sizes;
            self.part = Part::Descriptor;
            self.met_entry();
            return Ok(());
        }
        if sizes != (self.entry.packed, self.entry.unpacked) {
            return Err(UnpackError::Broken("an entry has two sizes").into());
        }
        self.end_entry(spent, sink).await
    }

    /// Counts the entry that was read; its name is what was gathered.
    fn met_entry(&mut self) {
        let name = std::mem::take(&mut self.gathered);
        let name = self.hashing.hash_one(name.as_slice());
        self.met.add(&self.hashing, &self.entry, name);
    }

    async fn end_entry<S: Sink>(&mut self, spent: &mut Spent, sink: &mut S) -> Result<(), Stop> {
        if self.part == Part::Descriptor {
            self.gathered.clear();
        } else {
            self.met_entry();
        }
        self.part = Part::Signature;
        match self.inner.take() {
            Some(mut inner) => end(&mut inner, self.layer, spent, sink).await,
            None => Ok(()),
        }
    }

    /// Reads the sizes behind an entry: with or without a signature, in 32 or 64 bits. False until they are there.
    fn has_descriptor(&mut self, input: &mut &[u8]) -> Result<bool, UnpackError> {
        let Entry { packed, unpacked, .. } = self.entry;
        if !self.gather(input, 12) {
            return Ok(false);
        }
        let signed = if self.gathered.starts_with(DESCRIPTOR) { 4 } else { 0 };
        if !self.gather(input, signed + 12) {
            return Ok(false);
        }
        let narrow = (u32_at(&self.gathered, signed + 4), u32_at(&self.gathered, signed + 8));
        if narrow == (packed, unpacked) {
            return Ok(true);
        }
        if !self.gather(input, signed + 20) {
            return Ok(false);
        }
        let wide = (u64_at(&self.gathered, signed + 4), u64_at(&self.gathered, signed + 12));
        if wide == (packed, unpacked) { Ok(true) } else { Err(UnpackError::Broken("an entry has two sizes")) }
    }

    /// Reads name, extra field and comment of an entry of the directory.
    fn list_entry(&mut self) -> Result<(), UnpackError> {
        let fields = std::mem::take(&mut self.gathered);
        self.before_end.extend_from_slice(&fields);
        self.before_end.drain(..fields.len());
        self.entry.widen(&fields)?;
        let name = self.name(&fields);
        self.listed.add(&self.hashing, &self.entry, name);
        self.part = Part::Signature;
        Ok(())
    }

    fn read_end_64(&mut self) -> Result<(), UnpackError> {
        let end = std::mem::take(&mut self.gathered);
        let (length, entries) = (u64_at(&end, 0), u64_at(&end, 28));
        let (size, directory_at) = (u64_at(&end, 36), u64_at(&end, 44));
        // Programs that look for it at a fixed distance from the end would find another one in what it may be longer.
        let fits = length == 44 && entries == self.listed.count && Some(directory_at) == self.directory_at;
        if !fits || Some(size) != self.directory_size() {
            return Err(NO_FIT);
        }
        self.part = Part::Signature;
        Ok(())
    }

    fn read_locator_64(&mut self) -> Result<(), UnpackError> {
        let locator = std::mem::take(&mut self.gathered);
        if Some(u64_at(&locator, 4)) != self.end_64_at {
            return Err(NO_FIT);
        }
        self.has_locator = true;
        self.part = Part::Signature;
        Ok(())
    }

    fn read_end(&mut self) -> Result<(), UnpackError> {
        let head = std::mem::take(&mut self.gathered);
        let (entries, size, directory_at) = (u64::from(u16_at(&head, 6)), u32_at(&head, 8), u32_at(&head, 12));
        let wide = self.end_64_at.is_some();
        // Programs find the directory by its size as well: what is between the two places would be something in front of the archive.
        let fits = (entries == self.listed.count || wide && entries == 0xffff)
            && (Some(size) == self.directory_size() || wide && size == UNSIZED)
            && (Some(directory_at) == self.directory_at || wide && directory_at == UNSIZED)
            && wide == self.has_locator;
        if !fits {
            return Err(NO_FIT);
        }
        // Some programs believe a locator in a comment of the directory, if only it stands where one would.
        if !wide && self.before_end.starts_with(LOCATOR_64) {
            return Err(TWO_ENDS);
        }
        self.watch_for_end(&head)?;
        if (self.met.count, self.met.sum) != (self.listed.count, self.listed.sum) {
            return Err(UnpackError::Broken("its directory does not list what is in it"));
        }
        self.part = Part::Comment(u64::from(u16_at(&head, 16)));
        Ok(())
    }

    /// Bytes of the directory, once its end is reached.
    fn directory_size(&self) -> Option<u64> {
        self.end_64_at.unwrap_or(self.entry.at).checked_sub(self.directory_at?)
    }

    fn read_comment(&mut self, input: &mut &[u8], left: u64) -> Result<(), UnpackError> {
        let bytes = self.take(input, left);
        self.watch_for_end(bytes)?;
        let left = left - bytes.len() as u64;
        self.part = if left == 0 { Part::Behind } else { Part::Comment(left) };
        Ok(())
    }

    /// Programs look for the end of an archive from behind, so neither its numbers nor its comment must hold another one.
    fn watch_for_end(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        for byte in bytes {
            self.end_in_comment = match (END[self.end_in_comment] == *byte, *byte) {
                (true, _) => self.end_in_comment + 1,
                (false, b'P') => 1,
                (false, _) => 0,
            };
            if self.end_in_comment == END.len() {
                return Err(TWO_ENDS);
            }
        }
        Ok(())
    }
}

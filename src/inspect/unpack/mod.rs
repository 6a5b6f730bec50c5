//! Reads through gzip and zip while the bytes pass, so that an inspector sees what is packed in an object.
//!
//! Strict where readers differ: an archive that two programs could read in two ways is refused, not guessed at. Bounded in what comes out,
//! how deep, how many and how much of how little, because a few kilobytes can stand for terabytes. Memory is flat: a window of 32 KiB and a
//! buffer of 16 KiB for each layer. Holds nothing back and changes nothing; what it cannot read is [`UnpackError`], which is a reason for
//! [`Verdict::NotScannable`](crate::inspect::Verdict::NotScannable).
//!
//! Sources: RFC 1951, RFC 1952, PKWARE APPNOTE 6.3.10; Fifield, "A better zip bomb" (overlapping entries).

mod attempt;
mod end_of_zip;
mod entry;
mod gzip;
mod inflate;
mod zip;

use std::pin::Pin;

pub use attempt::Attempt;
pub(in crate::inspect) use end_of_zip::EndOfZip;
use gzip::Gzip;
use zip::Zip;

/// How much may be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may come out, over all layers.
    pub bytes: u64,
    /// Archives inside archives: 1 looks into an archive, but not into one in it.
    pub depth: usize,
    /// Entries of all archives together.
    pub entries: u32,
}

/// What comes out may be this many times what goes in, where it is over [`FREE`]. Text that repeats itself stays under 200; deflate ends at
/// 1032.
const RATIO: u64 = 250;
/// Bytes for which the ratio does not count.
const FREE: u64 = 16 << 20;
/// Bytes after which other tasks get their turn.
const TURN: u64 = 256 * 1024;

/// Who is given what comes out.
pub trait Sink: Send {
    /// Bytes of an object in an archive; `layer` is 1 for those in the object itself, 2 for those in one of these. False if enough was seen.
    fn bytes(&mut self, layer: usize, bytes: &[u8]) -> impl Future<Output = bool> + Send;

    /// The object of this layer is complete; the next bytes of the layer belong to another one. False if enough was seen.
    fn end(&mut self, layer: usize) -> impl Future<Output = bool> + Send;
}

/// Why unpacking ended early.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// The sink has seen enough.
    Enough,
    /// It cannot be unpacked.
    Failed(UnpackError),
}

impl From<UnpackError> for Stop {
    fn from(error: UnpackError) -> Self {
        Self::Failed(error)
    }
}

/// Why something cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// More comes out than is allowed.
    #[error("more than {0} bytes come out of it")]
    TooLarge(u64),
    /// Much comes out of little.
    #[error("more than {RATIO} times its size comes out of it")]
    TooDense,
    /// Archives inside archives.
    #[error("archives lie more than {0} deep in each other")]
    TooDeep(usize),
    /// Too many entries.
    #[error("it has more than {0} entries")]
    TooMany(u32),
    /// An entry is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// A form of compression that is not known here.
    #[error("it is packed with {0}, which is not unpacked here")]
    Unknown(String),
    /// It breaks the rules of its format, or could be read in two ways.
    #[error("a broken archive: {0}")]
    Broken(&'static str),
}

/// Unpacks one object.
#[derive(Debug)]
pub struct Unpacker {
    object: Layer,
    spent: Spent,
}

/// What went in and came out so far.
#[derive(Debug)]
struct Spent {
    limits: Limits,
    /// Of the object, where it is known.
    length: Option<u64>,
    input: u64,
    output: u64,
    entries: u32,
    turn: u64,
}

impl Spent {
    fn add_output(&mut self, bytes: usize) -> Result<(), UnpackError> {
        self.output += bytes as u64;
        self.turn += bytes as u64;
        if self.output > self.limits.bytes {
            return Err(UnpackError::TooLarge(self.limits.bytes));
        }
        if self.output > FREE && self.output / RATIO > self.input {
            return Err(UnpackError::TooDense);
        }
        Ok(())
    }

    fn add_entry(&mut self) -> Result<(), UnpackError> {
        self.entries += 1;
        // An entry costs work even if nothing is in it.
        self.turn += 1024;
        if self.entries > self.limits.entries { Err(UnpackError::TooMany(self.limits.entries)) } else { Ok(()) }
    }

    /// Gives other tasks their turn, if it is time.
    async fn breathe(&mut self) {
        if self.turn >= TURN {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

impl Unpacker {
    /// For one object with this `Content-Encoding`, and of this length in bytes where it is known, which saves searching most of it for
    /// the end of an archive.
    ///
    /// # Errors
    /// [`UnpackError::Unknown`] if it is encoded with something else than gzip.
    pub fn new(limits: Limits, content_encoding: Option<&str>, length: Option<u64>) -> Result<Self, UnpackError> {
        let codings = content_encoding.unwrap_or_default().split(',').map(str::trim);
        let mut codings = codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        let (first, more) = (codings.next(), codings.next());
        let mut limits = limits;
        let object = match (first, more) {
            (None, _) => Layer::new(0),
            (Some(coding), None) if ["gzip", "x-gzip"].iter().any(|gzip| coding.eq_ignore_ascii_case(gzip)) => {
                // The encoding is a layer, but no archive: it does not count.
                limits.depth += 1;
                Layer { depth: 0, form: Form::Gzip(Box::new(Gzip::new(Layer::new(1)))) }
            }
            (Some(coding), _) => return Err(UnpackError::Unknown(format!("the encoding {coding:?}"))),
        };
        Ok(Self { object, spent: Spent { limits, length, input: 0, output: 0, entries: 0, turn: 0 } })
    }

    /// Takes the next bytes of the object.
    ///
    /// # Errors
    /// [`Stop`]; nothing is to be fed after that.
    pub async fn feed<S: Sink>(&mut self, piece: &[u8], sink: &mut S) -> Result<(), Stop> {
        self.spent.input += piece.len() as u64;
        self.object.feed(piece, &mut self.spent, sink).await
    }

    /// Says that the object is complete.
    ///
    /// # Errors
    /// [`Stop`], also if an archive ends too early.
    pub async fn finish<S: Sink>(mut self, sink: &mut S) -> Result<(), Stop> {
        self.object.finish(&mut self.spent, sink).await
    }
}

/// A future that calls itself through layers.
type Step<'a> = Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>;

/// The object, or one in an archive: looked at for being an archive itself.
#[derive(Debug)]
struct Layer {
    /// 0 for the object.
    depth: usize,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// The first bytes are not all there.
    Unknown(Vec<u8>),
    /// No archive, unless it ends as one.
    Plain(EndOfZip),
    Gzip(Box<Gzip>),
    Zip(Box<Zip>),
}

/// First bytes of packed forms that are not unpacked here.
const OTHERS: [(&[u8], &str); 12] = [
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"MSCF\0\0", "CAB"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"LZIP", "lzip"),
    (b"\x5d\0\0", "lzma"),
    (b"\x1f\x9d", "compress"),
    (b"PK\x07\x08PK", "a divided zip"),
];
/// The longest of them.
const SNIFFED: usize = 6;

impl Layer {
    fn new(depth: usize) -> Self {
        Self { depth, form: Form::Unknown(Vec::with_capacity(SNIFFED)) }
    }

    fn feed<'a, S: Sink>(&'a mut self, mut piece: &'a [u8], spent: &'a mut Spent, sink: &'a mut S) -> Step<'a> {
        Box::pin(async move {
            if let Form::Unknown(first) = &mut self.form {
                let taken = piece.len().min(SNIFFED - first.len());
                first.extend_from_slice(&piece[..taken]);
                piece = &piece[taken..];
                if first.len() < SNIFFED {
                    return Ok(());
                }
                let first = std::mem::take(first);
                self.form = self.recognise(&first, spent)?;
                self.go_on(&first, spent, sink).await?;
            }
            self.go_on(piece, spent, sink).await
        })
    }

    async fn go_on<S: Sink>(&mut self, piece: &[u8], spent: &mut Spent, sink: &mut S) -> Result<(), Stop> {
        match &mut self.form {
            Form::Unknown(_) => Ok(()),
            Form::Plain(end) => {
                end.feed(piece);
                Ok(())
            }
            Form::Gzip(gzip) => gzip.feed(piece, spent, sink).await,
            Form::Zip(zip) => zip.feed(piece, spent, sink).await,
        }
    }

    fn finish<'a, S: Sink>(&'a mut self, spent: &'a mut Spent, sink: &'a mut S) -> Step<'a> {
        Box::pin(async move {
            if let Form::Unknown(first) = &mut self.form {
                let first = std::mem::take(first);
                self.form = self.recognise(&first, spent)?;
                self.go_on(&first, spent, sink).await?;
            }
            match &mut self.form {
                // Programs look for a zip from behind, whatever stands before it.
                Form::Plain(end) if end.finish() => {
                    Err(UnpackError::Broken("a zip stands behind something else").into())
                }
                Form::Unknown(_) | Form::Plain(_) => Ok(()),
                Form::Gzip(gzip) => gzip.finish(spent, sink).await,
                Form::Zip(zip) => zip.finish().map_err(Stop::Failed),
            }
        })
    }

    fn recognise(&self, first: &[u8], spent: &Spent) -> Result<Form, UnpackError> {
        if let Some((_, name)) = OTHERS.iter().find(|(magic, name)| first.starts_with(magic) && is_whole(name, first)) {
            return Err(UnpackError::Unknown((*name).to_owned()));
        }
        // A frame to be skipped, in 16 kinds, may come before those of zstd and lz4.
        if matches!(first, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
            return Err(UnpackError::Unknown("zstd or lz4".to_owned()));
        }
        let inner = Layer::new(self.depth + 1);
        let form = if first.starts_with(b"\x1f\x8b\x08") {
            Form::Gzip(Box::new(Gzip::new(inner)))
        } else if first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06") {
            Form::Zip(Box::new(Zip::new(self.depth + 1)))
        } else {
            let length = spent.length.filter(|_| self.depth == 0);
            return Ok(Form::Plain(EndOfZip::new(length)));
        };
        if self.depth >= spent.limits.depth { Err(UnpackError::TooDeep(spent.limits.depth)) } else { Ok(form) }
    }
}

/// Whether what follows a short magic, or one of plain letters, is what must follow it.
fn is_whole(name: &str, first: &[u8]) -> bool {
    match name {
        // The level, and the beginning of the first block.
        "bzip2" => first.get(3).is_some_and(u8::is_ascii_digit) && matches!(first.get(4), Some(b'1' | 0x17)),
        "lzip" => matches!(first.get(4), Some(0 | 1)),
        // The size of the dictionary: writers use 2^n and 2^n + 2^(n-1) only.
        "lzma" => first.get(3..5).is_some_and(|size| {
            let size = u32::from(u16::from_le_bytes([size[0], size[1]]));
            size.is_power_of_two() || (size % 3 == 0 && (size / 3).is_power_of_two())
        }),
        // 9 to 16 bits; two flags are reserved.
        "compress" => first.get(2).is_some_and(|bits| bits & 0x60 == 0 && (9..=16).contains(&(bits & 0x1f))),
        _ => true,
    }
}

#[cfg(test)]
mod tests;

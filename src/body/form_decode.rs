//! Takes the end of a browser form off its file: bytes up to `CRLF--boundary--`, and perhaps a line end behind it.
//!
//! The file is the last field. Whatever stands behind it is refused: a field there was read by nobody, and the policy of the form may not
//! allow it. Source: RFC 2046 §5.1.1, RFC 7578.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::body::{Emit, Fault, Stage};
use crate::s3::post_form::Delimiter;

/// The decoder, behind the head of the file.
#[derive(Debug)]
pub struct FormDecode {
    delimiter: Finder<'static>,
    /// The end of what came, if it could be the beginning of the delimiter.
    tail: BytesMut,
    place: Place,
    /// Bytes that the file may still have, if the length of the form says it.
    left: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Content,
    /// Behind the delimiter, with so many bytes of [`CLOSING`] read.
    Closing(usize),
}

/// What closes a form behind its last delimiter; some clients leave out the line end.
const CLOSING: &[u8] = b"--\r\n";

impl FormDecode {
    /// A decoder for the file of a form with this delimiter. `length` is that of the file, if the form as a whole has one: with the end
    /// that browsers write.
    pub fn new(delimiter: &Delimiter, length: Option<u64>) -> Self {
        Self {
            delimiter: Finder::new(delimiter.as_bytes()).into_owned(),
            tail: BytesMut::new(),
            place: Place::Content,
            left: length,
        }
    }

    fn emit(&mut self, content: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        if content.is_empty() {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            // A form that ends without the line end is two bytes off, which is known only when the store has been told the length.
            let fault = Fault::Form("its last boundary, with a line end behind it, is not where its length says");
            *left = left.checked_sub(content.len() as u64).ok_or(fault)?;
        }
        emit(content)
    }

    /// Continues a delimiter that began in an earlier piece. The carriage return at its start is the only one in it, so that a delimiter
    /// can begin anew only there.
    fn continue_delimiter(&mut self, input: &mut Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        while !self.tail.is_empty() && input.has_remaining() {
            self.tail.extend_from_slice(&[input.get_u8()]);
            if self.tail == self.delimiter.needle() {
                self.tail.clear();
                self.place = Place::Closing(0);
            } else if !self.delimiter.needle().starts_with(&self.tail) {
                let kept = usize::from(self.tail.last() == Some(&b'\r'));
                let content = self.tail.split_to(self.tail.len() - kept).freeze();
                self.emit(content, emit)?;
            }
        }
        Ok(())
    }

    fn content(&mut self, input: &mut Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        self.continue_delimiter(input, emit)?;
        if self.place != Place::Content || !input.has_remaining() {
            return Ok(());
        }
        let length = self.delimiter.needle().len();
        if let Some(end) = self.delimiter.find(input) {
            let content = input.split_to(end);
            input.advance(length);
            self.place = Place::Closing(0);
            return self.emit(content, emit);
        }
        let last = input.len().saturating_sub(length - 1);
        let begun = memchr::memrchr(b'\r', &input[last..]).map(|at| last + at);
        let kept = begun.filter(|at| self.delimiter.needle().starts_with(&input[*at..])).unwrap_or(input.len());
        self.tail.extend_from_slice(&input.split_off(kept));
        let content = std::mem::take(input);
        self.emit(content, emit)
    }

    fn closing(&mut self, read: usize, input: &mut Bytes) -> Result<(), Fault> {
        let byte = input.get_u8();
        match (read, CLOSING.get(read)) {
            (_, Some(expected)) if *expected == byte => {
                self.place = Place::Closing(read + 1);
                Ok(())
            }
            (0, _) if byte == b'\r' => Err(Fault::Form("the file is not the last field")),
            (0 | 1, _) => Err(Fault::Form("a boundary is followed by something")),
            _ => Err(Fault::Form("bytes behind its end")),
        }
    }
}

impl Stage for FormDecode {
    fn push(&mut self, mut input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        while input.has_remaining() {
            match self.place {
                Place::Content => self.content(&mut input, emit)?,
                Place::Closing(read) => self.closing(read, &mut input)?,
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Emit<'_>) -> Result<(), Fault> {
        match self.place {
            Place::Closing(2 | 4) if self.left.is_none_or(|left| left == 0) => Ok(()),
            Place::Closing(2 | 4) => Err(Fault::Form("the file is shorter than its length says")),
            Place::Content | Place::Closing(_) => Err(Fault::Form("its last boundary is missing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Fault> {
        decode_of(None, pieces)
    }

    fn decode_of<'a>(length: Option<u64>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Fault> {
        let content_type = HeaderValue::from_static("multipart/form-data; boundary=XX");
        let delimiter = Delimiter::of(&content_type).unwrap().unwrap();
        let (mut decoder, mut out) = (FormDecode::new(&delimiter, length), Vec::new());
        let mut emit = |bytes: Bytes| {
            assert!(!bytes.is_empty());
            out.extend_from_slice(&bytes);
            Ok(())
        };
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            decoder.push(Bytes::copy_from_slice(piece), &mut emit)?;
        }
        decoder.finish(&mut emit)?;
        Ok(out)
    }

    #[test]
    fn f10_the_file_ends_at_the_exact_boundary_at_every_split() {
        for file in [
            &b""[..],
            b"data",
            b"\r",
            b"\r\n",
            b"\r\n--X",
            b"\r\n--xx--\r\n",
            b"--XX--\r\n",
            b"\n--XX--",
            b"\r\r\n--X\r\n--\r\n--X\r",
            b"a\r\n--XY\r\n-\r\n\r\n--",
        ] {
            for end in ["\r\n--XX--\r\n", "\r\n--XX--"] {
                let form = [file, end.as_bytes()].concat();
                for first in 0..=form.len() {
                    for second in first..=form.len() {
                        let pieces = [&form[..first], &form[first..second], &form[second..]];
                        assert_eq!(decode(pieces).as_deref(), Ok(file), "{pieces:?}");
                    }
                }
                assert_eq!(decode(form.chunks(1)).as_deref(), Ok(file));
            }
        }
    }

    #[test]
    fn f10_without_its_end_or_with_something_behind_it_there_is_no_file() {
        for (form, fault) in [
            (&b"data"[..], "its last boundary is missing"),
            (b"data\r\n--XX", "its last boundary is missing"),
            (b"data\r\n--XX-", "its last boundary is missing"),
            (b"data\r\n--XX--\r", "its last boundary is missing"),
            (b"data\n--XX--\n", "its last boundary is missing"),
            (b"data\r\n--XXX--\r\n", "a boundary is followed by something"),
            (b"data\r\n--XX-x", "a boundary is followed by something"),
            (b"data\r\n--XX--\r\n\r\n", "bytes behind its end"),
            (b"data\r\n--XX--\n", "bytes behind its end"),
            (b"data\r\n--XX--x", "bytes behind its end"),
            (
                b"data\r\n--XX\r\nContent-Disposition: form-data; name=acl\r\n\r\npublic-read\r\n--XX--\r\n",
                "the file is not the last field",
            ),
        ] {
            assert_eq!(decode([form]), Err(Fault::Form(fault)), "{:?}", String::from_utf8_lossy(form));
            assert_eq!(decode(form.chunks(1)), Err(Fault::Form(fault)), "{:?}", String::from_utf8_lossy(form));
        }
    }

    #[test]
    fn f10_a_file_is_as_long_as_the_length_of_the_form_says() {
        let form = &b"data\r\n--XX--\r\n"[..];
        assert_eq!(decode_of(Some(4), [form]).as_deref(), Ok(&b"data"[..]));
        for (length, form) in [(3, form), (5, form), (2, b"data\r\n--XX--")] {
            assert!(matches!(decode_of(Some(length), [form]), Err(Fault::Form(_))), "{length}");
        }
        assert!(matches!(decode_of(Some(2), form.chunks(1)), Err(Fault::Form(_))));
    }

    proptest! {
        #[test]
        fn files_full_of_near_boundaries_are_whole(
            words in proptest::collection::vec(prop_oneof![Just("\r"), Just("\n"), Just("-"), Just("X"), Just("\r\n--X"), Just("a")], 0..60),
            size in 1..9_usize,
        ) {
            let file = words.concat();
            prop_assume!(!file.contains("\r\n--XX"));
            // With the line end before the delimiter the file could make one earlier.
            let form = format!("{file}\r\n--XX--\r\n");
            prop_assume!(form.find("\r\n--XX") == Some(file.len()));
            prop_assert_eq!(decode(form.as_bytes().chunks(size)), Ok(file.into_bytes()));
        }
    }
}

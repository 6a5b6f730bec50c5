//! Writes an audit record as one line of JSON.
//!
//! Byte for byte what `serde_json` makes of the record (a test compares them), at a seventh of the instructions: a record is written for
//! each request, and writing it was a seventh of all instructions of a small one.

use serde::Serialize;

use crate::audit::record::Record;

/// Adds the record and a line feed.
///
/// # Errors
/// If a number cannot be written, which `serde_json` decides.
pub fn write(record: &Record, line: &mut Vec<u8>) -> serde_json::Result<()> {
    // Without `..`, so that a field that is added to the record cannot be forgotten here.
    let Record {
        time,
        request_id,
        trace_id,
        client,
        tls,
        method,
        principal,
        scheme,
        access_key_id,
        operation,
        bucket,
        key,
        source,
        batch,
        inspection,
        inspection_action,
        decision,
        rule,
        outcome,
        code,
        reason,
        status,
        bytes_in,
        bytes_out,
        upstream,
        upstream_status,
        upstream_ms,
        duration_ms,
        web: _,
    } = record;
    let mut fields = Fields(line);
    fields.text("{\"time\":", time);
    fields.text(",\"request_id\":", request_id);
    fields.present(",\"trace_id\":", trace_id.as_deref());
    fields.text(",\"client\":", client);
    fields.plain(",\"tls\":", if *tls { "true" } else { "false" });
    fields.text(",\"method\":", method);
    fields.optional(",\"principal\":", principal.as_deref());
    fields.optional(",\"scheme\":", *scheme);
    fields.present(",\"access_key_id\":", access_key_id.as_deref());
    fields.optional(",\"operation\":", *operation);
    fields.optional(",\"bucket\":", bucket.as_deref());
    fields.optional(",\"key\":", key.as_deref());
    fields.present(",\"source\":", source.as_deref());
    fields.present_value(",\"batch\":", batch.as_ref())?;
    fields.present_value(",\"inspection\":", inspection.as_ref())?;
    fields.present(",\"inspection_action\":", *inspection_action);
    fields.optional(",\"decision\":", decision.map(|decision| decision.as_str()));
    fields.optional(",\"rule\":", rule.as_deref());
    fields.text(",\"outcome\":", outcome.as_str());
    fields.optional(",\"code\":", *code);
    fields.optional(",\"reason\":", reason.as_deref());
    fields.number(",\"status\":", status.map(u64::from));
    fields.number(",\"bytes_in\":", Some(*bytes_in));
    fields.number(",\"bytes_out\":", Some(*bytes_out));
    fields.optional(",\"upstream\":", upstream.as_deref());
    fields.number(",\"upstream_status\":", upstream_status.map(u64::from));
    fields.milliseconds(",\"upstream_ms\":", *upstream_ms)?;
    fields.milliseconds(",\"duration_ms\":", Some(*duration_ms))?;
    line.extend_from_slice(b"}\n");
    Ok(())
}

/// Where fields go; `name` is a field's name with all that stands around it.
struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    fn plain(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value.as_bytes());
    }

    /// A field that is left out if there is nothing to say.
    fn present(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// As [`Fields::present`], for what is more than a text and rare.
    fn present_value(&mut self, name: &str, value: Option<&impl Serialize>) -> serde_json::Result<()> {
        let Some(value) = value else { return Ok(()) };
        self.plain(name, "");
        serde_json::to_writer(&mut *self.0, value)
    }

    /// A field that is `null` if there is nothing to say.
    fn optional(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.plain(name, "null"),
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.plain(name, "\"");
        // Without an early end, so that the compiler looks at many bytes at once.
        match value.bytes().fold(false, |found, byte| found | needs_escape(byte)) {
            false => self.0.extend_from_slice(value.as_bytes()),
            true => value.bytes().for_each(|byte| self.escape(byte)),
        }
        self.0.push(b'"');
    }

    /// One byte of a text as JSON has it. Bytes of longer UTF-8 sequences stand for themselves.
    fn escape(&mut self, byte: u8) {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            control if needs_escape(control) => {
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
                self.0.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 15)]);
                return;
            }
            plain => return self.0.push(plain),
        };
        self.0.extend_from_slice(&[b'\\', short]);
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        match value {
            Some(value) => {
                self.plain(name, "");
                self.digits(value);
            }
            None => self.plain(name, "null"),
        }
    }

    fn digits(&mut self, mut value: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[start..]);
    }

    /// A time in milliseconds. Those of a record have three digits behind the point; any other number is left to `serde_json`.
    fn milliseconds(&mut self, name: &str, value: Option<f64>) -> serde_json::Result<()> {
        let Some(value) = value else {
            self.plain(name, "null");
            return Ok(());
        };
        self.plain(name, "");
        let micros = (value * 1000.0).round();
        if !(0.0..1e15).contains(&micros) || micros / 1000.0 != value || value.is_sign_negative() {
            return serde_json::to_writer(&mut *self.0, &value);
        }
        let micros = micros as u64;
        self.digits(micros / 1000);
        let digit = |divisor: u64| b'0' + (micros / divisor % 10) as u8;
        let fraction = [digit(100), digit(10), digit(1)];
        let length = fraction.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
        self.0.push(b'.');
        self.0.extend_from_slice(&fraction[..length]);
        Ok(())
    }
}

fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::batch::{BatchRecord, ObjectRecord};
    use crate::audit::record::{Decision, FindingRecord, Outcome};

    fn assert_same(record: &Record) -> Result<(), TestCaseError> {
        let (mut ours, mut theirs) = (Vec::new(), serde_json::to_vec(record).unwrap());
        write(record, &mut ours).unwrap();
        theirs.push(b'\n');
        prop_assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
        Ok(())
    }

    proptest! {
        #[test]
        fn l10_a_line_is_what_serde_json_makes_of_the_record(
            texts in proptest::collection::vec("([ -~]|\\PC|[\\x00-\\x20\"\\\\\\x7f-\\u{a0}]){0,12}", 5),
            given in any::<[bool; 5]>(),
            outcome in prop_oneof![Just(Outcome::Ok), Just(Outcome::Refused), Just(Outcome::Failed), Just(Outcome::Aborted), Just(Outcome::Partial)],
            allow in any::<Option<bool>>(),
            numbers in any::<(Option<u16>, u64, u64, Option<u16>)>(),
            micros in any::<(u32, u64)>(),
        ) {
            let text = |index: usize| given[index].then(|| texts[index].clone());
            let object = ObjectRecord { key: texts[4].clone(), version_id: text(3), result: "denied", because: text(2) };
            let finding = FindingRecord { inspector: texts[2].clone(), verdict: "matched", name: text(4), reason: text(1), bytes: numbers.1, ms: 1.5, remembered: given[2] };
            let batch = BatchRecord { asked: 3, objects: vec![object], ..BatchRecord::default() };
            assert_same(&Record {
                time: texts[0].clone(),
                request_id: texts[1].clone(),
                trace_id: text(1),
                client: texts[2].clone(),
                tls: given[0],
                method: texts[3].clone(),
                principal: text(0),
                scheme: given[1].then_some("jwt"),
                access_key_id: text(3),
                operation: given[2].then_some("PutObject"),
                bucket: text(1),
                key: text(2),
                source: text(0),
                batch: given[1].then(|| Box::new(batch.clone())),
                inspection: given[3].then(|| vec![finding.clone(), finding]),
                inspection_action: given[4].then_some("refuse"),
                decision: allow.map(|allow| if allow { Decision::Allow } else { Decision::Deny }),
                rule: text(3),
                outcome,
                code: given[3].then_some("AccessDenied"),
                reason: text(4),
                status: numbers.0,
                bytes_in: numbers.1,
                bytes_out: numbers.2,
                upstream: text(4),
                upstream_status: numbers.3,
                upstream_ms: given[4].then_some(f64::from(micros.0) / 1000.0),
                duration_ms: f64::from_bits(micros.1),
                web: None,
            })?;
        }
    }

    #[test]
    fn l10_odd_times_are_written_as_serde_json_does() {
        for value in [
            0.0,
            -0.0,
            0.001,
            0.1,
            5.0,
            0.275,
            59_999.999,
            1e12,
            1e15,
            1e16,
            1e300,
            -1.5,
            1e-7,
            f64::NAN,
            f64::INFINITY,
        ] {
            assert_same(&Record { duration_ms: value, upstream_ms: Some(value), ..Record::default() }).unwrap();
        }
    }
}

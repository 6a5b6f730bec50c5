//! One INSTREAM conversation: the object in chunks, and one answer.
//!
//! Writes and reads at the same time. clamd answers early only to give up (`size limit exceeded`, a time limit, shutdown) and closes then:
//! who only wrote would see a broken pipe and lose the reason.

use std::io;
use std::pin::pin;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::{Answer, MAX_ANSWER_BYTES, parse, printable};
use super::scanner::Wire;
use crate::inspect::Content;
use crate::inspect::outside::{LAST_WORDS, MAX_CHUNK};

/// How the conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of the object was sent, and nothing found in it.
    Clean,
    /// Something was found, or clamd's name for why it did not look.
    Found(String),
    /// The object is larger than we send.
    OverOurLimit,
    /// The object is larger than clamd takes.
    OverItsLimit,
    /// No verdict.
    Failed(String),
    /// The object broke off.
    BrokenOff,
}

enum Sent {
    All,
    OverLimit,
    BrokenOff,
}

/// Sends the object on a connection that has said INSTREAM, and reads the answer.
pub async fn stream(wire: Wire, content: &mut Content, max_size: u64) -> Ended {
    let (reader, writer) = tokio::io::split(wire);
    let mut answering = pin!(read_answer(reader));
    let sending = pin!(send(writer, content, max_size));
    // Writing first: an answer is early if it is there while there is something left to write.
    let sent = tokio::select! {
        biased;
        sent = sending => sent,
        answer = &mut answering => return early(answer),
    };
    match sent {
        Ok(Sent::All) => last(answering.await),
        Ok(Sent::OverLimit) => Ended::OverOurLimit,
        Ok(Sent::BrokenOff) => Ended::BrokenOff,
        Err(error) => match timeout(LAST_WORDS, answering).await {
            Ok(Ok(answer)) => early(Ok(answer)),
            Ok(Err(_)) | Err(_) => Ended::Failed(format!("clamd stopped reading: {error}")),
        },
    }
}

/// An answer before the last byte was sent never is the verdict "clean".
fn early(answer: Result<Answer, String>) -> Ended {
    match last(answer) {
        Ended::Clean => Ended::Failed("clamd answered before the end of the object".to_owned()),
        ended => ended,
    }
}

fn last(answer: Result<Answer, String>) -> Ended {
    match answer {
        Ok(Answer::Clean) => Ended::Clean,
        Ok(Answer::Found(name)) => Ended::Found(name),
        Ok(Answer::SizeLimit) => Ended::OverItsLimit,
        Ok(Answer::Failed(reason)) | Err(reason) => Ended::Failed(reason),
    }
}

async fn send(mut writer: impl AsyncWrite + Unpin, content: &mut Content, max_size: u64) -> io::Result<Sent> {
    let mut total = 0_u64;
    loop {
        let mut piece = match content.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(_) => return Ok(Sent::BrokenOff),
        };
        total = total.saturating_add(piece.len() as u64);
        if total > max_size {
            return Ok(Sent::OverLimit);
        }
        while !piece.is_empty() {
            send_chunk(&mut writer, piece.split_to(piece.len().min(MAX_CHUNK))).await?;
        }
    }
    writer.write_all(&[0; 4]).await?;
    writer.flush().await?;
    Ok(Sent::All)
}

/// Length and data in one write, the data not copied.
async fn send_chunk(writer: &mut (impl AsyncWrite + Unpin), data: Bytes) -> io::Result<()> {
    let length = u32::try_from(data.len()).expect("a chunk has at most 256 KiB").to_be_bytes();
    writer.write_all_buf(&mut Buf::chain(&length[..], data)).await
}

/// Reads up to the NUL behind the answer; what follows it makes the answer one of something else.
async fn read_answer(mut reader: impl AsyncRead + Unpin) -> Result<Answer, String> {
    let mut answer = Vec::with_capacity(256);
    loop {
        let read = reader.read_buf(&mut answer).await.map_err(|error| format!("no answer from clamd: {error}"))?;
        if let Some(end) = answer.iter().position(|byte| *byte == 0) {
            let whole = if end + 1 == answer.len() { &answer[..end] } else { &answer[..] };
            return Ok(parse(whole));
        }
        if read == 0 || answer.len() > MAX_ANSWER_BYTES {
            let shown = printable(&answer);
            return Err(format!("clamd closed the connection or went on without end after `{shown}`"));
        }
    }
}

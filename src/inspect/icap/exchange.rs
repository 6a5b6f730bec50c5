//! One ICAP exchange: the object in chunks, perhaps a preview first, and one answer.
//!
//! Writes and reads at the same time: a server may answer before it has read all, and one that sends the object back does so while it reads.

use std::io;
use std::pin::pin;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answer::{Body, Encapsulated, Found, found};
use super::head::Head;
use super::request::Method;
use super::source::{Measure, Source};
use crate::dial::Stream;
use crate::inspect::Content;
use crate::inspect::outside::{LAST_WORDS, MAX_CHUNK};

/// What is sent.
#[derive(Debug)]
pub struct Question {
    /// All heads.
    pub head: String,
    /// How it is asked.
    pub method: Method,
    /// Bytes of the preview.
    pub preview: Option<u64>,
    /// Most bytes of the object.
    pub max_size: u64,
}

/// How the exchange ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server saw all of it and would pass it on as it is.
    Clean,
    /// The server would pass it on as it is, and did not want to see more than the preview of it.
    Previewed,
    /// The server would pass it on as it is, and said so before it had seen all of it.
    Unseen,
    /// Something was found.
    Found(Found),
    /// The object is larger than we send.
    OverLimit,
    /// No verdict.
    Failed(String),
    /// The object broke off.
    BrokenOff,
}

/// The end, and the tag of the service if the answer had one.
pub type Exchanged = (Ended, Option<String>);

enum Sent {
    All(Measure),
    OverLimit,
    BrokenOff,
}

/// What the server said.
#[derive(Debug)]
enum Answer {
    /// It would pass the object on as it is; whether it said so instead of `100 Continue`.
    Unmodified {
        at_preview: bool,
    },
    Found(Found),
    /// It sent the object back, or another one.
    Echo(Measure),
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Measure({} bytes)", self.length())
    }
}

/// Asks about the object.
pub async fn ask(stream: Stream, question: &Question, content: &mut Content) -> Exchanged {
    let (reader, writer) = tokio::io::split(stream);
    let mut tag = None;
    let ended = converse(reader, writer, question, content, &mut tag).await;
    (ended, tag)
}

async fn converse(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    question: &Question,
    content: &mut Content,
    tag: &mut Option<String>,
) -> Ended {
    let (go, going) = oneshot::channel();
    let mut answering = pin!(read_answer(reader, question, go, tag));
    let sending = pin!(send(writer, question, content, going));
    // Writing first: an answer is early if it is there while there is something left to write.
    let sent = tokio::select! {
        biased;
        sent = sending => sent,
        answer = &mut answering => return judge(answer, None),
    };
    match sent {
        Ok(Sent::All(measure)) => judge(answering.await, Some(&measure)),
        Ok(Sent::OverLimit) => Ended::OverLimit,
        Ok(Sent::BrokenOff) => Ended::BrokenOff,
        Err(error) => match timeout(LAST_WORDS, answering).await {
            Ok(Ok(answer)) => judge(Ok(answer), None),
            Ok(Err(_)) | Err(_) => Ended::Failed(format!("it stopped reading: {error}")),
        },
    }
}

/// What an answer means to an object of which all was sent, or not.
fn judge(answer: Result<Answer, String>, sent: Option<&Measure>) -> Ended {
    match answer {
        Ok(Answer::Unmodified { .. }) if sent.is_some() => Ended::Clean,
        Ok(Answer::Unmodified { at_preview: true }) => Ended::Previewed,
        Ok(Answer::Unmodified { at_preview: false }) => Ended::Unseen,
        Ok(Answer::Echo(measure)) if sent.is_some_and(|sent| sent.is_same(&measure)) => Ended::Clean,
        Ok(Answer::Echo(_)) => Ended::Found(Found::Threat("modified by the ICAP server".to_owned())),
        Ok(Answer::Found(found)) => Ended::Found(found),
        Err(reason) => Ended::Failed(reason),
    }
}

/// The object on its way out.
struct Outgoing<'a> {
    content: &'a mut Content,
    measure: Measure,
    max_size: u64,
}

/// What comes next of the object.
enum Next {
    Piece(Bytes),
    End,
    Over(Sent),
}

impl Outgoing<'_> {
    async fn next(&mut self) -> Next {
        match self.content.next().await {
            Ok(Some(piece)) => {
                self.measure.add(&piece);
                if self.measure.length() > self.max_size { Next::Over(Sent::OverLimit) } else { Next::Piece(piece) }
            }
            Ok(None) => Next::End,
            Err(_) => Next::Over(Sent::BrokenOff),
        }
    }
}

async fn send(
    mut writer: impl AsyncWrite + Unpin,
    question: &Question,
    content: &mut Content,
    going: oneshot::Receiver<()>,
) -> io::Result<Sent> {
    let mut outgoing = Outgoing { content, measure: Measure::new(), max_size: question.max_size };
    writer.write_all(question.head.as_bytes()).await?;
    if let Some(bytes) = question.preview {
        let rest = match send_preview(&mut writer, &mut outgoing, bytes).await? {
            Next::Piece(rest) => rest,
            Next::End => {
                writer.write_all(b"0; ieof\r\n\r\n").await?;
                writer.flush().await?;
                return Ok(Sent::All(outgoing.measure));
            }
            Next::Over(sent) => return Ok(sent),
        };
        writer.write_all(b"0\r\n\r\n").await?;
        writer.flush().await?;
        // Without 100 Continue there is a final answer, which ends the exchange.
        if going.await.is_err() {
            return std::future::pending().await;
        }
        send_piece(&mut writer, rest).await?;
    }
    loop {
        match outgoing.next().await {
            Next::Piece(piece) => send_piece(&mut writer, piece).await?,
            Next::End => break,
            Next::Over(sent) => return Ok(sent),
        }
    }
    writer.write_all(b"0\r\n\r\n").await?;
    writer.flush().await?;
    Ok(Sent::All(outgoing.measure))
}

/// Sends the first bytes. What comes behind them is looked for, because the end of the preview says whether it is that of the object.
async fn send_preview(
    writer: &mut (impl AsyncWrite + Unpin),
    outgoing: &mut Outgoing<'_>,
    bytes: u64,
) -> io::Result<Next> {
    let mut left = bytes;
    loop {
        let mut piece = match outgoing.next().await {
            Next::Piece(piece) => piece,
            next => return Ok(next),
        };
        let first = piece.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(piece.len()));
        left -= first.len() as u64;
        send_piece(writer, first).await?;
        if !piece.is_empty() {
            return Ok(Next::Piece(piece));
        }
    }
}

/// Size line, data and line end in one write, the data not copied.
async fn send_piece(writer: &mut (impl AsyncWrite + Unpin), mut piece: Bytes) -> io::Result<()> {
    while !piece.is_empty() {
        let data = piece.split_to(piece.len().min(MAX_CHUNK));
        let size = format!("{:x}\r\n", data.len());
        writer.write_all_buf(&mut Buf::chain(Buf::chain(size.as_bytes(), data), &b"\r\n"[..])).await?;
    }
    writer.flush().await
}

/// Reads the answer, and lets the rest of the object go on 100 Continue.
async fn read_answer(
    reader: impl AsyncRead + Unpin,
    question: &Question,
    go: oneshot::Sender<()>,
    tag: &mut Option<String>,
) -> Result<Answer, String> {
    let mut source = Source::new(reader);
    let mut go = question.preview.map(|_| go);
    loop {
        let head = source.head().await?;
        let status = head.status("ICAP/1.0").map_err(|error| error.to_string())?;
        if status == 100 {
            // Nobody listens any more if the object was shorter than the preview.
            let _nobody_listens = go.take().ok_or("it said 100 Continue unasked")?.send(());
            continue;
        }
        *tag = head.get("istag").map(|tag| tag.trim_matches('"').to_owned());
        return match (found(&head), status) {
            (Some(found), _) => Ok(Answer::Found(found)),
            (None, 204) => Ok(Answer::Unmodified { at_preview: go.is_some() }),
            (None, 200) => read_message(&mut source, &head, question.method).await,
            (None, status) => Err(failure(status)),
        };
    }
}

/// What a status says that is no verdict.
pub fn failure(status: u16) -> String {
    let words = match status {
        400 => "it did not understand the request",
        404 => "there is no such service",
        405 => "the service does not take this method",
        408 => "it waited too long for the object",
        500 => "server error",
        503 => "overloaded",
        _ => "no verdict",
    };
    format!("{words} ({status})")
}

/// Reads the message that the server would pass on instead of the object.
async fn read_message(
    source: &mut Source<impl AsyncRead + Unpin>,
    head: &Head,
    method: Method,
) -> Result<Answer, String> {
    let value = head.get("encapsulated").ok_or("its answer does not say what is in it")?;
    let parts = Encapsulated::parse(value).ok_or("its answer does not say what is in it")?;
    let heads = source.exact(parts.heads).await?;
    let http = |range: &std::ops::Range<usize>| Head::parse(&heads[range.clone()]).map_err(|error| error.to_string());
    let request = parts.request.as_ref().map(http).transpose()?;
    let response = parts.response.as_ref().map(http).transpose()?;
    if let Some(found) = request.iter().chain(&response).find_map(found) {
        return Ok(Answer::Found(found));
    }
    let instead = match (&response, method) {
        // A response to an upload is the page that the uploader should see instead.
        (Some(response), Method::Reqmod) => Some(response.status("HTTP/1.").map_err(|error| error.to_string())?),
        (Some(response), Method::Respmod) => {
            Some(response.status("HTTP/1.").map_err(|error| error.to_string())?).filter(|status| *status != 200)
        }
        (None, Method::Reqmod) if request.is_some() => None,
        (None, _) => return Err("its answer holds neither the object nor another one".to_owned()),
    };
    if let Some(status) = instead {
        return Ok(Answer::Found(Found::Threat(format!("blocked by the ICAP server (HTTP {status})"))));
    }
    match (parts.body, method) {
        (Body::Null, _) => Ok(Answer::Echo(Measure::new())),
        (Body::Request, Method::Reqmod) | (Body::Response, Method::Respmod) => source.body().await.map(Answer::Echo),
        _ => Err("its answer holds neither the object nor another one".to_owned()),
    }
}

//! Stand-ins of what gives out keys: the metadata service of EC2 (version 2), the agent of ECS and EKS Pod Identity, and STS. They behave as
//! documented, and otherwise if they are told to.
//!
//! Stand-ins, because the real ones are at AWS. Behaviour from: EC2 user guide, "Use IMDSv2"; SDKs and Tools Reference Guide, "Container
//! credential provider"; STS API reference.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::base::encoding::hex_sha256;
use countersign::base::{Clock, Secret, SystemClock};
use countersign::sigv4::{AmzDate, CanonicalRequest, SigningKey, sign_request};

use super::recorder::{Answer, Recorded, Recorder};

/// How it answers who asks for keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As documented.
    Good,
    /// Never.
    Silent,
    /// With status 500.
    Failing,
    /// With something that is neither JSON nor XML and has a secret in it.
    Garbled,
    /// With nothing.
    Empty,
    /// With keys that have expired.
    Stale,
    /// With an error of STS that quotes the token.
    Refusing,
}

/// What such a service says in its garbled answers, which must be nowhere else.
pub const GARBLED: &str = "h1dden-in-a-garbled-answer";

struct State {
    mood: Mutex<Mood>,
    life: Mutex<Duration>,
    given: AtomicU64,
}

/// A service that gives out keys.
pub struct Platform {
    pub recorder: Recorder,
    state: Arc<State>,
}

const ROLE: &str = "gateway-role";
const TOKEN: &str = "metadata-token-of-six-hours";

impl Platform {
    async fn start(answer: impl Fn(&str, &State) -> Answer + Send + Sync + 'static) -> Self {
        let state = Arc::new(State {
            mood: Mutex::new(Mood::Good),
            life: Mutex::new(Duration::from_secs(3600)),
            given: AtomicU64::new(0),
        });
        let own = Arc::clone(&state);
        let recorder = Recorder::start(Answer::By(Arc::new(move |head| answer(head, &own)))).await;
        Self { recorder, state }
    }

    /// The metadata service of an instance with a role: a token first, and nothing without it.
    pub async fn imds() -> Self {
        Self::start(|head, state| {
            let header = |name: &str| header_of(head, name);
            let line = head.lines().next().unwrap_or_default();
            if line.starts_with("PUT /latest/api/token ") {
                // A request that came through a proxy gets none.
                return match (header("x-forwarded-for"), header("x-aws-ec2-metadata-token-ttl-seconds").parse::<u32>()) {
                    (forwarded, _) if !forwarded.is_empty() => Answer::status(403, "", ""),
                    (_, Ok(1..=21600)) => {
                        Answer::status(200, "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", TOKEN)
                    }
                    _ => Answer::status(400, "", ""),
                };
            }
            if header("x-aws-ec2-metadata-token") != TOKEN {
                return Answer::status(401, "", "");
            }
            match line.split(' ').nth(1) {
                Some("/latest/meta-data/iam/security-credentials/") => Answer::status(200, "", ROLE),
                Some(path) if path == format!("/latest/meta-data/iam/security-credentials/{ROLE}") => {
                    state.answer(|keys| {
                        format!(
                            "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"{}\",\"Token\":\"{}\",\"Expiration\":\"{}\"}}",
                            keys.id, keys.secret, keys.token, keys.expiration
                        )
                    })
                }
                _ => Answer::status(404, "", ""),
            }
        })
        .await
    }

    /// The agent of a container, which wants the token that stands in a file now.
    pub async fn container(token: &Path) -> Self {
        let token = token.to_owned();
        Self::start(move |head, state| {
            let is_right = header_of(head, "authorization") == std::fs::read_to_string(&token).unwrap_or_default();
            if !head.starts_with("GET /v1/credentials ") || !is_right {
                return Answer::status(
                    401,
                    "content-type: application/json\r\n",
                    "{\"code\":\"AccessDenied\",\"message\":\"no\"}",
                );
            }
            state.answer(|keys| {
                format!(
                    "{{\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"{}\",\"Token\":\"{}\",\"Expiration\":\"{}\"}}",
                    keys.id, keys.secret, keys.token, keys.expiration
                )
            })
        })
        .await
    }

    /// STS, for one action.
    pub async fn sts(action: &'static str) -> Self {
        Self::start(move |head, state| {
            if !head.starts_with("POST / ") {
                return Answer::status(404, "", "");
            }
            state.answer(|keys| {
                format!(
                    "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials></{action}Result></{action}Response>",
                    keys.id, keys.secret, keys.token, keys.expiration
                )
            })
        })
        .await
    }

    /// Answers so from now on.
    pub fn mood(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Gives out keys that last so long from now on.
    pub fn life(&self, life: Duration) {
        *self.state.life.lock().unwrap() = life;
    }

    /// How often it gave out keys. The keys have this number.
    pub fn given(&self) -> u64 {
        self.state.given.load(Ordering::SeqCst)
    }

    pub fn endpoint(&self) -> String {
        self.recorder.endpoint()
    }
}

/// Keys of a number.
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub token: String,
    expiration: String,
}

impl Keys {
    /// What a service gives out as its keys of this number.
    pub fn number(number: u64) -> Self {
        Self {
            id: format!("ASIASTANDIN{number:05}"),
            secret: format!("s3cr3t/of+the+stand-in/{number:05}"),
            token: format!("t0ken/of+the+stand-in=={number:05}"),
            expiration: String::new(),
        }
    }

    /// Those whose id stands in the signature of a request.
    pub fn of(request: &Recorded) -> Self {
        let authorization = request.header("authorization");
        let id = authorization.split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let number = id.strip_prefix("ASIASTANDIN").and_then(|digits| digits.parse().ok());
        Self::number(number.unwrap_or_else(|| panic!("no keys of a stand-in: {authorization}")))
    }
}

impl State {
    fn answer(&self, write: impl Fn(&Keys) -> String) -> Answer {
        let mood = *self.mood.lock().unwrap();
        let keys = |seconds: i64| {
            let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
            let end = jiff::Timestamp::from_second(SystemClock.now().as_second() + seconds).unwrap();
            Keys { expiration: end.to_string(), ..Keys::number(number) }
        };
        let life = i64::try_from(self.life.lock().unwrap().as_secs()).unwrap();
        match mood {
            Mood::Good => Answer::status(200, "content-type: text/plain\r\n", &write(&keys(life))),
            Mood::Stale => Answer::status(200, "content-type: text/plain\r\n", &write(&keys(-60))),
            Mood::Silent => Answer::Silence,
            Mood::Failing => Answer::status(500, "", GARBLED),
            Mood::Garbled => {
                let garbled = format!("{{\"AccessKeyId\":\"A\" \"SecretAccessKey\":\"{GARBLED}\"");
                Answer::status(200, "content-type: application/json\r\n", &garbled)
            }
            Mood::Empty => Answer::status(200, "", ""),
            Mood::Refusing => Answer::status(
                400,
                "content-type: text/xml\r\n",
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>Not for eyJ.second.jwt</Message></Error><RequestId>1</RequestId></ErrorResponse>",
            ),
        }
    }
}

/// A header of a head.
fn header_of(head: &str, name: &str) -> String {
    Recorded { head: head.to_owned(), ..Recorded::default() }.header(name)
}

/// Whether a request has the signature of this secret, for this service: worked out again from what arrived.
pub fn is_signed_with(request: &Recorded, service: &str, region: &str, secret: &str) -> bool {
    let authorization = request.header("authorization");
    let part = |name: &str| {
        let rest = authorization.split(&format!("{name}=")).nth(1).unwrap_or_default();
        rest.split(',').next().unwrap_or_default().trim().to_owned()
    };
    let line = request.request_line();
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let names = part("SignedHeaders");
    let headers: Vec<(&str, String)> = names.split(';').map(|name| (name, request.header(name))).collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let of_body = hex_sha256(&sha256(&request.body));
    let declared = request.header("x-amz-content-sha256");
    let payload = if declared.is_empty() { &of_body } else { &declared };
    let date = AmzDate::parse(&request.header("x-amz-date")).unwrap();
    let key = SigningKey::derive_for(service, &Secret::new(secret), region, &date);
    let id = part("Credential").split('/').next().unwrap().to_owned();
    let canonical = CanonicalRequest { method, path, query, headers: &headers, payload };
    sign_request(&canonical, &id, &key, &date).signature == part("Signature")
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

/// A file that a test rewrites, as a platform does with tokens.
pub struct TokenFile {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
}

impl TokenFile {
    pub fn new(token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, token).unwrap();
        Self { _folder: folder, path }
    }

    /// Replaces it at once, as a mount is swapped.
    pub fn write(&self, token: &str) {
        let new = self.path.with_extension("new");
        std::fs::write(&new, token).unwrap();
        std::fs::rename(new, &self.path).unwrap();
    }

    pub fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

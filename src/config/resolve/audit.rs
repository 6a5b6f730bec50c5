//! `audit`: where the records go.

use std::time::Duration;

use http::uri::PathAndQuery;

use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_audit::{
    RawAudit, RawFileSink, RawHttpSink, RawLineFormat, RawRotation, RawSink, RawSyslogSink, RawWhenFull,
};
use super::desk::Desk;
use super::pem;
use super::post::{headers, web_address};
use super::values::{ANY_TIMEOUT, absolute, check_name, count, duration, size};
use crate::audit::settings::{
    AuditSettings, DEFAULT_QUEUE, DEFAULT_WAIT, FileSettings, HttpSettings, LineFormat, OutletSettings, Rotation,
    SinkSettings, SyslogAddress, SyslogSettings, WhenFull,
};
use crate::base::authority::is_host;
use crate::post::PostSettings;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The sinks. If there are problems, what is returned is not used.
pub fn audit(desk: &mut Desk<'_>, raw: &RawConfig) -> AuditSettings {
    let path = Path::top().key("audit");
    let wait = duration(desk, &path.key("wait"), raw.audit.wait.as_ref(), DEFAULT_WAIT, ANY_TIMEOUT);
    let sinks = match &raw.audit.sinks {
        None => single(desk, &path, &raw.audit),
        Some(sinks) => {
            if raw.audit.file.is_some() {
                desk.report_key(
                    &path.key("file"),
                    "`file` and `sinks` are both there",
                    "make the file one of the sinks",
                );
            }
            if sinks.is_empty() && !desk.is_blurred(&path.key("sinks")) {
                desk.report(&path.key("sinks"), "no sink is named", "name one, or remove `sinks`");
            }
            let path = path.key("sinks");
            sinks.iter().filter_map(|(name, raw)| sink(desk, &path.key(name), name, raw)).collect()
        }
    };
    if raw.audit.wait.is_some() && sinks.iter().all(|sink| sink.when_full == WhenFull::Drop) && desk.is_clean() {
        desk.report_key(&path.key("wait"), "`wait` does nothing without a sink with `when_full: block`", "remove it");
    }
    AuditSettings { sinks, wait }
}

fn single(desk: &mut Desk<'_>, path: &Path, raw: &RawAudit) -> Vec<SinkSettings> {
    let file = raw.file.as_deref().filter(|file| *file != "-");
    let file = file.and_then(|text| absolute(desk, &path.key("file"), text));
    file.map_or_else(AuditSettings::stdout, AuditSettings::file).sinks
}

fn sink(desk: &mut Desk<'_>, path: &Path, name: &str, raw: &RawSink) -> Option<SinkSettings> {
    let good_name = check_name(desk, path, name);
    let queue = count(desk, &path.key("queue"), raw.queue, DEFAULT_QUEUE, 16..=1_000_000);
    let outlet = outlet(desk, path, raw);
    good_name.then_some(())?;
    Some(SinkSettings {
        name: name.to_owned(),
        outlet: outlet?,
        format: match raw.format {
            Some(RawLineFormat::Json) | None => LineFormat::Json,
            Some(RawLineFormat::S3ServerAccessLog) => LineFormat::AccessLog,
        },
        queue,
        when_full: match raw.when_full {
            Some(RawWhenFull::Drop) | None => WhenFull::Drop,
            Some(RawWhenFull::Block) => WhenFull::Block,
        },
    })
}

fn outlet(desk: &mut Desk<'_>, path: &Path, raw: &RawSink) -> Option<OutletSettings> {
    const HELP: &str = "write one of `stdout: true`, `file`, `syslog` and `http` into each sink";
    let stdout = raw.stdout == Some(true);
    let written = [stdout, raw.file.is_some(), raw.syslog.is_some(), raw.http.is_some()];
    match written.into_iter().filter(|written| *written).count() {
        1 => {}
        0 if desk.is_blurred(path) => return None,
        0 => {
            desk.report(path, "it is not said where this sink writes to", HELP);
            return None;
        }
        _ => {
            desk.report(path, "this sink writes to more than one place", HELP);
            return None;
        }
    }
    let file = raw.file.as_ref().map(|raw| file(desk, &path.key("file"), raw).map(OutletSettings::File));
    let syslog = raw.syslog.as_ref().map(|raw| syslog(desk, &path.key("syslog"), raw).map(OutletSettings::Syslog));
    let http = raw.http.as_ref().map(|raw| http(desk, &path.key("http"), raw).map(OutletSettings::Http));
    let stdout = stdout.then_some(OutletSettings::Stdout);
    stdout.or(file.flatten()).or(syslog.flatten()).or(http.flatten())
}

fn file(desk: &mut Desk<'_>, path: &Path, raw: &RawFileSink) -> Option<FileSettings> {
    let help = "write an absolute path, such as /var/log/countersign/audit.jsonl";
    let text = desk.required(path, "path", raw.path.as_ref(), help);
    let file = text.and_then(|text| absolute(desk, &path.key("path"), text));
    let rotation = raw.rotate.as_ref().map(|raw| rotation(desk, &path.key("rotate"), raw));
    Some(FileSettings { path: file?, rotation })
}

fn rotation(desk: &mut Desk<'_>, path: &Path, raw: &RawRotation) -> Rotation {
    if raw.size.is_none() && raw.every.is_none() && !desk.is_blurred(path) {
        desk.report(path, "it is not said when the file is put aside", "write `size`, `every`, or both");
    }
    let (size_path, every_path) = (path.key("size"), path.key("every"));
    let (sizes, ages) = (64 << 10..=1 << 40, Duration::from_secs(60)..=365 * DAY);
    Rotation {
        size: raw.size.as_ref().map(|text| size(desk, &size_path, Some(text), 64 << 10, sizes)),
        every: raw.every.as_ref().map(|text| duration(desk, &every_path, Some(text), DAY, ages)),
        keep: count(desk, &path.key("keep"), raw.keep, 14, 1..=10_000),
        compress: raw.compress.unwrap_or(false),
    }
}

fn syslog(desk: &mut Desk<'_>, path: &Path, raw: &RawSyslogSink) -> Option<SyslogSettings> {
    let ca_file = pem::authorities(desk, &path.key("ca_file"), raw.ca_file.as_ref());
    let facility = facility(desk, &path.key("facility"), raw.facility.as_deref());
    const HELP: &str = "write unix:/dev/log, udp://host:514, tcp://host:601 or tls://host:6514";
    let text = desk.required(path, "address", raw.address.as_ref(), HELP)?;
    let Some(address) = syslog_address(text, ca_file) else {
        desk.report(&path.key("address"), "this is not the address of a syslog server", HELP);
        return None;
    };
    if raw.ca_file.is_some() && !matches!(address, SyslogAddress::Tls { .. }) {
        desk.report(&path.key("ca_file"), "`ca_file` does nothing without TLS", "use tls://, or remove `ca_file`");
    }
    Some(SyslogSettings { address, facility })
}

fn syslog_address(text: &str, ca_file: Option<std::path::PathBuf>) -> Option<SyslogAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| SyslogAddress::Local(path.into()));
    }
    let (scheme, rest) = text.split_once("://")?;
    let (host, port) = rest.rsplit_once(':')?;
    let host = host.strip_prefix('[').map_or(Some(host), |rest| rest.strip_suffix(']'))?;
    let port = port.parse().ok().filter(|number| *number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()))?;
    let host = Some(host).filter(|host| is_host(host))?.to_owned();
    match scheme {
        "udp" => Some(SyslogAddress::Udp(host, port)),
        "tcp" => Some(SyslogAddress::Tcp(host, port)),
        "tls" => Some(SyslogAddress::Tls { host, port, ca_file }),
        _ => None,
    }
}

fn facility(desk: &mut Desk<'_>, path: &Path, word: Option<&str>) -> u8 {
    const LOCAL0: u8 = 16;
    let Some(word) = word else { return LOCAL0 };
    let local = word.strip_prefix("local").and_then(|digit| digit.parse::<u8>().ok()).filter(|number| *number <= 7);
    let code = match word {
        "user" => Some(1),
        "daemon" => Some(3),
        "auth" => Some(4),
        "authpriv" => Some(10),
        _ => local.map(|number| LOCAL0 + number),
    };
    if code.is_none() {
        let help = "write auth, authpriv, daemon, user, or local0 to local7";
        desk.report(path, format!("`{word}` is no facility"), help);
    }
    code.unwrap_or(LOCAL0)
}

fn http(desk: &mut Desk<'_>, path: &Path, raw: &RawHttpSink) -> Option<HttpSettings> {
    let help = "write the address of the server, such as https://logs.example.com/ingest";
    let address = web_address(desk, path, "url", raw.url.as_ref(), help);
    let ca_file = pem::authorities(desk, &path.key("ca_file"), raw.ca_file.as_ref());
    let headers = headers(desk, &path.key("headers"), &raw.headers, address.as_ref());
    let records = count(desk, &path.key("batch"), raw.batch, 500, 1..=10_000);
    let (wait_path, time_path) = (path.key("batch_wait"), path.key("timeout"));
    let wait = duration(desk, &wait_path, raw.batch_wait.as_ref(), Duration::from_secs(1), ANY_TIMEOUT);
    let timeout = duration(desk, &time_path, raw.timeout.as_ref(), Duration::from_secs(10), ANY_TIMEOUT);
    let address = address?;
    if raw.ca_file.is_some() && !address.tls {
        let help = "use https, or remove `ca_file`";
        desk.report(&path.key("ca_file"), "`ca_file` does nothing over http", help);
    }
    let path = if address.path.is_empty() { "/" } else { &address.path };
    let post = PostSettings {
        tls: address.tls,
        port: address.port,
        path: PathAndQuery::try_from(path).ok()?,
        host: address.host,
        ca_file,
        headers: headers?,
        timeout,
    };
    Some(HttpSettings { post, records, wait })
}

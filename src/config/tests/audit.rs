//! `audit`: what is accepted, and what is not.

use std::path::PathBuf;
use std::time::Duration;

use super::{BASE, assert_problems, load, references};
use crate::audit::settings::{
    AuditSettings, LineFormat, OutletSettings, Rotation, SyslogAddress, SyslogSettings, WhenFull,
};

/// The base file with such sinks; they are in line 31.
fn with_sinks(sinks: &str) -> String {
    format!("{BASE}audit: {{ sinks: {{ {sinks} }} }}\n")
}

fn audit(text: &str) -> AuditSettings {
    load(text).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}")).audit
}

#[test]
fn every_kind_of_sink_is_read() {
    let text = format!(
        "{BASE}audit:
  wait: 2s
  sinks:
    console: {{ stdout: true }}
    disk:
      file: {{ path: /var/log/audit.jsonl, rotate: {{ size: 100MiB, every: 24h, keep: 3, compress: true }} }}
      format: s3-server-access-log
    logs: {{ syslog: {{ address: \"tls://[::1]:6514\", facility: local3 }}, queue: 100, when_full: block }}
    siem:
      http:
        {{ url: \"https://logs.example.com/in\", headers: {{ authorization: env:SECRET }}, batch: 7, batch_wait: 3s, timeout: 4s }}
"
    );
    let audit = audit(&text);
    assert_eq!(audit.wait, Duration::from_secs(2));
    let shown: Vec<_> = audit.sinks.iter().map(|s| (s.name.as_str(), s.format, s.queue, s.when_full)).collect();
    let expected = [
        ("console", LineFormat::Json, 8192, WhenFull::Drop),
        ("disk", LineFormat::AccessLog, 8192, WhenFull::Drop),
        ("logs", LineFormat::Json, 100, WhenFull::Block),
        ("siem", LineFormat::Json, 8192, WhenFull::Drop),
    ];
    assert_eq!(shown, expected);
    assert!(matches!(audit.sinks[0].outlet, OutletSettings::Stdout));
    let OutletSettings::File(file) = &audit.sinks[1].outlet else { panic!("{:?}", audit.sinks[1]) };
    let day = Some(Duration::from_secs(24 * 3600));
    assert_eq!(file.path, PathBuf::from("/var/log/audit.jsonl"));
    assert_eq!(file.rotation, Some(Rotation { size: Some(100 << 20), every: day, keep: 3, compress: true }));
    let OutletSettings::Syslog(syslog) = &audit.sinks[2].outlet else { panic!("{:?}", audit.sinks[2]) };
    let address = SyslogAddress::Tls { host: "::1".to_owned(), port: 6514, ca_file: None };
    assert_eq!(*syslog, SyslogSettings { address, facility: 19 });
    let OutletSettings::Http(http) = &audit.sinks[3].outlet else { panic!("{:?}", audit.sinks[3]) };
    assert_eq!((http.records, http.wait.as_secs(), http.post.timeout.as_secs()), (7, 3, 4));
    assert_eq!((http.post.host.as_str(), http.post.port, http.post.path.as_str()), ("logs.example.com", 443, "/in"));
    assert_eq!(http.post.headers[0].1.expose(), "s3cr3t-0f-an-access-key");
    assert!(!format!("{audit:?}").contains("s3cr3t"), "{audit:?}");
}

#[test]
fn syslog_has_four_kinds_of_addresses() {
    for (text, expected) in [
        ("unix:/dev/log", SyslogAddress::Local("/dev/log".into())),
        ("udp://logs.example.com:514", SyslogAddress::Udp("logs.example.com".to_owned(), 514)),
        ("tcp://127.0.0.1:601", SyslogAddress::Tcp("127.0.0.1".to_owned(), 601)),
    ] {
        let audit = audit(&with_sinks(&format!("logs: {{ syslog: {{ address: \"{text}\" }} }}")));
        let OutletSettings::Syslog(syslog) = &audit.sinks[0].outlet else { panic!("{audit:?}") };
        assert_eq!((&syslog.address, syslog.facility), (&expected, 16));
    }
}

#[test]
fn sinks_with_mistakes() {
    let url = "url: \"https://logs.example.com/\"";
    for (sinks, message, help) in [
        ("a: {}".to_owned(), "not said where this sink writes to", "`stdout: true`"),
        ("a: { stdout: false }".to_owned(), "not said where", ""),
        ("a: { stdout: true, file: { path: /x } }".to_owned(), "more than one place", "one of"),
        ("\"a b\": { stdout: true }".to_owned(), "cannot be a name", ""),
        ("a: { stdout: true, queue: 15 }".to_owned(), "15 is out of range", "16 to 1000000"),
        ("a: { stdout: true, when_full: wait }".to_owned(), "`wait` is not known here", "`block`"),
        ("a: { stdout: true, format: xml }".to_owned(), "`xml` is not known here", "`s3-server-access-log`"),
        ("a: { file: {} }".to_owned(), "`path` is missing", ""),
        ("a: { file: { path: audit.log } }".to_owned(), "not absolute", ""),
        ("a: { file: { path: /x, rotate: { keep: 3 } } }".to_owned(), "not said when", "`size`, `every`"),
        ("a: { file: { path: /x, rotate: { size: 1KiB } } }".to_owned(), "out of range", "64KiB"),
        ("a: { file: { path: /x, rotate: { every: 1s } } }".to_owned(), "out of range", "60s to 8760h"),
        ("a: { syslog: {} }".to_owned(), "`address` is missing", "unix:/dev/log"),
        ("a: { syslog: { address: \"unix:dev/log\" } }".to_owned(), "not the address of a syslog server", ""),
        (
            "a: { syslog: { address: \"tcp://logs\" } }".to_owned(),
            "not the address of a syslog server",
            "tcp://host:601",
        ),
        ("a: { syslog: { address: \"tcp://logs:0\" } }".to_owned(), "not the address of a syslog server", ""),
        ("a: { syslog: { address: \"http://logs:1\" } }".to_owned(), "not the address of a syslog server", ""),
        ("a: { syslog: { address: \"unix:/dev/log\", facility: kern } }".to_owned(), "`kern` is no facility", ""),
        ("a: { syslog: { address: \"unix:/dev/log\", facility: local8 } }".to_owned(), "`local8` is no facility", ""),
        ("a: { http: {} }".to_owned(), "`url` is missing", ""),
        (format!("a: {{ http: {{ {url}, headers: {{ authorization: s3cret }} }} }}"), "must not stand in the file", ""),
        (format!("a: {{ http: {{ {url}, batch: 0 }} }}"), "out of range", ""),
        (
            "a: { http: { url: \"http://logs.example.com/\", headers: { authorization: env:SECRET } } }".to_owned(),
            "in clear text",
            "use https",
        ),
        ("".to_owned(), "no sink is named", "remove `sinks`"),
    ] {
        assert_problems(&with_sinks(&sinks), &references(), &[(31, message, help)]);
    }
}

#[test]
fn file_and_sinks_exclude_each_other_and_wait_needs_a_sink_that_blocks() {
    let both = format!("{BASE}audit: {{ file: \"-\", sinks: {{ a: {{ stdout: true }} }} }}\n");
    assert_problems(&both, &references(), &[(31, "`file` and `sinks` are both there", "one of the sinks")]);
    let idle = format!("{BASE}audit: {{ wait: 1s }}\n");
    assert_problems(&idle, &references(), &[(31, "`wait` does nothing", "remove it")]);
}

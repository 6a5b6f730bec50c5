//! HTTP/2 used against the gateway: heads and frames that the protocol forbids, and floods of what it allows. Every flood is measured: what
//! it costs the gateway, and what another client sees of it meanwhile. The figures are in `docs/THREATS.md`.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::support::field::Field;
use super::support::h2_wire::{self as h2, END_HEADERS, END_STREAM, Wire, block, frame};
use super::support::recorder::response;
use super::support::{Answer, Gateway, Recorder, Setup, certs::Authority, eventually};

/// What a GET of tenant `a` needs; fields of a case stand in its place or behind it.
fn get<'a>(authority: &'a str, bearer: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", authority),
        (":path", "/bkt/a/x"),
        ("authorization", bearer),
    ]
}

async fn gateway_before(recorder: &Recorder) -> (Gateway, Authority) {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    (Setup::before(recorder).tls(&identity).start().await, authority)
}

#[tokio::test]
async fn k11_heads_that_http2_forbids_never_become_a_request_to_the_store() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(&recorder).await;
    let (host, bearer) = (gateway.address.to_string(), format!("Bearer {}", gateway.a.token));
    let with = |extra: &'static [(&'static str, &'static str)]| [get(&host, &bearer), extra.to_vec()].concat();
    let instead = |name: &'static str, value: &'static str| {
        let mut fields = get(&host, &bearer);
        fields.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, old)| *old = value);
        fields
    };
    let without = |name: &str| get(&host, &bearer).into_iter().filter(|(known, _)| *known != name).collect::<Vec<_>>();
    let cases = [
        with(&[("transfer-encoding", "chunked")]),
        with(&[("connection", "close")]),
        with(&[("connection", "x-amz-content-sha256")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "x")]),
        with(&[("upgrade", "websocket")]),
        with(&[("te", "gzip")]),
        with(&[("X-Amz-Meta-A", "upper case")]),
        with(&[("x-amz-meta-a", "line\r\nx-amz-copy-source: /bkt/b/x")]),
        with(&[("x-amz-meta-a", "line\nend")]),
        with(&[("x-amz-meta-a", "return\rend")]),
        with(&[("x-amz-meta-a", "nul\0end")]),
        with(&[("x a", "blank in a name")]),
        with(&[("x\r\nhost: evil", "line in a name")]),
        with(&[("", "no name")]),
        with(&[(":path", "/bkt/b/secret")]),
        with(&[(":authority", "evil.example")]),
        with(&[(":method", "DELETE")]),
        with(&[(":unknown", "x")]),
        with(&[(":status", "200")]),
        with(&[("host", "evil.example")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "0"), ("content-length", "5")]),
        instead(":path", "/bkt/a/x y"),
        instead(":path", "/bkt/a/x\r\nx: y"),
        instead(":path", "http://evil.example/bkt/a/x"),
        instead(":path", "*"),
        instead(":path", ""),
        instead(":path", "bkt/a/x"),
        instead(":method", "GET /bkt/b/secret HTTP/1.1\r\n\r\nGET"),
        instead(":method", ""),
        instead(":method", "G ET"),
        instead(":authority", "user@evil.example"),
        instead(":authority", "evil example"),
        instead(":authority", ""),
        without(":method"),
        without(":path"),
        without(":scheme"),
        without(":authority"),
        // A pseudo-field behind a field.
        [without(":path"), vec![("x-amz-meta-a", "1"), (":path", "/bkt/a/x")]].concat(),
    ];
    for fields in &cases {
        let mut wire = Wire::connect(gateway.address, &authority, &[]).await;
        assert!(wire.send(&frame(h2::HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))).await);
        let mut ended = false;
        while let Some(came) = wire.next(Duration::from_secs(5)).await {
            let refused = came.kind == h2::HEADERS && (400..500).contains(&h2::status_in(&came.payload));
            if refused || came.kind == h2::RST_STREAM || came.kind == h2::GOAWAY {
                ended = true;
                break;
            }
            assert_ne!(came.kind, h2::HEADERS, "{fields:?}: {}", h2::status_in(&came.payload));
        }
        assert!(ended, "{fields:?} is neither refused nor reset");
        assert!(recorder.is_silent(), "{fields:?}: {:?}", recorder.requests());
    }
    let mut wire = Wire::connect(gateway.address, &authority, &[]).await;
    wire.send(&frame(h2::HEADERS, END_STREAM | END_HEADERS, 1, &block(&get(&host, &bearer)))).await;
    let status = loop {
        let came = wire.next(Duration::from_secs(5)).await.expect("an answer");
        if came.kind == h2::HEADERS {
            break h2::status_in(&came.payload);
        }
    };
    assert_eq!((status, recorder.requests().len()), (200, 1), "the neighbour is served");
    // A fragment is cut off before anybody sees it; what is authorised is still what is asked of the store.
    let mut wire = Wire::connect(gateway.address, &authority, &[]).await;
    let fields = instead(":path", "/bkt/a/x#/../../b/secret");
    wire.send(&frame(h2::HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields))).await;
    eventually("the second request", || recorder.requests().len() == 2).await;
    assert_eq!(recorder.requests()[1].request_line(), "GET /up-bkt/a/x");
}

#[tokio::test]
async fn k11_k12_frames_that_http2_forbids_end_the_connection() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(&recorder).await;
    let (host, bearer) = (gateway.address.to_string(), format!("Bearer {}", gateway.a.token));
    let head = |stream| frame(h2::HEADERS, END_HEADERS, stream, &block(&get(&host, &bearer)));
    for (name, bytes) in [
        ("DATA on no stream", frame(h2::DATA, 0, 0, b"x")),
        ("DATA on a stream that was never opened", frame(h2::DATA, 0, 5, b"x")),
        ("HEADERS on an even stream", head(2)),
        ("HEADERS on stream 0", head(0)),
        ("CONTINUATION of nothing", frame(h2::CONTINUATION, END_HEADERS, 1, b"")),
        (
            "DATA between HEADERS and CONTINUATION",
            [frame(h2::HEADERS, 0, 1, b""), frame(h2::DATA, 0, 1, b"x")].concat(),
        ),
        ("a frame above the largest size", frame(h2::DATA, 0, 1, &[0; 16_385])),
        ("SETTINGS of a broken size", frame(h2::SETTINGS, 0, 0, &[0; 5])),
        ("a window beyond 2^31", frame(h2::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("PING of a broken size", frame(h2::PING, 0, 0, &[0; 7])),
        ("a header block that is none", frame(h2::HEADERS, END_HEADERS, 1, &[0xff; 64])),
        ("more padding than frame", frame(h2::DATA, 8, 1, &[255, 0])),
    ] {
        let mut wire = Wire::connect(gateway.address, &authority, &[]).await;
        wire.send(&bytes).await;
        let came = wire.rest().await;
        assert!(came.iter().any(|frame| frame.kind == h2::GOAWAY), "{name}: {came:?}");
    }
    assert!(recorder.is_silent());
}

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_rapid_resets_end_the_connection_and_cost_nothing_else() {
    let field = Field::start(Answer::ok()).await;
    let report = field
        .under("rapid reset, 10 connections of up to 20,000 streams", async {
            for _ in 0..10 {
                let wire = field.wire(&[]).await;
                let (mut write, _reading) = wire.forget_answers();
                let head = block(&field.get("/bkt/a/x"));
                let mut taken = 0;
                for batch in 0..200u32 {
                    let bytes: Vec<u8> = (0..100)
                        .flat_map(|n| {
                            let stream = (batch * 100 + n) * 2 + 1;
                            let reset = frame(h2::RST_STREAM, 0, stream, &8u32.to_be_bytes());
                            [frame(h2::HEADERS, END_STREAM | END_HEADERS, stream, &head), reset].concat()
                        })
                        .collect();
                    if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                        break;
                    }
                    taken = batch;
                }
                assert!(taken < 199, "the gateway went on reading");
            }
        })
        .await;
    // Of the streams that were reset, the store has heard of few.
    let heard = field.recorder.requests().iter().filter(|request| request.head.contains("/a/x ")).count();
    assert!(heard <= 10 * 200, "{heard} requests at the store");
    report.costs_at_most(16 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_streams_that_make_the_gateway_reset_them_end_the_connection() {
    let field = Field::start(Answer::ok()).await;
    let report = field
        .under("MadeYouReset (window update of 0), up to 20,000 streams", async {
            let (mut write, _reading) = field.wire(&[]).await.forget_answers();
            let head = block(&field.put("/bkt/a/x", "5"));
            let mut ended = false;
            for n in 0..20_000u32 {
                let stream = n * 2 + 1;
                let update = frame(h2::WINDOW_UPDATE, 0, stream, &0u32.to_be_bytes());
                let bytes = [frame(h2::HEADERS, END_HEADERS, stream, &head), update].concat();
                ended = write.write_all(&bytes).await.is_err() || write.flush().await.is_err();
                if ended {
                    break;
                }
            }
            assert!(ended, "the gateway went on resetting");
        })
        .await;
    assert!(field.recorder.nothing_committed());
    report.costs_at_most(16 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_continuations_without_end_end_the_connection() {
    for (name, first, piece) in [
        ("CONTINUATION flood, 160 MB", 16_000, 16_000),
        ("CONTINUATION flood, empty frames", 0, 0),
        ("CONTINUATION flood, one byte each", 1, 1),
    ] {
        let field = Field::start(Answer::ok()).await;
        let report = field
            .under(name, async {
                let (mut write, _reading) = field.wire(&[]).await.forget_answers();
                let filler = vec![0x88; piece];
                let mut bytes = frame(h2::HEADERS, 0, 1, &vec![0x88; first]);
                let mut ended = false;
                for _ in 0..10_000 {
                    bytes.extend(frame(h2::CONTINUATION, 0, 1, &filler));
                    ended = write.write_all(&bytes).await.is_err() || write.flush().await.is_err();
                    bytes.clear();
                    if ended {
                        break;
                    }
                }
                assert!(ended, "the gateway went on reading");
            })
            .await;
        report.costs_at_most(8 * MIB);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_settings_and_pings_without_end_are_answered_or_wait() {
    for (name, one) in [
        ("SETTINGS flood, 300,000 frames", frame(h2::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PING flood, 300,000 frames", frame(h2::PING, 0, 0, &[7; 8])),
        ("unknown frames, 300,000", frame(0xee, 0, 0, &[7; 8])),
        ("PRIORITY flood, 300,000 frames", frame(2, 0, 1, &[0, 0, 0, 0, 16])),
    ] {
        for reads in [true, false] {
            let field = Field::start(Answer::ok()).await;
            let how = if reads { "answers read" } else { "answers not read" };
            let report = field
                .under(&format!("{name}, {how}"), async {
                    let wire = field.wire(&[]).await;
                    let batch = one.repeat(1000);
                    let send = async |write: &mut (dyn tokio::io::AsyncWrite + Unpin + Send)| {
                        for _ in 0..300 {
                            let writing = tokio::time::timeout(Duration::from_secs(2), write.write_all(&batch));
                            if !matches!(writing.await, Ok(Ok(()))) {
                                break;
                            }
                        }
                    };
                    if reads {
                        let (mut write, _reading) = wire.forget_answers();
                        send(&mut write).await;
                    } else {
                        let Wire { read: _unread, mut write } = wire;
                        send(&mut write).await;
                    }
                })
                .await;
            report.costs_at_most(16 * MIB);
        }
    }
}

/// Opens an upload whose store takes nothing, and sends until the gateway has stopped reading its body.
async fn stalled_upload(field: &Field) -> (Wire, usize) {
    let mut wire = field.wire(&[(4, 0x7fff_ffff)]).await;
    let head = frame(h2::HEADERS, END_HEADERS, 1, &block(&field.put("/bkt/a/x", "10000000000")));
    assert!(wire.send(&head).await);
    // The window of a stream is 1 MiB; what the gateway reads it gives back.
    let mut window = MIB as usize;
    let piece = vec![0x5a; 16_000];
    loop {
        while let Some(came) = wire.next(Duration::from_millis(300)).await {
            if came.kind == h2::WINDOW_UPDATE && came.stream == 1 {
                window += u32::from_be_bytes(came.payload[..4].try_into().unwrap()) as usize;
            }
            if came.kind == h2::SETTINGS && came.flags == 0 {
                wire.send(&frame(h2::SETTINGS, 1, 0, &[])).await;
            }
        }
        if window < MIB as usize / 2 {
            return (wire, window);
        }
        while window > MIB as usize / 4 {
            assert!(wire.send(&frame(h2::DATA, 0, 1, &piece)).await);
            window -= piece.len();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_empty_and_tiny_data_frames_do_not_fill_the_memory() {
    for (name, size, count) in
        [("empty DATA frames, 1,000,000", 0, 1_000_000), ("DATA frames of one byte, 250,000", 1, 250_000)]
    {
        let field = Field::start(Answer::stall_puts()).await;
        let report = field
            .under(name, async {
                let (wire, window) = stalled_upload(&field).await;
                let (mut write, _reading) = wire.forget_answers();
                let count = if size == 0 { count } else { count.min(window) };
                let batch = frame(h2::DATA, 0, 1, &vec![0; size]).repeat(1000);
                for _ in 0..count / 1000 {
                    let writing = tokio::time::timeout(Duration::from_secs(2), write.write_all(&batch));
                    if !matches!(writing.await, Ok(Ok(()))) {
                        break;
                    }
                }
            })
            .await;
        report.costs_at_most(40 * MIB);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_downloads_that_nobody_may_send_are_bounded() {
    let field = Field::start(Answer::Bytes(response(200, "", &"x".repeat(1 << 20)))).await;
    let report = field
        .under("window 0 held, 4 connections of 100 downloads of 1 MiB", async {
            let mut open = Vec::new();
            for _ in 0..4 {
                let mut wire = field.wire(&[(4, 0)]).await;
                let head = block(&field.get("/bkt/a/x"));
                for n in 0..100u32 {
                    assert!(wire.send(&frame(h2::HEADERS, END_STREAM | END_HEADERS, n * 2 + 1, &head)).await);
                }
                open.push(wire);
            }
            for wire in &mut open {
                let heads = wire.rest().await.iter().filter(|frame| frame.kind == h2::HEADERS).count();
                assert!(heads > 0, "the downloads have begun");
            }
        })
        .await;
    report.costs_at_most(400 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_a_header_block_that_unpacks_to_megabytes_is_refused() {
    let field = Field::start(Answer::ok()).await;
    let report = field
        .under("HPACK bomb, 200 heads of 64 MB each", async {
            let mut wire = field.wire(&[]).await;
            // A field of 4000 bytes into the dynamic table, then 16,000 references to it.
            let mut bomb = block(&field.get("/bkt/a/x"));
            let mut first = bomb.clone();
            first.extend([0x40, 1, b'x']);
            h2::push_length(&mut first, 4000);
            first.extend([b'y'; 4000]);
            bomb.extend([0xbe; 15_000]);
            assert!(wire.send(&frame(h2::HEADERS, END_STREAM | END_HEADERS, 1, &first)).await);
            let (mut write, _reading) = wire.forget_answers();
            for n in 1..200u32 {
                let bytes = frame(h2::HEADERS, END_STREAM | END_HEADERS, n * 2 + 1, &bomb);
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    break;
                }
            }
        })
        .await;
    let heard = field.recorder.requests().iter().filter(|request| request.head.contains("/a/x ")).count();
    assert!(heard <= 1, "{heard} requests at the store");
    report.costs_at_most(16 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_streams_beyond_the_limit_are_refused_and_cost_nothing() {
    let field = Field::start(Answer::ok()).await;
    let report = field
        .under("100,000 streams that never end", async {
            let (mut write, _reading) = field.wire(&[]).await.forget_answers();
            let head = block(&field.put("/bkt/a/x", "5"));
            for batch in 0..1000u32 {
                let bytes: Vec<u8> =
                    (0..100).flat_map(|n| frame(h2::HEADERS, END_HEADERS, (batch * 100 + n) * 2 + 1, &head)).collect();
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    break;
                }
            }
        })
        .await;
    assert!(field.recorder.nothing_committed());
    report.costs_at_most(24 * MIB);
}

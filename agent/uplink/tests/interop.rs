//! Drives the connection with the `h2` crate's client, an implementation that shares no code with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::ext::Protocol;
use http::{Method, Request, StatusCode};
use lenscap_uplink::h2::{Bodies, Body, BodyRead, Config, Connection, ErrorCode, Event, Stats, StreamId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(30);

enum Source {
    Pattern { at: usize, len: usize },
    Echo { queue: VecDeque<u8>, ended: bool },
}

/// What the camera side of the tests serves.
#[derive(Default)]
struct App {
    sources: BTreeMap<StreamId, Source>,
    uploads: BTreeMap<StreamId, usize>,
}

impl Bodies for App {
    fn read(&mut self, stream: StreamId, out: &mut Vec<u8>, max: usize) -> BodyRead {
        match self.sources.get_mut(&stream) {
            None => BodyRead::Drained,
            Some(Source::Pattern { at, len }) => {
                let n = max.min(*len - *at);
                out.extend((*at..*at + n).map(|i| (i % 251) as u8));
                *at += n;
                if at == len { BodyRead::End } else { BodyRead::Bytes }
            }
            Some(Source::Echo { queue, ended }) => {
                let n = max.min(queue.len());
                out.extend(queue.drain(..n));
                match (queue.is_empty(), *ended) {
                    (true, true) => BodyRead::End,
                    (true, false) => BodyRead::Drained,
                    (false, _) => BodyRead::Bytes,
                }
            }
        }
    }
}

impl App {
    fn handle(&mut self, connection: &mut Connection, event: Event) {
        match event {
            Event::Request { stream, request, .. } if request.protocol.as_deref() == Some("websocket") => {
                assert_eq!(
                    (request.method.as_str(), request.path.as_str()),
                    ("CONNECT", "/rtsp")
                );
                self.sources.insert(
                    stream,
                    Source::Echo {
                        queue: VecDeque::new(),
                        ended: false,
                    },
                );
                let fields = [("sec-websocket-protocol", "rtsp.onvif.org")];
                connection.respond(stream, 200, &fields, Body::Streaming).unwrap();
            }
            Event::Request { stream, request, .. } if request.method == "POST" => {
                assert_eq!(request.header("x-long").map(<[u8]>::len), Some(300));
                self.uploads.insert(stream, 0);
            }
            Event::Request { stream, request, .. } => match request.path.strip_prefix("/bytes/") {
                Some(len) => {
                    self.sources.insert(
                        stream,
                        Source::Pattern {
                            at: 0,
                            len: len.parse().unwrap(),
                        },
                    );
                    connection
                        .respond(stream, 200, &[("content-length", len)], Body::Streaming)
                        .unwrap();
                    connection.set_body_ready(stream);
                }
                None => connection.respond(stream, 404, &[], Body::None).unwrap(),
            },
            Event::Data {
                stream,
                data,
                end_stream,
            } => self.handle_data(connection, stream, &data, end_stream),
            Event::Reset { stream, .. } => {
                self.sources.remove(&stream);
                self.uploads.remove(&stream);
            }
            Event::PeerGoAway { .. } => {}
            Event::Closed(error) => panic!("{error}"),
        }
    }

    fn handle_data(&mut self, connection: &mut Connection, stream: StreamId, data: &[u8], end: bool) {
        if let Some(Source::Echo { queue, ended }) = self.sources.get_mut(&stream) {
            queue.extend(data);
            *ended = end;
            connection.set_body_ready(stream);
        }
        if let Some(total) = self.uploads.get_mut(&stream) {
            *total += data.len();
            if end {
                let text = total.to_string();
                connection
                    .respond(stream, 200, &[("x-received", &text)], Body::None)
                    .unwrap();
            }
        }
    }
}

/// Runs the agent's side until the peer is gone or the drain is over.
async fn serve(mut io: DuplexStream, mut drain: mpsc::Receiver<()>) -> Stats {
    let start = Instant::now();
    let mut connection = Connection::new(Config::default(), start.elapsed());
    let mut app = App::default();
    let mut received = vec![0; 16_384];
    loop {
        while let Some(event) = connection.poll_event() {
            app.handle(&mut connection, event);
        }
        let mut out = Vec::new();
        if connection.poll_output(start.elapsed(), &mut out, 16_384, &mut app) > 0 {
            assert!(out.len() <= 16_384);
            if io.write_all(&out).await.is_err() {
                return connection.stats();
            }
        }
        if connection.is_drained() {
            return connection.stats();
        }
        // Input is looked at between any two writes, as the event loop of the agent does.
        let wait = if connection.wants_output() {
            Duration::ZERO
        } else {
            DEADLINE
        };
        tokio::select! {
            biased;
            read = io.read(&mut received) => match read {
                Ok(n) if n > 0 => connection.handle_input(start.elapsed(), &received[..n]),
                _ => return connection.stats(),
            },
            Some(()) = drain.recv() => connection.drain(start.elapsed()),
            () = tokio::time::sleep(wait) => connection.handle_timeout(start.elapsed()),
        }
    }
}

struct Setup {
    client: SendRequest<Bytes>,
    ping: h2::PingPong,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
    drain: mpsc::Sender<()>,
    server: tokio::task::JoinHandle<Stats>,
}

async fn setup() -> Setup {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (drain, drains) = mpsc::channel(1);
    let server = tokio::spawn(serve(far, drains));
    let (client, mut connection) = client::Builder::new()
        .initial_window_size(2 << 20)
        .initial_connection_window_size(4 << 20)
        .handshake(near)
        .await
        .unwrap();
    let ping = connection.ping_pong().unwrap();
    Setup {
        client,
        ping,
        connection: tokio::spawn(connection),
        drain,
        server,
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://cam{path}")).body(()).unwrap()
}

async fn read_all(mut body: h2::RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        all.extend_from_slice(&chunk);
    }
    all
}

async fn send_all(stream: &mut h2::SendStream<Bytes>, mut bytes: Bytes, end: bool) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
        let piece = bytes.split_to(room.min(bytes.len()));
        stream.send_data(piece, end && bytes.is_empty()).unwrap();
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn bodies_of_all_sizes_arrive_whole() {
    within(async {
        let Setup { mut client, .. } = setup().await;
        for len in [0, 1, 16_374, 16_375, 16_376, 65_535, 65_536, 10 << 20] {
            client = client.ready().await.unwrap();
            let (response, _) = client.send_request(get(&format!("/bytes/{len}")), true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["content-length"], len.to_string());
            assert!(read_all(response.into_body()).await == pattern(len), "{len}");
        }
        client = client.ready().await.unwrap();
        let (response, _) = client.send_request(get("/nothing"), true).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn many_at_once_share_the_connection() {
    within(async {
        let Setup {
            mut client,
            server,
            connection,
            ..
        } = setup().await;
        let mut tasks = Vec::new();
        for index in 0..100usize {
            client = client.ready().await.unwrap();
            let len = 1000 * index;
            let (response, _) = client.send_request(get(&format!("/bytes/{len}")), true).unwrap();
            tasks.push(tokio::spawn(async move {
                assert!(read_all(response.await.unwrap().into_body()).await == pattern(len));
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        drop(client);
        connection.await.unwrap().unwrap();
        let stats = server.await.unwrap();
        assert_eq!(
            (stats.requests, stats.resets_sent, stats.live_streams),
            (100, 0, 0)
        );
    })
    .await;
}

#[tokio::test]
async fn uploads_pass_the_window_many_times() {
    within(async {
        let Setup { client, .. } = setup().await;
        let mut client = client.ready().await.unwrap();
        let request = Request::post("https://cam/upload")
            .header("x-long", "y".repeat(300))
            .body(())
            .unwrap();
        let (response, mut stream) = client.send_request(request, false).unwrap();
        send_all(&mut stream, pattern(3 << 20).into(), true).await;
        assert_eq!(
            response.await.unwrap().headers()["x-received"],
            (3 << 20).to_string()
        );
    })
    .await;
}

#[tokio::test]
async fn extended_connect_carries_both_ways() {
    within(async {
        let Setup { client, mut ping, .. } = setup().await;
        ping.ping(h2::Ping::opaque()).await.unwrap();
        let mut client = client.ready().await.unwrap();
        assert!(client.is_extended_connect_protocol_enabled());
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri("https://cam/rtsp")
            .body(())
            .unwrap();
        request
            .extensions_mut()
            .insert(Protocol::from_static("websocket"));
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "rtsp.onvif.org".parse().unwrap());
        let (response, mut stream) = client.send_request(request, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "rtsp.onvif.org");
        let reader = tokio::spawn(read_all(response.into_body()));
        for _ in 0..50 {
            send_all(&mut stream, pattern(20_000).into(), false).await;
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(reader.await.unwrap() == pattern(20_000).repeat(50));
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_stream_stops_and_the_rest_goes_on() {
    within(async {
        let Setup { client, .. } = setup().await;
        let mut client = client.ready().await.unwrap();
        let (response, mut stream) = client.send_request(get("/bytes/1000000000"), true).unwrap();
        let body = response.await.unwrap().into_body();
        stream.send_reset(h2::Reason::CANCEL);
        drop(body);
        let mut client = client.ready().await.unwrap();
        let (response, _) = client.send_request(get("/bytes/100000"), true).unwrap();
        assert!(read_all(response.await.unwrap().into_body()).await == pattern(100_000));
    })
    .await;
}

#[tokio::test]
async fn a_drain_serves_what_was_begun() {
    within(async {
        let Setup {
            client,
            drain,
            server,
            connection,
            ..
        } = setup().await;
        let mut client = client.ready().await.unwrap();
        let (response, _) = client.send_request(get("/bytes/3000000"), true).unwrap();
        let response = response.await.unwrap();
        drain.send(()).await.unwrap();
        assert!(read_all(response.into_body()).await == pattern(3_000_000));
        let stats = server.await.unwrap();
        assert_eq!((stats.requests, stats.live_streams), (1, 0));
        connection.await.unwrap().unwrap();
        assert!(client.ready().await.is_err());
    })
    .await;
}

#[tokio::test]
async fn error_codes_have_the_same_numbers() {
    for (ours, theirs) in [
        (ErrorCode::NO_ERROR, h2::Reason::NO_ERROR),
        (ErrorCode::PROTOCOL_ERROR, h2::Reason::PROTOCOL_ERROR),
        (ErrorCode::FLOW_CONTROL_ERROR, h2::Reason::FLOW_CONTROL_ERROR),
        (ErrorCode::SETTINGS_TIMEOUT, h2::Reason::SETTINGS_TIMEOUT),
        (ErrorCode::STREAM_CLOSED, h2::Reason::STREAM_CLOSED),
        (ErrorCode::FRAME_SIZE_ERROR, h2::Reason::FRAME_SIZE_ERROR),
        (ErrorCode::REFUSED_STREAM, h2::Reason::REFUSED_STREAM),
        (ErrorCode::CANCEL, h2::Reason::CANCEL),
        (ErrorCode::COMPRESSION_ERROR, h2::Reason::COMPRESSION_ERROR),
        (ErrorCode::CONNECT_ERROR, h2::Reason::CONNECT_ERROR),
        (ErrorCode::ENHANCE_YOUR_CALM, h2::Reason::ENHANCE_YOUR_CALM),
        (ErrorCode::HTTP_1_1_REQUIRED, h2::Reason::HTTP_1_1_REQUIRED),
    ] {
        assert_eq!(ours.0, u32::from(theirs));
    }
}

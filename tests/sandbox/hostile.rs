//! Requests that no client would send: the server answers or hangs up, and goes on serving.

use std::net::SocketAddr;
use std::time::Duration;

use docmill::sandbox::Root;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::s3::{get, put};
use super::{s3_client, start};

/// An answer, read from the wire.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Status and the name of the error.
    pub fn error(&self) -> (u16, &str) {
        let name = self.header("x-amzn-errortype").and_then(|value| value.split(':').next());
        (self.status, name.unwrap_or_default())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().expect("a message").to_owned()
    }
}

pub async fn post(addr: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    request(addr, "POST", path, headers, body).await
}

pub async fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut socket = TcpStream::connect(addr).await.expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket.write_all(body).await.expect("sent");
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.expect("an answer");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

/// Sends bytes and reads what comes back. A request that is never whole gets no answer: it is given up after a while.
async fn send(addr: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
    let mut socket = TcpStream::connect(addr).await.expect("a connection");
    let mut answer = Vec::new();
    // The server may hang up at any point: only that it lives on matters.
    if socket.write_all(&bytes).await.is_ok() {
        let _ = timeout(Duration::from_millis(500), socket.read_to_end(&mut answer)).await;
    }
    answer
}

/// A small generator of pseudo-random numbers (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn mutate(&mut self, request: &[u8]) -> Vec<u8> {
        let mut bytes = request.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => drop(bytes.splice(at..at, b"%2e%2e/\0\r\n\xff{[\"".iter().copied())),
                3 => drop(bytes.drain(at..(at + self.below(20)).min(bytes.len()))),
                _ => bytes[at] ^= 1 << self.below(8),
            }
            if bytes.is_empty() {
                bytes.push(b' ');
            }
        }
        bytes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_bring_it_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let sandbox = start(Root::Folder(folder.path().join("root"))).await;
    let client = s3_client(&sandbox);
    client.create_bucket().bucket("docs").send().await.expect("a bucket");
    put(&client, "docs", "witness", "still here").await;
    let body = r#"{"messages":[{"role":"user","content":[{"text":"A text of a few words."}]}],"inferenceConfig":{"maxTokens":5}}"#;
    let native = r##"{"anthropic_version":"bedrock-2023-05-31","max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"A text of a few words.","cache_control":{"type":"ephemeral"}}]}],"tools":[{"name":"t","input_schema":{"type":"object","properties":{"a":{"type":"array","items":{"$ref":"#"}}}}}],"tool_choice":{"type":"any"}}"##;
    let shown = r##"{"messages":[{"role":"user","content":[{"text":"Look."},{"image":{"format":"jpeg","source":{"bytes":"/9j/4AAEYWL/wAARCAJYAyAD"}}},{"document":{"format":"pdf","name":"a","source":{"bytes":"JVBERi0xLjcgL1R5cGUgL1BhZ2Ug"}}}]}],"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{\"anyOf\":[{\"type\":\"string\"},{\"$ref\":\"#\"}]}"}}}}}"##;
    let template = r#"{"prompt":"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nA text.<|eot_id|><|start_header_id|>assistant<|end_header_id|>","max_gen_len":9}"#;
    let texts =
        r#"{"texts":["A text.","\u00fc"],"input_type":"clustering","embedding_types":["ubinary","int8"]}"#;
    let call = |path: &str, body: &str| {
        format!(
            "POST /model/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer sandbox-secret\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let seeds = [
        call("us.anthropic.claude-sonnet-4-6/invoke", native),
        call("us.anthropic.claude-sonnet-4-6/invoke-with-response-stream", native),
        call("us.anthropic.claude-sonnet-4-6/converse", shown),
        call("us.meta.llama3-3-70b-instruct-v1%3A0/invoke", template),
        call("cohere.embed-english-v3/invoke", texts),
        "GET /inference-profiles?maxResults=3&nextToken=2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer sandbox-secret\r\n\r\n".to_owned(),
        format!("POST /model/amazon.nova-lite-v1%3A0/converse HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer sandbox-secret\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        format!("POST /model/amazon.nova-lite-v1%3A0/converse-stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer sandbox-secret\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-amz-target: ServiceQuotasV20190624.ListServiceQuotas\r\ncontent-length: 25\r\n\r\n{\"ServiceCode\":\"bedrock\"}".to_owned(),
        "POST /_sandbox/reset HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "GET /docs?list-type=2&prefix=a%2F&max-keys=3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: AWS4-HMAC-SHA256 Credential=sandbox/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00\r\nx-amz-date: 20260101T000000Z\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\r\n".to_owned(),
        "PUT /docs/..%2f..%2fetc HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\nx-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "POST /docs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 9\r\n\r\n--x\r\n\r\n--".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
    ];
    // Patiently, because the first answer loads the vocabulary; and it shows that the first seed is a good request.
    let key = [("authorization", "Bearer sandbox-secret")];
    assert_eq!(
        post(sandbox.addr(), "/model/amazon.nova-lite-v1%3A0/converse", &key, body.as_bytes()).await.status,
        200
    );
    let mut random = Random(0x5eed);
    for _ in 0..10 {
        let mut batch = JoinSet::new();
        for seed in seeds.iter().cycle().take(84) {
            let bytes = random.mutate(seed.as_bytes());
            let answer = send(sandbox.addr(), bytes.clone());
            batch.spawn(async move {
                let answer = answer.await;
                assert!(!answer.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&bytes));
            });
        }
        batch.join_all().await;
    }
    assert_eq!(get(&client, "docs", "witness").await, b"still here");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a listing").count(), 1);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_early_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let sandbox = start(Root::Folder(folder.path().to_owned())).await;
    let client = s3_client(&sandbox);
    client.create_bucket().bucket("docs").send().await.expect("a bucket");
    let config =
        aws_sdk_s3::presigning::PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute");
    let signed = client.put_object().bucket("docs").key("half").presigned(config).await.expect("a signature");
    let path = signed.uri().strip_prefix(&sandbox.url()).expect("our address").to_owned();
    let mut head = format!("PUT {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000\r\n", sandbox.addr());
    for (name, value) in signed.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut socket = TcpStream::connect(sandbox.addr()).await.expect("a connection");
    socket.write_all(format!("{head}\r\nonly this").as_bytes()).await.expect("sent");
    drop(socket);
    let listed = client.list_objects_v2().bucket("docs").send().await.expect("a page");
    assert_eq!(listed.key_count(), Some(0));
    sandbox.stop().await;
    let staged =
        || std::fs::read_dir(folder.path().join(".docmill-sandbox/staging")).expect("a listing").count();
    // The writer of a cut connection cleans up when it learns of it, which may be after the stop.
    let cleaned = timeout(Duration::from_secs(30), async {
        while staged() > 0 {
            tokio::task::yield_now().await;
        }
    });
    cleaned.await.expect("a part of a body is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_sandbox_frees_its_port() {
    let sandbox = start(Root::Memory).await;
    let client = s3_client(&sandbox);
    client.create_bucket().bucket("docs").send().await.expect("a bucket");
    let addr = sandbox.addr();
    sandbox.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
    let dropped = start(Root::Memory).await;
    let addr = dropped.addr();
    drop(dropped);
    // The task ends at its next turn: wait for the port itself, not for a time.
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_began_before_the_stop_is_answered() {
    let sandbox = start(Root::Memory).await;
    let body = r#"{"messages":[{"role":"user","content":[{"text":"A text of a few words."}]}]}"#;
    let head = format!(
        "POST /model/amazon.nova-lite-v1%3A0/converse HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sandbox-secret\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(sandbox.addr()).await.expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("sent");
    // The server asks for the body when it has begun to work on the request.
    let mut go_on = [0; 25];
    socket.read_exact(&mut go_on).await.expect("an answer");
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    let stopping = tokio::spawn(sandbox.stop());
    socket.write_all(body.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("A text of a few words."), "{answer}");
    stopping.await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_signature() {
    let sandbox = start(Root::Memory).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/docs?list-type=2"),
        ("PUT", "/docs/key"),
        ("POST", "/model/k?uploads"),
        ("GET", "/model/x/converse"),
    ] {
        assert_eq!(request(sandbox.addr(), method, path, &[], b"").await.status, 403, "{method} {path}");
    }
}

//! What tests of the binary share: a sandbox in this process, the real S3 client to look into it, and the binary
//! itself as a child process with nothing of the caller's AWS settings.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use docmill::sandbox::scenario::Scenario;
use docmill::sandbox::{Latency, Options, Root, Sandbox};
use serde_json::Value;

pub const SUMMARISE: &str = "pipelines/summarise.toml";

/// A sandbox in memory and a client that speaks to it.
pub struct World {
    pub sandbox: Sandbox,
    pub s3: aws_sdk_s3::Client,
    pub runtime: tokio::runtime::Runtime,
    _dir: Option<tempfile::TempDir>,
}

impl World {
    pub fn new(buckets: &[&str]) -> World {
        World::with_latency(buckets, Duration::ZERO)
    }

    /// Puts what `before` puts while it is calm; the weather of `scenario` comes after that.
    pub fn in_weather(buckets: &[&str], scenario: Scenario, before: impl FnOnce(&World)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::Folder(dir.path().to_owned());
        let calm = World::start(Options { root: root.clone(), ..Options::default() }, buckets);
        before(&calm);
        drop(calm);
        let world = World::start(Options { root, scenario: Some(scenario), ..Options::default() }, &[]);
        World { _dir: Some(dir), ..world }
    }

    fn start(options: Options, buckets: &[&str]) -> World {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let sandbox = runtime.block_on(Sandbox::start(options)).unwrap();
        let s3 = s3_client(&sandbox.url());
        let world = World { sandbox, s3, runtime, _dir: None };
        for bucket in buckets {
            world.runtime.block_on(world.s3.create_bucket().bucket(*bucket).send()).unwrap();
        }
        world
    }

    pub fn with_latency(buckets: &[&str], latency: Duration) -> World {
        let latency = Latency { fixed: latency, per_output_token: Duration::ZERO };
        World::start(Options { root: Root::Memory, latency, ..Options::default() }, buckets)
    }

    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Vec<u8>>) {
        let body = aws_sdk_s3::primitives::ByteStream::from(body.into());
        self.runtime.block_on(self.s3.put_object().bucket(bucket).key(key).body(body).send()).unwrap();
    }

    pub fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.runtime.block_on(async {
            let object = self.s3.get_object().bucket(bucket).key(key).send().await;
            let object =
                object.unwrap_or_else(|e| panic!("{key}: {}", aws_sdk_s3::error::DisplayErrorContext(e)));
            object.body.collect().await.unwrap().to_vec()
        })
    }

    pub fn json(&self, bucket: &str, key: &str) -> Value {
        serde_json::from_slice(&self.get(bucket, key)).unwrap()
    }

    /// Every key in a bucket, in order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let mut pages = self.s3.list_objects_v2().bucket(bucket).into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                keys.extend(page.unwrap().contents().iter().map(|o| o.key().unwrap().to_owned()));
            }
            keys
        })
    }

    /// The binary, pointed at this sandbox.
    pub fn docmill(&self, args: &[&str]) -> Command {
        let mut command = docmill(args);
        command.env("AWS_ENDPOINT_URL", self.sandbox.url());
        command.env("AWS_ACCESS_KEY_ID", "sandbox").env("AWS_SECRET_ACCESS_KEY", "sandbox-secret");
        command.env("AWS_REGION", "us-east-1");
        command
    }

    /// Runs the shipped pipeline from one bucket to another.
    pub fn summarise(&self, source: &str, sink: &str, more: &[&str]) -> Run {
        let mut args = vec!["run", SUMMARISE, "--json", "--source", source, "--sink", sink];
        args.extend(more);
        Run::of(&mut self.docmill(&args))
    }

    /// What the sandbox has counted.
    pub fn stats(&self) -> Value {
        serde_json::from_str(&self.admin("GET", "stats")).unwrap()
    }

    /// Sets the counts to zero.
    pub fn reset(&self) {
        self.admin("POST", "reset");
    }

    fn admin(&self, method: &str, verb: &str) -> String {
        use std::io::{Read, Write};
        let mut connection = std::net::TcpStream::connect(self.sandbox.addr()).unwrap();
        let head = "Host: sandbox\r\nContent-Length: 0\r\nConnection: close";
        write!(connection, "{method} /_sandbox/{verb} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").expect("an HTTP answer").1.to_owned()
    }

    /// The report of the only run in this sink.
    pub fn report(&self, bucket: &str) -> Value {
        let reports: Vec<_> = self.keys(bucket).into_iter().filter(|k| k.ends_with("/report.json")).collect();
        assert_eq!(reports.len(), 1, "{reports:?}");
        self.json(bucket, &reports[0])
    }
}

fn s3_client(url: &str) -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("sandbox", "sandbox-secret", None, None, "test"))
        .endpoint_url(url)
        .force_path_style(true)
        .http_client(http)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// The binary, in the repository, without any AWS setting of whoever runs the tests.
pub fn docmill(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docmill"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_CONFIG_FILE", "/nonexistent").env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    command
}

/// A finished process.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Run {
        Run::from(command.output().expect("the binary starts"))
    }

    /// The JSON lines on stdout.
    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    pub fn events_of(&self, name: &str) -> Vec<Value> {
        self.events().into_iter().filter(|e| e["event"] == name).collect()
    }

    /// The totals of the closing event.
    pub fn totals(&self) -> Value {
        let finished = self.events_of("run_finished");
        assert_eq!(finished.len(), 1, "{self:#?}");
        finished[0]["totals"].clone()
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Run {
        assert_eq!(self.code, code, "stderr:\n{}\nstdout:\n{}", self.stderr, tail(&self.stdout));
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// The files of a folder of the repository, by path below it.
pub fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((key, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The keys of the documents in these files: of an archive those of its members, and of the archives in it.
pub fn document_keys(files: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut keys = Vec::new();
    for (key, bytes) in files {
        if !key.ends_with(".zip") {
            keys.push(key.clone());
            continue;
        }
        let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        let members = (0..zip.len()).map(|index| {
            let mut member = zip.by_index(index).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut member, &mut bytes).unwrap();
            (format!("{key}!/{}", member.name().unwrap()), bytes)
        });
        keys.extend(document_keys(&members.collect::<Vec<_>>()));
    }
    keys
}

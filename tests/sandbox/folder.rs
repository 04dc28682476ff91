//! What only a folder has: files that people drop in, links that lead out, and a second start.

use std::fs;
use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use docmill::sandbox::{Options, Root, Sandbox, SandboxError};

use super::s3::{failure, get, list, odd_keys, put};
use super::{s3_client, start};

fn root() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_objects_and_objects_are_files() {
    let root = root();
    write(&root.path().join("inbox/reports/2026 März.txt"), "hello");
    write(&root.path().join("Not A Bucket/x"), "x");
    write(&root.path().join("loose.txt"), "x");
    fs::create_dir_all(root.path().join("inbox/empty/folder")).expect("a folder");
    let sandbox = start(Root::Folder(root.path().to_owned())).await;
    let client = s3_client(&sandbox);
    let buckets = client.list_buckets().send().await.expect("a list");
    assert_eq!(buckets.buckets().iter().filter_map(|bucket| bucket.name()).collect::<Vec<_>>(), ["inbox"]);
    let page = client.list_objects_v2().bucket("inbox").delimiter("/").send().await.expect("a page");
    assert_eq!(
        page.common_prefixes().iter().filter_map(|prefix| prefix.prefix()).collect::<Vec<_>>(),
        ["reports/"]
    );
    let page = client.list_objects_v2().bucket("inbox").send().await.expect("a page");
    let object = &page.contents()[0];
    assert_eq!(
        (object.key(), object.size(), object.e_tag()),
        (Some("reports/2026 März.txt"), Some(5), Some("\"5d41402abc4b2a76b9719d911017c592\""))
    );
    assert_eq!(get(&client, "inbox", "reports/2026 März.txt").await, b"hello");

    // Seen when it changes, also at the same size, and when it goes.
    write(&root.path().join("inbox/reports/2026 März.txt"), "world");
    let page = client.list_objects_v2().bucket("inbox").send().await.expect("a page");
    assert_eq!(page.contents()[0].e_tag(), Some("\"7d793037a0760186574b0282f2f435e7\""));
    fs::remove_file(root.path().join("inbox/reports/2026 März.txt")).expect("removed");
    assert!(list(&client, "inbox").await.is_empty());

    put(&client, "inbox", "out/result.md", "# Result").await;
    assert_eq!(fs::read_to_string(root.path().join("inbox/out/result.md")).expect("a file"), "# Result");
    client.delete_object().bucket("inbox").key("out/result.md").send().await.expect("a delete");
    assert!(!root.path().join("inbox/out").exists(), "an empty folder is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_beside_a_folder_of_its_name() {
    let root = root();
    let sandbox = start(Root::Folder(root.path().to_owned())).await;
    let client = s3_client(&sandbox);
    client.create_bucket().bucket("docs").send().await.expect("a bucket");
    let etag = put(&client, "docs", "a", "one").await;
    assert!(root.path().join("docs/a").is_file());
    put(&client, "docs", "a/b", "two").await;
    assert_eq!(fs::read_to_string(root.path().join("docs/a/%=self")).expect("a file"), "one");
    let head = client.head_object().bucket("docs").key("a").send().await.expect("a head");
    assert_eq!(head.e_tag(), Some(etag.as_str()));
    assert_eq!(list(&client, "docs").await, ["a", "a/b"]);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_lead_nowhere() {
    let root = root();
    let outside = tempfile::tempdir().expect("a folder");
    write(&outside.path().join("secret"), "secret");
    write(&root.path().join("docs/seen"), "x");
    let link = |target: &Path, name: &str| {
        std::os::unix::fs::symlink(target, root.path().join(name)).expect("a link")
    };
    link(&outside.path().join("secret"), "docs/file");
    link(outside.path(), "docs/folder");
    link(outside.path(), "linked-bucket");
    let sandbox = start(Root::Folder(root.path().to_owned())).await;
    let client = s3_client(&sandbox);
    assert_eq!(list(&client, "docs").await, ["seen"]);
    for key in ["file", "folder/secret"] {
        assert_eq!(failure(client.get_object().bucket("docs").key(key).send().await).1, "NoSuchKey", "{key}");
        client.delete_object().bucket("docs").key(key).send().await.expect("nothing is deleted");
    }
    assert_eq!(
        failure(client.put_object().bucket("docs").key("folder/new").send().await),
        (403, "AccessDenied".to_owned())
    );
    assert_eq!(
        failure(client.put_object().bucket("docs").key("file").send().await),
        (403, "AccessDenied".to_owned())
    );
    assert_eq!(
        failure(client.get_object().bucket("linked-bucket").key("secret").send().await).1,
        "NoSuchBucket"
    );
    assert_eq!(fs::read_dir(outside.path()).expect("a listing").count(), 1);
    assert_eq!(fs::read_to_string(outside.path().join("secret")).expect("a file"), "secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_finds_everything_as_it_was() {
    let root = root();
    let sandbox = start(Root::Folder(root.path().to_owned())).await;
    let client = s3_client(&sandbox);
    client.create_bucket().bucket("docs").send().await.expect("a bucket");
    let mut keys = odd_keys();
    for key in &keys {
        client
            .put_object()
            .bucket("docs")
            .key(key)
            .content_type("text/x")
            .metadata("of", "me")
            .send()
            .await
            .expect("a put");
    }
    sandbox.stop().await;
    let sandbox = start(Root::Folder(root.path().to_owned())).await;
    let client = s3_client(&sandbox);
    keys.sort();
    assert_eq!(list(&client, "docs").await, keys);
    for key in &keys {
        let head = client.head_object().bucket("docs").key(key).send().await.expect("a head");
        assert_eq!(head.content_type(), Some("text/x"), "{key}");
        assert_eq!(
            head.metadata().and_then(|pairs| pairs.get("of")).map(String::as_str),
            Some("me"),
            "{key}"
        );
    }
    // What was said about an object does not hold for what somebody puts in its place.
    write(&root.path().join("docs/plain.txt"), "edited");
    let head = client.head_object().bucket("docs").key("plain.txt").send().await.expect("a head");
    assert_eq!((head.content_type(), head.content_length()), (Some("binary/octet-stream"), Some(6)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_sandboxes_over_one_folder_agree_on_the_winner() {
    let root = root();
    let sandboxes = [
        start(Root::Folder(root.path().to_owned())).await,
        start(Root::Folder(root.path().to_owned())).await,
    ];
    let clients = sandboxes.each_ref().map(s3_client);
    clients[0].create_bucket().bucket("docs").send().await.expect("a bucket");
    for round in 0..50 {
        let key = format!("claims/{round}");
        let claims = clients.each_ref().map(|client| {
            tokio::spawn(
                client
                    .put_object()
                    .bucket("docs")
                    .key(&key)
                    .if_none_match("*")
                    .body(ByteStream::from_static(b"0"))
                    .send(),
            )
        });
        let mut etags = Vec::new();
        for claim in claims {
            etags.extend(claim.await.expect("no panic").ok().and_then(|put| put.e_tag));
        }
        assert_eq!(etags.len(), 1, "round {round}");
        // Both renew the claim they see: again one wins, though both bodies have one size.
        let renewals = ["1", "2"].map(|body| {
            let client = &clients[usize::from(body == "2")];
            let body = ByteStream::from(body.as_bytes().to_vec());
            tokio::spawn(client.put_object().bucket("docs").key(&key).if_match(&etags[0]).body(body).send())
        });
        let mut winners = 0;
        for renewal in renewals {
            winners += usize::from(renewal.await.expect("no panic").is_ok());
        }
        assert_eq!(winners, 1, "round {round}");
    }
}

#[tokio::test]
async fn what_can_not_be_served_is_said_at_the_start() {
    let root = root();
    write(&root.path().join("file"), "x");
    let on_a_file = Options { root: Root::Folder(root.path().join("file")), ..Options::default() };
    assert!(matches!(Sandbox::start(on_a_file).await, Err(SandboxError::Folder { .. })));
    let first = start(Root::Memory).await;
    let taken = Options { listen: first.addr(), ..Options::default() };
    assert!(matches!(Sandbox::start(taken).await, Err(SandboxError::Listen { .. })));
}

//! What results look like, and that the same result gives the same bytes.

use super::*;

fn result(state: DocumentState) -> DocumentResult {
    let id = |level, index| CallId::new(level, index);
    let usage = Usage { input_tokens: 1200, output_tokens: 80, ..Usage::default() };
    let call = |stop_reason| {
        Some(CallRecord {
            model: "us.amazon.nova-micro-v1:0".into(),
            stop_reason,
            usage: Usage::default(),
            escalated_from: None,
        })
    };
    let chunk = |index, bytes, context_bytes, stop| ChunkRecord {
        id: id(0, index),
        bytes,
        place: None,
        context_bytes,
        tokens: 400,
        ends_at: Boundary::Paragraph,
        call: call(stop),
        pieces: Vec::new(),
    };
    let gaps = match state {
        DocumentState::Partial => {
            let gap = |call, bytes, place: Option<&str>, reason: &str| Gap {
                call,
                bytes,
                place: place.map(str::to_owned),
                reason: reason.into(),
            };
            vec![
                gap(Some(id(0, 1)), Some([900, 1700]), None, "refused\n"),
                gap(None, None, Some("page 3"), "it is an image."),
            ]
        }
        _ => Vec::new(),
    };
    DocumentResult {
        key: "notes/a\nb.txt".into(),
        state,
        task: "summarise".into(),
        output: Some("It rained.\n".into()),
        answers: Vec::new(),
        coverage: Coverage { complete: gaps.is_empty(), gaps },
        source: SourceRecord {
            uri: "s3://in/notes/a\nb.txt".into(),
            size_bytes: 1700,
            etag: Some("abc".into()),
            format: Format::Text,
            charset: "UTF-8".into(),
            text_bytes: 1700,
            text_tokens: 760,
            encoding: "o200k_base".into(),
            offset: Some(0),
            warnings: Vec::new(),
        },
        chunks: vec![
            chunk(0, [0, 900], None, Some(StopReason::EndTurn)),
            chunk(1, [900, 1700], Some([850, 900]), None),
        ],
        merge: MergeRecord {
            strategy: "tree".into(),
            levels: vec![vec![MergeNode {
                id: id(1, 0),
                inputs: vec![id(0, 0), id(0, 1)],
                bytes: [0, 1700],
                call: call(Some(StopReason::EndTurn)),
            }]],
        },
        usage,
        cost_usd: "0.0000532".parse().unwrap(),
        pipeline: PipelineRecord { name: "summarise".into(), fingerprint: "00ff".into() },
    }
}

#[test]
fn the_json_comes_last_and_names_every_byte_range() {
    let outputs = render(&result(DocumentState::Done), &[OutputFormat::Json, OutputFormat::Markdown]);
    let keys: Vec<_> = outputs.iter().map(|o| o.key.as_str()).collect();
    assert_eq!(keys, ["notes/a\nb.txt.md", "notes/a\nb.txt.json"]);
    let json: serde_json::Value = serde_json::from_slice(&outputs[1].body).unwrap();
    assert_eq!(json["schema"], "docmill.result/1");
    assert_eq!(json["chunks"][1]["bytes"], serde_json::json!([900, 1700]));
    assert_eq!(json["chunks"][1]["context_bytes"], serde_json::json!([850, 900]));
    assert_eq!(json["merge"]["levels"][0][0]["inputs"], serde_json::json!(["0.0", "0.1"]));
    assert_eq!(json["coverage"], serde_json::json!({ "complete": true }));
    assert_eq!(json["cost_usd"], "0.0000532");
}

#[test]
fn a_partial_result_says_so_above_its_text_and_a_key_is_one_line() {
    let outputs = render(&result(DocumentState::Partial), &[OutputFormat::Markdown]);
    insta::assert_snapshot!(String::from_utf8_lossy(&outputs[0].body), @r"
    # notes/a b.txt

    > **Partial:** not all of the document stands behind this text as it should.
    >
    > - bytes 900 to 1700: refused.
    > - page 3: it is an image.

    It rained.

    ---
    summarise by docmill 0.1.0 from s3://in/notes/a b.txt: 2 chunks, 1 merge, 1200 tokens in, 80 out, $0.000054.
    ");
}

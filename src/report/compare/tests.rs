//! Comparisons computed by hand, and laws: no order changes a figure, and no answer breaks a page.

use proptest::prelude::*;

use super::*;

/// A document that was answered at this price, or failed.
fn document(key: &str, answer: Option<&str>, cost_pico: u64) -> ModelDocument {
    ModelDocument {
        key: key.to_owned(),
        answer: answer.map(str::to_owned),
        state: if answer.is_some() { DocumentState::Done } else { DocumentState::Failed },
        cost: Usd::from_pico(cost_pico),
        usage: Usage {
            input_tokens: 1_000,
            output_tokens: 50,
            cache_read_tokens: 200,
            cache_write_tokens: 0,
        },
        truncated: false,
        latencies_ms: Vec::new(),
    }
}

fn run(model: &str, documents: Vec<ModelDocument>) -> ModelRun {
    ModelRun { model: model.to_owned(), documents }
}

fn references(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

/// Two models on three documents; the dear one fails the third.
fn two_models() -> Vec<ModelRun> {
    let mut dear = vec![
        document("a", Some("police killed the gunman"), 6_000_000_000),
        document("b", Some("one two three four"), 6_000_000_000),
        document("c", None, 3_000_000_000),
    ];
    dear[0].latencies_ms = vec![900, 100, 300];
    dear[1].latencies_ms = vec![200];
    dear[1].truncated = true;
    dear[1].state = DocumentState::Partial;
    let cheap = vec![
        document("c", Some("anything"), 1_000_000_000),
        document("b", Some("one two five six"), 1_000_000_000),
        document("a", Some("the gunman police killed"), 1_000_000_001),
    ];
    vec![run("dear", dear), run("cheap", cheap)]
}

fn three_references() -> BTreeMap<String, String> {
    references(&[
        ("a", "police killed the gunman"),
        ("c", "Nothing happened in 2024"),
        ("z", "not in the sample"),
    ])
}

#[test]
fn totals_are_those_of_the_documents() {
    let comparison = Comparison::new(&two_models(), &three_references());
    let [cheap, dear] = comparison.models.as_slice() else { panic!("two models") };
    assert_eq!((cheap.model.as_str(), dear.model.as_str()), ("cheap", "dear"), "the cheapest first");
    assert_eq!((dear.done, dear.partial, dear.failed, dear.skipped), (1, 1, 1, 0));
    assert_eq!((dear.truncated, dear.answered), (1, 2));
    assert_eq!(dear.cost_usd.to_string(), "0.015");
    assert_eq!(dear.cost_per_document_usd.map(Usd::pico), Some(7_500_000_000), "failures are paid for");
    assert_eq!(cheap.cost_per_document_usd.map(Usd::pico), Some(1_000_000_001), "rounded up");
    assert_eq!((dear.usage.input_tokens, dear.usage.output_tokens), (3_000, 150));
    assert_eq!((dear.timed_calls, dear.latency_p50_ms, dear.latency_p95_ms), (4, Some(200), Some(900)));
    assert_eq!((cheap.timed_calls, cheap.latency_p50_ms, cheap.latency_p95_ms), (0, None, None));
    let cheapest = comparison.cheapest.expect("both answered");
    assert_eq!((cheapest.model.as_str(), cheapest.dearest.as_str()), ("cheap", "dear"));
    assert_eq!(cheapest.saved_per_document_usd.pico(), 6_499_999_999);
    assert!((cheapest.saved_share - 0.866_666).abs() < 1e-6);
}

#[test]
fn a_missing_answer_scores_as_an_empty_one() {
    let comparison = Comparison::new(&two_models(), &three_references());
    assert_eq!((comparison.documents, comparison.scored, comparison.unused_references), (3, 2, 1));
    let [cheap, dear] = [0, 1].map(|model| comparison.models[model].scores.expect("references"));
    // `dear`: all of `a`, nothing of `c`. `cheap`: the words of `a`, two of its pairs, two of its words in order.
    assert_eq!((dear.rouge_1.f1, dear.rouge_2.f1, dear.rouge_l.f1), (0.5, 0.5, 0.5));
    assert_eq!(cheap.rouge_1, Rouge { precision: 0.5, recall: 0.5, f1: 0.5 });
    assert!((cheap.rouge_2.f1 - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(cheap.rouge_l.f1, 0.25);
    // The content of `c` is `2024` and `happened`; `a` has none.
    assert_eq!((dear.coverage, cheap.coverage), (Some(0.0), Some(0.0)));
    let better = vec![run("m", vec![document("c", Some("in 2024"), 1)])];
    let scores = Comparison::new(&better, &three_references()).models[0].scores.expect("a reference");
    assert_eq!(scores.coverage, Some(0.5));
}

#[test]
fn agreement_leaves_out_and_counts_what_one_model_failed() {
    let comparison = Comparison::new(&two_models(), &BTreeMap::new());
    // `a` has two words of four in order, `b` has two of four.
    let between = Agreement { rouge_l_f1: Some(0.5), documents: 2, left_out: 1 };
    assert_eq!(comparison.agreement[0][1], between);
    assert_eq!(comparison.agreement[1][0], between);
    assert_eq!(comparison.agreement[0][0], Agreement { rouge_l_f1: Some(1.0), documents: 3, left_out: 0 });
    assert_eq!(comparison.agreement[1][1], Agreement { rouge_l_f1: Some(1.0), documents: 2, left_out: 1 });
    assert_eq!(comparison.not_answered_by_all, 1);
    assert_eq!(comparison.models[0].scores, None, "no references");
}

/// A run that was cut short for one model does not make its mean one over easier documents.
#[test]
fn scores_are_over_documents_that_every_model_was_given() {
    let reference = references(&[("a", "x y"), ("b", "x y"), ("c", "x y")]);
    let mut skipped = document("c", None, 0);
    skipped.state = DocumentState::Skipped;
    let first = vec![document("a", Some("x y"), 1), document("b", Some("z"), 1), skipped];
    let runs = [
        run("first", first),
        run("second", vec![document("a", Some("x"), 1), document("c", Some("x y"), 1)]),
    ];
    let [first, second] = runs;
    let comparison = Comparison::new(&[second, first], &reference);
    assert_eq!((comparison.documents, comparison.scored, comparison.not_answered_by_all), (3, 1, 2));
    let recall = |model: usize| comparison.models[model].scores.expect("references").rouge_1.recall;
    assert_eq!((recall(0), recall(1)), (1.0, 0.5), "models of equal cost stand by id");
}

#[test]
fn a_failed_document_has_no_answer_whatever_was_kept_of_it() {
    let mut half = document("a", Some("half of it"), 5);
    half.state = DocumentState::Failed;
    let runs = [run("fails", vec![half]), run("free", vec![document("a", Some("all"), 0)])];
    let comparison = Comparison::new(&runs, &BTreeMap::new());
    assert_eq!(comparison.models[1].model, "fails", "spending without an answer is not cheap");
    assert_eq!((comparison.models[1].answered, comparison.models[1].cost_per_document_usd), (0, None));
    assert_eq!(comparison.cheapest, None);
    assert_eq!(comparison.agreement[0][1], Agreement { rouge_l_f1: None, documents: 0, left_out: 1 });
}

#[test]
fn percentiles_are_values_that_occurred() {
    let hundred: Vec<u64> = (1..=100).collect();
    assert_eq!((nearest_rank(&hundred, 50), nearest_rank(&hundred, 95)), (Some(50), Some(95)));
    assert_eq!((nearest_rank(&[7], 50), nearest_rank(&[7], 95)), (Some(7), Some(7)));
    assert_eq!((nearest_rank(&[1, 2, 3], 50), nearest_rank(&[1, 2, 3], 95)), (Some(2), Some(3)));
    assert_eq!(nearest_rank(&[], 95), None);
}

#[test]
fn json_is_versioned_and_money_is_exact() {
    let json = serde_json::to_value(Comparison::new(&two_models(), &three_references())).expect("JSON");
    assert_eq!(json["schema"], "docmill.compare/1");
    assert_eq!(json["models"][1]["cost_usd"], "0.015");
    assert_eq!(json["models"][0]["cost_per_document_usd"], "0.001000000001");
    assert_eq!(json["models"][0]["latency_p95_ms"], serde_json::Value::Null);
    assert_eq!(json["agreement"][0][1]["rouge_l_f1"], 0.5);
    assert_eq!(json["cheapest"]["dearest"], "dear");
}

#[test]
fn the_tables_read_as_follows() {
    let expected = "  \
  model  done  partial  failed  truncated       cost  a document
1 cheap     3        0       0          0  $0.003001   $0.001001
2 dear      1        1       1          1  $0.015000   $0.007500

  model  tokens in  out  p50 ms  p95 ms    R-1    R-2    R-L  coverage
1 cheap      3,600  150       -       -  0.500  0.333  0.250     0.000
2 dear       3,600  150     200     900  0.500  0.500  0.500     0.000

agreement (mean ROUGE-L F1 of two models' answers)
  model      1      2
1 cheap  1.000  0.500
2 dear   0.500  1.000

model 1 is the cheapest: $0.006500 (86.7 %) a document less than model 2
scores: ROUGE F1 and coverage against references, means over 2 of 3 documents;
coverage is the share of a reference's numbers, names and rare words that the answer has
not answered by every model: 1 of 3 documents; a missing answer scores 0 against a reference,
its cost counts, and agreement leaves the document out
references without a document in the sample: 1
";
    assert_eq!(table(&Comparison::new(&two_models(), &three_references())), expected);
}

#[test]
fn one_model_without_references_or_calls_has_the_columns_it_can_fill() {
    let runs = [run("only", vec![document("a", Some("text"), 1)])];
    let text = table(&Comparison::new(&runs, &BTreeMap::new()));
    for absent in ["R-1", "p50", "agreement", "cheapest", "NaN", "skipped"] {
        assert!(!text.contains(absent), "{absent} in:\n{text}");
    }
    assert!(table(&Comparison::new(&[], &BTreeMap::new())).contains("model"));
}

#[test]
fn tables_stay_within_a_hundred_columns() {
    let arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/";
    let runs: Vec<ModelRun> = (0..23)
        .map(|n| {
            let mut one = document("a", Some("some text"), 1_234_567_000_000_000 + n);
            one.usage = Usage { input_tokens: 123_456_789, output_tokens: 12_345_678, ..Usage::default() };
            one.latencies_ms = vec![123_456];
            run(&format!("{arn}{n:012}"), vec![one])
        })
        .collect();
    let text = table(&Comparison::new(&runs, &references(&[("a", "some Text of 2024")])));
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}:\n{text}");
    let headings = text.lines().filter(|line| line.trim_start().starts_with("model  ")).count();
    assert_eq!(headings, 2 + 3, "the matrix of 23 models in three parts:\n{text}");
    assert!(text.contains("arn:aws:bed"), "ids keep their beginning:\n{text}");
}

/// Lines outside fences, as CommonMark finds fences of backticks.
fn outside_fences(page: &str) -> Vec<&str> {
    let mut fence: Option<usize> = None;
    let mut outside = Vec::new();
    for line in page.split(['\n', '\r']) {
        let inner = line.trim_start_matches(' ');
        let ticks = inner.len() - inner.trim_start_matches('`').len();
        let can_be_fence = line.len() - inner.len() <= 3 && ticks >= 3;
        match fence {
            Some(open) if can_be_fence && ticks >= open && inner[ticks..].trim().is_empty() => fence = None,
            Some(_) => {}
            None if can_be_fence && !inner[ticks..].contains('`') => fence = Some(ticks),
            None => outside.push(line),
        }
    }
    assert_eq!(fence, None, "a fence stays open");
    outside
}

const HOSTILE: [&str; 8] = [
    "# heading\n\n## `a`\n",
    "```\n# out\n```",
    "   `````text\n</code>\n### x\n`````  ",
    "~~~\n## out",
    "````",
    "a\r```\r## out\r",
    "<script>alert(1)</script>\n\n---\n",
    "\u{1b}[2J\0\u{2028}```\u{2028}## out",
];

#[test]
fn answers_do_not_break_the_page() {
    for text in HOSTILE {
        let runs = [run("m", vec![document("a", Some(text), 1)]), run("n", vec![document("a", None, 0)])];
        let page = side_by_side(&runs, &references(&[("a", text)]));
        let outside: Vec<&str> = outside_fences(&page).into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            outside,
            [
                "# Answers side by side",
                "## `a`",
                "### `m`",
                "Done: $0.000001, 1,200 tokens in, 50 out.",
                "### `n`",
                "Failed, without an answer: $0.000000, 1,200 tokens in, 50 out.",
                "### Reference",
            ],
            "{page}"
        );
        assert!(!page.contains(['\u{1b}', '\0']));
    }
}

#[test]
fn keys_are_shown_as_they_are_in_one_line() {
    for (key, heading) in [
        ("a.txt", "## `a.txt`"),
        ("x\n# y", "## `x # y`"),
        ("a`b", "## ``a`b``"),
        ("`a``", "## ``` `a`` ```"),
        ("<b>*", "## `<b>*`"),
    ] {
        let page = side_by_side(&[run("m", vec![document(key, Some("x"), 1)])], &BTreeMap::new());
        assert_eq!(outside_fences(&page)[2], heading);
    }
}

#[test]
fn every_line_end_is_shown_as_one() {
    let page =
        side_by_side(&[run("m", vec![document("a", Some("a\r\nb\rc\u{2028}d\n\n"), 1)])], &BTreeMap::new());
    assert!(page.ends_with("```text\na\nb\nc\nd\n```\n"), "{page}");
}

#[test]
fn a_document_that_a_model_was_not_given_says_so() {
    let mut cut = document("a", Some("half"), 1);
    cut.truncated = true;
    let page = side_by_side(&[run("m", vec![cut]), run("n", Vec::new())], &BTreeMap::new());
    assert!(page.contains("Done, stopped at its token limit: "), "{page}");
    assert!(page.contains("### `n`\n\nNot given to this model.\n"), "{page}");
}

fn any_document(key: usize) -> impl Strategy<Value = ModelDocument> {
    let answer = prop::option::weighted(0.8, "([a-e] |[A-Z]ell |1[0-9]\\. |東|`{1,4}\n|# ){0,20}");
    let latencies = prop::collection::vec(0u64..1_000, 0..4);
    (answer, 0u64..1_000, latencies, any::<bool>()).prop_map(
        move |(answer, cost, latencies_ms, truncated)| ModelDocument {
            latencies_ms,
            truncated,
            ..document(&format!("k{key}"), answer.as_deref(), cost)
        },
    )
}

fn any_run(model: usize) -> impl Strategy<Value = ModelRun> {
    let documents: Vec<_> = (0..5).map(|key| prop::option::weighted(0.9, any_document(key))).collect();
    documents.prop_map(move |documents| run(&format!("m{model}"), documents.into_iter().flatten().collect()))
}

fn any_runs() -> impl Strategy<Value = Vec<ModelRun>> {
    (1usize..5).prop_flat_map(|models| (0..models).map(any_run).collect::<Vec<_>>())
}

fn any_references() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("k[0-6]", "([a-e] |[A-Z]ell |1[0-9] |東){0,20}", 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_models_and_documents_changes_nothing(
        (runs, shuffled) in any_runs().prop_flat_map(|runs| (Just(runs.clone()), Just(runs).prop_shuffle())),
        references in any_references(),
    ) {
        let mut shuffled = shuffled;
        for run in &mut shuffled {
            run.documents.reverse();
        }
        let comparison = Comparison::new(&runs, &references);
        prop_assert_eq!(&comparison, &Comparison::new(&shuffled, &references));
        prop_assert_eq!(table(&comparison), table(&Comparison::new(&shuffled, &references)));
    }

    #[test]
    fn figures_add_up_and_scores_are_shares(runs in any_runs(), references in any_references()) {
        let comparison = Comparison::new(&runs, &references);
        for (at, model) in comparison.models.iter().enumerate() {
            let given = model.done + model.partial + model.failed + model.skipped;
            prop_assert!(model.answered <= given && given <= comparison.documents);
            prop_assert!(model.latency_p50_ms <= model.latency_p95_ms);
            prop_assert_eq!(model.scores.is_some(), comparison.scored > 0);
            let rouge = |scores: &Scores| [scores.rouge_1, scores.rouge_2, scores.rouge_l].map(|rouge| rouge.f1);
            let coverage = model.scores.and_then(|scores| scores.coverage);
            let alike = comparison.agreement[at].iter().filter_map(|cell| cell.rouge_l_f1);
            for share in model.scores.iter().flat_map(rouge).chain(coverage).chain(alike) {
                prop_assert!((0.0..=1.0).contains(&share), "{}", share);
            }
            for (other, cell) in comparison.agreement[at].iter().enumerate() {
                prop_assert_eq!(cell, &comparison.agreement[other][at]);
                prop_assert_eq!(cell.documents + cell.left_out, comparison.documents);
            }
        }
    }

    #[test]
    fn a_page_has_the_headings_of_its_documents_and_no_others(runs in any_runs(), references in any_references()) {
        let page = side_by_side(&runs, &references);
        let keys: BTreeSet<&str> = runs.iter().flat_map(|run| &run.documents).map(|d| d.key.as_str()).collect();
        let with_reference = keys.iter().filter(|key| references.contains_key(**key)).count();
        let outside = outside_fences(&page);
        let headings = |mark: &str| outside.iter().filter(|line| line.starts_with(mark)).count();
        prop_assert_eq!(headings("## "), keys.len());
        prop_assert_eq!(headings("### "), keys.len() * runs.len() + with_reference);
        prop_assert_eq!(headings("#"), 1 + keys.len() * (1 + runs.len()) + with_reference);
    }
}

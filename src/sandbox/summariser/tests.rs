//! The summariser on prose, on other scripts, and on things that are no prose at all.

use super::summarise;

const ENOUGH: usize = 1000;

const REPORT: &str = "# Harbour report\n\nThe harbour of Lindow was closed for nine days in March after a storm damaged the eastern\nbreakwater. Repairs to the breakwater cost two million euros and were paid by the port authority.\n\nFishermen could not leave the harbour and lost most of the spring catch. The [port authority](https://example.org/a) has\nsince promised to rebuild the breakwater in stone. A café in the old town sold soup.\n\nEngineers say the storm moved forty tonnes of rock from the eastern breakwater into the harbour. The harbour was opened\nagain when divers had removed the rock. The price of bread did not change. The port authority expects the rebuilt\nbreakwater to stand for sixty years. Weather was mild in April.\n";

#[test]
fn a_summary_quotes_the_document_in_its_order() {
    let summary = summarise(REPORT, ENOUGH);
    assert!(summary.contains("breakwater"), "{summary}");
    assert!(summary.len() <= REPORT.len() / 2, "{summary}");
    let flat = REPORT.replace('\n', " ").replace("[port authority](https://example.org/a)", "port authority");
    let mut at = 0;
    for sentence in summary.split_inclusive(". ") {
        let found = flat[at..].find(sentence.trim()).map(|place| at + place);
        at = found.unwrap_or_else(|| panic!("not in order or not in the document: {sentence}"));
    }
    assert_eq!(summary, summarise(REPORT, ENOUGH));
}

#[test]
fn marks_and_link_targets_are_left_out() {
    let text = "## Why\n\nThe **quick** engine of `docmill` is [fast and small](https://example.org/engine), they say.\n";
    let summary = summarise(text, ENOUGH);
    assert_eq!(summary, "The quick engine of docmill is fast and small, they say.");
}

#[test]
fn nothing_is_said_twice() {
    let text = "The reactor was shut down on Monday because of a leak in the cooling pipe. ".repeat(40)
        + "Two engineers were honoured by the mayor for their calm work at the reactor. ";
    let summary = summarise(&text, ENOUGH);
    assert_eq!(summary.matches("shut down").count(), 1, "{summary}");
    assert!(summary.contains("honoured"), "{summary}");
}

#[test]
fn scripts_without_spaces_and_other_full_stops_are_split() {
    let japanese = "港は三月の嵐で九日間閉鎖された。防波堤の修理には二百万ユーロがかかった。漁師は港を出られず、春の漁を失った。港湾局は防波堤を石で再建すると約束した。町の店はスープを売った。技師は嵐が岩を港に動かしたと言う。";
    let hindi = "तूफान के बाद बंदरगाह नौ दिन बंद रहा। तटबंध की मरम्मत पर बीस लाख खर्च हुए। मछुआरे बंदरगाह से बाहर नहीं जा सके। बंदरगाह प्राधिकरण ने तटबंध फिर बनाने का वादा किया। गाँव में मौसम अच्छा था।";
    let arabic = "أغلق الميناء تسعة أيام بعد العاصفة. هل دفعت سلطة الميناء تكاليف الإصلاح؟ لم يتمكن الصيادون من مغادرة الميناء. وعدت سلطة الميناء بإعادة بناء حاجز الأمواج.";
    let thai = "ท่าเรือถูกปิดเก้าวันหลังพายุ ".repeat(60);
    for text in [japanese, hindi, arabic, thai.as_str()] {
        let summary = summarise(text, ENOUGH);
        assert!(!summary.is_empty() && summary.len() < text.len(), "{summary}");
    }
    assert_eq!(super::sentences::split(japanese).len(), 6);
    assert_eq!(super::sentences::split(hindi).len(), 5);
    assert_eq!(super::sentences::split(arabic).len(), 4);
}

#[test]
fn a_text_of_anything_gets_an_answer() {
    let base64 = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg".repeat(600);
    let json = format!("[{}]", "{\"id\":1,\"name\":\"x\",\"tags\":[\"a\",\"b\"]},".repeat(1000));
    let log = (0..500)
        .map(|n| format!("2026-11-20T10:00:{:02} INFO worker {n} finished\n", n % 60))
        .collect::<String>();
    let brackets = "[".repeat(40_000);
    for text in [
        "x",
        "!!!",
        "1",
        "##",
        "# Only a heading",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        &base64,
        &json,
        &log,
        &brackets,
    ] {
        let summary = summarise(text, ENOUGH);
        assert!(!summary.trim().is_empty(), "{}", &text[..text.len().min(40)]);
        assert!(summary.chars().count() < 3000);
    }
    assert_eq!(summarise(" \n\t", ENOUGH), "");
}

#[test]
fn a_small_budget_gives_a_small_answer() {
    let long = REPORT.repeat(20);
    assert!(super::tokens_at_most(&summarise(&long, 60)) <= 70);
    assert!(!summarise(&long, 1).is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_fail(text in "(\\PC|[\\n#\\[\\]()|`*_.!<>。। ]){0,400}") {
        let summary = summarise(&text, ENOUGH);
        proptest::prop_assert_eq!(summary.trim().is_empty(), text.trim().is_empty());
    }
}

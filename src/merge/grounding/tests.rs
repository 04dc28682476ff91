//! What is grounded and what is not, in the ways that texts write it.

use super::*;

fn texts(answer: &str, sources: &[&str]) -> Vec<(ClaimKind, String)> {
    ungrounded(answer, sources).into_iter().map(|found| (found.kind, found.text)).collect()
}

#[track_caller]
fn grounded(answer: &str, source: &str) {
    assert_eq!(texts(answer, &[source]), [], "{answer:?} from {source:?}");
}

#[track_caller]
fn missing(answer: &str, source: &str, kind: ClaimKind, text: &str) {
    assert_eq!(texts(answer, &[source]), [(kind, text.to_owned())], "{answer:?} from {source:?}");
}

#[test]
fn numbers_are_compared_and_not_their_spelling() {
    for (answer, source) in [
        ("It cost 1,234.50.", "Kosten: 1.234,5 Euro"),
        ("There were 10 000 of them.", "10,000 people came"),
        ("There were 10,000.", "10 000 Menschen kamen"),
        ("About 1.5 million.", "exactly 1,500,000 units"),
        ("Genau 1.500.000.", "rund 1,5 Mio. Stück"),
        ("12 people", "twelve people"),
        ("23 of 300", "twenty-three of three hundred"),
        ("A share of 12 %.", "12% agreed"),
        ("12,34,567 rupees", "1234567 INR"),
        ("Version 1.2.3 runs on 10.0.0.1.", "see 10.0.0.1, version 1.2.3"),
        ("Paper in A4, the 1980s.", "A4 paper of the 1980s"),
        ("1. First\n2. Second\n## 3. Third", "nothing"),
        ("0.50", "0,5"),
        ("1.234", "1234 and more"),
    ] {
        grounded(answer, source);
    }
    missing("It was 234.", "It was 1,234.", ClaimKind::Number, "234");
    missing("It was 1,235.", "It was 1,234 and 235.", ClaimKind::Number, "1,235");
    missing("It rose by 13 %.", "It rose by 12 %.", ClaimKind::Number, "13");
    missing("It cost $1,300.", "It cost $1,200.", ClaimKind::Amount, "1,300");
    missing("It cost 3 million euros.", "It cost two million euros.", ClaimKind::Amount, "3");
}

#[test]
fn dates_are_one_in_all_forms() {
    let forms = [
        "2024-03-04",
        "4 March 2024",
        "March 4, 2024",
        "March 4th, 2024",
        "4. März 2024",
        "4 mars 2024",
        "4 de marzo de 2024",
        "04.03.2024",
        "4/3/2024",
        "2024年3月4日",
        "the 4th of March 2024",
        "Mar 4, 2024",
    ];
    for answer in forms {
        for source in forms {
            grounded(&format!("On {answer} it began."), &format!("It began on {source}, they say."));
        }
        missing(
            &format!("On {answer} it began."),
            "It began on 5 May 2024.",
            ClaimKind::Date,
            answer.trim_start_matches("the "),
        );
    }
    grounded("In March 2024.", "on 4 March 2024");
    grounded("On 4 March.", "on 2024-03-04");
    grounded("On 4 March 2024.", "Minutes of 2024. On 4 March we met.");
    grounded("In 2024.", "on 2024-03-04");
    missing("On 4 March 2025.", "on 4 March 2024", ClaimKind::Date, "4 March 2025");
    grounded("They marched in general order.", "They marched.");
}

#[test]
fn names_and_addresses_that_no_source_knows_are_found() {
    let source =
        "Yesterday the director met Anna Kowalska of the Northern Institute, and they agreed on the plan.";
    grounded("The director met with Anna Kowalska yesterday.", source);
    grounded("The director and Anna Kowalski agreed on the plan.", source);
    missing("The director met Peter Schmidtke and they agreed.", source, ClaimKind::Name, "Peter Schmidtke");
    grounded("Peter Schmidtke met the director and they agreed on the plan.", source);
    let source = "Write to office@example.org or see https://www.example.org/plans/2024 for the plan.";
    grounded("See example.org/plans/2024 or write to office@example.org.", source);
    grounded("More at www.example.org.", source);
    missing("Write to Sales@example.org.", source, ClaimKind::Address, "Sales@example.org");
    missing("See (https://example.com/x).", source, ClaimKind::Address, "https://example.com/x");
}

#[test]
fn names_are_left_alone_where_nobody_can_be_sure() {
    // Another language than the source's, nouns with capitals, another script.
    grounded(
        "The court ruled that the Federal Parliament must decide, and that Human Dignity is inviolable.",
        "Das Gericht entschied, dass der Bundestag zu entscheiden habe und die Würde unantastbar sei.",
    );
    grounded(
        "Der Vorstand beschloss Anfang Oktober den Bau der Halle, die Kosten trägt zur Hälfte das Land, den Rest der Verein. \
         Die Mitglieder stimmten dem Vorschlag zu, der Schatzmeister enthielt sich der Stimme wegen der Höhe der Kosten.",
        "der die das und zu den dem im am sich wegen beschloss trägt stimmten enthielt",
    );
    grounded("They met Владимир Иванович in the town.", "They met in the town.".repeat(2).as_str());
}

#[test]
fn it_lists_each_once_and_stops() {
    assert_eq!(texts("77 and 77 and 78", &["nothing"]).len(), 2);
    let many: String = (100..300).map(|n| format!("{n} ")).collect();
    assert_eq!(texts(&many.replace(' ', "; "), &["nothing"]).len(), MOST_LISTED);
    assert_eq!(texts("", &[]), []);
    assert_eq!(texts("5", &["x", "y 5"]), []);
}

/// What quotes its source claims nothing new: any run of sentences of the real documents of the repository.
#[test]
fn an_extract_of_a_text_is_grounded_in_it() {
    let mut texts_seen = 0;
    for text in [
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/docs/markdown/nist-800-63b-authenticators.md"
        )),
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/docs/markdown/grundgesetz-grundrechte-excerpt.md"
        )),
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/docs/csv/federal-programs-excerpt.csv")),
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/docs/log/auth-excerpt.log")),
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/docs/json/factbook-united-states-excerpt.json"
        )),
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/docs/code/parse_jats_excerpt.py")),
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/docs/subtitles/elephants-dream.ru.vtt")),
    ] {
        let lines: Vec<&str> = text.lines().collect();
        for (first, stride) in [(0, 1), (0, 3), (1, 7), (2, 13)] {
            let extract: Vec<&str> = lines.iter().copied().skip(first).step_by(stride).collect();
            for joined in [extract.join("\n"), extract.join(" ")] {
                let found = ungrounded(&joined, &[text]);
                let places: Vec<_> = found.iter().take(5).collect();
                assert!(found.is_empty(), "{places:?} of {:?}", lines[0]);
            }
        }
        texts_seen += 1;
    }
    assert_eq!(texts_seen, 7);
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_every_text_grounds_itself(text in any::<String>(), other in "[A-Za-z0-9 .,@:/-]{0,80}") {
            prop_assert_eq!(ungrounded(&text, &[&text]), vec![]);
            prop_assert_eq!(ungrounded(&other, &[&other]), vec![]);
            let _ = ungrounded(&other, &[&text]);
        }
    }
}

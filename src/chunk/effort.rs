//! Counts the bytes that are looked at while a text is cut, so that a test can tell linear from worse without a clock.

#[cfg(test)]
thread_local! {
    static BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many bytes have been looked at. Nothing but for tests.
#[inline(always)]
pub(super) fn spend(bytes: usize) {
    #[cfg(test)]
    BYTES.set(BYTES.get() + bytes);
    #[cfg(not(test))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::BYTES;
    use crate::chunk::{Size, iter};
    use crate::domain::Layout;
    use crate::tokens::Encoding;

    fn effort(text: &str, layout: Layout, size: &Size) -> usize {
        BYTES.set(0);
        assert!(iter(text, layout, size).count() > 0);
        BYTES.get()
    }

    /// Letters of an alphabet in an order that does not repeat.
    fn shuffled(alphabet: &str, bytes: usize) -> String {
        let chars: Vec<char> = alphabet.chars().collect();
        let mut state = 88_172_645_463_325_252u64;
        let mut text = String::new();
        while text.len() < bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push(chars[(state % chars.len() as u64) as usize]);
        }
        text
    }

    #[test]
    fn cutting_is_linear_whatever_the_text() {
        let alphabets = [
            "\u{301}\u{302}\u{303}",
            "\u{301}",
            "👩\u{200d}",
            "🇫🇷",
            "\n",
            "\r\n",
            " ",
            " \t\n\u{3000}",
            "a",
            "=",
            "abcdefghijklmnopqrstuvwxyz",
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/",
            "!#%&()*+,-./:;<=>?@[]^_{|}~",
            "0123456789",
            "漢字仮名交文",
            "ab cd ",
            "\"",
            "- x\n",
        ];
        let sizes = [
            Size::new(1_000, 100, Encoding::Cl100kBase).expect("valid"),
            Size::new(64, 16, Encoding::O200kBase).expect("valid").with_limit(16_000).expect("valid"),
        ];
        for alphabet in alphabets {
            for layout in [Layout::Prose, Layout::Markdown, Layout::Table { delimiter: b',' }, Layout::Code] {
                for size in &sizes {
                    let (little, much) = (40_000, 160_000);
                    let text = |bytes| format!("x{}x", shuffled(alphabet, bytes));
                    let few = effort(&text(little), layout, size);
                    let many = effort(&text(much), layout, size);
                    let name = format!("{alphabet:?} as {layout:?} in {} tokens", size.tokens());
                    assert!(many / much < 25, "{name}: each byte is looked at {} times", many / much);
                    assert!(many < few * 5 + much * 5, "{name}: four times the text takes {many}, not {few}");
                }
            }
        }
    }
}

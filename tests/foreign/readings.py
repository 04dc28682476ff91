"""docmill's reading of documents beside those of others: pdftotext (Poppler) for PDF, pandoc for office files, books and HTML.

    python readings.py DOCMILL FOLDER

For each file that both can read: the words that the other finds and docmill finds too (recall), and the other way round
(precision), as multisets, so that a word that is read twice counts against its reader; and the time of both, process start
included, as the shortest of three runs, since the machine may have other work. Exits with 1 if the recall of a format is below what it is held to. The last table adds up each format.

Words are compared after NFKC, with hyphens at line ends taken out; ideographs count one by one, as there are no spaces between them.
"""

import collections
import html.parser
import pathlib
import re
import subprocess
import sys
import time
import unicodedata

PANDOC = {".docx": "docx", ".odt": "odt", ".rtf": "rtf", ".epub": "epub", ".html": "html"}
# Of the words of all files of a format.
WANTED = {".pdf": 0.98, ".docx": 0.99, ".odt": 0.99, ".html": 0.99}
PASSWORDS = ["openpassword", "tika"]
IDEOGRAPH = "\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef"
WORD = re.compile(rf"[{IDEOGRAPH}]|[^\W_{IDEOGRAPH}]+")
# Navigation and scripts are not the text of a page.
SKIPPED = {"script", "style", "nav", "head", "header", "footer", "aside", "select", "button", "template", "noscript"}


INLINE = {"b", "i", "em", "strong", "a", "span", "code", "sup", "sub", "u"}


class Text(html.parser.HTMLParser):
    """The text of HTML: all of it, or without what is not the main content."""

    def __init__(self, skipped):
        super().__init__()
        self.skipped, self.out = skipped, []
        # The element that is skipped, and how many of its name are open.
        self.tag, self.depth = None, 0

    def handle_starttag(self, tag, attributes):
        if self.depth:
            self.depth += tag == self.tag
        elif tag in self.skipped or self.skipped and ("role", "navigation") in attributes:
            self.tag, self.depth = tag, 1
        elif tag == "img":
            self.out += [value for key, value in attributes if key == "alt" and value]
        self.out.append("" if tag in INLINE else " ")

    def handle_endtag(self, tag):
        self.depth -= self.depth > 0 and tag == self.tag
        self.out.append("" if tag in INLINE else " ")

    def handle_data(self, data):
        if not self.depth:
            self.out.append(data)


def words(text):
    text = unicodedata.normalize("NFKC", text).replace("\u00ad", "")
    text = re.sub(r"(\w)[-\u2010]\n\s*(?=[a-zà-ÿа-я])", r"\1", text)
    return collections.Counter(WORD.findall(text))


ROUNDS = 3


def run(command, **options):
    """What a program prints, and the seconds that it took."""
    shortest = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=False, timeout=300, **options)
        shortest = min(shortest, time.perf_counter() - start)
    return done.stdout.decode("utf-8", "replace") if done.stdout else None, shortest


def main_content(path):
    """A page as UTF-8, without what is not its main content, formulas left out: pandoc writes them as TeX."""
    page = path.read_bytes()
    wide = page[:64].count(0) > 16
    page = page.decode("utf-16" if page[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le" if wide else "utf-8", "replace")
    page = re.sub(r"(?is)<math\b.*?</math>|<img\b[^>]*mwe-math[^>]*>|<span class=.mw-editsection.*?</span></span>", " ", page)
    ends = r"<main\b.*</main>|<\w+[^>]*role=.main.*?(?=<\w+[^>]*id=.mw-navigation|</body>)"
    found = re.search(f"(?is){ends}", page)
    return (found.group() if found else page).encode()


def other(path):
    """The other program's name, its text and seconds."""
    suffix = path.suffix.lower()
    if suffix == ".pdf":
        passwords = [option for password in PASSWORDS[:1] for option in ("-upw", password)]
        for options in ([], passwords):
            text, seconds = run(["pdftotext", *options, "-enc", "UTF-8", str(path), "-"])
            if text and text.strip():
                return "pdftotext", text, seconds
        return "pdftotext", None, 0
    given = {"input": main_content(path)} if suffix == ".html" else {"stdin": subprocess.DEVNULL}
    files = [] if suffix == ".html" else [str(path)]
    page, seconds = run(["pandoc", "-f", PANDOC[suffix], "-t", "html", "--wrap=none", *files], **given)
    if not page:
        return "pandoc", None, 0
    parser = Text(SKIPPED if suffix == ".html" else set())
    parser.feed(page)
    return "pandoc", "".join(parser.out), seconds


def main():
    docmill, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    totals = collections.defaultdict(lambda: [0, 0, 0, 0, 0.0, 0.0])
    print("| file | compared with | words | recall | precision | docmill s | other s |\n| --- | --- | --- | --- | --- | --- | --- |")
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if not path.is_file() or suffix != ".pdf" and suffix not in PANDOC:
            continue
        options = [option for password in PASSWORDS for option in ("--password", password)]
        ours, our_s = run([str(docmill), "extract", *options, str(path)])
        name, theirs, their_s = other(path)
        if not ours or not theirs or not theirs.strip():
            print(f"| {path.relative_to(folder)} | {name} | not read by {'both' if not ours and not theirs else 'it' if ours else 'docmill'} |")
            continue
        ours, theirs = words(ours), words(theirs)
        common, here, there = sum((ours & theirs).values()), sum(ours.values()), sum(theirs.values())
        print(f"| {path.relative_to(folder)} | {name} | {there:,} | {common / max(there, 1):.3f} | {common / max(here, 1):.3f} | {our_s:.2f} | {their_s:.2f} |")
        if "-v" in sys.argv:
            print("    missing", (theirs - ours).most_common(15), "\n    extra", (ours - theirs).most_common(15))
        total = totals[suffix]
        for index, value in enumerate([common, there, here, path.stat().st_size, our_s, their_s]):
            total[index] += value
    print("\n| format | words | recall | precision | docmill MB/s | other MB/s |\n| --- | --- | --- | --- | --- | --- |")
    failed = False
    for suffix, (common, there, here, size, our_s, their_s) in sorted(totals.items()):
        recall = common / max(there, 1)
        failed |= recall < WANTED.get(suffix, 0)
        print(f"| {suffix} | {there:,} | {recall:.3f} | {common / max(here, 1):.3f} | {size / 1e6 / max(our_s, 0.01):.2f} | {size / 1e6 / max(their_s, 0.01):.2f} |")
    sys.exit(failed)


if __name__ == "__main__":
    main()

"""Times the Python libraries that count tokens or cut texts, on the texts that `benches/text.rs` writes out with `--export`.

    python peers.py DIR

Prints lines of tool, version, task, text and megabytes a second, with tabs between, as the Rust half does. A figure is the
median of three readings by processor time, after one that is not counted. The Rust half must have run before: it writes
the vocabulary to DIR/tiktoken, so that nothing is fetched.
"""

import os
import pathlib
import statistics
import sys
import time
from importlib.metadata import version

ROUNDS = 3
# Some would take minutes for all of a text.
PART = 256 << 10
SIZES = [(8_000, 500), (1_000, 100)]


def rate(work, size):
    work()
    rates = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        rates.append(size / 1e6 / (time.process_time() - start))
    return statistics.median(rates)


def report(tool, task, name, work, size):
    try:
        print(tool, version(tool), task, name, f"{rate(work, size):.2f}", sep="\t", flush=True)
    except Exception as error:  # a peer that fails on a text is told, the others go on
        print(f"{tool} {task} {name}: {type(error).__name__}: {error}", file=sys.stderr)


def chunkers(encoding, tokens, overlap):
    from chonkie import SentenceChunker
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    import semchunk

    def count(text):
        return len(encoding.encode_ordinary(text))

    langchain = RecursiveCharacterTextSplitter(chunk_size=tokens, chunk_overlap=overlap, length_function=count)
    yield "langchain-text-splitters", langchain.split_text
    # Without its memory of counts, which would answer the later readings.
    semantic = semchunk.chunkerify(count, tokens, memoize=False)
    yield "semchunk", lambda text: semantic(text, overlap=overlap)
    chonkie = SentenceChunker(tokenizer=count, chunk_size=tokens, chunk_overlap=overlap)
    yield "chonkie", chonkie.chunk


def main():
    os.environ["TIKTOKEN_CACHE_DIR"] = str(pathlib.Path(sys.argv[1]) / "tiktoken")
    import tiktoken

    encoding = tiktoken.get_encoding("cl100k_base")
    for file in sorted(pathlib.Path(sys.argv[1]).glob("*.txt")):
        name, text = file.stem, file.read_text(encoding="utf-8")
        report("tiktoken", "count", name, lambda: encoding.encode_ordinary(text), len(text.encode()))
        if name.startswith("hostile"):
            continue
        part = text.encode()[:PART].decode(errors="ignore")
        size = len(part.encode())
        for tokens, overlap in SIZES:
            for tool, cut in chunkers(encoding, tokens, overlap):
                report(tool, f"chunk {tokens}/{overlap}", name, lambda cut=cut: cut(part), size)


main()

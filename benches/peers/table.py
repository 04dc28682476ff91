"""Makes one Markdown table for each task of the lines that the benchmarks printed: `python table.py FILE...`."""

import pathlib
import sys

rows = {}
for path in sys.argv[1:]:
    for line in pathlib.Path(path).read_text().splitlines():
        tool, version, task, text, rate = line.split("\t")
        rows.setdefault(task, {}).setdefault((tool, version), {})[text] = float(rate)
for task in sorted(rows, key=lambda task: (not task.startswith("count"), task)):
    texts = sorted({text for rates in rows[task].values() for text in rates})
    print(f"\n| {task}, MB/s | version | {' | '.join(texts)} |")
    print(f"|---|---|{'---|' * len(texts)}")
    for (tool, version), rates in sorted(rows[task].items(), key=lambda row: -max(row[1].values())):
        cells = [f"{rates[text]:.3g}" if text in rates else "" for text in texts]
        print(f"| {tool} | {version} | {' | '.join(cells)} |")

"""Write docs/lecture.md, the lecture's topics with their tests and chapters, from table.json; `--check` only compares.

python examples/lecture/table.py [--check]
"""

import argparse
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "lecture.md"

HEAD = """\
# The lecture: every topic is a feature, a test and a chapter

CS231n, winter 2016, lecture 6 (Training Neural Networks, part 2), with the course notes it refers to. A chapter is a short
script that makes a picture and prints the numbers behind the lecture's claim, on the embedded digits, in seconds:

```
python examples/lecture/05_initialisation.py --out runs/lecture
make gallery     # all of them, on one page: runs/gallery/index.html
```

This page is written by `python examples/lecture/table.py` from `examples/lecture/table.json`; a test compares the two, and
fails for a row whose test or chapter does not exist and for a chapter without a row.

"""

TRAPS = """
## Traps: conventions that differ

- Batch norm's momentum weighs the old value in the course, the new one in PyTorch and in fastnet's layers.
- Dropout's p keeps in the course (it dropped in the editions of 2016 and 2017), and drops in PyTorch and in fastnet's layers.
- The running variance is unbiased in PyTorch and in fastnet's layers, biased in the course.
- PyTorch's multi-margin loss is the course's SVM loss divided by the number of classes.
- Momentum's velocity holds the learning rate in the course and not in PyTorch and fastnet: they part as soon as it changes.

`fastnet.cs231n` keeps the course's side of each: [cs231n.md](cs231n.md).
"""


def rows():
    """[{"topic", "works", "tests": ["tests/file.py::name"], "chapter": "NN_name.py"}]."""
    return json.loads((HERE / "table.json").read_text(encoding="utf-8"))


def problems():
    """Sentences: what the table promises and the repository does not have, or the other way round."""
    found = []
    for row in rows():
        if not row["tests"]:
            found.append(f"{row['topic']}: has no test")
        for name in row["tests"]:
            file, _, function = name.partition("::")
            path = ROOT / file
            if not path.is_file() or not re.search(
                rf"^def {re.escape(function)}\(", path.read_text("utf-8"), re.MULTILINE
            ):
                found.append(f"{row['topic']}: there is no test {name}")
        if not (HERE / row["chapter"]).is_file():
            found.append(f"{row['topic']}: there is no chapter {row['chapter']}")
    told = {row["chapter"] for row in rows()}
    found += [
        f"{path.name}: stands in no row" for path in sorted(HERE.glob("[0-9][0-9]_*.py")) if path.name not in told
    ]
    return found


def text():
    lines = ["| topic | what works | tests | chapter |", "|---|---|---|---|"]
    for row in rows():
        tests = "<br>".join(
            f"[{name.split('/')[-1].replace('.py::', ': ')}](../{name.split('::')[0]})" for name in row["tests"]
        )
        chapter = f"[{row['chapter'].removesuffix('.py')}](../examples/lecture/{row['chapter']})"
        lines.append(f"| {row['topic']} | {row['works']} | {tests} | {chapter} |")
    return HEAD + "\n".join(lines) + "\n" + TRAPS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if something is missing or stale")
    found, options = problems(), parser.parse_args()
    if options.check and (not PAGE.exists() or PAGE.read_text("utf-8") != text()):
        found.append(f"{PAGE.relative_to(ROOT)} is stale: python examples/lecture/table.py writes it")
    for sentence in found:
        print(sentence, file=sys.stderr)
    if not options.check and not found:
        PAGE.write_text(text(), encoding="utf-8")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

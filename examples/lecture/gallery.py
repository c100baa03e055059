"""Run all chapters and put their pictures, numbers and texts on one page.

    python examples/lecture/gallery.py [--out runs/gallery] [--short] [--only 05 06]      (or: make gallery)

The page is OUT/index.html, with the pictures beside it. A chapter that fails is named on the page and at the end.
"""

import argparse
import ast
import contextlib
import html
import importlib
import io
import json
import sys
import time
import traceback
from pathlib import Path

import fastnet

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the chapters import _common from beside them
SHOWN = (".png", ".gif", ".svg")

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3.5rem; border-top: 1px solid #e5e7eb; padding-top: 1.5rem; }
img { max-width: 100%; display: block; margin: 1rem 0; } a { color: #2563a8; } .note { color: #6b7280; font-size: 0.9rem; }
pre { background: #f6f7f9; padding: 0.8rem 1rem; overflow-x: auto; font-size: 13px; line-height: 1.4; }
pre { white-space: pre-wrap; max-height: 32rem; }
ol { columns: 2; }
"""


def chapters():
    """The numbered scripts, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def about(path):
    """(title, text) of a chapter: the first line of its docstring and the rest."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
    title, _, rest = text.partition("\n")
    return title, rest.strip()


def run(path, out, short=False):
    """(numbers, what was printed, seconds, the error or None) of one chapter."""
    printed, began, error, numbers = io.StringIO(), time.perf_counter(), None, {}
    try:
        with contextlib.redirect_stdout(printed):
            numbers = importlib.import_module(path.stem).main(out, short)
    except Exception:  # the page of the others is still worth having
        error = traceback.format_exc()
    return numbers, printed.getvalue(), time.perf_counter() - began, error


def section(path, out, printed, seconds, error):
    title, text = about(path)
    files = sorted(file for file in out.glob(f"{path.stem}*") if file.suffix in (*SHOWN, ".html"))
    stills = {file.stem for file in files if file.suffix == ".png"}
    parts = [f'<h2 id="{path.stem}">{html.escape(title)}</h2>', f"<p>{html.escape(text)}</p>"]
    for file in files:
        if file.suffix == ".html":
            parts.append(f'<p><a href="{file.name}">{file.name}</a>: a page of its own</p>')
        elif file.suffix == ".svg" and stills:
            parts.append(f'<p><a href="{file.name}">{file.name}</a>: moves in a browser</p>')
        else:
            parts.append(f'<img src="{file.name}" alt="{html.escape(title)}: {file.stem}">')
    parts.append(f"<pre>{html.escape(printed.strip())}</pre>")
    if error:
        parts.append(f"<p><b>This chapter failed.</b></p><pre>{html.escape(error)}</pre>")
    parts.append(f'<p class="note">examples/lecture/{path.name}, {seconds:.0f} s</p>')
    return "\n".join(parts)


def page(sections, contents, seconds):
    links = "\n".join(f'<li><a href="#{stem}">{html.escape(title)}</a></li>' for stem, title in contents)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>fastnet: the lecture</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>The lecture, chapter by chapter</h1>\n"
        "<p>CS231n, lecture 6: Training Neural Networks, part 2, on the embedded digits. Every picture and number here was "
        f"made by fastnet {fastnet.__version__} in {seconds:.0f} seconds.</p>\n<ol>\n{links}\n</ol>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/gallery"))
    parser.add_argument("--short", action="store_true", help="toys of all chapters")
    parser.add_argument("--only", nargs="+", metavar="NN", help="numbers of chapters")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [path for path in chapters() if not options.only or path.stem[:2] in options.only]
    if not chosen:
        parser.error(f"no such chapter: {' '.join(options.only)}")
    sections, numbers, failed = [], {}, []
    began = time.perf_counter()
    for path in chosen:
        numbers[path.stem], printed, seconds, error = run(path, options.out, options.short)
        print(f"{path.stem:20s} {seconds:6.1f} s{'  FAILED' if error else ''}", flush=True)
        if error:
            failed.append(path.stem)
            print(error, file=sys.stderr)
        sections.append(section(path, options.out, printed, seconds, error))
    total = time.perf_counter() - began
    contents = [(path.stem, about(path)[0]) for path in chosen]
    (options.out / "index.html").write_text(page(sections, contents, total), encoding="utf-8")
    (options.out / "numbers.json").write_text(json.dumps(numbers, indent=1, default=str) + "\n", encoding="utf-8")
    print(f"{total:.0f} s; {options.out / 'index.html'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

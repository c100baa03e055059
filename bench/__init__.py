"""How fast fastnet is, and against what: one file per question.

    python -m bench                                        every question, most of an hour
    python -m bench --quick                                every question, about a minute
    python -m bench --only conv,steps                      some questions
    python -m bench --only conv --match "resnet50.*3x3"    some cases; --no-naive leaves all but fastnet and PyTorch out
    python -m bench --only conv --level avx512             at a lower level, kept in results/avx512; at avx2 PyTorch too

A question is a module of this folder whose name does not start with an underscore. Its docstring opens with a line that
says what it asks, and its function `cases(size)` yields `Case`s for size "full", "quick" or "toy" (the tests' size).
`pooling.py` is the one to copy; `conv.py` shows precisions and errors. A question whose answers are no ratios of two sides
yields single figures instead, with the mark that each should reach: `limits.py`. All else, the processes, the checks, the
pairs, tables and pictures, is in `_harness/`.
"""

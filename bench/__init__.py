"""How fast fastnet is, and against what: one file per question.

    python -m bench                       every question, minutes
    python -m bench --quick               every question, under a minute
    python -m bench --only conv,steps     some questions

A question is a module of this folder whose name does not start with an underscore. Its docstring opens with a line that
says what it asks, and its function `cases(size)` yields `Case`s for size "full", "quick" or "toy" (the tests' size).
`pooling.py` is the one to copy. All else, the processes, the checks, the pairs, tables and pictures, is in `_harness/`.
"""

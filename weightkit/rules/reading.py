"""WK0xx: whether the bytes can be read and recognised at all."""

from __future__ import annotations

from weightkit.rules.rule import DO_NOT_LOAD, FETCH_AGAIN, Rule

RULES = [
    Rule(
        "WK001",
        "truncated",
        "danger",
        "The bytes end before a structure that was announced.",
        "The download or copy broke off, or a length field was forged.",
        FETCH_AGAIN,
        fatal=True,
    ),
    Rule(
        "WK002",
        "budget",
        "danger",
        "Reading on would pass a limit on time, memory, depth or count.",
        "Files built to exhaust a reader announce or expand to far more than they are.",
        f"{DO_NOT_LOAD} If it is known to be good, please report it: the limit is too low.",
        fatal=True,
    ),
    Rule(
        "WK003",
        "unrecognised",
        "warning",
        "The content is no weight format that weightkit knows.",
        "Nothing can be said about a file that was not read.",
        "Check that this is the file you meant.",
        fatal=True,
    ),
    Rule(
        "WK004",
        "not-read",
        "warning",
        "The format is recognised, but weightkit does not read it.",
        "Nothing is known about its content.",
        "Get the weights themselves if this stands in for them, else use a tool made for the format.",
        fatal=True,
    ),
    Rule(
        "WK005",
        "suffix-lies",
        "warning",
        "The file name's suffix says another format than the content.",
        "Loaders that go by suffix and loaders that go by content will read different things.",
        "Rename the file after its content.",
    ),
    Rule(
        "WK006",
        "polyglot",
        "danger",
        "More than one format accepts these bytes.",
        "A scanner may read one of them and a loader the other.",
        "Do not load the file unless you know why it was built so.",
    ),
    Rule(
        "WK010",
        "access",
        "danger",
        "The operating system refused the bytes.",
        "The path is missing or unreadable, or its device is failing.",
        "Check the path and its permissions.",
        fatal=True,
    ),
    Rule(
        "WK011",
        "not-a-file",
        "danger",
        "The path is no regular file.",
        "A FIFO, socket or device has no content that stays.",
        "Name a regular file or a directory.",
        fatal=True,
    ),
    Rule(
        "WK012",
        "changed",
        "danger",
        "The file changed while it was read.",
        "What was read before and after belongs to different files.",
        "Wait until the writer has finished, then run again.",
        fatal=True,
    ),
]

"""Would loading it do harm? Programs are judged call by call; files by everything found in them.

A call is judged by what it calls, in which role and with arguments of which shape (``trust``), in
the order of the pickle; a program that stops early is judged by what came before. The verdict
follows from the codes of the findings alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from weightkit.analyses.decompile import call_text, expression
from weightkit.analyses.stdlib import RENAMED_MODULES, RENAMED_NAMES
from weightkit.analyses.trust import TRUSTED, Danger, Trust, danger
from weightkit.programs import Blob, Call, Global, Pairs, Persistent, Program, Text
from weightkit.reports import Finding
from weightkit.rules import Faults
from weightkit.source import Reader, Window

VERDICTS = ("safe", "unscanned", "review", "unsafe")
"""From the best to the worst."""

MAX_NESTING = 3

SPECIAL = frozenset(
    [
        "__setstate__",
        "__getstate__",
        "__class__",
        "__reduce__",
        "__reduce_ex__",
        "__dict__",
        "__globals__",
        "__getattr__",
        "__getattribute__",
        "__setattr__",
        "__delattr__",
        "__call__",
        "__init__",
        "__new__",
        "__del__",
        "__builtins__",
        "__code__",
        "__closure__",
        "__defaults__",
        "__mro__",
        "__bases__",
        "__subclasses__",
        "__wrapped__",
        "__import__",
        "__loader__",
        "__path__",
        "__enter__",
        "__exit__",
        "__init_subclass__",
        "__subclasshook__",
        "__slots__",
    ]
)

_CALLS = frozenset(["REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ"])
_FILLS = frozenset(["APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"])


class Name(NamedTuple):
    """A global as it is judged: under its present name, with its rows of both tables."""

    path: str
    trust: Trust | None
    danger: Danger | None


def resolve(node: Global) -> Name:
    """The rows for a global. Names of Python 2 are judged as what they became, and as they stand."""
    module, name = node.module, node.name
    if (module, name) in RENAMED_NAMES:
        module, name = RENAMED_NAMES[module, name]
    elif module in RENAMED_MODULES:
        module = RENAMED_MODULES[module]
    trust = TRUSTED.get((module, name))
    found = None if trust is not None else danger(module, name) or danger(node.module, node.name)
    return Name(f"{module}.{name}", trust, found)


def judge(program: Program, reader: Reader | None, nesting: int = 0) -> Iterator[Finding]:
    """Findings about one program. ``reader`` holds its bytes, for pickles inside it."""
    judgement = _Judgement(program, reader, nesting)
    judgement.run()
    yield from judgement.faults.all()


class _Judgement:
    def __init__(self, program: Program, reader: Reader | None, nesting: int) -> None:
        self.program = program
        self.reader = reader
        self.nesting = nesting
        self.names: dict[Global, Name] = {}
        self.explained: set[Global] = set()
        path = reader.path if reader is not None else ""
        self.faults = Faults(path, program.entry, limit=10)

    def run(self) -> None:
        for call in self.program.calls:
            if call.opcode in _CALLS:
                self.call(call)
            elif call.opcode == "BUILD":
                self.build(call)
            elif call.opcode in _FILLS:
                self.fill(call)
        for node in self.program.globals:
            self.mention(node)
        for persistent in self.program.persistents:
            self.persistent(persistent)

    def name(self, node: Global) -> Name:
        found = self.names.get(node)
        if found is None:
            found = self.names[node] = resolve(node)
        return found

    # What is called

    def call(self, call: Call) -> None:
        target = call.target
        if type(target) is not Global:
            self.say("WK805", call, "calls what was made while loading", effect="runs any code")
            return
        if target.operands or target.extension is not None:
            return  # said when the name itself is judged
        name = self.name(target)
        if name.trust is not None:
            self.trusted_call(call, name, name.trust)
        elif name.danger is not None:
            self.explained.add(target)
            self.dangerous(call, name.path, name.danger)
        elif name.path == "builtins.getattr":
            self.attribute(call)
        else:
            self.explained.add(target)
            self.say("WK810", call, f"calls {name.path}", subject=name.path)

    def trusted_call(self, call: Call, name: Name, trust: Trust) -> None:
        args = call.args
        if type(args) is tuple and trust.call is not None and trust.call(args):
            return
        if trust.new and call.opcode != "REDUCE":
            return
        if name.path == "torch.storage._load_from_bytes" and type(args) is tuple:
            self.nested(call, args)
            return
        self.say("WK812", call, f"{name.path} used in an odd way", subject=name.path)

    def dangerous(self, call: Call, path: str, found: Danger) -> None:
        message = f"calls {path} ({found.kind})"
        self.say("WK801", call, message, subject=path, effect=found.effect)

    def nested(self, call: Call, args: tuple[Any, ...]) -> None:
        """torch's way to carry a tensor in a plain pickle: a legacy file as bytes, judged in turn."""
        held = args[0] if len(args) == 1 else None
        if type(held) is not Blob or held.encoding != "raw" or self.reader is None:
            self.say("WK801", call, "loads bytes that are made while loading (deserialiser)")
            return
        if self.nesting >= MAX_NESTING:
            self.say("WK815", call, f"pickles nested {self.nesting} deep")
            return
        inner = Window(self.reader, held.offset, held.nbytes, f"0x{held.offset:x}")
        self.faults.extend(list(judge_bytes(inner, self.nesting + 1)))

    def attribute(self, call: Call) -> None:
        """``getattr(class, "name")`` is how members of classes are pickled; the rest is an escape."""
        args = call.args
        plain = (
            type(args) is tuple
            and len(args) == 2
            and type(args[0]) is Global
            and type(args[1]) is Text
            and not args[1].startswith("_")
            and danger(args[0].module, f"{args[0].name}.{args[1]}") is None
        )
        self.explained.add(call.target)
        if plain:
            self.say("WK810", call, "looks an attribute up", subject="builtins.getattr")
        else:
            effect = "reaches attributes by name, and so past every table"
            self.say(
                "WK801", call, "calls builtins.getattr (attribute)", "builtins.getattr", effect
            )

    # What is changed

    def build(self, call: Call) -> None:
        owner = call.target
        if type(owner) is not Call or not isinstance(owner.target, Global):
            if isinstance(owner, Global | Persistent | Call):
                self.patches(call, owner)
            else:
                self.say("WK812", call, "gives a state to what has none")
            return
        name = self.name(owner.target)
        if name.trust is not None and not (name.trust.build or name.trust.fill):
            if name.trust.why.startswith("puts a tensor"):
                self.patches(call, owner)
            else:
                self.say("WK812", call, f"gives a state to {name.path}", subject=name.path)
        for key in special_keys(call.args):
            message = f"sets {key} of an object of {name.path}"
            self.say("WK807", call, message, key, "decides what runs next")

    def fill(self, call: Call) -> None:
        owner = call.target
        if isinstance(owner, Global | Persistent):
            self.patches(call, owner)
        elif type(owner) is Call and type(owner.target) is Global:
            trust = self.name(owner.target).trust
            if trust is not None and not trust.fill:
                self.patches(call, owner)
        elif not isinstance(owner, Call):
            self.say("WK812", call, "fills what is no container")

    def patches(self, call: Call, owner: Any) -> None:
        subject = expression(owner, 1, 80)
        effect = "changes the running program"
        self.say("WK806", call, f"changes {subject}", subject, effect)

    # What is named

    def mention(self, node: Global) -> None:
        if node.extension is not None:
            self.note("WK804", node, f"imports by extension code {node.extension}")
            return
        if node.operands:
            shown = ", ".join(expression(item, 2, 60) for item in node.operands)
            self.note("WK803", node, f"imports a computed name: {shown}")
            return
        if node in self.explained or node.module.startswith("__torch__"):
            return
        name = self.name(node)
        if name.danger is not None:
            self.note(
                "WK802",
                node,
                f"names {name.path} ({name.danger.kind})",
                name.path,
                name.danger.effect,
            )
        elif (name.trust is None and name.path != "builtins.getattr") or (
            name.trust is not None and not name.trust.mention
        ):
            self.note("WK811", node, f"names {name.path}", name.path)

    def persistent(self, node: Persistent) -> None:
        pid = node.pid
        if type(pid) is tuple and len(pid) >= 5 and type(pid[1]) is Global:
            return  # ("storage", class, key, device, numel); the class is judged as a name
        if isinstance(pid, int | str):
            return  # torch's oldest format: a key
        if type(pid) is tuple and len(pid) == 4 and type(pid[1]) is Global:
            return  # ("module", class, file, source) of whole modules before 1.6
        self.faults.add(
            "WK813", f"a persistent id of {expression(pid, 2, 60)}", node.offset, opcode="BINPERSID"
        )

    def say(self, code: str, call: Call, message: str, subject: str = "", effect: str = "") -> None:
        self.faults.add(
            code,
            message,
            call.offset,
            opcode=call.opcode,
            subject=subject,
            evidence=call_text(call),
            effect=effect,
        )

    def note(
        self, code: str, node: Global, message: str, subject: str = "", effect: str = ""
    ) -> None:
        self.faults.add(
            code, message, node.offset, opcode=node.opcode, subject=subject, effect=effect
        )


def special_keys(state: Any) -> Iterator[str]:
    """The special attributes that a BUILD state would set."""
    for part in state if type(state) is tuple else (state,):
        if type(part) is Pairs:
            for key in part.items[::2]:
                if isinstance(key, str) and key in SPECIAL:
                    yield str(key)


def judge_bytes(reader: Reader, nesting: int = 0) -> Iterator[Finding]:
    """Findings about pickles that are the content of ``reader``."""
    from weightkit.formats import pytorch

    found = pytorch.examine(reader)
    yield from found.faults
    for program in found.programs:
        yield from judge(program, reader, nesting)


# Verdicts

_DIGIT_DANGER = {"4", "8", "9"}
_UNSCANNED = {"WK002", "WK003", "WK004", "WK010", "WK011", "WK012", "WK415"}
_ONLY_REVIEW = {"WK401", "WK402", "WK408", "WK419"}
_UNSAFE = {"WK006"}


def verdict(findings: Iterable[Finding]) -> str:
    """What the findings come to, by their codes and severities.

    Dangerous calls, and archives built to show two readers different bytes, are unsafe; broken
    structure and what is unknown is for review; what was not read is unscanned.
    """
    return max((_verdict(item) for item in findings), key=VERDICTS.index, default="safe")


def _verdict(item: Finding) -> str:
    if item.severity == "note":
        return "safe"
    if item.code in _UNSCANNED:
        return "unscanned"
    built_so = item.code[2:3] in _DIGIT_DANGER and item.code not in _ONLY_REVIEW
    if item.severity == "danger" and (built_so or item.code in _UNSAFE):
        return "unsafe"
    return "review"


__all__ = ["VERDICTS", "judge", "judge_bytes", "resolve", "special_keys", "verdict"]

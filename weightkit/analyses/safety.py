"""Would loading it do harm? Programs are judged call by call; files by everything found in them.

A call is judged by what it calls, in which role and with arguments of which shape (``trust``), in
the order of the pickle; a program that stops early is judged by what came before. The verdict
follows from the codes of the findings alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from weightkit.analyses.decompile import call_text, expression
from weightkit.analyses.stdlib import RENAMED_MODULES, RENAMED_NAMES
from weightkit.analyses.trust import TRUSTED, Danger, Trust, danger
from weightkit.analyses.trust.dangers import HARMFUL_NAMES, NESTED
from weightkit.analyses.trust.trusted import StateCheck
from weightkit.archives import Budget
from weightkit.findings import Finding
from weightkit.programs import Blob, Call, Global, Group, Pairs, Persistent, Program, Text
from weightkit.rules import Faults
from weightkit.source import Buffer, Forgotten, Reader, Window

VERDICTS = ("safe", "unscanned", "review", "unsafe")
"""From the best to the worst."""

MAX_NESTING = 3
MAX_TEXT = 64 << 20
"""Bytes of a text that spells the bytes of a nested pickle."""

SPECIAL = frozenset(
    """__setstate__ __getstate__ __class__ __reduce__ __reduce_ex__ __dict__ __globals__ __getattr__
    __getattribute__ __setattr__ __delattr__ __call__ __init__ __new__ __del__ __builtins__ __code__
    __closure__ __defaults__ __mro__ __bases__ __subclasses__ __wrapped__ __import__ __loader__
    __path__ __enter__ __exit__ __init_subclass__ __subclasshook__ __slots__""".split()
)

_CALLS = frozenset(["REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ"])
_MAKES = frozenset(["NEWOBJ", "NEWOBJ_EX"])
"""These run ``__new__`` of a class alone: for most, no line of its own code."""
_FILLS = frozenset(["APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"])


_BY_CHANCE = {"flat": ("WK801", "WK802"), "stray": ("WK801",)}
"""Readings of bytes that may be no pickle at all: they make odd calls by chance, not dangerous ones.

In a list of words two lines may even name something, so of strays only a call counts.
"""

_WITH_STATE = ("torch._tensor._rebuild_from_type", "torch._utils._rebuild_parameter_with_state")
"""They set the attributes that their fourth argument names."""


_MAKES_CLASSES = ("builtins.type", "abc.ABCMeta", "enum.EnumMeta", "enum.EnumType")
"""Called with a name, bases and a dict, they make a class with the methods in the dict."""


class Name(NamedTuple):
    """A global as it is judged: under its present name, with its rows of both tables.

    ``danger`` is what calling it would do, ``named`` what naming it alone may lead to.
    """

    path: str
    trust: Trust | None
    danger: Danger | None
    named: Danger | None


def resolve(node: Global) -> Name:
    """The rows for a global. Names of Python 2 are judged as what they became, and as they stand."""
    usual = len(node.module) + len(node.name) < _USUAL
    return (_resolved if usual else _resolved.__wrapped__)(node.module, node.name)


_USUAL, _MOST_NAMES = 200, 4096
"""Characters of a name that is remembered, and how many are: one may stand a million times."""


@lru_cache(maxsize=_MOST_NAMES)
def _resolved(own_module: str, own_name: str) -> Name:
    module, name = own_module, own_name
    if (module, name) in RENAMED_NAMES:
        module, name = RENAMED_NAMES[module, name]
    elif module in RENAMED_MODULES:
        module = RENAMED_MODULES[module]
    path, trust = f"{module}.{name}", TRUSTED.get((module, name))
    if trust is not None:
        return Name(path, trust, None, None)
    both = {(module, name), (own_module, own_name)}
    calling = [danger(*one) for one in sorted(both)]
    naming = [danger(*one, called=False) for one in sorted(both)]
    return Name(path, None, next(filter(None, calling), None), next(filter(None, naming), None))


def judge(
    program: Program, reader: Reader | None, nesting: int = 0, budget: Budget | None = None
) -> Iterator[Finding]:
    """Findings about one program. ``reader`` holds its bytes, for pickles inside it.

    What only some readers would run of the same bytes counts as well. ``budget`` is for the files
    inside pickles, all together.
    """
    budget = budget or Budget()
    said: set[Finding] = set()
    for reading in (program, *program.others):
        judgement = _Judgement(reading, reader, nesting, budget)
        judgement.run()
        found = [item for item in judgement.faults.all() if item not in said]
        if reading.reading in _BY_CHANCE:
            found = [item for item in found if item.code in _BY_CHANCE[reading.reading]]
        yield from found
        said.update(found)


class _Judgement:
    def __init__(
        self, program: Program, reader: Reader | None, nesting: int, budget: Budget
    ) -> None:
        self.program = program
        self.reader = reader
        self.nesting = nesting
        self.budget = budget
        self.names: dict[Global, Name] = {}
        self.explained: set[Global] = set()
        self.values: set[Global] | None = None
        self.judged: set[int] = set()  # ids of nested pickles, which the program keeps alive
        self.changed: set[int] = set()  # ids of byte arrays that opcodes have written into
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
            found = resolve(node)
            if len(self.names) < _MOST_NAMES:
                self.names[node] = found
        return found

    # What is called

    def call(self, call: Call) -> None:
        target = _callee(call)
        if type(target) is not Global:
            self.computed_call(call, target)
            return
        if target.operands or target.extension is not None:
            return  # said when the name itself is judged
        name = self.name(target)
        if name.trust is not None:
            self.trusted_call(call, name, name.trust)
        elif name.path == "builtins.getattr":
            self.attribute(call)
        elif (found := name.named if call.opcode in _MAKES else name.danger) is not None:
            self.explained.add(target)
            self.dangerous(call, name.path, found)
        else:
            self.explained.add(target)
            self.say("WK810", call, f"calls {name.path}", subject=name.path)
            if name.path in _MAKES_CLASSES and type(call.args) is tuple:
                self.special(call, call.args, target)

    def computed_call(self, call: Call, target: Any) -> None:
        """A method that ``getattr(Class, "name")`` looks up is a dotted name; all else is hidden."""
        method = self.method(target)
        found = resolve(method) if method is not None else None
        if method is None or found is None:
            self.say("WK805", call, "calls what was made while loading", effect="runs any code")
        elif found.danger is not None:
            self.dangerous(call, found.path, found.danger)
        else:
            self.say("WK810", call, f"calls {found.path}", subject=found.path)

    def method(self, made: Any) -> Global | None:
        """What a lookup gives whose owner and name stand in the pickle, as a global of its own."""
        if type(made) is not Call or made.opcode != "REDUCE" or type(made.target) is not Global:
            return None
        args = made.args
        if self.name(made.target).path != "builtins.getattr" or type(args) is not tuple:
            return None
        if len(args) != 2 or type(args[0]) is not Global or type(args[1]) is not Text:
            return None
        owner, name = args
        if owner.operands or owner.extension is not None or not _is_class(owner.name):
            return None
        return Global(owner.module, f"{owner.name}.{name}", made.offset, made.opcode)

    def trusted_call(self, call: Call, name: Name, trust: Trust) -> None:
        args = call.args
        if type(args) is tuple and trust.call is not None and trust.call(args):
            if name.path.startswith(_WITH_STATE) and len(args) > 3:
                self.special(call, args[3], args[1])
            if call.kwargs is not None and not _is_empty(call.kwargs):
                self.say("WK812", call, f"{name.path} with keywords", subject=name.path)
            return
        if trust.new and call.opcode != "REDUCE" and args == ():
            return
        if name.path == "torch.storage._load_from_bytes" and type(args) is tuple:
            self.nested(call, args)
            return
        found = HARMFUL_NAMES.get(_split(name.path))
        if found is not None:
            self.dangerous(call, name.path, found)
            return
        self.say("WK812", call, f"{name.path} used in an odd way", subject=name.path)

    def dangerous(self, call: Call, path: str, found: Danger) -> None:
        message = f"calls {path} ({found.kind})"
        self.say("WK801", call, message, subject=path, effect=found.effect)

    def nested(self, call: Call, args: tuple[Any, ...]) -> None:
        """torch's way to carry a tensor in a plain pickle: a legacy file as bytes, judged in turn."""
        if len(args) == 1 and id(args[0]) in self.judged:
            return
        self.judged.update(map(id, args))
        inner = self.bytes_of(args[0]) if len(args) == 1 else None
        if inner is None:
            self.say("WK801", call, "loads bytes that are made while loading (deserialiser)")
        elif self.nesting >= MAX_NESTING:
            self.say("WK815", call, f"pickles nested {self.nesting} deep")
        else:
            self.faults.extend(list(judge_bytes(inner, self.nesting + 1, self.budget)))

    def bytes_of(self, held: Any) -> Reader | None:
        """Bytes that stand in the pickle: as they are, or as protocol 2 spells them."""
        if id(held) in self.changed or type(self.reader) is Forgotten:
            return None
        if type(held) is Blob and held.encoding == "raw" and self.reader is not None:
            return Window(self.reader, held.offset, held.nbytes, f"0x{held.offset:x}")
        if type(held) is not Call or type(held.target) is not Global or held.state is not None:
            return None
        if self.name(held.target).path != "_codecs.encode" or type(held.args) is not tuple:
            return None
        text, *encoding = held.args or ("",)
        if not all(isinstance(item, str) and item in ("latin1", "latin-1") for item in encoding):
            return None
        where = f"0x{held.offset:x}"
        try:
            return Buffer(self.text_of(text).encode("latin-1"), entry=where)
        except (UnicodeError, TypeError):
            return None

    def text_of(self, value: Any) -> str:
        if isinstance(value, str):
            return str(value)
        if type(value) is Blob and value.encoding == "text" and self.reader is not None:
            if value.nbytes > MAX_TEXT:
                raise TypeError("too long")
            return self.reader.pread(value.offset, value.nbytes).decode("utf-8", "surrogatepass")
        raise TypeError("no text")

    def attribute(self, call: Call) -> None:
        """``getattr(owner, "name")`` is how methods are pickled; dunders and verbs are an escape.

        What is looked up is not called yet: calling it is a finding of its own.
        """
        args = call.args if type(call.args) is tuple else ()
        self.explained.add(call.target)
        if len(args) == 2 and type(args[1]) is Text and self.is_plain(args[0], str(args[1])):
            self.say("WK810", call, "looks an attribute up", subject="builtins.getattr")
        else:
            effect = "reaches attributes by name, and so past every table"
            self.say(
                "WK801", call, "calls builtins.getattr (attribute)", "builtins.getattr", effect
            )

    def is_plain(self, owner: Any, name: str) -> bool:
        """Whether an attribute of ``owner`` may be looked up without harm."""
        if name.startswith("__"):
            return False
        if type(owner) is Global:
            return danger(owner.module, f"{owner.name}.{name}", called=False) is None
        return type(owner) is Call and danger("", name, called=False) is None

    # What is changed

    def build(self, call: Call) -> None:
        owner = call.target
        if type(owner) is not Call or not isinstance(_callee(owner), Global):
            if isinstance(owner, Global | Persistent | Call):
                self.patches(call, owner)
            else:
                self.say("WK812", call, "gives a state to what has none")
            return
        name = self.name(_class_of(owner))
        if name.trust is not None and not (name.trust.build or name.trust.fill):
            if name.trust.why.startswith("puts a tensor"):
                self.patches(call, owner)
            else:
                self.say("WK812", call, f"gives a state to {name.path}", subject=name.path)
        elif name.trust is not None and name.trust.state is not None:
            self.state(call, owner, name, name.trust.state)
        self.special(call, call.args, _callee(owner))

    def state(self, call: Call, owner: Call, name: Name, check: StateCheck) -> None:
        if check(owner, call.args):
            return
        if name.path == "numpy.dtype":
            effect = "makes NumPy take bytes of the file for memory addresses"
            self.say("WK816", call, "an element type that contradicts itself", name.path, effect)
        else:
            self.say("WK812", call, f"gives an odd state to {name.path}", subject=name.path)

    def special(self, call: Call, state: Any, owner: Any) -> None:
        for key in special_keys(state):
            message = f"sets {key} of an object of {expression(owner, 1, 80)}"
            self.say("WK807", call, message, key, "decides what runs next")

    def fill(self, call: Call) -> None:
        owner = call.target
        if isinstance(owner, Global | Persistent):
            self.patches(call, owner)
        elif type(owner) is Call and type(made_by := _callee(owner)) is Global:
            trust = self.name(made_by).trust
            if trust is not None and not trust.fill:
                self.patches(call, owner)
        elif not isinstance(owner, Call):
            self.changed.add(id(owner))  # a bytearray has extend and takes items
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
        found = name.named
        if found is not None:
            message = f"names {name.path} ({found.kind})"
            self.note("WK802", node, message, name.path, found.effect)
        elif name.trust is None and name.path != "builtins.getattr":
            self.note("WK811", node, f"names {name.path}", name.path)
        elif name.trust is not None and not name.trust.mention and self.is_value(node):
            found = HARMFUL_NAMES.get(_split(name.path), NESTED)
            message = f"hands {name.path} over to be called ({found.kind})"
            self.note("WK802", node, message, name.path, found.effect)

    def is_value(self, wanted: Global) -> bool:
        """Whether a global stands anywhere but as what is called."""
        if self.values is None:
            self.values = set(_named_inside(self.program))
        return wanted in self.values

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
        if self.faults.is_full(code):  # then the words, which take most of the time, are not made
            self.faults.add(code, message)
            return
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


def _callee(call: Call) -> Any:
    """What is called. Before torch 1.6 the class of a module was a persistent id.

    ``("module", class, file, source)`` is the class, as ``_legacy_load`` of torch 2.13 has it.
    """
    target = call.target
    if type(target) is not Persistent or type(target.pid) is not tuple or len(target.pid) != 4:
        return target
    kind, found = target.pid[:2]
    return found if kind == "module" and type(found) is Global else target


def _class_of(made: Call) -> Global:
    """What an object is of: ``copyreg`` makes objects of the class that it is given."""
    target: Global = _callee(made)
    if target.name in ("_reconstructor", "__newobj__") and type(made.args) is tuple and made.args:
        first = made.args[0]
        return first if type(first) is Global else target
    return target


def _split(path: str) -> tuple[str, str]:
    module, _, name = path.rpartition(".")
    return module, name


def _is_class(name: str) -> bool:
    """Whether a name is spelt as classes are: ``Outer.Inner``, ``_Private``."""
    return name.rpartition(".")[2].lstrip("_")[:1].isupper()


def _is_empty(kwargs: Any) -> bool:
    return type(kwargs) is Pairs and not kwargs.items


def special_keys(state: Any) -> Iterator[str]:
    """The special attributes that a BUILD state would set."""
    for part in state if type(state) is tuple else (state,):
        for key in _keys(part):
            if isinstance(key, str) and key in SPECIAL:
                yield str(key)


def _keys(part: Any) -> Iterator[Any]:
    """Keys of a dict, or of what a call makes of pairs."""
    if type(part) is Pairs:
        yield from part.items[::2]
    elif type(part) is Call:
        yield from (part.pairs or [])[::2]
        for arg in part.args if type(part.args) is tuple else ():
            if type(arg) is Pairs:
                yield from arg.items[::2]
            elif type(arg) in (list, tuple):
                yield from (item[0] for item in arg if type(item) in (list, tuple) and item)


def _named_inside(program: Program) -> Iterator[Global]:
    """Every global that stands in another value. Each container is walked once."""
    left, seen = list(_inside(program)), set[int]()
    while left:
        item = left.pop()
        if isinstance(item, Pairs | Group):
            item = item.items
        if type(item) is Global:
            yield item
        elif type(item) in (list, tuple) and id(item) not in seen:
            seen.add(id(item))
            left.extend(item)


def _inside(program: Program) -> Iterator[Any]:
    """Every value that the program puts into another, or returns."""
    yield program.root
    for call in program.calls:
        yield call.args
        yield call.kwargs
    for persistent in program.persistents:
        yield persistent.pid


def judge_bytes(reader: Reader, nesting: int, budget: Budget) -> Iterator[Finding]:
    """Findings about what ``reader`` holds: a file inside a pickle, of any format."""
    from weightkit.opening.examining import examine

    examined = examine(reader, budget)
    yield from examined.faults()
    for part in examined.all():
        for program in part.examination.programs:
            yield from judge(program, program.reader, nesting, budget)


# Verdicts

_DIGIT_DANGER = {"4", "8", "9"}
UNSCANNED = {"WK002", "WK003", "WK004", "WK010", "WK011", "WK012", "WK401", "WK415", "WK611"}
"""Codes of what was not read: no policy or baseline makes it pass."""
_ONLY_REVIEW = {"WK402", "WK408", "WK419"}
_UNSAFE = {"WK006", "WK313"}


def verdict(findings: Iterable[Finding]) -> str:
    """What the findings come to, by their codes and severities.

    Dangerous calls, and archives built to show two readers different bytes, are unsafe; broken
    structure and what is unknown is for review; what was not read is unscanned.
    """
    return max((_verdict(item) for item in findings), key=VERDICTS.index, default="safe")


def _verdict(item: Finding) -> str:
    if item.severity == "note":
        return "safe"
    if item.code in UNSCANNED:
        return "unscanned"
    built_so = item.code[2:3] in _DIGIT_DANGER and item.code not in _ONLY_REVIEW
    if item.severity == "danger" and (built_so or item.code in _UNSAFE):
        return "unsafe"
    return "review"


__all__ = ["VERDICTS", "judge", "judge_bytes", "resolve", "special_keys", "verdict"]

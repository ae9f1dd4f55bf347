"""What chat templates say: the functions, methods and filters that ordinary ones use.

Whoever renders a template gives it jinja2's globals and filters and a few functions of their own
(transformers: ``raise_exception``, ``strftime_now``, ``tojson``, ``{% generation %}``). Everything
outside these tables is outside the language of chat templates.
"""

from __future__ import annotations

from weightkit.text import words

FUNCTIONS = words(
    "caller cycler dict joiner lipsum loop namespace raise_exception range strftime_now super"
)
"""What may be called by its bare name, beside the template's own macros."""

MISTAKEN = words(
    "bool enumerate filter float format int isinstance json_dumps len list map max min now print "
    "reversed round set sorted str sum tojson tuple type uuid4 zip"
)
"""Python's functions that authors take for jinja2's: undefined, so the template only fails."""

METHODS = words(  # str
    "capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii "
    "isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join "
    "ljust lower lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition "
    "rsplit rstrip split splitlines startswith strip swapcase title upper zfill format format_map "
    # list, dict, set
    "append clear copy extend insert pop remove reverse sort get items keys values update "
    "setdefault popitem add discard union intersection difference "
    # loop, cycler, date, the records that servers pass as messages and tools
    "cycle changed next reset strftime isoformat dict json model_dump model_dump_json to_dict "
    "to_json"
)

FILTERS = words(
    "abs attr batch capitalize center count d default dictsort e escape filesizeformat first float "
    "forceescape format groupby indent int items join last length list lower map max min pprint "
    "random reject rejectattr replace reverse round safe select selectattr slice sort string "
    "striptags sum title tojson trim truncate unique upper urlencode urlize wordcount wordwrap "
    "xmlattr"
)
"""jinja2's own."""

ATTRIBUTE_FILTERS: dict[str, int | None] = {
    "attr": 0,
    "groupby": 0,
    "map": None,
    "max": 1,
    "min": 1,
    "rejectattr": 0,
    "selectattr": 0,
    "sort": 2,
    "sum": 0,
    "unique": 1,
}
"""Filters that take the name of an attribute, and its place among the arguments."""

INTERNALS = words(
    "ag_code ag_frame cr_code cr_frame f_back f_builtins f_code f_globals f_locals func_closure "
    "func_code func_defaults func_dict func_globals gi_code gi_frame gi_yieldfrom im_class im_func "
    "im_self mro tb_frame tb_next"
)
"""Attributes without an underscore that lead into the interpreter."""

DUNDERS = frozenset(
    f"__{name}__"
    for name in words(
        "base bases builtins call class closure code dict func getattr getattribute getitem "
        "globals import init loader mro module name new reduce reduce_ex self spec subclasses"
    )
)
"""Names that serve to climb from a value to the interpreter."""

EFFECTS: list[tuple[frozenset[str], str]] = [
    (
        words(
            "Popen call check_call check_output commands fork getoutput popen pty run spawn "
            "spawnl spawnv subprocess system"
        ),
        "runs a command",
    ),
    (words("compile eval exec execfile exec_module"), "runs Python code"),
    (words("__import__ import_module load_module"), "imports a module"),
    (words("connect requests socket urlopen urllib"), "opens a connection"),
    (
        words("open read read_text remove rmtree unlink write write_text"),
        "reads or changes files",
    ),
]
"""What a chain of names would do when it holds one of these."""

CLIMBS = "climbs from a value of the template to Python's internals"

FORBIDDEN_FUNCTIONS = frozenset().union(*(names for names, _ in EFFECTS)) | words(
    "breakpoint delattr dir getattr globals input locals setattr vars"
)


def internal(name: str) -> bool:
    """Whether an attribute of this name leads out of the template's values."""
    return name.startswith("_") or name in INTERNALS

"""``weightkit rules``: what the codes of findings mean."""

from __future__ import annotations

import click

from weightkit.cli import options, running
from weightkit.render.blocks import Wish

EXAMPLES = """\b
Examples:
  weightkit rules
  weightkit rules WK001
  weightkit rules --json | jq '.rules[] | select(.fatal)'"""


@click.command("rules", epilog=EXAMPLES)
@click.argument("codes", metavar="[CODE]...", nargs=-1)
@options.output
def command(codes: tuple[str, ...], output: options.Output) -> int:
    """Explain the codes of findings.

    All of them in brief, or those that are named in full. A rule that is fatal breaks its format: readers refuse the file.
    """
    from weightkit.render import rules as view
    from weightkit.rules import RULES
    from weightkit.text import did_you_mean

    unknown = [code for code in codes if code.upper() not in RULES]
    if unknown:
        hint = did_you_mean(unknown[0].upper(), RULES)
        raise click.UsageError(f"No such code {unknown[0]!r}.{hint}")
    chosen = [RULES[code.upper()] for code in codes] or [*RULES.values()]
    wish = Wish(show=frozenset({"full"} if codes else ()))
    return running.show(chosen, running.Showing(view, output, wish))

"""``weightkit completion``: the script that teaches a shell our names."""

from __future__ import annotations

import click

from weightkit.cli import options, writing

EXAMPLES = """\b
Examples:
  eval "$(weightkit completion bash)"                # in ~/.bashrc
  weightkit completion zsh > ~/.zfunc/_weightkit
  weightkit completion fish > ~/.config/fish/completions/weightkit.fish"""


@click.command("completion", epilog=EXAMPLES)
@click.argument("shell", type=options.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script of a shell."""
    from click.shell_completion import ShellComplete, get_completion_class

    from weightkit.cli import group

    kind = get_completion_class(shell)
    assert kind is not None
    complete = kind(group, {}, "weightkit", "_WEIGHTKIT_COMPLETE")
    # Not complete.source(): for bash that runs the bash at hand to ask its version.
    script = ShellComplete.source(complete)
    with writing.paper(options.Output(json=False, file=None, quiet=False, color="never")) as out:
        out.write(script + "\n")
    return 0

"""``weightkit sign``: signatures by OpenSSF model-signing."""

from __future__ import annotations

import os
from contextlib import nullcontext

import click

from weightkit.cli import options, running
from weightkit.cli.progress import progress
from weightkit.reports import Signing

EXAMPLES = """\b
Examples:
  weightkit sign Llama-3.1-8B/ --key private.pem
  weightkit sign model.gguf --key private.pem --signature model.gguf.sig
  weightkit sign Llama/ --key leaf.key --certificate leaf.pem --chain ca.pem
  weightkit sign Llama-3.1-8B/ --sigstore

The signature is an OpenSSF model signature (a sigstore bundle), which model_signing verifies too;
it goes beside PATH, as PATH.sig. Files of git are not covered. docs/signing.md shows how to make
a key. Needs the extra sign: pip install 'weightkit[sign]'"""


@click.command("sign", epilog=EXAMPLES)
@click.argument("path", metavar="PATH", shell_complete=options.complete_files)
@click.option(
    "--signature", metavar="FILE", shell_complete=options.complete_files, help="Where to write it."
)
@click.option(
    "--key", metavar="PEM", shell_complete=options.complete_files, help="The private key."
)
@click.option(
    "--password-file",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="What the key is encrypted with (first line).",
)
@click.option(
    "--certificate",
    metavar="PEM",
    shell_complete=options.complete_files,
    help="The certificate of the key.",
)
@click.option(
    "--chain",
    metavar="PEM",
    multiple=True,
    shell_complete=options.complete_files,
    help="Certificates between it and the root, in this order.",
)
@click.option("--sigstore", is_flag=True, help="Sign as the identity that you log in with.")
@click.option(
    "--identity-token-file",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="With --sigstore: a token instead of logging in.",
)
@click.option("--no-browser", is_flag=True, help="With --sigstore: print a link to log in at.")
@click.option("--staging", is_flag=True, help="With --sigstore: its instance for tests.")
@click.option(
    "--trust-config",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="With --sigstore: a sigstore of one's own, from a file.",
)
@click.option("--force", is_flag=True, help="Replace an older signature.")
@click.option("--follow-symlinks", is_flag=True, help="Sign what links in the folder lead to.")
@options.output
def command(
    path: str,
    signature: str | None,
    key: str | None,
    password_file: str | None,
    certificate: str | None,
    chain: tuple[str, ...],
    sigstore: bool,
    identity_token_file: str | None,
    no_browser: bool,
    staging: bool,
    trust_config: str | None,
    force: bool,
    follow_symlinks: bool,
    output: options.Output,
) -> int:
    """Sign a folder of weights, so that anyone can check whose it is.

    PATH is a folder, of which every file is covered, or a file.
    """
    from weightkit.analyses import signing
    from weightkit.render import sign
    from weightkit.render.figures import plural

    if (key is None) == (not sigstore):
        raise click.UsageError("Say who signs: --key PEM or --sigstore, one of them.")
    if (certificate or chain or password_file) and not key:
        raise click.UsageError("--certificate, --chain and --password-file go with --key.")
    if chain and not certificate:
        raise click.UsageError("--chain goes with --certificate.")
    if (identity_token_file or no_browser or staging or trust_config) and not sigstore:
        message = "--identity-token-file, --no-browser, --staging and --trust-config: --sigstore."
        raise click.UsageError(message)
    if staging and trust_config:
        raise click.UsageError("--staging or --trust-config, one of them.")

    def work(path: str) -> Signing:
        password = _first_line(password_file)
        token = _first_line(identity_token_file)
        signer = signing.Signer(
            key or "",
            password,
            certificate or "",
            chain,
            sigstore,
            os.fsdecode(token) if token is not None else None,
            not no_browser,
            staging,
            trust_config or "",
        )
        target = signature or signing.default_signature(path)
        with progress("sign", output.quiet) as display:
            files, nbytes = signing.extent(path, follow_symlinks)
            hashing = f"model-signing hashes {plural(files, 'file')}"
            # Who logs in is asked on the same terminal.
            with nullcontext() if sigstore else display.waiting(hashing, nbytes):
                return signing.sign(path, target, signer, follow=follow_symlinks, force=force)

    return running.each([path], work, running.Showing(sign, output))


def _first_line(path: str | None) -> bytes | None:
    """The first line of a file; None for no file."""
    if path is None:
        return None
    from weightkit.source import Source

    with Source(path) as source:
        return source.peek(0, 1 << 16).partition(b"\n")[0].removesuffix(b"\r")

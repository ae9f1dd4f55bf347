"""``weightkit verify``: is it what it claims to be."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click

from weightkit.cli import boundary, options, running
from weightkit.cli.progress import progress
from weightkit.reports import Verification

EXAMPLES = """\b
Examples:
  weightkit verify Llama-3.1-8B/
  weightkit verify Llama-3.1-8B/ --sums SHA256SUMS
  weightkit verify model.gguf --sha256 9f86d081884c7d659a2feaa0c55ad015...
  weightkit verify pytorch_model.bin --same-content model.safetensors
  weightkit verify model.safetensors --receipt receipt.json --source model.bin
  weightkit verify Llama-3.1-8B/ --signature --public-key public.pem
  weightkit verify --hub ~/.cache/huggingface/hub/models--gpt2

Without an option PATH is held against the weightkit.manifest.json in it, or, in a hub cache,
against the digests that its blobs are named by. Every byte is read: no cache is trusted."""

DEFAULT = "PATH.sig"


def _sha256(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """64 hexadecimal digits, perhaps after ``sha256:``."""
    if text is None:
        return None
    digits = text.strip().removeprefix("sha256:")
    if not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise click.BadParameter(f"{text!r} is no SHA-256 (64 hexadecimal digits).")
    return digits


@click.command("verify", epilog=EXAMPLES)
@click.argument("path", metavar="PATH", shell_complete=options.complete_files)
@click.option(
    "--manifest", metavar="FILE", shell_complete=options.complete_files, help="Another manifest."
)
@click.option(
    "--sums",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="A SHA256SUMS file (- is standard input).",
)
@click.option("--sha256", metavar="HEX", callback=_sha256, help="The digest of one file.")
@click.option("--hub", is_flag=True, help="The names of a hub cache's blobs.")
@click.option(
    "--same-content",
    metavar="OTHER",
    shell_complete=options.complete_files,
    help="Another checkpoint, of any format: the same tensors with the same values.",
)
@click.option(
    "--receipt",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="The receipt of the conversion that made PATH.",
)
@click.option(
    "--source",
    metavar="PATH",
    shell_complete=options.complete_files,
    help="With --receipt: check what PATH was made from, too.",
)
@click.option(
    "--signature",
    metavar="[FILE]",
    is_flag=False,
    flag_value=DEFAULT,
    shell_complete=options.complete_files,
    help=f"An OpenSSF model signature, {DEFAULT} if not said, by one of the following:",
)
@click.option(
    "--public-key", metavar="PEM", shell_complete=options.complete_files, help="The signer's key,"
)
@click.option(
    "--certificate-chain",
    metavar="PEM",
    multiple=True,
    shell_complete=options.complete_files,
    help="or roots, and what lies between, of the signer's certificate,",
)
@click.option("--identity", metavar="WHO", help="or the signer's identity (sigstore),")
@click.option("--issuer", metavar="URL", help="and who vouches for that.")
@click.option("--staging", is_flag=True, help="With --identity: sigstore's instance for tests.")
@click.option(
    "--trust-config",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="With --identity: whom sigstore trusts, from a file; no network.",
)
@click.option("--allow-extra", is_flag=True, help="Files that are not listed are no difference.")
@options.choosing
@options.jobs
@options.output
def command(
    path: str,
    manifest: str | None,
    sums: str | None,
    sha256: str | None,
    hub: bool,
    same_content: str | None,
    receipt: str | None,
    source: str | None,
    signature: str | None,
    public_key: str | None,
    certificate_chain: tuple[str, ...],
    identity: str | None,
    issuer: str | None,
    staging: bool,
    trust_config: str | None,
    allow_extra: bool,
    choosing: options.Choosing,
    jobs: int,
    output: options.Output,
) -> int:
    """Check files against a manifest, checksums, or another checkpoint.

    PATH is a folder or a file. Exits 1 when anything is altered, missing, extra or renamed.
    """
    from weightkit.analyses import verifying
    from weightkit.render import verify
    from weightkit.source import Source

    given = [manifest, sums, sha256, hub or None, same_content, receipt, signature]
    if sum(item is not None for item in given) > 1:
        raise click.UsageError("Name one thing to hold PATH against.")
    if source is not None and receipt is None:
        raise click.UsageError("--source goes with --receipt.")
    if same_content is None and (choosing.key is not None or choosing.variant is not None):
        raise click.UsageError("--key and --variant go with --same-content.")
    _check_trust(signature, public_key, certificate_chain, identity, issuer, staging, trust_config)
    extra: dict[str, Any] = {
        "follow": choosing.follow_symlinks,
        "allow_extra": allow_extra,
        "jobs": jobs,
    }

    def work(path: str) -> Verification:
        if not os.path.isdir(path):
            Source(path).close()  # says why it cannot be read
        with progress("verify", output.quiet) as display:
            if sha256 is not None:
                return verifying.against_digest(path, sha256, display.tick)
            if sums is not None:
                raw = _sums(sums)
                return verifying.against_sums(path, raw, sums, **extra, tick=display.tick)
            if receipt is not None:
                from weightkit.analyses.receipts import against_receipt

                return against_receipt(path, receipt, source or "", jobs=jobs, tick=display.tick)
            if signature is not None:
                from weightkit.analyses import signing
                from weightkit.render.figures import plural

                named = _signature_of(path) if signature == DEFAULT else signature
                trust = signing.Trust(
                    public_key or "",
                    certificate_chain,
                    identity or "",
                    issuer or "",
                    staging,
                    trust_config or "",
                )
                files, nbytes = signing.extent(path, choosing.follow_symlinks)
                with display.waiting(f"model-signing hashes {plural(files, 'file')}", nbytes):
                    return signing.against_signature(path, named, trust, **extra, tick=display.tick)
            if same_content is not None:
                return _same_content(path, same_content, choosing, jobs, display.tick)
            own = os.path.exists(verifying.default_manifest(path))
            if hub or (manifest is None and not own and verifying.in_hub_cache(path)):
                return verifying.against_blobs(
                    path, allow_extra=allow_extra, jobs=jobs, tick=display.tick
                )
            return verifying.against_manifest(path, manifest or "", **extra, tick=display.tick)

    return running.each([path], work, running.Showing(verify, output), judge=status)


def status(report: Verification) -> int:
    """1 for a difference, 3 where files could not be read and the others are right, else 0."""
    kinds = {item.kind for item in report.differences}
    if not kinds:
        return boundary.FINE
    return boundary.UNREAD if kinds == {"unread"} else boundary.VERDICT


def _check_trust(
    signature: str | None,
    public_key: str | None,
    chain: tuple[str, ...],
    identity: str | None,
    issuer: str | None,
    staging: bool,
    trust_config: str | None,
) -> None:
    """Raise a usage error unless it is clear whose signature is meant."""
    whose = sum(map(bool, (public_key, chain, identity)))
    if signature is None and (whose or issuer or staging or trust_config):
        raise click.UsageError("--public-key and the like go with --signature.")
    if signature is not None and whose != 1:
        message = "Say whose signature it must be: --public-key, --certificate-chain or --identity."
        raise click.UsageError(message)
    if bool(identity) != bool(issuer):
        raise click.UsageError("--identity and --issuer go together.")
    if (staging or trust_config) and not identity:
        raise click.UsageError("--staging and --trust-config go with --identity.")
    if staging and trust_config:
        raise click.UsageError("--staging or --trust-config, one of them.")


def _signature_of(path: str) -> str:
    """The signature beside PATH, or the model.sig in it."""
    from weightkit.analyses.signing import default_signature

    inside = os.path.join(path, "model.sig")
    beside = default_signature(path)
    return inside if os.path.exists(inside) and not os.path.exists(beside) else beside


def _sums(path: str) -> bytes:
    from weightkit.analyses.claims import MAX_SUMS, read_sums

    if path != "-":
        return read_sums(path)
    return sys.stdin.buffer.read(MAX_SUMS + 1) if sys.stdin is not None else b""


def _same_content(
    path: str,
    other: str,
    choosing: options.Choosing,
    jobs: int,
    tick: Callable[[int], Any],
) -> Verification:
    from weightkit.analyses.verifying import same_content
    from weightkit.opening import open_checkpoint

    with ExitStack() as stack:
        mine = stack.enter_context(open_checkpoint(path, **choosing.arguments))
        theirs = stack.enter_context(
            open_checkpoint(other, follow_symlinks=choosing.follow_symlinks)
        )
        return same_content(mine, theirs, jobs, tick)

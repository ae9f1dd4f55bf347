"""Signatures of model folders, made and checked by OpenSSF model-signing.

No cryptography of our own: what is signed, how, and whether a signature holds is that library's
business, and so its own command line reads ours and the other way round. What stands here tells whose a
signature is, and which files are not as they were signed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from weightkit.analyses import verifying
from weightkit.analyses.bundles import method_of, read_bundle, resources_of, statement_of
from weightkit.analyses.checksums import names_below
from weightkit.analyses.jobs import Tick, silent
from weightkit.analyses.signing_errors import failing_as, library, refuse_links
from weightkit.errors import AccessError, PlanError, UnsupportedError
from weightkit.reports import Difference, SignedBy, Signing, Verification
from weightkit.source import Source, os_errors

if TYPE_CHECKING:
    from model_signing import signing as making
    from model_signing import verifying as checking

SUFFIX = ".sig"
_MISMATCH = "Signature mismatch"
"""How the library begins to say that a signature holds, but for other files."""
_GIT = (".git", ".gitattributes", ".github", ".gitignore")
SIGNATURE = "signature"
"""Of a difference: the signature itself does not hold."""


class Signer(NamedTuple):
    """Who signs: a private key, a key with its certificates, or an identity through sigstore."""

    private_key: str = ""
    password: bytes | None = None
    certificate: str = ""
    chain: tuple[str, ...] = ()
    """Certificates between the signing one and the root, in this order."""
    sigstore: bool = False
    identity_token: str | None = None
    browser: bool = True
    staging: bool = False
    trust_config: str = ""
    """A file that says which services of sigstore sign, and whose keys theirs are."""

    @property
    def method(self) -> str:
        return "sigstore" if self.sigstore else "certificate" if self.certificate else "key"


class Trust(NamedTuple):
    """Whose signature is believed: of one public key, of certificates under some roots, of one
    identity that an OpenID Connect ``issuer`` vouches for.

    ``trust_config`` is a file that says which certificate authorities and logs of sigstore are
    believed; without it they are fetched.
    """

    public_key: str = ""
    roots: tuple[str, ...] = ()
    identity: str = ""
    issuer: str = ""
    staging: bool = False
    trust_config: str = ""


def default_signature(path: str) -> str:
    """Beside what is signed, so that a folder stays as it is."""
    return (path.rstrip(os.sep) or path) + SUFFIX


def sign(
    path: str, signature: str, signer: Signer, *, follow: bool = False, force: bool = False
) -> Signing:
    """Sign a folder (or a file) and write the signature, whole or not at all.

    Files that belong to git (``.git``, ``.gitattributes``, ``.github``, ``.gitignore``) and the
    signature itself are not covered. Raises PlanError if the signature exists, unless ``force``;
    UnsafeError for a link in the folder, unless ``follow``; NetworkError where sigstore cannot be
    reached, or refuses; UnsupportedError for a key or token of no use, and for what sigstore answers
    and does not hold; MissingExtra.
    """
    _check_there(path)
    if os.path.lexists(signature) and not force:
        raise PlanError("exists; --force replaces it", path=signature)
    folder = os.path.dirname(signature) or "."
    if not os.path.isdir(folder):
        raise AccessError(f"there is no folder {folder}", path=signature, code="WK010")
    half = f"{signature}.{os.getpid()}.part"
    with library(), failing_as(path, signature, half=half):
        from model_signing import hashing

        covered = hashing.Config().set_allow_symlinks(follow)
        covered.set_ignored_paths(paths=_inside(path, signature), ignore_git_paths=True)
        config = _signing(signer, signature).set_hashing_config(covered)
        try:
            config.sign(_followed(path), Path(half))
            if signer.sigstore:
                _check_answers(path, half, signer)
            resources = resources_of(statement_of(read_bundle(half), half), half)
            if not resources:
                raise AccessError("no file in it", path=path, code="WK010")
            with os_errors(signature):
                os.replace(half, signature)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(half)
    return Signing(path, signature, signer.method, len(resources))


def against_signature(
    path: str,
    signature: str,
    trust: Trust,
    *,
    follow: bool = False,
    allow_extra: bool = False,
    jobs: int = 0,
    tick: Tick = silent,
) -> Verification:
    """Hold a folder (or a file) against a signature and whom it must be from.

    Raises FormatError for what is no signature, AccessError where something cannot be read,
    NetworkError, MissingExtra.
    """
    _check_there(path)
    bundle = read_bundle(signature)
    statement = statement_of(bundle, signature)
    resources = resources_of(statement, signature)
    serialization = statement["predicate"].get("serialization")
    how = serialization if isinstance(serialization, dict) else {}
    reason = _another_way(bundle, trust)
    reason = reason or _refusal(path, signature, trust, how if follow else {}, allow_extra)
    found: list[Difference] = []
    holds = not reason or reason.startswith(_MISMATCH)
    signer = _signed_by(path, signature, bundle, trust) if holds else None
    if reason.startswith(_MISMATCH):
        ignored = {*map(str, how.get("ignore_paths", ()))}
        found = _changed(path, resources, ignored, follow, jobs, tick)
        kept = [item for item in found if not (allow_extra and item.kind == verifying.EXTRA)]
        found = kept or [Difference(verifying.ALTERED, path, reason=reason)]
    elif reason:
        found = [Difference(SIGNATURE, signature, reason=reason)]
    return Verification(path, SIGNATURE, signature, len(resources), not found, tuple(found), signer)


def _check_there(path: str) -> None:
    if not os.path.isdir(path):
        Source(path).close()  # says why it cannot be read


# The library


def _followed(path: str) -> Path:
    """The library refuses even the link that it is given itself."""
    return Path(os.path.realpath(path) if os.path.islink(path) else path)


def _signing(signer: Signer, signature: str) -> making.Config:
    from model_signing import signing as making

    config = making.Config()
    if signer.sigstore:
        _check_token(signer.identity_token)
        trust = Path(signer.trust_config) if signer.trust_config else None
        with failing_as(signer.trust_config or signature, signature, "no trust configuration"):
            return config.use_sigstore_signer(
                use_ambient_credentials=True,
                identity_token=signer.identity_token,
                force_oob=not signer.browser,
                use_staging=signer.staging,
                trust_config=trust,
            )
    with failing_as(signer.private_key, signature, "no usable key"):
        if not signer.certificate:
            key, password = Path(signer.private_key), signer.password
            return config.use_elliptic_key_signer(private_key=key, password=password)
        return config.use_certificate_signer(
            private_key=Path(signer.private_key),
            signing_certificate=Path(signer.certificate),
            # The library wants one at least: where none lies between, the certificate again.
            certificate_chain=[Path(item) for item in signer.chain or (signer.certificate,)],
        )


def _check_token(token: str | None) -> None:
    """Refuse a token of no use before the files are hashed. One that is empty is none to the library,
    which would have a browser opened.
    """
    if token is not None:
        from sigstore.oidc import IdentityToken

        IdentityToken(token)


def _check_answers(path: str, half: str, signer: Signer) -> None:
    """Raise UnsupportedError unless what sigstore's services answered holds: the library puts the
    entry of the transparency log into the signature as it came. No file is read again for it.
    """
    from sigstore.errors import VerificationError
    from sigstore.models import Bundle, ClientTrustConfig
    from sigstore.verify import Verifier, policy

    if signer.trust_config:
        with Source(signer.trust_config) as source:
            trust = ClientTrustConfig.from_json(source.pread(0, source.size).decode())
    else:
        trust = ClientTrustConfig.staging() if signer.staging else ClientTrustConfig.production()
    with Source(half) as source:
        bundle = Bundle.from_json(source.pread(0, source.size))
    try:
        Verifier(trusted_root=trust.trusted_root).verify_dsse(bundle, policy.UnsafeNoOp())
    except VerificationError as error:
        raise UnsupportedError(
            f"sigstore answers what does not hold: {error}", path=path
        ) from error


def _verifier(trust: Trust, signature: str) -> checking.Config:
    from model_signing import verifying as checking

    config = checking.Config()
    if trust.identity:
        whom = {"identity": trust.identity, "oidc_issuer": trust.issuer}
        if not trust.trust_config:
            return config.use_sigstore_verifier(**whom, use_staging=trust.staging)
        with failing_as(trust.trust_config, signature, "no trust configuration"):
            return config.use_sigstore_verifier(**whom, trust_config=Path(trust.trust_config))
    named = trust.public_key or trust.roots[0]
    with failing_as(named, signature, "no usable key or certificate"):
        if trust.public_key:
            return config.use_elliptic_key_verifier(public_key=Path(trust.public_key))
        chain = [Path(item) for item in trust.roots]
        return config.use_certificate_verifier(certificate_chain=chain)


def _refusal(
    path: str, signature: str, trust: Trust, following: Mapping[str, Any], allow_extra: bool
) -> str:
    """Why the library says that a signature does not hold; "" if it does.

    ``following`` is how the files were hashed, where links are to be followed: the library only finds
    out by itself where they are not.
    """
    with library(), failing_as(path, signature):
        from cryptography.exceptions import InvalidSignature
        from OpenSSL.crypto import X509StoreContextError
        from sigstore.errors import VerificationError

        config = _verifier(trust, signature)
        config.set_ignore_unsigned_files(allow_extra)
        if following.get("method") == "files":
            from model_signing import hashing

            hasher = hashing.Config().use_file_serialization(
                hashing_algorithm=following.get("hash_type", "sha256")
            )
            config.set_hashing_config(hasher.set_allow_symlinks(True))
        try:
            config.verify(_followed(path), Path(signature))
        except InvalidSignature:
            return "not made with this key, or altered"
        except (X509StoreContextError, VerificationError) as error:
            return f"not by whom it should be: {error}"
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            refuse_links(path, str(error))
            return str(error) or type(error).__name__
    return ""


# Who signed


_MADE_WITH = {
    "key": "a key: --public-key",
    "certificate": "a certificate: --certificate-chain",
    "sigstore": "a sigstore identity: --identity",
}


def _another_way(bundle: Mapping[str, Any], trust: Trust) -> str:
    """That a signature was made in another way than the one it is to be checked by; "" if not."""
    asked = "sigstore" if trust.identity else "key" if trust.public_key else "certificate"
    made = method_of(bundle.get("verificationMaterial"))
    return "" if made in ("", asked) else f"made with {_MADE_WITH[made]} checks it"


def _signed_by(
    path: str, signature: str, bundle: Mapping[str, Any], trust: Trust
) -> SignedBy | None:
    """Whose a signature is that was found to hold."""
    with library(), failing_as(path, signature):
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        if trust.public_key:
            with Source(trust.public_key) as source:
                key = serialization.load_pem_public_key(source.pread(0, source.size))
            return SignedBy("key", _digest(key))
        material = bundle["verificationMaterial"]
        held = material.get("certificate")
        held = material["x509CertificateChain"]["certificates"][0] if held is None else held
        certificate = x509.load_der_x509_certificate(base64.b64decode(held["rawBytes"]))
        digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
        key = _digest(certificate.public_key())
        if trust.identity:
            return SignedBy("sigstore", key, digest, trust.identity, trust.issuer)
        subject, issuer = certificate.subject, certificate.issuer
        names = (subject.rfc4514_string(), issuer.rfc4514_string())
        return SignedBy("certificate", key, digest, *names)


def _digest(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


# What is signed


def extent(path: str, follow: bool = False) -> tuple[int, int]:
    """Files and bytes that are read to sign or verify, as far as can be told beforehand."""
    if not os.path.isdir(path):
        return 1, os.path.getsize(path) if os.path.isfile(path) else 0
    files = nbytes = 0
    for name in names_below(path, follow, {}):
        if name.split(os.sep)[0] not in _GIT:
            with contextlib.suppress(OSError):
                nbytes += os.stat(os.path.join(path, name)).st_size
                files += 1
    return files, nbytes


def _changed(
    path: str,
    resources: Mapping[str, Mapping[str, str]],
    ignored: set[str],
    follow: bool,
    jobs: int,
    tick: Tick,
) -> list[Difference]:
    """Which files differ, where the signature lists digests that we can make."""
    if not all(resources.values()):
        return []
    if os.path.isdir(path):
        names = [name for name in names_below(path, follow) if not _lies_in(name, ignored)]
        return verifying.differences(path, names, resources, {}, jobs, tick, follow)
    folder, name = os.path.split(path)
    wanted = {name: resources["."]} if "." in resources else {}
    return verifying.differences(folder, [name], wanted, {}, jobs, tick, True)


def _lies_in(name: str, ignored: set[str]) -> bool:
    """Whether a path is one of some others, or below one of them."""
    parts = name.split(os.sep)
    return any("/".join(parts[:end]) in ignored for end in range(1, len(parts) + 1))


def _inside(path: str, signature: str) -> list[str]:
    """The path of the signature in the folder, where it lies in it."""
    if not os.path.isdir(path):
        return []
    relative = os.path.relpath(os.path.realpath(signature), os.path.realpath(path))
    return [] if relative.startswith(os.pardir) else [relative]

"""``weightkit sign`` and ``weightkit verify --signature``, beside the model_signing command itself.

Needs the extra sign; without it only the tests at the end run, and the others say why not.
"""

from __future__ import annotations

import base64
import datetime
import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.cli.test_commands import document, run
from weightkit.analyses import signing
from weightkit.cli import group
from weightkit.errors import MissingExtra, NetworkError

try:
    import model_signing  # noqa: F401
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    ABSENT = f"the extra sign is not installed: {error}"
else:
    ABSENT = ""

needs_extra = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, with a file of git that no signature covers."""
    path = tmp_path / "model"
    (path / "sub").mkdir(parents=True)
    (path / ".git").mkdir()
    for name in ("config.json", "sub/weights.bin", ".git/HEAD", "weightkit.manifest.json"):
        (path / name).write_text(f"content of {name}", encoding="utf-8")
    return path


def write_key(path: Path, password: bytes | None = None) -> Any:
    """A private key at ``path``, its public key at ``path.pub``."""
    key = ec.generate_private_key(ec.SECP256R1())
    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return key


@pytest.fixture
def key(tmp_path: Path) -> str:
    write_key(tmp_path / "private.pem")
    return str(tmp_path / "private.pem")


def public(key: str) -> str:
    return str(Path(key).with_suffix(".pub"))


def write_certificate(path: Path, name: str, key: Any, issuer: Any = None, by: Any = None) -> Any:
    """A certificate of a root (without ``issuer``) or of a signer, of ``key`` and signed ``by``."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"],
        False,
    )  # fmt: skip
    root = issuer is None
    found = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if root else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=9999))
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not root, key_cert_sign=root, crl_sign=root, **usage),
            critical=True,
        )
        .sign(key if root else by, hashes.SHA256())
    )
    path.write_bytes(found.public_bytes(serialization.Encoding.PEM))
    return found


def model_signing_cli(*arguments: str, status: int = 0) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", *arguments], capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr


def verify(folder: Path, key: str, *more: str, status: int = 0) -> dict[str, Any]:
    arguments = ["--signature", "--public-key", public(key), *more]
    return document("verify", str(folder), *arguments, status=status)


# Both ways


@needs_extra
def test_model_signing_verifies_ours(folder: Path, key: str) -> None:
    found = document("sign", str(folder), "--key", key)
    assert found["signature"] == f"{folder}.sig"
    assert (found["files"], found["method"]) == (3, "key")
    model_signing_cli(
        "verify", "key", str(folder), "--signature", f"{folder}.sig", "--public_key", public(key)
    )


@needs_extra
def test_we_verify_those_of_model_signing(folder: Path, key: str) -> None:
    model_signing_cli(
        "sign", "key", str(folder), "--signature", f"{folder}.sig", "--private_key", key
    )
    found = verify(folder, key)
    assert (found["same"], found["checked"], found["against"]) == (True, 3, "signature")


@needs_extra
@pytest.mark.parametrize("ours", [True, False])
def test_certificates(folder: Path, tmp_path: Path, ours: bool) -> None:
    root_key, leaf_key = (write_key(tmp_path / name) for name in ("root.key", "leaf.key"))
    root = write_certificate(tmp_path / "root.pem", "root", root_key)
    write_certificate(tmp_path / "leaf.pem", "leaf", leaf_key, root, root_key)
    write_certificate(tmp_path / "other.pem", "other", leaf_key)
    leaf, private, chain = (str(tmp_path / name) for name in ("leaf.pem", "leaf.key", "root.pem"))
    signature = f"{folder}.sig"
    if ours:
        run("sign", str(folder), "--key", private, "--certificate", leaf, "--chain", chain)
        model_signing_cli(
            "verify", "certificate", str(folder), "--signature", signature,
            "--certificate_chain", chain,
        )  # fmt: skip
    else:
        model_signing_cli(
            "sign", "certificate", str(folder), "--signature", signature,
            "--private_key", private, "--signing_certificate", leaf, "--certificate_chain", chain,
        )  # fmt: skip
    arguments = ["verify", str(folder), "--signature", signature, "--certificate-chain"]
    assert document(*arguments, chain)["same"]
    (item,) = document(*arguments, str(tmp_path / "other.pem"), status=1)["differences"]
    assert item["kind"] == "signature"
    assert "not by whom it should be" in item["reason"]


@needs_extra
def test_a_single_file(folder: Path, key: str) -> None:
    file = folder / "sub/weights.bin"
    assert document("sign", str(file), "--key", key)["files"] == 1
    assert verify(file, key)["same"]
    signature = ["--signature", f"{file}.sig", "--public_key", public(key)]
    model_signing_cli("verify", "key", str(file), *signature)
    file.write_text("other", encoding="utf-8")
    (item,) = verify(file, key, status=1)["differences"]
    assert (item["kind"], item["path"]) == ("altered", "weights.bin")


@needs_extra
def test_an_encrypted_key(folder: Path, tmp_path: Path) -> None:
    write_key(tmp_path / "locked.pem", b"open sesame")
    locked = str(tmp_path / "locked.pem")
    (tmp_path / "password").write_bytes(b"open sesame\n")
    run("sign", str(folder), "--key", locked, status=3)
    assert not Path(f"{folder}.sig").exists()
    run("sign", str(folder), "--key", locked, "--password-file", str(tmp_path / "password"))
    assert verify(folder, locked)["same"]


@needs_extra
def test_a_signature_in_the_folder(folder: Path, key: str) -> None:
    inside = str(folder / "model.sig")
    run("sign", str(folder), "--key", key, "--signature", inside)
    assert verify(folder, key)["source"] == inside
    signature = ["--signature", inside, "--public_key", public(key), "--ignore-paths", inside]
    model_signing_cli("verify", "key", str(folder), *signature)


# Whose it is


def openssl_digest(pem: str, *command: str) -> str:
    """As anyone can take it: the SHA-256 of the DER that openssl writes."""
    held = subprocess.run(
        ["openssl", *command, "-in", pem, "-outform", "DER"], capture_output=True, check=True
    )
    return hashlib.sha256(held.stdout).hexdigest()


@needs_extra
def test_the_key_is_named(folder: Path, key: str) -> None:
    run("sign", str(folder), "--key", key)
    digest = openssl_digest(public(key), "pkey", "-pubin")
    signer = {"method": "key", "key": digest, "certificate": None, "subject": None, "issuer": None}
    assert verify(folder, key)["signer"] == signer
    text = run("verify", str(folder), "--signature", "--public-key", public(key))
    assert f"signed by  the key SHA-256 {digest}" in text
    alter(folder)  # the signature holds all the same
    assert verify(folder, key, status=1)["signer"] == signer


@needs_extra
def test_nobody_is_named_for_a_signature_that_does_not_hold(
    folder: Path, key: str, tmp_path: Path
) -> None:
    run("sign", str(folder), "--key", key)
    write_key(tmp_path / "other.pem")
    other = str(tmp_path / "other.pem")
    assert verify(folder, other, status=1)["signer"] is None
    text = run("verify", str(folder), "--signature", "--public-key", public(other), status=1)
    assert "signed by" not in text


@needs_extra
def test_the_certificate_is_named(folder: Path, tmp_path: Path) -> None:
    root_key, leaf_key = (write_key(tmp_path / name) for name in ("root.key", "leaf.key"))
    root = write_certificate(tmp_path / "root.pem", "The root", root_key)
    write_certificate(tmp_path / "leaf.pem", "A signer, Inc.", leaf_key, root, root_key)
    leaf, private, chain = (str(tmp_path / name) for name in ("leaf.pem", "leaf.key", "root.pem"))
    run("sign", str(folder), "--key", private, "--certificate", leaf)
    model_signing_cli(
        "verify", "certificate", str(folder), "--signature", f"{folder}.sig",
        "--certificate_chain", chain,
    )  # fmt: skip
    arguments = ["verify", str(folder), "--signature", "--certificate-chain", chain]
    signer = document(*arguments)["signer"]
    assert signer == {
        "method": "certificate",
        "key": openssl_digest(public(private), "pkey", "-pubin"),
        "certificate": openssl_digest(leaf, "x509"),
        "subject": "CN=A signer\\, Inc.",
        "issuer": "CN=The root",
    }
    text = run(*arguments)
    for line in (
        "signed by    CN=A signer\\, Inc.",
        "issued by    CN=The root",
        f"certificate  SHA-256 {signer['certificate']}",
        f"key          SHA-256 {signer['key']}",
    ):
        assert line in text


# While it is done


@needs_extra
def test_a_folder_that_is_not_there_for_the_signature(folder: Path, key: str) -> None:
    missing = str(folder / "missing" / "x")
    result = CliRunner().invoke(
        group, ["sign", str(folder), "--key", key, "--signature", missing, "--json"]
    )
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["path"]) == (3, missing)
    assert ".part" not in result.output


@needs_extra
def test_what_cannot_be_written_is_named_as_the_user_did(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_signing import signing as making

    def full(self: Any, path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(making.Config, "sign", full)
    error = document("sign", str(folder), "--key", key, status=3)["error"]
    assert error["path"] == f"{folder}.sig"
    assert "No space left" in error["message"]


def test_files_and_bytes_that_will_be_read(folder: Path, tmp_path: Path) -> None:
    files = [
        folder / name for name in ("config.json", "sub/weights.bin", "weightkit.manifest.json")
    ]
    assert signing.extent(str(folder)) == (3, sum(file.stat().st_size for file in files))
    (tmp_path / "elsewhere").write_text("x", encoding="utf-8")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert signing.extent(str(folder))[0] == 3
    assert signing.extent(str(folder), follow=True)[0] == 4
    assert signing.extent(str(files[0])) == (1, files[0].stat().st_size)
    assert signing.extent(str(folder / "nothing")) == (1, 0)


@needs_extra
@pytest.mark.parametrize("command", ["sign", "verify"])
def test_what_takes_long_is_said(
    folder: Path, key: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_signing import hashing

    from weightkit.cli import progress

    if command == "verify":
        run("sign", str(folder), "--key", key)
    monkeypatch.setattr(progress, "EVERY_IN_A_LOG", 0.01)
    plain = hashing.Config.hash

    def slow(self: Any, *arguments: Any, **more: Any) -> Any:
        time.sleep(0.2)
        return plain(self, *arguments, **more)

    monkeypatch.setattr(hashing.Config, "hash", slow)
    whose = {"sign": ["--key", key], "verify": ["--signature", "--public-key", public(key)]}
    result = CliRunner().invoke(group, [command, str(folder), *whose[command]])
    assert result.exit_code == 0
    assert f"weightkit: {command}: model-signing hashes 3 files, 82 bytes, 0:0" in result.stderr
    result = CliRunner().invoke(group, [command, str(folder), *whose[command], "--quiet"])
    assert "model-signing hashes" not in result.stderr


# What differs


def alter(folder: Path) -> None:
    (folder / "config.json").write_text("{}", encoding="utf-8")


def remove(folder: Path) -> None:
    (folder / "config.json").unlink()


def add(folder: Path) -> None:
    (folder / "modeling.py").write_text("import os", encoding="utf-8")


def rename(folder: Path) -> None:
    (folder / "config.json").rename(folder / "other.json")


@needs_extra
@pytest.mark.parametrize(
    ("change", "kind", "path"),
    [
        (alter, "altered", "config.json"),
        (remove, "missing", "config.json"),
        (add, "extra", "modeling.py"),
        (rename, "renamed", "config.json"),
    ],
)
def test_files_that_changed_are_named(
    folder: Path, key: str, change: Callable[[Path], None], kind: str, path: str
) -> None:
    run("sign", str(folder), "--key", key)
    change(folder)
    found = verify(folder, key, status=1)
    assert [(item["kind"], item["path"]) for item in found["differences"]] == [(kind, path)]
    assert verify(folder, key, "--allow-extra", status=0 if kind == "extra" else 1)


@needs_extra
def test_files_of_git_are_not_covered(folder: Path, key: str) -> None:
    run("sign", str(folder), "--key", key)
    (folder / ".git/HEAD").write_text("other", encoding="utf-8")
    assert verify(folder, key)["same"]
    add(folder)
    assert [item["path"] for item in verify(folder, key, status=1)["differences"]] == [
        "modeling.py"
    ]


@needs_extra
def test_another_key(folder: Path, key: str, tmp_path: Path) -> None:
    run("sign", str(folder), "--key", key)
    write_key(tmp_path / "other.pem")
    (item,) = verify(folder, str(tmp_path / "other.pem"), status=1)["differences"]
    assert (item["kind"], item["path"]) == ("signature", f"{folder}.sig")


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the statement inside a signature and keep the rest."""
    path = Path(f"{folder}.sig")
    bundle = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    raw = json.dumps(statement).encode()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(raw).decode()
    path.write_text(json.dumps(bundle), encoding="utf-8")


@needs_extra
def test_a_key_of_another_kind(folder: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path / "rsa.pem"
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    error = document("sign", str(folder), "--key", str(path), status=3)["error"]
    assert "it is on no elliptic curve; P-256, P-384 and P-521 sign" in error["message"]


def test_a_file_name_that_is_no_text(folder: Path, key: str) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff")).write_text("x")
    error = document("sign", str(folder), "--key", key, status=3)["error"]
    assert "a name of a file is no Unicode text" in error["message"]
    assert "bad" in error["message"]


def test_an_altered_signature(folder: Path, key: str) -> None:
    """Whoever alters a file alters what the signature says of it, too."""
    run("sign", str(folder), "--key", key)
    alter(folder)
    digest = document("checksum", "--no-cache", str(folder / "config.json"))["files"][0]["digests"]

    def change(statement: dict[str, Any]) -> None:
        for item in statement["predicate"]["resources"]:
            if item["name"] == "config.json":
                item["digest"] = digest["sha256"]

    rewritten(folder, change)
    (item,) = verify(folder, key, status=1)["differences"]
    assert (item["kind"], item["reason"]) == ("signature", "not made with this key, or altered")


@needs_extra
def test_paths_that_leave_the_folder(folder: Path, key: str) -> None:
    run("sign", str(folder), "--key", key)
    rewritten(folder, lambda found: found["predicate"]["resources"][0].update(name="../../passwd"))
    assert verify(folder, key, status=3)["error"]["code"] == "WK620"


BROKEN = [
    b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"dsseEnvelope": 3}',
    b'{"dsseEnvelope": {"payload": "e30="}}', b'{"dsseEnvelope": {"payload": "@@"}}',
    b'{"dsseEnvelope": {"payload": "eyJwcmVkaWNhdGUiOiB7InJlc291cmNlcyI6IFszXX19"}}',
]  # fmt: skip


@needs_extra
@pytest.mark.parametrize("content", BROKEN)
def test_what_is_no_signature(folder: Path, key: str, content: bytes) -> None:
    Path(f"{folder}.sig").write_bytes(content)
    assert verify(folder, key, status=3)["error"]["code"] == "WK630"


@needs_extra
@pytest.mark.parametrize("field", ["signatures", "payloadType"])
def test_a_signature_without_its_parts(folder: Path, key: str, field: str) -> None:
    run("sign", str(folder), "--key", key)
    path = Path(f"{folder}.sig")
    bundle = json.loads(path.read_bytes())
    del bundle["dsseEnvelope"][field]
    path.write_text(json.dumps(bundle), encoding="utf-8")
    assert not verify(folder, key, status=1)["same"]


# What stands in the way


@needs_extra
def test_an_older_signature_stays(folder: Path, key: str) -> None:
    Path(f"{folder}.sig").write_bytes(b"older")
    run("sign", str(folder), "--key", key, status=2)
    assert Path(f"{folder}.sig").read_bytes() == b"older"
    run("sign", str(folder), "--key", key, "--force")
    assert verify(folder, key)["same"]


@needs_extra
def test_nothing_half_written_is_left(folder: Path, key: str) -> None:
    before = sorted(folder.parent.iterdir())
    run("sign", str(folder), "--key", public(key), status=3)
    run("sign", str(folder), "--key", str(folder / "no.pem"), status=3)
    run("sign", str(folder / "no"), "--key", key, status=3)
    (folder / "sub/empty").mkdir()
    run("sign", str(folder / "sub/empty"), "--key", key, status=3)
    (folder / "sub/empty").rmdir()
    run("sign", str(folder), "--key", key, "--signature", str(folder / "no/a.sig"), status=3)
    assert sorted(folder.parent.iterdir()) == before


@needs_extra
def test_links_are_followed_when_asked(folder: Path, key: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    (folder / "link.bin").symlink_to(tmp_path / "elsewhere")
    result = CliRunner().invoke(group, ["sign", str(folder), "--key", key])
    assert result.exit_code == 2
    assert "--follow-symlinks" in result.stderr
    run("sign", str(folder), "--key", key, "--follow-symlinks")
    verify(folder, key, status=2)
    assert verify(folder, key, "--follow-symlinks")["same"]
    model_signing_cli(
        "verify", "key", str(folder), "--signature", f"{folder}.sig", "--public_key", public(key),
        "--allow_symlinks",
    )  # fmt: skip
    (tmp_path / "elsewhere").write_bytes(b"y")
    found = verify(folder, key, "--follow-symlinks", status=1)
    assert [item["path"] for item in found["differences"]] == ["link.bin"]


@needs_extra
def test_sigstore_needs_the_network(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no network looks like to the library: every name is unknown."""
    import socket

    def unknown(*arguments: object, **more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    run("sign", str(folder), "--key", key)
    path = Path(f"{folder}.sig")
    bundle = json.loads(path.read_text(encoding="utf-8"))
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": ""}}  # as sigstore has it
    path.write_text(json.dumps(bundle), encoding="utf-8")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("HOME", str(folder.parent))
    for arguments in (
        ["sign", str(folder), "--sigstore", "--force"],
        ["verify", str(folder), "--signature", "--identity", "a@b.c", "--issuer", "https://x.y"],
    ):
        result = CliRunner().invoke(group, arguments)
        assert result.exit_code == 4, result.output
        assert "sigstore needs the network" in result.stderr
    assert os.path.exists(f"{folder}.sig")


# Without the extra, and without the library


def test_usage(folder: Path) -> None:
    for arguments in (
        ["sign", str(folder)],
        ["sign", str(folder), "--key", "k", "--sigstore"],
        ["sign", str(folder), "--sigstore", "--certificate", "c"],
        ["sign", str(folder), "--key", "k", "--chain", "c"],
        ["sign", str(folder), "--key", "k", "--staging"],
        ["verify", str(folder), "--signature"],
        ["verify", str(folder), "--public-key", "k"],
        ["verify", str(folder), "--signature", "--public-key", "k", "--identity", "i"],
        ["verify", str(folder), "--signature", "--identity", "i"],
        ["verify", str(folder), "--signature", "--public-key", "k", "--staging"],
        ["verify", str(folder), "--signature", "--public-key", "k", "--sha256", "0" * 64],
    ):
        run(*arguments, status=2)


def test_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for name in ("hashing", "signing", "verifying"):
        monkeypatch.setitem(sys.modules, f"model_signing.{name}", None)
    signer = signing.Signer("key.pem")
    with pytest.raises(MissingExtra, match=r"weightkit\[sign\]"):
        signing.sign(str(folder), f"{folder}.sig", signer)


def test_the_network_has_its_status() -> None:
    assert NetworkError("").exit_status == 4

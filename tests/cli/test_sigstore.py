"""``verify --signature --identity`` against a sigstore of our own, without the network."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.cli.test_commands import document, run
from tests.cli.test_sign import (
    ABSENT,
    alter,
    folder,
    model_signing_cli,
    write_certificate,
    write_key,
)
from weightkit.cli import group

__all__ = ["folder"]  # a fixture

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
WHO, ISSUER = "someone@example.org", "https://login.example.org"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be reached: a try is an error of its own."""
    import socket

    def refused(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture
def signed(folder: Path, tmp_path: Path) -> list[str]:
    """A folder signed by someone, and the arguments that verify it."""
    from tests.cli.own_sigstore import Sigstore

    write_key(tmp_path / "private.pem")
    run("sign", str(folder), "--key", str(tmp_path / "private.pem"))
    path = Path(f"{folder}.sig")
    statement = base64.b64decode(json.loads(path.read_text())["dsseEnvelope"]["payload"])
    own = Sigstore()
    path.write_text(json.dumps(own.sign(statement, WHO, ISSUER)), encoding="utf-8")
    trust = tmp_path / "trust.json"
    trust.write_text(json.dumps(own.trust_config()), encoding="utf-8")
    whose = ["--identity", WHO, "--issuer", ISSUER, "--trust-config", str(trust)]
    return ["verify", str(folder), "--signature", *whose]


def test_the_identity_is_named(signed: list[str], folder: Path) -> None:
    found = document(*signed)
    assert found["same"]
    signer = found["signer"]
    assert (signer["method"], signer["subject"], signer["issuer"]) == ("sigstore", WHO, ISSUER)
    assert len(signer["key"]) == len(signer["certificate"]) == 64
    text = run(*signed)
    assert f"signed by    {WHO}" in text
    assert f"vouched by   {ISSUER}" in text


def test_model_signing_says_so_too(signed: list[str], folder: Path, tmp_path: Path) -> None:
    model_signing_cli(
        "verify", "sigstore", str(folder), "--signature", f"{folder}.sig", "--identity", WHO,
        "--identity_provider", ISSUER, "--trust_config", str(tmp_path / "trust.json"),
    )  # fmt: skip


def test_files_that_changed(signed: list[str], folder: Path) -> None:
    alter(folder)
    found = document(*signed, status=1)
    assert [(item["kind"], item["path"]) for item in found["differences"]] == [
        ("altered", "config.json")
    ]
    assert found["signer"]["subject"] == WHO


@pytest.mark.parametrize(
    ("option", "value"), [("--identity", "other@example.org"), ("--issuer", "https://other.org")]
)
def test_someone_else(signed: list[str], option: str, value: str) -> None:
    signed[signed.index(option) + 1] = value
    found = document(*signed, status=1)
    (item,) = found["differences"]
    assert item["kind"] == "signature"
    assert "not by whom it should be" in item["reason"]
    assert found["signer"] is None


def strange_root(bundle: dict[str, Any], trust: dict[str, Any]) -> None:
    from tests.cli.own_sigstore import Sigstore

    other = Sigstore().trust_config()["trustedRoot"]
    trust["trustedRoot"]["certificateAuthorities"] = other["certificateAuthorities"]


def strange_log(bundle: dict[str, Any], trust: dict[str, Any]) -> None:
    from tests.cli.own_sigstore import Sigstore

    trust["trustedRoot"]["tlogs"] = Sigstore().trust_config()["trustedRoot"]["tlogs"]


def strange_certificate_log(bundle: dict[str, Any], trust: dict[str, Any]) -> None:
    from tests.cli.own_sigstore import Sigstore

    trust["trustedRoot"]["ctlogs"] = Sigstore().trust_config()["trustedRoot"]["ctlogs"]


def another_statement(bundle: dict[str, Any], trust: dict[str, Any]) -> None:
    held = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    changed = held.replace(b"config.json", b"confib.json")
    assert changed != held
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()


def another_time(bundle: dict[str, Any], trust: dict[str, Any]) -> None:
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (strange_root, "failed to build timestamp certificate chain"),
        (strange_log, "checkpoint: invalid signature"),
        (strange_certificate_log, "SCT verify failed"),
        (another_statement, "DSSE: invalid signature"),
        (another_time, "invalid inclusion promise"),
    ],
)
def test_what_does_not_hold(
    signed: list[str], folder: Path, tmp_path: Path, change: Any, reason: str
) -> None:
    signature, config = Path(f"{folder}.sig"), tmp_path / "trust.json"
    bundle, trust = json.loads(signature.read_text()), json.loads(config.read_text())
    change(bundle, trust)
    signature.write_text(json.dumps(bundle), encoding="utf-8")
    config.write_text(json.dumps(trust), encoding="utf-8")
    found = document(*signed, status=1)
    (item,) = found["differences"]
    assert (item["kind"], found["signer"]) == ("signature", None)
    assert reason in item["reason"]


@pytest.mark.parametrize("made", ["key", "certificate", "sigstore"])
@pytest.mark.parametrize("asked", ["key", "certificate", "sigstore"])
def test_what_was_made_in_another_way(
    signed: list[str], folder: Path, tmp_path: Path, made: str, asked: str
) -> None:
    root_key, leaf_key = (write_key(tmp_path / name) for name in ("root.key", "leaf.key"))
    root = write_certificate(tmp_path / "root.pem", "root", root_key)
    write_certificate(tmp_path / "leaf.pem", "leaf", leaf_key, root, root_key)
    private, leaf = str(tmp_path / "leaf.key"), str(tmp_path / "leaf.pem")
    if made != "sigstore":
        more = ["--certificate", leaf] if made == "certificate" else []
        run("sign", str(folder), "--key", private, *more, "--force")
    checks = {
        "key": ["--public-key", str(tmp_path / "leaf.pub")],
        "certificate": ["--certificate-chain", str(tmp_path / "root.pem")],
        "sigstore": signed[3:],
    }
    found = document("verify", str(folder), "--signature", *checks[asked], status=made != asked)
    if made == asked:
        assert found["signer"]["method"] == made
    else:
        (item,) = found["differences"]
        assert item["reason"].startswith("made with a ")
        assert checks[made][0] in item["reason"]


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"mediaType": 1}', "[" * 100])
def test_no_trust_configuration(signed: list[str], tmp_path: Path, text: str) -> None:
    (tmp_path / "trust.json").write_text(text, encoding="utf-8")
    error = document(*signed, status=3)["error"]
    assert error["path"] == str(tmp_path / "trust.json")
    assert "no trust configuration" in error["message"]


def test_a_trust_configuration_that_is_not_there(signed: list[str], tmp_path: Path) -> None:
    (tmp_path / "trust.json").unlink()
    error = document(*signed, status=3)["error"]
    assert error["path"] == str(tmp_path / "trust.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--signature", "--public-key", "k", "--trust-config", "t"], "go with --identity"),
        (["--trust-config", "t"], "go with --signature"),
        (
            ["--signature", "--identity", "i", "--issuer", "u", "--staging", "--trust-config", "t"],
            "one of them",
        ),
    ],
)
def test_what_goes_together(folder: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(group, ["verify", str(folder), *arguments])
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("staging", [[], ["--staging"]])
@pytest.mark.parametrize("command", ["sign", "verify"])
def test_without_the_network(
    signed: list[str], folder: Path, tmp_path: Path, command: str, staging: list[str]
) -> None:
    """In a process of its own, whose proxy is a port where nobody listens, and with no cache."""
    del signed
    whose = {
        "sign": ["--sigstore", "--no-browser", "--force"],
        "verify": ["--signature", "--identity", WHO, "--issuer", ISSUER],
    }
    nowhere = "http://127.0.0.1:9"
    before = Path(f"{folder}.sig").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "weightkit", command, folder, *whose[command], *staging, "--json"],
        capture_output=True,
        text=True,
        env={
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "HOME": str(tmp_path),
            "HTTPS_PROXY": nowhere,
            "https_proxy": nowhere,
        },
        timeout=120,
    )
    assert done.returncode == 4, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "NetworkError"
    assert "sigstore needs the network, and cannot be reached" in error["message"]
    assert error["path"] == f"{folder}.sig"
    assert Path(f"{folder}.sig").read_bytes() == before

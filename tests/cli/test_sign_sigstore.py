"""``sign --sigstore`` at a sigstore of our own on the loopback interface, beside model_signing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.cli.test_commands import document, run
from tests.cli.test_sign import ABSENT, alter, folder, model_signing_cli
from tests.processes import hear_signals
from weightkit.cli import group

if TYPE_CHECKING:
    from tests.cli.own_sigstore import Server

__all__ = ["folder"]  # a fixture

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
WHO, ISSUER = "someone@example.org", "https://login.example.org"
LOOPBACK = "127.0.0.1"


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else may be reached: a try is an error of its own. No proxy, and no workflow's token."""
    plain = socket.getaddrinfo

    def refused(host: Any, *arguments: Any, **more: Any) -> Any:
        assert host == LOOPBACK, "the network was asked"
        return plain(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The services, the file that names them and a token that they take."""
    from tests.cli.own_sigstore import Sigstore, served

    own = Sigstore()
    with served(own) as found:
        (tmp_path / "trust.json").write_text(json.dumps(own.trust_config(found.url)))
        (tmp_path / "token").write_text(own.token(ISSUER, WHO))
        yield found


def signing(folder: Path, *more: str) -> list[str]:
    """The arguments that sign it."""
    token, trust = (str(folder.parent / name) for name in ("token", "trust.json"))
    named = ["--identity-token-file", token, "--trust-config", trust]
    return ["sign", str(folder), "--sigstore", *named, *more]


def checking(folder: Path, identity: str = WHO, issuer: str = ISSUER) -> list[str]:
    whose = ["--identity", identity, "--issuer", issuer]
    trust = ["--trust-config", str(folder.parent / "trust.json")]
    return ["verify", str(folder), "--signature", f"{folder}.sig", *whose, *trust]


def of_model_signing(verb: str, folder: Path, *more: str) -> list[str]:
    trust = str(folder.parent / "trust.json")
    signature = ["--signature", f"{folder}.sig", "--trust_config", trust]
    return [verb, "sigstore", str(folder), *signature, *more]


# Both ways


def test_what_was_signed_is_verified(server: Server, folder: Path) -> None:
    from tests.cli.own_sigstore import FULCIO, OPENID, REKOR

    found = document(*signing(folder))
    assert (found["method"], found["files"]) == ("sigstore", 3)
    assert server.asked == [OPENID, FULCIO, REKOR]
    verified = document(*checking(folder))
    signer = verified["signer"]
    assert verified["same"]
    assert (signer["method"], signer["subject"], signer["issuer"]) == ("sigstore", WHO, ISSUER)
    assert server.asked == [OPENID, FULCIO, REKOR]  # no one is asked to verify
    assert f"signed by    {WHO}" in run(*checking(folder))


def test_model_signing_verifies_ours(server: Server, folder: Path) -> None:
    run(*signing(folder))
    whose = ("--identity", WHO, "--identity_provider", ISSUER)
    model_signing_cli(*of_model_signing("verify", folder, *whose))
    other = ("--identity", "other@example.org", "--identity_provider", ISSUER)
    model_signing_cli(*of_model_signing("verify", folder, *other), status=1)


def test_we_verify_those_of_model_signing(server: Server, folder: Path) -> None:
    token = (folder.parent / "token").read_text()
    model_signing_cli(*of_model_signing("sign", folder, "--identity_token", token))
    found = document(*checking(folder))
    assert (found["same"], found["checked"], found["signer"]["subject"]) == (True, 3, WHO)
    alter(folder)
    assert document(*checking(folder), status=1)["signer"]["subject"] == WHO


def test_a_log_with_many_entries(server: Server, folder: Path) -> None:
    """Every proof leads to the root that the log had then, of any number of entries."""
    for count in range(1, 8):
        run(*signing(folder, "--force"))
        bundle = json.loads(Path(f"{folder}.sig").read_text(encoding="utf-8"))
        (entry,) = bundle["verificationMaterial"]["tlogEntries"]
        assert int(entry["inclusionProof"]["treeSize"]) == count == len(server.own.entries)
        assert document(*checking(folder))["same"]


# Logging in


def started(*arguments: str, **how: Any) -> subprocess.Popen[str]:
    """The program, in a process of its own."""
    pipe, root = subprocess.PIPE, str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    return subprocess.Popen(
        [sys.executable, "-m", "weightkit", *arguments],
        **{"stdin": pipe, "stdout": pipe, "stderr": pipe, "text": True, **how},
        env=environment,
    )


def starting(folder: Path, *more: str, **how: Any) -> subprocess.Popen[str]:
    """One that signs without a token."""
    trust = str(folder.parent / "trust.json")
    return started("sign", str(folder), "--sigstore", "--trust-config", trust, *more, **how)


def link_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return next(line.strip() for line in process.stderr if line.strip().startswith("http"))


def test_logging_in_by_a_link(server: Server, folder: Path) -> None:
    process = starting(folder, "--no-browser", "--json")
    with urllib.request.urlopen(link_of(process), timeout=30) as page:
        code = json.load(page)["code"]
    output, errors = process.communicate(f"{code}\n", timeout=60)
    assert process.returncode == 0, errors
    assert json.loads(output)["method"] == "sigstore"  # and no word of the prompt
    assert document(*checking(folder))["signer"]["subject"] == WHO


def test_a_code_that_is_wrong(server: Server, folder: Path) -> None:
    process = starting(folder, "--no-browser")
    _, errors = process.communicate("guessed\n", timeout=60)
    assert process.returncode == 4
    assert f"{server.url}/token_endpoint answers 400 Bad Request: no such code" in errors
    assert not os.path.exists(f"{folder}.sig")


def test_a_code_that_nobody_enters(server: Server, folder: Path) -> None:
    process = starting(folder, "--no-browser", stdin=subprocess.DEVNULL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert errors.endswith(": logging in needs a code, and there is no one to enter it\n")
    assert not os.path.exists(f"{folder}.sig")


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes where it is sent, and shows nothing."""
    script = tmp_path / "browser.py"
    script.write_text("import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=30).read()")
    monkeypatch.setenv("BROWSER", f"{sys.executable} {script} %s")


def test_logging_in_with_a_browser(server: Server, folder: Path, browser: None) -> None:
    process = starting(folder)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert document(*checking(folder))["signer"]["subject"] == WHO


def test_who_may_not_log_in(server: Server, folder: Path, browser: None) -> None:
    server.denies = True
    process = starting(folder)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "access_denied" in errors.splitlines()[-1]
    assert not os.path.exists(f"{folder}.sig")


# What does not hold


@pytest.mark.parametrize("whose", [("other@example.org", ISSUER), (WHO, "https://other.org")])
def test_someone_else(server: Server, folder: Path, whose: tuple[str, str]) -> None:
    run(*signing(folder))
    found = document(*checking(folder, *whose), status=1)
    (item,) = found["differences"]
    assert (item["kind"], found["signer"]) == ("signature", None)
    assert "not by whom it should be" in item["reason"]


def test_an_altered_file(server: Server, folder: Path) -> None:
    run(*signing(folder))
    alter(folder)
    found = document(*checking(folder), status=1)
    named = [(item["kind"], item["path"]) for item in found["differences"]]
    assert named == [("altered", "config.json")]
    assert found["signer"]["subject"] == WHO


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("tlogs", "checkpoint: invalid signature"),
        ("ctlogs", "SCT verify failed"),
        ("certificateAuthorities", "failed to build timestamp certificate chain"),
    ],
)
def test_another_log_or_authority(server: Server, folder: Path, part: str, reason: str) -> None:
    from tests.cli.own_sigstore import Sigstore

    run(*signing(folder))
    path = folder.parent / "trust.json"
    trust, other = json.loads(path.read_text()), Sigstore().trust_config()
    trust["trustedRoot"][part] = other["trustedRoot"][part]
    path.write_text(json.dumps(trust))
    (item,) = document(*checking(folder), status=1)["differences"]
    assert item["kind"] == "signature"
    assert reason in item["reason"]


# Failures


def refused(folder: Path, status: int, *reasons: str) -> None:
    """Nothing is signed, in one line that says why, and an older signature stays as it is."""
    signature = Path(f"{folder}.sig")
    before = sorted(folder.parent.iterdir())
    result = CliRunner().invoke(group, signing(folder))
    assert result.exit_code == status, result.output
    assert sorted(folder.parent.iterdir()) == before
    signature.write_bytes(b"older")
    result = CliRunner().invoke(group, signing(folder, "--force"))
    assert result.exit_code == status, result.output
    assert signature.read_bytes() == b"older"
    assert sorted(folder.parent.iterdir()) == sorted([*before, signature])
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    for reason in reasons:
        assert reason in line
    assert "\\x0a" not in line
    token = (folder.parent / "token").read_text()
    assert len(token) < 20 or token not in line


def services() -> dict[str, str]:
    from tests.cli.own_sigstore import FULCIO, OPENID, REKOR

    return {"login": OPENID, "authority": FULCIO, "log": REKOR}


@pytest.mark.parametrize("service", ["login", "authority", "log"])
@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_a_service_refuses(server: Server, folder: Path, service: str, status: int) -> None:
    path = services()[service]
    server.answers[path] = (status, {"code": 7, "message": "not this one"})
    verb = "refuses" if status < 500 else "fails"
    refused(folder, 4, f"sigstore {verb}: {server.url}{path} answers {status} ", "not this one")
    server.answers[path] = (status, b"<html>\nNo.</html>")
    Path(f"{folder}.sig").unlink()
    refused(folder, 4, f"{server.url}{path} answers {status} ")


@pytest.mark.parametrize("service", ["login", "authority", "log"])
def test_a_service_is_gone(server: Server, folder: Path, service: str) -> None:
    path = folder.parent / "trust.json"
    trust = json.loads(path.read_text())
    with socket.create_server((LOOPBACK, 0)) as taken:
        nowhere = f"http://{LOOPBACK}:{taken.getsockname()[1]}"
    name = {"login": "oidcUrls", "authority": "caUrls", "log": "rekorTlogUrls"}[service]
    trust["signingConfig"][name][0]["url"] = nowhere
    path.write_text(json.dumps(trust))
    refused(folder, 4, "sigstore needs the network, and cannot be reached", "Connection refused")


@pytest.mark.parametrize("service", ["login", "authority", "log"])
def test_a_service_leaves_without_a_word(server: Server, folder: Path, service: str) -> None:
    server.answers[services()[service]] = None
    refused(folder, 4, "sigstore needs the network, and cannot be reached")


@pytest.mark.parametrize("service", ["login", "authority", "log"])
def test_a_service_answers_what_is_no_json(server: Server, folder: Path, service: str) -> None:
    server.answers[services()[service]] = (200, b"<html>Log in to this hotel</html>")
    refused(folder, 4, "sigstore answers what is no JSON")


def test_ctrl_c_while_a_service_says_nothing(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, go = threading.Event(), threading.Event()

    def silent(*arguments: Any) -> tuple[int, Any]:
        came.set()
        go.wait(60)
        return 503, {}

    monkeypatch.setattr(server.own, "fulcio", silent)
    before = sorted(folder.parent.iterdir())
    process = started(*signing(folder), preexec_fn=hear_signals)
    assert came.wait(60)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    go.set()
    assert (process.returncode, output) == (130, "")
    assert "interrupted" in errors
    assert sorted(folder.parent.iterdir()) == before


STRANGE: list[Any] = [
    {}, {"x": {}}, {"x": 1}, [], None, 3, b"[" * 100_000,
    {"signedCertificateEmbeddedSct": {"chain": {"certificates": ["no", "certificate"]}}},
    {"x": {"body": "e30="}},
]  # fmt: skip


@pytest.mark.parametrize("service", ["authority", "log"])
@pytest.mark.parametrize("answer", STRANGE)
def test_a_service_answers_something_else(
    server: Server, folder: Path, service: str, answer: Any
) -> None:
    server.answers[services()[service]] = (200, answer)
    result = CliRunner().invoke(group, signing(folder))
    assert re.search("sigstore answers what it should not: |Fulcio response ", result.stderr)
    refused(folder, 3)


def test_a_certificate_that_no_log_knows(server: Server, folder: Path) -> None:
    from tests.cli.own_sigstore import Sigstore

    server.own.certificate_log = Sigstore().certificate_log
    refused(folder, 3, "SCT verify failed")


def test_an_entry_of_another_log(server: Server, folder: Path) -> None:
    """The library takes what the log answers as it comes; nobody could verify such a signature."""
    from tests.cli.own_sigstore import Sigstore

    server.own.log = Sigstore().log
    refused(folder, 3, "sigstore answers what does not hold: ")


def test_an_entry_that_the_log_did_not_promise(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = server.own.rekor

    def lying(request: Any) -> tuple[int, Any]:
        status, found = plain(request)
        for entry in found.values():
            entry["integratedTime"] += 1
        return status, found

    monkeypatch.setattr(server.own, "rekor", lying)
    refused(folder, 3, "sigstore answers what does not hold: ")


def test_a_token_that_the_authority_does_not_believe(server: Server, folder: Path) -> None:
    from tests.cli.own_sigstore import Sigstore

    (folder.parent / "token").write_text(Sigstore().token(ISSUER, WHO))
    refused(folder, 4, "answers 401 ", "There was an error processing the identity token")
    (folder.parent / "token").write_text(server.own.token(ISSUER, WHO, email=None))
    Path(f"{folder}.sig").unlink()
    refused(folder, 4, "answers 400 ", "token has no e-mail address")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1}, "Signature has expired"),
        ({"nbf": 1 << 40}, "not within its validity period"),
        ({"iss": None}, 'missing the "iss" claim'),
        ({"aud": None}, 'missing the "aud" claim'),
        ({"sub": None}, 'missing the "sub" claim'),
        ({"iat": None}, 'missing the "iat" claim'),
        ({"exp": None}, 'missing the "exp" claim'),
        ({"aud": "another"}, "Audience"),
        ({"iss": "https://accounts.google.com", "email": None}, "the required 'email' claim"),
    ],
)
def test_a_token_of_no_use(
    server: Server, folder: Path, claims: dict[str, Any], reason: str
) -> None:
    """It is refused before anyone is asked, and before the files are hashed."""
    token = server.own.token(**{"issuer": ISSUER, "identity": WHO, **claims})
    (folder.parent / "token").write_text(token)
    refused(folder, 3, "dentity token", reason)
    assert server.asked == []


def test_a_token_that_expires_while_files_are_hashed(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_signing import hashing

    from tests.cli.own_sigstore import OPENID

    plain = hashing.Config.hash

    def slow(self: Any, *arguments: Any, **more: Any) -> Any:
        time.sleep(2.1)
        return plain(self, *arguments, **more)

    monkeypatch.setattr(hashing.Config, "hash", slow)
    token = server.own.token(ISSUER, WHO, exp=int(time.time()) + 2)
    (folder.parent / "token").write_text(token)
    result = CliRunner().invoke(group, signing(folder))
    assert result.exit_code == 3
    assert "not within its validity period" in result.stderr
    assert server.asked == [OPENID]
    assert not os.path.exists(f"{folder}.sig")


@pytest.mark.parametrize("text", ["", "\n", "no token", "a.b.c"])
def test_what_is_no_token(
    server: Server, folder: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is empty has no browser opened."""
    import webbrowser

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    (folder.parent / "token").write_text(text)
    refused(folder, 3, "dentity token is malformed")
    assert (server.asked, opened) == ([], [])


def no_log(trust: dict[str, Any]) -> None:
    trust["signingConfig"]["rekorTlogUrls"] = []


def no_authority(trust: dict[str, Any]) -> None:
    trust["signingConfig"]["caUrls"] = []


def no_login(trust: dict[str, Any]) -> None:
    trust["signingConfig"]["oidcUrls"] = []


def no_services(trust: dict[str, Any]) -> None:
    del trust["signingConfig"]


@pytest.mark.parametrize("change", [no_log, no_authority, no_login, no_services])
def test_a_trust_configuration_without_its_parts(
    server: Server, folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = folder.parent / "trust.json"
    trust = json.loads(path.read_text())
    change(trust)
    path.write_text(json.dumps(trust))
    refused(folder, 3, f"{path}: ")
    assert server.asked == []


@pytest.mark.parametrize("text", ["", "{}", "no json", "[" * 100])
def test_no_trust_configuration(server: Server, folder: Path, text: str) -> None:
    path = folder.parent / "trust.json"
    path.write_text(text)
    refused(folder, 3, f"{path}: no trust configuration: ")


def test_a_trust_configuration_that_is_not_there(server: Server, folder: Path) -> None:
    os.unlink(folder.parent / "trust.json")
    refused(folder, 3, f"{folder.parent / 'trust.json'}: ", "No such file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "k", "--trust-config", "t"], "--trust-config: --sigstore"),
        (["--sigstore", "--staging", "--trust-config", "t"], "one of them"),
    ],
)
def test_what_goes_together(folder: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(group, ["sign", str(folder), *arguments])
    assert result.exit_code == 2
    assert message in result.stderr

"""A sigstore of our own: a certificate authority, a certificate log and a transparency log.

All keys are made anew. It signs what a model signature says as the real one does (a bundle of version
0.3 with an entry of Rekor v1), and writes the file that says whom to trust, so that the library
verifies without the network. ``served`` answers on the loopback interface as Fulcio, Rekor and who
vouches for identities do, so that the library signs there. Layouts: RFC 6962 (2.1, 3.2, 3.3), sigstore's
client specification, https://github.com/transparency-dev/formats (checkpoints), and the API of Fulcio v2
and Rekor v1.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
ISSUED_FOR = datetime.timedelta(minutes=10)
OIDC_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
IN_TOTO = "application/vnd.in-toto+json"
LOG = "log.example.org"
CLIENT = "sigstore"


def b64(held: bytes) -> str:
    return base64.b64encode(held).decode()


def spki(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(DER, SPKI)
    return found


def key_id(key: Any) -> bytes:
    return hashlib.sha256(spki(key)).digest()


def signed(key: Any, held: bytes) -> bytes:
    found: bytes = key.sign(held, ec.ECDSA(hashes.SHA256()))
    return found


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def now() -> datetime.datetime:
    """Certificates and stamps of sigstore have whole seconds."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def before_signing(statement: bytes) -> bytes:
    """What is signed of a statement."""
    return f"DSSEv1 {len(IN_TOTO)} {IN_TOTO} {len(statement)} ".encode() + statement


def tree_root(leaves: list[bytes]) -> bytes:
    """Of a Merkle tree, of one leaf at least."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = _split(leaves)
    held = tree_root(leaves[:split]) + tree_root(leaves[split:])
    return hashlib.sha256(b"\1" + held).digest()


def inclusion(index: int, leaves: list[bytes]) -> list[bytes]:
    """The hashes that lead from a leaf to the root."""
    if len(leaves) == 1:
        return []
    split = _split(leaves)
    left, right = leaves[:split], leaves[split:]
    if index < split:
        return [*inclusion(index, left), tree_root(right)]
    return [*inclusion(index - split, right), tree_root(left)]


def _split(leaves: list[bytes]) -> int:
    """The largest power of two that is less than their number."""
    return 1 << (len(leaves) - 1).bit_length() - 1


class Sigstore:
    """One instance with its keys, and the entries of its transparency log."""

    def __init__(self) -> None:
        keys = (ec.generate_private_key(ec.SECP256R1()) for _ in range(5))
        self.authority_key, self.certificate_log, self.log, self.leaf, self.login = keys
        self.authority = self._authority()
        self.entries: list[bytes] = []

    def _authority(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Our authority")])
        public = self.authority_key.public_key()
        return (
            x509.CertificateBuilder(name, name, public, x509.random_serial_number())
            .not_valid_before(START)
            .not_valid_after(START + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.authority_key, hashes.SHA256())
        )

    def certificate(
        self, public: Any, identity: str, issuer: str, start: datetime.datetime
    ) -> x509.Certificate:
        """Of a public key, for an e-mail address, logged."""
        above = self.authority_key.public_key()
        name = self.authority.subject
        plain = (
            x509.CertificateBuilder(name, x509.Name([]), public, x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + ISSUED_FOR)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(OIDC_ISSUER, issuer.encode()), critical=False)
        )
        before = plain.sign(self.authority_key, hashes.SHA256())
        stamped = x509.UnrecognizedExtension(SCT_LIST, self._stamp(before, start))
        return plain.add_extension(stamped, critical=False).sign(
            self.authority_key, hashes.SHA256()
        )

    def _stamp(self, before: x509.Certificate, start: datetime.datetime) -> bytes:
        """A list of one signed certificate timestamp, as DER."""
        time, certificate = int(start.timestamp() * 1000), before.tbs_certificate_bytes
        held = struct.pack("!BBQH", 0, 0, time, 1) + key_id(self.authority_key)
        held += len(certificate).to_bytes(3, "big") + certificate + b"\0\0"
        signature = signed(self.certificate_log, held)
        stamp = struct.pack("!B32sQH", 0, key_id(self.certificate_log), time, 0)
        stamp += struct.pack("!BBH", 4, 3, len(signature)) + signature
        found = struct.pack("!HH", len(stamp) + 2, len(stamp)) + stamp
        size = [len(found)] if len(found) < 128 else [0x81, len(found)]
        return bytes([4, *size]) + found  # an OCTET STRING

    def sign(self, statement: bytes, identity: str, issuer: str) -> dict[str, Any]:
        """The bundle of a statement."""
        certificate = self.certificate(self.leaf.public_key(), identity, issuer, START)
        signature = signed(self.leaf, before_signing(statement))
        envelope = {
            "payload": b64(statement),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": b64(signature)}],
        }
        verifier = b64(certificate.public_bytes(PEM))
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(certificate.public_bytes(DER))},
                "tlogEntries": [
                    self._entry(json.dumps(envelope), verifier, START + ISSUED_FOR / 2)
                ],
            },
            "dsseEnvelope": envelope,
        }

    def _entry(self, envelope: str, verifier: str, when: datetime.datetime) -> dict[str, Any]:
        """A new entry of the transparency log."""
        found = json.loads(envelope)
        payload = base64.b64decode(found["payload"])
        body = canonical(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": _hash(envelope.encode()),
                    "payloadHash": _hash(payload),
                    "signatures": [
                        {"signature": item["sig"], "verifier": verifier}
                        for item in found["signatures"]
                    ],
                },
            }
        )
        index, time = len(self.entries), int(when.timestamp())
        self.entries.append(body)
        root = tree_root(self.entries)
        note = f"{LOG}\n{len(self.entries)}\n{b64(root)}\n"
        mark = b64(key_id(self.log)[:4] + signed(self.log, note.encode()))
        promise = canonical(
            {
                "body": b64(body),
                "integratedTime": time,
                "logID": key_id(self.log).hex(),
                "logIndex": index,
            }
        )
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(key_id(self.log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {"signedEntryTimestamp": b64(signed(self.log, promise))},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": b64(root),
                "treeSize": str(len(self.entries)),
                "hashes": [b64(item) for item in inclusion(index, self.entries)],
                "checkpoint": {"envelope": f"{note}\n— {LOG} {mark}\n"},
            },
            "canonicalizedBody": b64(body),
        }

    # What the services answer

    def token(self, issuer: str, identity: str, **other: Any) -> str:
        """That ``issuer`` vouches for an e-mail address; ``other`` claims, None to leave one out."""
        time = int(now().timestamp())
        claims = {
            "iss": issuer, "aud": CLIENT, "sub": identity, "iat": time, "exp": time + 60,
            "email": identity, "email_verified": True, **other,
        }  # fmt: skip
        given = {name: value for name, value in claims.items() if value is not None}
        found: str = jwt.encode(given, self.login, "ES256")
        return found

    def fulcio(self, authorization: str, request: Any) -> tuple[int, Any]:
        """A certificate for whom a token vouches, to whom has the key."""
        try:
            token = authorization.removeprefix("Bearer ")
            public = self.login.public_key()
            claims = jwt.decode(token, public, ["ES256"], audience=CLIENT)
        except jwt.PyJWTError:
            message = "There was an error processing the identity token"
            return 401, {"code": 16, "message": message, "details": []}
        if not (claims.get("email") and claims.get("email_verified")):
            return 400, {"code": 3, "message": "token has no e-mail address", "details": []}
        raw = base64.b64decode(request["certificateSigningRequest"])
        wanted = x509.load_pem_x509_csr(raw)
        if not wanted.is_signature_valid:
            return 400, {"code": 3, "message": "signature could not be verified", "details": []}
        made = self.certificate(wanted.public_key(), claims["email"], claims["iss"], now())
        chain = [item.public_bytes(PEM).decode() for item in (made, self.authority)]
        return 200, {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def rekor(self, request: Any) -> tuple[int, Any]:
        """A new entry, of what a certificate signed."""
        proposed = request["spec"]["proposedContent"]
        (verifier,), envelope = proposed["verifiers"], proposed["envelope"]
        held = json.loads(envelope)
        statement = base64.b64decode(held["payload"])
        public: Any = x509.load_pem_x509_certificate(base64.b64decode(verifier)).public_key()
        try:
            for item in held["signatures"]:
                signature = base64.b64decode(item["sig"])
                public.verify(signature, before_signing(statement), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return 400, {"code": 400, "message": "could not verify envelope"}
        entry = self._entry(envelope, verifier, now())
        proof = entry["inclusionProof"]
        answer = {
            "body": entry["canonicalizedBody"],
            "integratedTime": int(entry["integratedTime"]),
            "logID": key_id(self.log).hex(),
            "logIndex": int(entry["logIndex"]),
            "verification": {
                "inclusionProof": {
                    "checkpoint": proof["checkpoint"]["envelope"],
                    "hashes": [base64.b64decode(item).hex() for item in proof["hashes"]],
                    "logIndex": int(proof["logIndex"]),
                    "rootHash": base64.b64decode(proof["rootHash"]).hex(),
                    "treeSize": int(proof["treeSize"]),
                },
                "signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            },
        }
        return 201, {hashlib.sha256(b"\0" + self.entries[-1]).hexdigest(): answer}

    def trust_config(self, url: str = "") -> dict[str, Any]:
        """Whom to trust: the authority and the two logs; all services at ``url``, or nowhere."""
        valid = {"start": "2026-01-01T00:00:00Z"}

        def log(key: Any) -> dict[str, Any]:
            public = {
                "rawBytes": b64(spki(key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": valid,
            }
            return {
                "baseUrl": f"https://{LOG}",
                "hashAlgorithm": "SHA2_256",
                "publicKey": public,
                "logId": {"keyId": b64(key_id(key))},
            }

        authority = {
            "subject": {"organization": "example.org", "commonName": "Our authority"},
            "uri": "https://authority.example.org",
            "certChain": {"certificates": [{"rawBytes": b64(self.authority.public_bytes(DER))}]},
            "validFor": valid,
        }

        def service(name: str) -> dict[str, Any]:
            return {
                "url": url or f"https://{name}.example.org",
                "majorApiVersion": 1,
                "validFor": valid,
                "operator": "example.org",
            }

        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self.log)],
                "certificateAuthorities": [authority],
                "ctlogs": [log(self.certificate_log)],
                "timestampAuthorities": [],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [service("authority")],
                "oidcUrls": [service("login")],
                "rekorTlogUrls": [service("log")],
                "tsaUrls": [],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }


OPENID, FULCIO, REKOR = (
    "/.well-known/openid-configuration",
    "/api/v2/signingCert",
    "/api/v1/log/entries",
)
AUTHORIZE, TOKEN = "/authorization_endpoint", "/token_endpoint"
BY_HAND = "urn:ietf:wg:oauth:2.0:oob"
"""Where a browser is sent that shows the code, to be entered by hand."""


class Server(ThreadingTCPServer):
    """The services of one instance. ``answers`` of a path are given instead of the true ones, bytes as
    they are; None is no answer at all. ``asked`` are the paths, as they came. Whoever logs in is
    ``identity``, by ``issuer``, and may do so unless ``denies``.
    """

    daemon_threads = True
    identity, issuer, denies = "someone@example.org", "https://login.example.org", False

    def __init__(self, own: Sigstore) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.own = own
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, tuple[int, Any] | None] = {}
        self.asked: list[str] = []
        self.codes: dict[str, str] = {}

    def answer(self, path: str, authorization: str, raw: bytes) -> tuple[int, Any] | None:
        path, _, query = path.partition("?")
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == FULCIO:
            return self.own.fulcio(authorization, json.loads(raw))
        if path == REKOR:
            return self.own.rekor(json.loads(raw))
        if path == OPENID:
            return 200, {path[1:]: f"{self.url}{path}" for path in (AUTHORIZE, TOKEN)}
        if path == AUTHORIZE:
            return self._authorize(_fields(query))
        if path == TOKEN:
            return self._exchange(_fields(raw.decode()))
        return 404, {"message": "nothing here"}

    def _authorize(self, asked: dict[str, str]) -> tuple[int, Any]:
        """A code, for whom it is shown to or whose browser is sent back with it."""
        code = f"code{len(self.codes)}"
        self.codes[code] = asked["code_challenge"]
        given = {"error": "access_denied"} if self.denies else {"code": code}
        if asked["redirect_uri"] == BY_HAND:
            return 200, given
        back = urllib.parse.urlencode({**given, "state": asked["state"]})
        return 302, f"{asked['redirect_uri']}?{back}"

    def _exchange(self, asked: dict[str, str]) -> tuple[int, Any]:
        """A token for a code, for whom asked for the code."""
        digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if self.codes.pop(asked["code"], None) != challenge:
            return 400, {"message": "no such code"}
        return 200, {"access_token": self.own.token(self.issuer, self.identity)}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = server.answer(self.path, self.headers.get("Authorization", ""), raw)
        if found is None:
            return
        status, document = found
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 302:
            self.send_header("Location", document)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815, as http.server has it

    def log_message(self, *arguments: Any) -> None:
        """What came is kept in ``asked``."""


@contextlib.contextmanager
def served(own: Sigstore) -> Iterator[Server]:
    """The services of an instance, on a free port of the loopback interface."""
    with Server(own) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _fields(query: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(query))


def _hash(held: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(held).hexdigest()}


def _usage(**given: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{**dict.fromkeys(names, False), **given})

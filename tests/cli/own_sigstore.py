"""A sigstore of our own: a certificate authority, a certificate log and a transparency log.

All keys are made anew. It signs what a model signature says as the real one does (a bundle of version
0.3 with an entry of Rekor v1), and writes the file that says whom to trust, so that the library
verifies without the network. Layouts: RFC 6962 (3.2, 3.3), sigstore's client specification, and
https://github.com/transparency-dev/formats (checkpoints).
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import struct
from typing import Any

from cryptography import x509
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


class Sigstore:
    """One instance with its keys."""

    def __init__(self) -> None:
        keys = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
        self.authority_key, self.certificate_log, self.log, self.leaf = keys
        self.authority = self._authority()

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

    def certificate(self, identity: str, issuer: str) -> x509.Certificate:
        """Of the leaf key, for an e-mail address, logged."""
        public, above = self.leaf.public_key(), self.authority_key.public_key()
        name = self.authority.subject
        plain = (
            x509.CertificateBuilder(name, x509.Name([]), public, x509.random_serial_number())
            .not_valid_before(START)
            .not_valid_after(START + ISSUED_FOR)
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
        stamped = x509.UnrecognizedExtension(SCT_LIST, self._stamp(before.tbs_certificate_bytes))
        return plain.add_extension(stamped, critical=False).sign(
            self.authority_key, hashes.SHA256()
        )

    def _stamp(self, certificate: bytes) -> bytes:
        """A list of one signed certificate timestamp, as DER."""
        time = int(START.timestamp() * 1000)
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
        certificate = self.certificate(identity, issuer)
        head = f"DSSEv1 {len(IN_TOTO)} {IN_TOTO} {len(statement)} ".encode()
        signature = signed(self.leaf, head + statement)
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(certificate.public_bytes(DER))},
                "tlogEntries": [self._entry(statement, signature, certificate)],
            },
            "dsseEnvelope": {
                "payload": b64(statement),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": b64(signature)}],
            },
        }

    def _entry(
        self, statement: bytes, signature: bytes, certificate: x509.Certificate
    ) -> dict[str, Any]:
        """The entry of the transparency log, which is its only one."""
        digest = hashlib.sha256(statement).hexdigest()
        verifier = b64(certificate.public_bytes(PEM))
        body = canonical(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": digest},
                    "payloadHash": {"algorithm": "sha256", "value": digest},
                    "signatures": [{"signature": b64(signature), "verifier": verifier}],
                },
            }
        )
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"{LOG}\n1\n{b64(root)}\n"
        mark = b64(key_id(self.log)[:4] + signed(self.log, note.encode()))
        time = int((START + ISSUED_FOR / 2).timestamp())
        promise = canonical(
            {
                "body": b64(body),
                "integratedTime": time,
                "logID": key_id(self.log).hex(),
                "logIndex": 0,
            }
        )
        return {
            "logIndex": "0",
            "logId": {"keyId": b64(key_id(self.log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {"signedEntryTimestamp": b64(signed(self.log, promise))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n— {LOG} {mark}\n"},
            },
            "canonicalizedBody": b64(body),
        }

    def trust_config(self) -> dict[str, Any]:
        """Whom to trust: the authority and the two logs."""
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
                "url": f"https://{name}.example.org",
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

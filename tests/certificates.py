"""Certificates for tests: an authority, and what it signs for 127.0.0.1."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass
class Authority:
    """Signs certificates; `file` is its own, in PEM."""

    file: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def signed(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate for 127.0.0.1 and of its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = _made(name, self.certificate.subject, key, self.key, address)
        files = self.file.with_name(f"{name}.pem"), self.file.with_name(f"{name}.key")
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


def authority(directory: Path, name: str) -> Authority:
    """A new authority whose files are in the directory."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _made(name, None, key, key, x509.BasicConstraints(ca=True, path_length=0))
    file = directory / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return Authority(file, key, certificate)


def _made(
    name: str,
    issuer: x509.Name | None,
    key: ec.EllipticCurvePrivateKey,
    signing: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    return builder.add_extension(extension, critical=True).sign(signing, hashes.SHA256())

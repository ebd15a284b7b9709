"""Certificates for tests: authorities, and what they sign, as PEM."""

import dataclasses
import datetime

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_PARTS = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME}


def _name(text):
    # RFC 2253 writes the last part first.
    parts = [part.split("=", 1) for part in reversed(text.split(","))]
    return x509.Name([x509.NameAttribute(_PARTS[kind], value) for kind, value in parts])


def _key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@dataclasses.dataclass
class Pair:
    """A certificate and its key."""

    certificate: bytes
    key: bytes

    def credentials(self, ca):
        """What a client with this certificate shows, to a server that `ca` signed."""
        return grpc.ssl_channel_credentials(ca.pem, self.key, self.certificate)

    def write(self, directory, name):
        paths = directory / f"{name}.crt", directory / f"{name}.key"
        paths[0].write_bytes(self.certificate)
        paths[1].write_bytes(self.key)
        return paths


class Authority:
    """Signs certificates."""

    def __init__(self, subject="CN=Test CA"):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(subject)
        now = datetime.datetime.utcnow()
        certificate = (
            self._builder(self._name, self._key, now - datetime.timedelta(days=2), 30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, name, key, begin, days):
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(days=days))
        )

    def _sign(self, subject, use, names, age_days, days):
        key = ec.generate_private_key(ec.SECP256R1())
        begin = datetime.datetime.utcnow() - datetime.timedelta(days=age_days)
        builder = self._builder(_name(subject), key, begin, days).add_extension(
            x509.ExtendedKeyUsage([use]), critical=False
        )
        if names:
            names = [x509.DNSName(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))

    def server(self, subject="CN=localhost", names=("localhost",)):
        return self._sign(subject, ExtendedKeyUsageOID.SERVER_AUTH, names, 1, 30)

    def client(self, subject, use=ExtendedKeyUsageOID.CLIENT_AUTH, age_days=1, days=30):
        """Valid for `days` from `age_days` ago."""
        return self._sign(subject, use, (), age_days, days)

"""Children that die with us, ports that are free, certificates of our own: what private servers are made of."""

import contextlib
import datetime
import ipaddress
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

RUN = "PENSTOCK_TEST_RUN"  # names the run's directory to the processes that pytest-xdist starts
UNPRIVILEGED = "nobody"  # what may not run as root runs as this user


class DidNotStart(RuntimeError):
    """A server ended or stayed silent instead of becoming ready; the message has the end of its log."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now, below the ephemeral range, so that no outgoing connection takes one."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            port = random.randrange(20000, 32000)
            with contextlib.suppress(OSError):
                listener = held.enter_context(socket.socket())
                listener.bind(("127.0.0.1", port))
                ports.append(port)
    return ports


def spawn(
    command: Sequence[str | Path], env: Mapping[str, str], log: Path, *, user: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own (Ctrl-C is not for it) that the kernel kills when this process ends."""
    wrapped: list[str | Path] = ["setpriv", "--pdeathsig", "KILL"]
    if user is not None:
        wrapped += ["--reuid", user, "--regid", user_group(user), "--clear-groups"]
    with log.open("ab") as out:
        return subprocess.Popen(
            [*wrapped, "--", *command],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
        )


def user_group(user: str) -> str:
    """The primary group's id of `user`."""
    import pwd  # not on every platform

    return str(pwd.getpwnam(user).pw_gid)


def end(child: subprocess.Popen[bytes], sig: int, patience: float = 20.0) -> None:
    """Send `sig`, wait, and kill what has not ended after `patience` seconds."""
    if child.poll() is None:
        child.send_signal(sig)
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def wait_for_port(port: int, child: subprocess.Popen[bytes], log: Path, patience: float = 60.0) -> None:
    """Return when 127.0.0.1:port accepts. Raises `DidNotStart` when the child ends first or nothing happens."""
    limit = time.monotonic() + patience
    while child.poll() is None and time.monotonic() < limit:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise DidNotStart(f"nothing listens on port {port}; {log.name} ends with:\n{tail(log)}")


def new_home(name: str) -> Path:
    """A directory for a server, in the run's own, so that one sweep finds it all."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=os.environ.get(RUN)))


def tail(log: Path, size: int = 3000) -> str:
    """The end of a log file."""
    return log.read_bytes()[-size:].decode(errors="replace") if log.exists() else "(no log)"


def discard(directory: Path) -> None:
    """Remove a directory; what another process removes meanwhile is no error."""
    shutil.rmtree(directory, ignore_errors=True)


def write_certificate(directory: Path) -> tuple[Path, Path, Path]:
    """A certificate authority and a certificate for localhost and 127.0.0.1 (cafile, certfile, keyfile)."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests' authority")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=30))

    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    ca = builder(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    ca = ca.add_extension(usage, critical=True).add_extension(identifier, critical=False)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key())
    leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
    leaf = leaf.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )

    paths = directory / "ca.pem", directory / "server.pem", directory / "server.key"
    paths[0].write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    paths[2].chmod(0o600)
    return paths


def is_root() -> bool:
    """True when this process may act as any user."""
    return os.geteuid() == 0

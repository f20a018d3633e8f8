"""What we sign is valid under our root, with the provider's manifest as its parent; what cannot sign is said first."""

from __future__ import annotations

import pickle
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect_imagen.core.provenance import (
    C2pa,
    MarkMode,
    MarkRefused,
    PictureSigner,
    SigningNotPossible,
    examine,
    mark,
)
from prefect_imagen.core.provenance.manifest import MIME
from prefect_imagen.sandbox.signing import Identity, make_identity, sign

from .conftest import PICTURES, facts_of

STUDIO, PROVIDER = make_identity("Studio"), make_identity("Provider")


def signer_of(folder: Path, identity: Identity = STUDIO, **other: bytes) -> PictureSigner:
    for name, content in {"chain": identity.chain, "key": identity.key, **other}.items():
        (folder / f"{name}.pem").write_bytes(content)
    return PictureSigner.from_files(str(folder / "chain.pem"), str(folder / "key.pem"))


@pytest.mark.parametrize(("name", "kind"), [("png", "png"), ("jpeg-exif", "jpeg"), ("webp", "webp")])
def test_a_signed_copy_is_valid_and_has_its_parent(name: str, kind: str, tmp_path: Path) -> None:
    signer, plain = signer_of(tmp_path), PICTURES[name]
    ours = examine(mark(plain, facts_of(plain), MarkMode.C2PA, signer).data, STUDIO.root.decode())
    assert (ours.manifest.state, ours.manifest.issuer, ours.manifest.actions) == (
        C2pa.VALID,
        "Studio",
        ("c2pa.created",),
    )
    assert (ours.source_type, ours.said["xmp:Rating"]) == ("trainedAlgorithmicMedia", "-1")

    original = sign(plain, MIME[kind], "google/imagen4", PROVIDER)  # type: ignore[index]
    both = (STUDIO.root + PROVIDER.root).decode()
    again = examine(mark(original, facts_of(original), MarkMode.C2PA, signer).data, both).manifest
    assert (again.state, again.issuer, again.parent_issuer) == (C2pa.VALID, "Studio", "Provider")
    assert (again.actions, again.source_type, again.problems) == (("c2pa.opened",), "trainedAlgorithmicMedia", ())


def test_a_certificate_that_cannot_sign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningNotPossible, match="does not belong to the certificate"):
        signer_of(tmp_path, key=PROVIDER.key)
    with pytest.raises(SigningNotPossible, match=r"valid from .* and not today"):
        signer_of(tmp_path, make_identity("Late", days=-1))
    with pytest.raises(SigningNotPossible, match="no PEM file of certificates"):
        signer_of(tmp_path, chain=b"")
    with pytest.raises(SigningNotPossible, match="no PEM file of a private key"):
        signer_of(tmp_path, key=b"")
    with pytest.raises(SigningNotPossible, match="cannot be read: No such file"):
        PictureSigner.from_files(str(tmp_path / "none.pem"), str(tmp_path / "none.pem"))
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /O=Web -keyout web.key -out web.pem"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(SigningNotPossible, match=r"web.pem: it cannot be signed"):
        PictureSigner.from_files(str(tmp_path / "web.pem"), str(tmp_path / "web.key"))


def test_the_key_stays_where_it_is(tmp_path: Path) -> None:
    signer = signer_of(tmp_path)
    assert repr(signer) == "PictureSigner()"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(signer)


def test_what_cannot_be_signed_is_refused(tmp_path: Path) -> None:
    signer = signer_of(tmp_path)
    with pytest.raises(MarkRefused, match="needs a certificate"):
        mark(PICTURES["png"], facts_of(PICTURES["png"]), MarkMode.C2PA)
    with pytest.raises(MarkRefused, match="no PNG, JPEG or WebP"):
        mark(b"GIF89a", facts_of(b"GIF89a"), MarkMode.C2PA, signer)


_TSA = """
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
O = Clock
CN = Clock
[extensions]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
basicConstraints = critical,CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[tsa]
default_tsa = clock
[clock]
serial = {folder}/serial
default_policy = 1.2.3.4
signer_digest = sha256
digests = sha256, sha384, sha512
"""


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[str]:
    """A time stamp service (RFC 3161) of OpenSSL's; `/broken` answers as a web page does."""
    (tmp_path / "serial").write_text("01")
    (tmp_path / "tsa.cnf").write_text(_TSA.format(folder=tmp_path))
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tsa.key -out tsa.pem -config"
    subprocess.run([*make.split(), "tsa.cnf"], cwd=tmp_path, check=True, capture_output=True)

    class Clock(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (tmp_path / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            answer = "openssl ts -reply -config tsa.cnf -queryfile query -signer tsa.pem -inkey tsa.key"
            said = subprocess.run(answer.split(), cwd=tmp_path, check=True, capture_output=True).stdout
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(b"<html>" if self.path == "/broken" else said)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Clock) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_time_stamp_is_asked_for_and_put_in(clock: str, tmp_path: Path) -> None:
    png = PICTURES["png"]
    for url in (None, f"{clock}/"):
        signer = PictureSigner(STUDIO.chain, STUDIO.key, url)
        found = examine(mark(png, facts_of(png), MarkMode.C2PA, signer).data, STUDIO.root.decode()).manifest
        assert (found.state, found.signed_at is not None) == (C2pa.VALID, url is not None)
    for url in (f"{clock}/broken", "http://127.0.0.1:9/"):
        with pytest.raises(MarkRefused, match="cannot be signed"):
            mark(png, facts_of(png), MarkMode.C2PA, PictureSigner(STUDIO.chain, STUDIO.key, url))


@pytest.mark.parametrize("url", ["", "tsa.example.com", "ftp://tsa.example.com", "http://"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(SigningNotPossible, match="the time stamp service"):
        PictureSigner(STUDIO.chain, STUDIO.key, url)

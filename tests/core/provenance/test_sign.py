"""What we sign is valid under our root, with the provider's manifest as its parent; what cannot sign is said first."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from prefect_imagen.core.provenance import (
    C2pa,
    MarkMode,
    MarkRefused,
    PictureSigner,
    SigningFiles,
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
    return PictureSigner(SigningFiles(str(folder / "chain.pem"), str(folder / "key.pem")))


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
        PictureSigner(SigningFiles(str(tmp_path / "none.pem"), str(tmp_path / "none.pem")))


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

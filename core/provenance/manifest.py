"""Reading C2PA manifests, with the library of the extra `c2pa`: who signed, with what, and whether it holds.

Nothing is fetched for it: a manifest may name addresses (of itself, of revocation lists), and whoever made the picture
chose them.
"""

from __future__ import annotations

import enum
import functools
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput
from .look import Kind, Look
from .xmp import source_type

MIME: Mapping[Kind, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
TRUST_VARIABLE = "PREFECT_IMAGEN_C2PA_TRUST"
INSTALL = "pip install 'prefect-imagen[c2pa]'"
_LARGEST = 16 * 2**20
_DEEPEST = 8
_SHOWN = 200


class C2pa(enum.StrEnum):
    """What a picture's C2PA manifest is worth.

    NONE: it has none. PRESENT: it has one that was not read, since the extra `c2pa` is not installed. VALID: nothing
    was changed since it was signed, and the certificate leads to a trusted root. UNTRUSTED: nothing was changed, and
    the certificate leads to no root that is trusted here. INVALID: it is damaged, or the picture was changed.
    """

    NONE = "none"
    PRESENT = "present"
    VALID = "valid"
    UNTRUSTED = "untrusted"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as read.

    Attributes:
        state: What it is worth.
        title: Of the picture, as its signer says it.
        issuer: Organization of the certificate that signed it.
        generator: The software that made it.
        actions: What it says was done.
        source_type: The digital source type that it, or the manifest of its parent, says.
        signed_at: By a time stamp service, where there is one.
        parent_issuer: Of the manifest that the picture had before this one.
        problems: What is wrong, by C2PA's codes of failures.
    """

    state: C2pa
    title: str | None = None
    issuer: str | None = None
    generator: str | None = None
    actions: tuple[str, ...] = ()
    source_type: str | None = None
    signed_at: str | None = None
    parent_issuer: str | None = None
    problems: tuple[str, ...] = ()


def load_trust(path: str | None) -> str | None:
    """The text of a PEM file with the roots that signatures are trusted under.

    Raises:
        BadInput: It cannot be read, or holds no certificate.
    """
    if path is None:
        return None
    try:
        text = Path(path).read_text(encoding="ascii")
    except OSError as error:
        raise BadInput(f"{path}: the trusted certificates cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: it is no PEM file of certificates") from None
    if library() is None:
        raise BadInput(f"{path}: signatures are checked with c2pa-python: {INSTALL}")
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise BadInput(f"{path}: it is no PEM file of certificates") from None
    return text


def trusted_roots() -> str | None:
    """The roots that every process of this user trusts: those of the file that `PREFECT_IMAGEN_C2PA_TRUST` names.

    Raises:
        BadInput: It cannot be read, or holds no certificate.
    """
    return _roots(os.environ.get(TRUST_VARIABLE) or None)


@functools.lru_cache(maxsize=8)
def _roots(path: str | None) -> str | None:
    return load_trust(path)


@functools.cache
def library() -> Any:
    """The module `c2pa`; None where the extra is not installed."""
    try:
        import c2pa
    except ImportError:
        return None
    return c2pa


@functools.lru_cache(maxsize=8)
def reading(trust: str | None) -> Any:
    """How manifests are read: with these roots, and nothing fetched."""
    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    if trust is not None:
        settings["trust"] = {"trust_anchors": trust}
    return library().Context(library().Settings.from_dict(settings))


def read_manifest(data: bytes, seen: Look, trust: str | None = None) -> Manifest:
    """Read and verify the manifest of a picture.

    Args:
        data: The whole file.
        seen: What `look` found in it.
        trust: PEM text of the roots that are trusted.
    """
    if not seen.c2pa or seen.kind is None:
        return Manifest(C2pa.NONE)
    if seen.c2pa_bytes > _LARGEST:
        return Manifest(
            C2pa.INVALID, problems=(f"{seen.c2pa_bytes:,} bytes, more than the {_LARGEST:,} that are read",)
        )
    c2pa = library()
    if c2pa is None:
        return Manifest(C2pa.PRESENT)
    try:
        with c2pa.Reader(MIME[seen.kind], io.BytesIO(data), context=reading(trust)) as reader:
            return _manifest(json.loads(reader.json()), reader.get_validation_state())
    except (c2pa.C2paError, ValueError, LookupError, TypeError, AttributeError) as error:
        # Whatever stands in a manifest is whatever somebody wrote there.
        return Manifest(C2pa.INVALID, problems=(f"it cannot be read: {str(error)[:_SHOWN]}",))


def _manifest(store: Mapping[str, Any], state: str | None) -> Manifest:
    manifests: Mapping[str, Any] = store["manifests"]
    chain = list(_chain(manifests, str(store["active_manifest"])))
    active, parents = chain[0], chain[1:]
    signature = active.get("signature_info", {})
    info = active.get("claim_generator_info") or [{}]
    generator = " ".join(filter(None, (info[0].get("name"), info[0].get("version")))) or active.get("claim_generator")
    failures = [*store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])]
    for delta in store.get("validation_results", {}).get("ingredientDeltas", []):
        failures += delta.get("validationDeltas", {}).get("failure", [])
    return Manifest(
        {"Trusted": C2pa.VALID, "Valid": C2pa.UNTRUSTED}.get(state or "", C2pa.INVALID),
        title=active.get("title"),
        issuer=signature.get("issuer") or signature.get("common_name"),
        generator=generator,
        actions=tuple(str(action.get("action")) for action in _actions(active)),
        source_type=next(filter(None, map(_source_type, chain)), None),
        signed_at=signature.get("time"),
        parent_issuer=next((one.get("signature_info", {}).get("issuer") for one in parents), None),
        problems=tuple(dict.fromkeys(str(failure.get("code")) for failure in failures)),
    )


def _chain(manifests: Mapping[str, Any], label: str) -> Iterator[Mapping[str, Any]]:
    """A manifest, and those of its parent, and of the parent's."""
    for _ in range(_DEEPEST):
        manifest: Mapping[str, Any] = manifests[label]
        yield manifest
        parents = (one for one in manifest.get("ingredients", []) if one.get("relationship") == "parentOf")
        above = next((one.get("active_manifest") for one in parents), None)
        if above not in manifests:
            return
        label = str(above)


def _actions(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        action
        for assertion in manifest.get("assertions", [])
        if str(assertion.get("label")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]


def _source_type(manifest: Mapping[str, Any]) -> str | None:
    said = [action.get("digitalSourceType") for action in _actions(manifest)]
    data = (assertion.get("data") for assertion in manifest.get("assertions", []))
    said += [one.get("Iptc4xmpExt:DigitalSourceType") for one in data if isinstance(one, Mapping)]
    return next((source_type({"Iptc4xmpExt:DigitalSourceType": one}) for one in said if isinstance(one, str)), None)

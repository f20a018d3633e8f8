"""Reading what is known of models: the files that ship with the package, and a file of the user's own.

The files in `models/` hold the models of a family each, `vocabulary.json` what several of them share. In place of a
field, a table of sizes or of pixels, a model names an entry of the vocabulary; a field may also take one as its pattern
and change some of it: `{"like": "seed_u32", "minimum": 1}`.

A user's file (YAML or JSON, docs/models.md) has the same form. A model in it may be `like` a known one: what it leaves
out is taken from there. A model under a known id changes that model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import BadInput
from .providers import DEFAULT_PROVIDER, Provider, find_provider, split_name
from .spec import Contract, ModelSpec

_MOST_BYTES = 2**20
_MOST_PROBLEMS = 10


@dataclass(eq=False, repr=False)
class ModelFileError(BadInput):
    """A user's file of models cannot be used. `problems` says where and why."""

    path: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        shown = self.problems[:_MOST_PROBLEMS]
        more = len(self.problems) - len(shown)
        return "\n".join(
            [f"{self.path}: not a usable file of models", *(f"  {problem}" for problem in shown)]
            + ([f"  … and {more} more"] if more else [])
        )


def _shipped(name: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath("models", name).read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def known_models() -> tuple[ModelSpec, ...]:
    """The models that ship with the package, the best known first."""
    vocabulary = _shipped("vocabulary.json")
    families = (
        *("google", "flux", "openai", "bytedance", "alibaba", "stability", "xai", "recraft", "others"),
        *("at_openai", "at_gemini", "at_fal"),
    )
    return tuple(
        ModelSpec.model_validate({**_sold_by(document), **_expanded(entry, vocabulary, document.get("family", ""))})
        for document in (_shipped(f"{family}.json") for family in families)
        for entry in document["models"]
    )


def _sold_by(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"provider": document["provider"]} if "provider" in document else {}


@cache
def open_contract(api: str) -> Contract:
    """How a model is asked of which nothing is known but the protocol."""
    vocabulary = _shipped("vocabulary.json")
    return Contract.model_validate(_contract(vocabulary["open_contracts"][api], vocabulary))


def _expanded(entry: Mapping[str, Any], vocabulary: Mapping[str, Any], family: str = "") -> dict[str, Any]:
    """An entry with what it names put in its place."""
    model = {"family": family, **entry} if family else dict(entry)
    if "pixels" in model:
        model["pixels"] = _table(model["pixels"], vocabulary["pixels"], "pixels")
    contracts = model.get("contracts")
    if isinstance(contracts, Mapping):
        model["contracts"] = {name: _contract(contract, vocabulary) for name, contract in contracts.items()}
    return model


def _table(value: Any, known: Mapping[str, Any], what: str) -> Any:
    if not isinstance(value, str):
        return value
    if value not in known:
        raise ValueError(f"{what}: there is no shared table {value!r}; there are {', '.join(known)}")
    return known[value]


def _contract(contract: Any, vocabulary: Mapping[str, Any]) -> Any:
    if not isinstance(contract, Mapping):
        return contract
    made = dict(contract)
    ratios = vocabulary["aspect_ratios"]
    if "aspect_ratios" in made:
        made["aspect_ratios"] = _table(made["aspect_ratios"], ratios, "aspect_ratios")
    if isinstance(made.get("resolutions"), Mapping):
        made["resolutions"] = {
            name: _table(table, ratios, "resolutions") for name, table in made["resolutions"].items()
        }
    if isinstance(made.get("fields"), Mapping):
        made["fields"] = {name: _field(name, field, vocabulary["fields"]) for name, field in made["fields"].items()}
    return made


def _field(name: str, field: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(field, str):
        field = {"like": field}
    if not isinstance(field, Mapping) or "like" not in field:
        return field
    pattern = field["like"]
    if pattern not in known:
        raise ValueError(f"fields.{name}: there is no shared field {pattern!r}")
    return {**known[pattern], **{key: value for key, value in field.items() if key != "like"}}


def read_user_models(
    path: Path, known: tuple[ModelSpec, ...], providers: tuple[Provider, ...]
) -> tuple[tuple[ModelSpec, ...], tuple[Provider, ...]]:
    """Add a user's models and providers to the known ones, or change these.

    Raises:
        ModelFileError: The file cannot be read, or what is in it contradicts itself, or it would change what an item
            is that was bought already.
    """
    document = _document(path)
    entries = list(document.get("models", ()))
    sellers = {provider.name: provider for provider in providers}
    vocabulary = _shipped("vocabulary.json")
    models = {spec.id: spec for spec in known}
    problems: list[str] = []
    for number, entry in enumerate(document.get("providers", ()), 1):
        try:
            provider = _provider(entry, sellers)
        except (ValidationError, ValueError) as error:
            problems += _told(f"providers[{number}]", "provider", error)
        else:
            sellers[provider.name] = provider
    for number, entry in enumerate(entries, 1):
        where = f"models[{number}]"
        if isinstance(entry, Mapping) and isinstance(entry.get("id"), str):
            where = entry["id"]
        try:
            spec = _one(entry, models, vocabulary, tuple(sellers.values()))
            if find_provider(spec.provider, tuple(sellers.values())) is None:
                raise ValueError(f"there is no provider {spec.provider!r}")  # noqa: TRY301 - told with the others
        except (ValidationError, ValueError) as error:
            problems += _told(where, "model", error)
        else:
            models[spec.id] = spec
    owners: dict[str, str] = {}
    for spec in models.values():
        for name in spec.names:
            if owners.setdefault(name, spec.id) != spec.id:
                problems.append(f"{spec.id}: the name {name!r} is one of {owners[name]} already")
    if problems:
        raise ModelFileError(str(path), tuple(problems))
    return tuple(models.values()), tuple(sellers.values())


def _told(where: str, what: str, error: ValueError) -> list[str]:
    """What is wrong with an entry, as lines."""
    if not isinstance(error, ValidationError):
        return [f"{where}: {error}"]
    return [
        f"{where}: {'.'.join(map(str, one['loc'])) or what}: {one['msg'].removeprefix('Value error, ')}"
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _provider(entry: Any, known: Mapping[str, Provider]) -> Provider:
    """A provider of the user's own; under a known name, that one with some of it changed."""
    if not isinstance(entry, Mapping):
        raise ValueError("not a mapping")  # noqa: TRY004 - collected with the other problems of the file
    base = known.get(str(entry.get("name")))
    own = {"as_of": "", "source": "a file of the user's own"}
    if base is None:
        return Provider.model_validate({**entry, "contract": {**own, **(entry.get("contract") or {})}})
    if entry.get("api", base.api) != base.api:
        raise ValueError(f"the protocol of {base.name} cannot be changed; give the provider another name")
    contract = base.contract.model_dump()
    if "contract" in entry:
        contract = {**contract, **own, **entry["contract"]}
    return Provider.model_validate({**base.model_dump(), **entry, "contract": contract})


def _document(path: Path) -> Mapping[str, Any]:
    name = str(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelFileError(name, ("it is larger than 1 MiB",))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ModelFileError(name, (f"it cannot be read: {error.strerror}",)) from None
    except UnicodeDecodeError:
        raise ModelFileError(name, ("it is not UTF-8 text",)) from None
    from .yaml_text import YamlError, read_yaml

    try:
        document = read_yaml(text)
    except YamlError as error:
        raise ModelFileError(name, (str(error),)) from None
    given = document if isinstance(document, Mapping) else {}
    lists = [given[key] for key in ("models", "providers") if key in given]
    if not lists or not all(isinstance(one, list) for one in lists):
        raise ModelFileError(name, ("it needs a list `models`, and `version: 1`",))
    strange = sorted(str(key) for key in document.keys() - {"version", "models", "providers", "$comment"})
    if strange or document.get("version") != 1:
        what = f"unknown key {strange[0]!r}" if strange else f"version {document.get('version')!r} is not 1"
        raise ModelFileError(name, (what,))
    return dict(document)


def _one(
    entry: Any, models: Mapping[str, ModelSpec], vocabulary: Mapping[str, Any], providers: tuple[Provider, ...]
) -> ModelSpec:
    if not isinstance(entry, Mapping):
        raise ValueError("not a mapping")  # noqa: TRY004 - collected with the other problems of the file
    given = _expanded(entry, vocabulary)
    by_name = {name: spec for spec in models.values() for name in spec.names}
    pattern_name = given.pop("like", None)
    changed = models.get(str(given.get("id")))
    if changed is not None and pattern_name is not None:
        raise ValueError("`like` is for new models; a known id changes that model")
    pattern = changed
    if pattern_name is not None:
        pattern = by_name.get(str(pattern_name))
        if pattern is None:
            raise ValueError(f"like: there is no model {pattern_name!r}")
    name = str(given.get("id"))
    seller = find_provider(split_name(name)[0], providers)
    if changed is None and seller is not None:
        given.setdefault("provider", seller.name)
    if pattern is None:
        if seller is not None and seller.name != DEFAULT_PROVIDER:
            # Asked as the protocol says, where nothing more is known.
            given = {"title": name, "default_contract": "own", "contracts": {"own": open_contract(seller.api)}, **given}
        return ModelSpec.model_validate({"lifecycle": _own_lifecycle(), "price": None, **given})
    base = pattern.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if changed is None:
        for name in ("aliases", "lifecycle"):
            base.pop(name, None)
        base = {"lifecycle": _own_lifecycle(), **base, "title": str(given.get("id"))}
        for contract in base["contracts"].values():
            contract.pop("wire_model", None)
    elif "contracts" in given:
        given["contracts"] = {**base["contracts"], **given["contracts"]}
    spec = ModelSpec.model_validate({**base, **given})
    if changed is not None:
        _keep_identity(changed, spec)
    return spec


def _own_lifecycle() -> dict[str, Any]:
    return {"status": "listed", "source": "a file of the user's own"}


def _keep_identity(old: ModelSpec, new: ModelSpec) -> None:
    """A known model's defaults decide which purchase an item is: changing one would buy what is owned."""
    rules = {
        name: (field.default, field.identity)
        for contract in old.contracts.values()
        for name, field in contract.fields.items()
    }
    for contract_name, contract in new.contracts.items():
        for name, field in contract.fields.items():
            known = rules.get(name)
            if known is not None and known != (field.default, field.identity):
                raise ValueError(
                    f"contracts.{contract_name}.fields.{name}: default and identity of a known model's field cannot be "
                    "changed, since they decide what is owned; add a model with an id of its own"
                )

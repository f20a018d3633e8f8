"""The models that the protocols sell: those of the providers in the registry that speak them.

What a request may contain is the protocol's own contract, not the registry's: a mistake in the registry has to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...core.providers.spec import Contract, ModelSpec, ResolvedModel
from ..call_log import Protocol
from ..state import SandboxState

_CONTRACT = "sandbox"


class ProtocolStock:
    """The models of one protocol.

    Args:
        state: The sandbox.
        protocol: Its name.
        pixels: The sizes that the protocol has names for.
    """

    def __init__(
        self, state: SandboxState, protocol: Protocol, pixels: Mapping[str, tuple[int, int]] | None = None
    ) -> None:
        self._state = state
        self._sellers = [provider.name for provider in state.registry.providers if provider.api == protocol]
        self._pixels = pixels or {}

    def find(self, name: str, contract: Contract) -> ResolvedModel | None:
        """The model of a name, with what a request to it may contain; None: unknown or withdrawn."""
        for seller in self._sellers:
            found = self._state.model(f"{seller}:{name}")
            if found is not None:
                return self._sold(found.spec, contract)
        if self._state.options.any_model_usd is None:
            return None
        return self._sold(self._state.stock.any_model(name), contract)

    def list_names(self) -> Iterator[str]:
        """The names of all models that can be called."""
        for spec in self._state.registry.models:
            if spec.provider in self._sellers and self._state.status_of(spec).status != "withdrawn":
                yield spec.id.removeprefix(f"{spec.provider}:")

    def _sold(self, spec: ModelSpec, contract: Contract) -> ResolvedModel:
        pixels = {**spec.pixels, **self._pixels}
        changed = {"contracts": {_CONTRACT: contract}, "default_contract": _CONTRACT, "pixels": pixels}
        return ResolvedModel(spec.model_copy(update=changed), _CONTRACT)

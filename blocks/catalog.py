"""Where the ledger and the catalog are."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from ..core.files import home
from ..core.ledger import Ledger, has_password, open_ledger
from .travel import TravelsByName


class ImageCatalog(TravelsByName, Block):
    """The database with the account of every paid call and the catalog of every image: SQLite or PostgreSQL.

    Example:
        Load a saved catalog:
        ```python
        from prefect_imagen.blocks import ImageCatalog

        catalog = ImageCatalog.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Image Catalog"
    _block_type_slug = "image-catalog"
    _description = "Database of the ledger and the image catalog."
    _documentation_url = "https://docs.sqlalchemy.org/en/20/core/engines.html"  # type: ignore[assignment]

    url: SecretStr = Field(
        title="URL",
        description="`sqlite:////absolute/path/ledger.db` or `postgresql://user:password@host/database`.",
    )

    @classmethod
    def default(cls) -> ImageCatalog:
        """The SQLite ledger of this user: `ledger.db` in `$PREFECT_IMAGEN_HOME` or `~/.prefect-imagen`."""
        return cls(url=SecretStr(str(home() / "ledger.db")))

    def _holds_secret(self) -> bool:
        return has_password(self.url.get_secret_value())

    def get_ledger(self) -> Ledger:
        """The open ledger, one for all blocks and threads of this process; made and migrated if need be.

        Raises:
            LedgerNotUsable: The URL is wrong or a driver is missing.
            LedgerUnavailable: The database does not answer.
        """
        return open_ledger(self.url.get_secret_value())

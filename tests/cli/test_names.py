"""Images in a folder are found by their names, and every way to them leads to the same name."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from .conftest import Said, Terminal

Here = Callable[..., Said]
PRODUCTS = "product,prompt\nMug No/5,a mug\nMug No/5,a mug from above\nLamp,a lamp\n"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def query(terminal: Terminal, sql: str) -> list[Any]:
    with closing(sqlite3.connect(terminal.environment["PREFECT_IMAGEN_CATALOG"])) as ledger, ledger:
        return ledger.execute(sql).fetchall()


def test_a_folder_has_readable_names_and_an_older_ledger_keeps_its_own(alone: Terminal, here: Here) -> None:
    alone.write("foxes.txt", "a {red|blue} fox, in the snow\n")
    assert alone.run("run", "foxes.txt", "--to", "images").code == 0
    found = names(alone.folder / "images")
    assert len(found) == 2
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d/a-(red|blue)-fox-in-the-snow-\w{10}\.png", name) for name in found)
    assert sorted(key for (key,) in query(alone, "SELECT object_key FROM catalog")) == found
    # The same command finds them, and another folder gets the same names.
    assert alone.run("run", "foxes.txt", "--to", "images").code == 0
    assert alone.run("run", "foxes.txt", "--to", "copies").code == 0
    assert names(alone.folder / "images") == names(alone.folder / "copies") == found
    assert len(alone.sandbox.calls()) == 2

    # A ledger from before there were such names.
    query(alone, "DELETE FROM imagen_meta WHERE key = 'folder_names'")
    assert alone.run("run", "foxes.txt", "--to", "images", "--edition", "2").code == 0
    new = set(names(alone.folder / "images")) - set(found)
    assert len(new) == 2
    assert all(re.fullmatch(r".+/[0-9a-f]{64}/pi-\w+-0\.png", name) for name in new)


def test_names_of_columns_are_the_same_after_a_repair(alone: Terminal, here: Here) -> None:
    alone.write("products.csv", PRODUCTS)
    options = ("--key-template", "{product}/{line}-{index}.{ext}")
    alone.sandbox.set_faults([{"fault": "download_500", "first_attempts": None}])
    run = ("run", "products.csv", "--to", "images", *options, "--patience", "1")
    assert alone.run(*run).code == 1
    alone.sandbox.clear_faults()
    assert here("repair", *options).code == 0
    found = names(alone.folder / "images")
    assert [re.sub(r"-\w{10}\.png", "", name) for name in found] == ["Lamp/4-0", "Mug_No_5/2-0", "Mug_No_5/3-0"]
    assert alone.run(*run).code == 0
    assert alone.run("run", "products.csv", "--to", "copies", *options).code == 0
    assert names(alone.folder / "copies") == found
    assert len(alone.sandbox.bill()["entries"]) == 3


def test_a_column_that_is_not_there_is_found_before_anything_is_bought(alone: Terminal, here: Here) -> None:
    alone.write("products.csv", PRODUCTS)
    said = here("run", "products.csv", "--to", "images", "--key-template", "{prodct}-{index}.{ext}")
    assert said.code == 2
    assert "unknown field {prodct}; did you mean {product}?" in said.err
    assert alone.sandbox.calls() == []

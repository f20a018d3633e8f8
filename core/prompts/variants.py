r"""Variants: one text that stands for several, `a {red|blue} {cat|dog}`. The syntax is in `grammar`.

- Every combination is one prompt; the last choice varies fastest.
- Choices nest. An alternative may be empty (`{very |}old`). Braces around a single text are an error.
- `{2$$a|b|c}` takes two of three, in the order written: `a, b`, `a, c`, `b, c`. `{2!$$a|b|c}` takes every order.
- `__colour__` is a choice between the values of a wildcard: see `wildcards`.
- `${hue={red|blue}}` names a text, `${hue}` is that text again, decided anew; with `=!` it is decided once.
- Weights (`{3::a|b}`) decide how often an alternative is drawn in a sample: see `sampling`. They change no combination.

>>> [variant.text for variant in parse("a {red|blue} {cat|dog}").expand()]
['a red cat', 'a red dog', 'a blue cat', 'a blue dog']
>>> parse("{0|1|2|3|4|5|6|7|8|9}" * 12).count()
1000000000000
>>> parse("{0|1|2|3|4|5|6|7|8|9}" * 12).pick(123456789012).text
'123456789012'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .combinations import Blankness, Variant, expand_branch, pick_branch
from .grammar import read
from .quoting import unquote
from .resolve import Resolver
from .tree import Branch


@dataclass(frozen=True, slots=True)
class Variants:
    """A parsed text.

    Attributes:
        source: The text as written; the nodes' positions count in it (those that came from a wildcard's value, in
            that value).
    """

    source: str
    root: Branch

    @property
    def weighted(self) -> bool:
        return self.root.weighted

    def count(self) -> int:
        """The number of combinations, multiplied out of the tree without enumerating any.

        Equal texts that come out of different choices count separately: `{a|a}` is 2.
        """
        return self.root.count

    def expand(self) -> Iterator[Variant]:
        """All combinations, lazily, left to right, the last choice varying fastest."""
        return expand_branch(self.root)

    def pick(self, index: int) -> Variant:
        """The combination that `expand` would yield at `index`, directly."""
        if not 0 <= index < self.root.count:
            raise IndexError(f"there is no combination {index}")
        return pick_branch(self.root, index, {})

    def can_be_blank(self) -> bool:
        """Whether some combination consists of white space only.

        >>> parse("{a|} {b|}").can_be_blank(), parse("{a|} b").can_be_blank()
        (True, False)
        """
        return Blankness().of(self.root, frozenset()).blank


def parse(
    text: str, resolver: Resolver | None = None, *, quoted: bool = False, named_by_values: bool = False
) -> Variants:
    r"""Read a text with variants.

    Args:
        resolver: Knows what `__name__` stands for; without it, a wildcard is an error.
        quoted: Whether stand-ins of `quoting` in the text are plain characters of values.
        named_by_values: Whether a wildcard may be named by a value.

    Raises:
        VariantError: The text cannot be read, or names a wildcard or variable that does not exist.

    >>> parse(r"50% off | \{plain\} C:\temp #sale // $5").pick(0).text
    '50% off | {plain} C:\\temp #sale // $5'
    >>> parse("a {red|blue cat")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    prefect_imagen.core.prompts.errors.VariantError: unclosed '{': ...
    """
    resolver = resolver or Resolver()
    tree = read(text, quoted=quoted, spaced=resolver.spaced, named_by_values=named_by_values)
    source = unquote(text) if quoted else text
    return Variants(source, resolver.resolve(source, tree))

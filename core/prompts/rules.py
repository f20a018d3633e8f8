r"""Exclusions: which combinations are not wanted, "snow & beach".

    rule  = term { "&" term }
    term  = [ "!" ] [ column "=" ] ( text | '"' any characters '"' )

- A rule leaves out every prompt for which all of its terms hold. Several rules each leave out theirs.
- `snow` holds if an alternative that was taken is that text, whole: `snow`, not `snowy`. Case and the width of white
  space do not count. Alternatives are those of choices and the values of wildcards, as they came out; what was taken
  inside of one counts, too.
- `*` stands for any characters: `*snow*`. In quotes all characters are plain: `"R&D"`.
- `place=beach` holds if the row's column `place` has that text; `place=""` if it is empty or null. Numbers and booleans
  are compared as they are printed. A rule that is only about columns leaves out rows before a template sees them.
- `!` negates a term: `snow & !mountain` leaves out snow where no mountain is.

A term that nothing in any prompt fits is an error: a mistyped rule would leave in what was meant to stay out.

Counting is exact. Each part of the tree is summarised as a table, how many of its combinations fit which terms, and
tables multiply as counts do; so the number of prompts, and any one of them by its index, is known without enumerating.
What cannot be summarised is an error, never a guess: see `MAX_TABLE` and `MAX_TEXTS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .combinations import Variant, expand_branch
from .errors import PromptOptionError
from .stars import StarPattern
from .suggestions import listed, nearest, no_column
from .tree import Branch, Group, Let, Node, Several, Text, Use
from .variants import Variants

MAX_TABLE = 20_000
"""Different sets of terms that the combinations of one text may fit."""

MAX_TEXTS = 10_000
"""Combinations of one alternative, or of one choice that takes several, that are compared with the terms one by one."""

_SPARSE = 64
"""Where fewer than one combination in so many is left, each is found by its index instead of trying them all."""

_LARGE = 100
_SHARED = 1000

MAX_RULE = 10_000
"""Characters of a rule."""

Table = Mapping[int, int]
"""Set of terms, as bits → how many combinations fit exactly these."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a rule.

    Attributes:
        quoted: Whether `*` is plain.
        column: Compared with this column of the row; None for the alternatives taken.
        negated: Whether it holds where the text does not fit.
    """

    text: str
    quoted: bool
    column: str | None
    negated: bool

    def fits(self, text: str) -> bool:
        """Whether the term's text is that text, whatever `negated` says."""
        wanted, given = _folded(self.text), _folded(text)
        if self.quoted or "*" not in wanted:
            return wanted == given
        return StarPattern(wanted).fits(given)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule for one row: the terms, as bits, that have to be fitted, and those that must not."""

    needed: int
    refused: int


class Rules:
    """The rules of a spec, and what they have met so far."""

    def __init__(self, rules: Sequence[str]) -> None:
        self.written = tuple(rules)
        self._rules = [_read(rule) for rule in rules]
        self._texts: dict[tuple[str, bool], int] = {}
        for term in itertools.chain.from_iterable(self._rules):
            if term.column is None:
                self._texts.setdefault((term.text, term.quoted), 1 << len(self._texts))
        self._terms = [(Term(text, quoted, None, False), bit) for (text, quoted), bit in self._texts.items()]
        self._bits: dict[str, int] = {}
        self._met = 0
        self._met_columns: set[tuple[str, str, bool]] = set()
        self._alternatives: dict[str, None] = {}
        self.shared: dict[int, tuple[Node, Table]] = {}
        """Tables of large choices: those of wildcards are the same in every row."""

    def __bool__(self) -> bool:
        return bool(self._rules)

    def check_columns(self, columns: Collection[str]) -> None:
        """Look for columns that no row has."""
        for written, rule in zip(self.written, self._rules, strict=True):
            for term in rule:
                if term.column is not None and term.column not in columns:
                    problem = f'{no_column(term.column, columns)}; text with a "=" in it is put in quotes'
                    raise PromptOptionError("exclude", written, problem)

    def leave_out(self, row: Mapping[str, Any]) -> bool:
        """Whether a rule that is only about columns leaves out the whole row, whatever would come of it."""
        # Every rule is asked, so that each is known to have met something.
        found = [
            all(self._fits_column(term, row) is not term.negated for term in rule)
            for rule in self._rules
            if all(term.column is not None for term in rule)
        ]
        return any(found)

    def apply(self, variants: Variants, row: Mapping[str, Any]) -> Excluding:
        """The combinations that the rules leave in one row."""
        active: list[_Rule] = []
        for rule in self._rules:
            needed = refused = 0
            for term in rule:
                if term.column is not None:
                    if self._fits_column(term, row) is term.negated:
                        break
                elif term.negated:
                    refused |= self._texts[term.text, term.quoted]
                else:
                    needed |= self._texts[term.text, term.quoted]
            else:
                active.append(_Rule(needed, refused))
        found = Excluding(variants, tuple(active), self)
        for bits in found.table:
            self._met |= bits
        return found

    def check_met(self) -> None:
        """Whether every term has fitted something, when all rows have been read."""
        for written, rule in zip(self.written, self._rules, strict=True):
            for term in rule:
                if term.column is None:
                    if self._met & self._texts[term.text, term.quoted]:
                        continue
                    close = nearest(term.text, self._alternatives)
                    hint = f"did you mean {listed(close)}?" if close else "alternatives are compared as a whole."
                    raise PromptOptionError("exclude", written, f"no alternative is {term.text!r}; {hint}")
                if (term.column, term.text, term.quoted) not in self._met_columns:
                    raise PromptOptionError("exclude", written, f"no row has {term.text!r} in column {term.column!r}")

    def bits(self, text: str) -> int:
        """The terms that an alternative's text fits."""
        found = self._bits.get(text)
        if found is None:
            found = sum(bit for term, bit in self._terms if term.fits(text))
            if len(self._bits) < MAX_TEXTS:
                self._bits[text] = found
                self._alternatives[text.strip()] = None
        return found

    def could_fit(self, branch: Branch) -> bool:
        """Whether a term might be some text of a branch whose texts are too many to compare."""
        before = _folded(_leading_text(branch.nodes))
        after = _folded(_leading_text(branch.nodes[::-1]))
        for term, _ in self._terms:
            if not term.quoted and "*" in term.text:
                return True
            wanted = _folded(term.text)
            # Folding the case of a text never makes it shorter.
            if len(wanted) >= branch.size.least and wanted.startswith(before) and wanted.endswith(after):
                return True
        return False

    def unknown(self, what: str, node: Branch | Several) -> PromptOptionError:
        """What is raised where counting would be a guess."""
        why = (
            "prints a variable that is decided once (=!)"
            if node.uses
            else f"has {node.count:,} combinations, too many to compare one by one"
        )
        return PromptOptionError("exclude", list(self.written), f"{what} that a rule may mean {why}; reword either")

    def _fits_column(self, term: Term, row: Mapping[str, Any]) -> bool:
        value = row.get(term.column or "")
        fits = isinstance(value, str | int | float | None) and term.fits("" if value is None else str(value))
        if fits:
            self._met_columns.add((term.column or "", term.text, term.quoted))
        return fits


class Excluding:
    """The combinations of a text that no rule leaves out, in their usual order.

    Attributes:
        table: How many combinations there are, rules aside, of each set of terms.
    """

    def __init__(self, variants: Variants, rules: tuple[_Rule, ...], terms: Rules) -> None:
        self.variants = variants
        self._rules = rules
        self._terms = terms
        self._tables: dict[int, Table] = {}
        self._texts: dict[int, tuple[int, ...]] = {}
        self._left: dict[int, bool] = {}
        self.table = self._of_nodes(variants.root.nodes)
        self._count = self._allowed(0, self.table)

    @property
    def weighted(self) -> bool:
        return self.variants.weighted

    def count(self) -> int:
        """How many are left; may be none."""
        return self._count

    def excludes(self, variant: Variant) -> bool:
        """Whether some rule leaves out this combination."""
        bits = 0
        for choice in variant.choices:
            bits |= self._terms.bits(choice)
        return not self._leaves(bits)

    def expand(self) -> Iterator[Variant]:
        """All that are left, lazily."""
        if self._count * _SPARSE < self.variants.count():
            return (self.pick(index) for index in range(self._count))
        return (variant for variant in self.variants.expand() if not self.excludes(variant))

    def pick(self, index: int) -> Variant:
        """The one that `expand` would yield at `index`, directly."""
        if not 0 <= index < self._count:
            raise IndexError(f"there is no combination {index}")
        found, _, _ = self._locate(self.variants.root.nodes, index, 0, {0: 1})
        return self.variants.pick(found)

    # Counting --------------------------------------------------------------------------------------------------------

    def _leaves(self, bits: int) -> bool:
        left = self._left.get(bits)
        if left is None:
            left = self._left[bits] = not any(
                bits & rule.needed == rule.needed and not bits & rule.refused for rule in self._rules
            )
        return left

    def _allowed(self, bits: int, table: Table) -> int:
        """How many of a table's combinations are left after something that fits `bits`."""
        return sum(count for more, count in table.items() if self._leaves(bits | more))

    def _joined(self, one: Table, other: Table) -> Table:
        if len(one) == 1 and (factor := one.get(0)) is not None:
            return other if factor == 1 else {bits: count * factor for bits, count in other.items()}
        joined: dict[int, int] = {}
        for bits, count in one.items():
            for more, times in other.items():
                joined[bits | more] = joined.get(bits | more, 0) + count * times
        if len(joined) > MAX_TABLE:
            raise PromptOptionError("exclude", f"{len(self._rules)} rules", "too many different terms to count with")
        return joined

    def _of_nodes(self, nodes: Sequence[Node]) -> Table:
        table: Table = {0: 1}
        for node in nodes:
            table = self._joined(self._of(node), table)
        return table

    def _of(self, node: Node) -> Table:
        match node:
            case Text() | Use():
                return {0: 1}
            case Let(value=value, body=body):
                return self._joined(self._of_nodes(value.nodes), self._of_nodes(body.nodes))
        table = self._tables.get(id(node))
        if table is None:
            known = self._terms.shared.get(id(node))
            if known is None:
                table = self._of_group(node) if isinstance(node, Group) else self._of_several(node)
                if len(node.branches) >= _LARGE and len(self._terms.shared) < _SHARED:
                    # The node is kept with its table, so that its id remains its own.
                    self._terms.shared[id(node)] = node, table
            else:
                table = known[1]
            self._tables[id(node)] = table
        return table

    def _of_group(self, group: Group) -> Table:
        table: dict[int, int] = {}
        for branch in group.branches:
            for bits, count in self._of_branch(branch).items():
                table[bits] = table.get(bits, 0) + count
        return table

    def _of_branch(self, branch: Branch) -> Table:
        """An alternative: what is taken inside of it, and its own text."""
        each = self._each(branch)
        return self._of_nodes(branch.nodes) if each is None else _tally(each)

    def _of_several(self, node: Several) -> Table:
        if not any(self._of_branch(branch).keys() - {0} for branch in node.branches):
            return {0: node.count}
        return _tally(self._each_of_several(node))

    def _each(self, branch: Branch) -> tuple[int, ...] | None:
        """The terms that each combination of an alternative fits; None where its own text fits none."""
        known = self._texts.get(id(branch))
        if known is not None:
            return known
        if branch.count <= MAX_TEXTS and not branch.uses:
            found = tuple(self._bits_of(variant, variant.text) for variant in expand_branch(branch))
        elif self._terms.could_fit(branch):
            raise self._terms.unknown("an alternative", branch)
        else:
            return None
        self._texts[id(branch)] = found
        return found

    def _each_of_several(self, node: Several) -> tuple[int, ...]:
        known = self._texts.get(id(node))
        if known is None:
            if node.count > MAX_TEXTS or node.uses:
                raise self._terms.unknown("a choice of several", node)
            alone = Branch((node,), node.start, node.end)
            known = self._texts[id(node)] = tuple(self._bits_of(variant, None) for variant in expand_branch(alone))
        return known

    def _bits_of(self, variant: Variant, own: str | None) -> int:
        bits = 0 if own is None else self._terms.bits(own)
        for choice in variant.choices:
            bits |= self._terms.bits(choice)
        return bits

    # Finding ---------------------------------------------------------------------------------------------------------

    def _locate(self, nodes: Sequence[Node], index: int, before: int, after: Table) -> tuple[int, int, int]:
        """The combination of `nodes` with which the `index`-th whole that is left begins.

        Args:
            index: Among the wholes that are left, given `before`.
            before: The terms that what was decided already fits.
            after: What is decided afterwards.

        Returns:
            The combination's index among all of the nodes', the terms fitted until here, and what is left of `index`.
        """
        following = [after]
        for node in reversed(nodes):
            following.append(self._joined(self._of(node), following[-1]))
        following.pop()
        found = 0
        for node, rest in zip(nodes, reversed(following), strict=True):
            digit, before, index = self._locate_node(node, index, before, rest)
            found = found * node.count + digit
        return found, before, index

    def _locate_node(self, node: Node, index: int, before: int, after: Table) -> tuple[int, int, int]:
        if self._of(node).keys() == {0}:
            digit, index = divmod(index, self._allowed(before, after))
            return digit, before, index
        if isinstance(node, Let):
            return self._locate((*node.value.nodes, *node.body.nodes), index, before, after)
        if isinstance(node, Several):
            return self._locate_each(self._each_of_several(node), index, before, after)
        assert isinstance(node, Group)  # noqa: S101 - for the type checker: texts fit no term by themselves
        offset = 0
        for branch in node.branches:
            here = self._allowed(before, self._joined(self._of_branch(branch), after))
            if index < here:
                each = self._each(branch)
                digit, before, index = (
                    self._locate(branch.nodes, index, before, after)
                    if each is None
                    else self._locate_each(each, index, before, after)
                )
                return offset + digit, before, index
            index -= here
            offset += branch.count
        raise IndexError("there is no such combination")

    def _locate_each(self, each: Sequence[int], index: int, before: int, after: Table) -> tuple[int, int, int]:
        for digit, bits in enumerate(each):
            here = self._allowed(before | bits, after)
            if index < here:
                return digit, before | bits, index
            index -= here
        raise IndexError("there is no such combination")


def _read(rule: str) -> list[Term]:
    if len(rule) > MAX_RULE:
        raise PromptOptionError("exclude", f"{rule[:60]}…", f"a rule has at most {MAX_RULE:,} characters")
    # Every other piece is in quotes, in which "&" and "=" are plain.
    pieces = rule.split('"')
    if len(pieces) % 2 == 0:
        raise _unreadable(rule)
    terms: list[list[str]] = [[]]
    for place, piece in enumerate(pieces):
        first, *others = [piece] if place % 2 else piece.split("&")
        terms[-1].append(first)
        terms.extend([other] for other in others)
    return [_read_term(rule, term) for term in terms]


def _read_term(rule: str, pieces: Sequence[str]) -> Term:
    """A term of its text, or of what stands before its quotes, in them and after them."""
    before, *quoted = pieces
    column: str | None = None
    text = before.strip()
    negated = text.startswith("!")
    text = text.removeprefix("!").strip()
    if "=" in text:
        column, _, text = (part.strip() for part in text.partition("="))
    if quoted:
        if len(quoted) != 2 or text or quoted[1].strip():
            raise _unreadable(rule)
        text = quoted[0]
    if column == "" or (not text.strip() and not (quoted and column)):
        raise PromptOptionError("exclude", rule, 'a term is empty; write it like "snow & beach" or "place=beach"')
    return Term(text.strip(), bool(quoted), column, negated)


def _unreadable(rule: str) -> PromptOptionError:
    return PromptOptionError("exclude", rule, 'terms are joined by "&", and quotes come around a whole text')


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _leading_text(nodes: Sequence[Node]) -> str:
    """The text at the beginning: a single node, since texts do not stand side by side unless variables put them."""
    return nodes[0].text if nodes and isinstance(nodes[0], Text) else ""


def _tally(each: Sequence[int]) -> Table:
    table: dict[int, int] = {}
    for bits in each:
        table[bits] = table.get(bits, 0) + 1
    return table

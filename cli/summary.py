"""The end of a run, for a person: what there is, what it cost, what is missing, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from ..core.ledger import ItemState
from ..core.limits import StopReason
from ..core.money import format_usd
from ..core.run.report import RunReport
from .console import facts, program, shorten, table

_OPEN_SHOWN = 10
_STATE_STYLE = {
    "delivered": "green",
    "unknown": "yellow",
    "generated": "yellow",
    "refused": "red",
    "lost": "red",
    "failed": "red",
}
_HALT_ADVICE = {
    StopReason.CREDIT: "Top up the account, then the same command buys the rest:",
    StopReason.KEY: "Give a key that is accepted (by its environment variable), then the same command buys the rest:",
    StopReason.MODEL: "The API does not serve this model; `prefect-imagen models` lists others. A server that "
    "speaks OpenAI's protocol is called with --api openai.",
    StopReason.RATE: "The API asked for a longer pause than is worth waiting. Later, or with --requests-per-minute:",
    StopReason.API: "When the API can be reached, the same command buys the rest:",
    StopReason.CALLS: "When the API answers as it should, the same command buys the rest:",
    StopReason.PICTURES: "When pictures can be fetched, the same command delivers what is paid, then buys the rest:",
    StopReason.STORE: "When the store is back, the same command delivers what is paid for, then buys the rest:",
    StopReason.SPOOL: "When there is room on this machine's disk, the same command goes on:",
    StopReason.LEDGER: "When the database is back, the same command goes on:",
    StopReason.BEHIND: "Once the catalog has taken in what was bought, the same command buys the rest:",
    StopReason.BUDGET: "The same command buys the rest under a new budget of the same size:",
}
_LOOK = ("--catalog", "--endpoint-url", "--role-arn", "--external-id")
"""Options of `run` that say where its ledger and its images are."""
_REPAIR = (*_LOOK, "--base-url", "--models", "--key-template")
_NOT_BEGUN = frozenset({ItemState.PLANNED, ItemState.CLAIMED})
_TO_DO = (ItemState.PLANNED, ItemState.CLAIMED, ItemState.SENT, ItemState.GENERATED, ItemState.FAILED)


def again(arguments: Sequence[str], **changes: str) -> str:
    """The command line that was typed, with options changed, ready to be pasted into a shell.

    Example:
        >>> again(["run", "p.csv", "--unknown", "hold"], unknown="retry")
        'prefect-imagen run p.csv --unknown retry'
    """
    kept = list(arguments)
    for name in changes:
        flag = f"--{name}"
        kept = [word for word in kept if not word.startswith(f"{flag}=")]
        while flag in kept:
            place = kept.index(flag)
            del kept[place : place + 2]
    added = [word for name, value in changes.items() for word in (f"--{name}", value)]
    return shlex.join([program(), *kept, *added])


def after(arguments: Sequence[str], *command: str, keep: Sequence[str]) -> str:
    """A command for the run of a command line, which keeps what says where its ledger, API and stores are.

    Example:
        >>> after(["run", "p.csv", "--to", "x", "--catalog=l.db", "--tag", "a=b"], "review", keep=("--catalog",))
        'prefect-imagen review --catalog=l.db'
    """
    kept = list(command)
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word in keep:
            kept += [word, following]
        elif word.startswith(tuple(f"{flag}=" for flag in keep)):
            kept.append(word)
    return shlex.join([program(), *kept])


def state_counts(states: Mapping[str, int]) -> Text:
    """Items by state, the states that have none left out."""
    text = Text()
    for state, count in states.items():
        if count:
            text.append(f"{', ' if text else ''}{count:,} {state}", _STATE_STYLE.get(state, ""))
    return text or Text("nothing to do")


def _money_rows(report: RunReport) -> list[tuple[str, str]]:
    account = report.account
    rows = [("billed", f"{format_usd(account.billed)} in this run")]
    for name in ("generated", "lost", "rewrites", "erased", "refused"):
        line = getattr(account, name)
        if line.calls:
            rows.append((f"  for {name}", f"{format_usd(line.credits)}, {line.calls} calls"))
    for name, text in (("unknown", "perhaps"), ("in_flight", "reserved")):
        line = getattr(account, name)
        if line.calls:
            rows.append(
                (text, f"up to {format_usd(line.credits)} more, for {line.calls} {name.replace('_', ' ')} calls")
            )
    return rows


def texts_written(report: RunReport) -> str:
    """How the prompts fared that a language model was to rewrite."""
    rewrites = report.rewrites
    if rewrites is None:
        return ""
    states = ", ".join(
        f"{count:,} {'written' if state == ItemState.DELIVERED else state}" for state, count in rewrites.states.items()
    )
    kept = f"; {rewrites.kept:,} items made from the prompt as it was" if rewrites.kept else ""
    return f"{states}{kept}"


def print_summary(console: Console, report: RunReport, arguments: Sequence[str]) -> None:
    """Print how a run ended."""
    style = "bold green" if report.complete else "bold yellow"
    console.print()
    console.print(
        Text()
        .append(report.outcome, style)
        .append(f"  {report.delivered:,} of {report.items:,} items delivered", "bold")
    )
    if report.message:
        console.print(f"  {report.message}", soft_wrap=True)
    owned = f"{report.owned:,} of the items, not bought again" if report.owned else ""
    duplicates = report.rows - report.items
    facts(
        console,
        [
            ("items", state_counts(report.states).plain),
            ("model", f"{report.model}, in place of {', '.join(report.replaced)}" if report.replaced else ""),
            ("left out", "; ".join(report.omitted)),
            ("owned", owned),
            ("duplicates", f"{duplicates:,} rows ask for an item that another row asks for, too" if duplicates else ""),
            ("images", images_stored(report)),
            ("texts", texts_written(report)),
            *_money_rows(report),
            ("stored in", report.destination or ""),
            ("catalog", report.catalog),
            ("run", report.run_id),
            ("look at them", after(arguments, "review", report.run_id, keep=_LOOK) if report.images else ""),
        ],
    )
    print_open(console, report)
    for text, command in next_steps(report, arguments):
        console.print(f"\n{text}", soft_wrap=True)
        if command:
            console.print(f"  {command}", style="bold", soft_wrap=True)


def images_stored(report: RunReport) -> str:
    """How many images are stored, and how many of all that were paid are not as they should be."""
    damaged = f", {report.damaged:,} of them damaged or not checked (`damage` in the catalog)" if report.damaged else ""
    unusable = f", {report.quarantined:,} paid and unusable" if report.quarantined else ""
    return f"{report.images:,}{damaged}{unusable}"


def print_open(console: Console, report: RunReport, *, but: frozenset[str] = frozenset()) -> None:
    """Print which items were tried and not delivered, and why; those that were not begun are only counted.

    Args:
        console: Where.
        report: Of the run.
        but: States that are shown elsewhere.
    """
    hidden = _NOT_BEGUN | but | {ItemState.DELIVERED}
    items = [item for item in report.open if item.state not in hidden]
    total = sum(count for state, count in report.states.items() if state not in hidden)
    if not items:
        return
    rows = table("where", "state", "why", "prompt", title="\nNot delivered")
    for item in items[:_OPEN_SHOWN]:
        state = Text(item.state, _STATE_STYLE.get(item.state, ""))
        rows.add_row(item.source, state, item.reason, shorten(item.prompt, 60))
    console.print(rows)
    if total > _OPEN_SHOWN:
        console.print(f"  … and {total - _OPEN_SHOWN:,} more: `prefect-imagen status --json`", style="dim")


def next_steps(report: RunReport, arguments: Sequence[str]) -> list[tuple[str, str]]:
    """What to do about what is missing: a sentence, and the command where there is one."""
    steps: list[tuple[str, str]] = []
    if report.states.get(ItemState.UNKNOWN):
        count = report.states[ItemState.UNKNOWN]
        steps.append(
            (
                f"{count} {'item' if count == 1 else 'items'} may have been billed without an answer. To ask the API's "
                "log about them, which costs nothing:",
                after(arguments, "repair", keep=_REPAIR),
            )
        )
        steps.append(
            (
                "What the log does not know, the provider's support may: `prefect-imagen status` lists the request "
                "ids. The last resort is to buy again, perhaps paying twice:",
                again(arguments, unknown="retry"),
            )
        )
    if report.rewrites is not None and report.rewrites.states.get(ItemState.REFUSED):
        without = report.rewrites.states[ItemState.REFUSED]
        if report.states.get(ItemState.FAILED):
            steps.append(
                (
                    f"{without} {'prompt' if without == 1 else 'prompts'} could not be rewritten and the model is not "
                    "asked again (--retry-refused does). To make their images from the prompts as they are:",
                    again(arguments, **{"rewrite-fallback": "keep"}),
                )
            )
    if report.states.get(ItemState.REFUSED):
        steps.append(
            (
                "What the provider refused is not asked for again. Reword those prompts; or ask once more:",
                again([word for word in arguments if word != "--retry-refused"]) + " --retry-refused",
            )
        )
    replies_lost = sum(item.answer_lost for item in report.open)
    if replies_lost:
        steps.append(
            (
                f"Of {replies_lost} lost items the API's log says that they were billed; their answers never came. To "
                "buy them again:",
                again(arguments, unknown="retry"),
            )
        )
    if report.states.get(ItemState.LOST, 0) > replies_lost:
        steps.append(
            (
                "Lost items were paid for, and their images could not be fetched or read. `--edition` with another "
                "name buys fresh ones.",
                "",
            )
        )
    if any(report.states.get(state) for state in _TO_DO) or (report.stop is not None and not report.complete):
        advice = _HALT_ADVICE.get(report.stop) if report.stop is not None else None
        if report.stop is StopReason.MODEL and report.successor:
            text = "Its successor can make the rest, with the parameters translated; nothing is bought again:"
            steps.append((text, again(arguments, fallback=report.successor)))
            return steps
        if report.budget in ("day", "month"):
            advice = (
                "When the budget frees (`prefect-imagen budget` shows and changes it), the same command buys the rest:"
            )
        text = advice or "The same command goes on with the rest and buys nothing again:"
        steps.append((text, "" if report.stop is StopReason.MODEL else again(arguments)))
    return steps

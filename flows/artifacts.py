"""What a run leaves in Prefect's UI: a report, a table, a contact sheet.

They have no key. Prefect keeps the content of an artifact with a key in an event, too, which cannot be deleted with it:
what is erased would stay there. Without one they are shown on the page of their run.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from ..core.ledger import Ledger
from ..core.markdown import cell
from ..core.money import format_usd
from ..core.run.report import RunReport
from ..tasks.runtime import current_flow_run

OURS = "prefect-imagen: "
"""How the descriptions begin of the artifacts that show prompts and pictures."""

_ROWS = 500
_PROMPT = 80


def leave_report(report: RunReport, ledger: Ledger) -> None:
    """Create the run's markdown report and its table of items."""
    create_markdown_artifact(markdown(report), description=_description(report, "summary and costs"))
    rows = table(report, ledger)
    if rows:
        create_table_artifact(rows, description=_description(report, _table_description(report, rows)))


def leave_contact_sheet(picture: bytes, shown: int, report: RunReport) -> None:
    """Create an artifact that shows a JPEG of at most a few hundred kilobytes.

    It is markdown, because Prefect's UI writes the address of an image artifact below the image: here the whole file.
    """
    uri = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    text = f"{shown} of {report.images} images"
    create_markdown_artifact(f"![{text}]({uri})", description=_description(report, text))


def _description(report: RunReport, what: str) -> str:
    return f"{OURS}{what} of run {report.run_id}"


def markdown(report: RunReport) -> str:
    """The report as markdown: items, money, and what needs a decision."""
    account = report.account
    lines = [
        f"# {report.outcome}: {report.delivered} of {report.items} items delivered",
        "",
        *([f"**{cell(report.message)}**", ""] if report.message else []),
        *(
            [f"Made by {cell(report.model)} in place of {cell(', '.join(report.replaced))}.", ""]
            if report.replaced
            else []
        ),
        *([f"Left out: {cell('; '.join(report.omitted))}", ""] if report.omitted else []),
        "| items | |",
        "|---|---:|",
        *(f"| {state} | {count} |" for state, count in report.states.items() if count),
        f"| *owned before this run* | {report.owned} |",
        f"| *rows of the source* | {report.rows} |",
        "",
        "| money of this run | calls | |",
        "|---|---:|---:|",
        f"| delivered | {account.delivered.calls} | {format_usd(account.delivered.credits)} |",
    ]
    for name in ("generated", "lost", "rewrites", "erased", "refused"):
        line = getattr(account, name)
        if line.calls:
            lines.append(f"| {name}, billed | {line.calls} | {format_usd(line.credits)} |")
    lines.append(f"| **billed** | | **{format_usd(account.billed)}** |")
    if account.unknown.calls:
        lines.append(f"| unknown, at most | {account.unknown.calls} | {format_usd(account.unknown.credits)} |")
    if account.unbilled.calls:
        lines.append(f"| not billed | {account.unbilled.calls} | $0.00 |")
    lines += ["", f"Images: `{report.destination}`", "", f"Catalog: `{report.catalog}`", "", *_links(report)]
    if report.rewrites is not None:
        lines += ["", f"Texts: {', '.join(f'{count} {state}' for state, count in report.rewrites.states.items())}"]
        if report.rewrites.failed:
            lines += ["", "## Not rewritten", "", "| where | prompt | state | why |", "|---|---|---|---|"]
            for text in report.rewrites.failed[:50]:
                prompt = cell(text.prompt[:_PROMPT])
                lines.append(f"| {cell(text.source)} | {prompt} | {text.state} | {cell(text.reason)} |")
    if report.open:
        lines += ["", "## Not delivered", "", "| where | prompt | state | why |", "|---|---|---|---|"]
        for item in report.open[:50]:
            prompt = item.prompt[:_PROMPT]
            lines.append(f"| {cell(item.source)} | {cell(prompt)} | {item.state} | {cell(item.reason)} |")
        if sum(report.states.values()) - report.delivered > 50:
            lines.append("\nMore of them: `prefect-imagen status`.")
    return "\n".join(lines)


def _links(report: RunReport) -> list[str]:
    """The way from here to the rows, and to the run if the report is read elsewhere."""
    url = current_flow_run().url
    return [
        *([f"[This run in Prefect]({url})", ""] if url else []),
        "Its rows, and a file of them:",
        "",
        "```sql",
        f"SELECT * FROM catalog WHERE run_id = '{report.run_id}'",
        "```",
        "",
        "```sh",
        f"prefect-imagen export images.parquet --run {report.run_id}",
        "```",
        "",
        "A page to look at its pictures, and to judge them:",
        "",
        "```sh",
        f"prefect-imagen review {report.run_id}",
        "```",
    ]


def table(report: RunReport, ledger: Ledger) -> list[dict[str, Any]]:
    """A row an image, then a row for each item without one; at most 500. Prefect's UI shows each cell as markdown."""
    rows = [
        {
            "prompt": cell(row["prompt"][:_PROMPT]),
            "state": row["state"],
            "cost": format_usd(row["cost_credits"] or 0),
            "uri": quote(row["uri"] or "", safe=":/%._-+=,@"),
            "size": f"{row['width']}×{row['height']}" if row["width"] else "",
            "item": row["item_id"][:12],
            "reason": cell(row["reason"] or ""),
        }
        for row in ledger.catalog.rows(run_id=report.run_id, limit=_ROWS)
    ]
    with_images = {row["item"] for row in rows}
    for item in report.open[: _ROWS - len(rows)]:
        if item.item_id[:12] in with_images:
            continue
        rows.append(
            {
                "prompt": cell(item.prompt[:_PROMPT]),
                "state": item.state,
                "cost": format_usd(item.reserved) if item.reserved else "",
                "uri": "",
                "size": "",
                "item": item.item_id[:12],
                "reason": cell(item.reason),
            }
        )
    return rows


def _table_description(report: RunReport, rows: list[dict[str, Any]]) -> str:
    if len(rows) < _ROWS:
        return "every image"
    return f"the first {_ROWS} of {report.images} images (the rest is in the catalog)"

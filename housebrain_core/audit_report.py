"""The audit as one HTML file that a person would forward: no scripts, no other files."""

from html import escape

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #ddd}"
    ".bar{background:#4477aa;height:.7rem}"
)


def report_html(name: str, result: dict) -> str:
    """The page for one audit; `result` is the contents of audit.json."""
    largest = max((item["conditional"] or 0 for item in result["fields"]), default=0) or 1
    fields = [_field_row(item, largest) for item in result["fields"]]
    rules = [
        [escape(rule), f"{score['passed']:,} of {score['applicable']:,}"] for rule, score in result["rules"].items()
    ]
    tokens = [[escape(key), f"{value:,.0f}"] for key, value in (result["tokens"] or {}).items()]
    bad = [[escape(item["origin"]), escape(item["reason"])] for item in result["bad_samples"]]
    sections = [
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in result["findings"]) + "</ul>",
        _table(
            "Fields of the designs; entropy in nats per sample",
            ["field", "kind", "values", "entropy", "", "from"],
            fields,
        ),
        _table("References that keep each rule", ["rule", "kept"], rules),
        _table("Token lengths", ["", "tokens"], tokens),
        _table("Bad samples (1,000 at most)", ["where", "why"], bad),
    ]
    title = f"Audit of {escape(name)}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f"{head}<h1>{title}</h1>{''.join(sections)}</html>\n"


def _field_row(item: dict, largest: float) -> list[str]:
    nats = item["conditional"]
    bar = f'<div class="bar" style="width:{10 * (nats or 0) / largest:.2f}rem"></div>'
    text = "not known" if nats is None else f"{nats:.3f}"
    return [escape(item["name"]), item["kind"], f"{item['values']:,}", text, bar, escape(item["source"])]


def _table(title: str, head: list[str], rows: list[list[str]]) -> str:
    """A titled table of cells that are HTML already; nothing where there are no rows."""
    if not rows:
        return ""
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<h2>{title}</h2><table><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>{body}</table>"

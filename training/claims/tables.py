"""Tables in Markdown."""

from collections.abc import Sequence


def markdown(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of rows under headings."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)

"""The quickstart and the how-to pages do what they say: their blocks are executed, in order.

A page runs in a home of its own, with images to choose from and free ports in place of those that
it names. Blocks of bash and of Python are executed, Python's in one process. A `text` block shows
what the block before it prints: `...` stands for anything, decimals may differ a little, and the
width of tables does not count.
A block after `<!-- not run: REASON -->` is not executed.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("quickstart.md", *sorted(str(p.relative_to(DOCS)) for p in DOCS.glob("howto/*.md")))
IMAGES = (*("fox1", "fox2", "sea1", "sea2", "sea3"), *(f"castle{n}" for n in range(1, 5)))
ADDRESSES = ("127.0.0.1:50051", "127.0.0.1:8501", "127.0.0.1:9090")
POSTGRESQL = "postgresql://recsys:secret@db.example/recsys"
STARTS_IN_S = 120
READY = "serving on"
DECIMAL = re.compile(r"-?\d+\.\d+")
TOLERANCE = 0.02
"""What decimals may differ by: scores of one checkpoint on two machines."""
FENCE = re.compile(r"^```(\w*)")
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")

# Reads blocks from standard input, a JSON string a line; answers what each prints, or its failure.
PYTHON = """
import contextlib, io, json, sys, traceback
names = {"__name__": "__main__"}
for line in sys.stdin:
    printed, failure = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(json.loads(line), names)
    except BaseException:
        failure = traceback.format_exc()
    print(json.dumps([printed.getvalue(), failure]), flush=True)
"""


@dataclass
class Block:
    """A fenced block of a page.

    Attributes:
        place: page and line.
        kind: the language of its fence.
        source: its text.
        not_run: why it is not executed; else empty.
        shown: what the page shows of its output; None if nothing.
    """

    place: str
    kind: str
    source: str
    not_run: str = ""
    shown: str | None = None


def blocks_of(name: str, text: str) -> list[Block]:
    """Return a page's blocks, each with the output that is shown after it."""
    blocks: list[Block] = []
    lines = iter(enumerate(text.splitlines(), 1))
    not_run = ""
    for number, line in lines:
        if match := FENCE.match(line):
            body = []
            for _, inner in lines:
                if inner == "```":
                    break
                body.append(inner)
            source = "\n".join(body) + "\n"
            if match[1] == "text" and blocks and blocks[-1].shown is None and not not_run:
                blocks[-1].shown = source
            else:
                blocks.append(Block(f"{name}:{number}", match[1], source, not_run))
            not_run = ""
        elif match := NOT_RUN.match(line):
            not_run = match[1]
    return blocks


def is_shown(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed."""
    pattern, decimals = "", []
    for piece in re.split(r"(\.\.\.|-?\d+\.\d+| )", _plain(shown)):
        if DECIMAL.fullmatch(piece):
            decimals.append(float(piece))
            pattern += r"(-?\d+\.\d+)"
        else:
            pattern += {"...": r".*?", " ": r"\s*"}.get(piece, re.escape(piece))
    match = re.fullmatch(rf"\s*{pattern}\s*", _plain(printed), re.DOTALL)
    return match is not None and all(
        abs(float(actual) - documented) <= TOLERANCE
        for actual, documented in zip(match.groups(), decimals, strict=True)
    )


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"─+", "─", text))


class Session:
    """A page's home, shell and Python.

    Args:
        home: an empty folder.
        replaced: what stands in for addresses that a page names.
    """

    def __init__(self, home: Path, replaced: dict[str, str]) -> None:
        self._home = home
        self._replaced = replaced
        self._saved = home / ".environment"
        self._python: subprocess.Popen[str] | None = None
        self._groups: list[int] = []
        self._log = home / ".log"
        for number, name in enumerate(IMAGES):
            colour = (40 * number % 256, 90, 250 - 25 * number)
            Image.new("RGB", (80, 60), colour).save(home / f"{name}.png")

    def run(self, block: Block) -> str:
        """Execute a block; return what it printed."""
        source = block.source
        for told, real in self._replaced.items():
            source = source.replace(told, real)
        return self._bash(block, source) if block.kind == "bash" else self._exec(block, source)

    def close(self) -> None:
        """End every process that the page has started."""
        if self._python is not None:
            self._python.kill()
            self._python.communicate()
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        scripts = sysconfig.get_path("scripts")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RECSYS_", "XDG_", "PYTEST_")) and "proxy" not in name.lower()
        }
        return kept | {
            "HOME": str(self._home),
            "PATH": f"{scripts}:{os.environ['PATH']}",
            "RECSYS_ADDRESS": self._replaced[ADDRESSES[0]],
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
        }

    def _bash(self, block: Block, source: str) -> str:
        script = f"set -eu\n[ ! -e {self._saved} ] || . {self._saved}\n{source}\n"
        script += f"export -p > {self._saved}\n"
        output = self._home / ".output"
        with output.open("w") as out, self._log.open("w") as log:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self._home,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            code = process.wait(timeout=200)
        assert code == 0, f"{block.place} ends with {code}: {self._log.read_text()[-3000:]}"
        if re.search(r"&\s*$", source, re.M):
            self._wait_until_ready(block, source, output)
        return output.read_text()

    def _wait_until_ready(self, block: Block, source: str, output: Path) -> None:
        """Until a server has said that it serves, or a page answers at the address named."""
        give_up_at = time.monotonic() + STARTS_IN_S
        addresses = [each for each in self._replaced.values() if each in source]
        is_server = re.search(r"^recsys .*serve", source, re.M)
        while not (READY in output.read_text() if is_server else all(map(_answers, addresses))):
            assert time.monotonic() < give_up_at, f"{block.place}: {self._log.read_text()[-3000:]}"
            time.sleep(0.1)

    def _exec(self, block: Block, source: str) -> str:
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-c", PYTHON],
                cwd=self._home,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        self._python.stdin.write(json.dumps(source) + "\n")
        self._python.stdin.flush()
        printed, failure = json.loads(self._python.stdout.readline())
        assert failure is None, f"{block.place}: {failure}"
        return str(printed)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as caller:
        return caller.connect_ex((host, int(port))) == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def session(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Session]:
    replaced = {address: f"127.0.0.1:{_free_port()}" for address in ADDRESSES}
    name = getattr(request.node, "callspec", None) and request.node.callspec.params["name"]
    if name and POSTGRESQL in (DOCS / name).read_text("utf-8"):
        url = str(request.getfixturevalue("postgresql_url"))
        replaced[POSTGRESQL] = url.replace("+psycopg", "", 1)
    session = Session(tmp_path, replaced)
    yield session
    session.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says(name: str, session: Session) -> None:
    for block in blocks_of(name, (DOCS / name).read_text("utf-8")):
        if block.not_run or block.kind in ("toml", "sql"):
            continue
        printed = session.run(block)
        if block.shown is not None:
            assert is_shown(block.shown, printed), f"{block.place} prints:\n{printed}"


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_of_a_kind_that_is_run(name: str) -> None:
    text = (DOCS / name).read_text("utf-8")
    blocks = blocks_of(name, text)

    assert {block.kind for block in blocks} <= {"bash", "python", "toml", "sql"}
    assert any(not block.not_run for block in blocks)
    # A block that is merely indented would be shown and not run.
    assert re.search(r"^\n {4}\S", text, re.M) is None


PAGE = """
Words.

```bash
echo a
```

```text
a
```

<!-- not run: it takes a day -->
```bash
train
```
"""


def test_blocks_are_read_with_what_they_show() -> None:
    first, second = blocks_of("page.md", PAGE)

    assert (first.place, first.kind, first.source, first.shown) == (
        "page.md:4",
        "bash",
        "echo a\n",
        "a\n",
    )
    assert (second.source, second.not_run, second.shown) == ("train\n", "it takes a day", None)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a  b\n", "a b", True),
        ("rank ... fox.png\n", "rank 1 0.5\nfox.png\n", True),
        (" what \n ─── \n x 1", "what\n──────\nx   1\n", True),
        ("a\n", "a b\n", False),
        ("a ... c\n", "a b\n", False),
        ("score 0.5\n", "score 015\n", False),
        ("score 0.5001\n", "score 0.5004\n", True),
        ("score 0.5001\n", "score 0.6\n", False),
    ],
)
def test_output_is_compared(shown: str, printed: str, same: bool) -> None:
    assert is_shown(shown, printed) is same


def test_a_block_that_fails_is_told_with_its_place(session: Session) -> None:
    for block in (Block("p:1", "bash", "exit 3\n"), Block("p:1", "python", "1 / 0\n")):
        with pytest.raises(AssertionError, match="p:1"):
            session.run(block)

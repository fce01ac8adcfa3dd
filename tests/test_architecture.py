"""The shape of the code: imports point one way, each library has one door, importing is cheap.

Every rule is a function from source text to a list of complaints, so that each is also shown to
fail on a small piece of source that breaks it.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("storage", "recsys", "training")  # lowest first; a floor imports itself and what is below

GRPC = {"grpc", "grpc_health", "grpc_reflection", "grpc_status", "google", "recsys.v1"}

# What unpickles can be made to run anything, and a checkpoint is data: these have no door at all.
UNPICKLING = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch.load"}

# One door per library: the modules it stands for, and the only files that may import them.
DOORS: list[tuple[set[str], list[str]]] = [
    (
        {"transformers"},
        [
            *("recsys/scorer/pretrained.py", "recsys/scorer/decoder.py"),
            *("recsys/scorer/idefics?.py", "recsys/scorer/photo/model.py"),
            *("training/fitting/pretraining/*.py", "training/baselines/*.py"),
        ],
    ),
    (
        # What one family of base models is like; all else asks `recsys.scorer.backbone`.
        {"recsys.scorer.idefics2"},
        [
            *("recsys/scorer/registry.py", "recsys/scorer/idefics3.py"),
            "training/fitting/pretraining/*.py",
            *("training/baselines/idefics2.py", "training/baselines/viper.py"),
        ],
    ),
    ({"recsys.scorer.idefics3"}, ["recsys/scorer/registry.py"]),
    (
        {"recsys.scorer.photo"},
        [
            *("recsys/scorer/registry.py", "recsys/scorer/photo/*.py"),
            "training/fitting/pretraining/*.py",
        ],
    ),
    ({"accelerate"}, ["training/fitting/parallel.py"]),
    ({"matplotlib"}, ["training/evaluation/plots.py"]),
    ({"tensorboard", "torch.utils.tensorboard"}, ["training/fitting/run_log.py"]),
    (
        {"sklearn"},
        [
            *("recsys/clusters/group.py", "recsys/coldstart/latent_classes.py"),
            *("recsys/analyst/layouts.py", "training/baselines/*.py"),
            "training/evaluation/signature_world.py",
        ],
    ),
    ({"implicit"}, ["training/baselines/*.py"]),
    ({"streamlit", "plotly"}, ["recsys/analyst/*.py"]),
    ({"peft"}, ["recsys/scorer/*.py"]),
    ({"bitsandbytes"}, ["recsys/scorer/*.py", "training/fitting/eight_bits.py"]),
    ({"opacus"}, ["training/fitting/adapting/privacy.py"]),
    (
        {"faiss"},
        ["recsys/similarity/*.py", "recsys/clusters/*.py"],
    ),
    (GRPC, ["recsys/wire/*.py", "recsys/service/*.py", "recsys/*client.py"]),
    ({"sqlalchemy", "alembic", "psycopg"}, ["storage/*.py"]),
    (
        {"PIL"},
        [
            *("recsys/images/decode.py", "recsys/analyst/thumbnails.py"),
            *("training/world/render.py", "training/world/contact_sheet.py"),
        ],
    ),
    ({"pyarrow"}, ["storage/importers/*.py", "recsys/clusters/*.py"]),
    ({"pydantic_settings"}, ["recsys/settings.py"]),
    (UNPICKLING, []),
]

DYNAMIC_IMPORTS = {"import_module", "importlib.import_module", "__import__"}

# Heavy or stateful: none of these may come in by importing a package or the command line.
HEAVY = [
    "torch",
    "transformers",
    "peft",
    "sqlalchemy",
    "alembic",
    "grpc",
    "PIL",
    "pyarrow",
    "faiss",
    "sklearn",
    "streamlit",
]


def imported(path: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported anywhere in a module, lazily and by string too."""
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Leading dots count from the module's own package upwards.
            parents = Path(path).parts[: -node.level] if node.level else ()
            origin = [*parents, node.module] if node.module else [*parents]
            yield from ((node.lineno, ".".join([*origin, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func) in DYNAMIC_IMPORTS:
            yield from ((node.lineno, arg.value) for arg in node.args[:1] if is_text(arg))


def is_text(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; an empty text for anything that is not a plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""


def is_of(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def upward_imports(path: str, source: str) -> list[str]:
    """A floor imports only itself and the floors below it."""
    above = FLOORS[FLOORS.index(Path(path).parts[0]) + 1 :]
    return sorted(
        {
            f"{path}:{line}: imports {name}: imports point {' <- '.join(FLOORS)}"
            for line, name in imported(path, source)
            if any(is_of(name, floor) for floor in above)
        }
    )


def wrong_doors(path: str, source: str) -> list[str]:
    """A library with a door is imported there alone."""
    closed = {
        library: f"whose doors are: {', '.join(doors) or 'none'}"
        for libraries, doors in DOORS
        for library in libraries
        if not any(fnmatch(path, door) for door in doors)
    }
    return sorted(
        {
            f"{path}:{line}: imports {library}, {doors}"
            for line, name in imported(path, source)
            for library, doors in closed.items()
            if is_of(name, library)
        }
    )


# Inside training: who may not import whom, so that these rooms form no cycle.
ABOVE_DATA = (
    *("training.predictors", "training.baselines", "training.evaluation"),
    *("training.fitting", "training.cli", "training.demo", "training.claims"),
)
ROOMS_IN_ORDER = (
    "data, world <- predictors <- baselines <- evaluation <- fitting <- cli <- demo, claims"
)
ROOMS_ABOVE = {
    "training/data": (*ABOVE_DATA, "training.world"),
    "training/world": (*ABOVE_DATA, "training.data"),
    "training/evaluation": ABOVE_DATA[3:],
    "training/predictors": (*ABOVE_DATA[1:], "training.world"),
    "training/baselines": (*ABOVE_DATA[2:], "training.world"),
    "training/fitting": ABOVE_DATA[4:],
    "training/cli": ABOVE_DATA[5:],
    "training/demo": ("training.claims",),
    "training/claims": ("training.demo",),
}


def rooms_above(path: str, source: str) -> list[str]:
    """In training, nobody imports what stands above: data and world at the bottom, demo on top."""
    room = "/".join(Path(path).parts[:2])
    return sorted(
        {
            f"{path}:{line}: imports {name}: {ROOMS_IN_ORDER}"
            for line, name in imported(path, source)
            if any(is_of(name, above) for above in ROOMS_ABOVE.get(room, ()))
        }
    )


def strangers_in_private(path: str, source: str) -> list[str]:
    """A module whose name begins with an underscore is its package's own."""
    package = ".".join(Path(path).parent.parts)
    return sorted(
        {
            f"{path}:{line}: imports {name}, which is private to {owner}"
            for line, name in imported(path, source)
            if name.split(".")[0] in FLOORS
            for owner in private_owners(name)
            if not is_of(package, owner)
        }
    )


def private_owners(name: str) -> list[str]:
    """The packages that own the underscored modules on the way to a name."""
    parts = name.split(".")
    return [
        ".".join(parts[:place])
        for place, part in enumerate(parts)
        if place and part.startswith("_") and not part.startswith("__")
    ]


RULES = [upward_imports, wrong_doors, rooms_above, strangers_in_private]


def shipped() -> list[str]:
    """Every module that is shipped, but for the generated ones."""
    paths = [path.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    return sorted(path.as_posix() for path in paths if path.parts[:2] != ("recsys", "v1"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_shipped_code_keeps_the_rule(rule):
    paths = shipped()
    assert len(paths) > len(FLOORS), "found next to nothing to read: the rule would pass unread"

    complaints = [text for path in paths for text in rule(path, (ROOT / path).read_text("utf-8"))]

    assert not complaints, "\n" + "\n".join(complaints)


SLIPS = {
    strangers_in_private: [
        ("recsys/cli/imports.py", "from storage.importers._writer import write"),
        ("recsys/cli/imports.py", "def f():\n    import storage.importers._drafts"),
        ("training/fitting/stages.py", "from training.fitting.pretraining._words import WORDS"),
        ("recsys/cli/main.py", "from recsys.errors import _private_name"),
    ],
    rooms_above: [
        ("training/data/splits.py", "from training.evaluation.questions import Samples"),
        ("training/data/batches.py", "def f():\n    import training.fitting.recipes.recipe"),
        ("training/world/tastes.py", "from training import evaluation"),
        ("training/predictors/scorer.py", "import training.baselines.linear"),
        ("training/baselines/linear.py", "from training.evaluation import metrics"),
        ("training/evaluation/history_cuts.py", "from training.fitting import probe_choice"),
        ("training/evaluation/tables/coldstart.py", "from ...fitting import stages"),
        ("training/cli/train.py", "from training.claims.design import DESIGN"),
    ],
    upward_imports: [
        ("storage/blobs.py", "import recsys"),
        ("storage/blobs.py", "from recsys.errors import NotFound"),
        ("storage/importers/pairs.py", "def f():\n    import training.world.creation"),
        ("recsys/cli/main.py", "from training import cli"),
        ("recsys/cli/main.py", "importlib.import_module('training.cli.train')"),
        ("recsys/cli/main.py", "__import__('training')"),
    ],
    wrong_doors: [
        ("recsys/ranking/ranker.py", "import transformers"),
        ("recsys/ranking/ranker.py", "def f():\n    from transformers import AutoModel"),
        ("recsys/scorer/adapter.py", "import transformers.utils"),
        ("training/fitting/stages.py", "from recsys.scorer import idefics2"),
        ("recsys/scorer/checkpoint.py", "from recsys.scorer.photo.tower import TowerShape"),
        ("training/fitting/trainer.py", "from peft import LoraConfig"),
        ("recsys/scorer.py", "import bitsandbytes"),
        ("recsys/analyst/launch.py", "import faiss"),
        ("recsys/cli/main.py", "import grpc.aio"),
        ("recsys/cli/main.py", "from google.protobuf import json_format"),
        ("recsys/cli/main.py", "from recsys import v1"),
        ("recsys/cli/main.py", "from .. import v1"),
        ("recsys/scorer/model.py", "from ..v1 import ranking_pb2"),
        ("recsys/ranking/ranker.py", "from sqlalchemy.orm import Session"),
        ("training/data/samples.py", "if TYPE_CHECKING:\n    import alembic"),
        ("training/world/scenes.py", "from PIL import Image"),
        ("storage/histories.py", "import pyarrow.parquet as pq"),
        ("recsys/service/server.py", "from pydantic_settings import BaseSettings"),
        ("training/fitting/trainer.py", "import pickle"),
        ("training/fitting/trainer.py", "from joblib import load"),
        ("training/fitting/trainer.py", "from torch import load"),
    ],
}
HONEST = {
    strangers_in_private: [
        ("storage/importers/pairs.py", "from storage.importers._drafts import Draft"),
        ("recsys/client.py", "from recsys._similarity_client import SimilarityClient"),
        ("recsys/service/servicers/users.py", "from recsys.service._pages import page"),
    ],
    rooms_above: [
        ("training/fitting/stages.py", "from training.evaluation.answers import top1"),
        ("training/claims/work.py", "from training.fitting.stages import Training"),
        ("training/evaluation/bounds.py", "import training.world.truth, training.data.samples"),
        ("training/evaluation/evaluate.py", "from training.baselines.registry import WEIGHTED"),
        ("training/data/splits.py", "from training.data.samples import PairTable"),
    ],
    upward_imports: [
        ("training/world/creation.py", "from recsys.images.decode import decode\nimport storage"),
        ("recsys/ranking/ranker.py", "import storage.records\nimport recsysx, trainings"),
        ("recsys/cli/main.py", "from importlib.metadata import entry_points"),
    ],
    wrong_doors: [
        ("recsys/scorer/idefics2.py", "from transformers import AutoModel"),
        ("training/fitting/pretraining/_captions.py", "import transformers"),
        ("recsys/service/server.py", "import grpc\nfrom recsys.v1 import ranking_pb2"),
        ("storage/migrations/versions/v0001_start.py", "from alembic import op"),
        ("recsys/ranking/ranker.py", "import grpcx, faiss_like\ntext = 'import transformers'"),
    ],
}


def cases(table):
    return [(rule, path, source) for rule in RULES for path, source in table[rule]]


@pytest.mark.parametrize(("rule", "path", "source"), cases(SLIPS))
def test_a_rule_sees_the_slip(rule, path, source):
    (complaint,) = rule(path, source)

    assert complaint.startswith(path)


@pytest.mark.parametrize(("rule", "path", "source"), cases(HONEST))
def test_a_rule_lets_honest_code_pass(rule, path, source):
    assert rule(path, source) == []


@pytest.mark.parametrize("module", [*FLOORS, "recsys.cli.main", "recsys.runtime"])
def test_importing_loads_nothing_heavy(module):
    assert loaded(module, HEAVY) == [], f"import {module} loads what is heavy"


def test_importing_the_client_loads_grpc_and_nothing_else_heavy():
    """A backend imports it into a process of its own: under 0.3 s, of which gRPC is half."""
    assert loaded("recsys.client", [*HEAVY, "numpy"]) == ["grpc"]


def loaded(module, watched):
    """Those of the watched modules that a fresh process has loaded when it has imported one."""
    report = f"import {module}, sys; print(*(m for m in {watched} if m in sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.split()


def test_generated_code_has_no_package_that_shadows_another():
    """A folder `proto` that is a package would shadow proto-plus for everyone who installs both."""
    assert not list((ROOT / "proto").rglob("__init__.py"))

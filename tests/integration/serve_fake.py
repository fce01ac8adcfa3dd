"""A server process with a small fake model, for test_server_process.py.

usage: serve_fake.py DATABASE BLOBS MODE [NAME=VALUE ...]

MODE says how the model behaves: ready, held (each call waits for a line on standard input), hung (a
call never ends), broken, slow-to-load.
"""

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from recsys._loading import LoadedModel
from recsys.errors import CheckpointRefused
from recsys.runtime import Runtime
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed
from recsys.service.server import serve
from recsys.settings import Settings


@dataclass(frozen=True)
class Prefix:
    num_references: int
    num_bytes: int = 10
    borrowed: Borrowed = NOTHING_BORROWED


@dataclass
class Model:
    mode: str
    model_version: str = "fake"
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def prefix(self, references: Sequence[Any]) -> Prefix:
        return Prefix(len(references))

    def score(self, prefix: Any, candidates: Sequence[Any]) -> torch.Tensor:
        if candidates[0].prompt != "a probe":
            print("scoring", flush=True)
            if self.mode == "hung":
                threading.Event().wait()
            if self.mode == "held":
                self.go.acquire()
        return torch.full((len(candidates),), 0.5)


def main() -> None:
    database, blobs, mode, *values = sys.argv[1:]
    model = Model(mode)

    def listen() -> None:
        for _ in sys.stdin:
            model.go.release()

    def load(_: Runtime) -> LoadedModel:
        if mode == "broken":
            raise CheckpointRefused("no model here: train one")
        if mode == "slow-to-load":
            print("loading", flush=True)
            threading.Event().wait()
        return LoadedModel(model, 8)

    threading.Thread(target=listen, daemon=True).start()
    flags = dict(value.split("=", 1) for value in values)
    settings = Settings(database_url=database, blob_url=blobs, **flags)
    serve(settings, load=load)


if __name__ == "__main__":
    main()

"""The signature part of a checkpoint: read as written, covered by the version, damage named."""

import hashlib
import json
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from recsys.errors import CheckpointRefused
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import load_scorer, save_scorer
from recsys.scorer.digests import files_digest, model_version
from recsys.signatures.definition import Projection, signature_version
from recsys.signatures.files import (
    Probe,
    has_signature,
    load_signature_reader,
    load_signature_readers,
    write_signature,
)
from recsys.signatures.reader import SignatureReader

HEADS = ((1, 2), (0, 3))


@pytest.fixture
def stored(candidates) -> list[Probe]:
    return [Probe(png(candidate.image), candidate.prompt) for candidate in candidates]


def png(image) -> bytes:
    buffer = BytesIO()
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def projections(projection) -> dict[str, Projection]:
    """Of all readouts, with numbers that float32 holds."""
    widths = {"scores": projection(5), "attention": projection(30, HEADS)}
    every = widths | {"both": projection(35, HEADS)}
    return {name: in_float32(made) for name, made in every.items()}


def in_float32(made: Projection) -> Projection:
    arrays = (made.mean, made.scale, made.matrix)
    mean, scale, matrix = (array.astype(np.float32).astype(np.float64) for array in arrays)
    return replace(made, mean=mean, scale=scale, matrix=matrix)


@pytest.fixture
def base(model, tokenizer, tmp_path) -> Path:
    folder = tmp_path / "base"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def save(scorer, base, tokenizer, tmp_path):
    """Write the scorer with a signature part, or without one; return the folder."""

    def written(name, probes=None, projections=None, **more) -> Path:
        def write_more(folder: Path) -> None:
            if probes is not None:
                write_signature(folder, probes, projections, **{"num_orders": 2, **more})

        folder = tmp_path / name
        save_scorer(
            scorer,
            folder,
            base=BaseModel("base"),
            tokenizer=tokenizer,
            base_files=base,
            write_more=write_more,
        )
        return folder

    return written


@pytest.fixture
def checkpoint(save, stored, projections) -> Path:
    return save("checkpoint", stored, projections)


def version_of(folder: Path) -> str:
    return str(json.loads((folder / "scorer.json").read_text())["model_version"])


def sign_again(folder: Path) -> None:
    """As if somebody had made the checkpoint so."""
    config = json.loads((folder / "scorer.json").read_text())
    config["model_version"] = model_version(folder, config)
    (folder / "scorer.json").write_text(json.dumps(config))


def change_json(folder: Path, **values) -> None:
    path = folder / "signature/signature.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("readout", ["scores", "attention", "both"])
def test_signatures_after_reload_are_those_before_to_the_bit(
    checkpoint, probes, projections, scorer, person, readout
) -> None:
    before = SignatureReader(scorer, probes, projections[readout], readout=readout, num_orders=2)
    after = load_signature_readers(checkpoint, load_scorer(checkpoint)).by_readout[readout]
    assert after.num_orders == 2
    for count in (1, 4, 6):
        references = person(count, count)
        np.testing.assert_array_equal(after.read(references), before.read(references))


@pytest.mark.parametrize("served", [None, "attention", "both"])
def test_a_checkpoint_says_which_readout_is_served(save, stored, projections, served) -> None:
    folder = save("checkpoint", stored, projections, served=served)
    reader = load_signature_reader(folder, load_scorer(folder))
    assert reader.readout == (served or "scores")
    assert reader.model_version == signature_version(version_of(folder), reader.readout)


@pytest.mark.parametrize("slip", ["served", "heads"])
def test_readouts_that_do_not_belong_together_are_not_written(
    tmp_path, stored, projections, slip
) -> None:
    served = "both" if slip == "served" else None
    if slip == "served":
        del projections["both"]
    else:
        projections["both"] = replace(projections["both"], heads=HEADS[::-1])
    message = "must be among scores, attention, got both" if served else "read the same heads"
    with pytest.raises(ValueError, match=message):
        write_signature(tmp_path, stored, projections, num_orders=2, served=served)
    assert list(tmp_path.iterdir()) == []


def test_of_a_part_that_does_not_say_what_is_served_scores_are_read_alone(
    checkpoint, scorer, projection
) -> None:
    """Its attention was averaged over all tokens of the probes."""
    path = checkpoint / "signature/signature.json"
    written = json.loads(path.read_text())
    heads = {"heads": [list(head) for head in HEADS], "normalisation": "log_ratio"}
    written["readouts"] = {"scores": {**heads, "heads": []}, "attention": heads}
    del written["served"]
    path.write_text(json.dumps(written))
    sign_again(checkpoint)
    readers = load_signature_readers(checkpoint, load_scorer(checkpoint))
    assert readers.served == "scores"
    assert list(readers.by_readout) == ["scores"]
    assert readers.by_readout["scores"].model_version == version_of(checkpoint)


@pytest.mark.parametrize(
    "part", ["image", "prompt", "order", "mean", "scale", "matrix", "heads", "served"]
)
def test_the_model_version_covers_all_that_decides_a_signature(
    checkpoint, save, stored, projections, part
) -> None:
    more = {"order": {"num_orders": 3}, "served": {"served": "both"}}.get(part, {})
    if part == "image":
        stored[4] = replace(stored[4], image=stored[3].image)
    elif part == "prompt":
        stored[0] = replace(stored[0], prompt="a prompt")
    elif part in ("mean", "scale", "matrix"):
        old = projections["scores"]
        projections["scores"] = replace(old, **{part: getattr(old, part) + 1e-3})
    elif part == "heads":
        for name in ("attention", "both"):
            projections[name] = replace(projections[name], heads=HEADS[::-1])
    assert version_of(save("other", stored, projections, **more)) != version_of(checkpoint)


def test_the_same_parts_have_the_same_version_wherever_they_lie(
    checkpoint, save, stored, projections, tmp_path
) -> None:
    assert version_of(save("twin", stored, projections)) == version_of(checkpoint)
    shutil.copytree(checkpoint, tmp_path / "moved")
    assert load_scorer(tmp_path / "moved").model_version == version_of(checkpoint)


@pytest.mark.parametrize("name", ["signature.json", "projections.safetensors", "03.image", "."])
@pytest.mark.parametrize("change", ["gone", "other"])
def test_what_is_not_what_was_signed_is_refused(checkpoint, name, change) -> None:
    path = checkpoint / "signature" / name
    if path.is_dir():
        shutil.rmtree(path)
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointRefused, match=r"must hold what scorer\.json signs"):
        load_scorer(checkpoint)


def test_without_a_signature_part_the_version_is_what_it_was(save) -> None:
    """The rule by which checkpoints were signed before there were signatures."""
    folder = save("bare")
    config = json.loads((folder / "scorer.json").read_text())
    signed = {key: value for key, value in config.items() if key != "model_version"}
    digest = hashlib.sha256(json.dumps(signed, sort_keys=True).encode())
    for part in ("preference_tokens.safetensors", "adapter", "tokenizer", "base"):
        digest.update(f"{part}:{files_digest(folder / part)}".encode())
    assert load_scorer(folder).model_version == digest.hexdigest()
    assert not has_signature(folder)


def test_asking_a_checkpoint_without_one_says_how_to_get_one(save, checkpoint, scorer) -> None:
    assert has_signature(checkpoint)
    with pytest.raises(CheckpointRefused, match="no signature part: `recsys train` adds one"):
        load_signature_reader(save("bare"), scorer)


def refused(checkpoint, scorer) -> None:
    """Even when it is signed: in one sentence that names the folder."""
    sign_again(checkpoint)
    with pytest.raises(CheckpointRefused) as caught:
        load_signature_reader(checkpoint, scorer)
    message = str(caught.value)
    assert message.startswith(f"{checkpoint / 'signature'} is damaged: ")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["signature.json", "projections.safetensors", "02.image"])
@pytest.mark.parametrize("damage", ["half", "empty", "noise"])
def test_a_damaged_file_is_refused(checkpoint, scorer, name, damage) -> None:
    path = checkpoint / "signature" / name
    whole = path.read_bytes()
    noise = np.random.default_rng(0).bytes(len(whole))
    path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "noise": noise}[damage])
    refused(checkpoint, scorer)


@pytest.mark.parametrize("name", ["projections.safetensors", "02.image"])
def test_a_missing_file_is_refused(checkpoint, scorer, name) -> None:
    (checkpoint / "signature" / name).unlink()
    refused(checkpoint, scorer)


@pytest.mark.parametrize(
    "values",
    [
        {"num_orders": 0},
        {"num_orders": "two"},
        {"prompts": ["a prompt"]},
        {"prompts": None},
        {"served": "neither"},
        {"readouts": {"scores": {}}},
        {"readouts": {"attention": {"heads": [[1, 2], [0, 3]]}}},
        {"readouts": {"scores": {"heads": []}, "attention": {"heads": [[0, 1]]}}},
        {"readouts": {"scores": {"heads": []}, "attention": {"heads": [[0, 1], [2, 0]]}}},
        {"readouts": {"scores": {"heads": []}, "attention": {"heads": [[0, 1], [-1, 0]]}}},
        {"readouts": {"scores": {"heads": []}, "attention": {"heads": "0123"}}},
    ],
    ids=str,
)
def test_a_file_that_says_nonsense_is_refused(checkpoint, scorer, values) -> None:
    change_json(checkpoint, **values)
    refused(checkpoint, scorer)


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "{}", "1"])
def test_json_of_another_shape_is_refused(checkpoint, scorer, text) -> None:
    (checkpoint / "signature/signature.json").write_text(text)
    refused(checkpoint, scorer)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("mean", None),
        ("mean", np.zeros(4, dtype=np.float32)),
        ("mean", np.full(5, np.nan, dtype=np.float32)),
        ("scale", np.zeros(5, dtype=np.float32)),
        ("scale", np.ones(1, dtype=np.float32)),
        ("matrix", np.zeros((4, 3), dtype=np.float32)),
        ("matrix", np.zeros((5, 0), dtype=np.float32)),
        ("matrix", np.zeros(5, dtype=np.float32)),
        ("matrix", np.full((5, 3), np.inf, dtype=np.float32)),
    ],
)
def test_arrays_that_cannot_be_a_projection_are_refused(checkpoint, scorer, name, array) -> None:
    path = checkpoint / "signature/projections.safetensors"
    arrays = load_file(path)
    del arrays[f"scores.{name}"]
    save_file(arrays if array is None else {**arrays, f"scores.{name}": array}, path)
    refused(checkpoint, scorer)

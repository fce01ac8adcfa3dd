"""What the scorer needs of a base model, whatever its architecture.

A family of base models is one module that gives a `Family`, and one line in
`recsys.scorer.registry`. Nothing else knows which family a scorer stands on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from recsys.scorer._key_values import KeyValues
from recsys.scorer.template import ImageMarkup

Quantization = Literal["none", "nf4"]


@runtime_checkable
class Backbone(Protocol):
    """A base model, with or without a PEFT adapter, seen as a few functions.

    Whoever implements it is an `nn.Module` that holds the model, so that a scorer's parameters
    are found. Attention calls `recsys.scorer.attention.show` in each decoder layer.
    """

    @property
    def hidden_size(self) -> int:
        """D, width of the decoder's embeddings."""

    @property
    def num_image_tokens(self) -> int:
        """T, tokens that stand for one image."""

    @property
    def num_layers(self) -> int:
        """Layers of the decoder."""

    @property
    def num_heads(self) -> int:
        """H, attention heads (of queries) in each decoder layer."""

    @property
    def position_bytes(self) -> int:
        """Memory that keys and values of one position take over all decoder layers, bytes."""

    @property
    def image_modules(self) -> tuple[nn.Module, ...]:
        """What makes image tokens: their weights, and nothing else of the model, decide them."""

    @property
    def image_markup(self) -> ImageMarkup:
        """How an image is written among words."""

    @property
    def device(self) -> torch.device:
        """Where the decoder's embeddings live."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the decoder's inputs."""

    @property
    def decoder(self) -> nn.Module:
        """The decoder; what its forward pass returns has `last_hidden_state`, (B, q, D)."""

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder's layers; what the forward pass of one returns is (B, q, D)."""

    @property
    def output_matrix(self) -> nn.Linear:
        """What makes logits of the decoder's output."""

    def keep_no_activations(self) -> None:
        """Compute each layer's activations again in the backward pass: less memory, a third slower.

        Takes effect in training mode.
        """

    def image_tokens(
        self, images: Float[Tensor, "N 3 H W"], mask: Bool[Tensor, "N H W"] | None = None
    ) -> Float[Tensor, "N T D"]:
        """Normalise and encode images; differentiable.

        Args:
            images: RGB in [0, 1]; height and width multiples of the patch size.
            mask: True where `images` is image and not padding; None: all image.
        """

    def embed(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]:
        """Look up token embeddings."""

    def decode(
        self,
        embeddings: Float[Tensor, "B q D"],
        *,
        mask: Float[Tensor, "B 1 q k"],
        positions: Int[Tensor, "B q"],
        prefix: KeyValues | None = None,
    ) -> Float[Tensor, "B q D"]:
        """Run the decoder over q positions that see k = (prefix length) + q keys.

        Args:
            embeddings: inputs in the decoder's width.
            mask: additive, 0 where a query may look and a large negative number elsewhere.
            positions: of each query in its sequence, from 0.
            prefix: keys and values that stand before the q positions; left as they are.
        """

    def decode_prefix(
        self,
        embeddings: Float[Tensor, "B L D"],
        *,
        mask: Float[Tensor, "B 1 L L"],
        positions: Int[Tensor, "B L"],
    ) -> KeyValues:
        """Run the decoder over a prefix and keep its keys and values."""

    def token_logits(
        self, hidden: Float[Tensor, "*shape D"], ids: Int[Tensor, " V"]
    ) -> Float[Tensor, "*shape V"]:
        """Logits of a few tokens only, in float32."""


@runtime_checkable
class LoadBase(Protocol):
    """Loads a family's model by hub name or folder, from safetensors alone."""

    def __call__(
        self,
        source: str | Path,
        *,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        quantization: Quantization = "none",
        unquantized: tuple[str, ...] = (),
        device: str = "cpu",
    ) -> nn.Module:
        """Load a model in evaluation mode.

        Args:
            source: hub id, e.g. "HuggingFaceM4/idefics2-8b", or a folder with config and weights.
            revision: branch, tag or commit on the hub.
            dtype: of weights (of computation, when quantised).
            quantization: "nf4" loads linear layers as 4-bit NormalFloat (QLoRA) by bitsandbytes.
            unquantized: names of modules that keep their precision, to be trained whole.
            device: where the model goes, e.g. "cpu" or "cuda".

        Raises:
            CheckpointRefused: if the files are missing, damaged or of another architecture.
        """


@dataclass(frozen=True)
class Tower:
    """Sizes of a stack of transformer layers.

    Attributes:
        hidden_size: width between layers.
        mlp_size: width inside the MLP.
        num_layers: how many.
    """

    hidden_size: int
    mlp_size: int
    num_layers: int


@dataclass(frozen=True)
class Dimensions:
    """Sizes by which a run is counted before anything is loaded.

    Attributes:
        text: the decoder.
        vision: the vision tower.
        patch_px: side of a patch that the vision tower reads.
        image_places: places in a sequence that one image takes.
        vocabulary: token ids.
    """

    text: Tower
    vision: Tower
    patch_px: int
    image_places: int
    vocabulary: int


@runtime_checkable
class WithLayers(Protocol):
    """Changes how deep a base of a family is."""

    def __call__(self, values: Mapping[str, Any], *, text: int, vision: int) -> dict[str, Any]:
        """Values of the family's configuration with so many layers in decoder and vision tower."""


@dataclass(frozen=True)
class Family:
    """One architecture of base models: how it is loaded, and what its parts are called.

    Attributes:
        load: a model from its files.
        wrap: a loaded model, with or without a PEFT adapter on it, as a backbone.
        build_on_meta: a model without weights, of values of the family's configuration.
        dimensions: of values of the family's configuration.
        with_layers: the same values with so many layers in the decoder and the vision tower.
        adapter_targets: regular expression over the names of modules that an adapter is put on.
        decoder_targets: the same on the decoder alone, for adapters that leave image tokens alone.
        vision_tower: name of the module that reads pixels, for adapters that train it whole.
        parts: name of a part -> what names of its parameters have in them.
        never_quantized: what names of parameters have in them that "nf4" leaves as they are.
        published: hub id -> values of its configuration, to count with before any download.
        complete: writes into a base's folder what the base takes from elsewhere, such as weights
            of an installed package; nothing, where it takes nothing.
    """

    load: LoadBase
    wrap: Callable[[nn.Module], Backbone]
    build_on_meta: Callable[[Mapping[str, Any]], nn.Module]
    dimensions: Callable[[Mapping[str, Any]], Dimensions]
    with_layers: WithLayers
    adapter_targets: str
    decoder_targets: str
    vision_tower: str
    parts: Mapping[str, str]
    never_quantized: tuple[str, ...]
    published: Mapping[str, Mapping[str, Any]]
    complete: Callable[[Path], None] = lambda folder: None

"""The only door to transformers: an Idefics2 model as image tokens, embeddings and a decoder.

Nothing of the library's model classes is changed; the scorer hands them embeddings, a 4-D mask,
positions and a key-value cache.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoTokenizer,
    BitsAndBytesConfig,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    PreTrainedTokenizerBase,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils.logging import disable_progress_bar

from recsys.errors import CheckpointRefused
from recsys.scorer.key_values import Behind, KeyValues, Recording

disable_progress_bar()  # of reading weights, which takes a moment and belongs to no command

Quantization = Literal["none", "nf4"]

AttentionHook = Callable[[int, Tensor, Tensor, Tensor, float], None]
"""Called by each decoder layer: layer, query (B,H,q,d), key (B,G,k,d), mask (B,1,q,k), scale."""

_hook: ContextVar[AttentionHook | None] = ContextVar("recsys_attention_hook", default=None)


@contextmanager
def attention_hook(hook: AttentionHook) -> Iterator[None]:
    """Let `hook` see queries and keys of every decoder layer while the context is open."""
    token = _hook.set(hook)
    try:
        yield
    finally:
        _hook.reset(token)


def _observed_sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention as transformers calls it, with a look at queries and keys."""
    hook = _hook.get()
    if hook is not None:
        assert attention_mask is not None
        assert scaling is not None
        hook(cast(int, module.layer_idx), query, key, attention_mask, scaling)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **options
    )


OBSERVED_ATTENTION = "recsys_observed_sdpa"
AttentionInterface.register(OBSERVED_ATTENTION, _observed_sdpa)
AttentionMaskInterface.register(OBSERVED_ATTENTION, sdpa_mask)


class Backbone(nn.Module):
    """An Idefics2 model, with or without a PEFT adapter, seen as three functions.

    Args:
        model: `Idefics2ForConditionalGeneration`, or a `PeftModel` around one, whose text model
            uses the attention named `OBSERVED_ATTENTION`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def idefics2(self) -> Idefics2ForConditionalGeneration:
        """The model itself, adapter layers in place."""
        model = self.model
        inner = model if isinstance(model, Idefics2ForConditionalGeneration) else None
        if inner is None:
            inner = cast(Any, model).get_base_model()
        return cast(Idefics2ForConditionalGeneration, inner)

    @property
    def hidden_size(self) -> int:
        """D, width of the decoder's embeddings."""
        return self._embedding.weight.shape[1]

    @property
    def num_image_tokens(self) -> int:
        """T, tokens that stand for one image."""
        return cast(int, self.idefics2.model.image_seq_len)

    @property
    def device(self) -> torch.device:
        """Where the decoder's embeddings live."""
        return self._embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the decoder's inputs."""
        return self._embedding.weight.dtype

    @property
    def _embedding(self) -> nn.Embedding:
        return cast(nn.Embedding, self.idefics2.get_input_embeddings())

    def keep_no_activations(self) -> None:
        """Compute each layer's activations again in the backward pass: less memory, a third slower.

        Takes effect in training mode.
        """
        self.idefics2.activation_checkpointing_enable()

    def image_tokens(
        self, pixels: Float[Tensor, "N 3 H W"], mask: Bool[Tensor, "N H W"] | None = None
    ) -> Float[Tensor, "N T D"]:
        """Encode normalised images with the vision tower and the perceiver resampler.

        Args:
            pixels: values in [-1, 1]; height and width multiples of the patch size.
            mask: True where `pixels` is image and not padding; None: all image.
        """
        # The library's get_image_features drops images that are all zero (mid grey) as padding.
        model = self.idefics2.model
        size = int(model.config.vision_config.patch_size)
        pixels = pixels.to(device=self.device, dtype=model.dtype)
        if mask is None:
            mask = torch.ones(
                (pixels.shape[0], *pixels.shape[2:]), dtype=torch.bool, device=pixels.device
            )
        patches = mask.unfold(1, size, size).unfold(2, size, size).all(dim=-1).all(dim=-1)
        hidden = model.vision_model(pixel_values=pixels, patch_attention_mask=patches)
        return cast(
            Tensor, model.connector(hidden.last_hidden_state, attention_mask=patches.flatten(1))
        )

    def embed(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]:
        """Look up token embeddings."""
        return cast(Tensor, self._embedding(ids))

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
            positions: rotary position of each query.
            prefix: keys and values that stand before the q positions.
        """
        cache = None if prefix is None else Behind(prefix)
        return self._text(embeddings, mask=mask, positions=positions, cache=cache)

    def decode_prefix(
        self,
        embeddings: Float[Tensor, "B L D"],
        *,
        mask: Float[Tensor, "B 1 L L"],
        positions: Int[Tensor, "B L"],
    ) -> KeyValues:
        """Run the decoder over a prefix and keep its keys and values."""
        cache = Recording()
        self._text(embeddings, mask=mask, positions=positions, cache=cache)
        return KeyValues(tuple(cache.layers))

    def _text(
        self,
        embeddings: Tensor,
        *,
        mask: Tensor,
        positions: Tensor,
        cache: Recording | Behind | None,
    ) -> Tensor:
        output = self.idefics2.model.text_model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return cast(Tensor, output.last_hidden_state)

    def token_logits(
        self, hidden: Float[Tensor, "*shape D"], ids: Int[Tensor, " V"]
    ) -> Float[Tensor, "*shape V"]:
        """Logits of a few tokens only, in float32: hidden times their rows of the output matrix."""
        rows = cast(Tensor, self.idefics2.lm_head.weight)[ids]
        return hidden.float() @ rows.float().T


def observe_attention(model: Idefics2ForConditionalGeneration) -> Idefics2ForConditionalGeneration:
    """Switch the text model to the attention that hooks can see; the numbers stay the same."""
    model.set_attn_implementation({"text_config": OBSERVED_ATTENTION})
    return model


def load_model(
    source: str | Path,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    quantization: Quantization = "none",
    unquantized: tuple[str, ...] = (),
    device: str = "cpu",
) -> Idefics2ForConditionalGeneration:
    """Load an Idefics2 by hub name or folder, from safetensors alone.

    Args:
        source: hub id, e.g. "HuggingFaceM4/idefics2-8b", or a folder with config and weights.
        revision: branch, tag or commit on the hub.
        dtype: of weights (of computation, when quantised).
        quantization: "nf4" loads linear layers as 4-bit NormalFloat (QLoRA) through bitsandbytes.
        unquantized: names of modules that keep their precision, to be trained whole.
        device: where the model goes, e.g. "cpu" or "cuda".

    Raises:
        CheckpointRefused: if the files are missing, damaged or of another architecture.
    """
    options: dict[str, Any] = {"dtype": dtype, "revision": revision, "use_safetensors": True}
    if quantization == "nf4":
        options["quantization_config"] = nf4_config(dtype, unquantized=unquantized)
    if quantization == "nf4" or device != "cpu":
        options["device_map"] = {"": device}
    try:
        model: Idefics2ForConditionalGeneration = Idefics2ForConditionalGeneration.from_pretrained(
            str(source), **options
        )
    except Exception as error:
        # The library, safetensors and the hub each raise their own kinds here.
        raise CheckpointRefused(
            f"base model {source} must be a readable Idefics2 in safetensors: {error}"
        ) from error
    observe_attention(model).eval()
    return model


def build_on_meta(values: Mapping[str, Any]) -> Idefics2ForConditionalGeneration:
    """An Idefics2 of any size without its weights: shapes to count with, and no memory.

    Args:
        values: of the library's `Idefics2Config`.
    """
    with torch.device("meta"):
        return Idefics2ForConditionalGeneration(Idefics2Config(**values))


def nf4_config(
    compute_dtype: torch.dtype, *, unquantized: tuple[str, ...] = ()
) -> BitsAndBytesConfig:
    """4-bit NormalFloat with double quantisation.  Dettmers et al. 2023 (QLoRA), section 3.

    Args:
        compute_dtype: of the multiplications.
        unquantized: parts of the model left as they are, beside the output matrix.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        # The library compares from the beginning of a module's full name.
        llm_int8_skip_modules=["lm_head", *(f"model.{name}" for name in unquantized)],
    )


def load_tokenizer(source: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a base model.

    Raises:
        CheckpointRefused: if its files are missing or damaged.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), revision=revision)
    except Exception as error:
        raise CheckpointRefused(f"tokenizer {source} cannot be read: {error}") from error
    return cast(PreTrainedTokenizerBase, tokenizer)

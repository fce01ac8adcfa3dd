"""A text decoder of the transformers library: the half of a backbone that all families share.

The scorer hands it embeddings, a 4-D mask, positions and a key-value cache.
"""

import inspect
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from recsys.scorer._key_values import Behind, KeyValues, Recording
from recsys.scorer.backbone import Quantization
from recsys.scorer.precision import computing_in
from recsys.scorer.pretrained import OBSERVED_ATTENTION, load_pretrained

Model = TypeVar("Model", bound=PreTrainedModel)


class DecoderBackbone(nn.Module):
    """What of `recsys.scorer.backbone.Backbone` is text; a family adds how it sees images.

    Args:
        model: with `text_config` in its configuration, word embeddings and an `lm_head`, or a
            `PeftModel` around one; its text model was given to `observe_attention`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._cache_argument = _cache_argument(self.decoder)

    @property
    def plain(self) -> Any:
        """The library's model itself, adapter layers in place."""
        if isinstance(self.model, PreTrainedModel):
            return self.model
        return cast(Any, self.model).get_base_model()

    @property
    def decoder(self) -> nn.Module:
        """The text model."""
        return cast(nn.Module, self.plain.model.text_model)

    @property
    def hidden_size(self) -> int:
        """D, width of the decoder's embeddings."""
        return self._embedding.weight.shape[1]

    @property
    def num_layers(self) -> int:
        """Layers of the text model."""
        return int(self._text_config.num_hidden_layers)

    @property
    def num_heads(self) -> int:
        """H, heads of queries in each layer of the text model."""
        return int(self._text_config.num_attention_heads)

    @property
    def position_bytes(self) -> int:
        """Memory of one position's keys and values: 2 * layers * key-value heads * head width."""
        config = self._text_config
        width = int(config.num_key_value_heads) * int(config.head_dim)
        return 2 * self.num_layers * width * self.dtype.itemsize

    @property
    def device(self) -> torch.device:
        """Where the text model's embeddings live."""
        return self._embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the text model's inputs."""
        return self._embedding.weight.dtype

    @property
    def layers(self) -> nn.ModuleList:
        """Layers of the text model."""
        return cast(nn.ModuleList, self.decoder.layers)

    @property
    def output_matrix(self) -> nn.Linear:
        """The language-model head."""
        return cast(nn.Linear, self.plain.lm_head)

    @property
    def _embedding(self) -> nn.Embedding:
        return cast(nn.Embedding, self.plain.get_input_embeddings())

    @property
    def _text_config(self) -> Any:
        return self.plain.config.text_config

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
        """Run the text model over q positions that see k = (prefix length) + q keys.

        Args:
            embeddings: inputs in the text model's width.
            mask: additive, 0 where a query may look and a large negative number elsewhere.
            positions: rotary position of each query.
            prefix: keys and values that stand before the q positions; left as they are.
        """
        cache = None if prefix is None else Behind(prefix)
        return self._run_text(embeddings, mask=mask, positions=positions, cache=cache)

    def decode_prefix(
        self,
        embeddings: Float[Tensor, "B L D"],
        *,
        mask: Float[Tensor, "B 1 L L"],
        positions: Int[Tensor, "B L"],
    ) -> KeyValues:
        """Run the text model over a prefix and keep its keys and values."""
        cache = Recording()
        self._run_text(embeddings, mask=mask, positions=positions, cache=cache)
        return KeyValues(tuple(cache.layers))

    def _run_text(
        self,
        embeddings: Tensor,
        *,
        mask: Tensor,
        positions: Tensor,
        cache: Recording | Behind | None,
    ) -> Tensor:
        with computing_in(self.dtype, self.device, self.decoder):
            output = self.decoder(
                inputs_embeds=embeddings,
                attention_mask=mask,
                position_ids=positions,
                use_cache=cache is not None,
                **{self._cache_argument: cache},
            )
        return cast(Tensor, output.last_hidden_state)

    def token_logits(
        self, hidden: Float[Tensor, "*shape D"], ids: Int[Tensor, " V"]
    ) -> Float[Tensor, "*shape V"]:
        """Logits of a few tokens only, in float32: hidden times their rows of the output matrix."""
        rows = self.output_matrix.weight[ids]
        return hidden.float() @ rows.float().T


def _cache_argument(decoder: nn.Module) -> str:
    """What a decoder of the library calls its cache: `past_key_values`, from 5.24 on `cache`."""
    named = inspect.signature(decoder.forward).parameters
    return "cache" if "cache" in named else "past_key_values"


def load_observed(
    model_class: type[Model],
    source: str | Path,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    quantization: Quantization = "none",
    unquantized: tuple[str, ...] = (),
    device: str = "cpu",
) -> Model:
    """Load a model of a class of the library that has its parts in `model`, for evaluation.

    Args:
        model_class: of the family.
        source, revision, dtype, quantization, unquantized, device: as of
            `recsys.scorer.backbone.LoadBase`.

    Raises:
        CheckpointRefused: as `recsys.scorer.pretrained.load_pretrained`.
    """
    model: Model = load_pretrained(
        model_class,
        source,
        revision=revision,
        dtype=dtype,
        quantization=quantization,
        # The library compares from the beginning of a module's full name.
        unquantized=("lm_head", *(f"model.{name}" for name in unquantized)),
        device=device,
    )
    evaluating: nn.Module = observe_attention(model)
    evaluating.eval()
    return model


def observe_attention(model: Model) -> Model:
    """Switch the text model to the attention that hooks can see; the numbers stay the same."""
    model.set_attn_implementation({"text_config": OBSERVED_ATTENTION})
    return model

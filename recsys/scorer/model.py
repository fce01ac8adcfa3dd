"""PreferenceScorer: how much would this user like these images?

Axes: B users, C candidates of a user, T tokens of an image, L tokens of a row, K preference tokens,
D hidden width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recsys.images.known import KnownImage, ModelImage
from recsys.images.preprocess import (
    ImageGeometry,
    ImagePixels,
    pad_batch,
    require_unit_range,
    resize,
    to_unit_range,
)
from recsys.scorer._key_values import KeyValues
from recsys.scorer.backbone import Backbone
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed
from recsys.scorer.packing import SHARED, Packed, Tokens, attention_mask, pack
from recsys.scorer.template import Template


@dataclass(frozen=True, eq=False)
class Reference:
    """One history entry as the model sees it.

    Attributes:
        liked: shape (3, h, w), RGB: bytes, or floating point in [0, 1]; or known by its tokens.
        disliked: likewise, of any size.
        prompt: what both were made from.
    """

    liked: ModelImage
    disliked: ModelImage
    prompt: str


@dataclass(frozen=True, eq=False)
class CandidateImage:
    """An image to be scored for a user: the paper's z.

    Attributes:
        image: shape (3, h, w), RGB: bytes, or floating point in [0, 1]; or known by its tokens.
        prompt: what it was made from.
    """

    image: ModelImage
    prompt: str


@dataclass(frozen=True, eq=False)
class Prefix:
    """A user as the decoder keeps it: keys and values of [P_v ; references], nothing else.

    Attributes:
        key_values: of K preference tokens and the reference tokens.
        num_positions: how many positions they stand on.
        num_references: how many references were read.
        borrowed: what of it is other users': nothing.
    """

    key_values: KeyValues
    num_positions: int
    num_references: int
    borrowed: Borrowed = NOTHING_BORROWED

    @property
    def num_bytes(self) -> int:
        """Memory that keeping this user warm costs, bytes."""
        return self.key_values.num_bytes


_KEYS = {"max_packed_candidates": "max_packed_targets"}
"""Attributes that scorer.json calls otherwise: the model version covers its keys."""


@dataclass(frozen=True)
class ScorerConfig:
    """What of a scorer is neither weights nor words.

    Attributes:
        num_references: references the model is trained with; more are not read.
        num_preference_tokens: K, 0 or more (0: the paper's ablation without P_v).
        max_packed_candidates: candidates in one pass at inference; more go in several passes, for
            the cost of the block mask grows with the square of their number.
        temperature: by which M+ - M- is divided, above 0, so that Q is calibrated (Guo et al.,
            2017); fitted on validation users. 1 is Eq. 2 as printed. It changes no order.
    """

    num_references: int = 8
    num_preference_tokens: int = 10
    max_packed_candidates: int = 16
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be above 0 and finite, got {self.temperature}")

    def to_json(self) -> dict[str, Any]:
        """Plain values for scorer.json, by the names that its format has."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ScorerConfig":
        """The config that `to_json` gave.

        Raises:
            TypeError: if a key is unknown.
            ValueError: if a value is out of its range.
        """
        names = {key: name for name, key in _KEYS.items()}
        return cls(**{names.get(key, key): value for key, value in values.items()})


class PreferenceScorer(nn.Module):
    """[P_v ; x_u] -> M+, M- and Q for each candidate.

    Args:
        backbone: image tokens, embeddings and the decoder.
        template: references and candidates as tokens.
        geometry: how images are resized for the vision tower.
        config: counts.
        model_version: digest of all that decides a score; "unsaved" until there is one.
    """

    def __init__(
        self,
        backbone: Backbone,
        template: Template,
        *,
        geometry: ImageGeometry,
        config: ScorerConfig,
        model_version: str = "unsaved",
    ) -> None:
        super().__init__()
        self.backbone: Backbone = backbone
        self.template = template
        self.geometry = geometry
        self.config = config
        self.model_version = model_version
        # Uniform in [0, 1), as the authors' code has it; the paper is silent.
        self.preference_tokens = nn.Parameter(
            torch.rand(config.num_preference_tokens, backbone.hidden_size, device=backbone.device)
        )

    @property
    def max_prefix_bytes(self) -> int:
        """Most memory that keeping one user warm can take: all references, the longest prompts."""
        tokens = self.template.max_prefix_tokens(self.config.num_references)
        return (self.config.num_preference_tokens + tokens) * self.backbone.position_bytes

    def image_features(self, images: Sequence[ModelImage]) -> Float[Tensor, "N T D"]:
        """Encode images of any size; differentiable down to those in floating point.

        They are brought to [0, 1] and to the model's size where the model is, not before. Of those
        that are known, tokens are taken as they were kept, and handed over to be.

        Args:
            images: RGB: bytes, or floating point in [0, 1]; or known, of this very model.

        Raises:
            ValueError: as `recsys.images.preprocess.require_unit_range`.
        """
        if not any(isinstance(image, KnownImage) for image in images):
            return self._encode(cast(Sequence[ImagePixels], images))
        # By identity: in a batch of users an image may come more than once.
        waiting = {id(image): image for image in images if _pixels_of(image) is not None}
        pixels = [each for each in map(_pixels_of, waiting.values()) if each is not None]
        made = dict(zip(waiting, self._encode(pixels), strict=True))
        for key, image in waiting.items():
            if isinstance(image, KnownImage):
                image.keep(made[key])
        kept = {
            id(image): image.tokens.to(self.backbone.device)
            for image in images
            if isinstance(image, KnownImage) and image.tokens is not None
        }
        tokens = made | kept
        return torch.stack([tokens[id(image)] for image in images])

    def _encode(self, images: Sequence[ImagePixels]) -> Float[Tensor, "N T D"]:
        require_unit_range(images)
        backbone = self.backbone
        if not images:
            shape = (0, backbone.num_image_tokens, backbone.hidden_size)
            return torch.zeros(shape, dtype=backbone.dtype, device=backbone.device)
        there = (to_unit_range(image.to(backbone.device)) for image in images)
        return backbone.image_tokens(*pad_batch([resize(each, self.geometry) for each in there]))

    def logits(self, packed: Packed, features: Float[Tensor, "N T D"]) -> Float[Tensor, "B C 2"]:
        """M+ and M- of every candidate of every user, in one packed pass with gradients.

        Args:
            packed: rows with `first_position` = K.
            features: of all images, in the order in which they stand in the rows.

        Returns:
            (..., 0) the like logit M+, (..., 1) the dislike logit M-; zero where a row has fewer
            candidates than others.
        """
        packed = packed.to(self.backbone.device)
        num_rows, num_tokens = packed.ids.shape[0], self.config.num_preference_tokens
        shared = packed.segments.new_full((num_rows, num_tokens), SHARED)
        segments = torch.cat([shared, packed.segments], dim=1)
        embeddings = torch.cat([self._preference(num_rows), self._embed(packed, features)], dim=1)
        hidden = self.backbone.decode(
            embeddings,
            mask=attention_mask(segments, segments, dtype=embeddings.dtype),
            positions=torch.cat([self._preference_positions(num_rows), packed.positions], dim=1),
        )
        return self._read(hidden[:, num_tokens:], packed)

    @torch.no_grad()
    def prefix(self, references: Sequence[Reference]) -> Prefix:
        """Read one user's references once, for any number of candidates later.

        Args:
            references: oldest first; at most `config.num_references`; none for a cold start.

        Raises:
            ValueError: if there are more references than the model is trained with, or a pixel is
                outside [0, 1] or NaN.
        """
        images = [image for each in references for image in (each.liked, each.disliked)]
        return self.prefix_of([each.prompt for each in references], self.image_features(images))

    @torch.no_grad()
    def prefix_of(
        self,
        prompts: Sequence[str],
        features: Float[Tensor, "N T D"],
        *,
        liked_first: Sequence[bool] | None = None,
    ) -> Prefix:
        """The same of image tokens.

        Args:
            prompts: of R references, oldest first.
            features: of each reference's two images, in the order in which they stand: N = 2R.
            liked_first: of each reference, whether its liked image stands first; None: of all, as
                served.

        Raises:
            ValueError: if there are more references than the model is trained with.
        """
        if len(prompts) > self.config.num_references:
            raise ValueError(
                f"at most {self.config.num_references} references are read, "
                f"got {len(prompts)}: pass the newest"
            )
        packed = self._pack(self.template.prefix(prompts, liked_first=liked_first), [])
        embeddings = torch.cat([self._preference(1), self._embed(packed, features)], dim=1)
        num_positions = embeddings.shape[1]
        segments = torch.full((1, num_positions), SHARED, device=embeddings.device)
        key_values = self.backbone.decode_prefix(
            embeddings,
            mask=attention_mask(segments, segments, dtype=embeddings.dtype),
            positions=torch.arange(num_positions, device=embeddings.device)[None],
        )
        return Prefix(key_values, num_positions, len(prompts))

    @torch.no_grad()
    def score(self, prefix: Prefix, candidates: Sequence[CandidateImage]) -> Float[Tensor, " C"]:
        """Q of each candidate behind a user's prefix, in [0, 1], on the CPU.

        Eq. 2 at the temperature.
        A candidate's score depends on nothing but the prefix and itself.

        Raises:
            ValueError: if a pixel is outside [0, 1] or NaN.
        """
        size = self.config.max_packed_candidates  # encoded as they are packed: pixels are large
        scores = [torch.zeros(0)]
        for chunk in (candidates[at : at + size] for at in range(0, len(candidates), size)):
            features = self.image_features([each.image for each in chunk])
            scores.append(self.score_of(prefix, [each.prompt for each in chunk], features))
        return torch.cat(scores)

    @torch.no_grad()
    def score_of(
        self, prefix: Prefix, prompts: Sequence[str], features: Float[Tensor, "C T D"]
    ) -> Float[Tensor, " C"]:
        """The same of image tokens: what serving and evaluation have in common."""
        logits = self._logits_behind(prefix, prompts, features)
        return preference_score(logits / self.config.temperature).cpu()

    @torch.no_grad()
    def margins_of(
        self, prefix: Prefix, prompts: Sequence[str], features: Float[Tensor, "C T D"]
    ) -> Float[Tensor, " C"]:
        """M+ - M- in the passes of `score_of`, float64 on the CPU.

        Q is the sigmoid of it divided by the temperature. It never saturates into a tie.
        """
        logits = self._logits_behind(prefix, prompts, features).double().cpu()
        return logits[:, 0] - logits[:, 1]

    def _logits_behind(
        self, prefix: Prefix, prompts: Sequence[str], features: Float[Tensor, "C T D"]
    ) -> Float[Tensor, "C 2"]:
        """M+ and M- in as many passes as `max_packed_candidates` asks for."""
        size = self.config.max_packed_candidates
        logits = [
            self.candidate_logits_of(prefix, prompts[at : at + size], features[at : at + size])
            for at in range(0, len(prompts), size)
        ]
        return torch.cat(logits) if logits else torch.zeros(0, 2)

    def candidate_logits_of(
        self, prefix: Prefix, prompts: Sequence[str], features: Float[Tensor, "C T D"]
    ) -> Float[Tensor, "C 2"]:
        """M+ and M- of image tokens behind a prefix, in one packed pass.

        Differentiable to the pixels through `image_features`, which takes them in [0, 1].
        """
        pieces = [self.template.candidate(prompt) for prompt in prompts]
        packed = pack([Tokens((), ())], [pieces], first_position=prefix.num_positions)
        packed = packed.to(self.backbone.device)
        embeddings = self._embed(packed, features)
        shared = packed.segments.new_full((1, prefix.num_positions), SHARED)
        hidden = self.backbone.decode(
            embeddings,
            mask=attention_mask(
                packed.segments,
                torch.cat([shared, packed.segments], dim=1),
                dtype=embeddings.dtype,
            ),
            positions=packed.positions,
            prefix=prefix.key_values,
        )
        return self._read(hidden, packed)[0]

    def _pack(self, prefix: Tokens, candidates: Sequence[Tokens]) -> Packed:
        packed = pack([prefix], [candidates], first_position=self.config.num_preference_tokens)
        return packed.to(self.backbone.device)

    def _preference(self, num_rows: int) -> Tensor:
        tokens = self.preference_tokens.to(self.backbone.dtype)
        return tokens[None].expand(num_rows, -1, -1)

    def _preference_positions(self, num_rows: int) -> Tensor:
        positions = torch.arange(self.config.num_preference_tokens, device=self.backbone.device)
        return positions[None].expand(num_rows, -1)

    def _embed(self, packed: Packed, features: Tensor) -> Tensor:
        embeddings = self.backbone.embed(packed.ids)
        where = packed.is_image[..., None].expand_as(embeddings)
        return embeddings.masked_scatter(where, features.to(embeddings.dtype))

    def _read(self, hidden: Tensor, packed: Packed) -> Tensor:
        rows = torch.arange(hidden.shape[0], device=hidden.device)[:, None]
        last = hidden[rows, packed.readouts.clamp(min=0)]  # (B, C, D)
        labels = torch.tensor(
            [self.template.like_id, self.template.dislike_id], device=hidden.device
        )
        logits = self.backbone.token_logits(last, labels)
        return logits.masked_fill((packed.readouts < 0)[..., None], 0.0)


def _pixels_of(image: ModelImage) -> ImagePixels | None:
    return image.pixels if isinstance(image, KnownImage) else image


def preference_score(logits: Float[Tensor, "*shape 2"]) -> Float[Tensor, "*shape"]:
    """Q = exp(M+) / (exp(M+) + exp(M-)): how much the user likes the image.  Paper, Eq. 2."""
    return torch.sigmoid(logits[..., 0] - logits[..., 1])

"""PreferenceScorer: how much would this user like these images?

Axes: B users, C candidates of a user, T tokens of an image, L tokens of a row, K preference tokens,
D hidden width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

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
from recsys.scorer._key_values import side_by_side
from recsys.scorer.backbone import Backbone
from recsys.scorer.config import ScorerConfig
from recsys.scorer.packing import PADDING, SHARED, Packed, Tokens, attention_mask, pack
from recsys.scorer.prefix import Prefix, ReferenceTokens
from recsys.scorer.template import Template

ENCODED_AT_ONCE = 16
"""Images in one pass of the vision tower at inference, at most: activations grow with each, and 16
(2.0 GB at the published size of Idefics2-8B) already give a GPU enough to do."""


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


class PreferenceScorer(nn.Module):
    """[P_v ; x_u] -> M+, M- and Q for each candidate.

    Attributes:
        has_own_adapter: whether an adapter, if it has any, is as it was trained; False once it is
            part of the base, or rounded, for inference.

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
        self.has_own_adapter = True
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
        at_once = len(images) if self._need_gradient(images) else ENCODED_AT_ONCE
        starts = range(0, len(images), at_once)
        return torch.cat([self._encode_in_one_pass(images[at : at + at_once]) for at in starts])

    def _encode_in_one_pass(self, images: Sequence[ImagePixels]) -> Float[Tensor, "N T D"]:
        there = (to_unit_range(image.to(self.backbone.device)) for image in images)
        resized = [resize(each, self.geometry) for each in there]
        return self.backbone.image_tokens(*pad_batch(resized))

    def _need_gradient(self, images: Sequence[ImagePixels]) -> bool:
        """Whether the vision tower's activations are kept for a backward pass anyway."""
        weights = (each for module in self.backbone.image_modules for each in module.parameters())
        return torch.is_grad_enabled() and any(each.requires_grad for each in (*weights, *images))

    def logits(
        self,
        packed: Packed,
        features: Float[Tensor, "N T D"],
        *,
        preference: Float[Tensor, "B K D"] | None = None,
    ) -> Float[Tensor, "B C 2"]:
        """M+ and M- of every candidate of every user, in one packed pass with gradients.

        Args:
            packed: rows with `first_position` = K.
            features: of all images, in the order in which they stand in the rows.
            preference: preference tokens of each user; None: the scorer's own for all.

        Returns:
            (..., 0) the like logit M+, (..., 1) the dislike logit M-; zero where a row has fewer
            candidates than others.
        """
        packed = packed.to(self.backbone.device)
        segments, positions = self._behind_preference(packed)
        before = self._preference(packed.ids.shape[0]) if preference is None else preference
        embeddings = torch.cat([before, self._embed(packed, features)], dim=1)
        hidden = self.backbone.decode(
            embeddings,
            mask=attention_mask(segments, segments, dtype=embeddings.dtype),
            positions=positions,
        )
        return self._read(hidden[:, self.config.num_preference_tokens :], packed)

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
        """The same of image tokens; arguments and errors as of `ReferenceTokens`, `prefixes_of`."""
        (prefix,) = self.prefixes_of([ReferenceTokens(prompts, features, liked_first)])
        return prefix

    @torch.no_grad()
    def prefixes_of(self, users: Sequence[ReferenceTokens]) -> list[Prefix]:
        """The same of several users in one pass, for which shorter histories are padded behind.

        Args:
            users: at least one.

        Returns:
            Of each user, a view of what the pass has made.

        Raises:
            ValueError: if a user has more references than the model is trained with.
        """
        most = max(len(user.prompts) for user in users)
        if most > self.config.num_references:
            raise ValueError(
                f"at most {self.config.num_references} references are read, "
                f"got {most}: pass the newest"
            )
        pieces = [self.template.prefix(u.prompts, liked_first=u.liked_first) for u in users]
        packed, features = self._packed(pieces), torch.cat([user.features for user in users])
        segments, positions = self._behind_preference(packed)
        (own,) = self._preference(1)
        each = [own if user.preference is None else user.preference.to(own) for user in users]
        key_values = self.backbone.decode_prefix(
            torch.cat([torch.stack(each), self._embed(packed, features)], dim=1),
            mask=attention_mask(segments, segments, dtype=self.backbone.dtype),
            positions=positions,
        )
        lengths = [self.config.num_preference_tokens + len(piece) for piece in pieces]
        return [
            Prefix(key_values.row(index, length), length, len(user.prompts))
            for index, (user, length) in enumerate(zip(users, lengths, strict=True))
        ]

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
        (logits,) = self._logits_in_passes([prefix], [prompts], [features])
        return preference_score(logits / self.config.temperature).cpu()

    @torch.no_grad()
    def margins_of(
        self, prefix: Prefix, prompts: Sequence[str], features: Float[Tensor, "C T D"]
    ) -> Float[Tensor, " C"]:
        """M+ - M- in the passes of `score_of`, float64 on the CPU.

        Q is the sigmoid of it divided by the temperature. It never saturates into a tie.
        """
        (margins,) = self.margins_of_each([prefix], [prompts], [features])
        return margins

    @torch.no_grad()
    def margins_of_each(
        self,
        prefixes: Sequence[Prefix],
        prompts: Sequence[Sequence[str]],
        features: Sequence[Float[Tensor, "_ T D"]],
    ) -> list[Float[Tensor, " _"]]:
        """The same of several users, who share the passes.

        Args:
            prefixes: of at least one user.
            prompts: of each user's candidates.
            features: of each user's candidates.
        """
        each = [rows.double().cpu() for rows in self._logits_in_passes(prefixes, prompts, features)]
        return [logits[:, 0] - logits[:, 1] for logits in each]

    def _logits_in_passes(
        self,
        prefixes: Sequence[Prefix],
        prompts: Sequence[Sequence[str]],
        features: Sequence[Float[Tensor, "_ T D"]],
    ) -> list[Float[Tensor, "_ 2"]]:
        """M+ and M- in as many passes as `max_packed_candidates` of each user asks for."""
        size, device = self.config.max_packed_candidates, self.backbone.device
        logits = [[torch.zeros(0, 2, device=device)] for _ in prefixes]
        for at in range(0, max(map(len, prompts)), size):
            users = [user for user, own in enumerate(prompts) if len(own) > at]
            asked = [prompts[user][at : at + size] for user in users]
            tokens = torch.cat([features[user][at : at + size] for user in users])
            rows = self.logits_behind([prefixes[user] for user in users], asked, tokens)
            for user, own, row in zip(users, asked, rows, strict=True):
                logits[user].append(row[: len(own)])
        return [torch.cat(rows) for rows in logits]

    def candidate_logits_of(
        self, prefix: Prefix, prompts: Sequence[str], features: Float[Tensor, "C T D"]
    ) -> Float[Tensor, "C 2"]:
        """M+ and M- of image tokens behind a prefix, in one packed pass.

        Differentiable to the pixels through `image_features`, which takes them in [0, 1].
        """
        return self.logits_behind([prefix], [prompts], features)[0]

    def logits_behind(
        self,
        prefixes: Sequence[Prefix],
        prompts: Sequence[Sequence[str]],
        features: Float[Tensor, "N T D"],
    ) -> Float[Tensor, "B C 2"]:
        """The same of several users, each behind their own prefix, in one packed pass.

        Args:
            prefixes: of B users.
            prompts: of each user's candidates.
            features: of all candidates, user by user.

        Returns:
            Zero where a user has fewer candidates than others.
        """
        pieces = [[self.template.candidate(prompt) for prompt in own] for own in prompts]
        begins = [prefix.num_positions for prefix in prefixes]
        packed = pack([Tokens((), ())] * len(prefixes), pieces, first_position=begins)
        packed = packed.to(self.backbone.device)
        embeddings = self._embed(packed, features)
        places = torch.arange(max(begins), device=embeddings.device)
        is_shared = places < torch.tensor(begins, device=embeddings.device)[:, None]
        keys = torch.cat([torch.where(is_shared, SHARED, PADDING), packed.segments], dim=1)
        hidden = self.backbone.decode(
            embeddings,
            mask=attention_mask(packed.segments, keys, dtype=embeddings.dtype),
            positions=packed.positions,
            prefix=side_by_side([prefix.key_values for prefix in prefixes]),
        )
        return self._read(hidden, packed)

    def _packed(self, prefixes: Sequence[Tokens]) -> Packed:
        first = self.config.num_preference_tokens
        packed = pack(prefixes, [[]] * len(prefixes), first_position=first)
        return packed.to(self.backbone.device)

    def _behind_preference(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """Segments and positions of rows with the preference tokens before them."""
        num_tokens = self.config.num_preference_tokens
        first = torch.arange(num_tokens, device=self.backbone.device)
        before = first[None].expand(packed.ids.shape[0], -1)
        shared = torch.full_like(before, SHARED)
        return (
            torch.cat([shared, packed.segments], dim=1),
            torch.cat([before, packed.positions], dim=1),
        )

    def _preference(self, num_rows: int) -> Tensor:
        tokens = self.preference_tokens.to(self.backbone.dtype)
        return tokens[None].expand(num_rows, -1, -1)

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

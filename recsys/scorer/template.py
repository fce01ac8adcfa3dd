"""A reference, a candidate, a label -> token sequences, by the paper's template.

One image is `<image>The prompt is <prompt>. Score for this image?<label>` (paper, section 4.1); a
candidate is the same without its label, so that the next token's logits are M+ and M-.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Protocol, runtime_checkable

from recsys.scorer.packing import Tokens


@runtime_checkable
class Tokenizer(Protocol):
    """The part of a tokenizer that the template needs."""

    def encode(self, text: str, *, add_special_tokens: bool, **options: Any) -> list[int]:
        """Token ids of a text."""

    def convert_tokens_to_ids(self, tokens: str) -> int | list[int]:
        """Id of one token."""

    def convert_ids_to_tokens(self, ids: int) -> str | list[str]:
        """The token of one id."""

    @property
    def bos_token_id(self) -> int | None:
        """Id of the token that begins a sequence, where there is one."""

    @property
    def unk_token_id(self) -> int | None:
        """Id of the token for what no other token says, where there is one."""


@dataclass(frozen=True)
class TemplateConfig:
    """The words of the template; part of the model version.

    Attributes:
        like: label of a liked image; must be one token.
        dislike: label of a disliked image; must be one token.
        before_prompt: text between image and prompt.
        after_prompt: text between prompt and label.
        max_prompt_tokens: a longer prompt is cut here; at least 1.
    """

    like: str = "like"
    dislike: str = "dislike"
    before_prompt: str = "The prompt is"
    after_prompt: str = ". Score for this image?"
    max_prompt_tokens: int = 100

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's config."""
        return asdict(self)


@dataclass(frozen=True)
class ImageMarkup:
    """How a family of base models writes one image among words.

    Attributes:
        token: stands for each image token.
        num_tokens: T, at least 1.
        before: tokens ahead of the image.
        after: tokens behind it.
    """

    token: str
    num_tokens: int
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def num_places(self) -> int:
        """Places in a sequence that one image takes."""
        return len(self.before) + self.num_tokens + len(self.after)


class Template:
    """Builds token sequences for one tokenizer.

    Pieces are tokenised apart and joined, so the cut prompt never changes its neighbours' tokens.
    A prompt never holds a label: where its tokens have one, such as " +" in the vocabulary of
    Idefics2-8B, it is spelled by its characters.
    The tokenizer is one that puts a space before each piece itself.

    Args:
        tokenizer: of the base model; knows the tokens of `image`.
        config: the words.
        image: how the base model's family writes an image.

    Raises:
        ValueError: if a label is not one token, both labels are the same, or the tokenizer lacks
            a token of `image`.
    """

    def __init__(self, tokenizer: Tokenizer, config: TemplateConfig, *, image: ImageMarkup) -> None:
        self.config = config
        self._tokenizer = tokenizer
        self._image = self._image_tokens(image)
        begin = tokenizer.bos_token_id
        self._begin = Tokens((), ()) if begin is None else Tokens((begin,), (False,))
        self._before = self._text(config.before_prompt)
        self._after = self._text(config.after_prompt)
        self.like_id = self._label(config.like)
        self.dislike_id = self._label(config.dislike)
        if self.like_id == self.dislike_id:
            raise ValueError(f"labels must differ, got {config.like!r} twice: choose two tokens")
        self._spelled = {label: self._spell(label) for label in (self.like_id, self.dislike_id)}
        self._prompt = lru_cache(maxsize=4096)(self._encode_prompt)

    def candidate(self, prompt: str) -> Tokens:
        """An image to be scored: everything up to its label."""
        return self._image + self._before + self._prompt(prompt) + self._after

    def labelled(self, prompt: str, *, liked: bool) -> Tokens:
        """An image with its label."""
        label = self.like_id if liked else self.dislike_id
        return self.candidate(prompt) + Tokens((label,), (False,))

    def reference(self, prompt: str, *, liked_first: bool = True) -> Tokens:
        """One history entry: both images, each with prompt and label."""
        first, second = liked_first, not liked_first
        return self.labelled(prompt, liked=first) + self.labelled(prompt, liked=second)

    def prefix(
        self, prompts: Sequence[str], *, liked_first: Sequence[bool] | None = None
    ) -> Tokens:
        """All references of a user, in order, behind the token that begins a sequence.

        Args:
            prompts: of the references.
            liked_first: of each, whether its liked image stands before the disliked one; None: of
                all, as served.
        """
        tokens = self._begin
        firsts = [True] * len(prompts) if liked_first is None else liked_first
        for prompt, first in zip(prompts, firsts, strict=True):
            tokens = tokens + self.reference(prompt, liked_first=first)
        return tokens

    def max_prefix_tokens(self, num_references: int) -> int:
        """Tokens of the longest prefix of so many references: each prompt as long as it may be."""
        reference = self.reference("")
        longest = len(reference) + 2 * (self.config.max_prompt_tokens - len(self._prompt("")))
        return len(self._begin) + num_references * longest

    def _encode_prompt(self, prompt: str) -> Tokens:
        tokens = self._text(prompt, is_prompt=True).ids
        spelled = chain.from_iterable(self._spelled.get(each, (each,)) for each in tokens)
        ids = tuple(islice(spelled, self.config.max_prompt_tokens))
        return Tokens(ids, (False,) * len(ids))

    def _spell(self, label: int) -> tuple[int, ...]:
        """A label as a prompt writes it: by its characters, by "unknown" where one is a label."""
        ids = map(
            self._tokenizer.convert_tokens_to_ids, self._tokenizer.convert_ids_to_tokens(label)
        )
        unknown = self._tokenizer.unk_token_id
        spelled = (unknown if each in (self.like_id, self.dislike_id) else each for each in ids)
        return tuple(each for each in spelled if isinstance(each, int))

    def _text(self, text: str, *, is_prompt: bool = False) -> Tokens:
        # A prompt that spells "<image>" is text and no image.
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=is_prompt)
        return Tokens(tuple(ids), (False,) * len(ids))

    def _image_tokens(self, image: ImageMarkup) -> Tokens:
        before, after = map(self._special, image.before), map(self._special, image.after)
        ids = (*before, *[self._special(image.token)] * image.num_tokens, *after)
        is_image = [False] * len(image.before) + [True] * image.num_tokens
        return Tokens(ids, (*is_image, *[False] * len(image.after)))

    def _special(self, token: str) -> int:
        token_id = self._tokenizer.convert_tokens_to_ids(token)
        if not isinstance(token_id, int) or token_id < 0:
            raise ValueError(f"the tokenizer must know {token}: use the base model's own")
        return token_id

    def _label(self, label: str) -> int:
        ids = self._text(label).ids
        if len(ids) != 1:
            raise ValueError(f"label must be one token, got {label!r} = {len(ids)}: choose another")
        return ids[0]

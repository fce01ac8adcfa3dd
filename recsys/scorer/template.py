"""A reference, a candidate, a label -> token sequences, by the paper's template.

One image is `<image>The prompt is <prompt>. Score for this image?<label>` (paper, section 4.1); a
candidate is the same without its label, so that the next token's logits are M+ and M-.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from recsys.scorer.packing import Tokens


@runtime_checkable
class Tokenizer(Protocol):
    """The part of a tokenizer that the template needs."""

    def encode(self, text: str, *, add_special_tokens: bool, **options: Any) -> list[int]:
        """Token ids of a text."""

    def convert_tokens_to_ids(self, tokens: str) -> int | list[int]:
        """Id of one token."""

    @property
    def bos_token_id(self) -> int | None:
        """Id of the token that begins a sequence, where there is one."""


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


class Template:
    """Builds token sequences for one tokenizer.

    Pieces are tokenised apart and joined, so the cut prompt never changes its neighbours' tokens.
    Tokenizers of this family put a space before each piece themselves.

    Args:
        tokenizer: of the base model; has `<image>` and `<fake_token_around_image>`.
        config: the words.
        num_image_tokens: T, at least 1.

    Raises:
        ValueError: if a label is not one token, both labels are the same, or `<image>` is unknown.
    """

    def __init__(
        self, tokenizer: Tokenizer, config: TemplateConfig, *, num_image_tokens: int
    ) -> None:
        self.config = config
        self._tokenizer = tokenizer
        image, fence = self._special("<image>"), self._special("<fake_token_around_image>")
        self._image = Tokens(
            (fence, *[image] * num_image_tokens, fence), (False, *[True] * num_image_tokens, False)
        )
        begin = tokenizer.bos_token_id
        self._begin = Tokens((), ()) if begin is None else Tokens((begin,), (False,))
        self._before = self._text(config.before_prompt)
        self._after = self._text(config.after_prompt)
        self.like_id = self._label(config.like)
        self.dislike_id = self._label(config.dislike)
        if self.like_id == self.dislike_id:
            raise ValueError(f"labels must differ, got {config.like!r} twice: choose two tokens")
        self._prompt = lru_cache(maxsize=4096)(self._encode_prompt)

    def candidate(self, prompt: str) -> Tokens:
        """An image to be scored: everything up to its label."""
        return self._image + self._before + self._prompt(prompt) + self._after

    def labelled(self, prompt: str, *, liked: bool) -> Tokens:
        """An image with its label."""
        label = self.like_id if liked else self.dislike_id
        return self.candidate(prompt) + Tokens((label,), (False,))

    def reference(self, prompt: str) -> Tokens:
        """One history entry: the liked image, then the disliked one, each with prompt and label."""
        return self.labelled(prompt, liked=True) + self.labelled(prompt, liked=False)

    def prefix(self, prompts: Sequence[str]) -> Tokens:
        """All references of a user, in order, behind the token that begins a sequence."""
        tokens = self._begin
        for prompt in prompts:
            tokens = tokens + self.reference(prompt)
        return tokens

    def _encode_prompt(self, prompt: str) -> Tokens:
        tokens = self._text(prompt, is_prompt=True)
        cut = self.config.max_prompt_tokens
        return Tokens(tokens.ids[:cut], tokens.is_image[:cut])

    def _text(self, text: str, *, is_prompt: bool = False) -> Tokens:
        # A prompt that spells "<image>" or a label is text, neither an image nor a label.
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=is_prompt)
        return Tokens(tuple(ids), (False,) * len(ids))

    def _special(self, token: str) -> int:
        found = self._tokenizer.convert_tokens_to_ids(token)
        if not isinstance(found, int) or found < 0:
            raise ValueError(f"the tokenizer must know {token}: use one made for Idefics2")
        return found

    def _label(self, label: str) -> int:
        ids = self._text(label).ids
        if len(ids) != 1:
            raise ValueError(f"label must be one token, got {label!r} = {len(ids)}: choose another")
        return ids[0]

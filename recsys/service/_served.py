"""The model that is served: there once it is loaded, and not before."""

from dataclasses import dataclass

from recsys.engine.engine import ScoringEngine
from recsys.errors import Unavailable
from recsys.image_tokens.cache import ImageTokenCache
from recsys.ranking.ranker import Ranker
from recsys.reasons import Reason
from recsys.service.similarity import Similarity


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The parts that answer calls.

    Attributes:
        engine: scores.
        ranker: ranks with the engine.
        similarity: reads signatures and searches them; None where the checkpoint ships nothing to
            read signatures by.
        image_tokens: of the model; None: none are kept.
    """

    engine: ScoringEngine
    ranker: Ranker
    similarity: Similarity | None
    image_tokens: ImageTokenCache | None = None

    def close(self) -> None:
        """End the threads; after the engine is drained."""
        if self.similarity is not None:
            self.similarity.close()


class Served:
    """Holds the model between the end of loading and the end of the service."""

    def __init__(self) -> None:
        self._model: ServedModel | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether there is a model."""
        return self._model is not None

    @property
    def model(self) -> ServedModel:
        """The model.

        Raises:
            Unavailable: if it is not loaded yet.
        """
        if self._model is None:
            raise Unavailable("the model is loading: call again later", reason=Reason.LOADING)
        return self._model

    def hold(self, model: ServedModel) -> None:
        """Serve a model from now on."""
        self._model = model

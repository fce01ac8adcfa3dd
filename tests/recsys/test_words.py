"""Words of prompts, in any script."""

from recsys.words import words_of


def test_words_in_lower_case_without_stop_words() -> None:
    assert words_of("A fox, in the SNOW; fox-like (4k) día über 雪景") == {
        *("fox", "snow", "fox-like", "día", "über", "雪景")
    }
    assert words_of("") == words_of("the of 42 _") == set()

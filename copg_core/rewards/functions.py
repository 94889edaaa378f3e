"""Our own reward functions, registered under the entry point group `copg.rewards` like those of any other package.

A reward function scores a batch:  f(prompts, completions, context, **options) -> one number for each completion.
`context[i]` is what row i knows beside its prompt, column -> value; `options` come from the configuration, and `reference`
is among them where the configuration names the reference column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import regex

from copg_core.errors import ConfigError, RewardError

Rows = Sequence[Mapping[str, Any]]
# Long enough for any sensible expression on a completion, short enough to notice one that backtracks for ever.
MATCH_SECONDS = 2.0
_NUMBER = regex.compile(r"(?:(?<![\w.)])[-+])?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)")
_MARKED = regex.compile(r"####[\s*]*\$?\s*([-+]?\$?[\d,]*\.?\d+)")


def rouge_l(
    prompts: Sequence[str],
    completions: Sequence[str],
    context: Rows,
    *,
    reference: str,
    measure: Literal["fmeasure", "precision", "recall"] = "fmeasure",
    stemmer: bool = True,
) -> list[float]:
    """ROUGE-L to the reference text, in [0, 1]: with L the longest common subsequence of words, precision L/|completion|,
    recall L/|reference|, F their harmonic mean. Of several references the best one counts.

    Source: Lin, *ROUGE: A Package for Automatic Evaluation of Summaries*, 2004, by the library rouge-score.
    """
    from rouge_score.rouge_scorer import RougeScorer

    if measure not in ("fmeasure", "precision", "recall"):
        raise ConfigError(f"rouge_l's measure is fmeasure, precision or recall, not {measure!r}")
    scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
    scores = []
    for completion, row in zip(completions, context, strict=True):
        given = row[reference]
        if given is None or given == []:
            raise RewardError(f"the column {reference!r} is empty in some row, so there is nothing to compare with")
        texts = given if isinstance(given, list | tuple) else [given]
        scores.append(max(float(getattr(scorer.score(str(text), completion)["rougeL"], measure)) for text in texts))
    return scores


def gsm8k(
    prompts: Sequence[str],
    completions: Sequence[str],
    context: Rows,
    *,
    reference: str,
    last_number: bool = False,
) -> list[float]:
    """1 where the completion's final answer is the reference's number, otherwise 0.

    The answer stands behind `####`; of several marks the last one counts. With `last_number` a completion without a mark is
    read by the last number in it. Numbers are compared as numbers: `1,000`, `$1000` and `1000.00` are the same.
    Source: Cobbe et al., *Training Verifiers to Solve Math Word Problems*, 2021.
    """
    scores = []
    for completion, row in zip(completions, context, strict=True):
        given = str(row[reference])
        expected = marked_number(given)
        expected = _decimal(given) if expected is None else expected
        if expected is None:
            raise RewardError(f"the reference {given[-60:]!r} holds no number behind ####, nor is it a number")
        answer = marked_number(completion)
        if answer is None and last_number:
            answer = final_number(completion)
        scores.append(float(answer == expected))
    return scores


def format_match(
    prompts: Sequence[str], completions: Sequence[str], context: Rows, *, pattern: str, whole: bool = True
) -> list[float]:
    """1 where the regular expression matches the completion (all of it, or with `whole = false` a part), otherwise 0.

    White space around the completion does not count, and `.` matches a line's end too. A completion on which the expression
    backtracks for two seconds does not match.
    """
    try:
        compiled = regex.compile(pattern, regex.DOTALL)
    except regex.error as error:
        raise ConfigError(f"the format reward's pattern {pattern!r} is no regular expression: {error}") from error
    match = compiled.fullmatch if whole else compiled.search

    def matches(completion: str) -> bool:
        try:
            return match(completion.strip(), timeout=MATCH_SECONDS) is not None
        except TimeoutError:
            return False

    return [float(matches(completion)) for completion in completions]


def length(
    prompts: Sequence[str],
    completions: Sequence[str],
    context: Rows,
    *,
    target: float,
    unit: Literal["words", "characters"] = "words",
    only_longer: bool = False,
) -> list[float]:
    """−|n − target| / target for a completion of n words (or characters): 0 at the target, −1 at twice it or at nothing.

    With `only_longer` a shorter completion costs nothing.
    """
    if not target > 0 or unit not in ("words", "characters"):
        raise ConfigError("the length reward needs a target above 0, and words or characters as its unit")
    counts = [len(completion.split()) if unit == "words" else len(completion) for completion in completions]
    excess = [(count - target) / target for count in counts]
    # `0.0 - x`, because the negative of 0 would read -0.
    return [0.0 - (max(x, 0.0) if only_longer else abs(x)) for x in excess]


def marked_number(text: str) -> Decimal | None:
    """The number behind the last `####`.

    >>> marked_number("6 * 3 = 18, so #### $1,018.50")
    Decimal('1018.50')
    """
    found = _MARKED.findall(text.replace("−", "-"))
    return _decimal(found[-1]) if found else None


def final_number(text: str) -> Decimal | None:
    """The last number of a text.

    >>> final_number("First 3, then 1,200 apples.")
    Decimal('1200')
    """
    found = [match for match in _NUMBER.findall(text) if match]
    return _decimal(found[-1]) if found else None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", "").replace("$", "").strip())
    except InvalidOperation:
        return None

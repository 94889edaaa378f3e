"""Entailment by a tiny random classifier in transformers' own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedTokenizerFast

from copg_core.errors import ModelError, RewardError
from copg_core.estimate import Machine, estimate_run
from copg_core.reward_sources import EntailmentReward
from copg_core.rewards.entailment import EntailmentScorer, label_of
from tests.core.conftest import config_of

CPU = torch.device("cpu")
LABELS = {0: "contradiction", 1: "NEUTRAL", 2: "Entailment"}
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "it", "was", "not", "here"],
]
PROMPTS = ["the cat sat on the mat", "it was here", "a dog ran"]
COMPLETIONS = ["a cat sat", "it was not here", "the dog ran on a mat it was not here"]


def save(folder: Path, labels: dict[int, str] = LABELS, **settings: Any) -> str:
    """A BERT of two narrow layers with its tokenizer."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=24, initializer_range=0.5, id2label=labels,
        label2id={label: i for i, label in labels.items()}, **settings,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def judge(tmp_path: Path) -> str:
    return save(tmp_path / "judge")


def test_the_probability_is_that_of_the_labelled_logit(judge: str) -> None:
    scorer = EntailmentScorer(EntailmentReward(model=judge), CPU)
    rewards = scorer.score(PROMPTS, COMPLETIONS)
    model = AutoModelForSequenceClassification.from_pretrained(judge).eval()
    for i, (premise, hypothesis) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        ids = [2, *(WORDS.index(w) for w in premise.split()), 3]
        second = [*(WORDS.index(w) for w in hypothesis.split()), 3]
        types = [0] * len(ids) + [1] * len(second)
        logits = model(input_ids=torch.tensor([ids + second]), token_type_ids=torch.tensor([types])).logits[0]
        assert rewards[i] == pytest.approx(logits.softmax(-1)[2].item(), abs=1e-6)
        assert scorer.score([premise], [hypothesis])[0] == pytest.approx(rewards[i], abs=1e-6), "alone as in a batch"
        logit = EntailmentScorer(EntailmentReward(model=judge, score="logit"), CPU)
        assert logit.score([premise], [hypothesis])[0] == pytest.approx(logits[2].item(), abs=1e-5)


def test_the_premise_may_be_a_column_and_is_part_of_the_fingerprint(judge: str) -> None:
    by_prompt = EntailmentScorer(EntailmentReward(model=judge), CPU)
    by_column = EntailmentScorer(EntailmentReward(model=judge, premise="article"), CPU)
    rows = [{"article": prompt} for prompt in PROMPTS]
    assert (
        by_column.score(["x"] * 3, COMPLETIONS, None, rows).tolist() == by_prompt.score(PROMPTS, COMPLETIONS).tolist()
    )
    assert by_column.fingerprint != by_prompt.fingerprint


def test_a_pair_longer_than_the_model_is_cut_and_dropout_is_off(tmp_path: Path) -> None:
    scorer = EntailmentScorer(
        EntailmentReward(model=save(tmp_path / "m", hidden_dropout_prob=0.5, classifier_dropout=0.5)), CPU
    )
    long = " ".join(["cat"] * 100)
    assert scorer.score([long], ["a cat"]).tolist() == scorer.score([long], ["a cat"]).tolist()


def test_a_model_without_the_label_is_answered_with_its_labels(tmp_path: Path) -> None:
    place = save(tmp_path / "m", {0: "negative", 1: "not_entailment"})
    with pytest.raises(ModelError, match=r"has the labels negative, not_entailment, none of which is `entailment`"):
        EntailmentScorer(EntailmentReward(model=place), CPU)
    assert label_of({0: "ENTAILMENT", 1: "x"}, "m") == 0


def test_what_is_no_classifier_is_a_sentence(tmp_path: Path, stories: str) -> None:
    with pytest.raises(ModelError, match="cannot be loaded as a sequence classifier"):
        EntailmentScorer(EntailmentReward(model=str(tmp_path)), CPU)
    with pytest.raises(ModelError, match=r"was not trained as a classifier: it lacks the weights score\.weight"):
        EntailmentScorer(EntailmentReward(model=stories), CPU)


def test_weights_that_give_no_number_name_the_prompt(judge: str) -> None:
    scorer = EntailmentScorer(EntailmentReward(model=judge), CPU)
    torch.nn.init.constant_(scorer._model.classifier.weight, float("nan"))
    with pytest.raises(RewardError, match=r"the entailment reward of 1 of 1 .* 'the cat'"):
        scorer.score(["the cat"], ["a cat"])


def test_its_memory_is_part_of_the_estimate_and_never_its_end(tmp_path: Path) -> None:
    def estimate(model: str) -> Any:
        reward = {
            "kind": "sum",
            "rewards": [{"reward": {"kind": "entailment", "model": model}}, {"reward": {"kind": "gold"}}],
        }
        return estimate_run(config_of("copg", reward=reward), Machine("this processor", None, cpu=True))

    judge = save(tmp_path / "judge")
    known, absent = estimate(judge), estimate("nobody/nli")
    [part] = [part for part in known.memory.parts if part.name == "reward_model"]
    exact = 4 * sum(p.numel() for p in AutoModelForSequenceClassification.from_pretrained(judge).parameters())
    assert part.bytes == pytest.approx(exact, rel=0.15), "without biases and the head, which are much of a tiny model"
    assert known.memory.total - absent.memory.total == part.bytes
    assert any("nobody/nli is not on this machine" in sentence for sentence in absent.unknown)
    assert not any("entailment" in sentence for sentence in known.unknown)

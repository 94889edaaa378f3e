"""What goes wrong in preference training, by the threads of the trainers that people use, and which test of ours catches it.

Each line names its tests as file::function. That they exist is checked here; what exists nowhere else is tested here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from copg_core.config import variant_of
from copg_core.evaluate import validate_policy
from copg_core.layout import lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.objectives import Table, objective_of
from copg_core.pairs import preferred_first
from copg_core.schedule import batch_rows
from tests.core.conftest import ROWS, config_of, run, tiny_llama

TESTS = Path(__file__).parents[1]

LINES: dict[str, list[str]] = {
    "log-probabilities are sums over completion tokens, EOS included": [
        "core/test_logprobs.py::test_sum_not_mean_by_hand",
        "core/test_logprobs.py::test_a_completion_cut_before_eos_has_one_term_fewer",
    ],
    "IPO's sum or mean is an explicit, labelled choice": [
        "core/test_agreement_with_trl.py::test_ipo_per_token_by_hand",
        "core/test_agreement_with_trl.py::test_the_papers_ipo_is_another_loss_than_trls",
        "core/test_correctness.py::test_ipo_per_token_has_a_label_of_its_own",
    ],
    "dropout is off in policy, reference and reward model": [
        "core/test_policies.py::test_dropout_is_off_even_in_a_model_that_was_saved_with_it_and_put_in_training_mode",
    ],
    "truncation never empties a completion, and is counted": [
        "data/test_encoding.py::test_a_completion_keeps_its_beginning_and_ends_only_where_the_text_ends",
        "data/test_encoding.py::test_what_is_cut_is_counted",
        "core/test_logprobs.py::test_empty_prompts_and_completions_are_refused",
    ],
    "the reward is read at the true last token, also when pad is EOS, whatever else is in the batch": [
        "core/test_logprobs.py::test_rewards_are_read_at_the_true_last_token",
        "core/test_rewards_and_reference.py::test_a_reward_model_encodes_text_with_its_own_tokenizer_and_reads_the_last_token",
    ],
    "a completion that did not end is marked, and their share stands beside the reward": [
        "core/test_generate.py::test_any_end_token_ends_and_what_does_not_end_is_marked",
        "core/test_correctness.py::test_the_share_without_end_stands_beside_the_reward",
    ],
    "left padding with right positions in generation": [
        "core/test_generate.py::test_left_padding_and_batch_mates_change_nothing",
    ],
    "the reward head is saved and loaded strictly, with LoRA too": [
        "core/test_policies.py::test_head_and_decoder_come_back",
        "core/test_policies.py::test_loading_is_strict",
        "core/test_train.py::test_lora_trains_adapters_only_and_its_output_is_merged",
    ],
    "the reference is the SFT model, adapters included": [
        "core/test_policies.py::test_with_adapters_the_reference_is_exactly_the_model_they_were_added_to",
        "core/test_policies.py::test_without_adapters_the_reference_does_not_follow_the_policy",
    ],
    "a reference computed in advance does not change the order of training data": [
        "core/test_train.py::test_the_reference_and_rewards_come_from_the_cache_and_change_nothing",
        "core/test_correctness.py::test_the_order_of_data_asks_no_random_state",
    ],
    "step 0 has the loss of the equation and log-ratios near 0, or the run stops": [
        "core/test_train.py::test_step_0_is_the_reference",
        "core/test_train.py::test_a_reference_that_is_not_the_policy_stops_the_run",
        "core/test_battery.py::test_the_value_at_the_reference_is_what_the_self_check_expects",
    ],
    "log-softmax in float32 whatever the model's dtype": [
        "core/test_precision.py::test_log_probabilities_are_float32_and_buffers_are_never_rounded",
        "core/test_correctness.py::test_of_bfloat16_weights_the_sum_is_still_exact",
    ],
    "no Adam on bfloat16 weights alone": [
        "core/test_precision.py::test_at_the_papers_rate_masters_follow_float32_and_bfloat16_alone_stands_still",
    ],
    "sampling and log-probabilities use the same temperature": [
        "core/test_generate.py::test_tokens_are_drawn_from_the_policy_at_temperature_one",
    ],
    "metrics are averages over all micro-batches (and processes)": [
        "core/test_correctness.py::test_metrics_are_averages_over_the_whole_batch",
        "core/test_processes.py::test_two_processes_give_the_numbers_of_one",
    ],
    "reward model and policy may have different tokenizers": [
        "core/test_rewards_and_reference.py::test_a_reward_model_encodes_text_with_its_own_tokenizer_and_reads_the_last_token",
    ],
    "the boundary token is the same in training, scoring and generation; one BOS": [
        "data/test_encoding.py::test_the_boundary_token_is_the_same_however_rows_are_encoded",
        "data/test_encoding.py::test_a_prompt_keeps_its_end_and_has_one_bos",
        "data/test_encoding.py::test_a_template_that_writes_bos_has_it_once",
    ],
    "a tie is not right, in reward-model accuracy and in that of pairs": [
        "core/test_rewards_and_reference.py::test_a_tie_is_not_right",
        "core/test_correctness.py::test_ties_are_neither_right_nor_trained_on_where_order_is_all",
    ],
    "random states survive resume, and a checkpoint without optimizer state is refused": [
        "core/test_battery.py::test_resumed_equals_uninterrupted_bit_for_bit",
        "core/test_kills.py::test_killed_and_resumed_equals_uninterrupted",
        "core/test_train.py::test_a_checkpoint_of_another_configuration_or_without_adam_is_refused",
        "core/test_checkpoints.py::test_a_checkpoint_that_lacks_a_file_is_refused_by_its_name",
    ],
    "packed equals separate in float64, gated by architecture, with a check on the first batch": [
        "core/test_logprobs.py::test_every_path_gives_the_definition_in_float64",
        "core/test_logprobs.py::test_gradients_of_packed_and_separate_rows_agree_in_float64",
        "core/test_logprobs.py::test_negative_control_without_the_mask_the_second_completion_is_wrong",
        "core/test_architectures.py::test_the_recognised_path_gives_the_definition",
        "core/test_architectures.py::test_what_is_not_recognised_is_stopped_on_the_first_batch",
    ],
}


@pytest.mark.parametrize("line", LINES)
def test_every_line_has_its_tests(line: str) -> None:
    assert LINES[line]
    for place in LINES[line]:
        file, _, name = place.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
        assert len(found) == 1, f"{place} is named for {line!r}, but is not there"
        assert any(isinstance(node, ast.Assert | ast.With) or _calls_assert(node) for node in ast.walk(found[0])), place


def _calls_assert(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr.startswith("assert_")


# ---------------------------------------------------------------- what is tested nowhere else


def test_ipo_per_token_has_a_label_of_its_own() -> None:
    labels = [variant_of(config_of("ipo", normalisation=chosen).model_dump(mode="json")) for chosen in ("sum", "mean")]
    assert labels == [None, "per token"]
    assert variant_of(config_of("dpo").model_dump(mode="json")) is None


def test_the_share_without_end_stands_beside_the_reward(tmp_path: Path) -> None:
    """Six tokens are too few for most summaries of the task: the evaluation says how many did not end."""
    recorder, _ = run(config_of("copg", steps=1), tmp_path)
    for evaluation in recorder.of("evaluation"):
        finished = [sample.finished for sample in evaluation.samples]
        assert evaluation.reward_mean is not None
        assert evaluation.unfinished_share == pytest.approx(1 - np.mean(finished))


def test_the_order_of_data_asks_no_random_state() -> None:
    before = [batch_rows(step, 20, 4, seed=7) for step in range(10)]
    torch.manual_seed(123)
    torch.rand(100)
    np.random.default_rng(5).random(10)
    assert [batch_rows(step, 20, 4, seed=7) for step in range(10)] == before


@pytest.mark.parametrize("path", [CodePath(packed=True, chunked=True), CodePath(packed=False, chunked=False)])
def test_of_bfloat16_weights_the_sum_is_still_exact(path: CodePath) -> None:
    """The head's logits come in bfloat16; normaliser and sum must not. Computed by hand from the same logits in float64, the
    float32 path is within 1e-4 nats; a bfloat16 log-softmax is off by more than a hundred times that."""
    model = tiny_llama().bfloat16()
    rows = lay_out(ROWS, packed=path.packed, pad=0)
    with torch.no_grad():
        ours = CompletionLogProbs(model, path)(rows)
        arguments = {"attention_mask": rows.attention_mask(), "position_ids": rows.position_ids}
        logits = model(input_ids=rows.input_ids, **arguments).logits.flatten(0, 1)
    assert (ours.dtype, logits.dtype) == (torch.float32, torch.bfloat16)
    present = rows.target >= 0
    sums = {}
    for dtype in (torch.float64, torch.bfloat16):
        picked = logits[rows.source[present]].to(dtype).log_softmax(-1).gather(1, rows.target[present][:, None])[:, 0]
        spread = torch.zeros(present.shape, dtype=dtype).masked_scatter(present, picked)
        sums[dtype] = spread.sum(-1).double()
    assert float((ours.double() - sums[torch.float64]).abs().max()) < 1e-4
    assert float((sums[torch.bfloat16] - sums[torch.float64]).abs().max()) > 1e-2


@pytest.mark.parametrize("algorithm", ["copg", "reward_model"])
def test_metrics_are_averages_over_the_whole_batch(algorithm: str, tmp_path: Path) -> None:
    """In one piece and one row at a time: those of the last micro-batch alone would be others."""
    found = []
    for budget in (16_384, 16):
        recorder, _ = run(config_of(algorithm, steps=1, micro_batch_tokens=budget), tmp_path / str(budget))
        found.append(recorder.of("metrics")[0].values)
    names = {"copg": ["loss", "reward_contrast", "log_ratio"], "reward_model": ["loss", "accuracy", "margin"]}[
        algorithm
    ]
    for name in names:
        assert found[1][name] == pytest.approx(found[0][name], abs=1e-5), name


def test_ties_are_neither_right_nor_trained_on_where_order_is_all() -> None:
    rewards = np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 3.0], [5.0, 5.0]])
    table = Table(ROWS, np.zeros((4, 2)), rewards)
    assert len(preferred_first(table)) == 2
    output = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    accuracy = objective_of(config_of("copg")).metrics(output, table, [0, 1, 2, 3])["accuracy"]
    assert accuracy <= 0.5, "two ties and one equal pair of log-ratios cannot count as right"
    assert accuracy == 0.5, "of the two pairs that the rewards order one is right"
    objective = objective_of(config_of("copg"))
    measured = validate_policy(objective, output, table)
    assert (measured["accuracy"], measured["ties"]) == (0.5, 1.0)
    assert measured["accuracy_stderr"] == pytest.approx(0.125**0.5), "of two rows"
    tied = Table(ROWS[:1], np.zeros((1, 2)), rewards[:1])
    assert "accuracy" not in validate_policy(objective, output[:1], tied) | objective.metrics(output[:1], tied, [0])

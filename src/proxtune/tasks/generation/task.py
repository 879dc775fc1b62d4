"""Text generation as a task: summaries, translations, and answers to instructions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxtune.config.recipe import DEFAULT_GENERATOR, Recipe
from proxtune.data.examples import Message, Pairs, Split
from proxtune.data.values import to_valid_unicode
from proxtune.errors import UserError
from proxtune.storage.events import AnswerPiece, Event, Prediction
from proxtune.tasks.base import BaselineRequest, ModelAtHand, TaskData, TaskTraits, TrainedModel
from proxtune.tasks.generation.dataset import GenerationData, own_data

if TYPE_CHECKING:
    import numpy as np

    from proxtune.memory.governor import Governor
    from proxtune.tasks.generation.decoding import GenerationSettings

_MOST_NEW_TOKENS = 512
_LONGER = 1.5  # an answer may be than the longest in the training rows
_WARM_UP_TOKENS = 2
_WINDOW = 32  # rows that are answered together, before the next are: answers come in order
_ALL_TOKENS = 1 << 40

TRAITS = TaskTraits(
    needs_gradients=True,
    long_rows=True,
    new_head=False,
    base_quality=0.895,  # chrF and ROUGE-L of SmolLM2 before training over after it (docs/generation.md)
    frozen_codes=True,
    usual_batch=16,  # an answer is many things to train on
    # In six minutes SmolLM2 came to a loss of 2.12 in 37 steps of 16 rows, 2.03 in 73 of 8, 2.11 in 151 of 4: docs/generation.md
    few_steps=150,
    least_batch=8,
    micro_batch_tokens=1024,
    traced_tokens=32,
    head_bytes=20_000_000,  # `objective.HEAD_BYTES`, which a test compares: this module brings no torch
    compares_base_model=True,
    can_be_sized=False,
    prediction_tokens=8192,  # prompts and answers together
    prediction_tokens_in_budget=2048,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedGenerator(TrainedModel):
    """With how its answers are generated."""

    settings: GenerationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """`--task summarize`, `translate` or `instruct`. The contract is `proxtune.tasks.base.Task`."""

    name: str
    default_model: str = DEFAULT_GENERATOR
    report_section: str = "generation"
    traits: TaskTraits = TRAITS

    def check(self, recipe: Recipe) -> None:
        from proxtune.tasks.generation.scoring.metrics import require_scores

        require_scores(self.name)

    def read(self, recipe: Recipe) -> Split[Pairs]:
        from proxtune.data.split import split_pairs

        pairs = self._read(recipe, recipe.data)
        learned = replace(recipe, text_column=pairs.text_column, label_column=pairs.label_column)
        if recipe.validation is not None:
            validation: Pairs | None = self._read(learned, recipe.validation, learned=True)
        else:
            validation = self._read_split(learned, recipe.data, "validation")
        return split_pairs(pairs, validation, recipe.seed)

    def read_evaluation(self, recipe: Recipe, file: str) -> Pairs:
        own = self._read_split(recipe, file, "test")
        return self._read(recipe, file, learned=True) if own is None else own

    def read_inputs(self, recipe: Recipe, texts: Sequence[str], file: str | None) -> Pairs:
        prompts: list[tuple[Message, ...]] = [(Message("user", to_valid_unicode(text)),) for text in texts]
        lines = list(range(1, len(texts) + 1))
        typed = Pairs(prompts=prompts, answers=[], source="the command line", lines=lines, columns=())
        if file is None:
            return typed
        return self._read(recipe, file, need_answers=False, learned=True).without_answers().followed_by(typed)

    def encode(self, recipe: Recipe, split: Split[Pairs], model_folder: Path) -> GenerationData:
        import numpy as np

        from proxtune.data.batching import padded
        from proxtune.models.generation_settings import left_over_notes
        from proxtune.models.loading import eos_token_ids, generator_config, other_head_notes
        from proxtune.models.tokenizer.loading import load_tokenizer
        from proxtune.models.tokenizer.padding import agree_on_padding
        from proxtune.models.tokenizer.vocabulary import check_tokens
        from proxtune.tasks.generation.encoding import (
            LONGEST,
            all_ids,
            fit_to_length,
            tokens_of,
            written_control_notes,
        )
        from proxtune.tasks.generation.languages import target_notes
        from proxtune.tasks.generation.prompting import begin_answers, instruction_for, prompt_format_for, ready_to_ask
        from proxtune.tasks.lengths import length_allowed, longest_row, useful_length

        tokenizer = load_tokenizer(model_folder)
        config = generator_config(model_folder, tokenizer, 512)
        instruction = recipe.instruction
        if instruction is None:
            instruction = instruction_for(self.name, split.train, config)
        notes = (
            *other_head_notes(config),
            *left_over_notes(model_folder),
            *agree_on_padding(tokenizer, config),
            *ready_to_ask(tokenizer, split, config.is_encoder_decoder),
        )
        notes += target_notes(tokenizer, instruction, (turns[-1].content for turns in split.train.prompts))
        begin_answers(tokenizer, config)
        prompt_format = prompt_format_for(self.name, instruction, tokenizer, config, eos_token_ids(model_folder))
        allowed = length_allowed(recipe, tokenizer, config, LONGEST)
        parts = (split.train, split.validation)
        tokens = [tokens_of(part, prompt_format, tokenizer) for part in parts]
        if recipe.knobs.max_length is None:
            lengths = np.concatenate([part.lengths for part in tokens])
            allowed = min(allowed, padded(useful_length(lengths, allowed)))
        train, validation = (
            fit_to_length(own, part, prompt_format, tokenizer, allowed) for own, part in zip(tokens, parts, strict=True)
        )
        check_tokens(tokenizer, config, *all_ids(train), *all_ids(validation))
        longest = longest_row(train, validation)
        longest_answer = padded(int(_LONGER * int(train.answer_lengths.max())))
        config = generator_config(model_folder, tokenizer, longest)
        agree_on_padding(tokenizer, config)
        begin_answers(tokenizer, config)
        return GenerationData(
            split=split,
            tokenizer=tokenizer,
            config=config,
            train=train,
            validation=validation,
            max_length=min(longest, allowed),
            prompt_format=prompt_format,
            new_tokens=max(16, min(_MOST_NEW_TOKENS, longest_answer)),
            notes=(*notes, *prompt_format.notes(tokenizer), *written_control_notes(parts, prompt_format)),
        )

    def describe(self, data: TaskData) -> dict[str, Any]:
        from proxtune.tasks.describe import row_facts
        from proxtune.tasks.generation.prompting import told_of_asking

        asked = own_data(data).prompt_format
        told = (
            (f"before each text stands {asked.instruction!r} (--instruction to change)",) if asked.instruction else ()
        )
        return {
            **row_facts(data, told), "instruction": asked.instruction, "new_tokens": own_data(data).new_tokens,
            "asked_as": asked.form, **told_of_asking(data.tokenizer, asked, data.split.train.answers),
        }  # fmt: skip

    def import_architecture(self, data: TaskData) -> None:
        from proxtune.models.loading import import_generator_code

        import_generator_code(data.config)

    def load_model(self, model_folder: Path, data: TaskData, seed: int, dtype: str = "fp32") -> Any:
        import torch

        from proxtune.models.generation_settings import generate_plainly
        from proxtune.models.loading import load_generator
        from proxtune.tasks.generation.prompting import forced_language

        torch.manual_seed(seed)  # adapters are drawn next
        model = load_generator(model_folder, data.config, dtype)
        generate_plainly(model, data.config, forced_language(data.tokenizer, own_data(data).prompt_format))
        return model

    def rows_of_results(self, data: TaskData, base_results: Mapping[str, Any] | None) -> np.ndarray:
        from proxtune.data.dataset import evenly_spaced_rows
        from proxtune.tasks.generation.validation_answers import VALIDATION_ANSWERS

        count = VALIDATION_ANSWERS if base_results is None else len(base_results["answers"])
        return evenly_spaced_rows(len(data.validation), count)

    def results(
        self, final: ModelAtHand, outputs: np.ndarray, base_results: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        from proxtune.data.dataset import select_rows
        from proxtune.tasks.generation.validation_answers import validation_answers

        validation, rows = final.data.validation, self.rows_of_results(final.data, base_results)
        metrics = validation.objective.score(outputs[rows], select_rows(validation, rows))
        return {"answers": validation_answers(final, len(rows)), "judged_metrics": metrics}

    def base_results(
        self, base: ModelAtHand, seconds_left: float, outputs: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, Any]:
        from proxtune.data.dataset import evenly_spaced_rows, select_rows
        from proxtune.tasks.generation.validation_answers import affordable_answers, validation_answers

        count = affordable_answers(base, seconds_left)
        began = time.monotonic()
        answers = validation_answers(base, count)
        seconds = time.monotonic() - began
        rows = evenly_spaced_rows(len(base.data.validation), count)
        judged = select_rows(base.data.validation, rows)
        return {"answers": answers, "metrics": judged.objective.score(outputs(rows), judged), "seconds": seconds}

    def lost_to_base(self, data: TaskData, results: Mapping[str, Any], base_results: Mapping[str, Any]) -> str | None:
        from proxtune.data.dataset import evenly_spaced_rows
        from proxtune.tasks.generation.scoring.gain import gain, is_worse

        asked, answers = data.split.validation, results["answers"]
        references = [asked.answers[row] for row in evenly_spaced_rows(len(asked), len(answers))]
        found = gain(self.name, answers, base_results["answers"], references)
        return (
            str(found) if is_worse(found, results["judged_metrics"]["loss"], base_results["metrics"]["loss"]) else None
        )

    def set_defaults(self, model: Any, data: TaskData) -> None:
        config, own = model.generation_config, own_data(data)
        config.do_sample, config.temperature, config.top_p, config.top_k = False, None, None, None
        config.max_new_tokens, config.pad_token_id = own.new_tokens, data.pad_id
        config.eos_token_id = list(own.prompt_format.stop_ids)

    def dry_run_results(self, final: ModelAtHand, micro_tokens: int) -> int:
        from proxtune.tasks.generation.validation_answers import try_largest_piece

        return try_largest_piece(final)

    def baselines(self, recipe: Recipe, asked: BaselineRequest) -> dict[str, Any]:
        from proxtune.data.dataset import evenly_spaced_rows
        from proxtune.data.split import select_pairs
        from proxtune.tasks.generation.scoring.samples import compare_answers

        assert asked.results is not None, "answers are compared"
        if asked.file is None:
            split = self.read(recipe)
            rows = evenly_spaced_rows(len(split.validation), len(asked.results["answers"]))
            validation = select_pairs(split.validation, rows.tolist())
            return compare_answers(self.name, split.train, validation, asked.results, asked.base_results)
        train, note = None, {}
        if self.name == "instruct":  # whose commonest answer is a baseline
            try:
                train = self.read(recipe).train
            except UserError as error:  # the training rows may be gone by now
                note = {"note": f"not every baseline: {error}"}
        rows_asked = self.read_evaluation(recipe, asked.file)
        return compare_answers(self.name, train, rows_asked, asked.results, asked.base_results) | note

    def load_trained(
        self,
        model_folder: Path,
        recipe: Recipe,
        rows: Pairs,
        *,
        result: Mapping[str, Any],
        model: Any = None,
        base: bool = False,
    ) -> TrainedGenerator:
        from proxtune.config.plan import plan_from_dict
        from proxtune.models.generation_settings import generate_plainly
        from proxtune.models.loading import eos_token_ids, generator_config, load_generator
        from proxtune.models.tokenizer.loading import load_tokenizer
        from proxtune.models.tokenizer.padding import agree_on_padding
        from proxtune.models.tokenizer.vocabulary import check_tokens
        from proxtune.tasks.generation.decoding import GenerationSettings
        from proxtune.tasks.generation.encoding import LONGEST, all_ids, encode_pairs
        from proxtune.tasks.generation.prompting import (
            ask_as_before,
            begin_answers,
            forced_language,
            prompt_format_for,
        )
        from proxtune.tasks.lengths import length_allowed

        tokenizer = load_tokenizer(model_folder)
        config = generator_config(model_folder, tokenizer, 512)
        told, ends = result["data"], eos_token_ids(model_folder)
        if base:  # the trained model's tokenizer was saved as it asked
            ask_as_before(tokenizer, told, config.is_encoder_decoder)
        agree_on_padding(tokenizer, config)
        begin_answers(tokenizer, config)
        config._attn_implementation = told.get("attention", config._attn_implementation)
        prompt_format = prompt_format_for(self.name, told["instruction"], tokenizer, config, ends)
        most = length_allowed(recipe, tokenizer, config, LONGEST)
        if told.get("truncated_rows"):  # rows are cut where those were that it learned from
            most = min(most, told["max_length"])
        encoded = encode_pairs(rows, prompt_format, tokenizer, most)
        check_tokens(tokenizer, config, *all_ids(encoded))
        if model is None:
            model = load_generator(
                model_folder, config, plan_from_dict(result["plan"]).loaded_dtype if base else "auto"
            )
            generate_plainly(model, config, forced_language(tokenizer, prompt_format))
        settings = GenerationSettings(
            tokenizer=tokenizer,
            pad_id=int(config.pad_token_id),
            stop_ids=prompt_format.stop_ids,
            new_tokens=told["new_tokens"],
            pads=told.get("pads", True),
            batches=told.get("batches", True),
        )
        return TrainedGenerator(model=model, rows=encoded, pad_id=settings.pad_id, settings=settings)

    def evaluation(
        self, trained: TrainedModel, outputs: np.ndarray, governor: Governor, micro_tokens: int
    ) -> dict[str, Any]:
        from proxtune.tasks.generation.decoding import generate_answers, tokens_in_room

        assert isinstance(trained, TrainedGenerator), "loaded by this task"
        model, rows, settings = trained.model, trained.rows, trained.settings
        tokens = tokens_in_room(model, rows, settings, micro_tokens, governor)
        answers = dict(generate_answers(model, rows, settings, "fp32", tokens, governor))
        return {"answers": [answers[row] for row in range(len(rows))]}

    def predict(
        self,
        trained: TrainedModel,
        rows: Pairs,
        governor: Governor,
        micro_tokens: int,
        outputs: Callable[[], np.ndarray],
        emit: Callable[[Event], None],
    ) -> None:
        import numpy as np

        from proxtune.data.dataset import select_rows
        from proxtune.tasks.generation.decoding import AnswerStreamer, generate_answers, tokens_in_room

        assert isinstance(trained, TrainedGenerator), "loaded by this task"
        model, data, settings = trained.model, trained.rows, trained.settings
        few = replace(
            settings, new_tokens=min(settings.new_tokens, _WARM_UP_TOKENS)
        )  # for the kernels' code to be in memory
        next(iter(generate_answers(model, select_rows(data, np.arange(1)), few, "fp32", micro_tokens, governor)), None)
        governor.hold()
        tokens = tokens_in_room(model, data, settings, micro_tokens, governor)
        streamer = None
        if len(data) == 1:
            streamer = AnswerStreamer(settings.tokenizer, lambda text: emit(AnswerPiece(text=text)))
        for begin in range(0, len(data), _WINDOW):
            window = np.arange(begin, min(begin + _WINDOW, len(data)))
            some = select_rows(data, window)
            answers = dict(generate_answers(model, some, settings, "fp32", tokens, governor, streamer))
            for row in window:
                emit(Prediction(text=rows.prompts[row][-1].content, answer=answers[int(row - begin)]))

    def _read(self, recipe: Recipe, source: str, need_answers: bool = True, learned: bool = False) -> Pairs:
        from proxtune.tasks.generation.reader import read_pairs

        label_column = recipe.label_column if need_answers else None
        return read_pairs(
            source, self.name, text_column=recipe.text_column, label_column=label_column, bad_rows=recipe.bad_rows,
            need_answers=need_answers, learned=learned,
        )  # fmt: skip

    def _read_split(self, recipe: Recipe, source: str, split: str) -> Pairs | None:
        from proxtune.tasks.generation.reader import read_pairs_split

        return read_pairs_split(
            source, split, self.name, text_column=recipe.text_column, label_column=recipe.label_column,
            bad_rows=recipe.bad_rows, learned=True,
        )  # fmt: skip


SUMMARIZE, TRANSLATE, INSTRUCT = (Generation(name=name) for name in ("summarize", "translate", "instruct"))

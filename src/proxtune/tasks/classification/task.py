"""Classification as a task: a text or a pair of texts in, one of the user's labels out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxtune.config.recipe import DEFAULT_MODEL, Recipe
from proxtune.data.examples import Examples, Split
from proxtune.errors import UserError
from proxtune.storage.events import Event, Prediction
from proxtune.tasks.base import BaselineRequest, ModelAtHand, TaskData, TaskTraits, TrainedModel

if TYPE_CHECKING:
    import numpy as np

    from proxtune.memory.governor import Governor
    from proxtune.tasks.classification.label_prompt import LabelPrompt

_MISTAKES_SHOWN = 25
_ADDED_END = "the tokenizer puts no end behind a text, which this classifier looks for: now it does"
_NO_QUESTION = (
    "no question follows the texts, as it does for other decoders: this tokenizer's code leaves no place for one"
)

TRAITS = TaskTraits()
# There is no layer of classes that could be fitted apart, or held to a size.
_WORD_TRAITS = replace(TRAITS, needs_gradients=True, validates_start=True, can_be_sized=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationData(TaskData):
    """With the question that a decoder is asked after each text."""

    prompt: LabelPrompt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedClassifier(TrainedModel):
    """With its classes, in the order of its logits."""

    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Classification:
    """`--task classify`. The contract is `proxtune.tasks.base.Task`."""

    name: str = "classify"
    default_model: str = DEFAULT_MODEL
    report_section: str = "classification"
    traits: TaskTraits = TRAITS

    def check(self, recipe: Recipe) -> None:
        if recipe.knobs.base_dtype is not None:
            raise UserError("--base-dtype is for tasks that generate text; leave it out")
        if recipe.knobs.stream:
            raise UserError("--stream is for tasks that generate text; leave it out")

    def read(self, recipe: Recipe) -> Split[Examples]:
        from proxtune.data.columns import PAIR_MARK
        from proxtune.data.split import split_examples
        from proxtune.tasks.classification.reader import read_examples, read_new_rows

        text, label = recipe.text_column, recipe.label_column
        examples = read_examples(recipe.data, text_column=text, label_column=label, bad_rows=recipe.bad_rows)
        apart, split = (recipe.data, "validation") if recipe.validation is None else (recipe.validation, None)
        validation = read_new_rows(
            apart, split=split, text_column=PAIR_MARK.join(examples.text_columns), label_column=examples.label_column,
            bad_rows=recipe.bad_rows,
        )  # fmt: skip
        return split_examples(examples, validation, recipe.seed)

    def read_evaluation(self, recipe: Recipe, file: str) -> Examples:
        from proxtune.tasks.classification.reader import read_examples, read_new_rows, read_split

        text, label, bad_rows = recipe.text_column, recipe.label_column, recipe.bad_rows
        if text is None or label is None:  # a run of an earlier version, which kept no names
            own = read_split(file, "test", text_column=text, label_column=label, bad_rows=bad_rows)
            if own is None:
                return read_examples(file, text_column=text, label_column=label, bad_rows=bad_rows)
            return own
        own = read_new_rows(file, split="test", text_column=text, label_column=label, bad_rows=bad_rows)
        rows = read_new_rows(file, text_column=text, label_column=label, bad_rows=bad_rows) if own is None else own
        assert rows is not None, "without a split there are rows, or a refusal"
        return rows

    def read_inputs(self, recipe: Recipe, texts: Sequence[str], file: str | None) -> Examples:
        from proxtune.tasks.classification.reader import read_new_rows, typed_rows

        typed = typed_rows(texts, recipe.text_column)
        if file is None:
            return typed
        found = read_new_rows(file, text_column=recipe.text_column, bad_rows=recipe.bad_rows)
        if not found:
            raise UserError(f"{file} has no rows; give a file with texts")
        return found.without_labels().followed_by(typed)

    def encode(self, recipe: Recipe, split: Split[Examples], model_folder: Path) -> ClassificationData:
        from proxtune.models.classifier_head import head_notes, keeps_head
        from proxtune.models.loading import classifier_config, longest_allowed
        from proxtune.models.post_processor import keeps_post_processor
        from proxtune.models.tokenizer.loading import load_tokenizer
        from proxtune.models.tokenizer.padding import agree_on_padding
        from proxtune.models.tokenizer.saving import set_option
        from proxtune.models.tokenizer.vocabulary import check_tokens
        from proxtune.models.word_classifier import answers_by_words, set_label_tokens
        from proxtune.tasks.classification.encoding import encode_parts, ready_for_texts
        from proxtune.tasks.classification.label_prompt import (
            append_question,
            fitting_prompt,
            has_language_head,
            prompt_for,
        )
        from proxtune.tasks.classification.objective import WORDS
        from proxtune.tasks.classification.reader import sorted_labels
        from proxtune.tasks.classification.row_end import append_end, needs_end
        from proxtune.tasks.lengths import length_allowed, longest_row

        labels = sorted_labels(split.train)
        tokenizer = load_tokenizer(model_folder)
        config = classifier_config(model_folder, labels, tokenizer, 512)
        notes = (*head_notes(model_folder, labels), *ready_for_texts(tokenizer, config, split))
        asks = has_language_head(config)
        allowed = length_allowed(recipe, tokenizer, config)
        prompt: LabelPrompt | None = None
        if asks and keeps_post_processor(tokenizer):
            prompt, told = fitting_prompt(labels, tokenizer, allowed)
            notes = (*notes, *told)
        elif asks:
            notes = (*notes, _NO_QUESTION)
        if prompt is not None:
            append_question(tokenizer, prompt)
        adds_end = not answers_by_words(config) and needs_end(tokenizer, config)
        if adds_end:
            append_end(tokenizer, config)
        train, validation = encode_parts(
            (split.train, split.validation), labels, tokenizer, allowed, cuts_outliers=recipe.knobs.max_length is None,
            has_types=_has_types(tokenizer, config),
        )  # fmt: skip
        check_tokens(tokenizer, config, train.ids, validation.ids)
        longest = longest_row(train, validation)
        config = classifier_config(model_folder, labels, tokenizer, longest)
        agree_on_padding(tokenizer, config)
        if answers_by_words(config):
            set_label_tokens(config, prompt_for(labels).words, tokenizer)
            train, validation = (replace(part, objective=WORDS) for part in (train, validation))
        taken = longest_allowed(tokenizer, config)
        if tokenizer.model_max_length > taken:  # plain transformers would run past the model's positions
            set_option(tokenizer, "model_max_length", taken)
        return ClassificationData(
            split=split,
            labels=tuple(labels),
            tokenizer=tokenizer,
            config=config,
            train=train,
            validation=validation,
            max_length=min(longest, allowed),
            prompt=prompt,
            knows_labels=prompt is not None or keeps_head(model_folder, labels),
            notes=(*notes, _ADDED_END) if adds_end else notes,
            traits=_WORD_TRAITS if answers_by_words(config) else None,
        )

    def describe(self, data: TaskData) -> dict[str, Any]:
        from proxtune.models.word_classifier import answers_by_words
        from proxtune.tasks.classification.encoding import mark_between
        from proxtune.tasks.describe import row_facts

        assert isinstance(data, ClassificationData), "encoded by this task"
        told = []
        mark = None if data.split.train.second_column is None else mark_between(data.tokenizer)
        if mark is not None:
            told.append(f"the texts of a pair are joined by {mark!r}: the tokenizer puts nothing between them")
        if data.prompt is not None:
            words = list(data.prompt.words)
            told.append(f"each text is followed by {data.prompt.question!r}; the labels' words are {words}")
        if answers_by_words(data.config):
            tokens = data.tokenizer.convert_ids_to_tokens(data.config.label_token_ids)
            told.append(
                f"transformers has no classifier class for {data.config.model_type}: it classifies by the next token, one of "
                f"{tokens}"
            )
        facts = row_facts(data, tuple(told))
        if answers_by_words(data.config):
            facts["label_token_ids"] = data.config.label_token_ids
            facts["is_encoder_decoder"] = bool(data.config.is_encoder_decoder)
        return facts

    def import_architecture(self, data: TaskData) -> None:
        from proxtune.models.loading import import_classifier_code

        import_classifier_code(data.config)

    def load_model(self, model_folder: Path, data: TaskData, seed: int, dtype: str = "fp32") -> Any:
        from proxtune.models.arguments import without_padding
        from proxtune.models.introspection import head_of
        from proxtune.models.loading import load_classifier
        from proxtune.models.word_classifier import answers_by_words
        from proxtune.tasks.classification.label_prompt import init_head_from_words, label_word_rows

        assert isinstance(data, ClassificationData), "encoded by this task"
        model = load_classifier(model_folder, data.config, seed, dtype)
        if data.prompt is not None and not answers_by_words(data.config):
            init_head_from_words(head_of(model)[1], label_word_rows(model, model_folder, data.tokenizer, data.prompt))
        return model if data.pads else without_padding(model)

    def rows_of_results(self, data: TaskData, base_results: Mapping[str, Any] | None) -> np.ndarray:
        import numpy as np

        return np.arange(len(data.validation))

    def results(
        self, final: ModelAtHand, outputs: np.ndarray, base_results: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        from proxtune.tasks.classification.metrics import confusion_facts

        data = final.data
        chosen = outputs.argmax(axis=1).tolist()
        return {
            **confusion_facts(data.validation.labels.tolist(), chosen, len(data.labels)),
            "mistakes": _mistakes(data.split.validation, data.labels, outputs, data.validation.labels),
        }

    def base_results(
        self, base: ModelAtHand, seconds_left: float, outputs: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, Any]:
        raise AssertionError("a new head knows nothing: the base model is not compared")

    def lost_to_base(self, data: TaskData, results: Mapping[str, Any], base_results: Mapping[str, Any]) -> str | None:
        return None  # a new head knows nothing

    def set_defaults(self, model: Any, data: TaskData) -> None:
        pass  # its config has the labels

    def dry_run_results(self, final: ModelAtHand, micro_tokens: int) -> int:
        return 0  # counting labels takes nothing

    def baselines(self, recipe: Recipe, asked: BaselineRequest) -> dict[str, Any]:
        from proxtune.tasks.classification.baselines import baseline_scores_on, run_baselines
        from proxtune.tasks.classification.reader import sorted_labels

        if asked.file is None:
            split = self.read(recipe)
            return {"baselines": run_baselines(split, sorted_labels(split.train), recipe.seed)}
        try:
            train = self.read(recipe).train
            rows = self.read_evaluation(recipe, asked.file)
            return {"baselines": baseline_scores_on(train, rows, sorted_labels(train))}
        except UserError as error:  # the training rows may be gone by now
            return {"baselines": {}, "note": f"no baselines: {error}"}

    def load_trained(
        self,
        model_folder: Path,
        recipe: Recipe,
        rows: Examples,
        *,
        result: Mapping[str, Any],
        model: Any = None,
        base: bool = False,
    ) -> TrainedClassifier:
        from transformers import AutoConfig

        from proxtune.models.arguments import without_padding
        from proxtune.models.loading import load_classifier
        from proxtune.models.tokenizer.loading import load_tokenizer
        from proxtune.models.tokenizer.vocabulary import check_tokens
        from proxtune.tasks.classification.encoding import encode
        from proxtune.tasks.lengths import length_allowed

        config = AutoConfig.from_pretrained(str(model_folder)) if model is None else model.config
        tokenizer = load_tokenizer(model_folder)
        labels = tuple(config.id2label.get(i, str(i)) for i in range(config.num_labels))
        facts = result.get("data") or {}  # a run of an earlier version kept less
        learned = facts.get("max_length")  # rows are cut where those were that it learned from
        allowed = length_allowed(recipe, tokenizer, config)
        most = allowed if learned is None else min(allowed, learned)
        encoded = encode(rows, labels, tokenizer, most, has_types=_has_types(tokenizer, config))
        check_tokens(tokenizer, config, encoded.ids)
        if model is None:
            config._attn_implementation = facts.get("attention", "eager")
            model = load_classifier(model_folder, config, recipe.seed, "auto")
            if not facts.get("pads", True):
                model = without_padding(model)
        return TrainedClassifier(model=model, rows=encoded, pad_id=config.pad_token_id, labels=labels)

    def evaluation(
        self, trained: TrainedModel, outputs: np.ndarray, governor: Governor, micro_tokens: int
    ) -> dict[str, Any]:
        from proxtune.tasks.classification.metrics import confusion_facts

        assert isinstance(trained, TrainedClassifier), "loaded by this task"
        chosen = outputs.argmax(axis=1).tolist()
        labels = trained.labels
        return {**confusion_facts(trained.rows.labels.tolist(), chosen, len(labels)), "labels": list(labels)}

    def predict(
        self,
        trained: TrainedModel,
        rows: Examples,
        governor: Governor,
        micro_tokens: int,
        outputs: Callable[[], np.ndarray],
        emit: Callable[[Event], None],
    ) -> None:
        from proxtune.tasks.classification.objective import probabilities

        assert isinstance(trained, TrainedClassifier), "loaded by this task"
        if len(rows) == 0:
            return
        for text, chances in zip(rows.whole_texts, probabilities(outputs()), strict=True):
            label = trained.labels[int(chances.argmax())]
            emit(Prediction(text=text, label=label, probabilities=tuple(map(float, chances))))


def _has_types(tokenizer: Any, config: Any) -> bool:
    """Whether the model is told the texts of a pair apart by the types of their tokens, as its tokenizer gives them."""
    return "token_type_ids" in tokenizer.model_input_names and int(getattr(config, "type_vocab_size", 0) or 0) > 1


def _mistakes(
    validation: Examples, labels: Sequence[str], logits: np.ndarray, truth: np.ndarray
) -> list[dict[str, object]]:
    """The wrong answers, the most confident first."""
    import numpy as np

    from proxtune.tasks.classification.objective import probabilities

    chances, texts = probabilities(logits), validation.whole_texts
    chosen = chances.argmax(axis=1)
    wrong = np.flatnonzero(chosen != truth)
    wrong = wrong[np.argsort(-chances[wrong, chosen[wrong]])][:_MISTAKES_SHOWN]
    return [
        {
            "text": texts[i][:500], "label": labels[truth[i]], "predicted": labels[chosen[i]],
            "confidence": round(float(chances[i, chosen[i]]), 4), "line": validation.lines[i],
        }
        for i in wrong
    ]  # fmt: skip


CLASSIFY = Classification()

"""make bench-architectures: every text architecture of transformers is trained, saved, and held against plain transformers.

Tiny random models of all model types that can be built from their config, each with tokenizers of several kinds, learn to
classify and to translate by the command line. The saved model is loaded by plain transformers in another process, and both must
say the same of twelve texts. What plain transformers itself cannot train (one forward, one backward) is left out; what is refused
must be so with status 2 and one sentence.

    --tokenizers template,byte-level,wordpiece,unigram
    --jobs classify,translate
    --names llama,t5         only these model types
    --rotate                 each model type with one of the tokenizers, the next with the next: a quarter of the time
    --share 1/4              the first quarter of them, in alphabetical order: a whole run takes a night
    --method auto
    --log FILE               one JSON line a run; those that it has already are not run again
    --forked                 the stages of a run as forks of one process that has its imports: three times faster
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import plain_transformers
from harness import HERE, table, write_record
from proxtune.errors import UserError
from proxtune.samples import movies_path, translations_path
from tiny_architectures import TOKENIZERS, model_of, plain_step, text_architectures, tokenizer_of

_ROWS, _ASKED = 48, 12
_LONGEST = 160  # letters of a text: rows are short, models are many
_SECONDS = 600  # after which a command is taken to hang
_TRANSLATION_ENDS = "\n\nTranslation:"  # of a prompt where there is no chat template


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one model: "agrees", "differs", "refused" (with status 2) or "failed", and the `words` that say how."""

    name: str
    role: str
    tokenizer: str
    job: str
    fate: str
    words: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a run came to: its status, what it said where it failed, its answers, and how plain transformers is to be asked."""

    status: int
    words: str = ""
    answers: tuple[str, ...] = ()
    asked: dict[str, Any] | None = None


Run = Callable[[Path, str, Path, str, list[str], str], Answered]  # data, job, model, folder, texts, method
Ask = Callable[[Path, dict[str, Any]], list[str]]  # a saved model, and what it is asked


def outcomes(
    places: Iterable[tuple[str, str, str]], jobs: Iterable[str], folder: Path, run: Run, ask: Ask, method: str = "auto"
) -> Iterator[Outcome]:
    """One for each (model type, role, tokenizer) and job that plain transformers can train."""
    files, texts = write_data(folder), asked_texts()
    for name, role, kind in places:
        model = folder / f"{name}-{kind}"
        try:
            write_model(model, name, role, kind)
        except Exception as error:  # of any kind that a config or a class raises
            words = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
            yield Outcome(name=name, role=role, tokenizer=kind, job="build", fate="not built", words=words)
            continue
        for job in jobs:
            if job == "translate" and role == "encoder":
                continue
            began, place = time.monotonic(), folder / f"{name}-{kind}-{job}"
            fate, words = _fate(run(files[job], job, model, str(place), texts, method), place / "model", ask)
            words = words.replace(f"{folder}/", "")  # where this run happened to put its models
            yield Outcome(
                name=name, role=role, tokenizer=kind, job=job, fate=fate, words=words, seconds=time.monotonic() - began
            )
            subprocess.run(["rm", "-rf", str(place)], check=False)
        subprocess.run(["rm", "-rf", str(model)], check=False)


def _fate(answered: Answered, model: Path, ask: Ask) -> tuple[str, str]:
    """Whether plain transformers says the same of the texts."""
    if answered.status == 2:
        return "refused", answered.words
    if answered.status != 0 or answered.asked is None:
        return "failed", answered.words
    try:
        plain = ask(model, answered.asked)
    except RuntimeError as error:
        return "failed", "plain transformers: " + _last(str(error))
    same = sum(one == other for one, other in zip(answered.answers, plain, strict=True))
    return ("agrees" if same == len(plain) else "differs"), f"{same} of {len(plain)}"


def asked_by_command(model: Path, asked: dict[str, Any]) -> list[str]:
    """What plain transformers says, in a process that has never heard of us. Raises RuntimeError with its last words."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(asked, file)
        file.flush()
        done = subprocess.run(
            [sys.executable, str(HERE / "plain_transformers.py"), str(model), file.name],
            capture_output=True, text=True, timeout=_SECONDS,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(_last(done.stderr))
    return list(json.loads(done.stdout.splitlines()[-1]))


def asked_in_a_fork(model: Path, asked: dict[str, Any]) -> list[str]:
    """The same in a fork of this process."""
    from proxtune.memory.fork import in_forked_child

    return list(in_forked_child(lambda: plain_transformers.answers(str(model), asked)))


def by_command(data: Path, job: str, model: Path, folder: str, texts: list[str], method: str) -> Answered:
    """Train and predict as a user types it."""
    common = [sys.executable, "-m", "proxtune"]
    train = [*common, "train", str(data), "--model", str(model), "--task", job, "--method", method, "--epochs", "1"]
    done = subprocess.run([*train, "--out", folder], capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        return Answered(status=done.returncode, words=_last(done.stderr))
    told = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))["data"]
    done = subprocess.run(
        [*common, "predict", folder, *texts, "--json"], capture_output=True, text=True, timeout=_SECONDS
    )
    if done.returncode:
        return Answered(status=1, words="predict: " + _last(done.stderr))
    rows = json.loads(done.stdout.splitlines()[-1])["predictions"]
    return Answered(status=0, answers=_said(rows), asked=_asked(told, texts, job))


def forked(data: Path, job: str, model: Path, folder: str, texts: list[str], method: str) -> Answered:
    """The same stages in forks of this process."""
    from proxtune.config.recipe import Knobs, Recipe
    from proxtune.memory.fork import in_forked_child
    from proxtune.pipeline.jobs import FitJob, PredictJob
    from proxtune.pipeline.stages import do
    from proxtune.storage.run_folder import write_recipe

    place = Path(folder)
    place.mkdir(parents=True)
    knobs = Knobs(epochs=1.0)
    write_recipe(
        Recipe(data=str(data), out=folder, task=job, model=str(model), method=method, knobs=knobs),
        place / "recipe.toml",
    )

    def fit() -> dict[str, Any]:
        return dict(do(FitJob(folder=place, started=time.monotonic()), lambda event: None, 0))

    def predict() -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        do(PredictJob(folder=place, texts=tuple(texts)), lambda event: told.append(event.as_dict()), 0)
        return told

    try:
        found = in_forked_child(fit)
        if found["status"] != "done":
            return Answered(status=2, words=str(found.get("message", found["status"])))
        (place / "result.json").write_text(json.dumps({"data": found["data"], "plan": found["plan"]}), encoding="utf-8")
        rows = [row for row in in_forked_child(predict) if "label" in row or "answer" in row]
    except UserError as error:
        return Answered(status=2, words=str(error))
    except RuntimeError as error:
        return Answered(status=1, words=_last(str(error)))
    return Answered(status=0, answers=_said(rows), asked=_asked(found["data"], texts, job))


def _said(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(str(row["answer"] if row.get("label") is None else row["label"]) for row in rows)


def _asked(told: dict[str, Any], texts: list[str], job: str) -> dict[str, Any]:
    """How plain transformers is asked the same, from what the result says of the rows, as the model card does."""
    if job == "classify":
        return {"texts": texts, "max_length": told["max_length"]}
    before, after = told["instruction"], ""
    if told["asked_as"] == "source":
        before = f"{before} " if before else ""
    else:
        before, after = (f"{before}\n\n" if before else ""), _TRANSLATION_ENDS
    return {
        "texts": texts,
        "form": told["asked_as"],
        "before": before,
        "after": after,
        "new_tokens": told["new_tokens"],
    }


def _last(words: str) -> str:
    lines = [line for line in words.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def write_model(folder: Path, name: str, role: str, kind: str) -> None:
    """The model and its tokenizer, once it has made a step in plain transformers. Raises whatever that does."""
    model = model_of(name, role)
    plain_step(model, role)
    model.save_pretrained(folder)
    _tokenizer(kind, role).save_pretrained(folder)


@cache
def _tokenizer(kind: str, role: str) -> Any:
    return tokenizer_of(kind, role, [row["text"] for row in _reviews()])


def write_data(folder: Path) -> dict[str, Path]:
    """A few short rows to learn from, by job."""
    files = {"classify": folder / "reviews.csv", "translate": folder / "translations.jsonl"}
    with files["classify"].open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows({"text": row["text"][:_LONGEST], "label": row["label"]} for row in _reviews()[:_ROWS])
    lines = translations_path("train").read_text(encoding="utf-8").splitlines()
    short = [line for line in lines if len(line) < 2 * _LONGEST][:_ROWS]
    files["translate"].write_text("\n".join(short) + "\n", encoding="utf-8")
    return files


def asked_texts() -> list[str]:
    """Texts to predict."""
    return [row["text"][:_LONGEST].strip() for row in _reviews()[_ROWS : _ROWS + _ASKED]]


def _reviews() -> list[dict[str, str]]:
    with movies_path("train").open(encoding="utf-8", newline="") as file:
        return [row for row, _ in zip(csv.DictReader(file), range(1500), strict=False)]


def _main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--tokenizers", default=",".join(TOKENIZERS))
    words.add_argument("--jobs", default="classify,translate")
    words.add_argument("--names", default="")
    words.add_argument("--rotate", action="store_true")
    words.add_argument("--share", default="1/1")
    words.add_argument("--method", default="auto")
    words.add_argument("--log", type=Path)
    words.add_argument("--forked", action="store_true")
    asked = words.parse_args()
    os.environ["HF_HUB_OFFLINE"], os.environ["TOKENIZERS_PARALLELISM"] = "1", "false"
    if asked.forked:
        import_everything()
    names, (part, parts) = asked.names.split(",") if asked.names else [], map(int, asked.share.split("/"))
    places = _places(asked.tokenizers.split(","), asked.rotate)
    chosen = list(dict.fromkeys(name for name, _, _ in places if not names or name in names))
    chosen = chosen[: -(-len(chosen) * part // parts)]
    places = [place for place in places if place[0] in chosen]
    found = _logged(asked.log)
    done = {(outcome.name, outcome.tokenizer) for outcome in found}
    places = [(name, role, kind) for name, role, kind in places if (name, kind) not in done]
    with tempfile.TemporaryDirectory() as folder:
        run, ask = (forked, asked_in_a_fork) if asked.forked else (by_command, asked_by_command)
        for outcome in outcomes(places, asked.jobs.split(","), Path(folder), run, ask, asked.method):
            line = f"{outcome.name} {outcome.tokenizer} {outcome.job}: {outcome.fate} {outcome.words}"
            sys.stderr.write(f"{line} ({outcome.seconds:.0f} s)\n")
            found.append(outcome)
            if asked.log is not None:
                with asked.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
    body, headline = _record(found)
    headline |= {"how": "forked" if asked.forked else "command", "method": asked.method}
    title = "Every text architecture: trained, and held against plain transformers"
    write_record("architectures-rotated" if asked.rotate else "architectures", title, body, headline)


def _places(kinds: list[str], rotates: bool) -> list[tuple[str, str, str]]:
    """(model type, role, tokenizer): each model with all kinds of tokenizers, or with one where they rotate."""
    models = text_architectures().items()
    if rotates:
        return [(name, role, kinds[place % len(kinds)]) for place, (name, role) in enumerate(models)]
    return [(name, role, kind) for name, role in models for kind in kinds]


def _logged(log: Path | None) -> list[Outcome]:
    """What a run before this one came to."""
    if log is None or not log.exists():
        return []
    return [Outcome(**json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]


def import_everything() -> None:
    """Once, for all forks."""
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # as the command has it
    import torch
    import transformers

    torch.set_num_threads(1)
    # The first thread of a fork that computes makes torch's pool anew; of two at a time one meets "Invalid thread pool!".
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(torch.get_num_threads()))
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _record(found: list[Outcome]) -> tuple[str, dict[str, Any]]:
    tried = [outcome for outcome in found if outcome.fate != "not built"]
    rows = []
    for role in ("encoder", "decoder", "encoder-decoder"):
        for job in ("classify", "translate"):
            own = [outcome for outcome in tried if (outcome.role, outcome.job) == (role, job)]
            fates = Counter(outcome.fate for outcome in own)
            if own:
                models = len({outcome.name for outcome in own})
                rows.append([role, job, str(models), str(len(own)), *(str(fates[fate]) for fate in _FATES)])
    parts = [
        f"Rows: {_ROWS}; texts that both are asked: {_ASKED}. A model that plain transformers cannot build or train is left out.",
        table(["models", "job", "architectures", "runs", *_FATES], rows),
    ]
    for fate in ("differs", "failed", "refused", "not built"):
        kinds: dict[tuple[str, str, str], list[str]] = {}  # of tokenizers with which a job of a model ends alike
        for outcome in found:
            if outcome.fate == fate:
                kinds.setdefault((outcome.name, outcome.job, outcome.words), []).append(outcome.tokenizer)
        if kinds:
            lines = [f"- {name}, {', '.join(some)}, {job}: {words}" for (name, job, words), some in kinds.items()]
            parts.append(f"## {fate.capitalize()}\n\n" + "\n".join(lines))
    fates = Counter(outcome.fate for outcome in tried)
    headline = {
        "architectures": len({outcome.name for outcome in tried}), "runs": len(tried),
        **{fate: fates[fate] for fate in _FATES},
    }  # fmt: skip
    return "\n\n".join(parts), headline


_FATES = ("agrees", "differs", "refused", "failed")

if __name__ == "__main__":
    _main()

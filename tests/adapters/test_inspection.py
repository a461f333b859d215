"""What came back from people: a row and a verdict for each, and nothing refused before it is shown."""

import json
import shutil
import zipfile

import torch
from adapter_files import make_trained, moved_from, tensors
from safetensors.torch import load_file, save_file

from housebrain_core.adapters.inspection import Inspection, inspect_adapters
from housebrain_core.config import InspectConfig
from housebrain_core.manifests import read_manifest, seal


def inspect(models, output=None) -> tuple[Inspection, str]:
    lines = []
    result = inspect_adapters(InspectConfig(models=models, output=output), report=lines.append)
    return result, "\n".join(map(str, lines))


def reseal(folder) -> None:
    about = {k: v for k, v in read_manifest(folder, "adapter").items() if k not in ("kind", "files", "housebrain")}
    (folder / "manifest.json").unlink()
    seal(folder, "adapter", **about)


def verdicts(result) -> dict[str, str]:
    return {row.name: "; ".join(row.verdict) for row in result.rows}


def test_the_table_shows_every_adapter_the_missing_split_and_two_figures(adapters, tmp_path):
    shutil.copytree(adapters[0], tmp_path / "again")
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        for path in adapters[2].iterdir():
            if path.is_file():
                archive.write(path, f"hb/{path.name}")
    result, text = inspect(
        [adapters[0], tmp_path / "again", tmp_path / "zipped.zip", tmp_path / "gone"], tmp_path / "o"
    )
    assert result.missing == (2,), text
    assert "missing splits: 2" in text
    found = verdicts(result)
    assert found["zipped"] == "" and "the same split" in found["again"] and "does not exist" in found["gone"]
    run = json.loads((adapters[0] / "run.json").read_text())
    assert "cosine: its direction" in text
    lines = text.splitlines()
    ends = {line.index(f"{row.validation_loss:.4f}") + 6 for line, row in zip(lines[1:4], result.rows, strict=False)}
    assert ends == {lines[0].index("val.") + 4}, "losses are aligned"
    assert result.rows[0].tokens == run["tokens"] and f"{run['tokens']:,}" in text
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "cosines.png",
        "inspection.json",
        "spectrum.png",
    ]


def test_epochs_are_of_those_planned_unless_steps_were(adapters, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in adapters[:2]]
    for steps, folder in zip((None, 3), copies, strict=True):
        run = json.loads((folder / "run.json").read_text())
        settings = run["settings"] | {"epochs": 2, "max_steps": steps}
        (folder / "run.json").write_text(json.dumps(run | {"epochs": 1.5, "settings": settings}))
        reseal(folder)
    assert [row.epochs for row in inspect(copies)[0].rows] == ["1.5 of 2", "1.5"]


def test_unfinished_nan_and_untrained_adapters_are_named(adapters, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in adapters]
    run = json.loads((copies[0] / "run.json").read_text()) | {
        "finished": False,
        "why_it_ended": "the time budget ended",
    }
    (copies[0] / "run.json").write_text(json.dumps(run))
    for folder, change in (
        (copies[1], lambda n, v: v * 0 if "lora_B" in n else v),
        (copies[2], lambda n, v: v * torch.nan),
    ):
        path = folder / "adapter_model.safetensors"
        save_file({name: change(name, value) for name, value in load_file(path).items()}, path)
    for folder in copies:
        reseal(folder)
    result, _ = inspect(copies)
    found = verdicts(result)
    assert "unfinished: the time budget ended" in found[copies[0].name]
    assert "untrained" in found[copies[1].name] and "NaN" in found[copies[2].name]


def test_one_adapter_and_none_at_all_are_inspected_too(adapters, tmp_path):
    assert verdicts(inspect(adapters[:1])[0]) == {adapters[0].name: ""}
    assert inspect([tmp_path / "gone"])[0].names == ()


def test_legs_and_starts_are_shown_and_the_odd_ones_named(tmp_path):
    place = {"plan": "one", "leg": 2, "legs": 3, "parent_sha256": "f" * 64}
    changes = [{}, {}, {"leg": 1, "parent_sha256": None}, {"parent_sha256": "e" * 64}, {"plan": "two"}]
    folders = [make_trained(tmp_path / f"hb-{n}", n, splits=5, **place | c) for n, c in enumerate(changes, 1)]
    result, text = inspect(folders)
    assert list(verdicts(result).values()) == [
        "",
        "",
        "another leg: the newest is leg 2 of 3",
        "another start: eeeeeeee; most started from ffffffff",
        "another plan: two; most were trained for one",
    ]
    assert "leg" in text.splitlines()[0] and "leg 2 of 3  ffffffff" in text and "leg 1 of 3  fresh" in text
    assert result.names == ("hb-1", "hb-2", "hb-4", "hb-5"), "an earlier leg is not compared with the newest"
    assert result.missing == (), "who belongs to a leg is known to its plan"


def test_adapters_trained_from_one_adapter_may_be_nearly_alike(tmp_path):
    values = tensors()
    nearly = moved_from(values, 1, size=5e-3)
    place = {"plan": "one", "leg": 2, "legs": 3, "parent_sha256": "f" * 64}
    folders = [make_trained(tmp_path / f"hb-{n}", n, v, **place) for n, v in enumerate((values, nearly), 1)]
    result, _ = inspect(folders)
    assert result.cosines[0][1] > 0.9999 and list(verdicts(result).values()) == ["", ""]

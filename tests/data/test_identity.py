"""A recording is known by its content: drawn splits, copies, and evaluation without the clips of the training."""

import base64
import csv
import json
import shutil
import time

import numpy as np
import pytest
import soundfile

import minast
from minast import train
from minast.checkpoint import load_state
from minast.datasets import content, duplicates, old_splits, open_dataset
from minast.datasets.clips import CODES
from tests.data.sounds import make, several, sound


def sides(data):
    """{content: split}"""
    return {content.digest(clip.path): clip.split for clip in data.clips}


@pytest.fixture
def copy(tones, tmp_path):
    return shutil.copytree(tones, tmp_path / "tones")


def test_a_fifth_of_each_class_exactly(tmp_path):
    make(tmp_path, [f"{k}/{i}.wav" for k, n in enumerate((1, 2, 3, 7, 8, 10, 13)) for i in range(n)])
    counts = open_dataset(str(tmp_path)).counts()
    assert counts["test"].tolist() == [0, 1, 1, 1, 2, 2, 3]
    assert counts["valid"].tolist() == [0, 0, 0, 1, 1, 2, 2]  # of the rest
    assert sum(counts.values()).tolist() == [1, 2, 3, 7, 8, 10, 13]


def test_names_and_order_do_not_matter(copy):
    before = sides(open_dataset(str(copy)))
    (copy / "low" / "0.wav").rename(copy / "low" / "zz.wav")
    (copy / "middle").rename(copy / "a")
    assert sides(open_dataset(str(copy))) == before
    assert sides(open_dataset(str(copy), seed=1)) != before


@pytest.mark.parametrize("seed", range(5))
def test_a_clip_more_or_less_moves_few_others(copy, seed):
    before = sides(open_dataset(str(copy), seed))
    sound(copy / "low" / "0a.wav")
    (copy / "high" / "3.wav").unlink()
    after = sides(open_dataset(str(copy), seed))
    assert sum(before[key] != after[key] for key in before.keys() & after.keys()) <= 4  # one of each class and part


def test_copies_stay_together_in_a_drawn_split(copy):
    for i in range(6):
        shutil.copy(copy / "low" / "5.wav", copy / "low" / f"copy{i}.wav")
    for seed in range(8):
        data = open_dataset(str(copy), seed)
        assert len({clip.split for clip in data.clips if "copy" in clip.path or "low/5" in clip.path}) == 1
        assert data.counts()["test"][1] == 3 and not duplicates.crossing(data, duplicates.groups(data))
        (said,) = duplicates.sentences(data, duplicates.groups(data))
        assert said.startswith("6 files are copies of others") and "kept together in the split" in said


def test_two_copies_and_nothing_else_are_trained_on(tmp_path):
    make(tmp_path, [*several("a/*.wav"), "b/0.wav", "b/1.wav = b/0.wav"])
    assert open_dataset(str(tmp_path)).counts()["train"].tolist() == [2, 2]


def test_copies_across_a_given_split_are_named(tmp_path, command):
    files = [f"{split}/{name}/{i}.wav" for split in ("train", "test") for name in ("cat", "dog") for i in range(2)]
    make(tmp_path / "d", [*files, "test/cat/again.wav = train/cat/1.wav", "train/dog/cat.wav = train/cat/0.wav"])
    data = open_dataset(str(tmp_path / "d"))
    crossing, torn = duplicates.sentences(data, duplicates.groups(data))[:2]
    assert crossing.startswith("1 held-out clip is a copy of a training clip") and "again.wav" in crossing
    assert "'cat', 'dog'" in torn
    status, _, err = command("train", tmp_path / "d", "--out", tmp_path / "run", "--epochs", 1, "--depth", 1)
    assert status == 0 and "1 held-out clip is a copy of a training clip" in err


def test_the_same_file_twice_in_a_table(tmp_path):
    make(tmp_path, ["low/a.wav", "low/b.wav", "link.wav -> low/b.wav", "via -> low"])
    for again in ("./low/a.wav", "low/../low/a.wav", "via/a.wav", str(tmp_path / "low" / "a.wav"), r"low\a.wav"):
        make(tmp_path, [f"m.csv: file,labels\nlow/a.wav,x\nlow/b.wav,y\n{again},y"])
        with pytest.raises(minast.Error, match=r"line 4.*is already in line 2"):
            open_dataset(str(tmp_path / "m.csv"))
    make(tmp_path, ["m.csv: file,labels\nlow/a.wav,x\nlow/b.wav,y\nlink.wav,y"])
    with pytest.raises(minast.Error, match=r"line 4: link\.wav is already in line 3"):
        open_dataset(str(tmp_path / "m.csv"))


# -- evaluation ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tones, tmp_path_factory):
    """A run on a copy of `tones`, and that copy."""
    folder = tmp_path_factory.mktemp("identity")
    shutil.copytree(tones, folder / "tones")
    assert train.main([str(folder / "tones"), "--out", str(folder / "run"), "--depth", "1", "--epochs", "1"]) == 0
    return folder / "run" / "best.npz"


def scored(command, model, data, *flags):
    """evaluate -> its JSON, the scored files, what it said"""
    out = model.parent.parent / f"report{time.monotonic_ns()}"
    status, text, err = command("evaluate", model, data, "--json", "--out", out, *flags)
    assert status == 0, err
    with open(out / "scores.csv", newline="") as f:
        return json.loads(text), [row["file"] for row in csv.DictReader(f)], err


def test_training_clips_are_never_tested(model, tones, tmp_path, command):
    trained = {content.digest(c.path) for c in open_dataset(str(tones)).of("train")}
    result, files, err = scored(command, model, tones)
    assert result["clips"] == 6 and result["trained_on"] == 0 and err == ""
    data = shutil.copytree(tones, tmp_path / "changed")
    for path in sorted(data.rglob("*.wav"))[::2]:
        path.rename(path.with_name(f"x{path.name}"))
    sound(data / "low" / "new.wav", 0.5)
    (data / "high" / "3.wav").unlink()
    for seed in range(20):  # one that holds out some of them, and some others
        left_out = sum(content.digest(clip.path) in trained for clip in open_dataset(str(data), seed).of("test"))
        if seed and not 0 < left_out < 6:
            continue
        result, files, err = scored(command, model, data, *(["--seed", seed] if seed else []))
        assert len(files) == result["clips"] and not trained & {content.digest(file) for file in files}
        assert result["trained_on"] == left_out
        verb = "is" if left_out == 1 else "are"
        assert not left_out or f"note: {left_out} of 6 clips of the test split {verb} left out: the model was" in err
        if seed:
            break
    assert left_out


def test_a_given_test_split_is_cleaned_too(model, tones, tmp_path, command):
    data = open_dataset(str(tones))
    k = data.clips.splits.tolist().index(CODES["train"])
    rows = [f"{c.path},{data.labels[c.labels[0]]},test" for c in data.clips]
    (tmp_path / "m.csv").write_text("\n".join(["file,labels,split", *rows]))
    result, files, err = scored(command, model, tmp_path / "m.csv")
    assert result["clips"] == len(files) == 12 and result["trained_on"] == 18
    assert "18 of 30 clips of the test split are left out: the model was trained on them" in err
    result, files, err = scored(command, model, tones, "--split", "all")
    assert result["clips"] == 30 and "the model was trained on 18 of these 30 clips" in err
    assert scored(command, model, tones, "--split", "train")[0]["clips"] == 18
    (tmp_path / "m.csv").write_text("\n".join(["file,labels,split", *rows[k : k + 1]]))
    status, _, err = command("evaluate", model, tmp_path / "m.csv")
    assert status == 2 and "trained on every clip of the test split: there is nothing to test" in err


def test_a_checkpoint_of_before_says_that_it_cannot_check(model, tones, tmp_path, command):
    old, info = minast.load(model)
    notes = {key: value for key, value in info.notes.items() if key not in ("trained_on", "drawn_by")}
    minast.save(tmp_path / "old.npz", old, info.labels, info.features, info.loss, info.history, notes)
    status, text, err = command("evaluate", tmp_path / "old.npz", tones, "--json")
    assert (
        status == 0 and "does not say which clips it was trained on" in err and json.loads(text)["trained_on"] is None
    )
    clips = open_dataset(str(tones), drawn_by="position").of("test")
    assert json.loads(text)["clips"] == len(clips) == 6
    minast.save(tmp_path / "bad.npz", old, info.labels, info.features, notes={"trained_on": "%%"})
    status, _, err = command("evaluate", tmp_path / "bad.npz", tones)
    assert status == 2 and "the checkpoint's list of training clips is damaged" in err


def test_what_version_0_1_held_out():
    """Four of these clips, by place and seed, as its code drew them."""
    clips = [minast.datasets.Clip(f"{i}.wav", (i % 2,)) for i in range(20)]
    test = [clip.name for clip in old_splits.draw_by_position(clips, 3) if clip.split == "test"]
    expected = []
    for k in (0, 1):
        expected += [int(i) for i in np.random.default_rng([3, k + 1]).permutation(np.arange(k, 20, 2))[:2]]
    assert test == [f"{i}.wav" for i in sorted(expected)]


def test_fine_tuning_holds_out_what_the_weights_have_not_seen(model, tones, tmp_path, command):
    seen = {content.digest(c.path) for c in open_dataset(str(tones)).of("train")}
    flags = ["--epochs", 1, "--batch", 6, "--seed", 5, "--pretrained", model, "--out", tmp_path / "run"]
    assert command("train", tones, *flags)[0] == 0
    drawn = open_dataset(str(tones), 5).of("test")
    assert seen & {content.digest(c.path) for c in drawn}  # with seed 5 alone
    info = minast.load(tmp_path / "run" / "best.npz")[1]
    assert set(content.trained_on(info.notes)) >= set(content.shortened(seen))
    before = content.trained_before(info.notes)
    test = open_dataset(str(tones), 5, trained_on=before).of("test")
    assert len(test) == 6 and not seen & {content.digest(c.path) for c in test}
    result, files, _ = scored(command, tmp_path / "run" / "best.npz", tones)
    assert result["trained_on"] == 0 and not seen & {content.digest(file) for file in files} and len(files) == 6
    assert train.main(["--resume", str(tmp_path / "run")]) == 0  # the same split again


def test_a_converted_checkpoint_still_knows_its_clips(model, tones, tmp_path, command):
    status, _, _ = command("convert", model, tmp_path / "c.npz", "--frames", 96)
    assert status == 0
    before, after = (minast.load(path)[1].notes for path in (model, tmp_path / "c.npz"))
    assert set(content.trained_on(after)) == set(content.trained_on(before))
    _, _, err = command("evaluate", tmp_path / "c.npz", tones, "--split", "all")
    assert "the model was trained on 18 of these 30 clips" in err
    assert "c.npz was there already" in command("convert", model, tmp_path / "c.npz", "--frames", 96)[2]


def test_parts_of_files_that_were_trained_on_are_known(model, copy, command):
    """A table of events in the sounds that the model has heard whole, and in others."""
    rows = [f"{path},0,0.2,{path.parent.name}\n" for path in sorted(copy.rglob("*.wav"))]
    (copy / "events.csv").write_text("file,start,end,label\n" + "".join(rows))
    status, text, err = command("evaluate", model, copy / "events.csv", "--split", "all", "--json")
    assert status == 0 and "the model was trained on 18 of these 30 clips" in err
    (copy / "events.csv").write_text("file,start,end,label,split\n" + "".join(row[:-1] + ",test\n" for row in rows))
    status, text, err = command("evaluate", model, copy / "events.csv", "--json")
    assert status == 0 and "18 of 30 clips of the test split are left out" in err
    assert json.loads(text)["clips"] == 12
    known = content.trained_on(minast.load(model)[1].notes)
    (copy / "events.csv").write_text("file,start,end,label\n" + "".join(rows))
    for seed in range(3):  # those who start from this model
        test = open_dataset(str(copy / "events.csv"), seed, trained_on=known).of("test", "valid")
        assert len(test) and not content.known_to(test, known).any()


def test_weights_that_know_a_held_out_part_s_file_are_told(model, copy, tmp_path, command):
    """At the start of a training from them, where the split is given."""
    rows = [
        f"{path},0,0.2,{path.parent.name},{'test' if int(path.stem) % 2 else 'train'}\n"
        for path in sorted(copy.rglob("*.wav"))
    ]
    (copy / "events.csv").write_text("file,start,end,label,split\n" + "".join(rows))
    flags = ("--pretrained", model, "--epochs", 1, "--out", tmp_path / "run")
    status, _, err = command("train", copy / "events.csv", *flags)
    known = content.trained_on(minast.load(model)[1].notes)
    odd = [content.digest(path) for path in sorted(map(str, copy.rglob("*.wav"))) if int(path[-5]) % 2]
    count = int(content.among(odd, known).sum())
    assert status == 0 and count > 1 and f"was trained on {count} of 15 held-out clips: results on them are too" in err


def test_drawn_folds_are_not_forced_upon_other_data(tmp_path, command):
    """A model of --folds 3, asked about data with a split or with folds of their own, and about its own data."""
    make(tmp_path / "d", [f"{name}/{i}.wav" for name in ("cat", "dog") for i in range(6)])
    flags = ["--folds", 3, "--fold", 2, "--depth", 1, "--epochs", 1, "--out", tmp_path / "run"]
    assert command("train", tmp_path / "d", *flags)[0] == 0
    model = tmp_path / "run" / "best.npz"
    result, _, err = scored(command, model, tmp_path / "d")
    assert result["clips"] == 4 and err == ""
    make(
        tmp_path / "split",
        [f"{s}/{name}/{s}{i}.wav" for s in ("train", "test") for name in ("cat", "dog") for i in range(5)],
    )
    result, files, err = scored(command, model, tmp_path / "split")
    assert result["clips"] == 10 and all("test" in file for file in files) and "not used" not in err
    make(
        tmp_path / "own",
        [f"fold{k}/{name}/own{k}{i}.wav" for k in range(1, 6) for name in ("cat", "dog") for i in range(2)],
    )
    result, files, _ = scored(command, model, tmp_path / "own")
    assert result["clips"] == 4 and all("fold2" in file for file in files)


@pytest.mark.parametrize("skip", [False, True])
def test_a_file_that_a_table_names_and_that_is_gone_is_told(model, copy, command, skip):
    rows = [f"{path},{path.parent.name},test\n" for path in sorted(copy.rglob("*.wav"))]
    rows.append(f"{copy / 'gone.wav'},low,test\n")
    (copy / "m.csv").write_text("file,labels,split\n" + "".join(rows))
    flags = ("--split", "all", "--json", *(["--skip-bad"] if skip else []))
    status, text, err = command("evaluate", model, copy / "m.csv", *flags)
    assert status == (0 if skip else 2) and "gone.wav" in err
    assert not skip or json.loads(text)["clips"] == 30


def test_folds_of_the_built_in_sounds_are_drawn_again(tmp_path, command, monkeypatch):
    """They have a split of their own, and no files by which they could be recognised."""
    from minast.datasets import builtin

    monkeypatch.setattr(builtin, "COUNTS", {"train": 40, "test": 20})
    flags = ["--folds", 3, "--fold", 2, "--depth", 1, "--epochs", 1, "--out", tmp_path / "run"]
    assert command("train", "builtin", *flags)[0] == 0
    result, _, _ = scored(command, tmp_path / "run" / "best.npz", "builtin")
    assert result["fold"] == 2 and result["clips"] == 20


def test_folds_that_were_drawn_in_place_of_a_split_are_drawn_again(tmp_path, command):
    make(
        tmp_path / "d",
        [f"{s}/{name}/{s}{i}.wav" for s in ("train", "test") for name in ("cat", "dog") for i in range(5)],
    )
    flags = ["--folds", 4, "--fold", 1, "--depth", 1, "--epochs", 1, "--out", tmp_path / "run"]
    assert command("train", tmp_path / "d", *flags)[0] == 0
    result, files, err = scored(command, tmp_path / "run" / "best.npz", tmp_path / "d")
    assert 4 <= result["clips"] <= 6 and {"train" in file for file in files} == {True, False}
    assert "left out" not in err


def test_fold_0_can_be_asked_for(tmp_path, command):
    make(tmp_path, [f"{name}{i}.wav" for name in ("cat", "dog") for i in range(6)])
    rows = [f"{name}{i}.wav,{name},{i % 3}\n" for name in ("cat", "dog") for i in range(6)]
    (tmp_path / "m.csv").write_text("file,labels,fold\n" + "".join(rows))
    flags = ["--depth", 1, "--epochs", 1, "--out", tmp_path / "run"]
    assert command("train", tmp_path / "m.csv", "--fold", 0, *flags)[0] == 0
    model = tmp_path / "run" / "best.npz"
    assert scored(command, model, tmp_path / "m.csv", "--fold", "0")[0]["clips"] == 4
    assert command("evaluate", model, tmp_path / "m.csv", "--fold", -1)[0] == 2


def test_a_clip_that_only_one_model_can_use_is_left_out(tmp_path, command):
    """1102 samples at 44.1 kHz are 400 at 16 kHz, which is a frame, and 1199 at 48 kHz, which is none."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(5):
            soundfile.write(tmp_path / "d" / name / f"{i}.wav", rng.uniform(-0.3, 0.3, 4410), 44100)
    soundfile.write(tmp_path / "d" / "cat" / "short.wav", rng.uniform(-0.3, 0.3, 1102), 44100)
    models = []
    for rate in (16000, 48000):
        model = minast.AST(minast.ModelConfig.preset("nano", classes=2, depth=1, frames=16), seed=0)
        models.append(tmp_path / f"{rate}.npz")
        minast.save(models[-1], model, ["cat", "dog"], minast.FeatureConfig(frames=16, rate=rate))
    for order in (models, models[::-1]):
        status, text, err = command("evaluate", *order, tmp_path / "d", "--split", "all", "--skip-bad", "--json")
        assert status == 0 and json.loads(text)["clips"] == 10, err
        assert command("evaluate", *order, tmp_path / "d", "--split", "all")[0] == 2


def test_folds_are_those_of_the_training(tmp_path, command):
    files = [f"fold{k}/{name}/{i}.wav" for k in (1, 2, 3) for name in ("cat", "dog") for i in range(3)]
    make(tmp_path / "d", files)
    flags = ["--fold", 2, "--depth", 1, "--epochs", 1, "--out", tmp_path / "run"]
    assert command("train", tmp_path / "d", *flags)[0] == 0
    model = tmp_path / "run" / "best.npz"
    result, scored_files, err = scored(command, model, tmp_path / "d")
    assert result["clips"] == 6 and all("fold2" in file for file in scored_files) and err == ""
    status, _, err = command("evaluate", model, tmp_path / "d", "--fold", 1)
    assert status == 2 and "trained on every clip of the test split" in err
    assert load_state(tmp_path / "run" / "last.npz")["settings"]["fold"] == 2
    assert train.main(["--resume", str(tmp_path / "run")]) == 0


# -- the list in a checkpoint ---------------------------------------------------------------------------------------


def test_two_million_clips_are_a_text_of_21_mb():
    numbers = content.distinct(np.random.default_rng(0).integers(0, 2**63, 2_000_000, np.uint64))
    began = time.process_time()
    text = content.pack(numbers)
    assert np.array_equal(content.unpack(text), numbers) and len(text) < 21.4e6
    assert time.process_time() - began < 5
    some = [int(n).to_bytes(8, "little") + bytes(24) for n in numbers[::200_000]]
    assert content.among([*some, None, bytes(32), b"\1" * 32], numbers).tolist() == [True] * 10 + [False] * 3


def test_packing():
    values = [bytes([i]) * 32 for i in (3, 1, 2, 3)]
    text = content.pack(content.shortened([*values, None]))
    assert len(base64.b64decode(text)) == 24 and content.unpack(text).tolist() == sorted(content.unpack(text).tolist())
    assert content.trained_on({}) is None and content.trained_on({"trained_on": ""}).tolist() == []
    for bad in ("abc", 3, "AAAA", ["x"]):
        with pytest.raises(minast.Error, match="damaged"):
            content.unpack(bad)


def test_a_changed_file_has_another_digest(tmp_path):
    path = sound(tmp_path / "a.wav")
    first = content.digest(str(path))
    soundfile.write(path, np.zeros(1600), 16000)
    assert content.digest(str(path)) != first
    (tmp_path / "empty.wav").touch()
    assert content.digests([str(tmp_path / "empty.wav"), str(tmp_path / "none"), None]) == [None] * 3

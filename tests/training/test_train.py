"""Training as a program: it learns, it stops, it goes on bit for bit, and it says what is wrong."""

import json
import os
import signal

import numpy as np
import pytest

import minast
from minast import optim, train
from minast.checkpoint import load_state
from minast.config import TrainConfig
from minast.training import batches
from tests.conftest import TINY_RUN
from tests.emulated import needs_emulator

EXACT = ("epoch", "lr", "train_loss", "train_top1", "valid_loss", "accuracy", "mAP", "AUC")


def history(folder):
    return [{name: row[name] for name in EXACT} for row in minast.load(folder / "last.npz")[1].history]


def test_it_learns_and_leaves_what_it_promises(trained, tones, command):
    assert sorted(p.name for p in trained.iterdir()) == [
        "best.npz",
        "confusion.png",
        "curves.png",
        "history.csv",
        "last.npz",
        "report.html",
        "report.json",
        "scores.npz",
    ]
    _, info = minast.load(trained / "best.npz")
    assert info.labels == ["high", "low", "middle"] and info.head == "softmax"
    assert info.features.frames == 48 and info.features.window == "hamming"
    rows = history(trained)
    assert [row["epoch"] for row in rows] == [1, 2, 3] and rows[-1]["accuracy"] == 1.0
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 2
    status, out, _ = command("evaluate", trained / "best.npz", tones, "--json")
    assert status == 0 and json.loads(out)["accuracy"] == 1.0


def test_overfits_eight_clips():
    """A 12-layer model drives the loss of 8 random clips with random labels towards zero."""
    rng = np.random.default_rng(0)
    config = minast.ModelConfig(dim=24, heads=3, mel_bins=32, frames=36, classes=4)
    x, y = rng.standard_normal((8, 36, 32)).astype(np.float32), rng.integers(0, 4, 8)
    model = minast.AST(config, seed=1)
    adam = optim.Adam(model.w.flat)
    losses = []
    for _ in range(60):
        model.zero_grad()
        losses.append(model.loss_and_grad(x, y, "ce")[0])
        optim.clip_gradient(model.dw.flat, 1.0)
        adam.step(model.dw.flat, 2e-3)
    assert 1.0 < losses[0] < 2.5 and losses[-1] < 0.02


def test_seed_fixes_everything(tones, trained, tmp_path):
    assert train.main([str(tones), "--out", str(tmp_path / "a"), *TINY_RUN]) == 0
    assert history(tmp_path / "a") == history(trained)
    assert train.main([str(tones), "--out", str(tmp_path / "b"), *TINY_RUN, "--seed", "1"]) == 0
    assert history(tmp_path / "b") != history(trained)


@pytest.mark.parametrize("stop_at", [2, 4, 5])
def test_resume_bit_for_bit(tones, trained, tmp_path, stop_at, monkeypatch, capsys):
    """Stopped in the middle of an epoch, or at its end, and resumed: every number as in the run that never stopped."""
    out, taken = tmp_path / "run", []
    step = optim.Adam.step

    def counted(self, g, lr):
        step(self, g, lr)
        taken.append(lr)
        if len(taken) == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optim.Adam, "step", counted)
    assert train.main([str(tones), "--out", str(out), *TINY_RUN]) == 130
    assert f"--resume {out}" in capsys.readouterr().out
    state = load_state(out / "last.npz")
    assert state["counters"]["step"] == stop_at == int(state["t"])
    assert train.main(["--resume", str(out)]) == 0
    assert len(taken) == 12
    assert history(out) == history(trained)
    assert np.array_equal(minast.load(out / "last.npz")[0].w.flat, minast.load(trained / "last.npz")[0].w.flat)


def test_patchout_and_freeze_train_what_is_left(tones, tmp_path, monkeypatch):
    """Frozen weights are the first ones to the bit; the encoder sees half of the patches; a resumed run is the same."""
    flags, seen = [*TINY_RUN, "--patchout", "0.5", "--freeze", "1", "--head-lr", "2"], []
    real, step = minast.AST.loss_and_grad, optim.Adam.step

    def noting(self, *args, keep=None, **options):
        seen.extend([] if keep is None else [keep])  # the estimate of the time has none
        return real(self, *args, keep=keep, **options)

    def stopping(self, g, lr):
        step(self, g, lr)
        if self.t == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(minast.AST, "loss_and_grad", noting)
    assert train.main([str(tones), "--out", str(tmp_path / "a"), *flags]) == 0
    model, _ = minast.load(tmp_path / "a" / "last.npz")
    assert len(seen) == 12 and len({keep.tobytes() for keep in seen}) == 12
    assert {keep.shape[1] for keep in seen} == {(model.config.tokens - 1) // 2}
    fresh = minast.AST(model.config, seed=minast.TrainConfig().seed)
    same = {name for name in model.w if np.array_equal(model.w[name], fresh.w[name])}
    assert same == {name for name in model.w if not name.startswith(("norm.", "mlp_head.", "blocks.1."))}
    monkeypatch.setattr(optim.Adam, "step", stopping)
    assert train.main([str(tones), "--out", str(tmp_path / "b"), *flags]) == 130
    assert train.main(["--resume", str(tmp_path / "b")]) == 0
    assert np.array_equal(minast.load(tmp_path / "b" / "last.npz")[0].w.flat, model.w.flat)


def test_resume_with_augmentation(tones, tmp_path, monkeypatch):
    flags = [
        *TINY_RUN,
        "--mixup",
        "0.5",
        "--roll",
        "4",
        "--freq-mask",
        "20",
        "--time-mask",
        "8",
        "--noise",
        "--gain",
        "1",
    ]
    assert train.main([str(tones), "--out", str(tmp_path / "a"), *flags]) == 0
    step = optim.Adam.step

    def stopping(self, g, lr):
        step(self, g, lr)
        if self.t == 7:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optim.Adam, "step", stopping)
    assert train.main([str(tones), "--out", str(tmp_path / "b"), *flags]) == 130
    assert train.main(["--resume", str(tmp_path / "b")]) == 0
    assert history(tmp_path / "a") == history(tmp_path / "b")


def test_non_finite_loss_names_the_step(tones, tmp_path, monkeypatch, command):
    real = batches.training_batch

    def poisoned(mels, targets, chosen, features, config, epoch, step, **options):
        x, y = real(mels, targets, chosen, features, config, epoch, step, **options)
        if (epoch, step) == (1, 1):
            x[0, 0, 0] = np.nan
        return x, y

    monkeypatch.setattr(batches, "training_batch", poisoned)
    with np.errstate(invalid="ignore"):
        status, _, err = command("train", tones, "--out", tmp_path / "run", *TINY_RUN)
    assert status == 2 and "step 6 (epoch 2): the loss is nan" in err
    assert np.isfinite(minast.load(tmp_path / "run" / "last.npz")[0].w.flat).all()


def test_several_labels_a_clip(tones, tmp_path):
    """A manifest with semicolons: BCE and mAP are chosen without being asked for."""
    rows = ["file,labels"]
    for path in sorted(tones.rglob("*.wav")):
        rows.append(f"{path},{path.parent.name};{'even' if int(path.stem) % 2 == 0 else 'odd'}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    assert train.main([str(tmp_path / "m.csv"), "--out", str(tmp_path / "run"), *TINY_RUN]) == 0
    _, info = minast.load(tmp_path / "run" / "best.npz")
    assert info.head == "sigmoid" and "accuracy" not in info.history[0] and info.history[-1]["mAP"] > 0.5
    assert (tmp_path / "run" / "average_precision.png").stat().st_size > 1000
    with pytest.raises(minast.Error, match="several labels"):
        train.main([str(tmp_path / "m.csv"), "--out", str(tmp_path / "x"), "--loss", "ce"])


def test_refusals(tones, trained, tmp_path, command):
    locked = tmp_path / "file"
    locked.touch()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "best.npz").touch()
    for arguments, words in [
        ([tones, "--out", locked / "run"], "cannot be written to"),
        ([tones, "--out", trained], "already holds a training run"),
        ([tones, "--out", tmp_path / "half"], "half holds a best.npz but no last.npz to resume from: move it away, or"),
        (["--resume", tmp_path / "half"], "there is no last.npz to resume from: start a new run."),
        (["--resume", tmp_path / "none"], "no such folder"),
        (["--resume", tmp_path], "no last.npz"),
        (["--resume", trained, "--max-grad-norm", "1", "--noise"], "leave out --max-grad-norm, --noise."),
        (["--resume", trained, "--seed", "0"], "leave out --seed."),
        ([tmp_path / "none"], "no such folder or file"),
        ([tones, "--out", tmp_path / "a", "--lr", "-1"], "--lr is -1:"),
        ([tones, "--out", tmp_path / "a", "--batch", "0"], "batch is 0"),
        ([tones, "--out", tmp_path / "a", "--frames", "8"], "frames is 8"),
        ([tones, "--out", tmp_path / "a", "--rate", "0"], "rate is 0"),
        ([tones, "--out", tmp_path / "a", "--mel-bins", "12"], "--mel-bins is 12"),
        ([tones, "--out", tmp_path / "a", "--std", "0"], "--std is 0"),
        ([tones, "--out", tmp_path / "a", "--mixup", "2"], "--mixup is 2"),
    ]:
        status, _, err = command("train", *arguments)
        assert status == 2 and words in err and err.count("\n") == 1, (arguments, err)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("settings", {"train": None}),
        ("settings", {"train": {"lr": -1}}),
        ("settings", {"colour": "red"}),
        ("counters", {"sums": 3}),
        ("counters", {"step": "many"}),
    ],
)
def test_a_damaged_state_is_one_sentence(trained, tmp_path, command, part, value):
    arrays = dict(np.load(trained / "last.npz"))
    about = json.loads(arrays["minast"].item())
    about["state"][part] |= value
    np.savez(tmp_path / "last.npz", **{**arrays, "minast": np.array(json.dumps(about))})
    status, _, err = command("train", "--resume", tmp_path)
    assert status == 2 and "the state in last.npz is damaged" in err and err.count("\n") == 1


def test_resume_refuses_other_data(tones, tmp_path):
    import shutil

    copy = tmp_path / "tones"
    shutil.copytree(tones, copy)
    assert train.main([str(copy), "--out", str(tmp_path / "run"), *TINY_RUN]) == 0
    (copy / "low" / "0.wav").unlink()
    with pytest.raises(minast.Error, match="not the clips that"):
        train.main(["--resume", str(tmp_path / "run")])


def test_unwritable_folder(tones, tmp_path, command):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere; test_refusals has the case of a path that cannot be a folder")
    tmp_path.chmod(0o500)
    status, _, err = command("train", tones, "--out", tmp_path / "run")
    assert status == 2 and "cannot be written to" in err


def test_every_clip_once_an_epoch():
    config = TrainConfig(seed=5)
    orders = [batches.order(20, config, epoch) for epoch in (0, 1)]
    assert all(sorted(o) == list(range(20)) for o in orders) and list(orders[0]) != list(orders[1])


def test_builtin_run_starts(tmp_path, monkeypatch):
    """The default job, made short: it writes examples, and predicts them by the words it prints."""
    from minast.datasets import builtin

    monkeypatch.setattr(builtin, "COUNTS", {"train": 40, "test": 20})
    assert train.main(["--out", str(tmp_path / "run"), "--epochs", "1", "--depth", "1"]) == 0
    assert len(list((tmp_path / "run" / "examples").glob("*.wav"))) == 10


def test_fine_tuning(tones, trained, tmp_path, command):
    """From a model of one's own: its features come along, its head does not; the result is not said to be random."""
    flags = ["--epochs", "4", "--batch", "6", "--lr", "1e-3", "--seed", "3"]
    flags += ["--pretrained", trained / "best.npz", "--out", tmp_path / "run"]
    status, out, _ = command("train", tones, *flags)
    assert status == 0 and "mlp_head.1.weight" in out
    before, after = minast.load(trained / "best.npz")[1], minast.load(tmp_path / "run" / "best.npz")[1]
    assert after.features == before.features and "random_head" not in after.notes
    assert after.history[-1]["accuracy"] == 1.0
    wrong = ["--pretrained", trained / "best.npz", "--preset", "tiny", "--out", tmp_path / "x"]
    status, _, err = command("train", tones, *wrong)
    assert status == 2 and "--pretrained brings its own size" in err
    less = ["--pretrained", trained / "best.npz", "--depth", "1", "--out", tmp_path / "lowest", "--epochs", "1"]
    assert command("train", tones, *less)[0] == 0
    lowest, whole = (minast.load(path)[0] for path in (tmp_path / "lowest" / "best.npz", trained / "best.npz"))
    assert lowest.config.depth == 1 < whole.config.depth


def test_resume_keeps_backend_and_threads(tones, tmp_path, monkeypatch, capsys):
    """Begun on the reference with one thread, resumed as the printed command says: the same bits again."""
    flags = [str(tones), *TINY_RUN, "--backend", "numpy"]
    monkeypatch.setenv("MINAST_THREADS", "1")
    assert train.main([*flags, "--out", str(tmp_path / "a")]) == 0
    step = optim.Adam.step

    def stopping(self, g, lr):
        step(self, g, lr)
        if self.t == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optim.Adam, "step", stopping)
    assert train.main([*flags, "--out", str(tmp_path / "b")]) == 130
    monkeypatch.delenv("MINAST_THREADS")
    assert train.main(["--resume", str(tmp_path / "b")]) == 0
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert "note:" not in capsys.readouterr().out


def test_resume_finds_moved_data_and_notices_changed_sounds(tones, tmp_path, monkeypatch):
    import shutil

    begun, moved = tmp_path / "a:b", tmp_path / "moved"
    shutil.copytree(tones, begun)
    assert train.main([str(begun), "--out", str(tmp_path / "run"), *TINY_RUN]) == 0
    assert train.main(["--resume", str(tmp_path / "run")]) == 0  # a colon in the path is no name of a data set
    begun.rename(moved)
    assert train.main(["--resume", str(tmp_path / "run"), str(moved)]) == 0
    shutil.copy(moved / "high" / "0.wav", moved / "low" / "0.wav")
    with pytest.raises(minast.Error, match="not the clips that"):
        train.main(["--resume", str(tmp_path / "run"), str(moved)])


def test_labels_and_folders_are_no_formulas(tones, tmp_path):
    import shutil

    folder = tmp_path / "d$^$"
    for name, odd in (("low", "x$^$"), ("high", "y_$\\frac$")):
        shutil.copytree(tones / name, folder / odd)
    assert train.main([str(folder), "--out", str(tmp_path / "run"), "--epochs", "1", "--depth", "1"]) == 0


def test_milestones_train_short_runs(tones, tmp_path):
    flags = ["--depth", "1", "--epochs", "3", "--batch", "6", "--lr", "1e-3", "--schedule", "milestones"]
    assert train.main([str(tones), "--out", str(tmp_path / "run"), *flags, "--milestones", "1", "1", "0.5"]) == 0
    rows = history(tmp_path / "run")
    assert [row["lr"] for row in rows] == [1e-3, 5e-4, 2.5e-4] and rows[1]["train_loss"] != rows[0]["train_loss"]


def test_blown_up_training_is_one_sentence(tones, tmp_path, command):
    flags = ["--depth", "1", "--epochs", "2", "--batch", "24", "--lr", "1e38", "--warmup", "0"]
    status, _, err = command("train", tones, "--out", tmp_path / "run", *flags)
    assert status == 2 and err.count("\n") == 1 and "step " in err and "nothing was saved yet" in err


# -- 16 bits, parts of a batch, recomputation -------------------------------------------------------------------------

SHORT = ["--depth", "1", "--epochs", "2", "--batch", "4", "--lr", "1e-3", "--backend", "emulator", "--frames", "32"]


@pytest.fixture
def few(tones, tmp_path):
    """Six sounds of each class of `tones`: the emulator is slow."""
    import shutil

    for path in sorted(tones.glob("*/[0-5].wav")):
        (tmp_path / "few" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "few" / path.parent.name)
    return tmp_path / "few"


@needs_emulator
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bits_resume_bit_for_bit(few, tmp_path, dtype, monkeypatch):
    """Stopped and resumed with the type, the parts and the loss scale of before; the checkpoint is float32."""
    from minast import cuda

    flags = [str(few), *SHORT, "--dtype", dtype, "--grad-accum", "2", "--activation-checkpointing"]
    assert train.main([*flags, "--out", str(tmp_path / "a")]) == 0
    take, built = cuda.Adam.clipped_step, []

    def stopping(self, g, lr, *rest, copy=None, scale=1.0):
        norm = take(self, g, lr, *rest, copy=copy, scale=scale)
        built.append((copy.dtype.name, scale))
        if len(built) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return norm

    monkeypatch.setattr(cuda.Adam, "clipped_step", stopping)
    assert train.main([*flags, "--out", str(tmp_path / "b")]) == 130
    state = load_state(tmp_path / "b" / "last.npz")
    chosen = {name: state["settings"]["train"][name] for name in ("dtype", "grad_accum", "activation_checkpointing")}
    assert chosen == {"dtype": dtype, "grad_accum": 2, "activation_checkpointing": True}
    assert state["counters"]["scale"] == {"value": 2.0**16 if dtype == "float16" else 1.0, "good": 1}
    assert train.main(["--resume", str(tmp_path / "b")]) == 0
    assert set(built) == {("uint16", 1.0) if dtype == "bfloat16" else ("float16", 2.0**-16)}
    assert history(tmp_path / "a") == history(tmp_path / "b")
    one, other = (minast.load(tmp_path / name / "last.npz", "numpy")[0].w.flat for name in "ab")
    assert one.dtype == np.float32 and np.array_equal(one, other)


@needs_emulator
def test_a_step_that_overflows_is_skipped_and_said_when_it_never_ends(few, tmp_path, monkeypatch):
    from minast import cuda
    from minast.training import loss_scale

    norms, flags = iter([np.inf, np.inf]), [str(few), *SHORT, "--dtype", "float16", "--out"]
    take = cuda.Adam.clipped_step

    def overflowing(self, g, lr, *rest, **extras):
        g[:1] += np.float32(next(norms, 0))
        return take(self, g, lr, *rest, **extras)

    monkeypatch.setattr(cuda.Adam, "clipped_step", overflowing)
    assert train.main([*flags, str(tmp_path / "a")]) == 0
    state = load_state(tmp_path / "a" / "last.npz")
    steps = state["counters"]["step"]
    assert steps > 2 and state["t"] == steps - 2
    assert state["counters"]["scale"] == {"value": 2.0**14, "good": steps - 2}
    norms = iter([np.inf] * 100)
    monkeypatch.setattr("minast.training.learner.loss_scale", lambda dtype: loss_scale.LossScale(1.0))
    with pytest.raises(minast.Error, match="the gradient norm inf"):
        train.main([*flags, str(tmp_path / "b")])


def test_accumulation_and_checkpointing_change_no_result(tones, tmp_path, trained):
    flags = [str(tones), *TINY_RUN, "--grad-accum", "2", "--activation-checkpointing"]
    assert train.main([*flags, "--out", str(tmp_path / "run")]) == 0
    for mine, theirs in zip(history(tmp_path / "run"), history(trained), strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)


def test_refusals_of_16_bits(tones, tmp_path, command):
    for arguments, words in [
        (["--dtype", "bfloat16", "--backend", "fast"], "dtype bfloat16 needs the backend cuda or emulator"),
        (["--dtype", "tf32", "--backend", "fast"], "dtype tf32 needs the backend cuda or emulator"),
        (["--dtype", "float64"], "dtype is 'float64': it must be one of float32, tf32, bfloat16, float16"),
        (["--batch", "4", "--grad-accum", "5"], "it must be at most the batch, 4 clips"),
        (["--grad-accum", "0"], "--grad-accum is 0"),
    ]:
        status, _, err = command("train", tones, "--out", tmp_path / "a", *arguments)
        assert status == 2 and words in err and err.count("\n") == 1, (arguments, err)
    assert not (tmp_path / "a").exists()

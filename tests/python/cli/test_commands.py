"""The commands: what they print, what they write, how they fail."""

from __future__ import annotations

import json
import math
import resource
import shlex
import shutil

import numpy as np
import proprelu
import proprelu.cli.doctor as doctor
import proprelu.cli.train as train_module
import pytest
import safetensors.torch
import torch
from proprelu.cli.settings import Settings, read_settings
from proprelu.cli.sources import model_by_name
from proprelu.train import History, load_weights


def train_quickly(call, npz, *options):
    return call("train", "resnet20", "--data", npz, "--batch-size", 16, *options)


def test_every_command_has_help_with_an_example(call):
    assert "proprelu demo" in call("--help").out
    for command in ("demo", "train", "inspect", "convert", "merge", "doctor"):
        shown = call(command, "--help")
        assert shown.code == 0
        assert f"proprelu {command}" in shown.out


def test_version(call):
    assert call("--version").out.startswith("proprelu 0.")


def test_usage_errors_exit_with_2(call, tmp_path):
    assert call("train", "--epochs", "many").code == 2
    assert call("fly").code == 2
    wrong = call("train", "--schedule", "sine")
    assert wrong.code == 2
    assert wrong.err == (
        'error: --schedule must be one of cosine, one_cycle, step, constant, got "sine"\n'
    )
    (tmp_path / "c.toml").write_text("epoch = 3")
    wrong = call("train", "--config", "c.toml")
    assert (wrong.code, wrong.err) == (
        2,
        'error: c.toml: unknown key "epoch"; did you mean "epochs"?\n',
    )


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("inspect", "resnet21"), "MODEL"),
        (("inspect", "resnet20", "--ratio", "1:2"), "--ratio"),
        (("inspect", "resnet20", "--placement", "middle"), "--placement"),
        (("convert", "resnet20", "a:b", "--out", "x.safetensors"), "RATIO"),
        (("train", "--data", "nowhere"), "--data"),
        (("train", "--config", "nowhere.toml"), "--config"),
        (("train", "--config", "."), "--config"),
        (
            ("convert", "resnet20", "2:1", "--weights", "nowhere.pth", "--out", "x.safetensors"),
            "--weights",
        ),
        (("train", "--batch-size", 0), "--batch-size"),
        (("train", "--lr", -1), "--lr"),
        (("train", "--label-smoothing", 3), "--label-smoothing"),
        (("train", "--ema-decay", 3), "--ema-decay"),
        (("train", "--clip-grad-norm", 0), "--clip-grad-norm"),
        (("train", "--weight-decay", "nan"), "--weight-decay"),
        (("train", "--seed", -1), "--seed"),
        (("train", "--device", "tpu"), "--device"),
    ],
)
def test_a_wrong_option_is_named_and_exits_with_2(call, arguments, name, tmp_path):
    result = call(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {name} must ")
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_one_line_and_exits_with_1(call, tmp_path):
    result = call("train", "--data", ".")
    assert (result.code, result.out) == (1, "")
    assert (
        result.err
        == "error: expected the IDX file train-images-idx3-ubyte or train-images-idx3-ubyte.gz\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_variable_shows_the_traceback(call, monkeypatch):
    monkeypatch.setenv("PROPRELU_TRACEBACK", "1")
    with pytest.raises(ValueError, match="model must be"):
        call("inspect", "resnet21")


def test_inspect_prints_the_plan(call):
    text = call("inspect", "resnet20", "--ratio", "2:1").out
    assert "10 of 19 ReLUs kept, ratio 19:10" in text
    plan = json.loads(call("inspect", "resnet20", "--ratio", "2:1", "--json").out)
    assert (plan["achieved"], plan["relus"], len(plan["sites"])) == ("19:10", 10, 19)


def test_inspect_groups_and_skips(call):
    options = ("--ratio", "2:1", "--group", "block", "--skip", "relu", "--skip", "layer1")
    plan = json.loads(call("inspect", "resnet18", *options, "--json").out)
    sites = {site["name"]: site for site in plan["sites"]}
    assert sites["relu"]["reason"] == "skipped: stays as it is"
    assert sites["layer1.0.relu:1"]["keep"]
    assert not sites["layer2.0.relu:1"]["keep"]
    assert plan["achieved"] == "17:11"


def test_convert_keeps_the_weights_and_saves_the_plan(call, tmp_path):
    original = model_by_name("resnet18", num_classes=10)
    torch.save(original.state_dict(), tmp_path / "in.pth")
    options = ("--weights", "in.pth", "--num-classes", 10, "--out", "out.safetensors", "--json")
    notes = json.loads(call("convert", "resnet18", "2:1", *options).out)
    assert notes["achieved"] == "17:9"

    with safetensors.safe_open(tmp_path / "out.safetensors", "pt") as file:
        saved = json.loads(file.metadata()["proprelu.weights"])
    assert (saved["asked"], saved["plan"]["ratio"], saved["class"]) == ("2:1", "17:9", "ResNet")
    copy = proprelu.load(tmp_path / "out.safetensors", model_by_name("resnet18", num_classes=10))
    assert str(proprelu.ratio_of(copy)) == "17:9"
    for name, tensor in original.state_dict().items():
        assert torch.equal(tensor, copy.state_dict()[name])


def test_weights_of_another_model_are_refused(call, tmp_path):
    torch.save(model_by_name("resnet18").state_dict(), tmp_path / "in.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    torch.save(model_by_name("resnet18"), tmp_path / "whole.pth")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    why = {
        "in.pth": "must hold the state_dict of this model",
        "whole.pth": "must hold a state_dict and nothing else",
        "broken.pth": "must hold a state_dict and nothing else",
        "broken.safetensors": "must be a whole",
    }
    for name, message in why.items():
        options = ("--weights", name, "--out", "out.safetensors")
        result = call("convert", "resnet20", "2:1", *options)
        assert result.code == 1
        assert message in result.err
        assert "weights_only" not in result.err
        assert result.err.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_a_file_of_weights_is_converted_further(call, tmp_path):
    for ratio, options in (("2:1", ()), ("3:1", ("--weights", "2x1.safetensors"))):
        out = f"{ratio.replace(':', 'x')}.safetensors"
        assert call("convert", "resnet20", ratio, "--out", out, *options).code == 0
    first, second = (tmp_path / f"{ratio}.safetensors" for ratio in ("2x1", "3x1"))
    model = proprelu.load(second, model_by_name("resnet20", num_classes=1000))
    assert str(proprelu.ratio_of(model)) == "19:6"
    with pytest.raises(ValueError, match="of ratio 19:10, got a model of ratio 19:6"):
        load_weights(model, first)


@pytest.mark.parametrize("name", ["out.pth", "out.PT", "out.bin"])
def test_weights_do_not_get_a_name_of_torch_save(call, name, tmp_path):
    result = call("convert", "resnet20", "2:1", "--out", name)
    assert result.code == 2
    assert result.err.startswith("error: --out must end in .safetensors, got ")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(call, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        result = call("convert", "resnet20", "2:1", "--out", "out.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: cannot write out.safetensors: File too large\n"
    assert not list(tmp_path.iterdir())


def test_train_writes_its_settings_and_results(call, npz, tmp_path):
    result = train_quickly(call, npz, "--ratio", "2:1", "--epochs", 2, "--out", "run", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert (told["convs"], told["relus"], told["epochs"]) == (19, 10, 2)
    run = tmp_path / "run"
    expected = Settings(data=str(npz), ratio="2:1", epochs=2, batch_size=16, out="run")
    assert Settings().with_changes(read_settings(run / "settings.toml")) == expected
    history = History.from_csv(run / "history.csv")
    assert len(history) == 2
    assert history.last == told["last"]
    assert (run / "history.png").read_bytes().startswith(b"\x89PNG")
    model = model_by_name("resnet20", ratio="2:1", num_classes=2, in_channels=1)
    load_weights(model, run / "weights.safetensors")


def test_options_override_the_settings_of_a_file(call, npz, tmp_path):
    (tmp_path / "c.toml").write_text("epochs = 5\nratio = '3:1'\naugment = false\n")
    result = train_quickly(call, npz, "--config", "c.toml", "--epochs", 1, "--out", "run")
    assert result.code == 0, result.err
    used = read_settings(tmp_path / "run" / "settings.toml")
    assert (used["epochs"], used["ratio"], used["augment"]) == (1, "3:1", False)


# Characters that TOML has to escape.
RUN = 'run "1" \\ \N{GRINNING FACE}'


def test_a_run_is_never_overwritten_but_can_be_resumed(call, npz, tmp_path):
    planned = ("--epochs", 1, "--schedule-epochs", 2)
    assert train_quickly(call, npz, *planned, "--out", RUN).code == 0
    before = History.from_csv(tmp_path / RUN / "history.csv")
    again = train_quickly(call, npz, "--epochs", 1, "--out", RUN)
    assert again.code == 2
    assert f"--resume {shlex.quote(RUN)}" in again.err
    assert History.from_csv(tmp_path / RUN / "history.csv") == before

    result = call("train", "--resume", RUN, "--epochs", 2)
    assert result.code == 0, result.err
    history = History.from_csv(tmp_path / RUN / "history.csv")
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[0] == before[0]


def test_resume_needs_a_run(call):
    result = call("train", "--resume", "nowhere")
    assert result.code == 2
    assert "expects the folder of a run" in result.err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of one epoch, of two that its schedule spans."""
    folder = tmp_path_factory.mktemp("run")
    data = folder / "two.npz"
    labels = np.arange(64) % 2
    images = np.random.default_rng(0).integers(0, 255, (64, 12, 12, 1)).astype(np.uint8)
    halves = {"test_images": images[:16], "test_labels": labels[:16]}
    np.savez(data, train_images=images[16:], train_labels=labels[16:], **halves)
    settings = Settings(data=str(data), epochs=1, schedule_epochs=2, batch_size=16)
    train_module.run(settings, folder / "run", resume=False, quiet=True)
    return folder / "run"


def _files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ratio", "3:1"), "--ratio must be 1:1 as in the run that is resumed, got 3:1"),
        (("--batch-size", 8), "--batch-size must be 16"),
        (("--lr", 0.5), "--lr must be left out as in the run that is resumed, got 0.5"),
        (("--no-augment",), "--augment must be on as in the run that is resumed, got off"),
        (("--model", "resnet32"), "No such option"),
        (("--batch-size", 8, "--override", "lr"), "--batch-size must be 16"),
        (("--override", "all"), "--override must be names among plan, data"),
        (
            ("--epochs", 3),
            "--schedule-epochs must be at least the epochs of the training, 3",
        ),
    ],
)
def test_a_resumed_run_changes_only_what_may_change(call, run, options, message):
    before = _files(run)
    result = call("train", "--resume", run, *options)
    assert result.code == 2
    assert message in result.err
    assert _files(run) == before


def test_settings_are_not_written_over_a_damaged_checkpoint(call, run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    content = bytearray((copy / "checkpoint.safetensors").read_bytes())
    content[-5] ^= 1
    (copy / "checkpoint.safetensors").write_bytes(content)
    before = _files(copy)
    result = call("train", "--resume", copy, "--epochs", 2)
    assert result.code == 1
    assert "SHA-256" in result.err
    assert _files(copy) == before


def test_a_run_goes_on_as_it_was_planned_or_as_an_override_allows(call, run, tmp_path):
    for name, options in (("same", ()), ("other", ("--batch-size", 8, "--override", "batch_size"))):
        copy = tmp_path / name
        shutil.copytree(run, copy)
        result = call("train", "--resume", copy, "--epochs", 2, *options)
        assert result.code == 0, result.err
        history = History.from_csv(copy / "history.csv")
        steps = [3, 6] if name == "same" else [3, 9]
        assert history.column("step") == steps
        # The last of the steps of a cosine over two epochs.
        last = 1 - 1 / (2 * (steps[1] - steps[0]))
        assert history.last["lr"] == pytest.approx(0.1 * (1 + math.cos(math.pi * last)) / 2)


def test_a_run_that_was_interrupted_in_its_first_epoch_begins_again(call, run, tmp_path):
    (tmp_path / "early").mkdir()
    shutil.copy(run / "settings.toml", tmp_path / "early")
    result = call("train", "--resume", "early")
    assert result.code == 0, result.err
    assert len(History.from_csv(tmp_path / "early" / "history.csv")) == 1


@pytest.mark.parametrize("out", [(), ("--out", "deep/er/run")])
def test_an_interrupt_before_the_first_step_leaves_nothing(call, npz, tmp_path, monkeypatch, out):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("proprelu.train.session.Session.capture", interrupted)
    result = call("train", "--data", npz, *out)
    assert result.code == 130
    assert result.err.splitlines()[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == [npz]


def test_an_error_recommends_options(call, run, tmp_path):
    """And not the arguments of a function."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    settings = (copy / "settings.toml").read_text().splitlines()
    other = np.load(run.parent / "two.npz")
    np.savez(tmp_path / "b.npz", **{**other, "train_images": other["train_images"][::-1]})
    lines = [line if "data =" not in line else 'data = "b.npz"' for line in settings]
    (copy / "settings.toml").write_text("\n".join(lines))
    result = call("train", "--resume", copy, "--epochs", 2)
    assert result.code == 1
    assert "use the same as there, or allow the change with --override data" in result.err
    assert "=(" not in result.err


def test_an_interrupt_at_the_first_step_can_be_resumed(call, npz, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    options = ("train", "--data", npz, "--epochs", 1, "--batch-size", 16, "--out", "run")
    with monkeypatch.context() as patch:
        patch.setattr("proprelu.train.loop.Loop._ends", interrupted)
        result = call(*options)
    assert result.code == 130
    assert result.err.splitlines()[-1] == "interrupted; continue with: proprelu train --resume run"
    result = call("train", "--resume", "run")
    assert result.code == 0, result.err
    assert len(History.from_csv(tmp_path / "run" / "history.csv")) == 1


def test_demo_compares_two_ratios(call, tmp_path):
    result = call("demo", "--images", 128, "--epochs", 1, "--seeds", 1, "--seed", 3, "--json")
    assert result.code == 0, result.err
    runs = json.loads(result.out)
    found = [(run["ratio"], run["relus"], run["seed"]) for run in runs]
    assert found == [("1:1", 19, 3), ("2:1", 10, 3)]
    history = History.from_csv(tmp_path / "runs/demo/2x1-seed3.csv")
    assert history.rows == runs[1]["rows"]
    assert (tmp_path / "runs/demo/curves.png").read_bytes().startswith(b"\x89PNG")


def test_doctor_finds_no_problem_here(call):
    result = call("doctor")
    assert result.code == 0, result.out
    assert f"torch              {torch.__version__}" in result.out
    found = json.loads(call("doctor", "--json").out)
    assert found["torch"] == torch.__version__
    assert found["problems"] == []


def test_doctor_flags_another_torch_and_a_debug_build():
    build = {
        "version": "0.1.0",
        "torch": "2.11.0+cpu",
        "rustc": "rustc 1.90",
        "target": "x",
        "debug": True,
        "cpu": "a processor",
        "cpu_features": [],
        "cpu_level": "portable",
        "cpu_amx": "not used: the processor has none",
    }
    findings = {f.name: f for f in doctor.examine("2.12.1+cpu", build) if not f.ok}
    assert set(findings) == {"torch", "optimized"}
    assert "pip install 'torch==2.11.*'" in findings["torch"].advice
    assert all(f.ok for f in doctor.examine("2.11.3", {**build, "debug": False}))


def test_doctor_explains_why_cuda_is_not_available(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in doctor._cuda()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES hides" in doctor._cuda()


def test_doctor_names_an_old_driver(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(doctor.os.path, "exists", lambda path: True)
    monkeypatch.setattr(doctor, "_driver_version", lambda: " 535.54.03")
    assert "the driver 535.54.03 does not go with torch's CUDA 13.0" in doctor._cuda()


def test_doctor_tries_each_gpu_and_the_compiler(monkeypatch):
    def device(index, stream, folder):
        if index == 1:
            raise RuntimeError("a GPU must be sm_75 or newer, got sm_61")
        return type("Gpu", (), {"architecture": "sm_90", "multiprocessors": 132})

    def compiler(name, major, minor):
        raise RuntimeError("libnvrtc is not to be found")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(doctor._core, "CudaDevice", device)
    monkeypatch.setattr(doctor._core, "cuda_compile", compiler)
    first, second = doctor._gpus()
    assert (first.value, first.ok) == ("sm_90, 132 multiprocessors", True)
    assert not second.ok
    assert "got sm_61" in second.advice
    found = doctor._cuda_compiler()
    assert not found.ok
    assert "libnvrtc" in found.advice
    # It is not needed without a GPU.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert doctor._gpus() == []
    assert doctor._cuda_compiler().ok

"""The story that design.md tells, word for word, on small images; steps are fewer."""

from __future__ import annotations

import json

import torch
import torchvision
from safetensors.torch import load_file

import wvc

from .conftest import Shell, image_tar, random_weights

PACS = dict.fromkeys(("art_painting", "photo", "sketch"), ("dog", "horse", "house"))
OFFICE = dict.fromkeys(("amazon", "webcam"), ("bike", "mug"))


def test_the_whole_workflow(sh: Shell):
    torch.manual_seed(0)
    random_weights(sh.folder / "mobilenet_v2_imagenet.safetensors", torchvision.models.mobilenet_v2())
    image_tar(sh.folder / "office-caltech10-64.tar", OFFICE)
    image_tar(sh.folder / "pacs-64.tar", PACS)

    sh("wvc init zoo --arch mobilenet_v2 --weights mobilenet_v2_imagenet.safetensors")
    sh.cd("zoo")
    sh("wvc task add office ../office-caltech10-64.tar")
    assert "3 classes" in sh("wvc task add pacs ../pacs-64.tar").out
    sh("wvc switch -c aux/office")
    sh('wvc commit --task office --steps 2 -m "inter-train on office"')
    sh("wvc switch -c run/0 main")
    sh("wvc commit --task pacs --test-domain photo --steps 3 --hparams-seed 0")
    sh("wvc switch -c run/1 aux/office")
    said = sh("wvc commit --task pacs --test-domain photo --steps 3 --hparams-seed 1").err
    assert "the foundation's linear probe" in said
    sh("wvc switch -c soup main")
    merged = sh("wvc merge 'run/*' --select greedy --task pacs --test-domain photo -m ratatouille").out
    assert "accepted" in merged
    assert "ratatouille" in sh("wvc log --graph").out
    assert "photo (held out)" in sh("wvc eval soup --task pacs --domain photo").out
    assert "classifier.1" in sh("wvc diff run/0 run/1").out
    sh("wvc export soup soup.safetensors")
    sh("wvc export run/1 elsewhere.safetensors")
    sh('wvc commit --weights elsewhere.safetensors -m "trained elsewhere"')
    assert json.loads(sh("wvc lineage soup --json").out)["nodes"]
    exported = sh.folder / "soup.safetensors"
    sh.cd("..")
    sh("wvc clone zoo zoo2")
    assert "ok" in sh("wvc -C zoo2 fsck").out

    model = torchvision.models.mobilenet_v2(num_classes=3)
    model.load_state_dict(load_file(exported))
    ours = wvc.load(sh.folder / "zoo", "soup~1")
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(images), ours(images))


def test_a_clone_carries_scores_tasks_and_history_but_no_configuration(sh: Shell):
    sh("wvc init zoo --arch digits_cnn --random")
    sh.cd("zoo")
    sh("wvc task add digits --set rotations=0,45")
    sh("wvc config user.name mallory")
    sh("wvc commit --task digits --test-domain 0 --steps 3 --lr 1e-3")
    before = json.loads(sh("wvc log --json").out)
    sh.cd("..")
    sh("wvc clone zoo copy")
    sh.cd("copy")

    assert json.loads(sh("wvc log --json").out)[0]["id"] == before[0]["id"]
    assert "mallory" not in (sh.folder / ".wvc" / "config.toml").read_text()
    number = len(list((sh.folder / ".wvc" / "log").iterdir()))
    sh("wvc eval")
    assert len(list((sh.folder / ".wvc" / "log").iterdir())) == number, "the scores came along"


def test_import_and_export_give_the_file_back_byte_for_byte(sh: Shell):
    torch.manual_seed(0)
    file = random_weights(sh.folder / "any.safetensors", torch.nn.Linear(5, 3).bfloat16())

    sh("wvc init plain --weights any.safetensors")
    sh.cd("plain")
    sh("wvc export HEAD back.safetensors")

    assert (sh.folder / "back.safetensors").read_bytes() == file.read_bytes()

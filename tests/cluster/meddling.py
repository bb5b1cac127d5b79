"""What Python processes of a run do first: be greedy, be slow, tell what they see."""

from workflow.checkout import ENVIRONMENT, Checkout

GREED = """
import sys, time
if any(part.endswith(".index_fields.py") for part in sys.orig_argv):
    taken = b"x" * 1_000_000_000
    time.sleep(6)  # until Slurm has looked
    del taken
"""
# The first training takes long steps; `slowed` tells of the first, and hurries later trainings.
SLOWNESS = """
import pathlib, sys, time
slowed = pathlib.Path(__file__).with_name("slowed")
called = " ".join(sys.orig_argv)
trains = "pretrain_model.py" in called or "-m cellmae.pretraining.launch" in called
if trains and "torch.distributed.run" not in called and not slowed.exists():
    from cellmae.pretraining.trainer import Trainer
    step = Trainer.take_step
    def slowly(*arguments):
        slowed.touch()
        time.sleep(5)
        return step(*arguments)
    Trainer.take_step = slowly
"""
# Trainings and embeddings write down which GPUs they are given.
SIGHT = """
import os, pathlib, sys
if any(part.endswith((".pretrain_model.py", ".embed_plate.py")) for part in sys.orig_argv):
    with pathlib.Path(__file__).with_name("gpus").open("a") as gpus:
        print(os.environ.get("CUDA_VISIBLE_DEVICES"), file=gpus)
"""


def meddle(checkout: Checkout, code: str) -> dict[str, str]:
    """Return variables with which every Python process runs a piece of code first."""
    folder = checkout.folder / "meddling"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{folder}:{ENVIRONMENT.get('PYTHONPATH', '')}"}

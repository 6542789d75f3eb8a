"""What a sweep notes about its jobs."""

import json

import pytest
from conftest import make_job

from capsnet.errors import CheckpointError
from capsnet.sweeps.hydra_job import OtherJobError, record_failure, record_of
from capsnet.sweeps.jobs import read_jobs


def test_a_failure_keeps_what_the_record_knows_and_a_later_one_replaces_its_reason(tmp_path):
    make_job(tmp_path, 0, ["seed=0"], "running", parameters=5)
    record_failure(tmp_path / "0", ["seed=0"], "killed")
    (job,) = read_jobs(tmp_path)
    assert (job.status, job.reason) == ("failed", "killed")
    assert json.loads((tmp_path / "0/results.json").read_text())["parameters"] == 5
    record_failure(tmp_path / "0", ["seed=0"], "no files")
    assert read_jobs(tmp_path)[0].reason == "no files"


@pytest.mark.parametrize("status", ["completed", "diverged", "interrupted"])
def test_a_failure_replaces_no_outcome(tmp_path, status):
    make_job(tmp_path, 0, ["seed=0"], status)
    record_failure(tmp_path / "0", ["seed=0"], "SLURM cannot find it")
    assert read_jobs(tmp_path)[0].status == status


def test_a_failure_before_the_job_has_a_folder_makes_its_record(tmp_path):
    record_failure(tmp_path / "3", ["seed=0"], "SLURM lost it")
    (job,) = read_jobs(tmp_path)
    assert (job.number, job.status, job.reason) == (3, "failed", "SLURM lost it")
    assert job.values == {"seed": "0"}


def test_the_folder_of_another_job_is_refused_whatever_plugin_it_used(tmp_path):
    make_job(tmp_path, 0, ["plugin=a.py", "seed=1", "trainer.max_epochs=9"])  # the last one from a resumption
    assert record_of(tmp_path / "0", ["seed=1"])["status"] == "completed"
    assert record_of(tmp_path / "0", ["seed=1", "plugin=moved/a.py"])["status"] == "completed"
    assert record_of(tmp_path / "1", ["seed=1"]) is None
    with pytest.raises(OtherJobError, match="has a job with other settings"):
        record_of(tmp_path / "0", ["seed=2"])


def test_the_failure_of_a_job_with_a_damaged_record_is_recorded(tmp_path):
    make_job(tmp_path, 0, ["seed=0"], "running")
    (tmp_path / "0/results.json").write_text("{")
    with pytest.raises(CheckpointError):
        record_of(tmp_path / "0", ["seed=0"])
    record_failure(tmp_path / "0", ["seed=0"], "is damaged")
    assert read_jobs(tmp_path)[0].reason == "is damaged"

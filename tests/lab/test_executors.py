"""Work beyond one process ends as in one, whoever dies on the way."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future

import numpy as np
import pytest

import optiscope as osc
from optiscope.lab import executors, work

QUADRATIC = osc.task("quadratic", spectrum=(0.1, 1.0))
RULES = osc.stack([osc.Momentum(lr=lr) for lr in np.geomspace(0.01, 3, 24)])
ASK = {"steps": 20, "seeds": 6}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(work, "SIZE", 2_000.0)


@pytest.fixture
def alone():
    return osc.sweep(RULES, QUADRATIC, **ASK)


def same(a, b):
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("first", "final", "mean", "broke_at"))


@pytest.fixture
def kill_at(monkeypatch):
    """A `share` that kills a process once the first piece is done."""

    def make(pid):
        def share(done):
            if done > 0 and not struck:
                struck.append(os.kill(pid(), signal.SIGKILL))

        struck = []
        return share

    return make


def test_a_process_pool_makes_the_same_and_survives_a_killed_worker(alone, kill_at, tmp_path):
    store = tmp_path / "runs.sqlite"
    with executors.processes(2) as pool:
        assert same(osc.sweep(RULES, QUADRATIC, **ASK, executor=pool), alone)
        share = kill_at(lambda: next(iter(pool._processes)))
        with pytest.warns(UserWarning, match="the executor failed .*BrokenProcessPool"):
            assert same(osc.sweep(RULES, QUADRATIC, **ASK, executor=pool, store=store, share=share), alone)
    with osc.lab.Store(store) as kept:
        assert sum(run["seeds"] for run in kept.runs()) == 24 * 6


WAITS = """
import os, time
from optiscope.lab import executors

if __name__ == "__main__":
    with executors.processes(1) as pool:
        try:
            print(pool.submit(os.getpid).result(), flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            os._exit(130)
"""


@pytest.mark.parametrize("how", ["Ctrl-C", "kill"])
def test_processes_end_with_the_one_that_spawned_them_and_say_nothing(tmp_path, how):
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    command = [sys.executable, str(script)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.readline()
        if how == "Ctrl-C":  # a terminal sends it to all
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        try:
            _, said = process.communicate(timeout=60)  # until the last process lets go of the pipes
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in said


@pytest.mark.filterwarnings("ignore")  # distributed's own, on its way down
def test_a_dask_cluster_makes_the_same_and_survives_a_killed_worker(alone, kill_at):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        executors.dask(cluster.scheduler_address) as workers,
    ):
        share = kill_at(lambda: next(iter(cluster.workers.values())).pid)
        assert same(osc.sweep(RULES, QUADRATIC, **ASK, executor=workers, share=share), alone)


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_is_sent_the_data_once(monkeypatch):
    distributed, cloudpickle = pytest.importorskip("distributed"), pytest.importorskip("cloudpickle")
    inputs = np.random.default_rng(0).normal(size=(20_000, 5))
    task = osc.Task.from_loss(
        lambda w, row: (row[0] @ w - row[1]) ** 2, np.zeros(5), data=(inputs, inputs.sum(axis=1)), batch=4
    )
    sizes = []
    submit = distributed.cfexecutor.ClientExecutor.submit

    def counted(self, function, *args):
        sizes.append(len(cloudpickle.dumps(args[:-1])))
        return submit(self, function, *args)

    monkeypatch.setattr(distributed.cfexecutor.ClientExecutor, "submit", counted)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        executors.dask(cluster.scheduler_address) as workers,
    ):
        found = osc.sweep(RULES, task, **ASK, executor=workers)
    assert same(found, osc.sweep(RULES, task, **ASK))
    assert len(sizes) > 4
    assert max(sizes) < inputs.nbytes / 10


def test_no_scheduler_is_a_sentence():
    pytest.importorskip("distributed")
    with pytest.raises(osc.BadInput, match="no Dask scheduler answers at 'nonsense://'"), executors.dask("nonsense://"):
        pass


class Threads(Executor):
    """Runs each piece in a thread of its own; the first of them fails."""

    def __init__(self, error):
        self.error, self.asked = error, 0

    def submit(self, function, *args):
        future: Future = Future()
        self.asked += 1
        failing = self.asked == 1

        def work():
            if failing:
                future.set_exception(self.error)
            else:
                future.set_result(function(*args))

        threading.Thread(target=work).start()
        return future


def test_what_an_executor_cannot_do_is_done_here(alone):
    threads = Threads(TypeError("cannot pickle 'rule'"))
    with pytest.warns(UserWarning, match="the executor failed .*cannot pickle 'rule'"):
        assert same(osc.sweep(RULES, QUADRATIC, **ASK, executor=threads), alone)
    assert threads.asked > 4


def test_the_works_own_error_comes_up():
    def raises(x):
        raise ZeroDivisionError("the user's own")

    task = dataclasses.replace(osc.task("bowl"), function=raises)
    with pytest.raises(ZeroDivisionError, match="the user's own"):
        osc.run(osc.Momentum(), task, steps=2, seeds=2, executor=Threads(TypeError("no")))

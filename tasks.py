"""The index of tasks: those of vmtasks, every file in recipes/, and the benchmarks; no logic of its own."""

from benchmarks.tasks import bench
from vmtasks.cli.collect import collect

namespace = collect()
namespace.add_task(bench)

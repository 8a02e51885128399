"""A small machine, a small engine and two scenarios on them, as texts of files."""

from scenarios.profile import KERNEL_KINDS, Constants, Provenance

CONSTANTS = [name for name in Constants.model_fields if name != "queue_depth"]
PROVENANCE = [name for name in Provenance.model_fields if name != "notes"]

PROFILE = "\n".join(
    [
        'name = "bench"',
        "[provenance]",
        *(f'{key} = "none"' for key in PROVENANCE),
        "[device]",
        "multiprocessors = 4",
        'memory = "1GiB"',
        "[constants]",
        *(f'{name} = {{ value = "1.5us", source = "made up" }}' for name in CONSTANTS),
        'queue_depth = { value = 1024, source = "made up", residual = "none" }',
        "[jitter]",
        "quantiles = [[0, 0.9], [0.5, 1], [1, 3.5]]",
        'source = "made up"',
        "[copies]",
        *(
            f'{way} = {{ points = [["4B", "1us"], ["1MiB", "20us"]], source = "made up" }}'
            for way in ("h2d", "d2h", "d2d", "pageable_h2d", "pageable_d2h")
        ),
        "[kernels]",
        *(f'{kind} = {{ floor = "2us", source = "made up" }}' for kind in KERNEL_KINDS if kind != "gemm"),
        "[kernels.gemm]",
        'floor = "2us"',
        'flops = "790TFLOP/s"',
        'bandwidth = "4.3TB/s"',
        "sm = 0.5",
        'source = "made up"',
        'table = [{ shape = [64, 64], points = [[1, "2us"], [16, "3us"]] }]',
    ]
)

ENGINE = """
name = "bench"
title = "An engine on the bench"
grain = "engine"
future_map = "ring"
sample_in_graph = true
copy_stream = "forward"
input_copies = 2
buckets = [1, 2, 4]
source = "made up"
[host]
receive = { base = "10us", source = "made up" }
schedule = { base = "100us", per_row = "2us", source = "made up" }
prepare = { base = "50us", per_token = "5ns", source = "made up" }
process = { base = "80us", per_row = "1us", source = "made up" }
[framework]
default = "3us"
by_kind = { gemm = "5us" }
source = "made up"
"""

SERVING = """
kind = "serving"
title = "A bench"
model = "tiny"
workload = { batch = 4, context = 16, output_tokens = 8 }
engine = { preset = "engine.toml" }
hardware = { profile = "profile.toml" }
"""

PROGRAM = """
kind = "program"
title = "A chain"
n = 64
count = 3
engine = { preset = "engine.toml" }
hardware = { profile = "profile.toml" }
[[threads]]
ops = [
  { op = "graph", replays = "count", ops = [{ op = "matmul", m = 1, n = "n", k = "n" }] },
  { op = "sync", on = "device" },
]
"""

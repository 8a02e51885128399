"""Copies: two engines beside the multiprocessors, and what pageable memory does to the host."""

from __future__ import annotations

from machine_worlds import host, kernel, program, run, spans

from sim.program.ops import Copy, Op, Record


def test_a_copy_starts_the_copy_latency_after_its_call() -> None:
    timeline = run(program(("main", [Copy("h2d", 500)])), copy_call=100, copy_latency=40, stream_gap=7)
    assert host(timeline) == [("cudaMemcpyAsync", 0, 100), ("cudaDeviceSynchronize", 100, 640)]
    assert spans(timeline) == [("Memcpy HtoD (Pinned)", 140, 640)]


def test_a_copy_and_kernels_of_one_stream_follow_each_other_a_gap_apart() -> None:
    ops: list[Op] = [Copy("h2d", 100), kernel("k", 100), Copy("d2h", 100)]
    timeline = run(program(("main", ops)), stream_gap=5)
    assert [(start, end) for _, start, end in spans(timeline)] == [(0, 100), (105, 205), (210, 310)]


def test_the_two_directions_run_at_once() -> None:
    timeline = run(program(("main", [Copy("h2d", 500)]), ("side", [Copy("d2h", 300)])))
    assert spans(timeline) == [("Memcpy HtoD (Pinned)", 0, 500)]
    assert spans(timeline, "side") == [("Memcpy DtoH (Pinned)", 0, 300)]


def test_two_copies_of_one_direction_queue_whatever_the_streams() -> None:
    timeline = run(program(("main", [Copy("d2h", 500)]), ("side", [Copy("d2h", 300)])))
    assert spans(timeline) == [("Memcpy DtoH (Pinned)", 0, 500)]
    assert spans(timeline, "side") == [("Memcpy DtoH (Pinned)", 500, 800)]


def test_a_copy_runs_beside_kernels_and_slows_nobody() -> None:
    timeline = run(program(("main", [kernel("k", 1_000)]), ("side", [Copy("d2h", 400)])))
    assert spans(timeline) == [("k", 0, 1_000)]
    assert spans(timeline, "side") == [("Memcpy DtoH (Pinned)", 0, 400)]


def test_a_pinned_copy_returns_with_its_call_and_a_pageable_one_with_the_data() -> None:
    pinned = run(program(("main", [Copy("d2h", 400), kernel("k", 10)])), copy_call=50, launch_call=100)
    assert [end for _, _, end in host(pinned)] == [50, 150, 460]
    pageable = run(
        program(("main", [Copy("d2h", 400, pinned=False), kernel("k", 10)])), copy_call=50, launch_call=100, wake_spin=3
    )
    assert host(pageable) == [
        ("cudaMemcpy", 0, 453),
        ("cudaLaunchKernel", 453, 553),
        ("cudaDeviceSynchronize", 553, 563),
    ]
    assert spans(pageable)[0] == ("Memcpy DtoH (Pageable)", 50, 450)


def test_a_pageable_copy_waits_for_the_work_before_it_in_its_stream() -> None:
    ops: list[Op] = [kernel("k", 1_000), Copy("d2h", 400, pinned=False)]
    assert host(run(program(("main", ops))))[1] == ("cudaMemcpy", 0, 1_400)


def test_a_pageable_copy_of_nothing_pays_no_wake_up() -> None:
    timeline = run(program(("main", [Copy("d2h", 0, pinned=False)])), copy_call=50, wake_spin=900)
    assert host(timeline)[0] == ("cudaMemcpy", 0, 50)


def test_an_event_behind_a_copy_fires_with_its_end() -> None:
    ops: list[Op] = [Copy("d2h", 400), Record("copied")]
    assert host(run(program(("main", ops), last="copied")))[-1] == ("cudaEventSynchronize", 0, 400)

"""Host threads: the interpreter lock that they share, and the queues between them."""

from __future__ import annotations

from machine_worlds import host, kernel, program, run, spans

from sim.effects import DEVICE, Get, Launch, Loop, Put, Ready, Wait
from sim.program.ops import Copy, Op, Record, Think

MS = 1_000_000


def launches(*ops: Op, stream: str = "main") -> Loop[None]:
    yield Launch(ops, stream)


def test_a_thread_that_computes_is_made_to_let_go_after_the_switch_interval() -> None:
    timeline = run({"one": launches(Think(8 * MS)), "two": launches(Think(3 * MS))})
    assert host(timeline, "two") == [("think", 5 * MS, 8 * MS)]
    assert host(timeline, "one") == [("think", 0, 11 * MS)]


def test_two_threads_that_compute_take_turns_of_one_switch_interval() -> None:
    timeline = run({"one": launches(Think(30)), "two": launches(Think(30))}, gil_switch_interval=10)
    assert host(timeline, "one") == [("think", 0, 50)]
    assert host(timeline, "two") == [("think", 10, 60)]


def test_two_that_wait_make_a_holder_let_go_once() -> None:
    threads = {"one": launches(Think(30)), "two": launches(Think(10)), "three": launches(Think(10))}
    timeline = run(threads, gil_switch_interval=10)
    assert host(timeline, "two") == [("think", 10, 20)]
    assert host(timeline, "three") == [("think", 20, 30)]
    assert host(timeline, "one") == [("think", 0, 50)]


def test_a_launch_waits_for_a_start_that_another_threads_launch_puts_off() -> None:
    def neighbour() -> Loop[None]:
        yield Launch([Think(120)], "side")
        yield Launch([kernel("s", 500)], "side")

    def fills() -> Loop[None]:
        yield Launch([kernel("k", 100)] * 3, "main")

    timeline = run({"one": fills(), "two": neighbour()}, stream_gap=50, queue_depth=1)
    starts = [start for name, start, _ in spans(timeline) if name == "k"]
    assert starts == [0, 620, 770]  # 150 and 300 without the neighbour, which comes at 120
    assert [end for name, _, end in host(timeline, "one") if name == "cudaLaunchKernel"][-1] == starts[1]


def test_a_holder_lets_go_for_its_last_nanosecond_too() -> None:
    timeline = run({"one": launches(Think(11)), "two": launches(Think(5))}, gil_switch_interval=10, gil_handoff=3)
    assert host(timeline, "two") == [("think", 13, 18)]
    assert host(timeline, "one") == [("think", 0, 22)]


def test_asking_for_an_event_takes_its_time_without_the_lock() -> None:
    def asks() -> Loop[None]:
        yield Launch([Record("e")])
        yield Ready("e")
        yield Launch([Think(10)])

    timeline = run({"one": asks(), "two": launches(Think(10))}, event_query_call=30)
    assert host(timeline, "one")[1:] == [("cudaEventQuery", 0, 30), ("think", 30, 40)]
    assert host(timeline, "two") == [("think", 0, 10)]


def test_a_thread_that_is_done_within_the_interval_hands_over_at_its_end() -> None:
    timeline = run({"one": launches(Think(70)), "two": launches(Think(50))}, gil_handoff=4)
    assert host(timeline, "two") == [("think", 74, 124)]


def test_every_forced_switch_pays_a_handoff() -> None:
    timeline = run({"one": launches(Think(15)), "two": launches(Think(10))}, gil_switch_interval=10, gil_handoff=3)
    # one 0-10, two 13-23, one 26-31: a holder has an interval to itself, however long the other has waited
    assert host(timeline, "two") == [("think", 13, 23)]
    assert host(timeline, "one") == [("think", 0, 31)]


def test_threads_make_progress_even_when_a_handoff_takes_longer_than_the_interval() -> None:
    timeline = run({"one": launches(Think(15)), "two": launches(Think(10))}, gil_switch_interval=5, gil_handoff=7)
    assert {name for name, _, _ in host(timeline, "one") + host(timeline, "two")} == {"think"}


def test_a_launch_lets_another_thread_run_and_its_kernel_starts_without_the_lock() -> None:
    timeline = run(
        {"one": launches(kernel("a", 10), kernel("b", 10)), "two": launches(Think(1_000))},
        launch_call=100,
        gil_handoff=5,
    )
    assert host(timeline, "two") == [("think", 0, 1_000)]
    assert host(timeline, "one") == [("cudaLaunchKernel", 0, 100), ("cudaLaunchKernel", 1_005, 1_105)]
    assert spans(timeline) == [("a", 100, 110), ("b", 1_105, 1_115)]


def test_a_lone_thread_of_its_rank_never_feels_the_lock() -> None:
    timeline = run(launches(Think(8 * MS), Think(3 * MS)), gil_handoff=500)
    assert host(timeline)[1] == ("think", 8 * MS, 11 * MS)


def test_calls_from_a_thread_that_is_not_the_first_cost_more() -> None:
    threads = {"one": launches(kernel("a", 0)), "two": launches(kernel("b", 0), Think(7), stream="side")}
    timeline = run(threads, launch_call=100, other_thread_call=30)
    assert host(timeline, "one") == [("cudaLaunchKernel", 0, 100)]
    assert host(timeline, "two") == [("cudaLaunchKernel", 0, 130), ("think", 130, 137)]


def test_equal_threads_go_in_the_order_of_their_declaration() -> None:
    threads = {name: launches(kernel(name, 10)) for name in ("one", "two", "three")}
    assert spans(run(threads, launch_call=100)) == [("one", 100, 110), ("two", 110, 120), ("three", 120, 130)]


def test_a_thread_that_synchronizes_lets_others_run_and_wants_the_lock_back_only_after_its_wake_up() -> None:
    def waits() -> Loop[None]:
        yield Launch([kernel("a", 1_000), Record("e")], "main")
        yield Wait("e")
        yield Launch([Think(10)])

    timeline = run(
        {"one": waits(), "two": launches(Think(2_000))}, wake_spin=200, launch_call=100, gil_switch_interval=150
    )
    # one gets the lock at 250 for its next call, lets go, and wants it from 1300 on
    assert spans(timeline) == [("a", 100, 1_100)]
    assert host(timeline, "one")[2:] == [("cudaEventSynchronize", 400, 1_300), ("think", 1_450, 1_460)]
    assert host(timeline, "two") == [("think", 0, 2_010)]


def test_a_pageable_copy_lets_others_run_and_pays_its_wake_up_under_a_shared_lock_too() -> None:
    threads = {"one": launches(Copy("d2h", 400, pinned=False), Think(10)), "two": launches(Think(100))}
    timeline = run(threads, copy_call=50, wake_spin=7)
    assert host(timeline, "two") == [("think", 0, 100)]
    assert host(timeline, "one") == [("cudaMemcpy", 0, 457), ("think", 457, 467)]


def test_threads_blocked_on_one_full_queue_go_on_launch_by_launch() -> None:
    threads = {"one": launches(*[kernel("a", 1_000)] * 3), "two": launches(*[kernel("b", 1_000)] * 2)}
    timeline = run(threads, launch_call=100, queue_depth=1)
    # in the stream: a 100, b 1100, a 2100, b 3100, a 4100; each launch returns with the start of the one before it
    assert [name for name, _, _ in spans(timeline)] == ["a", "b", "a", "b", "a"]
    assert [end for _, _, end in host(timeline, "one")] == [100, 1_100, 3_100]
    assert [end for _, _, end in host(timeline, "two")] == [100, 2_100]


def test_an_item_put_by_one_thread_is_what_the_other_gets_in_order() -> None:
    got: list[object] = []

    def producer() -> Loop[None]:
        for item in "abc":
            yield Launch([Think(100)])
            yield Put("batches", item)

    def consumer() -> Loop[None]:
        while len(got) < 3:
            got.append((yield Get("batches")))
        yield Launch([Think(10)])

    timeline = run({"one": producer(), "two": consumer()})
    assert got == ["a", "b", "c"]
    assert host(timeline, "two") == [("think", 300, 310)]


def test_a_get_of_an_item_that_is_there_takes_no_time() -> None:
    def alone() -> Loop[None]:
        yield Put("batches", "a")
        assert (yield Get("batches")) == "a"
        yield Launch([Think(10)])

    assert host(run(alone())) == [("think", 0, 10)]


def test_two_threads_may_both_wait_for_the_whole_device() -> None:
    def waits() -> Loop[None]:
        yield Wait(DEVICE)

    threads = {"one": program(("main", [kernel("a", 1_000)])), "two": waits()}
    timeline = run(threads, launch_call=100, device_sync_call=10)
    assert host(timeline, "two") == [("cudaDeviceSynchronize", 0, 10)]
    assert host(timeline, "one")[-1] == ("cudaDeviceSynchronize", 100, 1_100)

"""What the emulator finds wrong: accesses outside arrays, threads that wait for each other, races, misuse."""

import platform
import signal
import subprocess
import sys

import numpy as np
import pytest

from minast.errors import Error
from tests.emulated import ORDERS, needs_emulator, run

pytestmark = needs_emulator


def test_a_read_past_the_end_names_everything():
    x, y = np.zeros(1000, np.float32), np.zeros(1, np.float32)
    with pytest.raises(IndexError) as e:
        run("past_end", x, y, x.size, grid=4, block=256, workers=1)
    message = str(e.value)
    assert "past_end: block (3,0,0) thread (232,0,0)" in message
    assert "argument 0 (x, float32(1000,)), element 1000 of 1000 (byte 4000 of 4000)" in message
    assert "features.cu:" in message
    assert (" reads " if platform.machine() == "x86_64" else " accesses ") in message


@pytest.mark.parametrize("size", [1, 3, 1023, 1024, 1025, 5000])
def test_the_guard_is_exact_at_every_size(size):
    x, y = np.zeros(size, np.float32), np.zeros(1, np.float32)
    grid = size // 128 + 1
    run("past_end", x, y, size - 1, grid=grid, block=128)
    with pytest.raises(IndexError, match=f"element {size} of {size}"):
        run("past_end", x, y, size, grid=grid, block=128)


def test_arrays_are_as_they_were_after_a_failure():
    x, y = np.zeros(1000, np.float32), np.full(1, 7, np.float32)
    with pytest.raises(IndexError):
        run("past_end", x, y, x.size, grid=4, block=256)
    assert y[0] == 7


def test_a_write_before_the_start_is_found_by_its_canary_or_its_guard():
    x = np.zeros(40, np.float32)
    with pytest.raises(IndexError, match=r"wrote outside argument 0 \(x, float32\(40,\)\), element -1 of 40"):
        run("before_start", x, 1, block=32)
    with pytest.raises(IndexError, match=r"thread \(0,0,0\) .* element -1 of 40"):
        run("before_start", x, 1, block=32, guard="start")


def test_static_and_dynamic_shared_memory_end_at_guard_pages():
    x = np.zeros(64, np.float32)
    with pytest.raises(IndexError, match=r"\(32,0,0\) .* byte 128 of tile\[4\]\[8\] \(128 bytes\) at features.cu"):
        run("past_static", x, block=64)
    with pytest.raises(IndexError, match=r"thread \(60,0,0\) .* byte 240 of the dynamic shared memory \(240 bytes\)"):
        run("past_dynamic", x, block=64, shared_bytes=240)
    run("past_dynamic", x, block=64, shared_bytes=256)


def test_a_few_bytes_past_unaligned_shared_memory_are_found_afterwards():
    with pytest.raises(IndexError, match=r"wrote byte 252 of the dynamic shared memory \(252 bytes\)"):
        run("past_dynamic", np.zeros(64, np.float32), block=64, shared_bytes=252)


def test_an_address_of_no_array():
    with pytest.raises(IndexError, match="address 0x10, which is in no array"):
        run("wild", np.zeros(1, np.float32))


def test_in_place_and_overlapping_arrays_stay_one():
    x = np.arange(32, dtype=np.int32)
    run("exchange", x, x, block=32)
    assert np.array_equal(x, np.arange(32)[::-1])
    x = np.arange(48, dtype=np.int32)
    run("exchange", x[:32], x[16:], block=32)
    assert np.array_equal(x, [*range(16), *range(32)[::-1]])


@pytest.mark.parametrize("n", [4, 5, 6, 7, 127])
def test_vector_loads_of_a_guarded_array_with_a_tail(n):
    x, y = np.arange(n, dtype=np.float32), np.zeros(n // 4 + 1, np.float32)
    run("vectors<float>", x, y, n, block=32)
    assert np.array_equal(y[: n // 4], x[: n // 4 * 4].reshape(-1, 4).sum(1)) and (n % 4 == 0 or y[-1] == n - 1)


def test_a_misaligned_vector_load():
    with pytest.raises(IndexError, match=r"misaligned: .* not a multiple of the accessed size.* at features.cu"):
        run("misaligned", np.zeros(12, np.float32), np.zeros(4, np.float32))


def unaligned(start, n):
    """n zeros, float32, that begin `start` bytes behind a 16-byte boundary"""
    room = np.zeros(n + 8, np.float32)
    first = (start - room.ctypes.data) % 16 // 4
    return room[first : first + n]


@pytest.mark.parametrize("n", [8, 9, 10, 11])  # the exact end of the copy at every address modulo 16
@pytest.mark.parametrize("guard", ["end", "start"])
def test_a_vector_load_faults_where_the_callers_array_is_misaligned(guard, n):
    y = unaligned(0, 4)
    run("vectors<float>", unaligned(0, n), y, n, block=32, guard=guard)
    for start in (4, 8, 12):
        with pytest.raises(
            IndexError, match=r"vectors<float>: .* not a multiple of the accessed size.* at features.cu"
        ):
            run("vectors<float>", unaligned(start, n), y, n, block=32, guard=guard)


@pytest.mark.parametrize("start", [0, 4, 8, 12])
@pytest.mark.parametrize("guard", ["end", "start"])
def test_a_copy_is_never_better_aligned_than_the_callers_array(guard, start):
    for n in range(1, 9):
        at = np.zeros(1, np.uint64)
        run("address_of", unaligned(start, n), at, guard=guard)
        given = int(at[0]) % 16
        largest = (given | 16) & -(given | 16), (start | 16) & -(start | 16)  # power of two, of the copy and the array
        assert largest[0] <= largest[1] and (guard == "end" or given == start), f"{n} numbers"


@pytest.mark.parametrize("start", [0, 4, 8, 12])
def test_writes_around_an_unaligned_array_are_found(start):
    for guard in ("end", "start"):
        run("writes_at", unaligned(start, 41), 40, guard=guard)
        for at in (-1, 41):
            with pytest.raises(IndexError, match=rf"argument 0 \(x, float32\(41,\)\), element {at} of 41"):
                run("writes_at", unaligned(start, 41), at, guard=guard)


@pytest.mark.parametrize("kernel", ["past_row", "past_local"])
def test_an_index_beyond_a_row_or_a_local_array(kernel):
    x = np.arange(8, dtype=np.float32)
    run(kernel, x, 3)
    with pytest.raises(IndexError, match=rf"{kernel}: block .* an index beyond a local or shared array at features.cu"):
        run(kernel, x, 4)


@pytest.mark.parametrize("guard", ["end", "start"])
def test_a_write_to_what_is_declared_const(guard):
    x, y = np.zeros(5, np.float32), np.zeros(1, np.float32)
    with pytest.raises(Error) as e:
        run("writes_const", x, y, 3, guard=guard)
    assert "writes_const changed what it declares const: argument 0 (x, float32(5,)), element 3 of 5" in str(e.value)
    assert not x.any()
    for bits in (0x7FC00000, 0xFFFFFFFF):  # NaN, which no comparison of numbers finds equal
        run("writes_const", np.full(5, bits, np.uint32).view(np.float32), y, -1, guard=guard)
    run("writes_const", x, y, 3, guard=False)  # as on a GPU
    assert x[3] == 1 and y[0] == 2


@pytest.mark.parametrize("guard", ["end", "start"])
def test_const_is_what_no_other_argument_may_write(guard):
    """x is the first six of eight numbers, y the fourth and fifth of them."""
    numbers = np.zeros(8, np.float32)
    run("writes_const", numbers[:6], numbers[3:5], 4, guard=guard)
    assert list(numbers) == [0, 0, 0, 2, 1, 0, 0, 0]
    for at in (2, 5):
        with pytest.raises(Error, match=rf"argument 0 \(x, float32\(6,\)\), element {at} of 6"):
            run("writes_const", numbers[:6], numbers[3:5], at, guard=guard)
    assert list(numbers) == [0, 0, 0, 2, 1, 0, 0, 0]


def test_shared_memory_starts_as_nan():
    for _ in range(2):  # also where an earlier launch has left something
        x = np.zeros(32, np.float32)
        run("reads_shared<float>", x, block=32)
        assert np.isnan(x).all()


def test_divergence_says_where_threads_wait():
    with pytest.raises(Error) as e:
        run("divergent", np.zeros(64, np.float32), block=64)
    message = str(e.value)
    assert "divergent: block (0,0,0) is deadlocked" in message
    assert "40 threads wait at __syncthreads (features.cu:" in message
    assert "24 threads wait at __shfl_xor_sync (features.cu:" in message and "the first is (40,0,0)" in message


def test_two_barriers_in_two_branches_are_not_one():
    with pytest.raises(Error, match=r"32 threads wait at __syncthreads .*; 32 threads wait at __syncthreads"):
        run("two_barriers", np.zeros(64, np.float32), block=64)


def test_misused_masks_and_lanes():
    with pytest.raises(Error, match=r"__shfl_sync .* lane 16 is not in its own mask 0x0000ffff"):
        run("wrong_mask", np.zeros(32, np.int32), block=32)
    x = np.zeros(32, np.int32)
    run("bad_lane", x, block=32)  # lane 20 takes no part: undefined, all bits set here
    assert set(x[:16]) == {-1}


def test_assert_trap_and_division():
    with pytest.raises(Error, match=r"thread \(5,0,0\): assertion `int\(threadIdx.x\) < n` failed at features"):
        run("fails", 5, block=32)
    with pytest.raises(Error, match=r"thread \(3,0,0\): __trap at features.cu:"):
        run("traps", 3, block=32)
    if platform.machine() == "x86_64":  # aarch64 divides by zero without a signal
        with pytest.raises(Error, match=r"thread \(4,0,0\) divides an integer by zero at features.cu"):
            run("zero_division", np.zeros(32, np.int32), 4, block=32)


def test_a_stack_that_is_too_small():
    run("deep", np.zeros(1, np.int32), 5)
    with pytest.raises(Error, match=r"deep: block \(0,0,0\) thread \(0,0,0\) needs more than the 128 KB of stack"):
        run("deep", np.zeros(1, np.int32), 100)


def test_a_missing_barrier_shows_in_every_order():
    for order in ORDERS:
        x = np.arange(64, dtype=np.float32)
        run("unsynchronised", x, block=64, order=order)
        assert not np.array_equal(x, np.arange(64)[::-1])


def right_by_order(kernel, correct, make, **how):
    """The orders, and seeds of the random one, in which a racy kernel happens to be right."""
    modes = [{"order": "forward"}, {"order": "reverse"}, *({"order": "random", "seed": s} for s in range(8))]
    right = []
    for mode in modes:
        args, out = make()
        run(kernel, *args, **how, **mode)
        right.append(np.array_equal(out, correct))
    return right


def test_a_race_between_warps_shows_in_some_order():
    def make():
        x = np.zeros(1, np.float32)
        return (x,), x

    right = right_by_order("racing_warps", [3.0], make, block=64)
    assert right[0] and not right[1] and not all(right[2:])


def test_a_tile_overwritten_in_use_shows_in_some_order():
    x = np.random.default_rng(0).normal(size=(6, 256)).astype(np.float32)
    expected = np.roll(x, -128, axis=1).reshape(6, 64, 4)
    correct = np.zeros(64, np.float32)
    for tile in expected:
        for k in range(4):
            correct += tile[:, k]

    def make():
        y = np.zeros(64, np.float32)
        return (x, y, 6), y

    assert not all(right_by_order("stale_tile", correct, make, block=64))


def test_pythons_own_signal_handlers_are_put_back():
    # faulthandler's handler is C, the other one Python's: a fault elsewhere must still reach the first.
    before = signal.getsignal(signal.SIGFPE)
    with pytest.raises(IndexError):
        run("wild", np.zeros(1, np.float32))
    assert signal.getsignal(signal.SIGFPE) == before
    program = (
        "import faulthandler, ctypes, numpy as np, sys; sys.path[:0] = sys.argv[1:]\n"
        "faulthandler.enable()\n"
        "from tests.emulated import run\n"
        "try: run('wild', np.zeros(1, np.float32))\n"
        "except IndexError: print('caught', flush=True)\n"
        "ctypes.string_at(0)\n"
    )
    paths = [p for p in sys.path if p]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=120)
    assert done.stdout == "caught\n" and done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr


def test_ctrl_c_ends_a_kernel_that_does_not():
    program = (
        "import numpy as np, os, signal, sys, threading, time; sys.path[:0] = sys.argv[1:]\n"
        "from tests.emulated import run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs start with it ignored
        "x = np.zeros(4, np.int32)\n"
        "threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "try: run('endless', x, grid=4, block=64, workers=3)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n"
        "y = np.ones(5, np.float32)\n"
        "run('threads_of_grid', y, 5)\n"
        "print(y)\n"
    )
    paths = [p for p in sys.path if p]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=60)
    assert done.stdout == "interrupted\n[1. 2. 3. 4. 5.]\n", done.stderr


def test_a_handler_of_the_programs_own_hears_the_first_ctrl_c_and_the_second_ends_the_launch():
    program = (
        "import numpy as np, os, signal, sys, threading, time; sys.path[:0] = sys.argv[1:]\n"
        "from tests.emulated import run\n"
        "x, asked = np.zeros(4, np.int32), []\n"
        "signal.signal(signal.SIGINT, lambda *_: asked.append(1))\n"
        "def ask(times, end):\n"
        "    for _ in range(times): time.sleep(0.5); os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(0.5); x[0] = end\n"
        "def launch(times, end):\n"
        "    threading.Thread(target=ask, args=(times, end)).start()\n"
        "    run('endless', x, grid=4, block=64, workers=3, guard=False)\n"
        "run('threads_of_grid', np.ones(5, np.float32), 5)\n"
        "launch(1, 1)\n"  # x[0] ends the kernel
        "print('ended', len(asked), flush=True)\n"
        "x[0] = 0\n"
        "try: launch(2, 0)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n"
    )
    paths = [p for p in sys.path if p]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=60)
    assert done.stdout == "ended 1\ninterrupted\n", done.stderr


def test_a_fault_of_another_thread_is_not_ours():
    program = (
        "import ctypes, numpy as np, sys, threading, time; sys.path[:0] = sys.argv[1:]\n"
        "from tests.emulated import run\n"
        "x = np.zeros(4_000_000, np.float32)\n"
        "run('threads_of_grid', x, 1)\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), ctypes.string_at(0))).start()\n"
        "while True: run('threads_of_grid', x, x.size, grid=2000, block=64)\n"
    )
    paths = [p for p in sys.path if p]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGSEGV, done.stderr

"""Loads in flight and the shortest way through a kernel, counted in SASS."""

import pytest

from minast.bench.kernels import flight, sass
from minast.bench.kernels.compile import compiler
from minast.errors import Error
from tests.bench.test_registers import without

CODE = """
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/              @!P0 BRA `(.L_x_1) ;
        /*0020*/                   LDG.E.128 R4, desc[UR6][R2.64] ;
        /*0030*/              @!P1 LDG.E.64 R8, desc[UR6][R2.64+0x10] ;
        /*0040*/                   FADD R12, R9, R4 ;
        /*0050*/                   LDG.E.64 R14, desc[UR6][R2.64+0x20] ;
        /*0060*/                   FADD R13, R14, R12 ;
        /*0070*/                   STG.E.128 desc[UR6][R2.64], R12 ;
        /*0080*/               @P2 EXIT ;
        /*0090*/                   EXIT ;
.L_x_1:
        /*00a0*/                   LDG.E.U16 R4, desc[UR6][R2.64] ;
        /*00b0*/                   STG.E.U16 desc[UR6][R2.64], R4 ;
        /*00c0*/                   EXIT ;
.L_x_2:
        /*00d0*/                   BRA `(.L_x_2);
"""


def test_two_loads_before_a_use_and_one_after():
    """The way over single elements is shorter, but not by vectors; a guarded EXIT ends it."""
    assert flight.count(CODE) == (2, 9)


def test_an_address_that_was_loaded_is_a_use():
    chain = CODE.replace("[R2.64+0x10]", "[R4.64]")
    assert flight.count(chain).loads == 1


def test_the_table():
    rows = flight.table({"gelu_forward<float,false>": flight.Count(2, 40)}).split("\n")
    assert rows[2:] == ["| `gelu_forward<float,false>` | 2 | 40 | 10.0 |"]


@pytest.mark.parametrize("kernel, least, most", [
    ("layernorm_forward<__nv_bfloat16,6>", 6, 22), ("residual_norm_forward<__nv_bfloat16,6>", 12, 22),
    ("layernorm_backward<__nv_bfloat16,6>", 12, 30), ("residual_norm_backward<__nv_bfloat16,6>", 12, 30),
    ("gelu_forward<__nv_bfloat16,false>", 3, 26), ("gelu_backward_sums<__nv_bfloat16,false>", 2, 65),
])  # fmt: skip
def test_kernels_load_a_row_at_once(kernel, least, most):
    """At least `least` vector loads in flight, at most `most` instructions for each value."""
    if compiler() is None:
        without("neither nvcc nor NVRTC is installed")
    try:
        sass.disassembler()
    except Error as error:
        without(str(error))
    file, values = flight.KERNELS[kernel]
    loads, instructions = flight.count(sass.code_of(file, kernel))
    assert loads >= least and 0 < instructions <= most * values

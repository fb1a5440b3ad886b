"""Loads in flight and instructions on the way of aligned rows through a kernel, counted in SASS."""

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


def test_a_load_behind_a_branch_is_on_the_way():
    """A longer way with one more vector load, as a compiler writes the last load of a row."""
    around = CODE.replace("FADD R12, R9, R4", "@!P3 BRA `(.L_x_3)").replace("FADD R13, R14, R12", "FADD R13, R9, R4")
    around = around.replace("        /*0060*/", ".L_x_3:\n        /*0060*/")
    assert flight.count(around) == (3, 9)


def test_what_another_way_uses_does_not_count():
    """Between the two ways of loading, in the order of the text, the other one's registers are used."""
    apart = CODE.replace(
        "FADD R12, R9, R4 ;", "BRA `(.L_x_4) ;\n        /*0041*/                   FADD R4, R4, R9 ;\n.L_x_4:"
    )
    assert flight.count(apart) == (3, 9)


def test_single_loads_count_where_there_are_no_vectors():
    single = CODE.replace(".128", "").replace(".64 R", " R")
    assert flight.count(single) == (2, 9)


def test_all_operands_are_given():
    """Also one that is read element by element, as a bias at an odd address is."""
    optional = "@P3 BRA `(.L_x_5) ;\n        /*0031*/                   LDG.E R20, desc[UR6][R2.64] ;\n.L_x_5:"
    assert flight.count(CODE.replace("FADD R12, R9, R4 ;", optional)).instructions == 10


def test_a_call_is_avoided():
    """It would be the shorter way, since what it calls is not in the kernel's own text."""
    call = "@P3 BRA `(.L_x_6) ;\n        /*0041*/                   CALL.REL.NOINC `($divide) ;\n"
    call += "        /*0042*/                   BRA `(.L_x_7) ;\n.L_x_6:\n"
    call += "        /*0043*/                   IMAD R20, R20, R21, RZ ;\n" * 4 + ".L_x_7:"
    assert flight.count(CODE.replace("FADD R12, R9, R4 ;", call)).instructions == 13


def test_a_loop_counts_once():
    again = CODE.replace("@P2 EXIT", "@P2 BRA `(.L_x_0)").replace("        /*0020*/", ".L_x_0:\n        /*0020*/", 1)
    assert flight.count(again) == (2, 10)


def test_an_address_that_was_loaded_is_a_use():
    chain = CODE.replace("[R2.64+0x10]", "[R4.64]")
    assert flight.count(chain).loads == 1


def test_the_table():
    rows = flight.table({"gelu_forward<float,false>": flight.Count(2, 40)}).split("\n")
    assert rows[2:] == ["| `gelu_forward<float,false>` | 2 | 40 | 10.0 |"]
    assert flight.table({"column_finish": flight.Count(14, 240)}).split("\n")[2:] == [
        "| `column_finish` | 14 | 240 |  |"
    ]


@pytest.mark.parametrize("kernel, least, most", [
    ("layernorm_forward<__nv_bfloat16,6>", 12, 23), ("residual_norm_forward<__nv_bfloat16,6>", 18, 31),
    ("layernorm_backward<__nv_bfloat16,6>", 18, 28), ("residual_norm_backward<__nv_bfloat16,6>", 24, 33),
    ("gelu_forward<__nv_bfloat16,false>", 3, 28), ("gelu_backward<__half,false>", 4, 36),
    ("gelu_backward_sums<__nv_bfloat16,false>", 4, 54), ("softmax_backward<__nv_bfloat16>", 8, 26),
    ("column_partials<__nv_bfloat16>", 4, 17), ("attention_delta<__nv_bfloat16,64>", 8, 18),
    ("unfold_strip<__nv_bfloat16>", 8, 0), ("unfold_gather<__nv_bfloat16>", 8, 95), ("square_sums", 8, 9),
])  # fmt: skip
def test_kernels_load_a_row_at_once(kernel, least, most):
    """At least `least` loads in flight, at most `most` instructions for each value."""
    if compiler() is None:
        without("neither nvcc nor NVRTC is installed")
    try:
        sass.disassembler()
    except Error as error:
        without(str(error))
    file, values = flight.KERNELS[kernel]
    loads, instructions = flight.count(sass.code_of(file, kernel))
    assert loads >= least and (not values or 0 < instructions <= most * values)

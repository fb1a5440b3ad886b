"""The instructions of a compiled kernel's loops."""

import re

import pytest

from minast.bench.kernels import sass
from minast.bench.kernels.compile import compiler
from minast.errors import Error
from tests.bench.test_registers import without

LISTING = """
.text._Z5otherIfEvPf:
        /*0000*/                   HMMA.16816.F32 R0, R1, R2, R3 ;
.text._Z4demoI13__nv_bfloat16Li2EEvPKT_:
        /*0000*/                   S2R R0, SR_TID.X ;
.L_x_1:
        /*0010*/                   LDGSTS [R2], [R4.64] ;
.L_x_2:
        /*0020*/                   LDSM.16.M88.4 R8, [R0] ;
        /*0030*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0040*/                   HMMA.16816.F32.BF16 R4, R8, R14, R4 ;
        /*0050*/              @!P0 MUFU.EX2 R3, R3 ;
        /*0060*/               @P1 BRA `(.L_x_2) ;
        /*0070*/              @!PT LDS RZ, [RZ] ;
        /*0080*/               @P2 BRA `(.L_x_1) ;
.L_x_3:
        /*0090*/                   FADD R1, R1, R2 ;
        /*00a0*/               @P3 BRA `(.L_x_3) ;
        /*00b0*/                   EXIT ;
"""


def test_loops_with_products_are_counted():
    """An inner loop, the one around it; no loop without products, no other function."""
    assert sass.counted(LISTING, "demo") == [(5, 2, 2, 1), (8, 2, 2, 1)]
    with pytest.raises(Error, match="no code of emo"):
        sass.counted(LISTING, "emo")


def test_the_table_says_what_the_outer_loop_has_besides():
    rows = sass.table({"demo<2>": sass.counted(LISTING, "demo"), "flat": [sass.Loop(30, 10, 40, 20)]}).split("\n")[2:]
    assert rows == [
        "| `demo<2>` | inner | 5 | 2 | 2 | 1.50 | 0.50 |",
        "| | over the tiles, besides | 3 | 0 | 0 | | |",
        "| `flat` | over the tiles | 30 | 10 | 40 | 0.50 | 0.50 |",
    ]


@pytest.fixture
def tools():
    if compiler() is None:
        without("neither nvcc nor NVRTC is installed")
    try:
        sass.disassembler()
    except Error as error:
        without(str(error))


def test_the_lean_kernel_is_leaner(tools):
    """The same products and loads as the version before it, with at least a quarter fewer instructions."""
    before, lean = (sass.loops("attention.cu", f"attention_mma_{k}<__half,64,2>")[0] for k in ("async", "lean"))
    assert (before.products, before.loads) == (lean.products, lean.loads) == (128, 32)
    assert lean.instructions < 0.75 * before.instructions


def test_two_fragments_a_warp_load_less_for_each_product(tools):
    one, two = (sass.loops("attention_backward.cu", f"attention_mma_dkv<__nv_bfloat16,64,{m}>")[0] for m in (1, 2))
    assert two.products == 2 * one.products and two.loads <= 0.75 * 2 * one.loads


def test_a_path_behind_the_end_is_no_loop():
    aside = LISTING + ".L_x_4:\n        /*00c0*/                   BRA `(.L_x_1) ;\n"
    assert sass.counted(aside, "demo") == sass.counted(LISTING, "demo")


def test_a_product_of_a_warpgroup_is_worth_many():
    listing = LISTING.replace("HMMA.16816.F32.BF16 R4, R8, R12, R4", "HGMMA.64x128x16.F32.BF16 R4, gdesc[UR4], R4")
    listing = listing.replace("HMMA.16816.F32.BF16 R4, R8, R14, R4", "WARPGROUP.DEPBAR.LE gsb0, 0x0")
    assert sass.counted(listing, "demo")[0] == (5, 1, 16, 1)


def test_version_7_overlaps(tools):
    """One loop over the tiles, with the products of 128 keys, and the exponentials before the second wait of three."""
    (first,) = sass.loops("attention_hopper.cu", "attention_wgmma<__nv_bfloat16,64,3>")
    assert (first.products, first.work, first.loads) == (4 + 8, 128, 0)
    assert first.instructions < sass.loops("attention.cu", "attention_mma_lean<__nv_bfloat16,64,2>")[0].instructions
    listing = sass.listing("attention_hopper.cu", "attention_wgmma<__nv_bfloat16,64,3>")
    waits = [part.count("MUFU.EX2") for part in re.split(r"WARPGROUP\.DEPBAR\.LE gsb0", listing)]
    assert waits[0] == 0 and waits[1] >= 64 and waits[2] >= 64, "ptxas has moved the wait for the values' products"
    assert "USETMAXREG.DEALLOC" in listing and "USETMAXREG.TRY_ALLOC" in listing
    with pytest.raises(Error, match="is for compute capability 90a alone, not for 80"):
        sass.loops("attention_hopper.cu", "attention_wgmma<__nv_bfloat16,64,3>", "80")

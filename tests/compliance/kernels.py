"""Small kernels in PTX, for compute capability 7.5 and up."""

HEAD = b"""
.version 6.3
.target sm_75
.address_size 64
"""

# Stores `value` to `count` words.
FILL = b"""
.visible .entry vgpu_test_fill(.param .u64 place, .param .u32 value, .param .u32 count)
{
    .reg .pred %over;
    .reg .b32 %r<6>;
    .reg .b64 %d<4>;
    ld.param.u64 %d0, [place];
    ld.param.u32 %r0, [value];
    ld.param.u32 %r1, [count];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %over, %r5, %r1;
    @%over bra done;
    cvta.to.global.u64 %d1, %d0;
    mul.wide.u32 %d2, %r5, 4;
    add.u64 %d3, %d1, %d2;
    st.global.u32 [%d3], %r0;
done:
    ret;
}
"""

# Adds `value` to one word.
ADD = b"""
.visible .entry vgpu_test_add(.param .u64 place, .param .u32 value)
{
    .reg .b32 %r<2>;
    .reg .b64 %d<2>;
    ld.param.u64 %d0, [place];
    ld.param.u32 %r0, [value];
    cvta.to.global.u64 %d1, %d0;
    ld.global.u32 %r1, [%d1];
    add.u32 %r1, %r1, %r0;
    st.global.u32 [%d1], %r1;
    ret;
}
"""

# Takes parameters of many sizes, and writes their sum: 1 + 2 + 4 + 8 bytes and two floats.
MIXED = b"""
.visible .entry vgpu_test_mixed(.param .u8 a, .param .u64 place, .param .u16 b, .param .f64 c,
                                .param .u32 d, .param .f32 e)
{
    .reg .b16 %h<2>;
    .reg .b32 %r<1>;
    .reg .f32 %f<1>;
    .reg .b64 %d<2>;
    .reg .f64 %g<6>;
    ld.param.u8 %h0, [a];
    ld.param.u64 %d0, [place];
    ld.param.u16 %h1, [b];
    ld.param.f64 %g0, [c];
    ld.param.u32 %r0, [d];
    ld.param.f32 %f0, [e];
    cvt.rn.f64.u16 %g1, %h0;
    cvt.rn.f64.u16 %g2, %h1;
    cvt.rn.f64.u32 %g3, %r0;
    cvt.f64.f32 %g4, %f0;
    add.rn.f64 %g5, %g0, %g1;
    add.rn.f64 %g5, %g5, %g2;
    add.rn.f64 %g5, %g5, %g3;
    add.rn.f64 %g5, %g5, %g4;
    cvta.to.global.u64 %d1, %d0;
    st.global.f64 [%d1], %g5;
    ret;
}
"""

# A variable, a constant, and a kernel that multiplies the one by the other.
GLOBALS = b"""
.visible .global .align 4 .u32 vgpu_test_counter = 7;
.visible .const .align 4 .u32 vgpu_test_factor = 3;
.visible .entry vgpu_test_multiply()
{
    .reg .b32 %r<2>;
    ld.global.u32 %r0, [vgpu_test_counter];
    ld.const.u32 %r1, [vgpu_test_factor];
    mul.lo.u32 %r0, %r0, %r1;
    st.global.u32 [vgpu_test_counter], %r0;
    ret;
}
"""

# Needs 64 bytes of static shared memory and at most 128 threads a block.
BOUNDED = b"""
.visible .entry vgpu_test_bounded() .maxntid 128, 1, 1
{
    .shared .align 4 .b8 room[64];
    .reg .b32 %r<1>;
    mov.u32 %r0, 0;
    st.shared.u32 [room], %r0;
    ret;
}
"""

ALL = HEAD + FILL + ADD + MIXED + GLOBALS + BOUNDED + b"\0"

# For compute capability 9.0: each block stores what the next of its cluster has in shared memory,
# the number of that block.
CLUSTER = b"""
.version 7.8
.target sm_90
.address_size 64
.visible .entry vgpu_test_neighbour(.param .u64 place)
{
    .reg .b32 %r<6>;
    .reg .b64 %d<3>;
    .shared .align 4 .u32 own;
    ld.param.u64 %d0, [place];
    cvta.to.global.u64 %d0, %d0;
    mov.u32 %r0, %ctaid.x;
    st.shared.u32 [own], %r0;
    barrier.cluster.arrive;
    barrier.cluster.wait;
    mov.u32 %r1, %cluster_ctarank;
    mov.u32 %r2, %cluster_nctarank;
    add.u32 %r1, %r1, 1;
    rem.u32 %r1, %r1, %r2;
    mov.u32 %r3, own;
    mapa.shared::cluster.u32 %r4, %r3, %r1;
    ld.shared::cluster.u32 %r5, [%r4];
    mul.wide.u32 %d1, %r0, 4;
    add.u64 %d2, %d0, %d1;
    st.global.u32 [%d2], %r5;
    barrier.cluster.arrive;
    barrier.cluster.wait;
    ret;
}
\0"""

//! The mark in each library's file that says whose it is.

/// Puts the mark into a library: an ELF note of the owner `vgpu` (elf(5), "Notes"; type 1, without
/// a content) in the section `.note.vgpu`.
///
/// The host reads it from a file that stands under the name of NVIDIA's library, and so never
/// loads ours as if it were the genuine one. It stands beside the exports, for an object of which
/// nothing is needed is not linked.
#[macro_export]
macro_rules! mark {
    () => {
        ::std::arch::global_asm!(
            ".pushsection .note.vgpu, \"a\", @note",
            ".balign 4",
            ".long 5, 0, 1",
            ".asciz \"vgpu\"",
            ".balign 4",
            ".popsection",
        );
    };
}

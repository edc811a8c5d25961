//! The list of crates that the program is made of, for tools that look for known faults in programs: JSON under zlib in the
//! section `.dep-v0`, the format of cargo-auditable. `packaging/mkpkg/auditable.py` makes it.

#[cfg(lenscap_dependencies)]
// SAFETY: the section is this program's alone and holds nothing but these bytes, which nobody writes.
#[unsafe(link_section = ".dep-v0")]
static LIST: [u8; include_bytes!(env!("LENSCAP_DEPENDENCIES")).len()] =
    *include_bytes!(env!("LENSCAP_DEPENDENCIES"));

/// Keeps the list in the program, if there is one: the linker drops what nothing refers to.
pub fn keep_dependencies() {
    #[cfg(lenscap_dependencies)]
    std::hint::black_box(&LIST);
}
